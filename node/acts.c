/* acts.c - the table of actions; requests become rounds, rounds become answers. */
#include "node/acts.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "node/acts_inner.h"
#include "node/audience.h"
#include "shared/log.h"

#define ARGS_BYTES      (2u * FRAME_BYTES_MAX)
#define QUERY_TIMEOUT   (60 * USEC_PER_SEC) /* days that are not closed are read whole */
#define ROUND_BYTES_MAX (FRAME_BYTES_MAX / 2)

/* action, columns of a row, lock, judge, start. Columns stand in the judges. */
static const struct action actions[] = {
    {"optout.add", 3, STORE_LOCK_EXCLUSIVE, act_judge_optout, act_optout_add},
    {"optout.remove", 3, STORE_LOCK_EXCLUSIVE, act_judge_optout, act_optout_remove},
    {"send", 5, STORE_LOCK_SHARED, act_judge_send, act_send},
    {"lead.enrol", 4, STORE_LOCK_SHARED, act_judge_enrol, act_enrol},
    {"lead.remove", 3, STORE_LOCK_SHARED, act_judge_remove, act_remove},
    {"lead.forget", 2, STORE_LOCK_EXCLUSIVE, act_judge_forget, act_forget},
    {"device.pause", 3, STORE_LOCK_EXCLUSIVE, act_judge_pause, act_pause},
    {"device.resume", 2, STORE_LOCK_EXCLUSIVE, act_judge_resume, act_pause},
    {"node.enrol_rate", 1, STORE_COUNT, act_judge_rate, act_rate},
};

static void pump(struct acts *a);

int
acts_new(struct acts **ret, const struct replies *replies, const uint8_t *token_key)
{
    struct acts *a = calloc(1, sizeof(*a));
    if (!a)
        return -ENOMEM;
    *a = (struct acts){.replies = replies, .token_key = token_key};
    TAILQ_INIT(&a->queue);
    LIST_INIT(&a->rounds);
    int err = 0;
    for (unsigned n = 0; n < ACTS_ARGS && err == 0; n++)
        err = db_args_init(&a->args[n], ARGS_BYTES);
    if (err < 0)
        acts_free(a);
    else
        *ret = a;
    return err;
}

static struct acting *
acting_free(struct acting *g)
{
    if (!g)
        return NULL;
    free(g->rows);
    free(g->cells);
    free(g);
    return NULL;
}

struct acts *
acts_free(struct acts *a)
{
    if (!a)
        return NULL;
    assert(LIST_EMPTY(&a->rounds));
    for (struct acting *g; (g = TAILQ_FIRST(&a->queue)) != NULL; acting_free(g))
        TAILQ_REMOVE(&a->queue, g, link);
    for (unsigned n = 0; n < ACTS_ARGS; n++)
        db_args_done(&a->args[n]);
    free(a);
    return NULL;
}

unsigned
acts_waiting(const struct acts *a)
{
    return a->waiting;
}

/* ---- the answer ---- */

static struct slice
slice_of(const char *text)
{
    return (struct slice){text, strlen(text)};
}

static struct slice
verdict_word(enum act_verdict verdict)
{
    static const char *const words[] = {
        [ACT_PENDING] = "retry",   [ACT_DONE] = "done",   [ACT_KNOWN] = "known",
        [ACT_REFUSED] = "refused", [ACT_RETRY] = "retry", [ACT_NOT_FOUND] = "not_found"};
    return slice_of(words[verdict]);
}

