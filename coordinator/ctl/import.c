/* import.c - batches by partition: filled from the file, sent, sent again, settled by verdicts. */
#include "coordinator/ctl/import.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "coordinator/ctl/terminal.h"
#include "shared/secret.h"

#define ROWS_PER_BATCH_MAX MAX_OF(LEADS_PER_BATCH_MAX, DEVICES_PER_BATCH_MAX)
#define BATCHES_PER_LANE   3u /* two on their way, one being filled */
#define ROWS_PER_TURN      4000u
#define TRY_TIMEOUT        (10 * USEC_PER_SEC)
#define PAUSE_MIN          (100 * USEC_PER_MSEC)
#define PAUSE_MAX          (2 * USEC_PER_SEC)
#define MAP_EVERY          (1 * USEC_PER_SEC)
#define TURN_MAX           (200 * USEC_PER_MSEC)
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
    struct slice raw; /* in the arena: its fields, should the driver refuse it */
    uint8_t verdict;
};

struct lane;
struct batch {
    struct import *import;
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

struct import {
    struct asker *asker;
    struct csvfile *file;
    const struct import_columns *columns;
    const struct import_config *config;
    struct rejects *rejects;
    struct import_counts counts;
    int err; /* ends the whole import */
    char why[256];
    bool eof, stopped;
    /* the row that was read last, while it has no place yet */
    bool held;
    struct lane *held_for;
    struct csv_row row;
    union {
        struct device_row device;
        struct lead_row lead;
    };
    char json[IMPORT_JSON_BYTES];
    char token[DEVICE_TOKEN_BYTES_MAX]; /* read from token_path */
    size_t token_bytes;
    char *token_path;
    struct lane *lanes[PARTITIONS_MAX];
    uint32_t lane_count;
    uint64_t last_number;
    struct lane *lane_of[PARTITIONS_MAX]; /* by the map's place of the partition */
    bool want_map;
    usec_t map_at;
    size_t arena_bytes;
    void *asked_rows; /* of the request that is being written */
    char *scratch;    /* to split a refused row again */
    struct progress progress;
};

static bool
of_devices(const struct import *im)
{
    return im->columns->kind == IMPORT_DEVICES;
}

/* ---- making and freeing ---- */

static size_t
row_bytes(const struct import *im)
{
    return of_devices(im) ? sizeof(struct device_row) : sizeof(struct lead_row);
}

int
import_new(struct import **ret, struct asker *asker, struct csvfile *file,
           const struct import_columns *columns, const struct import_config *config,
           struct rejects *rejects)
{
    struct import *im = calloc(1, sizeof(*im));
    if (!im)
        return -ENOMEM;
    im->asker = asker;
    im->file = file;
    im->columns = columns;
    im->config = config;
    im->rejects = rejects;
    im->asked_rows = malloc(ROWS_PER_BATCH_MAX * row_bytes(im));
    im->scratch = malloc(CSV_ROW_BYTES_MAX);
    if (!im->asked_rows || !im->scratch) {
        import_free(im);
        return -ENOMEM;
    }
    *ret = im;
    return 0;
}

static struct batch *
batch_new(struct import *im, struct lane *lane)
{
    struct batch *b = calloc(1, sizeof(*b));
    if (!b)
        return NULL;
    b->import = im;
    b->lane = lane;
    b->arena = malloc(im->arena_bytes);
    b->devices = malloc(ROWS_PER_BATCH_MAX * row_bytes(im));
    if (b->arena && b->devices)
        return b;
    free(b->arena);
    free(b->devices);
    free(b);
    return NULL;
}

struct import *
import_free(struct import *im)
{
    if (!im)
        return NULL;
    for (uint32_t i = 0; i < im->lane_count; i++) {
        for (unsigned k = 0; k < BATCHES_PER_LANE; k++) {
            struct batch *b = im->lanes[i]->batches[k];
            if (!b)
                continue;
            assert(b->state != BATCH_ASKED);
            free(b->arena);
            free(b->devices);
            free(b);
        }
        free(im->lanes[i]);
    }
    free(im->asked_rows);
    free(im->scratch);
    free(im->token_path);
    free(im);
    return NULL;
}

const struct import_counts *
import_counts(const struct import *im)
{
    return &im->counts;
}

const char *
import_why(const struct import *im)
{
    return im->why;
}

/* ---- rows that end here ---- */

static void
reject(struct import *im, const struct csv_row *row, unsigned field, struct slice reason)
{
    im->counts.rejected++;
    int err = rejects_put(im->rejects, row, field, reason);
    if (err < 0 && im->err == 0) {
        im->err = err;
        snprintf(im->why, sizeof(im->why), "the rejects file cannot be written: %s",
                 strerror(-err));
    }
}

static void
reject_words(struct import *im, const struct csv_row *row, unsigned field, const char *reason)
{
    reject(im, row, field, (struct slice){reason, strlen(reason)});
}

/* A node's words begin with the column's name: "zone: not a time zone". */
static void
reject_by_node(struct import *im, const struct batch_row *r, struct slice reason)
{
    struct csv_row row = {0};
    csv_split(r->raw, csvfile_delimiter(im->file), im->scratch, &row);
    row.line = r->line;
    const struct csv_row *h = csvfile_header(im->file);
    unsigned field = (unsigned) im->columns->at[COLUMN_DEVICE_ID];
    for (unsigned i = 0; i < h->count; i++) {
        size_t n = h->fields[i].bytes;
        if (reason.bytes > n + 2 && strncasecmp(reason.data, h->fields[i].data, n) == 0 &&
            memcmp(reason.data + n, ": ", 2) == 0) {
            field = i;
            reason = (struct slice){reason.data + n + 2, reason.bytes - n - 2};
            break;
        }
    }
    reject(im, &row, field, reason);
}

static void
not_done(struct import *im, struct lane *lane, uint64_t line)
{
    im->counts.not_done++;
    if (lane->not_done++ == 0)
        lane->first_line = line;
    lane->first_line = MIN_OF(lane->first_line, line);
    lane->last_line = MAX_OF(lane->last_line, line);
}

/* The batch's rows that have no verdict are not done; it is free again. */
static void
drop_batch(struct batch *b)
{
    for (uint32_t i = 0; i < b->count; i++)
        if (b->rows[i].verdict == VERDICT_PENDING)
            not_done(b->import, b->lane, b->rows[i].line);
    b->state = BATCH_EMPTY;
}

static void
lose_lane(struct import *im, struct lane *lane, const char *why)
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

/* ---- a batch on its way ---- */

static void on_answer(void *arg, int err, const struct reply *reply);

static void
pause_batch(struct batch *b, const char *why)
{
    struct import *im = b->import;
    usec_t now = clock_boot();
    b->state = BATCH_PAUSED;
    b->again_at = now + b->pause;
    b->pause = MIN_OF(2 * b->pause, PAUSE_MAX);
    im->want_map = true;
    if (b->lane->lost || im->stopped)
        drop_batch(b);
    else if (now - b->first_asked >= im->config->batch_timeout)
        lose_lane(im, b->lane, why);
}

static int32_t
device_of(const struct batch *b, uint32_t row)
{
    return of_devices(b->import) ? b->devices[row].device_id : b->leads[row].device_id;
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
    struct import *im = b->import;
    const struct map *map = asker_map(im->asker);
    b->asked_count = 0;
    for (uint32_t i = first; i < b->count; i++) {
        if (b->rows[i].verdict != VERDICT_PENDING)
            continue;
        const struct range *r = rangemap_find(&map->ranges, device_of(b, i));
        if (!r || r->partition != partition)
            continue;
        if (of_devices(im))
            ((struct device_row *) im->asked_rows)[b->asked_count] = b->devices[i];
        else
            ((struct lead_row *) im->asked_rows)[b->asked_count] = b->leads[i];
        b->asked[b->asked_count++] = (uint16_t) i;
    }
    *q = (struct request){.kind = of_devices(im) ? MESSAGE_DEVICES : MESSAGE_LEADS};
    if (of_devices(im))
        q->devices = (struct devices){.partition = map->partitions[partition].name,
                                      .update = im->config->update,
                                      .row_count = b->asked_count,
                                      .rows = im->asked_rows};
    else
        q->leads = (struct leads){.partition = map->partitions[partition].name,
                                  .update = im->config->update,
                                  .refuse_shared = im->config->refuse_shared,
                                  .row_count = b->asked_count,
                                  .rows = im->asked_rows};
}

static void
send_batch(struct batch *b)
{
    struct import *im = b->import;
    struct request q;
    uint32_t first = first_pending(b);
    assert(first < b->count);
    const struct range *range = rangemap_find(&asker_map(im->asker)->ranges, device_of(b, first));
    if (!range) {
        pause_batch(b, "its devices are in no range of the map");
        return;
    }
    collect(b, first, range->partition, &q);
    b->state = BATCH_ASKED;
    int err = ask_send(im->asker, asker_map(im->asker)->partitions[range->partition].name, &q,
                       MIN_OF(TRY_TIMEOUT, im->config->batch_timeout), on_answer, b);
    if (err == -EAGAIN || err == -ENOBUFS || err == -ENOENT)
        pause_batch(b, asker_why(im->asker));
    else if (err < 0) {
        b->state = BATCH_PAUSED;
        lose_lane(im, b->lane, asker_why(im->asker));
    }
}

/* Sends what is ready, in the order of the file. With --update one at a time: the later row of a
 * file has the last word, and two batches may overtake one another. */
static void
kick_lane(struct import *im, struct lane *lane)
{
    unsigned busy = 0, busy_max = im->config->update ? 1 : BATCHES_PER_LANE - 1;
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

static bool
apply_verdicts(struct batch *b, const struct rows_reply *reply)
{
    struct import *im = b->import;
    uint32_t reason = 0;
    bool moved_on = false;
    if (reply->row_count != b->asked_count)
        return false;
    for (uint32_t i = 0; i < b->asked_count; i++) {
        struct batch_row *r = &b->rows[b->asked[i]];
        r->verdict = reply->verdicts[i];
        switch ((enum row_verdict) r->verdict) {
        case ROW_ACCEPTED: im->counts.accepted++; break;
        case ROW_DUPLICATE: im->counts.duplicate++; break;
        case ROW_UPDATED: im->counts.updated++; break;
        case ROW_REFUSED:
            reject_by_node(im, r,
                           reason < reply->reason_count ? reply->reasons[reason++]
                                                        : (struct slice){"refused", 7});
            break;
        case ROW_RETRY: r->verdict = VERDICT_PENDING; break;
        }
        moved_on |= r->verdict != VERDICT_PENDING;
    }
    if (moved_on) { /* its time and its pauses begin anew */
        b->first_asked = clock_boot();
        b->pause = PAUSE_MIN;
    }
    im->counts.shared += reply->shared;
    return true;
}

static void
on_answer(void *arg, int err, const struct reply *reply)
{
    struct batch *b = arg;
    struct import *im = b->import;
    char why[256];
    if (err == 0 && reply->status == STATUS_OK) {
        if (!apply_verdicts(b, &reply->rows)) {
            lose_lane(im, b->lane, "its node answered for another number of rows");
            drop_batch(b);
        } else if (first_pending(b) < b->count) { /* moving, or moved to another partition */
            pause_batch(b, "some of its devices are moving");
        } else {
            b->state = BATCH_EMPTY;
            kick_lane(im, b->lane);
        }
        return;
    }
    if (err == 0) {
        snprintf(why, sizeof(why), "%.*s", (int) reply->reason.bytes, reply->reason.data);
        err = ask_status_error(reply->status);
    } else {
        snprintf(why, sizeof(why), "%s",
                 err == -ETIMEDOUT ? "its node does not answer" : strerror(-err));
    }
    if (err == -EPERM || err == -EINVAL) {
        im->err = im->err ?: err;
        snprintf(im->why, sizeof(im->why), "%s", why);
    }
    pause_batch(b, why);
}

/* ---- filling ---- */

static struct lane *
lane_for(struct import *im, struct slice name)
{
    for (uint32_t i = 0; i < im->lane_count; i++)
        if (strlen(im->lanes[i]->name) == name.bytes &&
            memcmp(im->lanes[i]->name, name.data, name.bytes) == 0)
            return im->lanes[i];
    if (im->lane_count == PARTITIONS_MAX)
        return NULL;
    struct lane *lane = calloc(1, sizeof(*lane));
    if (!lane)
        return NULL;
    snprintf(lane->name, sizeof(lane->name), "%.*s", (int) name.bytes, name.data);
    im->lanes[im->lane_count++] = lane;
    return lane;
}

static int
read_map(struct import *im)
{
    const struct map *map = asker_map(im->asker);
    for (uint32_t i = 0; i < map->partition_count; i++) {
        im->lane_of[i] = lane_for(im, map->partitions[i].name);
        if (!im->lane_of[i])
            return -ENOMEM;
    }
    if (im->arena_bytes == 0) {
        size_t share = ARENAS_BYTES_MAX / (BATCHES_PER_LANE * MAX_OF(map->partition_count, 1u));
        im->arena_bytes = MAX_OF(MIN_OF(share, (size_t) ARENA_BYTES_MAX), (size_t) ARENA_BYTES_MIN);
    }
    return 0;
}

static struct slice
keep(struct batch *b, struct slice text)
{
    struct slice kept = {b->arena + b->used, text.bytes};
    if (text.bytes > 0)
        memcpy(b->arena + b->used, text.data, text.bytes);
    b->used += text.bytes;
    b->encoded += text.bytes;
    return kept;
}

static size_t
text_bytes(const struct import *im)
{
    const struct device_row *d = &im->device;
    const struct lead_row *l = &im->lead;
    return of_devices(im) ? d->name.bytes + d->transport.bytes + d->address.bytes + d->token.bytes +
                                d->zone.bytes + d->account.bytes + d->scope.bytes + d->url.bytes
                          : l->name.bytes + l->trigger.bytes + l->attributes.bytes;
}

static bool
fits(const struct import *im, const struct batch *b)
{
    size_t texts = text_bytes(im);
    uint32_t most = of_devices(im) ? DEVICES_PER_BATCH_MAX : LEADS_PER_BATCH_MAX;
    return b->count < most && b->used + texts + im->row.raw.bytes <= im->arena_bytes &&
           b->encoded + texts + ROW_OVERHEAD <= ENCODED_BYTES_MAX;
}

static void
add_row(struct import *im, struct batch *b)
{
    uint32_t n = b->count++;
    if (of_devices(im)) {
        struct device_row *to = &b->devices[n];
        *to = im->device;
        struct slice *texts[] = {&to->name, &to->transport, &to->address, &to->token,
                                 &to->zone, &to->account,   &to->scope,   &to->url};
        for (size_t i = 0; i < ARRAY_SIZE(texts); i++)
            *texts[i] = keep(b, *texts[i]);
    } else {
        struct lead_row *to = &b->leads[n];
        *to = im->lead;
        to->name = keep(b, to->name);
        to->trigger = keep(b, to->trigger);
        to->attributes = keep(b, to->attributes);
    }
    size_t encoded = b->encoded + ROW_OVERHEAD;
    b->rows[n] = (struct batch_row){im->row.line, keep(b, im->row.raw), VERDICT_PENDING};
    b->encoded = encoded;
}

/* The lane's batch that is being filled, with room for the row at hand; NULL: none is free now. */
static struct batch *
batch_with_room(struct import *im, struct lane *lane)
{
    struct batch *empty = NULL;
    for (unsigned k = 0; k < BATCHES_PER_LANE; k++) {
        struct batch *b = lane->batches[k];
        if (!b && !empty)
            b = lane->batches[k] = batch_new(im, lane);
        if (!b)
            continue;
        if (b->state == BATCH_FILLING && fits(im, b))
            return b;
        if (b->state == BATCH_FILLING) {
            b->state = BATCH_READY;
            kick_lane(im, lane);
        }
        if (b->state == BATCH_EMPTY && !empty)
            empty = b;
    }
    if (!empty)
        return NULL;
    empty->state = BATCH_FILLING;
    empty->number = ++im->last_number;
    empty->count = 0;
    empty->used = empty->encoded = 0;
    return empty;
}

/* false: no batch is free, the row stays in hand. */
static bool
place_row(struct import *im)
{
    const struct map *map = asker_map(im->asker);
    int32_t device = of_devices(im) ? im->device.device_id : im->lead.device_id;
    const struct range *range = rangemap_find(&map->ranges, device);
    if (!range) {
        reject_words(im, &im->row, (unsigned) im->columns->at[COLUMN_DEVICE_ID],
                     of_devices(im) ? "the coordinator has no place for it"
                                    : "no such device: import it first, or correct the id");
        return true;
    }
    struct lane *lane = im->lane_of[range->partition];
    if (lane->lost) {
        not_done(im, lane, im->row.line);
        return true;
    }
    struct batch *b = batch_with_room(im, lane);
    if (b)
        add_row(im, b);
    im->held_for = lane;
    return b != NULL;
}

/* ---- reading ---- */

/* "@FILE" in place of a token: the first line of that file, beside the CSV unless absolute. */
static const char *
read_token(struct import *im)
{
    struct slice t = im->device.token;
    if (t.bytes < 2 || t.data[0] != '@')
        return t.bytes > DEVICE_TOKEN_BYTES_MAX ? "longer than 1024 bytes" : NULL;
    const char *slash = strrchr(im->config->path, '/');
    int directory = t.data[1] == '/' || !slash ? 0 : (int) (slash + 1 - im->config->path);
    char *path;
    if (asprintf(&path, "%.*s%.*s", directory, im->config->path, (int) t.bytes - 1, t.data + 1) < 0)
        return "out of memory";
    if (!im->token_path || strcmp(path, im->token_path) != 0) {
        free(im->token_path);
        im->token_path = NULL;
        int fd = open(path, O_RDONLY | O_CLOEXEC);
        ssize_t n = fd < 0 ? -1 : read(fd, im->token, sizeof(im->token));
        if (fd >= 0)
            close(fd);
        if (n <= 0) {
            free(path);
            return "the token file cannot be read, or is empty";
        }
        im->token_bytes = (size_t) n;
        for (size_t i = 0; i < im->token_bytes; i++)
            if (im->token[i] == '\n' || im->token[i] == '\r')
                im->token_bytes = i;
        im->token_path = path;
    } else {
        free(path);
    }
    im->device.token = (struct slice){im->token, im->token_bytes};
    return NULL;
}

/* NULL: the row is good. */
static const char *
judge_row(struct import *im, unsigned *ret_field)
{
    *ret_field = im->row.fault_column;
    if (im->row.fault)
        return im->row.fault;
    if (!of_devices(im))
        return import_lead(im->columns, &im->row, im->config->country, im->json, &im->lead,
                           ret_field);
    const char *fault = import_device(im->columns, &im->row, &im->device, ret_field);
    if (!fault) {
        *ret_field = (unsigned) im->columns->at[COLUMN_TOKEN];
        fault = read_token(im);
    }
    return fault;
}

static void
draw(struct import *im)
{
    uint64_t size = csvfile_size(im->file);
    progress_draw(&im->progress, clock_boot(), im->counts.read,
                  size ? (int) (csvfile_offset(im->file) * 1000 / size) : -1);
}

/* Rows until the file ends, a turn is over, or one finds no batch. true: go on reading. */
static bool
read_rows(struct import *im)
{
    for (unsigned n = 0; n < ROWS_PER_TURN && im->err == 0; n++) {
        if (!im->held) {
            int got = csvfile_next(im->file, &im->row);
            if (got < 0) {
                im->err = got;
                snprintf(im->why, sizeof(im->why), "%s: %s", im->config->path, strerror(-got));
            }
            if (got <= 0) {
                im->eof = true;
                return false;
            }
            im->counts.read++;
            unsigned field;
            const char *fault = judge_row(im, &field);
            if (fault) {
                reject_words(im, &im->row, field, fault);
                continue;
            }
        }
        im->held = !place_row(im);
        if (im->held)
            return false;
    }
    return true;
}

int
import_each_device(struct import *im, import_device_fn *on_device, void *arg)
{
    int got;
    uint64_t rows = 0;
    progress_start(&im->progress, "checking", clock_boot());
    while ((got = csvfile_next(im->file, &im->row)) > 0) {
        unsigned field;
        if (++rows % ROWS_PER_TURN == 0) {
            asker_turn(im->asker, 0);
            im->counts.read = rows;
            draw(im);
        }
        if (asker_interrupted(im->asker))
            got = -EINTR;
        else if (!judge_row(im, &field))
            got = on_device(arg, im->device.device_id);
        if (got < 0)
            break;
    }
    progress_end(&im->progress);
    im->counts.read = 0;
    if (got >= 0)
        got = csvfile_rewind(im->file);
    if (got < 0)
        snprintf(im->why, sizeof(im->why), "%s: %s", im->config->path,
                 got == -ESPIPE ? "it is read twice: a regular file is needed" : strerror(-got));
    return got;
}

/* ---- the run ---- */

/* The end of the file, or the end of reading it: what is half full goes, or is dropped. */
static void
flush_lanes(struct import *im)
{
    for (uint32_t i = 0; i < im->lane_count; i++) {
        for (unsigned k = 0; k < BATCHES_PER_LANE; k++) {
            struct batch *b = im->lanes[i]->batches[k];
            if (b && b->state == BATCH_FILLING)
                b->state = BATCH_READY;
            if (b && im->stopped && (b->state == BATCH_READY || b->state == BATCH_PAUSED))
                drop_batch(b);
        }
        kick_lane(im, im->lanes[i]);
    }
}

/* Sends paused batches whose time has come; true while any batch is under way. *ret_next: how long
 * nothing is to be done. */
static bool
tend_batches(struct import *im, usec_t now, usec_t *ret_next)
{
    bool active = false;
    for (uint32_t i = 0; i < im->lane_count; i++) {
        for (unsigned k = 0; k < BATCHES_PER_LANE; k++) {
            struct batch *b = im->lanes[i]->batches[k];
            if (b && b->state == BATCH_PAUSED && now >= b->again_at && !im->want_map)
                send_batch(b);
            if (b && b->state == BATCH_PAUSED && b->again_at > now)
                *ret_next = MIN_OF(*ret_next, b->again_at - now);
            active |= b && (b->state == BATCH_PAUSED || b->state == BATCH_ASKED ||
                            b->state == BATCH_READY);
        }
    }
    return active;
}

/* A map that cannot be had now is no fault: the drivers may well go on with the one at hand. */
static void
renew_map(struct import *im, usec_t now)
{
    if (!im->want_map || now < im->map_at + MAP_EVERY)
        return;
    im->map_at = now;
    if (ask_map(im->asker) == 0 && im->err == 0)
        im->err = read_map(im);
    im->want_map = false;
}

static void
stop_reading(struct import *im)
{
    im->stopped = im->eof = true;
    if (im->held) {
        not_done(im, im->held_for, im->row.line);
        im->held = false;
    }
}

int
import_run(struct import *im)
{
    im->err = read_map(im);
    progress_start(&im->progress, im->config->path, clock_boot());
    for (;;) {
        usec_t now = clock_boot(), wait = TURN_MAX;
        if (!im->stopped &&
            (im->err < 0 || asker_interrupted(im->asker) || now >= im->config->deadline))
            stop_reading(im);
        bool reading = !im->eof && read_rows(im);
        if (im->eof)
            flush_lanes(im);
        renew_map(im, now);
        if (!tend_batches(im, now, &wait) && im->eof)
            break;
        draw(im);
        asker_turn(im->asker, reading ? 0 : wait);
    }
    progress_end(&im->progress);
    const struct import_counts *c = &im->counts;
    assert(c->read == c->accepted + c->duplicate + c->updated + c->rejected + c->not_done);
    return im->err ?: im->stopped ? -EINTR : 0;
}

unsigned
import_tell_not_done(const struct import *im)
{
    unsigned count = 0;
    for (uint32_t i = 0; i < im->lane_count; i++) {
        const struct lane *l = im->lanes[i];
        char rows[32], first[32], last[32];
        if (l->not_done == 0)
            continue;
        terminal_fault("partition %s: %s rows not done (between lines %s and %s)%s%s", l->name,
                       table_thousands(rows, (int64_t) l->not_done),
                       table_thousands(first, (int64_t) l->first_line),
                       table_thousands(last, (int64_t) l->last_line), l->lost ? ": " : "", l->why);
        count++;
    }
    return count;
}
