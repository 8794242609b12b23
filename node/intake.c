/* intake.c - a batch's life: copied, judged, submitted, halved when need be, answered once. */
#include "node/intake.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>

#include "node/batch.h"

#define ARGS_BYTES                                                                                 \
    (2u * FRAME_BYTES_MAX) /* a frame's rows as arrays: a length beside each value                 \
                            */

int
intake_new(struct intake **ret, const struct replies *replies, const uint8_t *token_key,
           const struct row_limits *rows, const struct intake_limits *limits)
{
    struct intake *i = calloc(1, sizeof(*i));
    if (!i)
        return -ENOMEM;
    *i = (struct intake){.replies = replies,
                         .token_key = token_key,
                         .rows = *rows,
                         .limits = *limits};
    int err = 0;
    for (unsigned n = 0; n < INTAKE_ARGS && err == 0; n++)
        err = db_args_init(&i->args[n], ARGS_BYTES);
    if (err < 0)
        intake_free(i);
    else
        *ret = i;
    return err;
}

struct intake *
intake_free(struct intake *i)
{
    if (!i)
        return NULL;
    assert(i->waiting == 0);
    for (unsigned n = 0; n < INTAKE_ARGS; n++)
        db_args_done(&i->args[n]);
    free(i);
    return NULL;
}

unsigned
intake_waiting(const struct intake *i)
{
    return i->waiting;
}

static struct batch *
batch_free(struct batch *b)
{
    if (!b)
        return NULL;
    for (uint32_t n = 0; n < b->count && b->reasons; n++)
        free(b->reasons[n]);
    free(b->devices); /* and the texts behind them */
    free(b->zones);
    free(b->verdicts);
    free(b->reasons);
    free(b->known);
    free(b->shared);
    free(b->forgotten);
    free(b->order);
    free(b->known_devices);
    free(b);
    return NULL;
}

/* Copies a text to *at and steps over it. */
static struct slice
keep(char **at, struct slice text)
{
    struct slice copy = {*at, text.bytes};
    if (text.bytes > 0)
        memcpy(*at, text.data, text.bytes);
    *at += text.bytes;
    return copy;
}

static bool
copy_devices(struct batch *b, const struct devices *from)
{
    size_t bytes = 0;
    for (uint32_t n = 0; n < from->row_count; n++) {
        const struct device_row *r = &from->rows[n];
        bytes += r->name.bytes + r->transport.bytes + r->address.bytes + r->token.bytes +
                 r->zone.bytes + r->account.bytes + r->scope.bytes + r->url.bytes + r->quiet.bytes +
                 r->age.bytes;
    }
    b->devices = malloc(from->row_count * sizeof(*b->devices) + bytes + 1);
    if (!b->devices)
        return false;
    char *at = (char *) (b->devices + from->row_count);
    for (uint32_t n = 0; n < from->row_count; n++) {
        struct device_row *to = &b->devices[n];
        *to = from->rows[n];
        struct slice *texts[] = {&to->name,    &to->transport, &to->address, &to->token, &to->zone,
                                 &to->account, &to->scope,     &to->url,     &to->quiet, &to->age};
        for (size_t t = 0; t < ARRAY_SIZE(texts); t++)
            *texts[t] = keep(&at, *texts[t]);
    }
    return true;
}

static bool
copy_leads(struct batch *b, const struct leads *from)
{
    size_t bytes = 0;
    for (uint32_t n = 0; n < from->row_count; n++)
        bytes +=
            from->rows[n].name.bytes + from->rows[n].trigger.bytes + from->rows[n].attributes.bytes;
    b->leads = malloc(from->row_count * sizeof(*b->leads) + bytes + 1);
    if (!b->leads)
        return false;
    char *at = (char *) (b->leads + from->row_count);
    for (uint32_t n = 0; n < from->row_count; n++) {
        struct lead_row *to = &b->leads[n];
        *to = from->rows[n];
        to->name = keep(&at, to->name);
        to->trigger = keep(&at, to->trigger);
        to->attributes = keep(&at, to->attributes);
    }
    return true;
}

