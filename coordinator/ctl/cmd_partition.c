/* cmd_partition.c - partition ls, partition show NAME. */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "coordinator/ctl/answer_table.h"
#include "coordinator/ctl/ask.h"
#include "coordinator/ctl/commands.h"
#include "coordinator/ctl/terminal.h"
#include "coordinator/ctl/view.h"

static void
add_columns(struct table *t)
{
    table_column(t, "name", "PARTITION", TABLE_WORDS);
    table_column(t, "driver", NULL, TABLE_WORDS);
    table_column(t, "home", NULL, TABLE_WORDS);
    table_column(t, "gate", NULL, TABLE_WORDS);
    table_column(t, "epoch", NULL, TABLE_NUMBER);
    table_column(t, "ranges", NULL, TABLE_COUNT);
    table_column(t, "devices", NULL, TABLE_COUNT);
    table_column(t, "live", NULL, TABLE_COUNT);
    table_column(t, "in_flight", NULL, TABLE_COUNT);
    table_column(t, "messages_per_second", "RATE /s", TABLE_COUNT);
    table_column(t, "unknown_open", "UNKNOWN", TABLE_COUNT);
    table_column(t, "beat_age_ms", "BEAT", TABLE_COUNT);
    table_column(t, "content_applied", "CONTENT", TABLE_NUMBER);
    table_column(t, "reason", NULL, TABLE_WORDS);
}

static void
put_partition(struct table *t, const struct view_partition *p)
{
    table_words(t, "%s", p->name);
    table_words(t, "%s", p->driver[0] ? p->driver : "-");
    table_words(t, "%s", p->home);
    table_words(t, "%s", p->reported ? p->gate : "no report");
    table_int(t, (int64_t) p->epoch);
    table_int(t, (int64_t) p->range_count);
    table_int(t, (int64_t) p->devices);
    table_int(t, (int64_t) p->live);
    table_int(t, p->in_flight);
    table_milli(t, p->rate_milli, 1);
    table_int(t, (int64_t) p->doubts);
    int64_t beat = (int64_t) (p->beat_age / USEC_PER_MSEC);
    if (p->reported)
        table_shown(t, beat, "%" PRId64 " ms ago", beat);
    else
        table_null(t);
    table_int(t, (int64_t) p->content_applied);
    table_words(t, "%s", p->reason);
}

int
cmd_partition_ls(const struct invocation *in)
{
    struct asker *a = NULL;
    int code = asker_open(&a, in, in->timeout);
    if (code != CTL_DONE)
        return code;
    struct view *v = view_new();
    int err = v ? view_cluster(v, a) : -ENOMEM;
    struct table *t = err == 0 ? table_new(stdout, in->format) : NULL;
    if (t) {
        add_columns(t);
        for (unsigned i = 0; i < v->partition_count; i++)
            put_partition(t, &v->partitions[i]);
        code = table_done(t) == 0 ? CTL_DONE : CTL_FAILED;
    } else {
        code = err < 0 ? ask_failed(a, err, "cannot list the partitions") : CTL_FAILED;
    }
    view_free(v);
    asker_free(a);
    return code;
}

/* The driver's word about the partition, then its epochs. */
int
cmd_partition_show(const struct invocation *in)
{
    static const struct question questions[] = {{.name = "partition"}, {.name = "epochs"}};
    struct slice name = {in->operands[0], strlen(in->operands[0])};
    struct asker *a = NULL;
    int code = asker_open(&a, in, in->timeout);
    if (code != CTL_DONE)
        return code;
    int err = name.bytes <= NAME_BYTES_MAX ? ask_map(a) : -ENOENT;
    /* epochs are a second table: for people only, a program gets one table a call */
    unsigned count = in->format == TABLE_TEXT ? ARRAY_SIZE(questions) : 1;
    for (unsigned i = 0; i < count && err == 0; i++) {
        struct answer_table t = {.out = stdout,
                                 .format =
                                     i == 0 && in->format == TABLE_TEXT ? TABLE_LIST : in->format};
        err = ask_pages(a, name, &questions[i], answer_table_page, &t);
        if (i == 0 && count > 1 && err == 0)
            fputc('\n', stdout);
        int written = answer_table_done(&t);
        err = err ?: written;
    }
    if (err == -ENOENT) {
        terminal_fault("no partition \"%s\"", in->operands[0]);
        terminal_next("fleetcast partition ls");
        code = CTL_FAILED;
    } else if (err < 0) {
        code = ask_failed(a, err, "cannot show partition %s", in->operands[0]);
    }
    asker_free(a);
    return code;
}
