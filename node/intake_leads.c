/* intake_leads.c - a batch of leads: probed for what is known, then numbered and stored. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "node/batch.h"

static void write_next(struct batch *b);
static void probe(struct batch *b);

static int
by_device(const void *x, const void *y, void *arg)
{
    const struct batch *b = arg;
    uint32_t i = *(const uint32_t *) x, k = *(const uint32_t *) y;
    int32_t a = b->leads[i].device_id, c = b->leads[k].device_id;
    return a != c ? (a > c) - (a < c) : (i > k) - (i < k);
}

static int
by_phone(const void *x, const void *y, void *arg)
{
    const struct batch *b = arg;
    uint32_t i = *(const uint32_t *) x, k = *(const uint32_t *) y;
    uint64_t a = b->leads[i].phone, c = b->leads[k].phone;
    return a != c ? (a > c) - (a < c) : by_device(x, y, arg);
}

static void
list_pending(struct batch *b)
{
    b->order_count = 0;
    for (uint32_t n = 0; n < b->count; n++)
        if (b->verdicts[n] == ROW_PENDING)
            b->order[b->order_count++] = n;
}

/* Of several rows of one (device, phone) the first counts, and with `update` the last, as it would
 * if they came in different batches; the others are duplicates whatever the database says. */
static void
drop_repeated(struct batch *b)
{
    list_pending(b);
    qsort_r(b->order, b->order_count, sizeof(*b->order), by_phone, b);
    for (uint32_t n = 1; n < b->order_count; n++) {
        const struct lead_row *before = &b->leads[b->order[n - 1]], *row = &b->leads[b->order[n]];
        if (before->phone == row->phone && before->device_id == row->device_id)
            b->verdicts[b->order[b->update ? n - 1 : n]] = ROW_DUPLICATE;
    }
}

static int
compare_known_device(const void *x, const void *y)
{
    const struct known_device *a = x, *b = y;
    return (a->device_id > b->device_id) - (a->device_id < b->device_id);
}

static struct known_device *
find_device(const struct batch *b, int32_t device_id)
{
    const struct known_device key = {.device_id = device_id};
    return bsearch(&key, b->known_devices, b->known_device_count, sizeof(key),
                   compare_known_device);
}

static void
take_devices(struct batch *b, const struct db_reply *reply, unsigned call)
{
    b->known_device_count = db_rows(reply, call);
    assert(b->known_device_count <= b->count);
    for (unsigned r = 0; r < b->known_device_count; r++)
        b->known_devices[r] = (struct known_device){
            .device_id = (int32_t) db_get_int(reply, call, r, 0),
            .residence = (int32_t) db_get_int(reply, call, r, 1),
            .account = (int32_t) db_get_int(reply, call, r, 2),
            .leads = (uint32_t) db_get_int(reply, call, r, 3),
        };
}

/* A new lead is shared when an earlier new row of the batch, of another device of the account, has
 * its phone (what the partition had before was told by the probe). */
static void
mark_shared_within(struct batch *b)
{
    uint32_t kept = 0, first = 0;
    list_pending(b);
    for (uint32_t n = 0; n < b->order_count; n++)
        if (!b->known[b->order[n]])
            b->order[kept++] = b->order[n];
    qsort_r(b->order, kept, sizeof(*b->order), by_phone, b);
    for (uint32_t n = 0; n < kept; n++) {
        uint32_t row = b->order[n];
        if (b->leads[b->order[first]].phone != b->leads[row].phone)
            first = n;
        for (uint32_t k = first; k < n && !b->shared[row]; k++)
            b->shared[row] = find_device(b, b->leads[b->order[k]].device_id)->account ==
                             find_device(b, b->leads[row].device_id)->account;
    }
}

static void
decide_row(struct batch *b, uint32_t row)
{
    struct known_device *d = find_device(b, b->leads[row].device_id);

    if (!d)
        batch_refuse(b, row, "no such device: import it first, or correct the id");
    else if (d->residence != 0) /* frozen or gone: the map will tell where it is */
        b->verdicts[row] = ROW_RETRY;
    else if (b->known[row] && !b->update)
        b->verdicts[row] = ROW_DUPLICATE;
    else if (b->forgotten[row])
        batch_refuse(b, row, "phone: this person was erased (lead forget)");
    else if (!b->known[row] && d->leads >= b->intake->limits.leads_max)
        batch_refuse(b, row, "device_id: it has [intake] leads_max leads: try later");
    else
        d->leads += !b->known[row];
}

