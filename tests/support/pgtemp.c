/* Private PostgreSQL clusters for tests: runs tests/support/pg and cleans up after itself. */
#include "tests/support/pgtemp.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "shared/clock.h"

extern char **environ;

struct pgtemp {
    char dir[64];
    int lifeline; /* closes when this process and its forks are gone */
};

/* Not Check's assertions: those work inside tests only, and main starts clusters. */
static void _printf_(2, 3) must(bool good, const char *format, ...)
{
    va_list args;

    if (good)
        return;
    va_start(args, format);
    fputs("pgtemp: ", stderr);
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
    va_end(args);
    exit(EXIT_FAILURE);
}

static int
pg(const char *verb, const char *dir, const char *const *more)
{
    const char *source = getenv("FLEETCAST_SOURCE");
    char script[4096];
    const char *argv[32] = {script, verb, dir};
    unsigned n = 3;
    pid_t child;
    int status;

    snprintf(script, sizeof(script), "%s/tests/support/pg", source ? source : ".");
    for (; more && *more; more++) {
        must(n < ARRAY_SIZE(argv) - 1, "too many arguments");
        argv[n++] = *more;
    }
    if (posix_spawn(&child, script, NULL, NULL, (char *const *) argv, environ) != 0)
        return -ENOENT;
    while (waitpid(child, &status, 0) < 0)
        if (errno != EINTR)
            return -errno;
    return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? 0 : -EIO;
}

static int
remove_one(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
    return remove(path);
}

