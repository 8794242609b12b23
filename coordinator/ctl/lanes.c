/* lanes.c - batches filled, sent, sent again, and ended row by row by their verdicts. */
#include "coordinator/ctl/lanes.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "coordinator/ctl/terminal.h"

#define ROWS_PER_BATCH_MAX MAX_OF(LEADS_PER_BATCH_MAX, DEVICES_PER_BATCH_MAX)
#define BATCHES_PER_LANE   3u /* two on their way, one being filled */
#define TRY_TIMEOUT        (10 * USEC_PER_SEC)
#define PAUSE_MIN          (100 * USEC_PER_MSEC)
#define PAUSE_MAX          (2 * USEC_PER_SEC)
#define MAP_EVERY          (1 * USEC_PER_SEC)
#define VERDICT_PENDING    UINT8_MAX
/* Copies of rows: all batches together, and one of them. */
#define ARENAS_BYTES_MAX (64u << 20)
#define ARENA_BYTES_MAX  (2u << 20)
#define ARENA_BYTES_MIN  (192u << 10)
/* msgpack's words around a row's texts; a frame is closed before it could be too long. */
#define ROW_OVERHEAD      48u
#define ENCODED_BYTES_MAX (BODY_BYTES_MAX - 4096u)
static_assert(ARENA_BYTES_MIN >= CSV_ROW_BYTES_MAX + LEAD_BYTES_MAX + DEVICE_TOKEN_BYTES_MAX + 4096,
              "any one row fits");

enum batch_state { BATCH_EMPTY, BATCH_FILLING, BATCH_READY, BATCH_ASKED, BATCH_PAUSED };

struct batch_row {
    uint64_t line;
    struct slice raw; /* in the arena */
    uint8_t verdict;
};

struct lane;
struct batch {
    struct lanes *lanes;
    struct lane *lane;
    enum batch_state state;
    uint64_t number; /* in the order of filling */
    uint32_t count;
    struct batch_row rows[ROWS_PER_BATCH_MAX];
    union {
        struct device_row *devices;
        struct lead_row *leads;
    };
    char *arena;
    size_t used, encoded;
    uint32_t asked_count;
    uint16_t asked[ROWS_PER_BATCH_MAX]; /* rows of the request on its way */
    usec_t first_asked, again_at, pause;
};

/* What goes to one partition. */
struct lane {
    char name[NAME_BYTES_MAX + 1];
    struct batch *batches[BATCHES_PER_LANE];
    bool lost; /* given up */
    char why[256];
    uint64_t not_done, first_line, last_line;
};

struct lanes {
    struct lanes_config config;
    bool stopped;
    int err; /* ends the whole import */
    char why[256];
    struct lane *lanes[PARTITIONS_MAX];
    uint32_t lane_count;
    struct lane *lane_of[PARTITIONS_MAX]; /* by the map's place of the partition */
    uint64_t last_number, shared;
    bool want_map;
    usec_t map_at;
    size_t arena_bytes;
    void *asked_rows; /* of the request that is being written */
};

static bool
of_devices(const struct lanes *l)
{
    return l->config.kind == IMPORT_DEVICES;
}

/* ---- making and freeing ---- */

static size_t
row_bytes(const struct lanes *l)
{
    return of_devices(l) ? sizeof(struct device_row) : sizeof(struct lead_row);
}

static struct lane *
lane_for(struct lanes *l, struct slice name)
{
    for (uint32_t i = 0; i < l->lane_count; i++)
        if (strlen(l->lanes[i]->name) == name.bytes &&
            memcmp(l->lanes[i]->name, name.data, name.bytes) == 0)
            return l->lanes[i];
    if (l->lane_count == PARTITIONS_MAX)
        return NULL;
    struct lane *lane = calloc(1, sizeof(*lane));
    if (!lane)
        return NULL;
    snprintf(lane->name, sizeof(lane->name), "%.*s", (int) name.bytes, name.data);
    l->lanes[l->lane_count++] = lane;
    return lane;
}