static void
answer(const struct acts *a, const struct acting *g)
{
    struct slice columns[] = {slice_of("verdict"), slice_of("detail")};
    struct cell *cells = calloc(2u * g->row_count + 1, sizeof(*cells));

    if (!cells) {
        replies_status(a->replies, g->ticket, MESSAGE_ACT, STATUS_RETRY, "out of memory");
        return;
    }
    for (unsigned n = 0; n < g->row_count; n++) {
        const struct act_row *row = &g->rows[n];
        cells[2 * n] = (struct cell){.kind = CELL_TEXT, .text = verdict_word(row->verdict)};
        cells[2 * n + 1] = (struct cell){.kind = CELL_TEXT, .text = slice_of(row->detail)};
    }
    struct reply reply = {
        .kind = MESSAGE_ACT,
        .status = STATUS_OK,
        .answer = {.column_count = ARRAY_SIZE(columns),
                   .columns = columns,
                   .row_count = g->row_count,
                   .cells = cells},
    };
    replies_send(a->replies, g->ticket, &reply);
    free(cells);
}

/* ---- a round: its rows ---- */

struct act_row *
round_row(struct round *r, int64_t n)
{
    return n >= 0 && n < r->row_count ? r->rows[n] : NULL;
}

bool
round_has_pending(const struct round *r)
{
    for (unsigned n = 0; n < r->row_count; n++)
        if (r->rows[n]->verdict == ACT_PENDING)
            return true;
    return false;
}

struct db_args *
round_args(struct round *r, unsigned index)
{
    assert(index < ACTS_ARGS);
    db_args_reset(&r->acts->args[index]);
    return &r->acts->args[index];
}

/* ---- a round: transactions ---- */

static void
refuse_submit(struct round *r, int err)
{
    round_end(r, err == -E2BIG    ? "too much at once"
                 : err == -EAGAIN ? "the database is busy"
                                  : "no database");
}

void
round_submit(struct round *r, enum store_statement lock, const struct db_call *calls,
             unsigned count, db_done_fn *done)
{
    struct db_call all[DB_CALLS_MAX] = {{lock, NULL}, {STORE_EPOCH, NULL}};
    struct db *lane = partition_pool(r->partition) ? partition_tick_lane(r->partition) : NULL;

    assert(count + ROUND_CALLS <= DB_CALLS_MAX);
    memcpy(all + ROUND_CALLS, calls, count * sizeof(*calls));
    r->submitted = clock_boot();
    r->asks_epoch = true;
    int err = lane ? db_submit(lane, all, count + ROUND_CALLS, ACTS_TIMEOUT, done, r) : -ENOTCONN;
    if (err < 0)
        refuse_submit(r, err);
}

void
round_ask(struct round *r, const struct db_call *call, db_done_fn *done)
{
    struct dbpool *pool = partition_pool(r->partition);

    r->asks_epoch = false;
    int err = pool ? db_submit(dbpool_lane(pool, LANE_QUERY), call, 1, QUERY_TIMEOUT, done, r)
                   : -ENOTCONN;
    if (err < 0)
        refuse_submit(r, err);
}

/* What the values themselves caused would be refused again: data exceptions, constraints, sizes. */
static bool
is_final(const char *sqlstate)
{
    return strncmp(sqlstate, "22", 2) == 0 || strncmp(sqlstate, "54", 2) == 0;
}

bool
round_committed(struct round *r, enum db_outcome outcome, const struct db_reply *reply)
{
    if (r->asks_epoch)
        meter_lock(&r->partition->meter, clock_boot() - r->submitted);
    if (outcome == DB_DONE && r->asks_epoch &&
        !partition_read_epoch(r->partition, reply, 1, r->submitted)) {
        round_end(r, "this node no longer drives the partition");
        return false;
    }
    if (outcome == DB_DONE)
        return true;
    if (outcome == DB_REFUSED) {
        partition_log_refused(r->partition, r->action->name, reply);
        for (unsigned n = 0; n < r->row_count && is_final(db_sqlstate(reply)); n++)
            if (r->rows[n]->verdict == ACT_PENDING)
                row_decide(r->rows[n], ACT_REFUSED, "%s", db_message(reply));
        round_end(r, "the database refused it for now");
    } else {
        round_end(r, "the connection to the database was lost");
    }
    return false;
}

