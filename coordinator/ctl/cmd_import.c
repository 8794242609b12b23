/* cmd_import.c - import devices FILE, import leads FILE. */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "coordinator/ctl/commands.h"
#include "coordinator/ctl/import.h"
#include "coordinator/ctl/terminal.h"
#include "shared/parse.h"

/* The file's device IDs as runs; more cannot become ranges (RANGES_MAX) by far. */
#define RUNS_MAX 2000000u

struct runs {
    struct run *runs;
    size_t count, size;
};

struct import_call { /* what one call of the verb holds */
    const struct invocation *in;
    enum import_kind kind;
    struct import_config config;
    struct import_columns columns;
    char *rejects_path; /* heap */
    struct csvfile *file;
    struct rejects *rejects;
    struct asker *asker;
    struct import *import;
    usec_t started;
};

/* ---- places for the devices of the file ---- */

static int
by_first(const void *a, const void *b)
{
    const struct run *x = a, *y = b;
    return x->first < y->first ? -1 : x->first > y->first;
}

static void
merge_runs(struct runs *r)
{
    if (r->count == 0)
        return;
    qsort(r->runs, r->count, sizeof(*r->runs), by_first);
    size_t last = 0;
    for (size_t i = 1; i < r->count; i++) {
        if (r->runs[i].first <= (int64_t) r->runs[last].last + 1)
            r->runs[last].last = MAX_OF(r->runs[last].last, r->runs[i].last);
        else
            r->runs[++last] = r->runs[i];
    }
    r->count = last + 1;
}

static int
add_device(void *arg, int32_t id)
{
    struct runs *r = arg;
    if (r->count > 0) {
        struct run *last = &r->runs[r->count - 1];
        if (id >= last->first && id <= last->last)
            return 0;
        if (id - 1 == last->last) {
            last->last = id;
            return 0;
        }
    }
    if (r->count == RUNS_MAX) {
        merge_runs(r);
        if (r->count > RUNS_MAX / 2)
            return -E2BIG;
    }
    if (r->count == r->size) {
        size_t size = MAX_OF(2 * r->size, (size_t) 1024);
        struct run *runs = realloc(r->runs, size * sizeof(*runs));
        if (!runs)
            return -ENOMEM;
        r->runs = runs;
        r->size = size;
    }
    r->runs[r->count++] = (struct run){id, id};
    return 0;
}

/* DETAILS "Ranges cover devices that exist": the coordinator gives the new IDs their partitions. */
static int
place_devices(struct import_call *c)
{
    struct runs r = {0};
    int err = import_each_device(c->import, add_device, &r), code = CTL_DONE;
    merge_runs(&r);
    if (err == -E2BIG)
        terminal_fault(
            "%s: its device IDs lie apart in more than %u runs: number them without gaps",
            c->config.path, RUNS_MAX / 2);
    else if (err == -EINTR)
        terminal_fault("interrupted while checking: nothing was imported");
    else if (err < 0)
        terminal_fault("%s", err == -ENOMEM ? "out of memory" : import_why(c->import));
    if (err < 0)
        code = CTL_FAILED;
    for (size_t i = 0; i < r.count && code == CTL_DONE; i += RUNS_PER_BATCH_MAX) {
        struct request q = {.kind = MESSAGE_PLACE,
                            .place = {.run_count = (uint32_t) MIN_OF(r.count - i,
                                                                     (size_t) RUNS_PER_BATCH_MAX),
                                      .runs = r.runs + i}};
        struct reply reply;
        err = ask_coordinator(c->asker, &q, c->config.batch_timeout, &reply);
        if (err < 0)
            code = ask_failed(c->asker, err, "cannot give the devices of %s their partitions",
                              c->config.path);
    }
    free(r.runs);
    return code;
}

/* ---- options ---- */

