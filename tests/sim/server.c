/* shared/db.h on a simulated server. */
#include "tests/sim/server.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "shared/backoff.h"

#define BACKOFF_MIN (100 * USEC_PER_MSEC)
#define BACKOFF_MAX (2 * USEC_PER_SEC)

enum stage { TRAVELS, QUEUED, WAITS, RUNS, COMMITS, ANSWERS };

struct txn {
    TAILQ_ENTRY(txn) of_client, of_session, of_lock;
    struct event event, deadline;
    struct db *db;           /* NULL: the client gave it up */
    struct session *session; /* NULL: it ended, or is done with it */
    enum stage stage;
    bool shared, exclusive; /* holds the lock */
    unsigned call_count;
    struct {
        unsigned statement;
        struct values values;
    } calls[DB_CALLS_MAX];
    db_done_fn *done;
    void *arg;
    int64_t started;
    enum db_outcome outcome;
    struct db_reply reply;
};

struct session {
    TAILQ_ENTRY(session) link;
    struct server *server;
    struct db *db; /* NULL: the client is gone */
    int pid;
    bool ending; /* when its commit is through */
    struct txns queue;
    struct event notice; /* the server sees that the client is gone */
    usec_t last_arrival, last_answer;
};

struct db {
    struct process *process;
    struct server *server;
    db_up_fn *on_up;
    void *arg;
    struct session *session;
    struct event connect, lost;
    bool ready, stopped;
    usec_t backoff, commit_lag;
    unsigned depth;
    struct txns fifo;
    const char *error;
};

static void begin(struct session *s);

/* ---- time on the way ---- */

static usec_t
latency(const struct server *s)
{
    return sim_between(40, MAX_OF(s->faults.latency_max, (usec_t) 200));
}

int64_t
server_now(const struct server *s)
{
    return SIM_START + (int64_t) sim.now + s->clock;
}

/* ---- transactions ---- */

static void
txn_free_if_done(struct txn *t)
{
    if (t->db || t->session)
        return;
    sim_take_out(&t->event);
    sim_take_out(&t->deadline);
    for (unsigned i = 0; i < t->call_count; i++)
        values_done(&t->calls[i].values);
    reply_done(&t->reply);
    free(t);
}

static void
grant(struct server *s)
{
    struct txn *t;

    while ((t = TAILQ_FIRST(&s->waiting)) != NULL) {
        bool wants_all = t->calls[0].statement == STORE_LOCK_EXCLUSIVE;

        if (s->exclusive || (wants_all && s->shared > 0))
            return;
        TAILQ_REMOVE(&s->waiting, t, of_lock);
        t->shared = !wants_all;
        t->exclusive = wants_all;
        if (wants_all)
            s->exclusive = t;
        else
            s->shared++;
        t->stage = RUNS;
        sim_put(&t->event, sim.now + sim_between(100, 1500));
    }
}

static void
unlock(struct server *s, struct txn *t)
{
    if (t->stage == WAITS)
        TAILQ_REMOVE(&s->waiting, t, of_lock);
    if (t->shared)
        s->shared--;
    if (t->exclusive)
        s->exclusive = NULL;
    t->shared = t->exclusive = false;
    grant(s);
}

/* The session is done with it, whatever became of it. */
static void
detach(struct txn *t)
{
    struct session *s = t->session;

    TAILQ_REMOVE(&s->queue, t, of_session);
    t->session = NULL;
    unlock(s->server, t);
}

static void client_lost(struct db *db, const char *why);

static void
on_lost(struct event *e)
{
    client_lost(container_of(e, struct db, lost), "server closed the connection");
}

static void
session_end(struct session *s)
{
    struct txn *t;

    sim_take_out(&s->notice);
    while ((t = TAILQ_FIRST(&s->queue)) != NULL) {
        sim_take_out(&t->event);
        detach(t);
        t->stage = ANSWERS;
        txn_free_if_done(t);
    }
    if (s->db) {
        s->db->session = NULL;
        s->db->ready = false;
        usec_t at = sim.now + latency(s->server);
        sim_put(&s->db->lost, MAX_OF(s->last_answer, at));
    }
    TAILQ_REMOVE(&s->server->sessions, s, link);
    free(s);
}

/* pg_terminate_backend: a commit that has begun ends first. */
static void
session_terminate(struct session *s)
{
    struct txn *head = TAILQ_FIRST(&s->queue);

    if (head && head->stage == COMMITS)
        s->ending = true;
    else
        session_end(s);
}