/* Decides what needs no write; what stays pending is written. */
static void
decide_probed(struct batch *b)
{
    for (uint32_t n = 0; n < b->order_count; n++)
        decide_row(b, b->order[n]);
    mark_shared_within(b);
    list_pending(b);
    for (uint32_t n = 0; n < b->order_count && b->refuse_shared; n++)
        if (b->shared[b->order[n]] && !b->known[b->order[n]])
            batch_refuse(b, b->order[n], "phone: another device of the account has it");
    list_pending(b);
    qsort_r(b->order, b->order_count, sizeof(*b->order), by_device, b);
    batch_all_spans(b);
}

static void
on_probed(void *arg, enum db_outcome outcome, const struct db_reply *reply)
{
    struct batch *b = arg;

    if (!batch_committed(b, outcome, reply, write_next, NULL) || !batch_epoch_holds(b, reply, 0))
        return;
    take_devices(b, reply, 1);
    for (unsigned r = 0; r < db_rows(reply, 2); r++) {
        uint32_t row = b->order[(uint32_t) db_get_int(reply, 2, r, 0) - 1];
        b->known[row] = db_get_bool(reply, 2, r, 1);
        b->shared[row] = db_get_bool(reply, 2, r, 2);
    }
    for (unsigned r = 0; r < db_rows(reply, 3); r++)
        b->forgotten[b->order[(uint32_t) db_get_int(reply, 3, r, 0) - 1]] = true;
    decide_probed(b);
    write_next(b);
}

/* Of the rows in `span` of the order; new_only: of those that are not known. */
static void
put_hashes(struct db_args *args, const struct batch *b, struct span span, bool new_only)
{
    static uint8_t hashes[LEADS_PER_BATCH_MAX][SECRET_HASH_BYTES]; /* 64 KiB: one at a time */
    struct slice values[LEADS_PER_BATCH_MAX];
    uint32_t count = 0;

    for (uint32_t n = span.first; n < span.end; n++) {
        uint32_t row = b->order[n];
        if (new_only && b->known[row])
            continue;
        rows_phone_hash(b->intake->token_key, b->leads[row].phone, hashes[count]);
        values[count] = (struct slice){(const char *) hashes[count], SECRET_HASH_BYTES};
        count++;
    }
    db_put_byteas(args, values, count);
}

/*
 * Asks which of the pending rows exist; the order is kept until the answer is read. On the reading
 * lane, so that the next batch is probed while this one is written.
 */
static void
probe(struct batch *b)
{
    int32_t devices[LEADS_PER_BATCH_MAX], unique[LEADS_PER_BATCH_MAX];
    int64_t phones[LEADS_PER_BATCH_MAX];
    uint32_t unique_count = 0;

    list_pending(b);
    if (b->order_count == 0) {
        batch_end(b, STATUS_OK, "");
        return;
    }
    qsort_r(b->order, b->order_count, sizeof(*b->order), by_device, b);
    b->span = (struct span){0, 0};
    for (uint32_t n = 0; n < b->order_count; n++) {
        devices[n] = b->leads[b->order[n]].device_id;
        phones[n] = (int64_t) b->leads[b->order[n]].phone;
        if (n == 0 || devices[n] != devices[n - 1])
            unique[unique_count++] = devices[n];
    }
    struct db_args *ids = batch_args(b, 0), *pairs = batch_args(b, 1), *hashes = batch_args(b, 2);
    db_put_int4s(ids, unique, unique_count);
    db_put_int8s(pairs, phones, b->order_count);
    db_put_int4s(pairs, devices, b->order_count);
    db_put_int4s(hashes, devices, b->order_count);
    put_hashes(hashes, b, (struct span){0, b->order_count}, false);
    const struct db_call calls[] = {{STORE_EPOCH, NULL},
                                    {STORE_INTAKE_LEAD_DEVICES, ids},
                                    {STORE_INTAKE_LEAD_PROBE, pairs},
                                    {STORE_INTAKE_FORGOTTEN, hashes}};
    batch_submit(b, LANE_QUERY, calls, ARRAY_SIZE(calls), on_probed);
}

/* The text columns of the span's rows that are known (to update) or new (to insert). */
static void
put_texts(struct db_args *args, const struct batch *b, bool known)
{
    struct slice names[LEADS_PER_BATCH_MAX], triggers[LEADS_PER_BATCH_MAX],
        attributes[LEADS_PER_BATCH_MAX];
    uint32_t count = 0;

    for (uint32_t n = b->span.first; n < b->span.end; n++) {
        uint32_t row = b->order[n];
        const struct lead_row *r = &b->leads[row];
        if (b->known[row] != known)
            continue;
        names[count] = r->name.bytes > 0 ? r->name : (struct slice){"", 0};
        triggers[count] = r->trigger.bytes > 0 ? r->trigger : (struct slice){"", 0};
        attributes[count++] = r->attributes.bytes > 0 ? r->attributes : (struct slice){"{}", 2};
    }
    db_put_texts(args, names, count);
    db_put_texts(args, triggers, count);
    db_put_texts(args, attributes, count);
}