/* After each load of the map: its partitions may stand in other places. */
static int
read_map(struct lanes *l)
{
    const struct map *map = asker_map(l->config.asker);
    for (uint32_t i = 0; i < map->partition_count; i++) {
        l->lane_of[i] = lane_for(l, map->partitions[i].name);
        if (!l->lane_of[i])
            return -ENOMEM;
    }
    if (l->arena_bytes == 0) {
        size_t share = ARENAS_BYTES_MAX / (BATCHES_PER_LANE * MAX_OF(map->partition_count, 1u));
        l->arena_bytes = MAX_OF(MIN_OF(share, (size_t) ARENA_BYTES_MAX), (size_t) ARENA_BYTES_MIN);
    }
    return 0;
}

int
lanes_new(struct lanes **ret, const struct lanes_config *config)
{
    struct lanes *l = calloc(1, sizeof(*l));
    if (!l)
        return -ENOMEM;
    l->config = *config;
    l->asked_rows = malloc(ROWS_PER_BATCH_MAX * row_bytes(l));
    if (!l->asked_rows || read_map(l) < 0) {
        lanes_free(l);
        return -ENOMEM;
    }
    *ret = l;
    return 0;
}

static struct batch *
batch_free(struct batch *b)
{
    if (!b)
        return NULL;
    assert(b->state != BATCH_ASKED);
    free(b->arena);
    free(b->devices);
    free(b);
    return NULL;
}

static struct batch *
batch_new(struct lanes *l, struct lane *lane)
{
    struct batch *b = calloc(1, sizeof(*b));
    if (!b)
        return NULL;
    b->lanes = l;
    b->lane = lane;
    b->arena = malloc(l->arena_bytes);
    b->devices = malloc(ROWS_PER_BATCH_MAX * row_bytes(l));
    return b->arena && b->devices ? b : batch_free(b);
}

struct lanes *
lanes_free(struct lanes *l)
{
    if (!l)
        return NULL;
    for (uint32_t i = 0; i < l->lane_count; i++) {
        for (unsigned k = 0; k < BATCHES_PER_LANE; k++)
            batch_free(l->lanes[i]->batches[k]);
        free(l->lanes[i]);
    }
    free(l->asked_rows);
    free(l);
    return NULL;
}

uint64_t
lanes_shared(const struct lanes *l)
{
    return l->shared;
}

int
lanes_error(const struct lanes *l, const char **ret_why)
{
    if (l->err < 0)
        *ret_why = l->why;
    return l->err;
}

/* ---- what is not done ---- */

static void
end_undone(struct lanes *l, struct lane *lane, uint64_t line, struct slice raw)
{
    lane->first_line = lane->not_done == 0 ? line : MIN_OF(lane->first_line, line);
    lane->last_line = MAX_OF(lane->last_line, line);
    lane->not_done++;
    l->config.on_end(l->config.arg, line, raw, ROW_RETRY, (struct slice){"", 0});
}

/* The batch's rows that have no verdict are not done; it is free again. */
static void
drop_batch(struct batch *b)
{
    for (uint32_t i = 0; i < b->count; i++)
        if (b->rows[i].verdict == VERDICT_PENDING)
            end_undone(b->lanes, b->lane, b->rows[i].line, b->rows[i].raw);
    b->state = BATCH_EMPTY;
}

static void
lose_lane(struct lane *lane, const char *why)
{
    if (!lane->lost)
        snprintf(lane->why, sizeof(lane->why), "%s", why);
    lane->lost = true;
    for (unsigned k = 0; k < BATCHES_PER_LANE; k++) {
        struct batch *b = lane->batches[k];
        if (b && b->state != BATCH_EMPTY && b->state != BATCH_ASKED)
            drop_batch(b);
    }
}

unsigned
lanes_tell_not_done(const struct lanes *l)
{
    unsigned count = 0;
    for (uint32_t i = 0; i < l->lane_count; i++) {
        const struct lane *lane = l->lanes[i];
        char rows[32], first[32], last[32];
        if (lane->not_done == 0)
            continue;
        terminal_fault("partition %s: %s rows not done (between lines %s and %s)%s%s", lane->name,
                       table_thousands(rows, (int64_t) lane->not_done),
                       table_thousands(first, (int64_t) lane->first_line),
                       table_thousands(last, (int64_t) lane->last_line), lane->lost ? ": " : "",
                       lane->why);
        count++;
    }
    return count;
}

