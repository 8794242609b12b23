/*
 * db_reply.h - what one transaction answered; the inside of db.h's opaque struct.
 *
 * For db.c, which fills it, and db_reply.c, which reads it.
 */
#pragma once
#include <libpq-fe.h>

#include "shared/db.h"

struct db_reply {
    PGresult *results[DB_CALLS_MAX];
    unsigned call_count;
    unsigned result_count; /* results of calls that have come */
    PGresult *error;       /* first failure, or NULL; not among results */
    unsigned failed_call;  /* call_count: the commit itself failed */
    const char *lost_why;  /* DB_LOST: borrowed from the connection */
};

void db_reply_clear(struct db_reply *r);