static void
discard(struct pgtemp *p)
{
    static const char *const immediate[] = {"immediate", NULL};

    if (pg("stop", p->dir, immediate) < 0)
        fprintf(stderr, "pgtemp: %s still runs\n", p->dir);
    nftw(p->dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

/*
 * A process that outlives us and cleans up when we are gone, however we went: a failed assertion
 * leaves by _exit, a time limit by SIGKILL. It sees the pipe end when the last of our forks ends.
 */
static void
leave_a_reaper(struct pgtemp *p)
{
    int ends[2];
    char byte;

    must(pipe2(ends, O_CLOEXEC) == 0, "pipe: %s", strerror(errno));
    pid_t child = fork();
    must(child >= 0, "fork: %s", strerror(errno));
    if (child == 0) {
        int nothing = open("/dev/null", O_RDWR);

        setsid(); /* Ctrl-C and the harness' kill are for the test */
        for (int fd = 0; fd < 3; fd++)
            dup2(nothing, fd);
        close(ends[1]);
        while (read(ends[0], &byte, 1) < 0 && errno == EINTR)
            ;
        discard(p);
        _exit(0);
    }
    close(ends[0]);
    p->lifeline = ends[1];
}

struct pgtemp *
pgtemp_start(const char *const *databases)
{
    struct pgtemp *p = calloc(1, sizeof(*p));

    must(p != NULL, "out of memory");
    snprintf(p->dir, sizeof(p->dir), "/tmp/fleetcast-pg.XXXXXX");
    must(mkdtemp(p->dir) != NULL, "mkdtemp: %s", strerror(errno));
    leave_a_reaper(p);
    must(pg("start", p->dir, databases) == 0, "PostgreSQL did not start in %s", p->dir);
    return p;
}

struct pgtemp *
pgtemp_free(struct pgtemp *p)
{
    if (!p)
        return NULL;
    discard(p);
    close(p->lifeline); /* the reaper finds nothing */
    free(p);
    return NULL;
}

const char *
pgtemp_dir(const struct pgtemp *p)
{
    return p->dir;
}

const char *
pgtemp_dsn(const struct pgtemp *p, const char *database, const char *user,
           char buf[static PGTEMP_DSN_MAX])
{
    snprintf(buf, PGTEMP_DSN_MAX, "host=%s dbname=%s user=%s", p->dir, database,
             user ? user : "postgres");
    return buf;
}

void
pgtemp_stop(struct pgtemp *p)
{
    must(pg("stop", p->dir, NULL) == 0, "pg stop %s", p->dir);
}

void
pgtemp_crash(struct pgtemp *p)
{
    must(pg("crash", p->dir, NULL) == 0, "pg crash %s", p->dir);
}

void
pgtemp_run(struct pgtemp *p)
{
    must(pg("run", p->dir, NULL) == 0, "pg run %s", p->dir);
}

PGconn *
pgtemp_open(const struct pgtemp *p, const char *database, const char *user)
{
    char dsn[PGTEMP_DSN_MAX];
    PGconn *c = PQconnectdb(pgtemp_dsn(p, database, user, dsn));

    must(PQstatus(c) == CONNECTION_OK, "%s: %s", dsn, PQerrorMessage(c));
    return c;
}

static PGresult *
run(PGconn *c, const char *format, va_list args)
{
    char sql[16384];
    int n = vsnprintf(sql, sizeof(sql), format, args);

    must(n >= 0 && (size_t) n < sizeof(sql), "statement too long");
    return PQexec(c, sql);
}

static bool
went_well(const PGresult *r)
{
    ExecStatusType s = PQresultStatus(r);

    return s == PGRES_COMMAND_OK || s == PGRES_TUPLES_OK || s == PGRES_EMPTY_QUERY;
}

void
pgtemp_do(PGconn *c, const char *sql, ...)
{
    va_list args;

    va_start(args, sql);
    PGresult *r = run(c, sql, args);
    va_end(args);
    must(went_well(r), "%s: %s", sql, PQerrorMessage(c));
    PQclear(r);
}

const char *
pgtemp_refused(PGconn *c, const char *sql, ...)
{
    static char state[6];
    va_list args;

    va_start(args, sql);
    PGresult *r = run(c, sql, args);
    va_end(args);
    const char *code = went_well(r) ? "" : PQresultErrorField(r, PG_DIAG_SQLSTATE);
    snprintf(state, sizeof(state), "%s", code ? code : "08000");
    PQclear(r);
    return state;
}

static const char *
one_value(PGconn *c, const char *sql, va_list args)
{
    static char text[65536];
    PGresult *r = run(c, sql, args);

    must(PQresultStatus(r) == PGRES_TUPLES_OK, "%s: %s", sql, PQerrorMessage(c));
    snprintf(text, sizeof(text), "%s", PQntuples(r) > 0 ? PQgetvalue(r, 0, 0) : "");
    PQclear(r);
    return text;
}

const char *
pgtemp_text(PGconn *c, const char *sql, ...)
{
    va_list args;

    va_start(args, sql);
    const char *text = one_value(c, sql, args);
    va_end(args);
    return text;
}

int64_t
pgtemp_int(PGconn *c, const char *sql, ...)
{
    va_list args;
    long long value;
    char rest;

    va_start(args, sql);
    const char *text = one_value(c, sql, args);
    va_end(args);
    must(sscanf(text, "%lld%c", &value, &rest) == 1, "%s: \"%s\" is no number", sql, text);
    return value;
}

void
pgtemp_send(PGconn *c, const char *sql)
{
    must(PQsendQuery(c, sql), "%s: %s", sql, PQerrorMessage(c));
}

void
pgtemp_wait(PGconn *c)
{
    PGresult *r;

    while ((r = PQgetResult(c))) {
        must(went_well(r), "%s", PQerrorMessage(c));
        PQclear(r);
    }
}

void
pgtemp_wait_blocked(PGconn *c, int pid)
{
    usec_t end = clock_boot() + 10 * USEC_PER_SEC;

    while (pgtemp_int(c, "SELECT count(*) FROM pg_locks WHERE pid = %d AND NOT granted", pid) == 0)
        must(clock_boot() < end, "backend %d did not come to wait for a lock", pid);
}

PGconn *
pgtemp_anew(const struct pgtemp *p, const char *database, const char *like)
{
    PGconn *maker = pgtemp_open(p, "postgres", NULL);
    pgtemp_do(maker, "DROP DATABASE IF EXISTS %s WITH (FORCE)", database);
    pgtemp_do(maker, "CREATE DATABASE %s TEMPLATE %s", database, like);
    PQfinish(maker);
    return pgtemp_open(p, database, NULL);
}
