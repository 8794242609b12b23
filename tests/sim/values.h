/*
 * values.h - what stands in a statement's parameters and in its answer, without libpq.
 *
 * Parameters are read from the bytes that shared/db_args.c made for PostgreSQL; answers are cells
 * that shared/db.h's db_get_* functions read. Texts of an answer are copies.
 */
#pragma once
#include "shared/db.h"

/* Parameters of one statement, a copy that lives as long as its transaction. */
struct values {
    unsigned count;
    int lengths[24]; /* -1: NULL */
    const char *at[24];
    char *bytes;
};
void values_copy(struct values *ret, const struct db_args *args); /* args NULL: none */
void values_done(struct values *v);

int64_t value_int(const struct values *v, unsigned i); /* bool, int2, int4, int8; $1 is 0 */
int64_t value_time(const struct values *v, unsigned i);
struct slice value_text(const struct values *v, unsigned i);
struct uuid value_uuid(const struct values *v, unsigned i);

struct array { /* elements of one size */
    unsigned count;
    const char *at;
    unsigned stride;
};
struct array value_array(const struct values *v, unsigned i);
int64_t array_int(struct array a, unsigned n);
int64_t array_time(struct array a, unsigned n);
struct uuid array_uuid(struct array a, unsigned n);
bool array_has(struct array a, int64_t wanted);
/* Texts: one after the other. */
struct texts {
    unsigned count;
    const char *at;
};
struct texts value_texts(const struct values *v, unsigned i);
struct slice texts_next(struct texts *t);

/* ---- answers ---- */

struct value_cell {
    union {
        int64_t number;
        struct slice text;
        struct uuid uuid;
    };
    bool null;
};
struct result {
    unsigned rows, columns, first, affected;
};
struct chunk;
struct db_reply {
    unsigned call_count;
    struct result results[DB_CALLS_MAX];
    struct value_cell *cells;
    unsigned cell_count, cell_capacity;
    struct chunk *chunks;
    const char *sqlstate, *message;
    unsigned failed_call;
};
void reply_done(struct db_reply *r);
void reply_call(struct db_reply *r);                /* the next statement's answer begins */
void reply_row(struct db_reply *r);                 /* the next row of it */
void reply_int(struct db_reply *r, int64_t number); /* also bool and time */
void reply_null(struct db_reply *r);
void reply_text(struct db_reply *r, const char *data, size_t bytes);
void reply_uuid(struct db_reply *r, const struct uuid *uuid);