/* ---- a batch on its way ---- */

static void on_answer(void *arg, int err, const struct reply *reply);

static void
pause_batch(struct batch *b, const char *why)
{
    struct lanes *l = b->lanes;
    usec_t now = clock_boot();
    b->state = BATCH_PAUSED;
    b->again_at = now + b->pause;
    b->pause = MIN_OF(2 * b->pause, PAUSE_MAX);
    l->want_map = true;
    if (b->lane->lost)
        drop_batch(b);
    else if (l->stopped || now - b->first_asked >= l->config.batch_timeout)
        lose_lane(b->lane, why);
}

static int32_t
device_of(const struct batch *b, uint32_t row)
{
    return of_devices(b->lanes) ? b->devices[row].device_id : b->leads[row].device_id;
}

/* b->count: every row has its verdict. */
static uint32_t
first_pending(const struct batch *b)
{
    uint32_t i = 0;
    while (i < b->count && b->rows[i].verdict != VERDICT_PENDING)
        i++;
    return i;
}

/* Puts the rows of one partition into a request: all of them, unless ranges have moved. */
static void
collect(struct batch *b, uint32_t first, uint16_t partition, struct request *q)
{
    struct lanes *l = b->lanes;
    const struct map *map = asker_map(l->config.asker);
    b->asked_count = 0;
    for (uint32_t i = first; i < b->count; i++) {
        if (b->rows[i].verdict != VERDICT_PENDING)
            continue;
        const struct range *r = rangemap_find(&map->ranges, device_of(b, i));
        if (!r || r->partition != partition)
            continue;
        if (of_devices(l))
            ((struct device_row *) l->asked_rows)[b->asked_count] = b->devices[i];
        else
            ((struct lead_row *) l->asked_rows)[b->asked_count] = b->leads[i];
        b->asked[b->asked_count++] = (uint16_t) i;
    }
    *q = (struct request){.kind = of_devices(l) ? MESSAGE_DEVICES : MESSAGE_LEADS};
    if (of_devices(l))
        q->devices = (struct devices){.partition = map->partitions[partition].name,
                                      .update = l->config.update,
                                      .row_count = b->asked_count,
                                      .rows = l->asked_rows};
    else
        q->leads = (struct leads){.partition = map->partitions[partition].name,
                                  .update = l->config.update,
                                  .refuse_shared = l->config.refuse_shared,
                                  .row_count = b->asked_count,
                                  .rows = l->asked_rows};
}

static void
send_batch(struct batch *b)
{
    struct lanes *l = b->lanes;
    struct request q;
    uint32_t first = first_pending(b);
    assert(first < b->count);
    const struct range *range =
        rangemap_find(&asker_map(l->config.asker)->ranges, device_of(b, first));
    if (!range) {
        pause_batch(b, "its devices are in no range of the map");
        return;
    }
    collect(b, first, range->partition, &q);
    b->state = BATCH_ASKED;
    int err =
        ask_send(l->config.asker, asker_map(l->config.asker)->partitions[range->partition].name, &q,
                 MIN_OF(TRY_TIMEOUT, l->config.batch_timeout), on_answer, b);
    if (err == -EAGAIN || err == -ENOBUFS || err == -ENOENT)
        pause_batch(b, asker_why(l->config.asker));
    else if (err < 0) {
        b->state = BATCH_PAUSED;
        lose_lane(b->lane, asker_why(l->config.asker));
    }
}

/* Sends what is ready, in the order of the file. With --update one at a time: the later row of a
 * file has the last word, and two batches may overtake one another. */
static void
kick_lane(struct lanes *l, struct lane *lane)
{
    unsigned busy = 0, busy_max = l->config.update ? 1 : BATCHES_PER_LANE - 1;
    struct batch *next = NULL;
    for (unsigned k = 0; k < BATCHES_PER_LANE; k++) {
        struct batch *b = lane->batches[k];
        busy += b && (b->state == BATCH_ASKED || b->state == BATCH_PAUSED);
        if (b && b->state == BATCH_READY && (!next || b->number < next->number))
            next = b;
    }
    if (!next || busy >= busy_max)
        return;
    next->first_asked = clock_boot();
    next->pause = PAUSE_MIN;
    send_batch(next);
}

