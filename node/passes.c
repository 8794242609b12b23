/* Once over all devices, page by page: rows of a cancelled source end, old revisions move on. */
#include <errno.h>
#include <stdlib.h>

#include "node/audience_inner.h"

#define PASS_DEVICES  100u
#define PASS_ROWS     500u
#define PASS_ROWS_MIN 16u
#define RESTEPS_MAX   8192u
#define RESTEP_BYTES  32u /* of one in the arrays */

static void
page_asked(struct audience *a, struct pass *pass, const struct source *s, int32_t after)
{
    pass->source_id = s->source_id;
    pass->after = after;
    pass->round = a->round;
    db_args_reset(&pass->args);
    db_put_int8(&pass->args, (int64_t) a->p->epoch);
    db_put_int4(&pass->args, s->source_id);
    db_put_int4(&pass->args, after);
    db_put_int4(&pass->args, (int32_t) pass->devices);
    db_put_int4(&pass->args, (int32_t) pass->rows);
}

/* At most one a tick: the sender shares the lane. */
static usec_t
submit(struct audience *a, struct pass *pass, enum store_statement statement, usec_t now,
       db_done_fn *done)
{
    const struct db_call calls[] = {{.statement = STORE_LOCK_SHARED},
                                    {.statement = statement, .args = &pass->args}};

    pass->asked_at = now;
    pass->not_before = now + a->p->config.timing.tick;
    pass->asked = db_submit(partition_tick_lane(a->p), calls, ARRAY_SIZE(calls),
                            a->p->config.timing.commit, done, a) == 0;
    return pass->asked ? USEC_INFINITY : pass->not_before;
}

/* As an enrolment. Rows are read of each device of a page, moved or not: so both are bounded. */
static void
adapt(struct pass *pass, bool done)
{
    bool slow = !done || clock_boot() - pass->asked_at > AUDIENCE_SLOW;

    pass->devices = slow ? pass->devices / 2 : pass->devices * 2;
    pass->devices = MAX_OF(1u, MIN_OF(pass->devices, PASS_DEVICES));
    pass->rows = slow ? pass->rows / 2 : pass->rows * 2;
    pass->rows = MAX_OF(PASS_ROWS_MIN, MIN_OF(pass->rows, PASS_ROWS));
}

/*
 * The page is done when it had fewer rows than were asked for. A row that came back meanwhile set
 * the source to an earlier device: then it goes on from there.
 */
static void
turn_page(const struct pass *pass, const struct db_reply *reply, int64_t rows, bool *on,
          int32_t *after)
{
    unsigned devices = db_rows(reply, 1);

    if (*after != pass->after)
        return;
    if (devices == 0)
        *on = false; /* behind the last device */
    else if (rows < pass->rows)
        *after = (int32_t) db_get_int(reply, 1, devices - 1, 0);
}

/* Answers whether it counts: it committed, and nothing was forgotten since. */
static bool
answered(struct audience *a, struct pass *pass, enum db_outcome outcome,
         const struct db_reply *reply, const char *what)
{
    pass->asked = false;
    partition_wake(a->p);
    if (outcome == DB_REFUSED)
        partition_log_refused(a->p, what, reply);
    if (outcome == DB_DONE && pass->round == a->round) {
        meter_lock(&a->p->meter, clock_boot() - pass->asked_at);
        return true;
    }
    adapt(pass, false);
    pass->not_before = clock_boot() + AUDIENCE_AGAIN;
    return false;
}

/* ---- cancelled ---- */

static void
on_swept(void *arg, enum db_outcome outcome, const struct db_reply *reply)
{
    struct audience *a = arg;
    struct pass *pass = &a->sweep;
    struct source *s = book_source(a->p->book, pass->source_id);
    int64_t rows = 0;

    if (!answered(a, pass, outcome, reply, "sweep"))
        return;
    for (unsigned row = 0; row < db_rows(reply, 1); row++) {
        struct device *d = schedule_find(a->p->devices, (int32_t) db_get_int(reply, 1, row, 0));
        int64_t ended = db_get_int(reply, 1, row, 1);

        rows += ended;
        if (d)
            audience_live(a->p, d, -ended);
    }
    turn_page(pass, reply, rows, &s->sweep, &s->sweep_after);
    adapt(pass, true);
}

