/* cmd_optout.c - optout add, rm, ls: every partition keeps every opt-out. */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "coordinator/ctl/act.h"
#include "coordinator/ctl/commands.h"
#include "coordinator/ctl/operands.h"
#include "coordinator/ctl/table.h"
#include "coordinator/ctl/terminal.h"
#include "shared/compose.h"

/* ---- add, rm ---- */

static int
change(const struct invocation *in, const char *name, const char *done)
{
    char phone[24], what[160];
    const char *account = in->options[OPTION_ACCOUNT] ? in->options[OPTION_ACCOUNT] : "main";
    struct act_reach reach;
    struct act_result result = {0};
    struct slice reason = {"", 0};
    struct asker *a = NULL;
    uint64_t number = 0;
    int code = operand_phone(in, in->operands[0], &number);
    if (code == CTL_DONE)
        code = operand_reason(in, &reason);
    if (code == CTL_DONE)
        code = asker_open(&a, in, in->timeout);
    if (code != CTL_DONE)
        return code;
    snprintf(phone, sizeof(phone), "%" PRIu64, number);
    struct slice cells[] = {ask_text(account), ask_text(phone), reason};
    const struct action action = {name, ARRAY_SIZE(cells), 1, cells, in->timeout};
    snprintf(what, sizeof(what), "+%s of account %.64s %s", phone, account, done);
    int err = ask_map(a), told = CTL_DONE;
    if (err == 0) {
        act_reach_start(&reach, a);
        err = act_everywhere(a, &reach, &action, &result);
    }
    if (err < 0) {
        code = ask_failed(a, err, "%s", what);
    } else {
        if (reach.silent < reach.asked)
            code = act_print(in, what, &result, "fleetcast optout ls");
        told = act_reach_tell(&reach, what);
    }
    asker_free(a);
    return code == CTL_DONE ? told : code;
}

int
cmd_optout_add(const struct invocation *in)
{
    return change(in, "optout.add", "opted out");
}

int
cmd_optout_rm(const struct invocation *in)
{
    return change(in, "optout.remove", "opted in again");
}

/* ---- ls ---- */

/* Each once, however many partitions have it: a set of hashes, open addressing. */
struct seen {
    uint64_t hash; /* 0 = free */
    uint32_t partitions;
};
struct listing {
    struct table *table;
    struct seen *seen;
    size_t count, room; /* room: a power of two */
    int64_t forgotten; /* people whose hash stands for an opt-out, of the partition with the most */
};

static struct seen *
find_seen(struct seen *all, size_t room, uint64_t hash)
{
    size_t at = hash & (room - 1);
    while (all[at].hash != 0 && all[at].hash != hash)
        at = (at + 1) & (room - 1);
    return &all[at];
}

static int
grow(struct listing *l)
{
    size_t room = l->room ? 2 * l->room : 1024;
    struct seen *more = calloc(room, sizeof(*more));
    if (!more)
        return -ENOMEM;
    for (size_t i = 0; i < l->room; i++)
        if (l->seen[i].hash != 0)
            *find_seen(more, room, l->seen[i].hash) = l->seen[i];
    free(l->seen);
    l->seen = more;
    l->room = room;
    return 0;
}

static int
on_page(void *arg, struct slice partition, const struct answer *page)
{
    struct listing *l = arg;
    int account = answer_column(page, "account"), phone = answer_column(page, "phone");
    int reason = answer_column(page, "reason"), at = answer_column(page, "at");
    int forgotten = answer_column(page, "forgotten");
    (void) partition;
    for (uint32_t row = 0; row < page->row_count; row++) {
        char key[LABEL_BYTES_MAX + 32];
        struct slice name = answer_text(page, row, account);
        if (2 * (l->count + 1) > l->room && grow(l) < 0)
            return -ENOMEM;
        snprintf(key, sizeof(key), "%" PRId64 " %.*s", answer_number(page, row, phone),
                 (int) name.bytes, name.data);
        struct seen *seen = find_seen(l->seen, l->room, compose_hash(ask_text(key)) | 1);
        if (seen->partitions++ > 0)
            continue;
        seen->hash = compose_hash(ask_text(key)) | 1;
        l->count++;
        l->forgotten = MAX_OF(l->forgotten, answer_number(page, row, forgotten));
        table_text(l->table, name);
        table_int(l->table, answer_number(page, row, phone));
        table_text(l->table, answer_text(page, row, reason));
        table_time(l->table, answer_number(page, row, at));
    }
    return 0;
}

static uint64_t
count_short(const struct listing *l, unsigned partitions)
{
    uint64_t count = 0;
    for (size_t i = 0; i < l->room; i++)
        count += l->seen[i].hash != 0 && l->seen[i].partitions < partitions;
    return count;
}

static int
end_listing(struct listing *l, unsigned partitions, unsigned silent)
{
    uint64_t missing = count_short(l, partitions - silent);
    if (l->forgotten > 0)
        fprintf(stderr, "besides, %" PRId64 " erased people are known by a keyed hash only\n",
                l->forgotten);
    if (missing > 0) {
        terminal_fault("%" PRIu64 " of these are not on every partition", missing);
        terminal_next(
            "fleetcast optout ls --format csv > all.csv && fleetcast optout import all.csv");
    }
    return silent > 0 || missing > 0 ? CTL_DEGRADED : CTL_DONE;
}

int
cmd_optout_ls(const struct invocation *in)
{
    static const struct question question = {.name = "optouts"};
    struct listing l = {0};
    struct asker *a = NULL;
    unsigned silent = 0;
    int code = asker_open(&a, in, in->timeout);
    if (code != CTL_DONE)
        return code;
    l.table = table_new(stdout, in->format);
    int err = l.table ? ask_map(a) : -ENOMEM;
    if (l.table) {
        table_column(l.table, "account", NULL, TABLE_WORDS);
        table_column(l.table, "phone", NULL, TABLE_NUMBER);
        table_column(l.table, "reason", NULL, TABLE_WORDS);
        table_column(l.table, "at", NULL, TABLE_WORDS);
    }
    if (err == 0)
        err = ask_all_partitions(a, &question, on_page, &l, &silent);
    int written = table_done(l.table);
    if (err < 0 || written < 0)
        code = ask_failed(a, err ?: written, "cannot list the opt-outs");
    else
        code = end_listing(&l, asker_map(a)->partition_count, silent);
    free(l.seen);
    asker_free(a);
    return code;
}