static void
check(struct server *s, struct db_reply *r)
{
    const struct store *t = &s->store;

    reply_row(r);
    reply_int(r, t->epoch);
    reply_text(r, t->driver, strlen(t->driver));
    reply_uuid(r, &t->incarnation);
    reply_int(r, t->clean);
    reply_text(r, t->partition, strlen(t->partition));
    reply_int(r, server_now(s));
    reply_int(r, STORE_SCHEMA_VERSION);
    for (unsigned i = 0; i < 4; i++)
        reply_int(r, true); /* fsync, full_page_writes, synchronous_commit, settings */
    reply_int(r, 100);
    reply_int(r, false);
    reply_int(r, t->lsn);
}

static void
clear(struct txn *t, struct db_reply *r)
{
    struct array ours = value_array(&t->calls[0].values, 0);
    struct session *s, *next;
    int64_t count = 0;

    for (s = TAILQ_FIRST(&t->session->server->sessions); s; s = next) {
        next = TAILQ_NEXT(s, link);
        if (s == t->session || array_has(ours, s->pid))
            continue;
        count++;
        session_terminate(s);
    }
    reply_row(r);
    reply_int(r, count);
}

static void
execute(struct txn *t)
{
    struct server *s = t->session->server;

    for (unsigned i = 0; i < t->call_count; i++) {
        unsigned statement = t->calls[i].statement;
        struct call c = {.s = &s->store,
                         .in = &t->calls[i].values,
                         .out = &t->reply,
                         .now = t->started,
                         .clock = server_now(s)};

        reply_call(&t->reply);
        sim_hash(&statement, sizeof(statement));
        if (sim.verbose)
            printf("%12.6f %-8s   sql %s\n", (double) sim.now / 1e6, s->store.partition,
                   store_statements[statement].name);
        if (statement == STORE_CHECK)
            check(s, &t->reply);
        else if (statement == STORE_CLEAR)
            clear(t, &t->reply);
        else if (store_functions[statement])
            store_functions[statement](&c);
        else
            sim_fail("statement %s is not modelled", store_statements[statement].name);
    }
    s->store.lsn += 100;
}

static void on_answer(struct event *e);

static void
answer(struct txn *t)
{
    struct session *s = t->session;
    struct db *db = t->db;

    detach(t);
    t->stage = ANSWERS;
    if (!db) {
        txn_free_if_done(t);
        return;
    }
    t->event.run = on_answer;
    t->event.what = "answer";
    t->event.process = db->process;
    usec_t at = sim.now + latency(s->server);
    s->last_answer = MAX_OF(s->last_answer, at); /* one connection is one order */
    sim_put(&t->event, s->last_answer);
}

static void
commit(struct txn *t)
{
    struct session *s = t->session;
    struct server *server = s->server;

    t->outcome = DB_DONE;
    execute(t);
    if (server->committed)
        server->committed(server->arg, server);
    if (sim_chance(server->faults.lose_answer) || sim_chance(server->faults.kill_after)) {
        sim_say("commit answer is lost");
        session_end(s);
        return;
    }
    answer(t);
    if (s->ending)
        session_end(s);
    else
        begin(s);
}

static void
refuse(struct txn *t, const char *sqlstate, const char *message, unsigned failed_call)
{
    struct session *s = t->session;

    t->outcome = DB_REFUSED;
    t->reply.sqlstate = sqlstate;
    t->reply.message = message;
    t->reply.failed_call = failed_call;
    answer(t);
    begin(s);
}

/* Its time, now() to all its statements, is not the one that it was made for. */
static bool
is_out_of_time(const struct txn *t)
{
    const struct values *v = &t->calls[0].values;

    return t->calls[0].statement == STORE_LOCK_TIMED &&
           (t->started < value_time(v, 0) || t->started > value_time(v, 1));
}

static void
on_stage(struct event *e)
{
    struct txn *t = container_of(e, struct txn, event);
    struct session *s = t->session;
    struct server_faults *f = &s->server->faults;

    switch (t->stage) {
    case TRAVELS:
        t->stage = QUEUED;
        if (t == TAILQ_FIRST(&s->queue))
            begin(s);
        return;
    case RUNS:
        if (sim_chance(f->kill_before)) {
            sim_say("backend dies before its commit");
            session_end(s);
        } else if (is_out_of_time(t))
            refuse(t, "22012", "division by zero", 0);
        else if (sim_chance(f->refuse))
            refuse(t, "53100", "could not extend file", t->call_count);
        else {
            t->stage = COMMITS;
            sim_put(&t->event, sim.now + sim_between(200, 2500));
        }
        return;
    case COMMITS: commit(t); return;
    default: assert(!"no such stage has an event");
    }
}