void
round_lost_memory(struct round *r)
{
    log_event(LOG_LEVEL_ERROR, "act.not_followed", "partition=%s action=%s error=\"%s\"",
              partition_name(r->partition), r->action->name, strerror(ENOMEM));
    db_drop(partition_tick_lane(r->partition));
}

void
round_end(struct round *r, const char *why)
{
    struct acts *a = r->acts;

    for (unsigned n = 0; n < r->row_count; n++)
        if (r->rows[n]->verdict == ACT_PENDING)
            row_decide(r->rows[n], ACT_RETRY, "%s", why);
    for (struct acting *g; (g = TAILQ_FIRST(&r->actings)) != NULL; acting_free(g)) {
        TAILQ_REMOVE(&r->actings, g, link);
        answer(a, g);
        a->waiting--;
    }
    LIST_REMOVE(r, link);
    act_erasure_free(r->erasure);
    free(r);
    pump(a);
}

void
round_rows_gone(const struct round *r, const struct db_reply *reply, unsigned call)
{
    for (unsigned row = 0; row < db_rows(reply, call); row++)
        audience_row_gone(r->partition, (int32_t) db_get_int(reply, call, row, 0),
                          (int32_t) db_get_int(reply, call, row, 1),
                          (int32_t) db_get_int(reply, call, row, 2));
}

/* ---- requests become rounds ---- */

static bool
has_round(const struct acts *a, const struct partition *p)
{
    const struct round *r;

    LIST_FOREACH(r, &a->rounds, link)
    if (r->partition == p)
        return true;
    return false;
}

/* `first` and what waits behind it for the same, as much as fits one transaction. */
static struct round *
gather(struct acts *a, struct acting *first)
{
    struct round *r = calloc(1, sizeof(*r));
    struct acting *g = first, *next;
    size_t bytes = 0;

    if (!r)
        return NULL;
    *r = (struct round){.acts = a, .partition = first->partition, .action = first->action};
    TAILQ_INIT(&r->actings);
    for (; g; g = next) {
        next = TAILQ_NEXT(g, link);
        if (g->partition != first->partition || g->action != first->action)
            continue;
        if (g != first &&
            (r->row_count + g->row_count > ACT_ROWS_MAX || bytes + g->bytes > ROUND_BYTES_MAX))
            break; /* order is kept */
        bytes += g->bytes;
        for (unsigned n = 0; n < g->row_count; n++)
            r->rows[r->row_count++] = &g->rows[n];
        TAILQ_REMOVE(&a->queue, g, link);
        TAILQ_INSERT_TAIL(&r->actings, g, link);
    }
    LIST_INSERT_HEAD(&a->rounds, r, link);
    return r;
}

static void
turn_away(struct acts *a, struct acting *g, const char *why)
{
    TAILQ_REMOVE(&a->queue, g, link);
    replies_status(a->replies, g->ticket, MESSAGE_ACT, STATUS_RETRY, why);
    a->waiting--;
    acting_free(g);
}

static const char *
closed_why(const struct partition *p)
{
    const char *why = partition_reason(p);
    return *why ? why : partition_state_name(partition_state_of(p));
}

static struct acting *
find_ready(struct acts *a)
{
    struct acting *g;

    TAILQ_FOREACH (g, &a->queue, link)
        if (!has_round(a, g->partition))
            return g;
    return NULL;
}

static void
pump(struct acts *a)
{
    struct acting *g = find_ready(a);

    if (!g)
        return;
    if (!partition_may_write(g->partition)) {
        turn_away(a, g, closed_why(g->partition));
    } else {
        struct round *r = gather(a, g);
        if (r && round_has_pending(r))
            r->action->start(r);
        else if (r)
            round_end(r, "");
        if (r)
            return; /* its end pumps on */
        turn_away(a, g, "out of memory");
    }
    pump(a);
}

