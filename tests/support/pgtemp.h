/*
 * pgtemp.h - a private PostgreSQL for one test program, and plain sessions on it.
 *
 * Starts clusters with tests/support/pg in a fresh directory under /tmp; each is stopped and
 * removed when the process that started it and all its forks are gone, however they went. Anything
 * that fails ends the process (Check counts it as a failed test) and says on stderr what PostgreSQL
 * said: helpers here never return an error. May be used outside of tests, too.
 */
#pragma once
#include <libpq-fe.h>

#include "shared/base.h"

#define PGTEMP_DSN_MAX 256u

struct pgtemp;

/* `databases` is NULL-terminated; FLEETCAST_SOURCE names the source tree (meson sets it). */
struct pgtemp *pgtemp_start(const char *const *databases);
struct pgtemp *pgtemp_free(struct pgtemp *p); /* stops and removes; NULL is fine */
const char *pgtemp_dir(const struct pgtemp *p);
/* "host=DIR dbname=DB user=USER" into buf; user NULL = postgres. Returns buf. */
const char *pgtemp_dsn(const struct pgtemp *p, const char *database, const char *user,
                       char buf[static PGTEMP_DSN_MAX]);
void pgtemp_stop(struct pgtemp *p);
void pgtemp_crash(struct pgtemp *p); /* SIGKILL to all of it */
void pgtemp_run(struct pgtemp *p);   /* again, after stop or crash */

/* Plain sessions. */
PGconn *pgtemp_open(const struct pgtemp *p, const char *database, const char *user);
/* `database` made anew as a copy of `like`, which nobody may have open. */
PGconn *pgtemp_anew(const struct pgtemp *p, const char *database, const char *like);
/* Runs statements that must succeed. */
void pgtemp_do(PGconn *c, const char *sql, ...) _printf_(2, 3);
/* Runs them expecting an error; returns its SQLSTATE ("" when none came) until the next call. */
const char *pgtemp_refused(PGconn *c, const char *sql, ...) _printf_(2, 3);
/* First column of the one row; text lives until the next pgtemp call. "" for NULL or no row. */
const char *pgtemp_text(PGconn *c, const char *sql, ...) _printf_(2, 3);
int64_t pgtemp_int(PGconn *c, const char *sql, ...) _printf_(2, 3);
/* Sends without waiting (a statement that will block); pgtemp_wait takes its end. */
void pgtemp_send(PGconn *c, const char *sql);
void pgtemp_wait(PGconn *c);
/*
 * Returns when backend `pid` waits for a lock; asks through `c`, at most 10 s, in a busy loop of
 * server round trips (no sleep). For the order of two-session tests.
 */
void pgtemp_wait_blocked(PGconn *c, int pid);
