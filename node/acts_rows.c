/* acts_rows.c - a row's cells, what is said of it, and the parameters that undecided rows make. */
#include <assert.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

#include "node/acts_inner.h"
#include "node/audience.h"
#include "node/rows.h"
#include "shared/parse.h"

#define TIME_MAX  253402300799000000 /* year 9999: PostgreSQL knows it */
#define PHONE_MIN 10000000u
#define PHONE_MAX 999999999999999u

/* ---- rows ---- */

void
row_decide(struct act_row *row, enum act_verdict verdict, const char *format, ...)
{
    va_list args;

    row->verdict = verdict;
    va_start(args, format);
    vsnprintf(row->detail, sizeof(row->detail), format, args);
    va_end(args);
}

bool
row_device(struct act_row *row, unsigned column)
{
    struct slice cell = row->cells[column];
    uint32_t id;

    if (parse_u32(cell.data, cell.bytes, 1, DEVICE_ID_MAX, &id) < 0) {
        row_decide(row, ACT_REFUSED, "device_id: must be 1 to 2147483647");
        return false;
    }
    row->device_id = (int32_t) id;
    return true;
}

bool
row_phone(const struct acts *a, struct act_row *row, unsigned column)
{
    struct slice cell = row->cells[column];

    if (parse_u64(cell.data, cell.bytes, PHONE_MIN, PHONE_MAX, &row->phone) < 0) {
        row_decide(row, ACT_REFUSED, "phone: must be an international number of 8 to 15 digits");
        return false;
    }
    rows_phone_hash(a->token_key, row->phone, row->hash);
    return true;
}

bool
row_time(struct act_row *row, unsigned column, int64_t absent)
{
    struct slice cell = row->cells[column];
    uint64_t usec = 0;

    if (cell.bytes > 0 && parse_u64(cell.data, cell.bytes, 0, TIME_MAX, &usec) < 0) {
        row_decide(row, ACT_REFUSED, "time: must be microseconds since 1970");
        return false;
    }
    row->time = usec == 0 ? absent : (int64_t) usec;
    return true;
}

bool
row_word(struct act_row *row, unsigned column, const char *what, size_t bytes_max)
{
    if (row->cells[column].bytes <= bytes_max)
        return true;
    row_decide(row, ACT_REFUSED, "%s: longer than %zu bytes", what, bytes_max);
    return false;
}

/* In the order of store.c's numbers. */
void
row_verdict(struct act_row *row, int64_t verdict, int64_t number)
{
    static const struct {
        enum act_verdict verdict;
        const char *words;
    } table[] = {
        {ACT_DONE, NULL},
        {ACT_NOT_FOUND, "no such device here"},
        {ACT_RETRY, "its device is moving"},
        {ACT_KNOWN, NULL},
        {ACT_REFUSED, "opted out"},
        {ACT_REFUSED, "was erased on its own wish"},
        {ACT_REFUSED, "its time is over"},
        {ACT_RETRY, "1000 direct messages wait on this device: try later"},
        {ACT_REFUSED, "the sequence was cancelled"},
        {ACT_REFUSED, "has been through it (--again enrols once more)"},
        {ACT_NOT_FOUND, "no such lead on this device"},
        {ACT_RETRY, "a message to it is on the wire"},
        {ACT_NOT_FOUND, "it is not in the sequence"},
        {ACT_REFUSED, "another message was sent with this key"},
    };
    static_assert(DIRECT_WAITING_MAX == 1000, "as the words say");

    assert(verdict >= 0 && verdict < (int64_t) ARRAY_SIZE(table));
    if (table[verdict].words)
        row_decide(row, table[verdict].verdict, "%s", table[verdict].words);
    else
        row_decide(row, table[verdict].verdict, "%" PRId64, number);
}

void
round_verdicts(struct round *r, enum db_outcome outcome, const struct db_reply *reply,
               round_tell_fn *tell)
{
    if (!round_committed(r, outcome, reply))
        return;
    for (unsigned k = 0; k < db_rows(reply, ROUND_CALLS); k++) {
        struct act_row *row = round_row(r, db_get_int(reply, ROUND_CALLS, k, 0));
        int64_t verdict = db_get_int(reply, ROUND_CALLS, k, 1);
        int32_t lead_no = (int32_t) db_get_int(reply, ROUND_CALLS, k, 2);

        if (!row)
            continue;
        row_verdict(row, verdict, lead_no);
        if (verdict == 0)
            tell(r, row, lead_no, reply, k);
    }
    round_end(r, "the epoch is another one");
}

void
round_tell_new(const struct round *r, const struct act_row *row, int32_t lead_no,
               const struct db_reply *reply, unsigned k)
{
    audience_row_new(r->partition, row->device_id, row->source_id, lead_no, row->revision,
                     row->step, db_get_time(reply, ROUND_CALLS, k, 3));
}

/* ---- parameters ---- */

unsigned
round_put_n(const struct round *r, struct db_args *args)
{
    int32_t values[ACT_ROWS_MAX];
    unsigned count = 0;

    for (unsigned n = 0; n < r->row_count; n++)
        if (r->rows[n]->verdict == ACT_PENDING)
            values[count++] = (int32_t) n;
    db_put_int4s(args, values, count);
    return count;
}

void
round_put_devices(const struct round *r, struct db_args *args)
{
    int32_t values[ACT_ROWS_MAX];
    unsigned count = 0;

    for (unsigned n = 0; n < r->row_count; n++)
        if (r->rows[n]->verdict == ACT_PENDING)
            values[count++] = r->rows[n]->device_id;
    db_put_int4s(args, values, count);
}

void
round_put_phones(const struct round *r, struct db_args *args)
{
    int64_t values[ACT_ROWS_MAX];
    unsigned count = 0;

    for (unsigned n = 0; n < r->row_count; n++)
        if (r->rows[n]->verdict == ACT_PENDING)
            values[count++] = (int64_t) r->rows[n]->phone;
    db_put_int8s(args, values, count);
}

void
round_put_times(const struct round *r, struct db_args *args)
{
    int64_t values[ACT_ROWS_MAX];
    unsigned count = 0;

    for (unsigned n = 0; n < r->row_count; n++)
        if (r->rows[n]->verdict == ACT_PENDING)
            values[count++] = r->rows[n]->time;
    db_put_times(args, values, count);
}

void
round_put_hashes(const struct round *r, struct db_args *args)
{
    struct slice values[ACT_ROWS_MAX];
    unsigned count = 0;

    for (unsigned n = 0; n < r->row_count; n++)
        if (r->rows[n]->verdict == ACT_PENDING)
            values[count++] = (struct slice){(const char *) r->rows[n]->hash, SECRET_HASH_BYTES};
    db_put_byteas(args, values, count);
}

void
round_put_cells(const struct round *r, struct db_args *args, unsigned column)
{
    struct slice values[ACT_ROWS_MAX];
    unsigned count = 0;

    for (unsigned n = 0; n < r->row_count; n++) {
        struct slice cell = r->rows[n]->cells[column];
        if (r->rows[n]->verdict == ACT_PENDING)
            values[count++] = cell.bytes > 0 ? cell : (struct slice){"", 0}; /* NULL is SQL's */
    }
    db_put_texts(args, values, count);
}
