/*
 * cluster.h - a whole Fleetcast of real processes for one test: PostgreSQL, provider, coordinator,
 * nodes.
 *
 * Uses tests/support/cluster (the script that the quickstart uses too). Everything fails the
 * running Check test with words when it cannot do its work; cluster_free always ends what was
 * started.
 */
#pragma once
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
/* Exports, audits, and asserts that there is no offence; details go to stderr. */
struct audit_result cluster_audit(struct cluster *c);
#define CLUSTER_NAME_BYTES 16
