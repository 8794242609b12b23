/* cmd_export.c - export messages, export leads: of every partition, streamed as CSV. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "coordinator/ctl/answer_table.h"
#include "coordinator/ctl/ask.h"
#include "coordinator/ctl/commands.h"
#include "coordinator/ctl/operands.h"
#include "coordinator/ctl/terminal.h"
#include "shared/clock.h"

static const char *const message_columns[] = {"device_id",  "phone",       "source",
                                              "step",       "state",       "reason",
                                              "token",      "provider_id", "claimed_at",
                                              "settled_at", "text_hash",   NULL};

static const char *const lead_columns[] = {"device_id", "phone",      "name",
                                           "trigger",   "attributes", NULL};

struct export
{
    const char *what; /* "messages" */
    struct answer_table table;
    struct progress progress;
    char *part; /* --out: written beside its place, moved there at the end */
};

static int
on_page(void *arg, struct slice partition, const struct answer *page)
{
    struct export *e = arg;
    int err = answer_table_page(&e->table, partition, page);
    if (err == 0 && ferror(e->table.out))
        err = -EPIPE; /* no use in asking on */
    progress_draw(&e->progress, clock_boot(), e->table.row_count, -1);
    return err;
}

static int
open_out(struct export *e, const char *path)
{
    if (asprintf(&e->part, "%s.XXXXXX", path) < 0) {
        e->part = NULL;
        return -ENOMEM;
    }
    int fd = mkstemp(e->part); /* mode 0600: phone numbers */
    e->table.out = fd < 0 ? NULL : fdopen(fd, "w");
    if (e->table.out)
        return 0;
    int err = -errno;
    if (fd >= 0) {
        close(fd);
        unlink(e->part);
    }
    free(e->part);
    e->part = NULL;
    return err;
}

/* A file that is not whole keeps its own name: it must not pass for the answer. */
static int
close_out(struct export *e, const char *path, bool whole)
{
    int err = ferror(e->table.out) ? -EPIPE : 0;
    if (fclose(e->table.out) != 0)
        err = -EPIPE;
    if (err == 0 && whole && rename(e->part, path) < 0)
        err = -errno;
    if (err < 0)
        unlink(e->part);
    else if (!whole)
        terminal_fault("what was written so far is in %s", e->part);
    free(e->part);
    return err;
}

/* Reads everything of all partitions into the table; *ret_silent of them did not answer. */
typedef int export_fn(struct export *e, struct asker *a, const struct question *question,
                      unsigned *ret_silent);

static int
all_pages(struct export *e, struct asker *a, const struct question *question, unsigned *ret_silent)
{
    return ask_all_partitions(a, question, on_page, e, ret_silent);
}

static int
export_all(struct export *e, struct asker *a, const struct invocation *in,
           const struct question *question, export_fn *read)
{
    const char *path = in->options[OPTION_OUT];
    unsigned silent = 0;
    int err = ask_map(a);
    if (err < 0)
        return ask_failed(a, err, "cannot export");
    if (path && (err = open_out(e, path)) < 0) {
        terminal_fault("%s: %s", path, strerror(-err));
        return CTL_FAILED;
    }
    progress_start(&e->progress, e->what, clock_boot());
    err = read(e, a, question, &silent);
    progress_end(&e->progress);
    int written = answer_table_done(&e->table);
    if (path) {
        int closed = close_out(e, path, err == 0 && written == 0 && silent == 0);
        written = written ?: closed;
    }
    if (written < 0) {
        terminal_fault("%s cannot be written: %s", path ? path : "the output",
                       written == -EPIPE ? "is the disk full?" : strerror(-written));
        return CTL_FAILED;
    }
    if (err < 0)
        return ask_failed(a, err, "the export is not complete");
    if (silent > 0) {
        terminal_fault("%u partition%s missing in this export", silent,
                       silent == 1 ? " is" : "s are");
        terminal_next("fleetcast status; then the same command again");
        return CTL_DEGRADED;
    }
    if (path && in->format == TABLE_TEXT)
        printf("%s   %llu %s\n", path, (unsigned long long) e->table.row_count, e->what);
    return CTL_DONE;
}