static usec_t
tick_sweep(struct audience *a, usec_t now)
{
    struct pass *pass = &a->sweep;
    const struct source *s = book_to_sweep(a->p->book);

    if (!s || pass->asked)
        return USEC_INFINITY;
    if (now < pass->not_before)
        return pass->not_before;
    page_asked(a, pass, s, s->sweep_after);
    return submit(a, pass, STORE_SWEEP, now, on_swept);
}

/* ---- revisions ---- */

/* Rows moved in the table: lists are read again, from the start. */
static void
on_moved(void *arg, enum db_outcome outcome, const struct db_reply *reply)
{
    struct audience *a = arg;
    struct pass *pass = &a->restep;
    struct source *s = book_source(a->p->book, pass->source_id);
    int64_t rows = 0;

    if (!answered(a, pass, outcome, reply, "restep"))
        return;
    for (unsigned row = 0; row < db_rows(reply, 1); row++) {
        struct device *d = schedule_find(a->p->devices, (int32_t) db_get_int(reply, 1, row, 0));
        int64_t touched = db_get_int(reply, 1, row, 1);

        rows += touched;
        if (!d || touched == 0)
            continue;
        audience_live(a->p, d, -db_get_int(reply, 1, row, 2));
        device_rewind(d, CLASS_SEQUENCE);
        audience_look(a, d);
    }
    turn_page(pass, reply, rows, &s->restep, &s->restep_after);
    adapt(pass, true);
}

/* The map from older steps to new ones, the newest revision, and where it goes on for who is
 * through. */
static int
encode_restep(struct audience *a, const struct source *s)
{
    struct restep *map = calloc(RESTEPS_MAX, sizeof(*map));
    int16_t *column = calloc(RESTEPS_MAX, sizeof(*column));
    int64_t *shifts = calloc(RESTEPS_MAX, sizeof(*shifts));
    struct db_args *args = &a->restep.args;
    const struct source *next = source_chain(a->p->book, s, s->revision);
    const struct source_step *first = next ? source_next(next, next->revision, 0) : NULL;
    int r = map && column && shifts ? 0 : -ENOMEM;

    if (r == 0) {
        unsigned n = MIN_OF(source_resteps(s, map, RESTEPS_MAX), RESTEPS_MAX);

        for (unsigned i = 0; i < n; i++)
            column[i] = map[i].revision;
        db_put_int2s(args, column, n);
        for (unsigned i = 0; i < n; i++)
            column[i] = map[i].step;
        db_put_int2s(args, column, n);
        for (unsigned i = 0; i < n; i++)
            column[i] = map[i].to_step;
        db_put_int2s(args, column, n);
        for (unsigned i = 0; i < n; i++)
            shifts[i] = map[i].shift;
        db_put_int8s(args, shifts, n);
        db_put_int4(args, first ? next->source_id : 0);
        db_put_int2(args, s->revision);
        db_put_int2(args, first ? first->step : 0);
        db_put_int2(args, first ? next->revision : 0);
        db_put_int8(args, first ? (int64_t) first->delay : 0);
    }
    free(map);
    free(column);
    free(shifts);
    return r;
}

static usec_t
tick_restep(struct audience *a, usec_t now)
{
    struct pass *pass = &a->restep;
    const struct source *s = book_to_restep(a->p->book);

    if (!s || pass->asked)
        return USEC_INFINITY;
    if (now < pass->not_before)
        return pass->not_before;
    page_asked(a, pass, s, s->restep_after);
    if (encode_restep(a, s) == 0)
        return submit(a, pass, STORE_RESTEP, now, on_moved);
    pass->not_before = now + AUDIENCE_AGAIN;
    return pass->not_before;
}

usec_t
passes_tick(struct audience *a, usec_t now)
{
    usec_t sweep = tick_sweep(a, now);

    return MIN_OF(sweep, tick_restep(a, now));
}

int
passes_new(struct audience *a)
{
    int r = db_args_init(&a->sweep.args, 256u);

    a->sweep.devices = a->restep.devices = 1;
    a->sweep.rows = a->restep.rows = PASS_ROWS_MIN;
    return r < 0 ? r : db_args_init(&a->restep.args, RESTEPS_MAX * RESTEP_BYTES + 512u);
}

void
passes_done(struct audience *a)
{
    db_args_done(&a->sweep.args);
    db_args_done(&a->restep.args);
}
