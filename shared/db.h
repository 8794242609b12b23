/*
 * db.h - one asynchronous PostgreSQL connection (libpq, pipeline mode) on the loop.
 *
 * The only code besides dbpool that knows libpq. A *transaction* here is a list of prepared
 * statements sent before one Sync: PostgreSQL runs them as one implicit READ COMMITTED transaction,
 * in order, each with a snapshot of its own (so what follows the lock statement sees what committed
 * during the wait). Done is told at the Sync, because the commit happens there: nothing may be
 * acted upon before. A failed statement rolls all back.
 *
 * After a loss the connection reconnects by itself with back-off (100 ms .. 2 s, jitter) unless
 * `reconnect` is off; it is *ready* only when all statements are prepared. Names in the DSN are
 * resolved by the loop (uv_getaddrinfo -> hostaddr). PQcancel is never used.
 */
#pragma once
#include <uv.h>

#include "shared/base.h"
#include "shared/clock.h"

#define DB_DEPTH_MAX 32u /* transactions that wait on one connection */
#define DB_CALLS_MAX 12u /* statements in one transaction */

struct db;
struct db_reply;
struct rng;

/*
 * NULL when `dsn` can be used, else what is wrong with it, in words without its text. A password in
 * it is refused: it belongs into a passfile that only the daemon reads (passfile=PATH).
 */
const char *db_dsn_judge(const char *dsn);

struct db_statement {
    const char *name;
    const char *sql; /* every parameter carries a cast, $1::int[], so that types are plain here */
};

struct db_config {
    const char *dsn;              /* libpq conninfo; a password comes from its passfile */
    const char *application_name; /* "fleetcast-node/n1/tick" */
    const struct db_statement *statements;
    unsigned statement_count;
    usec_t connect_timeout; /* of one attempt, names included */
    bool reconnect;
    /* sent after connecting and read back by the caller's own statement: NULL-terminated pairs
       name, value of settings (as options=-c name=value), or NULL */
    const char *const *settings;
};

enum db_outcome {
    DB_DONE,    /* committed */
    DB_REFUSED, /* rolled back: db_sqlstate, db_message, db_failed_call tell */
    DB_NOT_RUN, /* was never given to the server */
    DB_LOST     /* in doubt: connection lost or deadline passed with the transaction unconfirmed,
                   or the commit came with WARNING 01000 (not replicated) */
};

/* Parameters of one statement, binary. Built in place, no allocation after db_args_init. */
struct db_args {
    char *bytes; /* arena */
    size_t used, size;
    const char *values[24];
    int lengths[24];
    unsigned count;
    bool overflow; /* something did not fit: db_submit answers -E2BIG */
};
int db_args_init(struct db_args *a, size_t arena_bytes) _must_check_;
void db_args_done(struct db_args *a);
void db_args_reset(struct db_args *a);
void db_put_null(struct db_args *a);
void db_put_bool(struct db_args *a, bool v);
void db_put_int2(struct db_args *a, int16_t v);
void db_put_int4(struct db_args *a, int32_t v);
void db_put_int8(struct db_args *a, int64_t v);
void db_put_text(struct db_args *a, struct slice v);  /* data NULL = ''; SQL NULL is db_put_null */
void db_put_bytes(struct db_args *a, struct slice v); /* bytea */
void db_put_uuid(struct db_args *a, const struct uuid *v);
/* timestamptz; INT64_MAX and INT64_MIN are infinity and -infinity, in db_get_time too */
void db_put_time(struct db_args *a, int64_t unix_usec);
void db_put_bools(struct db_args *a, const bool *v, size_t n);
void db_put_int2s(struct db_args *a, const int16_t *v, size_t n);
void db_put_int4s(struct db_args *a, const int32_t *v, size_t n);
void db_put_int8s(struct db_args *a, const int64_t *v, size_t n);
void db_put_uuids(struct db_args *a, const struct uuid *v, size_t n);
void db_put_times(struct db_args *a, const int64_t *unix_usec, size_t n);
void db_put_texts(struct db_args *a, const struct slice *v, size_t n); /* data NULL = SQL NULL */
void db_put_byteas(struct db_args *a, const struct slice *v, size_t n);

struct db_call {
    unsigned statement;         /* index into config.statements */
    const struct db_args *args; /* NULL = none; borrowed during db_submit only */
};

/*
 * Exactly once, from the loop only: never inside db_submit, db_drop or db_stop; also after a stop
 * (DB_LOST). Here submit, drop and stop are allowed. reply is borrowed, never NULL.
 */
typedef void db_done_fn(void *arg, enum db_outcome outcome, const struct db_reply *reply);
/*
 * true: ready. false: lost, or an attempt failed (so it may come again and again); db_error tells
 * why. Comes after the db_done_fn of everything that was lost. Not on stop.
 */
typedef void db_up_fn(void *arg, struct db *db, bool up);

int db_start(struct db **ret, uv_loop_t *loop, const struct db_config *config, struct rng *rng,
             db_up_fn *on_up, void *arg) _must_check_; /* config is borrowed for the db's life */
/*
 * One transaction. 0; -ENOTCONN (not ready); -EAGAIN (DB_DEPTH_MAX transactions wait); -E2BIG.
 * `timeout` from now: when it passes, the connection is given up and everything on it is DB_LOST.
 */
int db_submit(struct db *db, const struct db_call *calls, unsigned call_count, usec_t timeout,
              db_done_fn *done, void *arg) _must_check_;
bool db_ready(const struct db *db);
unsigned db_depth(const struct db *db);
int db_backend_pid(const struct db *db);   /* 0 when not connected */
const char *db_error(const struct db *db); /* last text, without secrets */
usec_t db_commit_lag(const struct db *db); /* of the last transaction, submit to Sync */
/* Gives everything up (DB_LOST) in the loop's next turn, then connects again if reconnect is on. */
void db_drop(struct db *db);
void db_stop(struct db *db);
struct db *db_free(struct db *db); /* after the loop closed its handles; NULL is fine */

/*
 * Replies: result `call` of the transaction. Columns are binary; NULL reads as 0, false or empty.
 * A call that did not run has no rows.
 */
unsigned db_rows(const struct db_reply *r, unsigned call);
unsigned db_columns(const struct db_reply *r, unsigned call);
uint64_t db_affected(const struct db_reply *r, unsigned call); /* rows of INSERT/UPDATE/DELETE */
bool db_is_null(const struct db_reply *r, unsigned call, unsigned row, unsigned column);
bool db_get_bool(const struct db_reply *r, unsigned call, unsigned row, unsigned column);
int64_t db_get_int(const struct db_reply *r, unsigned call, unsigned row,
                   unsigned column); /* int2/4/8 */
int64_t db_get_time(const struct db_reply *r, unsigned call, unsigned row,
                    unsigned column); /* unix usec */
struct slice db_get_text(const struct db_reply *r, unsigned call, unsigned row,
                         unsigned column); /* text, bytea */
struct uuid db_get_uuid(const struct db_reply *r, unsigned call, unsigned row, unsigned column);
const char *db_sqlstate(const struct db_reply *r); /* "" when none */
const char *db_message(const struct db_reply *r);
/* Of DB_REFUSED: the call that failed; the transaction's call_count when the commit itself did. */
unsigned db_failed_call(const struct db_reply *r);
const char *db_column_name(const struct db_reply *r, unsigned call, unsigned column);
