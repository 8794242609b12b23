/* One PostgreSQL connection on the loop: connects, prepares, pipelines transactions, reconnects. */
#include "shared/db.h"

#include <assert.h>
#include <errno.h>
#include <libpq-fe.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "shared/backoff.h"
#include "shared/db_dsn.h"
#include "shared/db_reply.h"

#define BACKOFF_MIN (100 * USEC_PER_MSEC)
#define BACKOFF_MAX (2 * USEC_PER_SEC)

enum db_state {
    DB_WAITING, /* for the next attempt; for ever when reconnect is off */
    DB_RESOLVING,
    DB_CONNECTING,
    DB_PREPARING,
    DB_READY,
    DB_STOPPED
};

struct transaction {
    struct db_reply reply;
    usec_t submitted, deadline;
    db_done_fn *done;
    void *arg;
};

/* A name's look-up; outlives its attempt when uv cannot cancel it, then db is NULL. */
struct lookup {
    uv_getaddrinfo_t request;
    struct db *db;
};

struct db {
    uv_loop_t *loop;
    const struct db_config *config;
    struct rng *rng;
    db_up_fn *on_up;
    void *arg;

    enum db_state state;
    bool doomed;   /* give_up is due, from the loop */
    bool stopping; /* doomed for good */
    char error[256];

    struct db_dsn *dsn;
    unsigned attempt; /* counts failed ones: chooses host and address */
    struct backoff backoff;
    struct lookup *lookup;
    PGconn *conn;
    uv_poll_t *poll; /* of the connection's socket; heap, because closing ends later */
    int poll_fd;
    int events; /* what poll watches now */

    uv_timer_t timer; /* of the state: back-off, connect deadline, transactions' deadlines */
    bool timer_closed;
    usec_t timer_due; /* when it fires; USEC_INFINITY = stopped */
    usec_t connect_deadline;
    unsigned prepared; /* statements of this connection so far */

    struct transaction ring[DB_DEPTH_MAX];
    unsigned first, depth;
    usec_t commit_lag;
};

static const int all_binary[] = {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1,
                                 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1};
static_assert(ARRAY_SIZE(all_binary) == ARRAY_SIZE(((struct db_args *) NULL)->values),
              "one format a parameter");

static void on_timer(uv_timer_t *timer);
static void on_poll(uv_poll_t *poll, int status, int events);

/* ---- the timer ---- */

static void
wake_at(struct db *db, usec_t due)
{
    usec_t now = clock_boot();
    /* Up to the next whole millisecond: the loop's clock is coarser than ours. */
    uint64_t ms = due > now ? (due - now + USEC_PER_MSEC - 1) / USEC_PER_MSEC : 0;

    /* The loop counts from its cached time: after a long callback that lies in the past, and the
       timer would fire early. */
    uv_update_time(db->loop);
    uv_timer_start(&db->timer, on_timer, ms, 0);
    db->timer_due = due;
}

static void
wake_never(struct db *db)
{
    uv_timer_stop(&db->timer);
    db->timer_due = USEC_INFINITY;
}

static void
free_poll(uv_handle_t *handle)
{
    free(handle);
}

static void
unwatch(struct db *db)
{
    if (!db->poll)
        return;
    uv_poll_stop(db->poll);
    uv_close((uv_handle_t *) db->poll, free_poll);
    db->poll = NULL;
    db->events = 0;
}

/*
 * The end of this connection, carried out by the loop: never inside a call of our user. The socket
 * is left at once: libpq may have closed it, and the next socket of this process gets its number.
 */
static void
doom(struct db *db, const char *why)
{
    if (db->doomed)
        return;
    db->doomed = true;
    unwatch(db);
    snprintf(db->error, sizeof(db->error), "%s", why);
    db->error[strcspn(db->error, "\n")] = '\0';
    wake_at(db, 0);
}

static void
doom_by_libpq(struct db *db)
{
    const char *text = PQerrorMessage(db->conn);

    doom(db, *text ? text : "connection lost");
}

/* ---- the socket ---- */

