/* shared/db and dbpool against a real PostgreSQL: what is told, when, and after which faults. */
#include "shared/db.h"

#include <arpa/inet.h>
#include <check.h>
#include <errno.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "shared/dbpool.h"
#include "shared/rng.h"
#include "tests/support/pgtemp.h"

static struct pgtemp *pg;

/* ---- a rig: one loop, one db, and what it told ---- */

enum statement {
    S_ONE,
    S_LOCK,
    S_LOCK_EXCLUSIVE,
    S_CLAIM,
    S_CLAIM_MUTANT,
    S_ADD,
    S_DIVIDE,
    S_COUNT,
    S_ECHO,
    S_ECHO_ROWS,
    S_ECHO_TEXT,
    S_SESSION,
    S_WARN,
    S_DEFER,
    S_COUNT_STATEMENTS
};

/* clang-format off */
static const struct db_statement statements[S_COUNT_STATEMENTS] = {
    [S_ONE] = {"one", "SELECT 1::int4, 1::int8 AS eight"},
    [S_LOCK] = {"lock", "SELECT pg_advisory_xact_lock_shared(7)"},
    [S_LOCK_EXCLUSIVE] = {"lock_exclusive", "SELECT pg_advisory_xact_lock(7)"},
    [S_CLAIM] = {"claim", "UPDATE claim SET state = 1 WHERE (SELECT epoch FROM fence) = $1::bigint"},
    [S_CLAIM_MUTANT] = {"claim_mutant",
        "WITH l AS MATERIALIZED (SELECT pg_advisory_xact_lock_shared(7))"
        " UPDATE claim SET state = 1 FROM l WHERE (SELECT epoch FROM fence) = $1::bigint"},
    [S_ADD] = {"add", "INSERT INTO note(text) SELECT unnest($1::text[])"},
    [S_DIVIDE] = {"divide", "SELECT 1 / $1::int"},
    [S_COUNT] = {"count", "SELECT count(*) FROM note"},
    [S_ECHO] = {"echo",
        "SELECT $1::bool, $2::int2, $3::int4, $4::int8, $5::text, $6::bytea, $7::uuid,"
        " $8::timestamptz, $9::int4, $10::timestamptz, $11::text"},
    [S_ECHO_ROWS] = {"echo_rows",
        "SELECT * FROM unnest($1::bool[], $2::int2[], $3::int4[], $4::int8[], $5::uuid[],"
        " $6::timestamptz[], $7::text[], $8::bytea[]) u(b, i2, i4, i8, u, t, x, y)"},
    [S_ECHO_TEXT] = {"echo_text",
        "SELECT concat_ws(' ', $1::bool[], $2::int2[], $3::int4[], $4::int8[], $5::uuid[],"
        " $6::timestamptz[], $7::text[], $8::bytea[])"},
    [S_SESSION] = {"session",
        "SELECT concat_ws(' ', current_setting('plan_cache_mode'),"
        " current_setting('idle_in_transaction_session_timeout'),"
        " current_setting('default_transaction_isolation'), current_setting('application_name'),"
        " current_setting('client_encoding'), current_setting('search_path'))"},
    [S_WARN] = {"warn", "INSERT INTO warns(sqlstate) VALUES ($1::text)"},
    [S_DEFER] = {"defer", "INSERT INTO deferred VALUES (1), (1)"},
};
/* clang-format on */

static const char *const settings[] = {"idle_in_transaction_session_timeout", "5s",
                                       "default_transaction_isolation", "read committed", NULL};

struct rig {
    uv_loop_t loop;
    uv_timer_t guard;
    struct rng rng;
    struct db_config config;
    char dsn[PGTEMP_DSN_MAX];
    struct db *db;
    unsigned ups, downs;
    char last_error[256];
};

struct heard {
    unsigned count;
    enum db_outcome outcome;
    char sqlstate[8], message[256], text[1024];
    unsigned failed_call;
    int64_t number;
    uint64_t affected;
    struct rig *rig; /* for the ones that act inside */
};

static void
on_up(void *arg, struct db *db, bool up)
{
    struct rig *r = arg;

    ck_assert(up == db_ready(db));
    if (up)
        r->ups++;
    else
        r->downs++;
    snprintf(r->last_error, sizeof(r->last_error), "%s", db_error(db));
}

static void
on_guard(uv_timer_t *t)
{
    ck_abort_msg("nothing came for 20 s");
}

static void
spin(struct rig *r, const unsigned *counter, unsigned wanted)
{
    uv_timer_start(&r->guard, on_guard, 20000, 0);
    while (*counter < wanted)
        uv_run(&r->loop, UV_RUN_ONCE);
    uv_timer_stop(&r->guard);
}

static void
rig_open(struct rig *r, const char *dsn)
{
    memset(r, 0, sizeof(*r));
    ck_assert_int_eq(uv_loop_init(&r->loop), 0);
    uv_timer_init(&r->loop, &r->guard);
    rng_seed(&r->rng, 1);
    if (dsn)
        snprintf(r->dsn, sizeof(r->dsn), "%s", dsn);
    else
        pgtemp_dsn(pg, "t", NULL, r->dsn);
    r->config = (struct db_config){.dsn = r->dsn,
                                   .application_name = "fleetcast-test/n1",
                                   .statements = statements,
                                   .statement_count = S_COUNT_STATEMENTS,
                                   .connect_timeout = 2 * USEC_PER_SEC,
                                   .reconnect = true,
                                   .settings = settings};
}

static void
rig_connect(struct rig *r)
{
    ck_assert_int_eq(db_start(&r->db, &r->loop, &r->config, &r->rng, on_up, r), 0);
}

static void
rig_start(struct rig *r)
{
    rig_open(r, NULL);
    rig_connect(r);
    spin(r, &r->ups, 1);
}

/* Every test ends here: the loop must run out by itself and close. */
static void
rig_close(struct rig *r)
{
    db_stop(r->db);
    uv_close((uv_handle_t *) &r->guard, NULL);
    ck_assert_int_eq(uv_run(&r->loop, UV_RUN_DEFAULT), 0);
    ck_assert_int_eq(uv_loop_close(&r->loop), 0);
    r->db = db_free(r->db);
    ck_assert_ptr_null(r->db);
}

static void
on_done(void *arg, enum db_outcome outcome, const struct db_reply *reply)
{
    struct heard *h = arg;

    h->count++;
    h->outcome = outcome;
    h->failed_call = db_failed_call(reply);
    snprintf(h->sqlstate, sizeof(h->sqlstate), "%s", db_sqlstate(reply));
    snprintf(h->message, sizeof(h->message), "%s", db_message(reply));
}