static const struct action *
find_action(struct slice name)
{
    for (size_t n = 0; n < ARRAY_SIZE(actions); n++)
        if (strlen(actions[n].name) == name.bytes &&
            memcmp(actions[n].name, name.data, name.bytes) == 0)
            return &actions[n];
    return NULL;
}

/* A copy of the request's rows, judged. */
static struct acting *
acting_new(const struct acts *a, struct partition *p, const struct request *q,
           const struct action *action)
{
    struct acting *g = calloc(1, sizeof(*g));
    size_t bytes = 0;

    if (!g)
        return NULL;
    for (uint32_t n = 0; n < q->act.cell_count; n++)
        bytes += q->act.cells[n].bytes;
    *g = (struct acting){.partition = p,
                         .incarnation = q->incarnation,
                         .request_id = q->id,
                         .action = action,
                         .row_count = q->act.cell_count / action->column_count,
                         .bytes = bytes};
    g->rows = calloc(g->row_count + 1u, sizeof(*g->rows));
    g->cells = malloc(q->act.cell_count * sizeof(*g->cells) + bytes + 1);
    if (!g->rows || !g->cells)
        return acting_free(g);
    char *at = (char *) (g->cells + q->act.cell_count);
    for (uint32_t n = 0; n < q->act.cell_count; n++) {
        struct slice cell = q->act.cells[n];
        if (cell.bytes > 0)
            memcpy(at, cell.data, cell.bytes);
        g->cells[n] = (struct slice){at, cell.bytes};
        at += cell.bytes;
    }
    for (unsigned n = 0; n < g->row_count; n++) {
        g->rows[n] = (struct act_row){.cells = g->cells + n * action->column_count};
        action->judge(a, p, &g->rows[n]);
    }
    return g;
}

static bool
answer_again(struct acting_list *list, struct rpc_ticket ticket, const struct request *q)
{
    struct acting *g;

    TAILQ_FOREACH (g, list, link) {
        if (g->request_id != q->id ||
            memcmp(&g->incarnation, &q->incarnation, sizeof(q->incarnation)) != 0)
            continue;
        g->ticket = ticket;
        return true;
    }
    return false;
}

/* The asker heard nothing for a while and asked again on a new session: what is at work answers
 * there. */
static bool
is_asked_again(struct acts *a, struct rpc_ticket ticket, const struct request *q)
{
    struct round *r;

    LIST_FOREACH(r, &a->rounds, link)
    if (answer_again(&r->actings, ticket, q))
        return true;
    return answer_again(&a->queue, ticket, q);
}

/* NULL: it can be taken. */
static const char *
bad_why(const struct action *action, const struct act *act)
{
    if (!action)
        return "no such action";
    if (act->column_count != action->column_count || act->cell_count % action->column_count != 0 ||
        act->cell_count / action->column_count > ACT_ROWS_MAX)
        return "the rows are not of this action";
    return NULL;
}

void
acts_take(struct acts *a, struct partition *p, struct rpc_ticket ticket, const struct request *q)
{
    assert(q->kind == MESSAGE_ACT);
    if (is_asked_again(a, ticket, q))
        return;
    const struct action *action = find_action(q->act.action);
    const char *bad = bad_why(action, &q->act);
    if (bad) {
        replies_status(a->replies, ticket, MESSAGE_ACT, STATUS_BAD, bad);
        return;
    }
    if (!partition_may_write(p) || a->waiting == ACTS_WAITING_MAX) {
        replies_status(a->replies, ticket, MESSAGE_ACT, STATUS_RETRY,
                       partition_may_write(p) ? "too many acts wait" : closed_why(p));
        return;
    }
    struct acting *g = acting_new(a, p, q, action);
    if (!g) {
        replies_status(a->replies, ticket, MESSAGE_ACT, STATUS_RETRY, "out of memory");
        return;
    }
    g->ticket = ticket;
    a->waiting++;
    TAILQ_INSERT_TAIL(&a->queue, g, link);
    pump(a);
}