static void
count_verdict(struct batch *b, struct batch_row *row, const struct rows_reply *reply,
              uint32_t *reason)
{
    struct slice words = {"", 0};
    if (row->verdict == ROW_RETRY) {
        row->verdict = VERDICT_PENDING;
        return;
    }
    if (row->verdict == ROW_REFUSED)
        words = *reason < reply->reason_count ? reply->reasons[(*reason)++]
                                              : (struct slice){"refused", 7};
    b->lanes->config.on_end(b->lanes->config.arg, row->line, row->raw,
                            (enum row_verdict) row->verdict, words);
    /* some were decided: its time and its pauses begin anew */
    b->first_asked = clock_boot();
    b->pause = PAUSE_MIN;
}

static void
on_verdicts(struct batch *b, const struct rows_reply *reply)
{
    uint32_t reason = 0;
    if (reply->row_count != b->asked_count) {
        lose_lane(b->lane, "its node answered for another number of rows");
        drop_batch(b);
        return;
    }
    for (uint32_t i = 0; i < b->asked_count; i++) {
        struct batch_row *row = &b->rows[b->asked[i]];
        row->verdict = reply->verdicts[i];
        count_verdict(b, row, reply, &reason);
    }
    b->lanes->shared += reply->shared;
    if (first_pending(b) < b->count) { /* moving, or moved to another partition */
        pause_batch(b, "some of its devices are moving");
    } else {
        b->state = BATCH_EMPTY;
        kick_lane(b->lanes, b->lane);
    }
}

static void
on_answer(void *arg, int err, const struct reply *reply)
{
    struct batch *b = arg;
    struct lanes *l = b->lanes;
    char why[256];
    if (err == 0 && reply->status == STATUS_OK) {
        on_verdicts(b, &reply->rows);
        return;
    }
    if (err == 0) {
        snprintf(why, sizeof(why), "%.*s", (int) reply->reason.bytes, reply->reason.data);
        err = ask_status_error(reply->status);
    } else {
        snprintf(why, sizeof(why), "%s",
                 err == -ETIMEDOUT ? "its node does not answer" : strerror(-err));
    }
    if ((err == -EPERM || err == -EINVAL) && l->err == 0) {
        l->err = err;
        snprintf(l->why, sizeof(l->why), "%s", why);
    }
    pause_batch(b, why);
}

/* ---- filling ---- */

static struct slice
keep(struct batch *b, struct slice text)
{
    struct slice kept = {b->arena + b->used, text.bytes};
    if (text.bytes > 0)
        memcpy(b->arena + b->used, text.data, text.bytes);
    b->used += text.bytes;
    return kept;
}

static size_t
text_bytes(const struct lanes *l, const struct lanes_row *row)
{
    const struct device_row *d = &row->device;
    const struct lead_row *e = &row->lead;
    return of_devices(l) ? d->name.bytes + d->transport.bytes + d->address.bytes + d->token.bytes +
                               d->zone.bytes + d->account.bytes + d->scope.bytes + d->url.bytes +
                               d->quiet.bytes + d->age.bytes
                         : e->name.bytes + e->trigger.bytes + e->attributes.bytes;
}

static bool
fits(const struct lanes *l, const struct batch *b, const struct lanes_row *row)
{
    size_t texts = text_bytes(l, row);
    uint32_t most = of_devices(l) ? DEVICES_PER_BATCH_MAX : LEADS_PER_BATCH_MAX;
    return b->count < most && b->used + texts + row->raw.bytes <= l->arena_bytes &&
           b->encoded + texts + ROW_OVERHEAD <= ENCODED_BYTES_MAX;
}

static void
add_row(struct lanes *l, struct batch *b, const struct lanes_row *row)
{
    uint32_t n = b->count++;
    if (of_devices(l)) {
        struct device_row *to = &b->devices[n];
        *to = row->device;
        struct slice *texts[] = {&to->name,    &to->transport, &to->address, &to->token, &to->zone,
                                 &to->account, &to->scope,     &to->url,     &to->quiet, &to->age};
        for (size_t i = 0; i < ARRAY_SIZE(texts); i++)
            *texts[i] = keep(b, *texts[i]);
    } else {
        struct lead_row *to = &b->leads[n];
        *to = row->lead;
        to->name = keep(b, to->name);
        to->trigger = keep(b, to->trigger);
        to->attributes = keep(b, to->attributes);
    }
    b->rows[n] = (struct batch_row){row->line, keep(b, row->raw), VERDICT_PENDING};
    b->encoded += text_bytes(l, row) + ROW_OVERHEAD;
}