static int
submit(struct rig *r, enum statement s, const struct db_args *args, usec_t timeout,
       db_done_fn *done, struct heard *h)
{
    const struct db_call call = {.statement = s, .args = args};

    return db_submit(r->db, &call, 1, timeout, done, h);
}

/* Submits, waits, and returns what came. */
static struct heard
ask(struct rig *r, const struct db_call *calls, unsigned count, db_done_fn *done)
{
    struct heard h = {.rig = r};

    ck_assert_int_eq(db_submit(r->db, calls, count, 5 * USEC_PER_SEC, done, &h), 0);
    ck_assert_uint_eq(h.count, 0); /* never inside db_submit */
    spin(r, &h.count, 1);
    return h;
}

static PGconn *
admin(void)
{
    return pgtemp_open(pg, "t", NULL);
}

static struct db_args
args_new(void)
{
    struct db_args a;

    ck_assert_int_eq(db_args_init(&a, 65536), 0);
    return a;
}

static struct slice
text(const char *s)
{
    return (struct slice){s, strlen(s)};
}

/* ---- refusals ---- */

START_TEST(refuses_what_cannot_go)
{
    struct rig r;
    struct heard h = {0};
    struct db_args tiny;
    struct db_call calls[DB_CALLS_MAX + 1] = {{.statement = S_ONE}};

    rig_open(&r, "dbname='unfinished");
    ck_assert_int_eq(db_start(&r.db, &r.loop, &r.config, &r.rng, on_up, &r), -EINVAL);
    snprintf(r.dsn, sizeof(r.dsn), "host=a,b hostaddr=127.0.0.1 dbname=t");
    ck_assert_int_eq(db_start(&r.db, &r.loop, &r.config, &r.rng, on_up, &r), -EINVAL);
    pgtemp_dsn(pg, "t", NULL, r.dsn);
    rig_connect(&r);
    ck_assert_int_eq(submit(&r, S_ONE, NULL, USEC_PER_SEC, on_done, &h), -ENOTCONN);
    spin(&r, &r.ups, 1);

    ck_assert_int_eq(db_submit(r.db, calls, DB_CALLS_MAX + 1, USEC_PER_SEC, on_done, &h), -E2BIG);
    ck_assert_int_eq(db_args_init(&tiny, 8), 0);
    db_put_int4s(&tiny, (int32_t[]){1, 2}, 2);
    ck_assert(tiny.overflow);
    ck_assert_int_eq(submit(&r, S_ADD, &tiny, USEC_PER_SEC, on_done, &h), -E2BIG);
    db_args_reset(&tiny);
    db_put_int8(&tiny, 1);
    ck_assert(!tiny.overflow);
    db_put_bool(&tiny, true);
    ck_assert(tiny.overflow);
    db_args_done(&tiny);
    ck_assert_int_eq(db_args_init(&tiny, 1000), 0);
    for (unsigned i = 0; i < 24; i++)
        db_put_null(&tiny);
    ck_assert(!tiny.overflow);
    db_put_null(&tiny);
    ck_assert(tiny.overflow);
    db_args_done(&tiny);
    ck_assert_uint_eq(h.count, 0);
    rig_close(&r);
    ck_assert_uint_eq(h.count, 0);
}
END_TEST

START_TEST(a_full_fifo_refuses_and_loses_nothing)
{
    struct rig r;
    struct heard h = {0};

    rig_start(&r);
    for (unsigned i = 0; i < DB_DEPTH_MAX; i++)
        ck_assert_int_eq(submit(&r, S_ONE, NULL, 5 * USEC_PER_SEC, on_done, &h), 0);
    ck_assert_uint_eq(db_depth(r.db), DB_DEPTH_MAX);
    ck_assert_int_eq(submit(&r, S_ONE, NULL, USEC_PER_SEC, on_done, &h), -EAGAIN);
    spin(&r, &h.count, DB_DEPTH_MAX);
    ck_assert_int_eq(h.outcome, DB_DONE);
    ck_assert_uint_eq(db_depth(r.db), 0);
    ck_assert_int_eq(submit(&r, S_ONE, NULL, 5 * USEC_PER_SEC, on_done, &h), 0);
    spin(&r, &h.count, DB_DEPTH_MAX + 1);
    ck_assert_uint_gt(db_commit_lag(r.db), 0);
    rig_close(&r);
}
END_TEST

START_TEST(a_failing_statement_rolls_all_back_and_is_named)
{
    struct rig r;
    struct db_args add = args_new(), zero = args_new();
    PGconn *c = admin();

    rig_start(&r);
    db_put_texts(&add, (struct slice[]){text("first")}, 1);
    db_put_int4(&zero, 0);
    struct heard h =
        ask(&r, (struct db_call[]){{S_ADD, &add}, {S_DIVIDE, &zero}, {S_ADD, &add}}, 3, on_done);
    ck_assert_int_eq(h.outcome, DB_REFUSED);
    ck_assert_str_eq(h.sqlstate, "22012");
    ck_assert_str_eq(h.message, "division by zero");
    ck_assert_uint_eq(h.failed_call, 1);
    ck_assert_int_eq(pgtemp_int(c, "SELECT count(*) FROM note"), 0);
    /* what waited behind it is a transaction of its own, on the same connection */
    h = ask(&r, (struct db_call[]){{S_ADD, &add}}, 1, on_done);
    ck_assert_int_eq(h.outcome, DB_DONE);
    ck_assert_str_eq(h.sqlstate, "");
    ck_assert_int_eq(pgtemp_int(c, "SELECT count(*) FROM note"), 1);
    ck_assert_uint_eq(r.downs, 0);

    /* text that is no UTF-8 */
    db_args_reset(&add);
    db_put_texts(&add, (struct slice[]){text("good"), text("\xff")}, 2);
    h = ask(&r, (struct db_call[]){{S_ADD, &add}}, 1, on_done);
    ck_assert_int_eq(h.outcome, DB_REFUSED);
    ck_assert_str_eq(h.sqlstate, "22021");
    ck_assert_uint_eq(h.failed_call, 0);
    ck_assert_int_eq(pgtemp_int(c, "SELECT count(*) FROM note"), 1);
    db_args_done(&add);
    db_args_done(&zero);
    PQfinish(c);
    rig_close(&r);
}
END_TEST