static int
watch(struct db *db, int events)
{
    int fd = PQsocket(db->conn);

    if (db->poll && db->poll_fd != fd)
        unwatch(db);
    if (!db->poll) {
        uv_poll_t *poll = malloc(sizeof(*poll));

        if (!poll)
            return -ENOMEM;
        int r = uv_poll_init(db->loop, poll, fd);
        if (r < 0) {
            free(poll);
            return r;
        }
        poll->data = db;
        db->poll = poll;
        db->poll_fd = fd;
        db->events = 0;
    }
    if (db->events == events)
        return 0;
    int r = uv_poll_start(db->poll, events, on_poll);
    if (r < 0)
        return r;
    db->events = events;
    return 0;
}

/* Writes what libpq holds, watches for what is missing. */
static void
flush(struct db *db)
{
    int left = PQflush(db->conn);

    if (left < 0)
        doom_by_libpq(db);
    else if (watch(db, UV_READABLE | (left > 0 ? UV_WRITABLE : 0)) < 0)
        doom(db, "cannot watch the socket");
}

/* ---- the transactions ---- */

static struct transaction *
head(struct db *db)
{
    return &db->ring[db->first];
}

static void
pop_and_tell(struct db *db, enum db_outcome outcome)
{
    struct transaction *t = head(db);
    struct db_reply reply = t->reply; /* the slot is free for what `done` may submit */
    db_done_fn *done = t->done;
    void *arg = t->arg;

    memset(t, 0, sizeof(*t));
    db->first = (db->first + 1) % DB_DEPTH_MAX;
    db->depth--;
    done(arg, outcome, &reply);
    db_reply_clear(&reply);
}

static struct transaction *
push(struct db *db, unsigned call_count, usec_t deadline, db_done_fn *done, void *arg)
{
    assert(db->depth < DB_DEPTH_MAX);
    struct transaction *t = &db->ring[(db->first + db->depth++) % DB_DEPTH_MAX];

    *t = (struct transaction){.reply.call_count = call_count,
                              .submitted = clock_boot(),
                              .deadline = deadline,
                              .done = done,
                              .arg = arg};
    return t;
}

/* Keeps a result of the transaction at the head; libpq gives one per call, then at the commit. */
static void
keep(struct db *db, PGresult *result)
{
    struct db_reply *r = &head(db)->reply;
    ExecStatusType status = PQresultStatus(result);

    if (status == PGRES_TUPLES_OK || status == PGRES_COMMAND_OK) {
        assert(r->result_count < r->call_count);
        r->results[r->result_count++] = result;
        return;
    }
    if (status == PGRES_PIPELINE_ABORTED || r->error) { /* a consequence of the first */
        PQclear(result);
        return;
    }
    r->failed_call = r->result_count;
    r->error = result;
}

static enum db_outcome
outcome_of(const struct db_reply *r)
{
    if (r->error)
        return DB_REFUSED;
    return r->result_count == r->call_count ? DB_DONE : DB_NOT_RUN;
}

/* Takes every reply that has come. Callbacks run here; they may submit, drop and stop. */
static void
take_replies(struct db *db)
{
    bool end_of_call = false;

    /* Even with nothing asked: parsing delivers notices, such as why the server says good-bye. */
    while (!db->doomed && !PQisBusy(db->conn) && db->depth > 0) {
        PGresult *result = PQgetResult(db->conn);

        if (!result) { /* ends each call; twice in a row it ends the connection */
            if (end_of_call || PQstatus(db->conn) == CONNECTION_BAD) {
                doom_by_libpq(db);
                return;
            }
            end_of_call = true;
            continue;
        }
        end_of_call = false;
        if (PQresultStatus(result) != PGRES_PIPELINE_SYNC) {
            keep(db, result);
            continue;
        }
        PQclear(result);
        db->commit_lag = clock_boot() - head(db)->submitted;
        pop_and_tell(db, outcome_of(&head(db)->reply));
    }
}

static usec_t
earliest_deadline(const struct db *db)
{
    usec_t due = USEC_INFINITY;

    for (unsigned i = 0; i < db->depth; i++)
        due = MIN_OF(due, db->ring[(db->first + i) % DB_DEPTH_MAX].deadline);
    return due;
}

/* ---- giving up and trying again ---- */

