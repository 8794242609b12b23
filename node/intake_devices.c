/* intake_devices.c - a batch of devices: rules, time zones, sealed tokens, one transaction. */
#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "node/batch.h"
#include "shared/log.h"
#include "shared/secret.h"

#define TOKEN_KID        1u
#define SEALED_BYTES_MAX (DEVICE_TOKEN_BYTES_MAX + SECRET_SEAL_OVERHEAD)

static void write_next(struct batch *b);

static struct slice
or_default(struct slice text, const char *fallback)
{
    return text.bytes > 0 ? text : (struct slice){fallback, strlen(fallback)};
}

static bool
zone_is_known(const struct intake *i, struct slice zone)
{
    for (unsigned n = 0; n < i->zone_count; n++)
        if (strlen(i->zones[n]) == zone.bytes && memcmp(i->zones[n], zone.data, zone.bytes) == 0)
            return true;
    return false;
}

/* Zones are few: the oldest gives way when more than fit were seen. */
static void
remember_zone(struct intake *i, struct slice zone)
{
    if (zone_is_known(i, zone) || zone.bytes >= sizeof(i->zones[0]))
        return;
    unsigned at = i->zone_count < ARRAY_SIZE(i->zones) ? i->zone_count++ : 0;
    memcpy(i->zones[at], zone.data, zone.bytes);
    i->zones[at][zone.bytes] = '\0';
}

/* The text columns as arrays, in the order of both statements' parameters. */
static void
put_texts(struct db_args *args, const struct batch *b,
          struct slice (*get)(const struct device_row *))
{
    struct slice texts[DEVICES_PER_BATCH_MAX];
    uint32_t count = b->span.end - b->span.first;
    assert(count <= ARRAY_SIZE(texts));
    for (uint32_t n = 0; n < count; n++)
        texts[n] = get(&b->devices[b->order[b->span.first + n]]);
    db_put_texts(args, texts, count);
}

static void
put_numbers(struct db_args *args, const struct batch *b, int32_t (*get)(const struct device_row *))
{
    int32_t numbers[DEVICES_PER_BATCH_MAX];
    uint32_t count = b->span.end - b->span.first;
    assert(count <= ARRAY_SIZE(numbers));
    for (uint32_t n = 0; n < count; n++)
        numbers[n] = get(&b->devices[b->order[b->span.first + n]]);
    db_put_int4s(args, numbers, count);
}

static int32_t
get_id(const struct device_row *r)
{
    return r->device_id;
}

static int32_t
get_min(const struct device_row *r)
{
    return (int32_t) r->min_delay_ms;
}

static int32_t
get_max(const struct device_row *r)
{
    return (int32_t) r->max_delay_ms;
}

static struct slice
get_name(const struct device_row *r)
{
    return or_default(r->name, "");
}

static struct slice
get_zone(const struct device_row *r)
{
    return or_default(r->zone, "UTC");
}

static struct slice
get_account(const struct device_row *r)
{
    return or_default(r->account, "main");
}

static struct slice
get_scope(const struct device_row *r)
{
    return or_default(r->scope, "");
}

static struct slice
get_url(const struct device_row *r)
{
    return or_default(r->url, "");
}

static struct slice
get_quiet(const struct device_row *r)
{
    return or_default(r->quiet, "");
}

static struct slice
get_age(const struct device_row *r)
{
    return or_default(r->age, "");
}

/* -1: none */
static int32_t
get_daily_cap(const struct device_row *r)
{
    return (int32_t) r->daily_cap;
}

static int32_t
get_hourly_cap(const struct device_row *r)
{
    return (int32_t) r->hourly_cap;
}

static struct slice
get_transport(const struct device_row *r)
{
    return r->transport;
}

static struct slice
get_address(const struct device_row *r)
{
    return r->address;
}