START_TEST(a_commit_that_fails_is_refused)
{
    struct rig r;
    PGconn *c = admin();

    rig_start(&r);
    struct heard h = ask(&r, (struct db_call[]){{S_ONE, NULL}, {S_DEFER, NULL}}, 2, on_done);
    ck_assert_int_eq(h.outcome, DB_REFUSED);
    ck_assert_str_eq(h.sqlstate, "23505");
    ck_assert_uint_eq(h.failed_call, 2); /* the commit */
    ck_assert_int_eq(pgtemp_int(c, "SELECT count(*) FROM deferred"), 0);
    h = ask(&r, (struct db_call[]){{S_ONE, NULL}}, 1, on_done);
    ck_assert_int_eq(h.outcome, DB_DONE);
    PQfinish(c);
    rig_close(&r);
}
END_TEST

START_TEST(a_statement_that_does_not_prepare_is_named_and_tried_again)
{
    static const struct db_statement bad[] = {{"fine", "SELECT 1"},
                                              {"later", "SELECT * FROM made_later"}};
    struct rig r;
    PGconn *c = admin();

    rig_open(&r, NULL);
    r.config.statements = bad;
    r.config.statement_count = 2;
    rig_connect(&r);
    spin(&r, &r.downs, 2);
    ck_assert_uint_eq(r.ups, 0);
    ck_assert_str_eq(r.last_error, "statement later: relation \"made_later\" does not exist");
    pgtemp_do(c, "CREATE TABLE made_later(x int)");
    spin(&r, &r.ups, 1);
    ck_assert_str_eq(db_error(r.db), "");
    pgtemp_do(c, "DROP TABLE made_later");
    PQfinish(c);
    rig_close(&r);
}
END_TEST

/* ---- values ---- */

static struct uuid
some_uuid(uint8_t seed)
{
    struct uuid u;

    for (uint8_t i = 0; i < 16; i++)
        u.bytes[i] = (uint8_t) (seed + i * 17);
    return u;
}

static void
check_echo(void *arg, enum db_outcome outcome, const struct db_reply *p)
{
    struct uuid u = some_uuid(3), got;

    on_done(arg, outcome, p);
    ck_assert_int_eq(outcome, DB_DONE);
    ck_assert_uint_eq(db_rows(p, 0), 1);
    ck_assert_uint_eq(db_columns(p, 0), 11);
    ck_assert(db_get_bool(p, 0, 0, 0));
    ck_assert_int_eq(db_get_int(p, 0, 0, 1), INT16_MIN);
    ck_assert_int_eq(db_get_int(p, 0, 0, 2), INT32_MIN);
    ck_assert_int_eq(db_get_int(p, 0, 0, 3), INT64_MIN);
    struct slice s = db_get_text(p, 0, 0, 4);
    ck_assert_mem_eq(s.data, "käse", 5);
    ck_assert_uint_eq(s.bytes, 5);
    s = db_get_text(p, 0, 0, 5);
    ck_assert_uint_eq(s.bytes, 3);
    ck_assert_mem_eq(s.data, "\0\xff\1", 3);
    got = db_get_uuid(p, 0, 0, 6);
    ck_assert_mem_eq(got.bytes, u.bytes, 16);
    ck_assert_int_eq(db_get_time(p, 0, 0, 7), 1700000000123456);
    ck_assert(db_is_null(p, 0, 0, 8));
    ck_assert_int_eq(db_get_int(p, 0, 0, 8), 0);
    ck_assert_int_eq(db_get_time(p, 0, 0, 9), INT64_MAX);
    ck_assert(!db_is_null(p, 0, 0, 10));
    ck_assert_uint_eq(db_get_text(p, 0, 0, 10).bytes, 0);
    ck_assert_str_eq(db_column_name(p, 0, 0), "bool");
}

START_TEST(single_values_go_round)
{
    struct rig r;
    struct db_args a = args_new();

    rig_start(&r);
    db_put_bool(&a, true);
    db_put_int2(&a, INT16_MIN);
    db_put_int4(&a, INT32_MIN);
    db_put_int8(&a, INT64_MIN);
    db_put_text(&a, text("käse"));
    db_put_bytes(&a, (struct slice){"\0\xff\1", 3});
    db_put_uuid(&a, &(struct uuid){{0}});
    a.used -= 16, a.count--; /* once more, to see that the arena is all there is */
    struct uuid u = some_uuid(3);
    db_put_uuid(&a, &u);
    db_put_time(&a, 1700000000123456);
    db_put_null(&a);
    db_put_time(&a, INT64_MAX);
    db_put_text(&a, (struct slice){NULL, 0});
    ask(&r, (struct db_call[]){{S_ECHO, &a}}, 1, check_echo);
    db_args_done(&a);
    rig_close(&r);
}
END_TEST

#define ROWS 3u
static const bool bools[ROWS] = {true, false, true};
static const int16_t int2s[ROWS] = {INT16_MIN, -1, INT16_MAX};
static const int32_t int4s[ROWS] = {INT32_MIN, 0, INT32_MAX};
static const int64_t int8s[ROWS] = {INT64_MIN, 7, INT64_MAX};
static const int64_t times[ROWS] = {0, 1700000000123456, INT64_MAX};
static const struct slice texts[ROWS] = {{"a b", 3}, {NULL, 0}, {"", 0}};
static const struct slice byteas[ROWS] = {{"\0\1", 2}, {"", 0}, {NULL, 0}};

static void
put_arrays(struct db_args *a, size_t n)
{
    const struct uuid uuids[ROWS] = {some_uuid(0), some_uuid(1), some_uuid(2)};

    db_args_reset(a);
    db_put_bools(a, bools, n);
    db_put_int2s(a, int2s, n);
    db_put_int4s(a, int4s, n);
    db_put_int8s(a, int8s, n);
    db_put_uuids(a, uuids, n);
    db_put_times(a, times, n);
    db_put_texts(a, texts, n);
    db_put_byteas(a, byteas, n);
}

static void
check_arrays(void *arg, enum db_outcome outcome, const struct db_reply *p)
{
    on_done(arg, outcome, p);
    ck_assert_int_eq(outcome, DB_DONE);
    ck_assert_uint_eq(db_rows(p, 0), ROWS);
    for (unsigned i = 0; i < ROWS; i++) {
        struct uuid u = some_uuid((uint8_t) i), got = db_get_uuid(p, 0, i, 4);

        ck_assert(db_get_bool(p, 0, i, 0) == bools[i]);
        ck_assert_int_eq(db_get_int(p, 0, i, 1), int2s[i]);
        ck_assert_int_eq(db_get_int(p, 0, i, 2), int4s[i]);
        ck_assert_int_eq(db_get_int(p, 0, i, 3), int8s[i]);
        ck_assert_mem_eq(u.bytes, got.bytes, 16);
        ck_assert_int_eq(db_get_time(p, 0, i, 5), times[i]);
        ck_assert(db_is_null(p, 0, i, 6) == !texts[i].data);
        ck_assert_uint_eq(db_get_text(p, 0, i, 6).bytes, texts[i].bytes);
        ck_assert(db_is_null(p, 0, i, 7) == !byteas[i].data);
        ck_assert_uint_eq(db_get_text(p, 0, i, 7).bytes, byteas[i].bytes);
    }
    ck_assert_mem_eq(db_get_text(p, 0, 0, 6).data, "a b", 3);
    ck_assert_str_eq(db_column_name(p, 0, 3), "i8");
}