static void
free_lookup(struct db *db)
{
    if (!db->lookup)
        return;
    db->lookup->db = NULL; /* its callback frees it */
    uv_cancel((uv_req_t *) &db->lookup->request);
    db->lookup = NULL;
}

static void
close_connection(struct db *db)
{
    free_lookup(db);
    if (db->conn)
        PQfinish(db->conn); /* nonblocking: its good-bye cannot hang on a frozen server */
    db->conn = NULL;
}

static void
on_timer_closed(uv_handle_t *handle)
{
    struct db *db = handle->data;

    db->timer_closed = true;
}

/* One round through the hosts goes without a pause: the next one may be the primary now. */
static usec_t
next_pause(struct db *db, bool was_ready)
{
    if (!was_ready && db->attempt % db_dsn_host_count(db->dsn) != 0)
        return 0;
    return backoff_next(&db->backoff, db->rng);
}

/* Everything unconfirmed is in doubt. Runs from the loop only. */
static void
give_up(struct db *db)
{
    bool was_ready = db->state == DB_READY;

    close_connection(db);
    if (!was_ready)
        db->attempt++;
    db->state = db->stopping ? DB_STOPPED : DB_WAITING;
    db->doomed = false;
    wake_never(db);
    if (!db->stopping && db->config->reconnect)
        wake_at(db, clock_boot() + next_pause(db, was_ready));
    while (db->depth > 0) {
        db_reply_clear(&head(db)->reply);
        head(db)->reply.lost_why = db->error;
        pop_and_tell(db, DB_LOST);
    }
    if (db->state == DB_STOPPED)
        uv_close((uv_handle_t *) &db->timer, on_timer_closed);
    else if (!db->stopping)
        db->on_up(db->arg, db, false);
}

/* ---- connecting ---- */

static void
on_notice(void *arg, const PGresult *notice)
{
    struct db *db = arg;
    const char *state = PQresultErrorField(notice, PG_DIAG_SQLSTATE);
    const char *text = PQresultErrorField(notice, PG_DIAG_MESSAGE_PRIMARY);

    if (!state || !text)
        return;
    /* 01000 with a transaction open is how a commit says "here, but not on the standby"; class 57P:
       the server ends the session. Later results on this connection mean nothing. */
    if ((strcmp(state, "01000") == 0 && db->state == DB_READY && db->depth > 0) ||
        strncmp(state, "57P", 3) == 0)
        doom(db, text);
}

/* Hears of each chunk of statements in turn. */
static void
on_prepared(void *arg, enum db_outcome outcome, const struct db_reply *reply)
{
    struct db *db = arg;
    const struct db_config *c = db->config;
    char why[sizeof(db->error)];

    if (outcome == DB_LOST)
        return;
    if (outcome != DB_DONE) {
        unsigned failed = db->prepared + db_failed_call(reply);

        snprintf(why, sizeof(why), "statement %s: %s",
                 failed < c->statement_count ? c->statements[failed].name : "?", db_message(reply));
        doom(db, why);
        return;
    }
    db->prepared += reply->call_count;
    if (db->prepared < c->statement_count)
        return;
    db->state = DB_READY;
    db->error[0] = '\0';
    backoff_reset(&db->backoff);
    wake_never(db);
    db->on_up(db->arg, db, true);
}

/* As transactions of DB_CALLS_MAX statements each, all sent at once; none is one, too. */
static bool
send_prepares(struct db *db)
{
    const struct db_config *c = db->config;
    unsigned i = 0;

    do {
        unsigned end = MIN_OF(i + DB_CALLS_MAX, c->statement_count);

        push(db, end - i, db->connect_deadline, on_prepared, db);
        for (; i < end; i++)
            if (!PQsendPrepare(db->conn, c->statements[i].name, c->statements[i].sql, 0, NULL))
                return false;
        if (!PQpipelineSync(db->conn))
            return false;
    } while (i < c->statement_count);
    return true;
}

static void
prepare(struct db *db)
{
    db->state = DB_PREPARING;
    db->prepared = 0;
    if (PQsetnonblocking(db->conn, 1) != 0 || PQenterPipelineMode(db->conn) != 1 ||
        !send_prepares(db))
        doom_by_libpq(db);
    else
        flush(db);
}