/* Devices with their number of new rows; then per new row its device's place in that list and how
 * many of its device follow it. Returns the number of devices. */
static uint32_t
put_insert(struct db_args *args, const struct batch *b)
{
    int32_t ids[LEADS_PER_BATCH_MAX], rows[LEADS_PER_BATCH_MAX], places[LEADS_PER_BATCH_MAX],
        behind[LEADS_PER_BATCH_MAX];
    int64_t phones[LEADS_PER_BATCH_MAX];
    uint32_t count = 0, device_count = 0;

    for (uint32_t n = b->span.first; n < b->span.end; n++) {
        const struct lead_row *r = &b->leads[b->order[n]];
        if (b->known[b->order[n]])
            continue;
        if (device_count == 0 || ids[device_count - 1] != r->device_id) {
            ids[device_count] = r->device_id;
            rows[device_count++] = 0;
        }
        phones[count] = (int64_t) r->phone;
        places[count] = (int32_t) device_count;     /* SQL counts from 1 */
        behind[count++] = ++rows[device_count - 1]; /* so far; turned around below */
    }
    for (uint32_t n = 0; n < count; n++)
        behind[n] = rows[places[n] - 1] - behind[n];
    db_put_int8(args, (int64_t) b->epoch);
    db_put_int4s(args, ids, device_count);
    db_put_int4s(args, rows, device_count);
    db_put_int4s(args, places, count);
    db_put_int4s(args, behind, count);
    db_put_int8s(args, phones, count);
    put_texts(args, b, false);
    put_hashes(args, b, b->span, true);
    return device_count;
}

/* Known rows: devices, phones, then texts (all of them, or the trigger only). */
static void
put_known(struct db_args *args, const struct batch *b, bool triggers_only)
{
    int32_t devices[LEADS_PER_BATCH_MAX];
    int64_t phones[LEADS_PER_BATCH_MAX];
    struct slice triggers[LEADS_PER_BATCH_MAX];
    uint32_t count = 0;

    for (uint32_t n = b->span.first; n < b->span.end; n++) {
        const struct lead_row *r = &b->leads[b->order[n]];
        if (!b->known[b->order[n]])
            continue;
        devices[count] = r->device_id;
        phones[count] = (int64_t) r->phone;
        triggers[count++] = r->trigger.bytes > 0 ? r->trigger : (struct slice){"", 0};
    }
    db_put_int8(args, (int64_t) b->epoch);
    db_put_int4s(args, devices, count);
    db_put_int8s(args, phones, count);
    if (triggers_only)
        db_put_texts(args, triggers, count);
    else
        put_texts(args, b, true);
}

static void
put_update(struct db_args *args, const struct batch *b)
{
    put_known(args, b, false);
}

/* Sequences that have passed these leads look for their triggers again. */
static void
put_triggers(struct db_args *args, const struct batch *b)
{
    put_known(args, b, true);
}

static void
accept_inserted(struct batch *b)
{
    for (uint32_t n = b->span.first; n < b->span.end; n++)
        if (!b->known[b->order[n]])
            b->verdicts[b->order[n]] = ROW_ACCEPTED;
}

/* The reply's ordinals count the known rows of the span. */
static void
decide_updated(struct batch *b, const struct db_reply *reply, unsigned call)
{
    uint32_t rows[LEADS_PER_BATCH_MAX], count = 0;
    for (uint32_t n = b->span.first; n < b->span.end; n++) {
        if (!b->known[b->order[n]])
            continue;
        rows[count++] = b->order[n];
        b->verdicts[b->order[n]] = ROW_RETRY;
    }
    for (unsigned r = 0; r < db_rows(reply, call); r++) {
        uint32_t ordinal = (uint32_t) db_get_int(reply, call, r, 0);
        assert(ordinal >= 1 && ordinal <= count);
        b->verdicts[rows[ordinal - 1]] = ROW_UPDATED;
    }
}

/* ---- columns that nobody had before ---- */

