/* import.c - rows read, judged, handed to the lanes; counted and, when refused, written away. */
#include "coordinator/ctl/import.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "coordinator/ctl/terminal.h"

#define ROWS_PER_TURN 4000u
#define TURN_MAX      (200 * USEC_PER_MSEC)

struct import {
    struct asker *asker;
    struct csvfile *file;
    const struct import_columns *columns;
    const struct import_config *config;
    struct rejects *rejects;
    struct lanes *lanes; /* made by import_run */
    struct import_counts counts;
    int err; /* ends the whole import */
    char why[256];
    bool eof, held; /* held: `out` was read and has no place yet */
    struct csv_row row;
    struct lanes_row out;
    char json[IMPORT_JSON_BYTES];
    char token[DEVICE_TOKEN_BYTES_MAX]; /* read from token_path */
    size_t token_bytes;
    char *token_path;
    char *scratch; /* to split a refused row again */
    struct progress progress;
};

static bool
of_devices(const struct import *im)
{
    return im->columns->kind == IMPORT_DEVICES;
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
    im->scratch = malloc(CSV_ROW_BYTES_MAX);
    if (!im->scratch) {
        import_free(im);
        return -ENOMEM;
    }
    *ret = im;
    return 0;
}

struct import *
import_free(struct import *im)
{
    if (!im)
        return NULL;
    lanes_free(im->lanes);
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

unsigned
import_tell_not_done(const struct import *im)
{
    return im->lanes ? lanes_tell_not_done(im->lanes) : 0;
}

static void
end_with(struct import *im, int err, const char *why)
{
    if (im->err < 0)
        return; /* the first one is told */
    im->err = err;
    snprintf(im->why, sizeof(im->why), "%s", why);
}

/* ---- rows that end ---- */

static void
reject(struct import *im, const struct csv_row *row, unsigned field, struct slice reason)
{
    im->counts.rejected++;
    int err = rejects_put(im->rejects, row, field, reason);
    if (err < 0) {
        char why[128];
        snprintf(why, sizeof(why), "the rejects file cannot be written: %s", strerror(-err));
        end_with(im, err, why);
    }
}

static void
reject_words(struct import *im, const struct csv_row *row, unsigned field, const char *reason)
{
    reject(im, row, field, (struct slice){reason, strlen(reason)});
}

/* A node's words begin with the column's name: "zone: not a time zone". */
static void
reject_by_node(struct import *im, uint64_t line, struct slice raw, struct slice reason)
{
    struct csv_row row = {0};
    csv_split(raw, csvfile_delimiter(im->file), im->scratch, &row);
    row.line = line;
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
on_end(void *arg, uint64_t line, struct slice raw, enum row_verdict verdict, struct slice reason)
{
    struct import *im = arg;
    switch (verdict) {
    case ROW_ACCEPTED: im->counts.accepted++; break;
    case ROW_DUPLICATE: im->counts.duplicate++; break;
    case ROW_UPDATED: im->counts.updated++; break;
    case ROW_REFUSED: reject_by_node(im, line, raw, reason); break;
    case ROW_RETRY: im->counts.not_done++; break;
    }
}

/* ---- reading ---- */

/* "@FILE" in place of a token: the first line of that file, beside the CSV unless absolute. */
static const char *
read_token(struct import *im)
{
    struct slice t = im->out.device.token;
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
    im->out.device.token = (struct slice){im->token, im->token_bytes};
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
        return import_lead(im->columns, &im->row, im->config->country, im->json, &im->out.lead,
                           ret_field);
    const char *fault = import_device(im->columns, &im->row, &im->out.device, ret_field);
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

/* The next row into `out`. 1, 0 at the end, or the row was bad and is written away: -EAGAIN. */
static int
read_row(struct import *im)
{
    int got = csvfile_next(im->file, &im->row);
    if (got < 0)
        end_with(im, got, strerror(-got));
    if (got <= 0)
        return 0;
    im->counts.read++;
    unsigned field;
    const char *fault = judge_row(im, &field);
    if (fault) {
        reject_words(im, &im->row, field, fault);
        return -EAGAIN;
    }
    im->out.line = im->row.line;
    im->out.raw = im->row.raw;
    return 1;
}

/* Rows until the file ends, a turn is over, or one finds no batch. true: go on reading. */
static bool
read_rows(struct import *im)
{
    for (unsigned n = 0; n < ROWS_PER_TURN && im->err == 0; n++) {
        int got = im->held ? 1 : read_row(im);
        if (got == 0)
            im->eof = true;
        if (got == 0)
            return false;
        if (got < 0)
            continue;
        enum lanes_put put = lanes_put(im->lanes, &im->out);
        im->held = put == LANES_FULL;
        if (im->held)
            return false;
        if (put == LANES_NO_RANGE)
            reject_words(im, &im->row, (unsigned) im->columns->at[COLUMN_DEVICE_ID],
                         of_devices(im) ? "the coordinator has no place for it"
                                        : "no such device: import it first, or correct the id");
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
            got = on_device(arg, im->out.device.device_id);
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

/* What was read is still sent, unless something is wrong; the row in hand counts as not read. */
static void
stop(struct import *im)
{
    lanes_stop(im->lanes, im->err < 0);
    im->eof = true;
    im->counts.read -= im->held;
    im->held = false;
}

int
import_run(struct import *im)
{
    const struct lanes_config config = {.asker = im->asker,
                                        .kind = im->columns->kind,
                                        .update = im->config->update,
                                        .refuse_shared = im->config->refuse_shared,
                                        .batch_timeout = im->config->batch_timeout,
                                        .on_end = on_end,
                                        .arg = im};
    bool stopped = false;
    const char *why;
    int err = lanes_new(&im->lanes, &config);
    if (err < 0)
        return err;
    progress_start(&im->progress, im->config->path, clock_boot());
    for (;;) {
        usec_t now = clock_boot(), wait = TURN_MAX;
        if ((err = lanes_error(im->lanes, &why)) < 0)
            end_with(im, err, why);
        if (!stopped &&
            (im->err < 0 || asker_interrupted(im->asker) || now >= im->config->deadline)) {
            stopped = true;
            stop(im);
        }
        bool reading = !im->eof && read_rows(im);
        if (im->eof)
            lanes_flush(im->lanes);
        if (!lanes_tend(im->lanes, now, &wait) && im->eof)
            break;
        draw(im);
        asker_turn(im->asker, reading ? 0 : wait);
    }
    progress_end(&im->progress);
    struct import_counts *c = &im->counts;
    c->shared = lanes_shared(im->lanes);
    assert(c->read == c->accepted + c->duplicate + c->updated + c->rejected + c->not_done);
    return im->err ?: stopped ? -EINTR : 0;
}