static void
connect_step(struct db *db)
{
    int r = 0;

    /* libpq may close the socket here and open another, even under the same number: leave the old
       one before, register the new one after. */
    if (db->poll) {
        uv_poll_stop(db->poll);
        db->events = 0;
    }
    PostgresPollingStatusType next = PQconnectPoll(db->conn);
    if (db->doomed) /* by a notice */
        return;
    switch (next) {
    case PGRES_POLLING_READING: r = watch(db, UV_READABLE); break;
    case PGRES_POLLING_WRITING: r = watch(db, UV_WRITABLE); break;
    case PGRES_POLLING_OK: prepare(db); break;
    default: doom_by_libpq(db); break;
    }
    if (r < 0)
        doom(db, "cannot watch the socket");
}

static void
on_poll(uv_poll_t *poll, int status, int events)
{
    struct db *db = poll->data;

    if (status < 0)
        db->events = 0; /* libuv has stopped the handle; libpq will find out why */
    if (db->state == DB_CONNECTING) {
        connect_step(db);
    } else {
        bool alive = PQconsumeInput(db->conn) && PQstatus(db->conn) == CONNECTION_OK;

        if (!alive)
            unwatch(db); /* as in doom, but before the callbacks of what came in time */
        /* What came before the end is good: a commit that was confirmed is a commit. */
        take_replies(db);
        if (!db->doomed && alive)
            flush(db);
        else if (!db->doomed)
            doom_by_libpq(db);
    }
    if (db->doomed)
        give_up(db);
}

static void
connect_to(struct db *db, const char *address)
{
    unsigned host = db->attempt % db_dsn_host_count(db->dsn);

    db->conn = db_dsn_connect(db->dsn, host, address, db->config);
    if (!db->conn || PQstatus(db->conn) == CONNECTION_BAD) {
        doom(db, db->conn ? PQerrorMessage(db->conn) : "out of memory, or settings too long");
        return;
    }
    PQsetNoticeReceiver(db->conn, on_notice, db);
    db->state = DB_CONNECTING;
    /* libpq wants to be asked as if PQconnectPoll had said "writing" */
    if (watch(db, UV_WRITABLE) < 0)
        doom(db, "cannot watch the socket");
}

/* A name with several addresses: each failed round through the hosts tries the next one. */
static const struct addrinfo *
choose_address(const struct db *db, const struct addrinfo *list)
{
    unsigned count = 0;

    for (const struct addrinfo *a = list; a; a = a->ai_next)
        count++;
    const struct addrinfo *a = list;
    for (unsigned i = (db->attempt / db_dsn_host_count(db->dsn)) % MAX_OF(count, 1u); i > 0; i--)
        a = a->ai_next;
    return a;
}

static void
on_resolved(uv_getaddrinfo_t *request, int status, struct addrinfo *list)
{
    struct lookup *l = container_of(request, struct lookup, request);
    struct db *db = l->db;
    char address[NI_MAXHOST];

    free(l);
    if (db) {
        db->lookup = NULL;
        const struct addrinfo *a = status == 0 ? choose_address(db, list) : NULL;

        if (!a)
            doom(db, status < 0 ? uv_strerror(status) : "name has no address");
        else if (getnameinfo(a->ai_addr, a->ai_addrlen, address, sizeof(address), NULL, 0,
                             NI_NUMERICHOST) != 0)
            doom(db, "address has no numeric form");
        else
            connect_to(db, address);
    }
    uv_freeaddrinfo(list);
}

static void
resolve(struct db *db, const char *name)
{
    const struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_ADDRCONFIG};
    struct lookup *l = calloc(1, sizeof(*l));

    if (!l) {
        doom(db, "out of memory");
        return;
    }
    int r = uv_getaddrinfo(db->loop, &l->request, on_resolved, name, NULL, &hints);
    if (r < 0) {
        free(l);
        doom(db, uv_strerror(r));
        return;
    }
    l->db = db;
    db->lookup = l;
    db->state = DB_RESOLVING;
}