static int
read_options(struct import_call *c)
{
    const char *const *o = c->in->options;
    c->config = (struct import_config){.path = c->in->operands[0],
                                       .update = o[OPTION_UPDATE] != NULL,
                                       .refuse_shared = o[OPTION_REFUSE_SHARED] != NULL,
                                       .batch_timeout = IMPORT_BATCH_TIMEOUT,
                                       .deadline = USEC_INFINITY};
    if (c->in->timeout)
        c->config.deadline = clock_boot() + c->in->timeout;
    const char *country = o[OPTION_COUNTRY], *span = o[OPTION_BATCH_TIMEOUT];
    const char *digits = country && country[0] == '+' ? country + 1 : country;
    if (country && parse_u32(digits, strlen(digits), 1, 999, &c->config.country) < 0) {
        terminal_fault("--country \"%s\": a calling code of 1 to 3 digits, for example 60",
                       country);
        return CTL_USAGE;
    }
    if (span &&
        parse_span(span, USEC_PER_SEC, 86400 * USEC_PER_SEC, &c->config.batch_timeout) < 0) {
        terminal_fault("--timeout-per-batch \"%s\": a span such as 30s or 10m", span);
        return CTL_USAGE;
    }
    if (o[OPTION_REJECTS])
        c->rejects_path = strdup(o[OPTION_REJECTS]);
    else if (asprintf(&c->rejects_path, "%s.rejects.csv", c->config.path) < 0)
        c->rejects_path = NULL;
    if (!c->rejects_path) {
        terminal_fault("out of memory");
        return CTL_FAILED;
    }
    return CTL_DONE;
}

static int
delimiter_of(const struct invocation *in, char *ret)
{
    const char *d = in->options[OPTION_DELIMITER];
    if (!d)
        return CTL_DONE;
    *ret = strcmp(d, "tab") == 0 || strcmp(d, "\\t") == 0 ? '\t' : d[0];
    if (*ret == '\t' || ((*ret == ',' || *ret == ';') && d[1] == '\0'))
        return CTL_DONE;
    terminal_fault("--delimiter \"%s\": ',' ';' or 'tab'", d);
    return CTL_USAGE;
}

static const char *
noun(const struct import_call *c)
{
    return c->kind == IMPORT_DEVICES ? "devices" : "leads";
}

static int
open_file(struct import_call *c)
{
    char why[300], delimiter = 0;
    int code = delimiter_of(c->in, &delimiter);
    if (code != CTL_DONE)
        return code;
    int err = csvfile_open(&c->file, c->config.path, delimiter, why, sizeof(why));
    if (err == 0)
        err = import_columns_read(&c->columns, c->kind, csvfile_header(c->file), why, sizeof(why));
    if (err < 0) {
        terminal_fault("%s: %s", c->config.path, why);
        terminal_next("fleetcast import %s --help lists the columns", noun(c));
        return CTL_FAILED;
    }
    struct rejects_config rejects = {.path = c->rejects_path,
                                     .header = csvfile_header(c->file),
                                     .ignored = c->columns.ignored,
                                     .delimiter = csvfile_delimiter(c->file),
                                     .secret_field = c->columns.at[COLUMN_TOKEN]};
    if (rejects_new(&c->rejects, &rejects) < 0) {
        terminal_fault("out of memory");
        return CTL_FAILED;
    }
    return CTL_DONE;
}

/* ---- the result ---- */

static void
print_table(const struct import_call *c, usec_t spent)
{
    struct table *t = table_new(stdout, c->in->format);
    if (!t)
        return;
    const struct import_counts *n = import_counts(c->import);
    const struct {
        const char *name;
        uint64_t value;
    } counts[] = {
        {"read", n->read},       {"accepted", n->accepted}, {"duplicate", n->duplicate},
        {"updated", n->updated}, {"rejected", n->rejected}, {"not_done", n->not_done},
        {"shared", n->shared},
    };
    table_column(t, "file", NULL, TABLE_WORDS);
    for (size_t i = 0; i < ARRAY_SIZE(counts); i++)
        table_column(t, counts[i].name, NULL, TABLE_COUNT);
    table_column(t, "seconds", NULL, TABLE_NUMBER);
    table_column(t, "rejects_file", NULL, TABLE_WORDS);
    table_words(t, "%s", c->config.path);
    for (size_t i = 0; i < ARRAY_SIZE(counts); i++)
        table_int(t, (int64_t) counts[i].value);
    table_milli(t, (int64_t) (spent / USEC_PER_MSEC), 3);
    table_words(t, "%s", n->rejected ? c->rejects_path : "");
    if (table_done(t) < 0)
        terminal_fault("the output cannot be written");
}

