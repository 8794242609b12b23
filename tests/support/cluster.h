/*
 * cluster.h - a whole Fleetcast of real processes for one test: PostgreSQL, provider, coordinator,
 * nodes.
 *
 * Uses tests/support/cluster (the script that the quickstart uses too). Everything fails the
 * running Check test with words when it cannot do its work; cluster_free always ends what was
 * started.
 */
#pragma once
#include <jansson.h>
#include <signal.h>
#include <sys/types.h>

#include "shared/base.h"
#include "shared/clock.h"
#include "tests/support/audit.h"

struct cluster;
struct cluster_options {
    unsigned nodes, devices, leads, min_delay, max_delay, seed; /* 0 = 3, 30, 5, 50, 150, 1 */
    unsigned latency_min_ms, latency_max_ms;                    /* of the provider */
    unsigned slots, pool;                                       /* 0 = 512, 4 */
    bool real_timing;                                           /* else the compressed numbers */
    unsigned sequences, step_delay; /* generate's: leads of 1,000 with a trigger, seconds */
    const char *devices_csv, *leads_csv, *content; /* instead of what generate makes */
};

/* Makes the files and PostgreSQL; starts provider, c1 and the nodes; imports and applies the
 * content. */
struct cluster *cluster_new(const struct cluster_options *o);
/* Only the files and PostgreSQL. */
struct cluster *cluster_bare(const struct cluster_options *o);
struct cluster *cluster_free(struct cluster *c);
/* Last thing in main: ends what a failed test left behind (Check's teardown does not run then). */
void cluster_sweep(void);

const char *cluster_dir(const struct cluster *c);
void cluster_do(struct cluster *c, const char *verb, const char *name); /* start, launch, stop */
pid_t cluster_pid(const struct cluster *c, const char *name);
void cluster_signal(struct cluster *c, const char *name, int signal); /* KILL waits for the end */
bool cluster_gone(const struct cluster *c, const char *name, usec_t limit); /* its process ended */
/* Waits for the end; its exit code (137 = SIGKILL). */
int cluster_exit(const struct cluster *c, const char *name, usec_t limit);
bool cluster_ready(const struct cluster *c, const char *name, usec_t limit);
unsigned cluster_health(const struct cluster *c, const char *name, const char *path,
                        char **ret_body);
void cluster_pg(struct cluster *c, const char *verb); /* stop, run, crash */
const char *cluster_dsn(const struct cluster *c, const char *database,
                        char buf[static 256]);                /* as postgres */
char *cluster_log(const struct cluster *c, const char *name); /* heap */

/* The command, words split at blanks; exit code; output (heap) unless NULL. */
int cluster_fleetcast(struct cluster *c, char **ret_output, const char *words);
void cluster_campaign(struct cluster *c); /* starts "hello" */
/* POST to the provider's /control; its answer's number `name`. */
long cluster_control(struct cluster *c, const char *json, const char *name);
/* Until the provider took at least `count` messages. */
void cluster_taken(struct cluster *c, uint64_t count, usec_t limit);
/* Receipts so far whose token is of `partition`; *ret_last = BOOTTIME of the newest first byte. */
uint64_t cluster_receipts(struct cluster *c, const char *partition, usec_t *ret_last);
/* Until nothing waits any more (audience accounted for). */
void cluster_finished(struct cluster *c, usec_t limit);
/* Exports, audits (with the silences, direct messages, enrolments and older content that the calls
 * below left), and asserts that there is no offence; details go to stderr. */
struct audit_result cluster_audit(struct cluster *c);
/* The same in the middle: exactly so many messages are due and were never received. */
struct audit_result cluster_audit_waiting(struct cluster *c, uint64_t waiting);
void cluster_verify(struct cluster *c); /* exit code 0 */
/* Until the database of no partition holds a row or a trigger of an active source. */
void cluster_settles(struct cluster *c, usec_t limit);
/* The end of a test: settles, counts that sum, the audit in which only what is not due yet waits,
 * and verify. */
struct audit_result cluster_ends(struct cluster *c);
/* Writes a file of the cluster's directory. */
void cluster_put(const struct cluster *c, const char *name, const char *text);

/* ---- cluster_orders.c: what the audit must know of, too ---- */

/* Runs the command, which must end with `code`. */
void cluster_must(struct cluster *c, int code, const char *words);
/* The same for words made by `format`; `word` stands in stdout or stderr, which come together. */
void cluster_expect(struct cluster *c, int code, const char *word, const char *format, ...)
    _printf_(4, 5);
json_t *cluster_json(struct cluster *c, const char *words); /* its --format json, exit code 0 */
/* As cluster_must with code 0; from its end on nothing of `kind` and `what` (audit.h) may start. */
void cluster_silence(struct cluster *c, const char *kind, const char *what, const char *words);
/* As cluster_must with code 0; what cluster_silence said of it held until the command began. */
void cluster_reopen(struct cluster *c, const char *kind, const char *what, const char *words);
/* A direct message that must be accepted: text without blanks, one for a device and number. */
void cluster_direct(struct cluster *c, unsigned device, const char *phone, const char *text);
void cluster_enrol(struct cluster *c, unsigned device, const char *phone, const char *sequence);
/* "hello,cold": the sources that were started; all others are nobody's wish. */
void cluster_started(struct cluster *c, const char *sources);
/* New content instead of the old, which the audit still knows; mode "new", "all" or NULL. */
void cluster_edit(struct cluster *c, const char *content, const char *mode);
struct cluster_counts {
    int64_t audience, sent, waiting, unknown, failed, skipped, expired, cancelled, not_in_audience;
    char state[24];
};
/* One look at `status`: every source's counts must sum to its audience. Those of `source` (zero
 * when there is none). */
struct cluster_counts cluster_look(struct cluster *c, const char *source);
int64_t cluster_sql(struct cluster *c, const char *database, const char *sql); /* one number */
uint64_t cluster_memory(const struct cluster *c, const char *name);            /* resident bytes */
#define CLUSTER_NAME_BYTES 16

/* A case of its own for each test: CK_RUN_CASE=name runs one. `away` frees its cluster. */
#define cluster_case(suite, name, away)                                                            \
    do {                                                                                           \
        TCase *t_ = tcase_create(#name);                                                           \
        tcase_set_timeout(t_, 180);                                                                \
        tcase_add_checked_fixture(t_, NULL, away);                                                 \
        tcase_add_test(t_, name);                                                                  \
        suite_add_tcase(suite, t_);                                                                \
    } while (0)