static void
attempt(struct db *db)
{
    const char *name = db_dsn_name(db->dsn, db->attempt % db_dsn_host_count(db->dsn));

    db->connect_deadline = clock_boot() + db->config->connect_timeout;
    wake_at(db, db->connect_deadline);
    if (name)
        resolve(db, name);
    else
        connect_to(db, NULL);
}

static void
on_timer(uv_timer_t *timer)
{
    struct db *db = timer->data;
    usec_t now = clock_boot();

    db->timer_due = USEC_INFINITY;
    if (!db->doomed && db->state == DB_WAITING) {
        attempt(db);
        return;
    }
    usec_t due = db->state == DB_READY ? earliest_deadline(db) : db->connect_deadline;
    if (!db->doomed && now >= due)
        doom(db, db->state == DB_READY ? "no answer within the deadline" : "connect timed out");
    if (db->doomed)
        give_up(db);
    else if (due != USEC_INFINITY)
        wake_at(db, due);
}

/* ---- the public calls ---- */

int
db_start(struct db **ret, uv_loop_t *loop, const struct db_config *config, struct rng *rng,
         db_up_fn *on_up, void *arg)
{
    struct db *db = calloc(1, sizeof(*db));

    assert(config->statement_count <= DB_DEPTH_MAX * DB_CALLS_MAX);
    if (!db)
        return -ENOMEM;
    *db = (struct db){
        .loop = loop, .config = config, .rng = rng, .on_up = on_up, .arg = arg, .poll_fd = -1};
    int r = db_dsn_parse(&db->dsn, config->dsn);
    if (r == 0)
        r = uv_timer_init(loop, &db->timer);
    if (r < 0) {
        db_dsn_free(db->dsn);
        free(db);
        return r;
    }
    db->timer.data = db;
    backoff_init(&db->backoff, BACKOFF_MIN, BACKOFF_MAX);
    wake_at(db, 0);
    *ret = db;
    return 0;
}

static bool
send_calls(struct db *db, const struct db_call *calls, unsigned call_count)
{
    static const struct db_args none;

    for (unsigned i = 0; i < call_count; i++) {
        const struct db_args *a = calls[i].args ? calls[i].args : &none;

        if (!PQsendQueryPrepared(db->conn, db->config->statements[calls[i].statement].name,
                                 (int) a->count, a->values, a->lengths, all_binary, 1))
            return false;
    }
    return PQpipelineSync(db->conn) == 1;
}

int
db_submit(struct db *db, const struct db_call *calls, unsigned call_count, usec_t timeout,
          db_done_fn *done, void *arg)
{
    assert(call_count > 0);
    if (!db_ready(db))
        return -ENOTCONN;
    if (call_count > DB_CALLS_MAX)
        return -E2BIG;
    for (unsigned i = 0; i < call_count; i++) {
        assert(calls[i].statement < db->config->statement_count);
        if (calls[i].args && calls[i].args->overflow)
            return -E2BIG;
    }
    if (db->depth == DB_DEPTH_MAX)
        return -EAGAIN;
    const struct transaction *t = push(db, call_count, clock_boot() + timeout, done, arg);
    if (send_calls(db, calls, call_count))
        flush(db);
    else
        doom_by_libpq(db); /* part of it may be out: `done` hears DB_LOST from the loop */
    if (!db->doomed && t->deadline < db->timer_due)
        wake_at(db, t->deadline);
    return 0;
}

bool
db_ready(const struct db *db)
{
    return db->state == DB_READY && !db->doomed;
}

unsigned
db_depth(const struct db *db)
{
    return db->state == DB_READY ? db->depth : 0;
}

int
db_backend_pid(const struct db *db)
{
    return db->conn ? PQbackendPID(db->conn) : 0;
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
    if (db->conn || db->lookup)
        doom(db, "dropped");
}

void
db_stop(struct db *db)
{
    if (db->stopping)
        return;
    db->stopping = true;
    doom(db, "stopped");
}

struct db *
db_free(struct db *db)
{
    if (!db)
        return NULL;
    assert(db->timer_closed);
    db_dsn_free(db->dsn);
    free(db);
    return NULL;
}