static void
keep_text(void *arg, enum db_outcome outcome, const struct db_reply *p)
{
    struct heard *h = arg;

    on_done(arg, outcome, p);
    ck_assert_int_eq(outcome, DB_DONE);
    struct slice s = db_get_text(p, 0, 0, 0);
    snprintf(h->text, sizeof(h->text), "%.*s", (int) s.bytes, s.data);
}

static void
check_no_rows(void *arg, enum db_outcome outcome, const struct db_reply *p)
{
    on_done(arg, outcome, p);
    ck_assert_int_eq(outcome, DB_DONE);
    ck_assert_uint_eq(db_rows(p, 0), 0);
    ck_assert_uint_eq(db_rows(p, 1), 0); /* there is no call 1 */
}

START_TEST(arrays_of_every_type_go_round)
{
    struct rig r;
    struct db_args a = args_new();

    rig_start(&r);
    put_arrays(&a, ROWS);
    ask(&r, (struct db_call[]){{S_ECHO_ROWS, &a}}, 1, check_arrays);
    /* and PostgreSQL reads in them what we meant, not only the same bytes back */
    struct heard h = ask(&r, (struct db_call[]){{S_ECHO_TEXT, &a}}, 1, keep_text);
    ck_assert_str_eq(h.text,
                     "{t,f,t} {-32768,-1,32767} {-2147483648,0,2147483647}"
                     " {-9223372036854775808,7,9223372036854775807}"
                     " {00112233-4455-6677-8899-aabbccddeeff,01122334-4556-6778-899a-abbccddeef00,"
                     "02132435-4657-6879-8a9b-acbdcedff001}"
                     " {\"1970-01-01 00:00:00+00\",\"2023-11-14 22:13:20.123456+00\",infinity}"
                     " {\"a b\",NULL,\"\"} {\"\\\\x0001\",\"\\\\x\",NULL}");
    put_arrays(&a, 0);
    ask(&r, (struct db_call[]){{S_ECHO_ROWS, &a}}, 1, check_no_rows);
    db_args_done(&a);
    rig_close(&r);
}
END_TEST

static void
check_big(void *arg, enum db_outcome outcome, const struct db_reply *p)
{
    struct heard *h = arg;

    on_done(arg, outcome, p);
    h->affected = db_affected(p, 0);
    h->number = db_get_int(p, 1, 0, 0);
}

START_TEST(a_batch_larger_than_the_sockets_buffers_goes_through)
{
    static char big[4096];
    static struct slice many[1000];
    struct rig r;
    struct db_args a;

    memset(big, 'x', sizeof(big));
    for (size_t i = 0; i < ARRAY_SIZE(many); i++)
        many[i] = (struct slice){big, sizeof(big)};
    ck_assert_int_eq(db_args_init(&a, 8 << 20), 0);
    db_put_texts(&a, many, ARRAY_SIZE(many));
    rig_start(&r);
    PGconn *c = admin();
    struct heard h = ask(&r, (struct db_call[]){{S_ADD, &a}, {S_COUNT, NULL}}, 2, check_big);
    ck_assert_int_eq(h.outcome, DB_DONE);
    ck_assert_uint_eq(h.affected, 1000);
    ck_assert_int_eq(h.number, pgtemp_int(c, "SELECT count(*) FROM note"));
    db_args_done(&a);
    PQfinish(c);
    rig_close(&r);
}
END_TEST

START_TEST(sessions_have_their_settings)
{
    struct rig r;

    rig_start(&r);
    struct heard h = ask(&r, (struct db_call[]){{S_SESSION, NULL}}, 1, keep_text);
    ck_assert_str_eq(h.text, "force_generic_plan 5s read committed fleetcast-test/n1 UTF8 "
                             "\"$user\", public");
    rig_close(&r);
}
END_TEST

/* ---- the fence: two sessions ---- */

static void
keep_affected(void *arg, enum db_outcome outcome, const struct db_reply *p)
{
    struct heard *h = arg;

    on_done(arg, outcome, p);
    h->affected = db_affected(p, p && outcome == DB_DONE && db_columns(p, 0) == 0 ? 0 : 1);
}

/* Another session holds the lock and raises the epoch while a claim by epoch 1 waits. */
static uint64_t
claim_while_taken(struct rig *r, const struct db_call *calls, unsigned count)
{
    struct heard h = {0};
    PGconn *taker = admin(), *watcher = admin();

    pgtemp_do(taker, "UPDATE fence SET epoch = 1; UPDATE claim SET state = 0");
    pgtemp_do(taker, "BEGIN");
    pgtemp_do(taker, "SELECT pg_advisory_xact_lock(7)");
    pgtemp_do(taker, "UPDATE fence SET epoch = 2");
    ck_assert_int_eq(db_submit(r->db, calls, count, 10 * USEC_PER_SEC, keep_affected, &h), 0);
    pgtemp_wait_blocked(watcher, db_backend_pid(r->db));
    pgtemp_do(taker, "COMMIT");
    spin(r, &h.count, 1);
    ck_assert_int_eq(h.outcome, DB_DONE);
    PQfinish(taker);
    PQfinish(watcher);
    return h.affected;
}

START_TEST(a_statement_after_the_lock_sees_what_committed_during_the_wait)
{
    struct rig r;
    struct db_args epoch = args_new();

    rig_start(&r);
    db_put_int8(&epoch, 1);
    ck_assert_uint_eq(claim_while_taken(&r, (struct db_call[]){{S_LOCK, NULL}, {S_CLAIM, &epoch}},
                                        2),
                      0);
    /* the mutant: lock and claim in one statement keep the snapshot from before the wait */
    ck_assert_uint_eq(claim_while_taken(&r, (struct db_call[]){{S_CLAIM_MUTANT, &epoch}}, 1), 1);
    db_args_done(&epoch);
    rig_close(&r);
}
END_TEST

