/* cmd_export.c - export messages: every message of every partition, streamed as CSV. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "coordinator/ctl/answer_table.h"
#include "coordinator/ctl/ask.h"
#include "coordinator/ctl/commands.h"
#include "coordinator/ctl/terminal.h"
#include "shared/clock.h"
#include "shared/parse.h"

static const char *const message_columns[] = {"device_id",  "phone",       "source",
                                              "step",       "state",       "reason",
                                              "token",      "provider_id", "claimed_at",
                                              "settled_at", "text_hash",   NULL};

struct export
{
    struct answer_table table;
    struct progress progress;
    char *part; /* --out: written beside its place, moved there at the end */
};

/* --since as unix microseconds in text. 0 or CTL_USAGE. */
static int
read_since(const char *text, char ret[static 32])
{
    usec_t span;
    uint64_t usec;
    struct tm tm = {0};
    const char *end = strptime(text, "%Y-%m-%dT%H:%M:%S", &tm);
    if (end && strcmp(end, "Z") == 0) {
        usec = (uint64_t) timegm(&tm) * USEC_PER_SEC;
    } else if (parse_span(text, USEC_PER_SEC, 3650 * 86400 * USEC_PER_SEC, &span) == 0) {
        usec = clock_real() - span;
    } else {
        terminal_fault("--since \"%s\": a UTC time such as 2026-11-24T14:00:00Z, or a span such as"
                       " 2h",
                       text);
        return CTL_USAGE;
    }
    snprintf(ret, 32, "%llu", (unsigned long long) usec);
    return CTL_DONE;
}

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

static int
export_all(struct export *e, struct asker *a, const struct invocation *in,
           const struct question *question)
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
    progress_start(&e->progress, "messages", clock_boot());
    err = ask_all_partitions(a, question, on_page, e, &silent);
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
        printf("%s   %llu messages\n", path, (unsigned long long) e->table.row_count);
    return CTL_DONE;
}

int
cmd_export_messages(const struct invocation *in)
{
    char since[32];
    struct question question = {.name = "messages"};
    struct export e = {.table = {.out = stdout, .only = message_columns}};
    struct asker *a = NULL;
    /* CSV unless told otherwise: an export is for programs */
    e.table.format = in->options[OPTION_FORMAT] ? in->format : TABLE_CSV;
    int code = CTL_DONE;
    if (in->options[OPTION_SINCE]) {
        code = read_since(in->options[OPTION_SINCE], since);
        question.argument_count = 1;
        question.arguments[0] = (struct slice){since, code == CTL_DONE ? strlen(since) : 0};
    }
    if (code == CTL_DONE)
        code = asker_open(&a, in, in->timeout);
    if (code == CTL_DONE)
        code = export_all(&e, a, in, &question);
    asker_free(a);
    return code;
}