static void
print_words(const struct import_call *c, usec_t spent)
{
    const struct import_counts *n = import_counts(c->import);
    char a[32], b[32], d[32], e[32], f[32], g[32], span[32];
    printf("%s   %s rows   %s rows/s   %s\n", c->config.path, table_thousands(a, (int64_t) n->read),
           table_thousands(b, (int64_t) (n->read * USEC_PER_SEC / MAX_OF(spent, (usec_t) 1))),
           terminal_span(span, spent));
    printf("accepted %s", table_thousands(d, (int64_t) n->accepted));
    if (c->config.update)
        printf("   updated %s", table_thousands(e, (int64_t) n->updated));
    printf("   duplicate %s   rejected %s", table_thousands(f, (int64_t) n->duplicate),
           table_thousands(g, (int64_t) n->rejected));
    if (n->not_done > 0)
        printf("   not done %s", table_thousands(b, (int64_t) n->not_done));
    printf("   (= %s read)\n", a);
    if (n->shared > 0)
        printf("shared %s: another device of the account has the phone too (--refuse-shared)\n",
               table_thousands(b, (int64_t) n->shared));
    if (n->rejected > 0) {
        printf("Rejected rows with their reasons: %s\n", c->rejects_path);
        rejects_show(c->rejects, stdout);
    }
}

static int
finish(struct import_call *c, int err)
{
    usec_t spent = clock_boot() - c->started;
    int written = rejects_finish(c->rejects);
    if (written < 0) {
        terminal_fault("%s cannot be written: %s", c->rejects_path, strerror(-written));
        return CTL_FAILED;
    }
    if (c->in->format == TABLE_TEXT)
        print_words(c, spent);
    else
        print_table(c, spent);
    if (fflush(stdout) != 0)
        return CTL_FAILED;
    const struct import_counts *n = import_counts(c->import);
    unsigned lost = import_tell_not_done(c->import);
    if (err == -EINTR)
        terminal_fault("stopped after %llu rows; they are done%s", (unsigned long long) n->read,
                       lost > 0 ? " but for those" : "");
    else if (err < 0)
        terminal_fault("cannot import %s: %s", c->config.path, import_why(c->import));
    if (err == -EPERM)
        terminal_next("use the configuration of an admin: fleetcast --config FILE ...");
    else if (lost > 0 || err < 0)
        terminal_next("the same command again goes on: rows that are there already are duplicates\n"
                      "        (fleetcast import %s %s)",
                      noun(c), c->config.path);
    else if (n->rejected > 0)
        terminal_next("after correcting: fleetcast import %s %s", noun(c), c->rejects_path);
    if (err == -EPERM)
        return CTL_REFUSED;
    if (err == -EINTR)
        return asker_interrupted(c->asker) ? CTL_FAILED : CTL_TIMED_OUT;
    return err < 0 ? CTL_FAILED : lost > 0 || n->rejected > 0 ? CTL_DEGRADED : CTL_DONE;
}

static int
run_import(struct import_call *c)
{
    c->started = clock_boot();
    int code = read_options(c);
    if (code == CTL_DONE)
        code = open_file(c);
    if (code == CTL_DONE)
        code = asker_open(&c->asker, c->in, 0);
    if (code != CTL_DONE)
        return code;
    if (import_new(&c->import, c->asker, c->file, &c->columns, &c->config, c->rejects) < 0) {
        terminal_fault("out of memory");
        return CTL_FAILED;
    }
    if (c->kind == IMPORT_DEVICES)
        code = place_devices(c);
    if (code != CTL_DONE)
        return code;
    int err = ask_map(c->asker);
    if (err < 0)
        return ask_failed(c->asker, err, "cannot import %s", c->config.path);
    return finish(c, import_run(c->import));
}

static int
import_verb(const struct invocation *in, enum import_kind kind)
{
    struct import_call c = {.in = in, .kind = kind};
    int code = run_import(&c);
    import_free(c.import);
    asker_free(c.asker);
    rejects_free(c.rejects);
    csvfile_free(c.file);
    free(c.rejects_path);
    return code;
}

int
cmd_import_devices(const struct invocation *in)
{
    return import_verb(in, IMPORT_DEVICES);
}

int
cmd_import_leads(const struct invocation *in)
{
    return import_verb(in, IMPORT_LEADS);
}