START_TEST(a_taker_waits_for_a_claim_and_sees_it)
{
    struct rig r;
    struct heard h = {0};
    struct db_args epoch = args_new();
    PGconn *holder = admin(), *taker = admin(), *watcher = admin();

    rig_start(&r);
    pgtemp_do(holder, "UPDATE fence SET epoch = 1; UPDATE claim SET state = 0");
    /* the claim holds its lock as long as another row lock lets it wait behind it */
    pgtemp_do(holder, "BEGIN");
    pgtemp_do(holder, "SELECT FROM claim FOR UPDATE");
    db_put_int8(&epoch, 1);
    const struct db_call calls[] = {{S_LOCK, NULL}, {S_CLAIM, &epoch}};
    ck_assert_int_eq(db_submit(r.db, calls, 2, 10 * USEC_PER_SEC, keep_affected, &h), 0);
    pgtemp_wait_blocked(watcher, db_backend_pid(r.db));
    pgtemp_send(taker, "BEGIN; SELECT pg_advisory_xact_lock(7)");
    pgtemp_wait_blocked(watcher, PQbackendPID(taker));
    pgtemp_do(holder, "ROLLBACK");
    pgtemp_wait(taker);
    ck_assert_int_eq(pgtemp_int(taker, "SELECT state FROM claim"), 1);
    pgtemp_do(taker, "COMMIT");
    spin(&r, &h.count, 1);
    ck_assert_int_eq(h.outcome, DB_DONE);
    ck_assert_uint_eq(h.affected, 1);
    db_args_done(&epoch);
    PQfinish(holder);
    PQfinish(taker);
    PQfinish(watcher);
    rig_close(&r);
}
END_TEST

/* ---- loss ---- */

/* A session that keeps everybody at S_LOCK waiting. */
static PGconn *
block(void)
{
    PGconn *c = admin();

    pgtemp_do(c, "BEGIN; SELECT pg_advisory_xact_lock(7)");
    return c;
}

START_TEST(a_killed_backend_is_lost_at_once_and_comes_again)
{
    struct rig r;
    struct heard h = {0};
    PGconn *blocker = block(), *watcher = admin();

    rig_start(&r);
    usec_t start = clock_boot();
    ck_assert_int_eq(submit(&r, S_LOCK, NULL, 60 * USEC_PER_SEC, on_done, &h), 0);
    ck_assert_int_eq(submit(&r, S_ONE, NULL, 60 * USEC_PER_SEC, on_done, &h), 0);
    pgtemp_wait_blocked(watcher, db_backend_pid(r.db));
    ck_assert_int_eq(kill(db_backend_pid(r.db), SIGKILL), 0);
    spin(&r, &h.count, 2);
    ck_assert_int_eq(h.outcome, DB_LOST);
    ck_assert_str_ne(h.message, "");
    ck_assert_uint_eq(r.downs, 1); /* told after what was lost */
    ck_assert_uint_lt(clock_boot() - start, 10 * USEC_PER_SEC);
    spin(&r, &r.ups, 2);
    h = ask(&r, (struct db_call[]){{S_LOCK, NULL}, {S_ONE, NULL}}, 2, on_done);
    ck_assert_int_eq(h.outcome, DB_DONE);
    PQfinish(blocker);
    PQfinish(watcher);
    rig_close(&r);
}
END_TEST

START_TEST(a_server_that_stops_is_noticed_when_idle_and_when_asked)
{
    struct rig r;
    struct heard h = {0};
    PGconn *blocker, *watcher;

    rig_start(&r);
    pgtemp_stop(pg);
    spin(&r, &r.downs, 1);
    ck_assert_str_eq(r.last_error, "terminating connection due to administrator command");
    ck_assert_int_eq(submit(&r, S_ONE, NULL, USEC_PER_SEC, on_done, &h), -ENOTCONN);
    spin(&r, &r.downs, 3); /* attempts that fail are told, too */
    pgtemp_run(pg);
    spin(&r, &r.ups, 2);

    blocker = block();
    watcher = admin();
    ck_assert_int_eq(submit(&r, S_LOCK, NULL, 60 * USEC_PER_SEC, on_done, &h), 0);
    pgtemp_wait_blocked(watcher, db_backend_pid(r.db));
    pgtemp_crash(pg); /* a stop could end the blocker first, and our commit would be in time */
    spin(&r, &h.count, 1);
    ck_assert_int_eq(h.outcome, DB_LOST);
    pgtemp_run(pg);
    spin(&r, &r.ups, 3);
    PQfinish(blocker);
    PQfinish(watcher);
    rig_close(&r);
}
END_TEST

START_TEST(a_deadline_that_passes_gives_the_connection_up)
{
    struct rig r;
    struct heard slow = {0}, quick = {0}, behind = {0};
    PGconn *blocker = block();

    rig_start(&r);
    int first = db_backend_pid(r.db);
    usec_t start = clock_boot();
    /* the one behind has the nearer deadline */
    ck_assert_int_eq(submit(&r, S_ONE, NULL, 30 * USEC_PER_SEC, on_done, &quick), 0);
    ck_assert_int_eq(submit(&r, S_LOCK, NULL, 30 * USEC_PER_SEC, on_done, &slow), 0);
    ck_assert_int_eq(submit(&r, S_ONE, NULL, 300 * USEC_PER_MSEC, on_done, &behind), 0);
    spin(&r, &behind.count, 1);
    usec_t took = clock_boot() - start;
    ck_assert_uint_ge(took, 300 * USEC_PER_MSEC);
    ck_assert_uint_lt(took, 2 * USEC_PER_SEC);
    ck_assert_int_eq(quick.outcome, DB_DONE);
    ck_assert_uint_eq(slow.count, 1);
    ck_assert_int_eq(slow.outcome, DB_LOST);
    ck_assert_int_eq(behind.outcome, DB_LOST);
    ck_assert_str_eq(behind.message, "no answer within the deadline");
    spin(&r, &r.ups, 2);
    ck_assert_int_ne(db_backend_pid(r.db), first);
    PQfinish(blocker);
    struct heard h = ask(&r, (struct db_call[]){{S_LOCK, NULL}}, 1, on_done);
    ck_assert_int_eq(h.outcome, DB_DONE);
    rig_close(&r);
}
END_TEST

