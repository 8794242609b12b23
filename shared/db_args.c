/* Builds the parameters of statements in PostgreSQL's binary forms, in one arena. */
#include <assert.h>
#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "shared/db.h"

#define PG_EPOCH_USEC INT64_C(946684800000000) /* 2000-01-01 since 1970-01-01 */

enum { OID_BOOL = 16, OID_BYTEA = 17, OID_INT8 = 20, OID_INT2 = 21, OID_INT4 = 23, OID_TEXT = 25 };
enum { OID_TIMESTAMPTZ = 1184, OID_UUID = 2950 };

int
db_args_init(struct db_args *a, size_t arena_bytes)
{
    char *bytes = malloc(arena_bytes);

    if (!bytes)
        return -ENOMEM;
    *a = (struct db_args){.bytes = bytes, .size = arena_bytes};
    return 0;
}

void
db_args_done(struct db_args *a)
{
    free(a->bytes);
    *a = (struct db_args){.bytes = NULL};
}

void
db_args_reset(struct db_args *a)
{
    a->used = 0;
    a->count = 0;
    a->overflow = false;
}

/* Room at the arena's end, or NULL and overflow. */
static char *
room(struct db_args *a, size_t bytes)
{
    if (a->overflow || bytes > a->size - a->used) {
        a->overflow = true;
        return NULL;
    }
    char *p = a->bytes + a->used;
    a->used += bytes;
    return p;
}

static void
add(struct db_args *a, const char *value, size_t bytes)
{
    if (a->count == ARRAY_SIZE(a->values) || bytes > INT32_MAX)
        a->overflow = true;
    if (a->overflow)
        return;
    a->values[a->count] = value;
    a->lengths[a->count++] = (int) bytes;
}

static void
add_copy(struct db_args *a, const void *data, size_t bytes)
{
    char *p = room(a, bytes);

    if (p && bytes > 0)
        memcpy(p, data, bytes);
    if (p)
        add(a, p, bytes);
}

void
db_put_null(struct db_args *a)
{
    add(a, NULL, 0);
}

void
db_put_bool(struct db_args *a, bool v)
{
    add_copy(a, &(uint8_t){v}, 1);
}

void
db_put_int2(struct db_args *a, int16_t v)
{
    add_copy(a, &(uint16_t){htobe16((uint16_t) v)}, 2);
}

void
db_put_int4(struct db_args *a, int32_t v)
{
    add_copy(a, &(uint32_t){htobe32((uint32_t) v)}, 4);
}

void
db_put_int8(struct db_args *a, int64_t v)
{
    add_copy(a, &(uint64_t){htobe64((uint64_t) v)}, 8);
}

/* INT64_MAX and INT64_MIN are infinity and -infinity on both sides. */
static int64_t
to_pg_time(int64_t unix_usec)
{
    if (unix_usec == INT64_MAX || unix_usec == INT64_MIN)
        return unix_usec;
    assert(unix_usec > INT64_MIN + PG_EPOCH_USEC);
    return unix_usec - PG_EPOCH_USEC;
}

void
db_put_time(struct db_args *a, int64_t unix_usec)
{
    db_put_int8(a, to_pg_time(unix_usec));
}

void
db_put_text(struct db_args *a, struct slice v)
{
    add_copy(a, v.data, v.bytes);
}

void
db_put_bytes(struct db_args *a, struct slice v)
{
    add_copy(a, v.data, v.bytes);
}

void
db_put_uuid(struct db_args *a, const struct uuid *v)
{
    add_copy(a, v->bytes, sizeof(v->bytes));
}

static char *
write_u32(char *p, uint32_t v)
{
    v = htobe32(v);
    memcpy(p, &v, sizeof(v));
    return p + sizeof(v);
}

/*
 * The head of a one-dimensional array and room for `body` bytes behind it; the caller writes the
 * elements at the returned place. NULL: overflow.
 */
static char *
array(struct db_args *a, uint32_t oid, size_t n, size_t body, bool has_null)
{
    size_t head = n > 0 ? 20 : 12;
    char *start = n <= INT32_MAX ? room(a, head + body) : NULL;

    if (!start) {
        a->overflow = true;
        return NULL;
    }
    char *p = write_u32(start, n > 0); /* dimensions: an empty array has none */
    p = write_u32(p, has_null);
    p = write_u32(p, oid);
    if (n > 0) {
        p = write_u32(p, (uint32_t) n);
        p = write_u32(p, 1); /* lower bound */
    }
    add(a, start, head + body);
    return p;
}

void
db_put_bools(struct db_args *a, const bool *v, size_t n)
{
    char *p = array(a, OID_BOOL, n, n * 5, false);

    for (size_t i = 0; p && i < n; i++) {
        p = write_u32(p, 1);
        *p++ = v[i];
    }
}

void
db_put_int2s(struct db_args *a, const int16_t *v, size_t n)
{
    char *p = array(a, OID_INT2, n, n * 6, false);

    for (size_t i = 0; p && i < n; i++) {
        uint16_t be = htobe16((uint16_t) v[i]);

        p = write_u32(p, sizeof(be));
        memcpy(p, &be, sizeof(be));
        p += sizeof(be);
    }
}

void
db_put_int4s(struct db_args *a, const int32_t *v, size_t n)
{
    char *p = array(a, OID_INT4, n, n * 8, false);

    for (size_t i = 0; p && i < n; i++)
        p = write_u32(write_u32(p, 4), (uint32_t) v[i]);
}

static char *
write_int8(char *p, int64_t v)
{
    uint64_t be = htobe64((uint64_t) v);

    p = write_u32(p, sizeof(be));
    memcpy(p, &be, sizeof(be));
    return p + sizeof(be);
}

void
db_put_int8s(struct db_args *a, const int64_t *v, size_t n)
{
    char *p = array(a, OID_INT8, n, n * 12, false);

    for (size_t i = 0; p && i < n; i++)
        p = write_int8(p, v[i]);
}

void
db_put_times(struct db_args *a, const int64_t *unix_usec, size_t n)
{
    char *p = array(a, OID_TIMESTAMPTZ, n, n * 12, false);

    for (size_t i = 0; p && i < n; i++)
        p = write_int8(p, to_pg_time(unix_usec[i]));
}

void
db_put_uuids(struct db_args *a, const struct uuid *v, size_t n)
{
    char *p = array(a, OID_UUID, n, n * 20, false);

    for (size_t i = 0; p && i < n; i++) {
        p = write_u32(p, sizeof(v[i].bytes));
        memcpy(p, v[i].bytes, sizeof(v[i].bytes));
        p += sizeof(v[i].bytes);
    }
}

static void
put_slices(struct db_args *a, uint32_t oid, const struct slice *v, size_t n)
{
    size_t body = n * 4;
    bool has_null = false;

    for (size_t i = 0; i < n; i++) {
        body += v[i].bytes;
        has_null |= !v[i].data;
    }
    char *p = array(a, oid, n, body, has_null);
    for (size_t i = 0; p && i < n; i++) {
        p = write_u32(p, v[i].data ? (uint32_t) v[i].bytes : UINT32_MAX); /* -1 = NULL */
        if (v[i].bytes > 0)
            memcpy(p, v[i].data, v[i].bytes);
        p += v[i].bytes;
    }
}

void
db_put_texts(struct db_args *a, const struct slice *v, size_t n)
{
    put_slices(a, OID_TEXT, v, n);
}

void
db_put_byteas(struct db_args *a, const struct slice *v, size_t n)
{
    put_slices(a, OID_BYTEA, v, n);
}