static int
export_verb(struct export *e, const struct invocation *in, const struct question *question,
            export_fn *read)
{
    struct asker *a = NULL;
    e->table.out = stdout;
    /* CSV unless told otherwise: an export is for programs */
    e->table.format = in->options[OPTION_FORMAT] ? in->format : TABLE_CSV;
    int code = asker_open(&a, in, in->timeout);
    if (code == CTL_DONE)
        code = export_all(e, a, in, question, read);
    asker_free(a);
    return code;
}

int
cmd_export_messages(const struct invocation *in)
{
    char text[32];
    int64_t since = 0;
    struct question question = {.name = "messages"};
    struct export e = {.what = "messages", .table = {.only = message_columns}};
    int code = operand_since(in, &since);
    if (code != CTL_DONE)
        return code;
    if (in->options[OPTION_SINCE]) {
        snprintf(text, sizeof(text), "%lld", (long long) since);
        question.argument_count = 1;
        question.arguments[0] = ask_text(text);
    }
    return export_verb(&e, in, &question, all_pages);
}

/* ---- leads: device by device, as the drivers keep them ---- */

struct device_list {
    struct export *export;
    struct asker *asker;
    size_t count, room;
    struct listed {
        int32_t device;
        uint16_t partition; /* its place in names */
    } * devices;
    unsigned partition_count;
    char names[PARTITIONS_MAX][NAME_BYTES_MAX + 1];
};

static int
on_devices(void *arg, struct slice partition, const struct answer *page)
{
    struct device_list *l = arg;
    unsigned last = l->partition_count;
    if (last == 0 || strlen(l->names[last - 1]) != partition.bytes ||
        memcmp(l->names[last - 1], partition.data, partition.bytes) != 0) {
        if (last == PARTITIONS_MAX)
            return -E2BIG;
        snprintf(l->names[l->partition_count++], sizeof(l->names[0]), "%.*s", (int) partition.bytes,
                 partition.data);
    }
    if (l->count + page->row_count > l->room) {
        size_t room = MAX_OF(2 * l->room, l->count + page->row_count);
        struct listed *more = realloc(l->devices, room * sizeof(*more));
        if (!more)
            return -ENOMEM;
        l->devices = more;
        l->room = room;
    }
    int id = answer_column(page, "device_id"), leads = answer_column(page, "leads");
    for (uint32_t row = 0; row < page->row_count; row++)
        if (answer_number(page, row, leads) > 0)
            l->devices[l->count++] = (struct listed){(int32_t) answer_number(page, row, id),
                                                     (uint16_t) (l->partition_count - 1)};
    return 0;
}

/* A partition that falls silent in the middle is left out from there on, and named. */
static int
leads_of(struct device_list *l, unsigned *ret_silent)
{
    char text[16];
    bool silent[PARTITIONS_MAX] = {false};
    for (size_t i = 0; i < l->count; i++) {
        unsigned p = l->devices[i].partition;
        if (silent[p])
            continue;
        snprintf(text, sizeof(text), "%d", l->devices[i].device);
        const struct question question = {.name = "leads",
                                          .argument_count = 1,
                                          .arguments = {ask_text(text)}};
        int err = ask_pages(l->asker, ask_text(l->names[p]), &question, on_page, l->export);
        if (err == -ETIMEDOUT || err == -EAGAIN || err == -EIO) {
            terminal_fault("partition %s does not answer: %s", l->names[p], asker_why(l->asker));
            silent[p] = true;
            ++*ret_silent;
        } else if (err != 0) {
            return err;
        }
    }
    return 0;
}

static int
all_leads(struct export *e, struct asker *a, const struct question *question, unsigned *ret_silent)
{
    struct device_list *l = calloc(1, sizeof(*l));
    if (!l)
        return -ENOMEM;
    l->export = e;
    l->asker = a;
    int err = ask_all_partitions(a, question, on_devices, l, ret_silent);
    if (err == 0)
        err = leads_of(l, ret_silent);
    if (err == 0 && !e->table.table) { /* no leads: the columns all the same */
        const struct answer empty = {0};
        err = answer_table_page(&e->table, ask_text(""), &empty);
    }
    free(l->devices);
    free(l);
    return err;
}

int
cmd_export_leads(const struct invocation *in)
{
    static const struct question devices = {.name = "devices"};
    struct export e = {.what = "leads", .table = {.only = lead_columns}};
    return export_verb(&e, in, &devices, all_leads);
}
