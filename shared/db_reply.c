/* Reads the columns of replies: PostgreSQL's binary forms to C values. */
#include "shared/db_reply.h"

#include <assert.h>
#include <endian.h>
#include <stdlib.h>
#include <string.h>

#define PG_EPOCH_USEC INT64_C(946684800000000) /* 2000-01-01 since 1970-01-01 */

void
db_reply_clear(struct db_reply *r)
{
    for (unsigned i = 0; i < r->result_count; i++)
        PQclear(r->results[i]);
    PQclear(r->error);
    memset(r, 0, sizeof(*r));
}

static const PGresult *
result(const struct db_reply *r, unsigned call)
{
    assert(call < DB_CALLS_MAX);
    return call < r->result_count ? r->results[call] : NULL;
}

unsigned
db_rows(const struct db_reply *r, unsigned call)
{
    return (unsigned) PQntuples(result(r, call));
}

unsigned
db_columns(const struct db_reply *r, unsigned call)
{
    return (unsigned) PQnfields(result(r, call));
}

uint64_t
db_affected(const struct db_reply *r, unsigned call)
{
    /* PQcmdTuples promises digits or "" */
    uint64_t n = 0;

    if (!result(r, call))
        return 0;
    for (const char *p = PQcmdTuples(r->results[call]); *p; p++)
        n = n * 10 + (uint64_t) (*p - '0');
    return n;
}

/* The bytes of a value; data is never NULL, NULL and empty have no bytes. */
static struct slice
value(const struct db_reply *r, unsigned call, unsigned row, unsigned column)
{
    const PGresult *p = result(r, call);

    assert(p && row < (unsigned) PQntuples(p) && column < (unsigned) PQnfields(p));
    return (struct slice){PQgetvalue(p, (int) row, (int) column),
                          (size_t) PQgetlength(p, (int) row, (int) column)};
}

bool
db_is_null(const struct db_reply *r, unsigned call, unsigned row, unsigned column)
{
    const PGresult *p = result(r, call);

    assert(p && row < (unsigned) PQntuples(p) && column < (unsigned) PQnfields(p));
    return PQgetisnull(p, (int) row, (int) column) != 0;
}

bool
db_get_bool(const struct db_reply *r, unsigned call, unsigned row, unsigned column)
{
    struct slice v = value(r, call, row, column);

    assert(v.bytes <= 1);
    return v.bytes == 1 && v.data[0] != 0;
}

int64_t
db_get_int(const struct db_reply *r, unsigned call, unsigned row, unsigned column)
{
    struct slice v = value(r, call, row, column);
    uint16_t two;
    uint32_t four;
    uint64_t eight;

    switch (v.bytes) {
    case 0: return 0;
    case sizeof(two): memcpy(&two, v.data, sizeof(two)); return (int16_t) be16toh(two);
    case sizeof(four): memcpy(&four, v.data, sizeof(four)); return (int32_t) be32toh(four);
    case sizeof(eight): memcpy(&eight, v.data, sizeof(eight)); return (int64_t) be64toh(eight);
    default: abort(); /* the statement's column is no integer */
    }
}

int64_t
db_get_time(const struct db_reply *r, unsigned call, unsigned row, unsigned column)
{
    if (db_is_null(r, call, row, column))
        return 0;
    int64_t usec = db_get_int(r, call, row, column);
    return usec == INT64_MAX || usec == INT64_MIN ? usec : usec + PG_EPOCH_USEC;
}

struct slice
db_get_text(const struct db_reply *r, unsigned call, unsigned row, unsigned column)
{
    return value(r, call, row, column);
}

struct uuid
db_get_uuid(const struct db_reply *r, unsigned call, unsigned row, unsigned column)
{
    struct slice v = value(r, call, row, column);
    struct uuid u = {{0}};

    assert(v.bytes == 0 || v.bytes == sizeof(u.bytes));
    memcpy(u.bytes, v.data, v.bytes);
    return u;
}

const char *
db_column_name(const struct db_reply *r, unsigned call, unsigned column)
{
    const char *name = PQfname(result(r, call), (int) column);

    return name ? name : "";
}

static const char *
error_field(const struct db_reply *r, int field)
{
    const char *text = r->error ? PQresultErrorField(r->error, field) : NULL;

    return text ? text : "";
}

const char *
db_sqlstate(const struct db_reply *r)
{
    return error_field(r, PG_DIAG_SQLSTATE);
}

/* The primary message only: DETAIL quotes rows, and so phone numbers. */
const char *
db_message(const struct db_reply *r)
{
    return r->lost_why ? r->lost_why : error_field(r, PG_DIAG_MESSAGE_PRIMARY);
}

unsigned
db_failed_call(const struct db_reply *r)
{
    return r->failed_call;
}