static bool
is_seen(const struct columns_seen *seen, const struct batch *b, struct slice name)
{
    for (unsigned n = 0; n < seen->count; n++) {
        const struct column_seen *c = &seen->columns[n];
        if (c->partition == b->partition && c->bytes == name.bytes &&
            memcmp(c->name, name.data, name.bytes) == 0)
            return true;
    }
    for (unsigned n = 0; n < b->column_count; n++)
        if (b->columns[n].bytes == name.bytes &&
            memcmp(b->columns[n].data, name.data, name.bytes) == 0)
            return true;
    return false;
}

/* Has a column that this span did not name yet? More than fit are named again by the next span. */
static bool
names_new_columns(struct batch *b, struct slice attributes)
{
    unsigned before = b->column_count;
    size_t at = 0;
    struct slice name;

    while (rows_next_column(attributes, &at, &name))
        if (b->column_count < ARRAY_SIZE(b->columns) && !is_seen(&b->intake->seen, b, name))
            b->columns[b->column_count++] = name;
    return b->column_count > before;
}

static void
put_columns(struct db_args *args, struct batch *b)
{
    struct slice values[LEADS_PER_BATCH_MAX];
    uint32_t count = 0;

    b->column_count = 0;
    for (uint32_t n = b->span.first; n < b->span.end; n++) {
        struct slice attributes = b->leads[b->order[n]].attributes;
        if (names_new_columns(b, attributes))
            values[count++] = attributes;
    }
    db_put_int8(args, (int64_t) b->epoch);
    db_put_texts(args, values, count);
}

/* They are committed. When the room is used up, columns are written again, which changes nothing.
 */
static void
keep_columns(struct batch *b)
{
    struct columns_seen *seen = &b->intake->seen;

    for (unsigned n = 0; n < b->column_count && seen->count < COLUMNS_SEEN; n++) {
        struct column_seen *c = &seen->columns[seen->count];
        if (b->columns[n].bytes > sizeof(c->name))
            continue;
        *c = (struct column_seen){.partition = b->partition,
                                  .bytes = (unsigned) b->columns[n].bytes};
        memcpy(c->name, b->columns[n].data, c->bytes);
        seen->count++;
    }
    b->column_count = 0;
}

/* Triggers that were set: the device's sequences look for them. By device, so each once. */
static void
announce_triggers(const struct batch *b)
{
    int32_t told = 0;

    for (uint32_t n = b->span.first; n < b->span.end; n++) {
        const struct lead_row *r = &b->leads[b->order[n]];
        uint8_t verdict = b->verdicts[b->order[n]];
        if (r->trigger.bytes == 0 || r->device_id == told ||
            (verdict != ROW_ACCEPTED && verdict != ROW_UPDATED))
            continue;
        told = r->device_id;
        partition_triggers_set(b->partition, told);
    }
}

static void
on_written(void *arg, enum db_outcome outcome, const struct db_reply *reply)
{
    struct batch *b = arg;

    if (!batch_committed(b, outcome, reply, write_next, probe) || !batch_epoch_holds(b, reply, 1))
        return;
    if (b->update)
        decide_updated(b, reply, 4);
    if ((uint64_t) db_get_int(reply, 2, 0, 0) == b->numbered) {
        accept_inserted(b);
        keep_columns(b);
        announce_triggers(b);
        write_next(b);
    } else if (++b->rounds < PROBE_ROUNDS) {
        probe(
            b); /* a device was frozen, or a person erased, after the probe: nothing was numbered */
    } else {
        batch_end(b, STATUS_RETRY, "devices of this batch are moving");
    }
}

static void
write_next(struct batch *b)
{
    if (!batch_next_span(b)) {
        batch_end(b, STATUS_OK, "");
        return;
    }
    struct db_args *insert = batch_args(b, 0), *update = batch_args(b, 1), *back = batch_args(b, 2),
                   *columns = batch_args(b, 3);
    b->numbered = put_insert(insert, b);
    put_update(update, b);
    put_triggers(back, b);
    put_columns(columns, b);
    struct db_call calls[6] = {{STORE_LOCK_SHARED, NULL},
                               {STORE_EPOCH, NULL},
                               {STORE_INTAKE_LEAD_INSERT, insert},
                               {STORE_TRIGGER_BACK, back},
                               {STORE_INTAKE_LEAD_UPDATE, update}};
    unsigned count = b->update ? 5 : 3;
    if (b->column_count > 0)
        calls[count++] = (struct db_call){STORE_INTAKE_COLUMNS, columns};
    batch_submit(b, LANE_INTAKE, calls, count, on_written);
}

void
batch_start_leads(struct batch *b)
{
    for (uint32_t n = 0; n < b->count; n++) {
        const char *why = rows_lead_why(&b->leads[n]);
        if (why)
            batch_refuse(b, n, why);
    }
    drop_repeated(b);
    probe(b);
}
