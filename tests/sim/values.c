/* Reads PostgreSQL's binary parameters; keeps an answer's cells. */
#include "tests/sim/values.h"

#include <assert.h>
#include <endian.h>
#include <stdlib.h>
#include <string.h>

#define PG_EPOCH_USEC INT64_C(946684800000000)

/* ---- parameters ---- */

void
values_copy(struct values *ret, const struct db_args *args)
{
    size_t bytes = 0, used = 0;

    *ret = (struct values){.count = args ? args->count : 0};
    for (unsigned i = 0; i < ret->count; i++)
        bytes += args->values[i] ? (size_t) args->lengths[i] : 0;
    ret->bytes = malloc(bytes + 1);
    assert(ret->bytes);
    for (unsigned i = 0; i < ret->count; i++) {
        size_t length = args->values[i] ? (size_t) args->lengths[i] : 0;

        ret->lengths[i] = args->values[i] ? args->lengths[i] : -1;
        ret->at[i] = ret->bytes + used;
        if (length > 0)
            memcpy(ret->bytes + used, args->values[i], length);
        used += length;
    }
}

void
values_done(struct values *v)
{
    free(v->bytes);
    v->bytes = NULL;
}

static int64_t
read_number(const char *p, size_t bytes)
{
    uint16_t two;
    uint32_t four;
    uint64_t eight;

    switch (bytes) {
    case 1: return *p;
    case 2: memcpy(&two, p, 2); return (int16_t) be16toh(two);
    case 4: memcpy(&four, p, 4); return (int32_t) be32toh(four);
    case 8: memcpy(&eight, p, 8); return (int64_t) be64toh(eight);
    default: assert(!"a number has 1, 2, 4 or 8 bytes"); return 0;
    }
}

static int64_t
unix_time(int64_t pg)
{
    return pg == INT64_MAX || pg == INT64_MIN ? pg : pg + PG_EPOCH_USEC;
}

int64_t
value_int(const struct values *v, unsigned i)
{
    assert(i < v->count);
    return v->lengths[i] <= 0 ? 0 : read_number(v->at[i], (size_t) v->lengths[i]);
}

int64_t
value_time(const struct values *v, unsigned i)
{
    return unix_time(value_int(v, i));
}

struct slice
value_text(const struct values *v, unsigned i)
{
    assert(i < v->count);
    return (struct slice){v->at[i], v->lengths[i] < 0 ? 0 : (size_t) v->lengths[i]};
}

struct uuid
value_uuid(const struct values *v, unsigned i)
{
    struct uuid u;

    assert(i < v->count && v->lengths[i] == 16);
    memcpy(&u, v->at[i], sizeof(u));
    return u;
}

static unsigned
array_count(const struct values *v, unsigned i)
{
    assert(i < v->count && v->lengths[i] >= 12);
    return read_number(v->at[i], 4) == 0 ? 0 : (unsigned) read_number(v->at[i] + 12, 4);
}

struct array
value_array(const struct values *v, unsigned i)
{
    struct array a = {.count = array_count(v, i)};

    if (a.count > 0) {
        a.stride = (unsigned) read_number(v->at[i] + 20, 4) + 4;
        a.at = v->at[i] + 24;
    }
    return a;
}

int64_t
array_int(struct array a, unsigned n)
{
    assert(n < a.count);
    return read_number(a.at + (size_t) n * a.stride, a.stride - 4);
}

int64_t
array_time(struct array a, unsigned n)
{
    return unix_time(array_int(a, n));
}

struct uuid
array_uuid(struct array a, unsigned n)
{
    struct uuid u;

    assert(n < a.count && a.stride == 20);
    memcpy(&u, a.at + (size_t) n * a.stride, sizeof(u));
    return u;
}

bool
array_has(struct array a, int64_t wanted)
{
    for (unsigned n = 0; n < a.count; n++)
        if (array_int(a, n) == wanted)
            return true;
    return false;
}

struct texts
value_texts(const struct values *v, unsigned i)
{
    unsigned count = array_count(v, i);

    return (struct texts){count, count > 0 ? v->at[i] + 20 : NULL};
}

struct slice
texts_next(struct texts *t)
{
    int64_t bytes = read_number(t->at, 4);
    struct slice s = {t->at + 4, bytes < 0 ? 0 : (size_t) bytes};

    t->at += 4 + s.bytes;
    return s;
}

