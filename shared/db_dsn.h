/*
 * db_dsn.h - a libpq DSN, taken apart so that one attempt names one host.
 *
 * For db.c only. libpq walks a list of hosts by itself, but asynchronously it never leaves a host
 * that hangs; so the list is split here and db.c walks it.
 */
#pragma once
#include <libpq-fe.h>

#include "shared/db.h"

#define DB_HOSTS_MAX 16u

struct db_dsn;

int db_dsn_parse(struct db_dsn **ret, const char *dsn) _must_check_; /* 0, -EINVAL, -ENOMEM */
struct db_dsn *db_dsn_free(struct db_dsn *d);
unsigned db_dsn_host_count(const struct db_dsn *d);
/* The name to look up before connecting; NULL: none (unix socket, or the DSN gives hostaddr). */
const char *db_dsn_name(const struct db_dsn *d, unsigned host);
/* PQconnectStartParams to that host alone; `address` replaces the look-up, or NULL. */
PGconn *db_dsn_connect(const struct db_dsn *d, unsigned host, const char *address,
                       const struct db_config *config);