START_TEST(a_frozen_backend_runs_into_the_deadline)
{
    struct rig r;
    struct heard h = {0};

    rig_start(&r);
    int frozen = db_backend_pid(r.db);
    ck_assert_int_eq(kill(frozen, SIGSTOP), 0);
    ck_assert_int_eq(submit(&r, S_ONE, NULL, 300 * USEC_PER_MSEC, on_done, &h), 0);
    spin(&r, &h.count, 1);
    ck_assert_int_eq(h.outcome, DB_LOST);
    spin(&r, &r.ups, 2);
    h = ask(&r, (struct db_call[]){{S_ONE, NULL}}, 1, on_done);
    ck_assert_int_eq(h.outcome, DB_DONE);
    ck_assert_int_eq(kill(frozen, SIGCONT), 0);
    rig_close(&r);
}
END_TEST

static void
wait_gone(PGconn *c, int backend)
{
    usec_t end = clock_boot() + 10 * USEC_PER_SEC;

    while (pgtemp_int(c, "SELECT count(*) FROM pg_stat_activity WHERE pid = %d", backend) > 0)
        ck_assert_uint_lt(clock_boot(), end);
}

START_TEST(a_commit_with_warning_01000_is_lost)
{
    struct rig r;
    struct db_args state = args_new();
    struct heard h = {0}, behind = {0};
    PGconn *c = admin();

    rig_start(&r);
    db_put_text(&state, text("01004")); /* any other warning is none of our business */
    h = ask(&r, (struct db_call[]){{S_WARN, &state}}, 1, on_done);
    ck_assert_int_eq(h.outcome, DB_DONE);
    ck_assert_uint_eq(r.downs, 0);
    db_args_reset(&state);
    db_put_text(&state, text("01000"));
    int backend = db_backend_pid(r.db);
    h = (struct heard){0};
    ck_assert_int_eq(submit(&r, S_WARN, &state, 5 * USEC_PER_SEC, on_done, &h), 0);
    ck_assert_int_eq(submit(&r, S_ONE, NULL, 5 * USEC_PER_SEC, on_done, &behind), 0);
    spin(&r, &behind.count, 1);
    ck_assert_uint_eq(h.count, 1);
    ck_assert_int_eq(h.outcome, DB_LOST);
    ck_assert_str_eq(h.message, "here, but not on the standby");
    ck_assert_int_eq(behind.outcome, DB_LOST);
    /* the row comes all the same: that is why it is "in doubt" and not "rolled back" */
    wait_gone(c, backend);
    ck_assert_int_eq(pgtemp_int(c, "SELECT count(*) FROM warns WHERE sqlstate = '01000'"), 1);
    spin(&r, &r.ups, 2);
    db_args_done(&state);
    PQfinish(c);
    rig_close(&r);
}
END_TEST

/* ---- dropping and stopping ---- */

START_TEST(a_stop_tells_everything_in_flight_once)
{
    struct rig r;
    struct heard h[5] = {{0}};
    PGconn *blocker = block();

    rig_start(&r);
    for (unsigned i = 0; i < 5; i++)
        ck_assert_int_eq(submit(&r, S_LOCK, NULL, 30 * USEC_PER_SEC, on_done, &h[i]), 0);
    db_stop(r.db);
    ck_assert_uint_eq(h[0].count, 0); /* not inside db_stop */
    ck_assert_int_eq(submit(&r, S_ONE, NULL, USEC_PER_SEC, on_done, &h[0]), -ENOTCONN);
    rig_close(&r); /* a second db_stop is nothing */
    for (unsigned i = 0; i < 5; i++) {
        ck_assert_uint_eq(h[i].count, 1);
        ck_assert_int_eq(h[i].outcome, DB_LOST);
    }
    ck_assert_uint_eq(r.downs, 0);
    PQfinish(blocker);
}
END_TEST

START_TEST(a_stop_before_and_while_connecting_is_clean)
{
    struct rig r;

    rig_open(&r, NULL);
    rig_connect(&r);
    rig_close(&r);
    rig_open(&r, NULL);
    rig_connect(&r);
    uv_run(&r.loop, UV_RUN_ONCE); /* the attempt has begun */
    rig_close(&r);
    rig_open(&r, "host=localhost port=1 dbname=t");
    rig_connect(&r);
    uv_run(&r.loop, UV_RUN_ONCE); /* a look-up is on its way */
    rig_close(&r);
    ck_assert_uint_eq(r.ups, 0);
}
END_TEST

START_TEST(a_drop_loses_all_and_comes_again)
{
    struct rig r;
    struct heard h = {0};
    PGconn *blocker = block();

    rig_start(&r);
    ck_assert_int_eq(submit(&r, S_LOCK, NULL, 30 * USEC_PER_SEC, on_done, &h), 0);
    db_drop(r.db);
    db_drop(r.db);
    ck_assert_uint_eq(h.count, 0);
    ck_assert(!db_ready(r.db));
    spin(&r, &h.count, 1);
    ck_assert_int_eq(h.outcome, DB_LOST);
    ck_assert_str_eq(h.message, "dropped");
    spin(&r, &r.ups, 2);
    ck_assert_uint_eq(r.downs, 1);
    PQfinish(blocker);
    rig_close(&r);
}
END_TEST

static void
submit_again(void *arg, enum db_outcome outcome, const struct db_reply *p)
{
    struct heard *h = arg;

    ck_assert_int_eq(outcome, DB_DONE);
    if (++h->count < 100)
        ck_assert_int_eq(submit(h->rig, S_ONE, NULL, USEC_PER_SEC, submit_again, h), 0);
    else
        db_drop(h->rig->db);
}

static void
stop_inside(void *arg, enum db_outcome outcome, const struct db_reply *p)
{
    struct heard *h = arg;

    on_done(arg, outcome, p);
    db_stop(h->rig->db);
}

START_TEST(callbacks_may_submit_drop_and_stop)
{
    struct rig r;

    rig_start(&r);
    struct heard h = {.rig = &r}, last = {.rig = &r}, after = {0};
    ck_assert_int_eq(submit(&r, S_ONE, NULL, USEC_PER_SEC, submit_again, &h), 0);
    spin(&r, &h.count, 100);
    spin(&r, &r.ups, 2);
    ck_assert_int_eq(submit(&r, S_ONE, NULL, USEC_PER_SEC, stop_inside, &last), 0);
    ck_assert_int_eq(submit(&r, S_ONE, NULL, USEC_PER_SEC, on_done, &after), 0);
    rig_close(&r);
    ck_assert_uint_eq(last.count, 1);
    ck_assert_uint_eq(after.count, 1);

    rig_start(&r); /* the same inside a loss */
    PGconn *blocker = block();
    last = after = (struct heard){.rig = &r};
    ck_assert_int_eq(submit(&r, S_LOCK, NULL, 100 * USEC_PER_MSEC, stop_inside, &last), 0);
    ck_assert_int_eq(submit(&r, S_ONE, NULL, USEC_PER_SEC, on_done, &after), 0);
    spin(&r, &after.count, 1);
    ck_assert_int_eq(last.outcome, DB_LOST);
    rig_close(&r);
    ck_assert_uint_eq(last.count, 1);
    ck_assert_uint_eq(after.count, 1);
    PQfinish(blocker);
}
END_TEST