/* The lane's batch that is being filled, with room for the row; NULL: none is free now. */
static struct batch *
batch_with_room(struct lanes *l, struct lane *lane, const struct lanes_row *row)
{
    struct batch *empty = NULL;
    for (unsigned k = 0; k < BATCHES_PER_LANE; k++) {
        struct batch *b = lane->batches[k];
        if (!b && !empty)
            b = lane->batches[k] = batch_new(l, lane);
        if (!b)
            continue;
        if (b->state == BATCH_FILLING && fits(l, b, row))
            return b;
        if (b->state == BATCH_FILLING) {
            b->state = BATCH_READY;
            kick_lane(l, lane);
        }
        if (b->state == BATCH_EMPTY && !empty)
            empty = b;
    }
    if (!empty)
        return NULL;
    empty->state = BATCH_FILLING;
    empty->number = ++l->last_number;
    empty->count = 0;
    empty->used = empty->encoded = 0;
    return empty;
}

enum lanes_put
lanes_put(struct lanes *l, const struct lanes_row *row)
{
    const struct map *map = asker_map(l->config.asker);
    int32_t device = of_devices(l) ? row->device.device_id : row->lead.device_id;
    const struct range *range = rangemap_find(&map->ranges, device);
    if (!range)
        return LANES_NO_RANGE;
    struct lane *lane = l->lane_of[range->partition];
    if (lane->lost || l->stopped) {
        end_undone(l, lane, row->line, row->raw);
        return LANES_TAKEN;
    }
    struct batch *b = batch_with_room(l, lane, row);
    if (!b)
        return LANES_FULL;
    add_row(l, b, row);
    return LANES_TAKEN;
}

void
lanes_flush(struct lanes *l)
{
    for (uint32_t i = 0; i < l->lane_count; i++) {
        for (unsigned k = 0; k < BATCHES_PER_LANE; k++) {
            struct batch *b = l->lanes[i]->batches[k];
            if (b && b->state == BATCH_FILLING)
                b->state = BATCH_READY;
        }
        kick_lane(l, l->lanes[i]);
    }
}

void
lanes_stop(struct lanes *l, bool all)
{
    l->stopped = true;
    for (uint32_t i = 0; i < l->lane_count; i++) {
        for (unsigned k = 0; k < BATCHES_PER_LANE; k++) {
            struct batch *b = l->lanes[i]->batches[k];
            if (b && (b->state == BATCH_PAUSED ||
                      (all && (b->state == BATCH_FILLING || b->state == BATCH_READY))))
                drop_batch(b);
        }
    }
}

/* A map that cannot be had now is no fault: the drivers may well go on with the one at hand. */
static void
renew_map(struct lanes *l, usec_t now)
{
    if (!l->want_map || l->stopped || now < l->map_at + MAP_EVERY)
        return;
    l->map_at = now;
    l->want_map = false;
    if (ask_map(l->config.asker) == 0 && read_map(l) < 0)
        l->err = l->err ?: -ENOMEM;
}

bool
lanes_tend(struct lanes *l, usec_t now, usec_t *ret_wait)
{
    bool active = false;
    renew_map(l, now);
    for (uint32_t i = 0; i < l->lane_count; i++) {
        for (unsigned k = 0; k < BATCHES_PER_LANE; k++) {
            struct batch *b = l->lanes[i]->batches[k];
            if (b && b->state == BATCH_PAUSED && now >= b->again_at)
                send_batch(b);
            if (b && b->state == BATCH_PAUSED && b->again_at > now)
                *ret_wait = MIN_OF(*ret_wait, b->again_at - now);
            active |= b && (b->state == BATCH_PAUSED || b->state == BATCH_ASKED ||
                            b->state == BATCH_READY);
        }
    }
    return active;
}
