/* act.c - rows of an action, their verdicts, and the partitions that gave none. */
#include "coordinator/ctl/act.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "coordinator/ctl/table.h"
#include "coordinator/ctl/terminal.h"

#define AGAIN_AFTER (100 * USEC_PER_MSEC) /* a claimed row is settled by then, or soon after */

enum act_verdict
act_verdict_of(struct slice word)
{
    static const struct {
        const char *word;
        enum act_verdict verdict;
    } words[] = {{"done", ACT_DONE},
                 {"known", ACT_KNOWN},
                 {"retry", ACT_RETRY},
                 {"not_found", ACT_NOT_FOUND}};
    for (size_t i = 0; i < ARRAY_SIZE(words); i++)
        if (strlen(words[i].word) == word.bytes &&
            memcmp(words[i].word, word.data, word.bytes) == 0)
            return words[i].verdict;
    return ACT_REFUSED;
}

/* rows: which of the action's rows this request carries, in order. */
static int
ask_rows(struct asker *a, struct slice partition, const struct action *action, usec_t timeout,
         const unsigned *rows, unsigned count, struct act_result *results)
{
    struct reply r;
    struct slice *cells = calloc((size_t) count * action->column_count + 1, sizeof(*cells));
    if (!cells)
        return -ENOMEM;
    for (unsigned i = 0; i < count; i++)
        memcpy(cells + (size_t) i * action->column_count,
               action->cells + (size_t) rows[i] * action->column_count,
               action->column_count * sizeof(*cells));
    struct request q = {.kind = MESSAGE_ACT,
                        .act = {.partition = partition,
                                .action = {action->name, strlen(action->name)},
                                .column_count = action->column_count,
                                .cell_count = count * action->column_count,
                                .cells = cells}};
    int err = ask_driver(a, partition, &q, timeout, &r);
    free(cells);
    if (err < 0)
        return err;
    if (r.answer.row_count != count)
        return -EBADMSG;
    int verdict = answer_column(&r.answer, "verdict"), detail = answer_column(&r.answer, "detail");
    for (unsigned i = 0; i < count; i++) {
        struct act_result *result = &results[rows[i]];
        struct slice text = answer_text(&r.answer, i, detail);
        result->verdict = act_verdict_of(answer_text(&r.answer, i, verdict));
        snprintf(result->detail, sizeof(result->detail), "%.*s", (int) text.bytes, text.data);
    }
    return 0;
}

int
act_on(struct asker *a, struct slice partition, const struct action *action,
       struct act_result *results)
{
    unsigned rows[ACT_ROWS_MAX], count = action->row_count;
    usec_t span = action->timeout ? action->timeout : ASK_DRIVER_TIMEOUT;
    usec_t deadline = clock_boot() + span;
    assert(count <= ACT_ROWS_MAX && action->column_count <= ARGUMENTS_MAX);
    for (unsigned i = 0; i < count; i++)
        rows[i] = i;
    for (;;) {
        int err = ask_rows(a, partition, action, action->timeout, rows, count, results);
        if (err < 0)
            return err;
        unsigned left = 0;
        for (unsigned i = 0; i < count; i++)
            if (results[rows[i]].verdict == ACT_RETRY)
                rows[left++] = rows[i];
        count = left;
        if (count == 0 || clock_boot() + AGAIN_AFTER >= deadline)
            return 0;
        if ((err = asker_wait(a, AGAIN_AFTER)) < 0)
            return err;
    }
}

/* ---- every partition ---- */

void
act_reach_start(struct act_reach *r, struct asker *a)
{
    const struct map *map = asker_map(a);
    memset(r, 0, sizeof(*r));
    r->asked = map->partition_count;
    for (uint32_t i = 0; i < map->partition_count; i++)
        snprintf(r->names[i], sizeof(r->names[i]), "%.*s", (int) map->partitions[i].name.bytes,
                 map->partitions[i].name.data);
}

static void
merge(struct act_result *into, const struct act_result *from, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        if (from[i].verdict > into[i].verdict)
            into[i] = from[i];
}

int
act_everywhere(struct asker *a, struct act_reach *reach, const struct action *action,
               struct act_result *results)
{
    struct act_result *here = calloc(action->row_count + 1, sizeof(*here));
    if (!here)
        return -ENOMEM;
    memset(results, 0, action->row_count * sizeof(*results));
    int err = 0;
    for (unsigned i = 0; i < reach->asked && err == 0; i++) {
        if (reach->is_silent[i])
            continue;
        struct slice name = {reach->names[i], strlen(reach->names[i])};
        err = act_on(a, name, action, here);
        if (err == 0) {
            merge(results, here, action->row_count);
        } else if (err != -EPERM && err != -EINVAL && err != -EINTR && err != -ENOMEM) {
            reach->is_silent[i] = true;
            reach->silent++;
            snprintf(reach->why[i], sizeof(reach->why[i]), "%s",
                     asker_why(a)[0] ? asker_why(a) : strerror(-err));
            err = 0;
        }
    }
    free(here);
    return err;
}

int
act_reach_tell(const struct act_reach *r, const char *what)
{
    for (unsigned i = 0; i < r->asked; i++)
        if (r->is_silent[i])
            terminal_fault("%s did not reach partition %s: %s", what, r->names[i], r->why[i]);
    if (r->silent == 0)
        return CTL_DONE;
    terminal_next("fleetcast status; then the same command again: what is done stays done");
    return CTL_DEGRADED;
}

/* ---- the answer ---- */

int
act_print(const struct invocation *in, const char *what, const struct act_result *r,
          const char *next)
{
    static const char *const words[] = {[ACT_NOT_FOUND] = "not found",
                                        [ACT_KNOWN] = "known",
                                        [ACT_DONE] = "done",
                                        [ACT_RETRY] = "not now",
                                        [ACT_REFUSED] = "refused"};
    static const int codes[] = {[ACT_NOT_FOUND] = CTL_FAILED,
                                [ACT_KNOWN] = CTL_DONE,
                                [ACT_DONE] = CTL_DONE,
                                [ACT_RETRY] = CTL_DEGRADED,
                                [ACT_REFUSED] = CTL_REFUSED};
    int code = codes[r->verdict];
    if (in->format != TABLE_TEXT) {
        struct table *t = table_new(stdout, in->format);
        if (!t)
            return CTL_FAILED;
        table_column(t, "what", NULL, TABLE_WORDS);
        table_column(t, "verdict", NULL, TABLE_WORDS);
        table_column(t, "detail", NULL, TABLE_WORDS);
        table_words(t, "%s", what);
        table_words(t, "%s", words[r->verdict]);
        table_words(t, "%s", r->detail);
        if (table_done(t) < 0)
            return CTL_FAILED;
    } else if (code == CTL_DONE) {
        printf("%s: %s%s%s\n", what, words[r->verdict], r->detail[0] ? "   " : "", r->detail);
    }
    if (code != CTL_DONE) {
        terminal_fault("%s: %s%s%s", what, words[r->verdict], r->detail[0] ? ": " : "", r->detail);
        terminal_next("%s", r->verdict == ACT_RETRY ? "the same command again" : next);
    }
    return fflush(stdout) == 0 ? code : CTL_FAILED;
}