START_TEST(without_reconnect_one_attempt_is_all)
{
    struct rig r;

    rig_open(&r, "host=/nowhere dbname=t user=postgres");
    r.config.reconnect = false;
    rig_connect(&r);
    ck_assert_int_eq(uv_run(&r.loop, UV_RUN_DEFAULT), 0); /* nothing is left to wait for */
    ck_assert_uint_eq(r.downs, 1);
    ck_assert_uint_eq(r.ups, 0);
    ck_assert_ptr_nonnull(strstr(r.last_error, "/nowhere"));
    rig_close(&r);
}
END_TEST

/* ---- hosts ---- */

/* A TCP port on 127.0.0.1 that takes connections and never answers; closed: one that refuses. */
static int
silent_port(uint16_t *ret_port)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t bytes = sizeof(a);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(bind(fd, (struct sockaddr *) &a, sizeof(a)), 0);
    ck_assert_int_eq(listen(fd, 16), 0);
    ck_assert_int_eq(getsockname(fd, (struct sockaddr *) &a, &bytes), 0);
    *ret_port = ntohs(a.sin_port);
    return fd;
}

static void
reach_second_host(const char *first, uint16_t port, usec_t connect_timeout)
{
    struct rig r;
    char dsn[PGTEMP_DSN_MAX];

    snprintf(dsn, sizeof(dsn), "host=%s,%s port=%u,5432 dbname=t user=postgres", first,
             pgtemp_dir(pg), port);
    rig_open(&r, dsn);
    r.config.connect_timeout = connect_timeout;
    usec_t start = clock_boot();
    rig_connect(&r);
    spin(&r, &r.ups, 1);
    ck_assert_uint_eq(r.downs, 1);
    ck_assert_uint_lt(clock_boot() - start, connect_timeout + USEC_PER_SEC);
    /* it stays with the host that worked */
    db_drop(r.db);
    spin(&r, &r.ups, 2);
    ck_assert_uint_eq(r.downs, 2);
    rig_close(&r);
}

START_TEST(a_host_that_refuses_or_hangs_is_left_for_the_next)
{
    uint16_t port;
    int fd = silent_port(&port);

    reach_second_host("127.0.0.1", port, 300 * USEC_PER_MSEC);
    close(fd);
    reach_second_host("127.0.0.1", port, 2 * USEC_PER_SEC);
    reach_second_host("/nowhere", 5432, 2 * USEC_PER_SEC);
}
END_TEST

START_TEST(a_read_only_server_is_not_taken)
{
    struct rig r;
    char dsn[PGTEMP_DSN_MAX];
    PGconn *c = admin();

    pgtemp_do(c, "ALTER DATABASE readonly SET default_transaction_read_only = on");
    rig_open(&r, pgtemp_dsn(pg, "readonly", NULL, dsn));
    r.config.statement_count = 1;
    rig_connect(&r);
    spin(&r, &r.downs, 2);
    ck_assert_ptr_nonnull(strstr(r.last_error, "read-only"));
    pgtemp_do(c, "ALTER DATABASE readonly RESET default_transaction_read_only");
    spin(&r, &r.ups, 1);
    PQfinish(c);
    rig_close(&r);
}
END_TEST

/* A cluster of its own that listens on 127.0.0.1. */
static struct pgtemp *
start_tcp(uint16_t *ret_port)
{
    static const char *const databases[] = {"t", NULL};
    struct pgtemp *p = pgtemp_start(databases);
    PGconn *c = pgtemp_open(p, "t", NULL);
    char hba[128];
    int fd = silent_port(ret_port);

    pgtemp_do(c, "ALTER SYSTEM SET listen_addresses = '127.0.0.1'");
    pgtemp_do(c, "ALTER SYSTEM SET port = %u", *ret_port);
    PQfinish(c);
    snprintf(hba, sizeof(hba), "%s/data/pg_hba.conf", pgtemp_dir(p));
    FILE *f = fopen(hba, "a");
    ck_assert_ptr_nonnull(f);
    ck_assert_int_ge(fputs("host all all 127.0.0.1/32 trust\n", f), 0);
    ck_assert_int_eq(fclose(f), 0);
    close(fd);
    pgtemp_stop(p);
    pgtemp_run(p);
    return p;
}

START_TEST(a_name_is_resolved_by_the_loop)
{
    static const struct db_statement where[] = {
        {"where", "SELECT concat_ws(' ', inet_client_addr(), current_setting('tcp_user_timeout'),"
                  " current_setting('application_name'))"},
    };
    struct rig r;
    uint16_t port;
    struct pgtemp *tcp = start_tcp(&port);
    char dsn[PGTEMP_DSN_MAX];

    /* localhost may give ::1 first, where nobody listens: the next attempt takes the next address
     */
    snprintf(dsn, sizeof(dsn), "host=localhost port=%u dbname=t user=postgres sslmode=disable",
             port);
    rig_open(&r, dsn);
    r.config.statements = where;
    r.config.statement_count = 1;
    rig_connect(&r);
    spin(&r, &r.ups, 1);
    struct heard h = ask(&r, (struct db_call[]){{0, NULL}}, 1, keep_text);
    ck_assert_str_eq(h.text, "127.0.0.1 0 fleetcast-test/n1");
    rig_close(&r);
    pgtemp_free(tcp);
}
END_TEST

/* ---- the pool ---- */

struct pool_rig {
    struct rig rig;
    struct dbpool *pool;
    unsigned ups;
    bool up[LANE_COUNT];
};

static void
on_lane(void *arg, enum dbpool_lane lane, bool up)
{
    struct pool_rig *p = arg;

    ck_assert_uint_lt(lane, LANE_COUNT);
    ck_assert(p->up[lane] != up);
    p->up[lane] = up;
    p->ups += up;
}

static void
pool_start(struct pool_rig *p, unsigned count)
{
    memset(p, 0, sizeof(*p));
    rig_open(&p->rig, NULL);
    ck_assert_int_eq(dbpool_start(&p->pool, &p->rig.loop, &p->rig.config, count, &p->rig.rng,
                                  on_lane, p),
                     0);
    spin(&p->rig, &p->ups, LANE_COUNT);
}

