/*
 * ledger.h - the catalog: everything the coordinator reads from and writes to PostgreSQL.
 *
 * Edge: one connection, transactions in order. Every write takes the shared advisory lock in a
 * statement of its own, then asks the fence (the row still has our term), and each of its writes
 * carries the term once more. An answer of LEDGER_FENCED means that somebody else took the catalog:
 * nothing was written and the process must end. Completions come exactly once, never inside the
 * call that asked for them. 0, -ENOTCONN (not ready, or not the holder), -EAGAIN, -E2BIG.
 */
#pragma once
#include <uv.h>

#include "coordinator/fleet.h"
#include "coordinator/sources.h"
#include "shared/rng.h"

struct ledger;
struct ledger_config {
    const char *dsn, *name; /* name: of this coordinator; borrowed */
    struct uuid incarnation;
};

enum ledger_outcome {
    LEDGER_DONE,    /* committed */
    LEDGER_FENCED,  /* another holder, another term: nothing was written */
    LEDGER_REFUSED, /* rolled back; ledger_error tells */
    LEDGER_DOUBT    /* the connection was lost: look at the catalog before believing anything */
};
typedef void ledger_done_fn(void *arg, enum ledger_outcome outcome);
typedef void ledger_up_fn(void *arg, bool up);

int ledger_start(struct ledger **ret, uv_loop_t *loop, const struct ledger_config *config,
                 struct rng *rng, ledger_up_fn *on_up, void *arg) _must_check_;
bool ledger_ready(const struct ledger *l);        /* connected, statements prepared */
const char *ledger_error(const struct ledger *l); /* why not, or the last refusal; "" */
usec_t ledger_commit_lag(const struct ledger *l);
/* The catalog's time at BOOTTIME `now`, unix usec: the one clock of what is scheduled, whichever
 * machine coordinates. By the last load or beat. */
int64_t ledger_db_now(const struct ledger *l, usec_t now);
void ledger_stop(struct ledger *l);
struct ledger *ledger_free(struct ledger *l);

/* ---- becoming the holder ---- */

struct ledger_holder {
    uint64_t term, beat;
    struct slice name; /* "" = nobody: the last one left in order */
    struct uuid incarnation;
};
typedef void ledger_look_fn(void *arg, enum ledger_outcome outcome,
                            const struct ledger_holder *holder);
int ledger_look(struct ledger *l, ledger_look_fn *done, void *arg) _must_check_;
/* Term + 1 under the exclusive lock, only if term and beat are still as seen. LEDGER_FENCED: they
 * are not. */
int ledger_take(struct ledger *l, const struct ledger_holder *seen, ledger_done_fn *done,
                void *arg) _must_check_;

/* Everything; borrowed for the callback. outcome LEDGER_REFUSED also when the rows are out of
 * bounds. */
struct ledger_image {
    struct ledger_holder holder;
    uint64_t content_version;
    struct fleet_image fleet;
    uint32_t source_count;
    const struct sources_record *sources; /* by version */
};
typedef void ledger_load_fn(void *arg, enum ledger_outcome outcome,
                            const struct ledger_image *image);
int ledger_load(struct ledger *l, ledger_load_fn *done, void *arg) _must_check_;

/* Writes carry this term from now on, until the connection is lost or ledger_let_go. */
void ledger_hold(struct ledger *l, uint64_t term);
void ledger_let_go(struct ledger *l);
bool ledger_held(const struct ledger *l);
uint64_t ledger_term(const struct ledger *l); /* the last that we held; 0 = none yet */

/* ---- as the holder ---- */

int ledger_beat(struct ledger *l, ledger_done_fn *done, void *arg) _must_check_;
/* A higher term was heard (the catalog is older than the cluster): ours becomes `term`. Later
 * writes carry it at once, because they run behind this one. */
int ledger_raise(struct ledger *l, uint64_t term, ledger_done_fn *done, void *arg) _must_check_;
/* Leaves in order: the next start need not watch the beat. */
int ledger_release(struct ledger *l, ledger_done_fn *done, void *arg) _must_check_;

/* map_version: as it is now, with LEDGER_DONE. */
typedef void ledger_map_fn(void *arg, enum ledger_outcome outcome, uint64_t map_version);
int ledger_save(struct ledger *l, const struct fleet_changes *c, ledger_map_fn *done,
                void *arg) _must_check_;

struct ledger_audit { /* who did what; why may be "" */
    struct slice who, what, because;
};
/* Makes `from` (as the catalog has it) into `to`; names[range.partition]. map_version + 1. */
int ledger_place(struct ledger *l, const struct rangemap *from, const struct rangemap *to,
                 const struct slice *names, const struct ledger_audit *audit, ledger_map_fn *done,
                 void *arg) _must_check_;
/* started_at[count]: of the change's items as committed (0 = not started); NULL unless DONE. */
typedef void ledger_content_fn(void *arg, enum ledger_outcome outcome, const int64_t *started_at);
int ledger_content(struct ledger *l, const struct sources_change *change,
                   const struct ledger_audit *audit, ledger_content_fn *done,
                   void *arg) _must_check_;
