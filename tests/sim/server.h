/*
 * server.h - PostgreSQL as its clients see it: sessions, the advisory lock, commits, and their
 * loss.
 *
 * A transaction arrives, waits for the partition's lock in order of arrival (shared behind a
 * waiting exclusive one, as PostgreSQL does), runs, commits, answers. Whatever ends a session ends
 * it before the commit (nothing happened) or after it (the answer is lost). A client that is gone
 * leaves a session behind that may still commit what it had received, until the server notices.
 */
#pragma once
#include <sys/queue.h>

#include "tests/sim/sim.h"
#include "tests/sim/store.h"

struct session;
struct txn;
TAILQ_HEAD(txns, txn);

struct server_faults { /* chances in a million, per transaction */
    uint64_t stall, refuse, lose_answer, kill_before, kill_after;
    usec_t stall_max;
    usec_t latency_max;
};
struct server {
    struct store store;
    bool up;
    int64_t clock; /* error of its clock */
    struct server_faults faults;
    int next_pid;
    TAILQ_HEAD(, session) sessions;
    struct txn *exclusive;
    unsigned shared;
    struct txns waiting;
    void (*committed)(void *arg, struct server *s); /* after each commit that wrote something */
    void *arg;
};
void server_open(struct server *s, const char *partition);
void server_close(struct server *s);
int64_t server_now(const struct server *s); /* unix usec */
void server_down(struct server *s);         /* every session ends */
void server_up(struct server *s);
void server_kill_one(struct server *s); /* a backend, by chance */
/* Which server a DSN means; the world's table. */
struct server *server_find(const char *dsn);