/* Seals each token for its device (DETAILS: "tok1|device_id|kid"): it opens on no other row. */
static int
put_tokens(struct db_args *args, const struct batch *b)
{
    uint32_t count = b->span.end - b->span.first;
    struct slice sealed[DEVICES_PER_BATCH_MAX];
    uint8_t *room = malloc((size_t) count * SEALED_BYTES_MAX);
    int err = room ? 0 : -1;

    for (uint32_t n = 0; n < count && err == 0; n++) {
        const struct device_row *r = &b->devices[b->order[b->span.first + n]];
        uint8_t *at = room + (size_t) n * SEALED_BYTES_MAX;
        char context[64];
        size_t bytes = 0;
        int length =
            snprintf(context, sizeof(context), "tok1|%" PRId32 "|%u", r->device_id, TOKEN_KID);
        if (r->token.bytes > 0)
            err = secret_seal(b->intake->token_key, TOKEN_KID,
                              (struct slice){context, (size_t) length}, r->token, at,
                              SEALED_BYTES_MAX, &bytes);
        sealed[n] = (struct slice){(const char *) at, bytes};
    }
    if (err == 0)
        db_put_byteas(args, sealed, count);
    free(room);
    return err;
}

static int
put_columns(struct db_args *args, const struct batch *b)
{
    db_put_int8(args, (int64_t) b->epoch);
    put_numbers(args, b, get_id);
    put_numbers(args, b, get_min);
    put_numbers(args, b, get_max);
    put_texts(args, b, get_name);
    int err = put_tokens(args, b);
    put_texts(args, b, get_zone);
    put_texts(args, b, get_account);
    put_texts(args, b, get_scope);
    put_texts(args, b, get_url);
    put_texts(args, b, get_quiet);
    put_numbers(args, b, get_daily_cap);
    put_numbers(args, b, get_hourly_cap);
    put_texts(args, b, get_age);
    return err;
}

/* Rows of the span (sorted by id) whose ids the reply's `call` returns get the verdict. */
static void
decide(struct batch *b, const struct db_reply *reply, unsigned call, enum row_verdict verdict)
{
    for (unsigned r = 0; r < db_rows(reply, call); r++) {
        int32_t id = (int32_t) db_get_int(reply, call, r, 0);
        uint32_t first = b->span.first, end = b->span.end;
        while (first < end) {
            uint32_t middle = first + (end - first) / 2;
            if (b->devices[b->order[middle]].device_id < id)
                first = middle + 1;
            else
                end = middle;
        }
        assert(first < b->span.end && b->devices[b->order[first]].device_id == id);
        b->verdicts[b->order[first]] = (uint8_t) verdict;
    }
}

static void
tell_partition(struct batch *b)
{
    for (uint32_t n = b->span.first; n < b->span.end; n++) {
        uint32_t row = b->order[n];
        bool written = b->verdicts[row] == ROW_ACCEPTED || b->verdicts[row] == ROW_UPDATED;
        /* One that is there but not in memory: the answer to its commit was lost. */
        bool missed = b->verdicts[row] == ROW_DUPLICATE &&
                      !schedule_find(partition_devices(b->partition), b->devices[row].device_id);
        if (!written && !missed)
            continue;
        int err = partition_device_changed(b->partition, b->devices[row].device_id);
        if (err < 0)
            log_event(LOG_LEVEL_WARNING, "intake.device_unloaded",
                      "device=%" PRId32 " error=\"%s\"", b->devices[row].device_id, strerror(-err));
    }
}

static void
on_written(void *arg, enum db_outcome outcome, const struct db_reply *reply)
{
    struct batch *b = arg;

    if (!batch_committed(b, outcome, reply, write_next, NULL) || !batch_epoch_holds(b, reply, 1))
        return;
    if (b->update)
        decide(b, reply, 2, ROW_UPDATED);
    decide(b, reply, b->update ? 3 : 2, ROW_ACCEPTED);
    for (uint32_t n = b->span.first; n < b->span.end; n++) {
        uint8_t *verdict = &b->verdicts[b->order[n]];
        if (*verdict == ROW_PENDING) /* it was there; with update: but not open (frozen, gone) */
            *verdict = b->update ? ROW_RETRY : ROW_DUPLICATE;
    }
    tell_partition(b);
    write_next(b);
}