static struct batch *
batch_new(struct intake *i, struct partition *p, struct rpc_ticket ticket, const struct request *q)
{
    bool of_devices = q->kind == MESSAGE_DEVICES;
    struct batch *b = calloc(1, sizeof(*b));
    if (!b)
        return NULL;
    *b = (struct batch){
        .intake = i,
        .partition = p,
        .ticket = ticket,
        .incarnation = q->incarnation,
        .request_id = q->id,
        .kind = q->kind,
        .update = of_devices ? q->devices.update : q->leads.update,
        .refuse_shared = !of_devices && q->leads.refuse_shared,
        .epoch = partition_epoch(p),
        .count = of_devices ? q->devices.row_count : q->leads.row_count,
    };
    size_t n = b->count + 1u; /* never an allocation of nothing */
    b->verdicts = malloc(n);
    b->reasons = calloc(n, sizeof(*b->reasons));
    b->known = calloc(n, sizeof(*b->known));
    b->shared = calloc(n, sizeof(*b->shared));
    b->forgotten = calloc(n, sizeof(*b->forgotten));
    b->order = calloc(n, sizeof(*b->order));
    b->known_devices = calloc(n, sizeof(*b->known_devices));
    b->zones = calloc(n, sizeof(*b->zones));
    bool copied = of_devices ? copy_devices(b, &q->devices) : copy_leads(b, &q->leads);
    if (!copied || !b->verdicts || !b->reasons || !b->known || !b->shared || !b->forgotten ||
        !b->order || !b->known_devices || !b->zones)
        return batch_free(b);
    memset(b->verdicts, ROW_PENDING, n);
    return b;
}

/* The asker heard nothing for a while and asked again on a new session: the batch that is at work
 * answers there. */
static bool
is_asked_again(struct intake *i, struct rpc_ticket ticket, const struct request *q)
{
    for (unsigned n = 0; n < INTAKE_WAITING_MAX; n++) {
        struct batch *b = i->batches[n];
        if (!b || b->request_id != q->id ||
            memcmp(&b->incarnation, &q->incarnation, sizeof(q->incarnation)) != 0)
            continue;
        b->ticket = ticket;
        return true;
    }
    return false;
}

static void
keep_batch(struct intake *i, struct batch *b)
{
    unsigned n = 0;
    while (i->batches[n])
        n++;
    assert(n < INTAKE_WAITING_MAX);
    i->batches[n] = b;
    i->waiting++;
}

static void
forget_batch(struct intake *i, const struct batch *b)
{
    unsigned n = 0;
    while (i->batches[n] != b)
        n++;
    i->batches[n] = NULL;
    i->waiting--;
}

/* A disk that cannot be asked stops nobody: the database tells by itself when it is full. */
static bool
has_disk(const struct intake *i)
{
    struct statvfs disk;

    if (statvfs(i->limits.disk, &disk) < 0 || disk.f_blocks == 0)
        return true;
    return disk.f_bavail >= disk.f_blocks / 100 * i->limits.disk_free_min;
}

void
intake_take(struct intake *i, struct partition *p, struct rpc_ticket ticket,
            const struct request *q)
{
    assert(q->kind == MESSAGE_DEVICES || q->kind == MESSAGE_LEADS);
    if (is_asked_again(i, ticket, q))
        return;
    if (!partition_may_write(p)) {
        const char *why = partition_reason(p);
        replies_status(i->replies, ticket, q->kind, STATUS_RETRY,
                       *why ? why : partition_state_name(partition_state_of(p)));
        return;
    }
    if (q->kind == MESSAGE_LEADS && !has_disk(i)) {
        replies_status(i->replies, ticket, q->kind, STATUS_RETRY,
                       "the node's disk is nearly full ([intake] disk_free_min): try later");
        return;
    }
    if (i->waiting == INTAKE_WAITING_MAX) {
        replies_status(i->replies, ticket, q->kind, STATUS_RETRY, "too many batches wait");
        return;
    }
    struct batch *b = batch_new(i, p, ticket, q);
    if (!b) {
        replies_status(i->replies, ticket, q->kind, STATUS_FAILED, "out of memory");
        return;
    }
    keep_batch(i, b);
    if (b->kind == MESSAGE_DEVICES)
        batch_start_devices(b);
    else
        batch_start_leads(b);
}