static void
pool_close(struct pool_rig *p)
{
    dbpool_stop(p->pool);
    uv_close((uv_handle_t *) &p->rig.guard, NULL);
    ck_assert_int_eq(uv_run(&p->rig.loop, UV_RUN_DEFAULT), 0);
    ck_assert_int_eq(uv_loop_close(&p->rig.loop), 0);
    ck_assert_ptr_null(dbpool_free(p->pool));
}

static const char *const names_sql =
    "SELECT string_agg(substr(application_name, 19), ' ' ORDER BY application_name)"
    " FROM pg_stat_activity WHERE application_name LIKE 'fleetcast-test/n1/%%'";

START_TEST(lanes_have_connections_or_share_them)
{
    struct pool_rig p;
    struct heard h = {0};
    PGconn *c = admin(), *blocker = block();

    rig_open(&p.rig, NULL);
    ck_assert_int_eq(dbpool_start(&p.pool, &p.rig.loop, &p.rig.config, 0, &p.rig.rng, on_lane, &p),
                     -EINVAL);
    ck_assert_int_eq(dbpool_start(&p.pool, &p.rig.loop, &p.rig.config, DBPOOL_MAX + 1, &p.rig.rng,
                                  on_lane, &p),
                     -EINVAL);
    uv_close((uv_handle_t *) &p.rig.guard, NULL);
    uv_run(&p.rig.loop, UV_RUN_DEFAULT);
    ck_assert_int_eq(uv_loop_close(&p.rig.loop), 0);

    pool_start(&p, DBPOOL_MAX);
    ck_assert_uint_eq(dbpool_count(p.pool), LANE_COUNT);
    ck_assert_uint_eq(dbpool_ready(p.pool), LANE_COUNT);
    ck_assert_str_eq(pgtemp_text(c, names_sql), "fill intake query tick");
    p.rig.db = dbpool_lane(p.pool, LANE_INTAKE);
    ck_assert_int_eq(submit(&p.rig, S_LOCK, NULL, 30 * USEC_PER_SEC, on_done, &h), 0);
    ck_assert_uint_eq(dbpool_busy(p.pool), 1);
    pool_close(&p);
    ck_assert_uint_eq(h.count, 1);

    pool_start(&p, 3);
    ck_assert_uint_eq(dbpool_count(p.pool), 3);
    ck_assert_ptr_eq(dbpool_lane(p.pool, LANE_QUERY), dbpool_lane(p.pool, LANE_TICK));
    ck_assert_ptr_ne(dbpool_lane(p.pool, LANE_FILL), dbpool_lane(p.pool, LANE_TICK));
    pool_close(&p);
    pool_start(&p, 1);
    ck_assert_uint_eq(dbpool_ready(p.pool), 1);
    pool_close(&p);
    PQfinish(blocker);
    PQfinish(c);
}
END_TEST

/* ---- ---- */

static const char tables[] =
    "CREATE TABLE note(text text);"
    "CREATE TABLE fence(epoch bigint); INSERT INTO fence VALUES (1);"
    "CREATE TABLE claim(state int); INSERT INTO claim VALUES (0);"
    "CREATE TABLE deferred(x int UNIQUE DEFERRABLE INITIALLY DEFERRED);"
    "CREATE TABLE warns(sqlstate text);"
    "CREATE FUNCTION warn() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
    " RAISE WARNING USING ERRCODE = NEW.sqlstate, MESSAGE = 'here, but not on the standby';"
    " RETURN NULL; END $$;"
    "CREATE CONSTRAINT TRIGGER warn AFTER INSERT ON warns DEFERRABLE INITIALLY DEFERRED"
    " FOR EACH ROW EXECUTE FUNCTION warn();";

/* A test that failed may have left the server down: the next ones are not to blame. */
static void
revive(void)
{
    char dsn[PGTEMP_DSN_MAX];

    if (PQping(pgtemp_dsn(pg, "t", NULL, dsn)) == PQPING_NO_RESPONSE)
        pgtemp_run(pg);
}

static Suite *
db_suite(void)
{
    Suite *s = suite_create("db");
    TCase *t = tcase_create("db");

    tcase_set_timeout(t, 60);
    tcase_add_checked_fixture(t, revive, NULL);
    tcase_add_test(t, refuses_what_cannot_go);
    tcase_add_test(t, a_full_fifo_refuses_and_loses_nothing);
    tcase_add_test(t, a_failing_statement_rolls_all_back_and_is_named);
    tcase_add_test(t, a_commit_that_fails_is_refused);
    tcase_add_test(t, a_statement_that_does_not_prepare_is_named_and_tried_again);
    tcase_add_test(t, single_values_go_round);
    tcase_add_test(t, arrays_of_every_type_go_round);
    tcase_add_test(t, a_batch_larger_than_the_sockets_buffers_goes_through);
    tcase_add_test(t, sessions_have_their_settings);
    tcase_add_test(t, a_statement_after_the_lock_sees_what_committed_during_the_wait);
    tcase_add_test(t, a_taker_waits_for_a_claim_and_sees_it);
    tcase_add_test(t, a_killed_backend_is_lost_at_once_and_comes_again);
    tcase_add_test(t, a_server_that_stops_is_noticed_when_idle_and_when_asked);
    tcase_add_test(t, a_deadline_that_passes_gives_the_connection_up);
    tcase_add_test(t, a_frozen_backend_runs_into_the_deadline);
    tcase_add_test(t, a_commit_with_warning_01000_is_lost);
    tcase_add_test(t, a_stop_tells_everything_in_flight_once);
    tcase_add_test(t, a_stop_before_and_while_connecting_is_clean);
    tcase_add_test(t, a_drop_loses_all_and_comes_again);
    tcase_add_test(t, callbacks_may_submit_drop_and_stop);
    tcase_add_test(t, without_reconnect_one_attempt_is_all);
    tcase_add_test(t, a_host_that_refuses_or_hangs_is_left_for_the_next);
    tcase_add_test(t, a_read_only_server_is_not_taken);
    tcase_add_test(t, a_name_is_resolved_by_the_loop);
    tcase_add_test(t, lanes_have_connections_or_share_them);
    suite_add_tcase(s, t);
    return s;
}

int
main(void)
{
    static const char *const databases[] = {"t", "readonly", NULL};

    signal(SIGPIPE, SIG_IGN);
    pg = pgtemp_start(databases);
    PGconn *c = admin();
    pgtemp_do(c, "%s", tables);
    PQfinish(c);
    SRunner *runner = srunner_create(db_suite());
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    pgtemp_free(pg);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