static void
write_next(struct batch *b)
{
    if (!batch_next_span(b)) {
        batch_end(b, STATUS_OK, "");
        return;
    }
    struct db_args *insert = batch_args(b, 0), *update = batch_args(b, 1);
    int err = put_columns(insert, b);
    put_texts(insert, b, get_transport);
    put_texts(insert, b, get_address);
    if (b->update && err == 0)
        err = put_columns(update, b);
    if (err < 0) {
        batch_end(b, STATUS_FAILED, "out of memory");
        return;
    }
    struct db_call calls[4] = {{STORE_LOCK_SHARED, NULL}, {STORE_EPOCH, NULL}};
    unsigned count = 2;
    if (b->update) /* first: what it returns was there before */
        calls[count++] = (struct db_call){STORE_INTAKE_DEVICE_UPDATE, update};
    calls[count++] = (struct db_call){STORE_INTAKE_DEVICE_INSERT, insert};
    batch_submit(b, LANE_INTAKE, calls, count, on_written);
}

static int
by_device(const void *x, const void *y, void *arg)
{
    const struct batch *b = arg;
    uint32_t i = *(const uint32_t *) x, k = *(const uint32_t *) y;
    int32_t a = b->devices[i].device_id, c = b->devices[k].device_id;
    return a != c ? (a > c) - (a < c) : (i > k) - (i < k);
}

/* Rows to write, by id. Of several rows of one id the first counts, and with `update` the last; the
 * others are duplicates whatever the database says. */
static void
make_order(struct batch *b)
{
    uint32_t kept = 0;
    b->order_count = 0;
    for (uint32_t n = 0; n < b->count; n++)
        if (b->verdicts[n] == ROW_PENDING)
            b->order[b->order_count++] = n;
    qsort_r(b->order, b->order_count, sizeof(*b->order), by_device, b);
    for (uint32_t n = 0; n < b->order_count; n++) {
        uint32_t row = b->order[n];
        bool repeated =
            kept > 0 && b->devices[b->order[kept - 1]].device_id == b->devices[row].device_id;
        if (repeated)
            b->verdicts[b->update ? b->order[kept - 1] : row] = ROW_DUPLICATE;
        if (repeated && b->update)
            b->order[kept - 1] = row;
        else if (!repeated)
            b->order[kept++] = row;
    }
    b->order_count = kept;
    batch_all_spans(b);
}

static bool
same(struct slice a, struct slice b)
{
    return a.bytes == b.bytes && memcmp(a.data, b.data, a.bytes) == 0;
}

/* The pending rows' zones that were not seen yet, each once. */
static void
list_new_zones(struct batch *b)
{
    for (uint32_t n = 0; n < b->count; n++) {
        struct slice zone = get_zone(&b->devices[n]);
        bool listed = b->verdicts[n] != ROW_PENDING || zone_is_known(b->intake, zone);
        for (uint32_t k = 0; k < b->zone_count && !listed; k++)
            listed = same(b->zones[k], zone);
        if (!listed)
            b->zones[b->zone_count++] = zone;
    }
}

static void
refuse_zone(struct batch *b, struct slice zone)
{
    for (uint32_t n = 0; n < b->count; n++)
        if (b->verdicts[n] == ROW_PENDING && same(get_zone(&b->devices[n]), zone))
            batch_refuse(b, n, "zone: no such time zone (write it as Asia/Kuala_Lumpur)");
}

static void
on_zones(void *arg, enum db_outcome outcome, const struct db_reply *reply)
{
    struct batch *b = arg;

    if (!batch_committed(b, outcome, reply, write_next, NULL))
        return;
    unsigned bad = 0; /* the reply names the unknown ones by ordinal, ascending */
    for (uint32_t n = 0; n < b->zone_count; n++) {
        if (bad < db_rows(reply, 0) && db_get_int(reply, 0, bad, 0) == n + 1) {
            refuse_zone(b, b->zones[n]);
            bad++;
        } else {
            remember_zone(b->intake, b->zones[n]);
        }
    }
    make_order(b);
    write_next(b);
}

void
batch_start_devices(struct batch *b)
{
    for (uint32_t n = 0; n < b->count; n++) {
        const char *why = rows_device_why(&b->devices[n], &b->intake->rows);
        if (why)
            batch_refuse(b, n, why);
    }
    list_new_zones(b);
    if (b->zone_count == 0) {
        make_order(b);
        write_next(b);
        return;
    }
    struct db_args *args = batch_args(b, 0);
    db_put_texts(args, b->zones, b->zone_count);
    const struct db_call call = {STORE_INTAKE_ZONES, args};
    batch_submit(b, LANE_QUERY, &call, 1, on_zones);
}