void
batch_end(struct batch *b, enum message_status status, const char *reason)
{
    struct intake *i = b->intake;
    struct slice *reasons = calloc(b->count + 1u, sizeof(*reasons));
    struct reply reply = {.kind = b->kind,
                          .status = reasons ? status : STATUS_FAILED,
                          .reason = {reason, strlen(reason)}};

    if (reply.status == STATUS_OK) {
        reply.rows =
            (struct rows_reply){.row_count = b->count, .verdicts = b->verdicts, .reasons = reasons};
        for (uint32_t n = 0; n < b->count; n++) {
            assert(b->verdicts[n] != ROW_PENDING);
            if (b->verdicts[n] == ROW_REFUSED)
                reasons[reply.rows.reason_count++] =
                    (struct slice){b->reasons[n], strlen(b->reasons[n])};
            reply.rows.shared += b->verdicts[n] == ROW_ACCEPTED && b->shared[n];
        }
    }
    replies_send(i->replies, b->ticket, &reply);
    free(reasons);
    forget_batch(i, b);
    batch_free(b);
}

void
batch_refuse(struct batch *b, uint32_t row, const char *reason)
{
    char *copy = strdup(reason);
    b->reasons[row] = copy;
    /* without memory for the words the row is asked for again, not refused without a reason */
    b->verdicts[row] = copy ? ROW_REFUSED : ROW_RETRY;
}

struct db_args *
batch_args(struct batch *b, unsigned index)
{
    assert(index < INTAKE_ARGS);
    db_args_reset(&b->intake->args[index]);
    return &b->intake->args[index];
}

void
batch_submit(struct batch *b, enum dbpool_lane lane, const struct db_call *calls, unsigned count,
             db_done_fn *done)
{
    struct dbpool *pool = partition_pool(b->partition);
    int err = -ENOTCONN;
    if (pool)
        err = db_submit(dbpool_lane(pool, lane), calls, count, INTAKE_TIMEOUT, done, b);
    if (err == -E2BIG)
        batch_end(b, STATUS_BAD, "the batch is too large");
    else if (err < 0)
        batch_end(b, STATUS_RETRY, err == -EAGAIN ? "the database is busy" : "no database");
}

/* A refusal that the rows themselves caused: data exceptions, constraints, sizes. */
static bool
is_poison(const char *sqlstate)
{
    return strncmp(sqlstate, "22", 2) == 0 || strncmp(sqlstate, "23", 2) == 0 ||
           strncmp(sqlstate, "54", 2) == 0;
}

static void
halve(struct batch *b)
{
    uint32_t middle = b->span.first + (b->span.end - b->span.first) / 2;
    assert(b->span_count + 2 <= SPANS_MAX);
    b->spans[b->span_count++] = (struct span){middle, b->span.end};
    b->spans[b->span_count++] = (struct span){b->span.first, middle};
}

bool
batch_committed(struct batch *b, enum db_outcome outcome, const struct db_reply *reply,
                void (*again)(struct batch *b), void (*reprobe)(struct batch *b))
{
    if (outcome == DB_DONE)
        return true;
    if (outcome != DB_REFUSED) {
        batch_end(b, STATUS_RETRY, "the connection to the database was lost: send the batch again");
        return false;
    }
    const char *sqlstate = db_sqlstate(reply);
    if (strcmp(sqlstate, "23505") == 0 && reprobe && ++b->rounds < PROBE_ROUNDS) {
        reprobe(b);
    } else if (!is_poison(sqlstate) || b->span.end == b->span.first) {
        bool later = strncmp(sqlstate, "40", 2) == 0 || strncmp(sqlstate, "53", 2) == 0 ||
                     strncmp(sqlstate, "55", 2) == 0 || strncmp(sqlstate, "57", 2) == 0;
        batch_end(b, later ? STATUS_RETRY : STATUS_FAILED, db_message(reply));
    } else {
        if (b->span.end - b->span.first == 1)
            batch_refuse(b, b->order[b->span.first], db_message(reply));
        else
            halve(b);
        partition_meter(b->partition)->poison += b->span.end - b->span.first == 1;
        again(b);
    }
    return false;
}

bool
batch_epoch_holds(struct batch *b, const struct db_reply *reply, unsigned call)
{
    if (db_rows(reply, call) == 1 && (uint64_t) db_get_int(reply, call, 0, 0) == b->epoch)
        return true;
    partition_suspect(b->partition);
    batch_end(b, STATUS_RETRY, "this node no longer drives the partition");
    return false;
}

void
batch_all_spans(struct batch *b)
{
    b->spans[0] = (struct span){0, b->order_count};
    b->span_count = b->order_count > 0;
}

bool
batch_next_span(struct batch *b)
{
    if (b->span_count == 0)
        return false;
    b->span = b->spans[--b->span_count];
    return true;
}