/* ---- answers ---- */

struct chunk {
    struct chunk *next;
    size_t used, size;
    char bytes[];
};

void
reply_done(struct db_reply *r)
{
    while (r->chunks) {
        struct chunk *next = r->chunks->next;

        free(r->chunks);
        r->chunks = next;
    }
    free(r->cells);
    *r = (struct db_reply){0};
}

void
reply_call(struct db_reply *r)
{
    assert(r->call_count < DB_CALLS_MAX);
    r->results[r->call_count++] = (struct result){.first = r->cell_count};
}

void
reply_row(struct db_reply *r)
{
    struct result *last = &r->results[r->call_count - 1];

    last->rows++;
}

static struct value_cell *
new_cell(struct db_reply *r)
{
    struct result *last = &r->results[r->call_count - 1];

    if (r->cell_count == r->cell_capacity) {
        r->cell_capacity = MAX_OF(r->cell_capacity * 2, 32u);
        r->cells = realloc(r->cells, r->cell_capacity * sizeof(*r->cells));
        assert(r->cells);
    }
    if (last->rows == 1)
        last->columns++;
    r->cells[r->cell_count] = (struct value_cell){0};
    return &r->cells[r->cell_count++];
}

void
reply_int(struct db_reply *r, int64_t number)
{
    new_cell(r)->number = number;
}

void
reply_null(struct db_reply *r)
{
    new_cell(r)->null = true;
}

void
reply_text(struct db_reply *r, const char *data, size_t bytes)
{
    if (!r->chunks || r->chunks->size - r->chunks->used < bytes) {
        size_t size = MAX_OF(bytes, (size_t) 4096);
        struct chunk *fresh = malloc(sizeof(*fresh) + size);

        assert(fresh);
        *fresh = (struct chunk){.next = r->chunks, .size = size};
        r->chunks = fresh;
    }
    char *copy = r->chunks->bytes + r->chunks->used;
    if (bytes > 0)
        memcpy(copy, data, bytes);
    r->chunks->used += bytes;
    new_cell(r)->text = (struct slice){copy, bytes};
}

void
reply_uuid(struct db_reply *r, const struct uuid *uuid)
{
    new_cell(r)->uuid = *uuid;
}

/* ---- shared/db.h ---- */

static const struct value_cell *
cell_at(const struct db_reply *r, unsigned call, unsigned row, unsigned column)
{
    static const struct value_cell none = {.null = true};

    if (call >= r->call_count)
        return &none;
    const struct result *result = &r->results[call];
    assert(row < result->rows && column < result->columns);
    const struct value_cell *c = &r->cells[result->first + row * result->columns + column];
    return c->null ? &none : c;
}

unsigned
db_rows(const struct db_reply *r, unsigned call)
{
    return call < r->call_count ? r->results[call].rows : 0;
}

unsigned
db_columns(const struct db_reply *r, unsigned call)
{
    return call < r->call_count ? r->results[call].columns : 0;
}

uint64_t
db_affected(const struct db_reply *r, unsigned call)
{
    return call < r->call_count ? r->results[call].affected : 0;
}

bool
db_is_null(const struct db_reply *r, unsigned call, unsigned row, unsigned column)
{
    return cell_at(r, call, row, column)->null;
}

bool
db_get_bool(const struct db_reply *r, unsigned call, unsigned row, unsigned column)
{
    return cell_at(r, call, row, column)->number != 0;
}

int64_t
db_get_int(const struct db_reply *r, unsigned call, unsigned row, unsigned column)
{
    return cell_at(r, call, row, column)->number;
}

int64_t
db_get_time(const struct db_reply *r, unsigned call, unsigned row, unsigned column)
{
    return cell_at(r, call, row, column)->number;
}

struct slice
db_get_text(const struct db_reply *r, unsigned call, unsigned row, unsigned column)
{
    return cell_at(r, call, row, column)->text;
}

struct uuid
db_get_uuid(const struct db_reply *r, unsigned call, unsigned row, unsigned column)
{
    return cell_at(r, call, row, column)->uuid;
}

const char *
db_sqlstate(const struct db_reply *r)
{
    return r->sqlstate ? r->sqlstate : "";
}

const char *
db_message(const struct db_reply *r)
{
    return r->message ? r->message : "";
}

unsigned
db_failed_call(const struct db_reply *r)
{
    return r->failed_call;
}