/* The next one in the session's queue, if it has arrived. */
static void
begin(struct session *s)
{
    struct txn *t = TAILQ_FIRST(&s->queue);
    struct server *server = s->server;
    usec_t stall = 0;

    if (!t || t->stage != QUEUED)
        return;
    t->started = server_now(server);
    if (sim_chance(server->faults.stall))
        stall = sim_between(0, server->faults.stall_max);
    if (t->calls[0].statement == STORE_LOCK_SHARED || t->calls[0].statement == STORE_LOCK_TIMED ||
        t->calls[0].statement == STORE_LOCK_EXCLUSIVE) {
        t->stage = WAITS;
        TAILQ_INSERT_TAIL(&server->waiting, t, of_lock);
        grant(server);
        if (t->stage == RUNS && stall > 0)
            sim_put(&t->event, sim.now + stall);
        return;
    }
    t->stage = RUNS;
    sim_put(&t->event, sim.now + stall + sim_between(50, 1500));
}

/* ---- the client ---- */

static void
on_answer(struct event *e)
{
    struct txn *t = container_of(e, struct txn, event);
    struct db *db = t->db;

    assert(t == TAILQ_FIRST(&db->fifo));
    TAILQ_REMOVE(&db->fifo, t, of_client);
    db->depth--;
    t->db = NULL;
    t->done(t->arg, t->outcome, &t->reply);
    txn_free_if_done(t);
}

static void
on_notice(struct event *e)
{
    session_terminate(container_of(e, struct session, notice));
}

/* The server reads on in what it has received, until it sees that nobody is there. */
static void
leave_session(struct db *db)
{
    struct session *s = db->session;

    if (!s)
        return;
    s->db = NULL;
    db->session = NULL;
    sim_put(&s->notice, sim.now + sim_between(0, 1200 * USEC_PER_MSEC));
}

static void
give_up_all(struct db *db)
{
    struct txn *t;

    while ((t = TAILQ_FIRST(&db->fifo)) != NULL) {
        struct db_reply none = {.message = db->error};

        TAILQ_REMOVE(&db->fifo, t, of_client);
        db->depth--;
        t->db = NULL;
        sim_take_out(&t->deadline);
        if (!t->session)
            sim_take_out(&t->event); /* its answer was on the way */
        db_done_fn *done = t->done;
        void *arg = t->arg;
        txn_free_if_done(t);
        done(arg, DB_LOST, &none);
    }
}

static void
connect_again(struct db *db)
{
    if (db->stopped)
        return;
    usec_t wait = db->backoff / 2 + sim_between(0, db->backoff / 2);

    db->backoff = MIN_OF(db->backoff * 2, BACKOFF_MAX);
    sim_put(&db->connect, sim.now + wait);
}

static void
client_lost(struct db *db, const char *why)
{
    db->ready = false;
    db->error = why;
    sim_take_out(&db->lost);
    leave_session(db);
    give_up_all(db);
    if (!db->stopped)
        db->on_up(db->arg, db, false);
    connect_again(db);
}

static void
on_connect(struct event *e)
{
    struct db *db = container_of(e, struct db, connect);

    if (!db->server->up) {
        db->error = "connection refused";
        db->on_up(db->arg, db, false);
        connect_again(db);
        return;
    }
    struct session *s = calloc(1, sizeof(*s));
    assert(s);
    *s = (struct session){.server = db->server,
                          .db = db,
                          .pid = ++db->server->next_pid,
                          .notice = {.what = "notice", .run = on_notice}};
    TAILQ_INIT(&s->queue);
    TAILQ_INSERT_TAIL(&db->server->sessions, s, link);
    db->session = s;
    db->ready = true;
    db->backoff = BACKOFF_MIN;
    db->on_up(db->arg, db, true);
}

int
db_start(struct db **ret, uv_loop_t *loop, const struct db_config *config, struct rng *rng,
         db_up_fn *on_up, void *arg)
{
    struct db *db = calloc(1, sizeof(*db));
    struct process *p = process_of(loop);

    if (!db)
        return -ENOMEM;
    *db = (struct db){.process = p,
                      .server = server_find(config->dsn),
                      .on_up = on_up,
                      .arg = arg,
                      .backoff = BACKOFF_MIN,
                      .error = "",
                      .connect = {.process = p, .what = "connect", .run = on_connect},
                      .lost = {.process = p, .what = "lost", .run = on_lost}};
    TAILQ_INIT(&db->fifo);
    sim_put(&db->connect, sim.now + sim_between(2000, 20000));
    *ret = db;
    return 0;
}

static void
on_deadline(struct event *e)
{
    struct txn *t = container_of(e, struct txn, deadline);

    sim_say("deadline of %s", store_statements[t->calls[t->call_count - 1].statement].name);
    client_lost(t->db, "deadline passed");
}

int
db_submit(struct db *db, const struct db_call *calls, unsigned call_count, usec_t timeout,
          db_done_fn *done, void *arg)
{
    if (!db->ready || db->process->dying)
        return -ENOTCONN;
    if (db->depth >= DB_DEPTH_MAX)
        return -EAGAIN;
    for (unsigned i = 0; i < call_count; i++)
        if (calls[i].args && calls[i].args->overflow)
            return -E2BIG;
    struct txn *t = calloc(1, sizeof(*t));
    struct session *s = db->session;

    assert(t && call_count <= DB_CALLS_MAX);
    t->db = db;
    t->session = s;
    t->done = done;
    t->arg = arg;
    t->call_count = call_count;
    for (unsigned i = 0; i < call_count; i++) {
        t->calls[i].statement = calls[i].statement;
        values_copy(&t->calls[i].values, calls[i].args);
    }
    t->event = (struct event){.what = "sql", .run = on_stage};
    t->deadline = (struct event){.process = db->process, .what = "deadline", .run = on_deadline};
    TAILQ_INSERT_TAIL(&db->fifo, t, of_client);
    TAILQ_INSERT_TAIL(&s->queue, t, of_session);
    db->depth++;
    usec_t at = sim.now + latency(s->server);
    s->last_arrival = MAX_OF(s->last_arrival, at);
    sim_put(&t->event, s->last_arrival);
    sim_put(&t->deadline, host_when(db->process->host, clock_boot() + timeout));
    return 0;
}

bool
db_ready(const struct db *db)
{
    return db->ready;
}

unsigned
db_depth(const struct db *db)
{
    return db->depth;
}

int
db_backend_pid(const struct db *db)
{
    return db->session ? db->session->pid : 0;
}

const char *
db_error(const struct db *db)
{
    return db->error;
}

usec_t
db_commit_lag(const struct db *db)
{
    return db->commit_lag;
}

void
db_drop(struct db *db)
{
    sim_put(&db->lost, sim.now + 1);
}

static void
finish_stop(void *arg)
{
    struct db *db = arg;

    sim_take_out(&db->connect);
    sim_take_out(&db->lost);
    give_up_all(db);
}

void
db_stop(struct db *db)
{
    if (db->stopped)
        return;
    db->stopped = true;
    db->ready = false;
    leave_session(db);
    process_at_close(db->process, finish_stop, db);
}

struct db *
db_free(struct db *db)
{
    free(db);
    return NULL;
}

/* ---- the server as a whole ---- */

void
server_open(struct server *s, const char *partition)
{
    *s = (struct server){.up = true};
    store_open(&s->store, partition);
    TAILQ_INIT(&s->sessions);
    TAILQ_INIT(&s->waiting);
}

void
server_close(struct server *s)
{
    while (!TAILQ_EMPTY(&s->sessions))
        session_end(TAILQ_FIRST(&s->sessions));
    store_close(&s->store);
}

void
server_down(struct server *s)
{
    sim_say("server %s goes down", s->store.partition);
    s->up = false;
    while (!TAILQ_EMPTY(&s->sessions)) {
        struct session *session = TAILQ_FIRST(&s->sessions);
        struct txn *t = TAILQ_FIRST(&session->queue);

        if (t && t->stage == COMMITS && sim_chance(500000)) {
            t->outcome = DB_DONE;
            execute(t);
            if (s->committed)
                s->committed(s->arg, s);
        }
        session_end(session);
    }
}

void
server_up(struct server *s)
{
    sim_say("server %s is up", s->store.partition);
    s->up = true;
}

void
server_kill_one(struct server *s)
{
    struct session *session;
    unsigned count = 0;

    TAILQ_FOREACH (session, &s->sessions, link)
        count++;
    if (count == 0)
        return;
    unsigned n = (unsigned) sim_between(0, count - 1);
    TAILQ_FOREACH (session, &s->sessions, link)
        if (n-- == 0) {
            sim_say("a backend of %s is killed", s->store.partition);
            session_end(session);
            return;
        }
}
