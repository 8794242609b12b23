/* fleetcast-schema: brings a catalog's or a partition's database to the version of its files. */
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <getopt.h>
#include <libpq-fe.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "shared/base.h"

#define FILE_BYTES_MAX (1024u * 1024u)

/* DESIGN §10 */
enum { EXIT_DONE = 0, EXIT_FAILED = 1, EXIT_USAGE = 2, EXIT_PENDING = 3, EXIT_REFUSED = 4 };

/* Held by whoever migrates this database; not the lock of DESIGN §4.2, which comes per migration.
 */
#define MIGRATION_LOCK "7205759403792793600"

struct migration {
    char *file; /* "001_tables.sql" */
    char *sql;
};

struct run {
    const char *kind; /* "catalog" or "partition" */
    const char *name; /* of the partition; "" for a catalog */
    const char *dsn;
    const char *dir;
    bool check;
    struct migration *migrations; /* index + 1 = version */
    unsigned count;
    PGconn *conn;
};

static const char usage[] =
    "usage: fleetcast-schema catalog --dsn DSN [--dir DIR] [--check]\n"
    "       fleetcast-schema partition NAME --dsn DSN [--dir DIR] [--check]\n"
    "\n"
    "Applies DIR/catalog/NNN_*.sql or DIR/partition/NNN_*.sql (default DIR: " FLEETCAST_SCHEMA_DIR
    ")\n"
    "that the database does not have yet, in order, one transaction each. Running it twice, or\n"
    "from two places at once, is safe. A password belongs into the DSN's passfile.\n"
    "\n"
    "  --check    only tell both versions\n"
    "exit code: 0 up to date, 1 failed, 2 usage, 3 --check found pending migrations,\n"
    "           4 refused (a changed file, a newer database, another partition's database)\n";

static int
fail(int code, const char *subject, const char *why)
{
    size_t length = strlen(why);

    if (length > 0 && why[length - 1] == '\n') /* libpq ends its texts so */
        length--;
    fprintf(stderr, "fleetcast-schema: %s: %.*s\n", subject, (int) length, why);
    return code;
}

/* ---- the files ---- */

static bool
is_migration_name(const char *name)
{
    size_t n = strlen(name);

    if (n < 9 || strcmp(name + n - 4, ".sql") != 0 || name[3] != '_')
        return false;
    return isdigit((unsigned char) name[0]) && isdigit((unsigned char) name[1]) &&
           isdigit((unsigned char) name[2]);
}

static unsigned
version_of(const char *file)
{
    return (unsigned) ((file[0] - '0') * 100 + (file[1] - '0') * 10 + (file[2] - '0'));
}

static int
choose_sql(const struct dirent *e)
{
    size_t n = strlen(e->d_name);

    return n > 4 && strcmp(e->d_name + n - 4, ".sql") == 0;
}

/* Whole text of DIR/kind/file, or NULL (said on stderr). */
static char *
read_file(const struct run *run, const char *file)
{
    char path[4096];
    char *text = malloc(FILE_BYTES_MAX + 1);

    snprintf(path, sizeof(path), "%s/%s/%s", run->dir, run->kind, file);
    FILE *f = text ? fopen(path, "r") : NULL;
    size_t n = f ? fread(text, 1, FILE_BYTES_MAX + 1, f) : 0;
    bool whole = f && !ferror(f) && n <= FILE_BYTES_MAX && memchr(text, 0, n) == NULL;

    if (!whole)
        fail(EXIT_FAILED, path, f && !ferror(f) ? "too long, or has NUL bytes" : strerror(errno));
    if (f)
        fclose(f);
    if (!whole) {
        free(text);
        return NULL;
    }
    text[n] = '\0';
    return text;
}

/* Versions count from 1 without a hole, so that "newer" is a comparison of two numbers. */
static int
add_migration(struct run *run, const char *file)
{
    if (!is_migration_name(file) || version_of(file) != run->count + 1)
        return fail(EXIT_FAILED, file,
                    "expected NNN_name.sql, numbered 001, 002, ... without a hole");
    struct migration *m = &run->migrations[run->count];

    m->sql = read_file(run, file);
    m->file = strdup(file);
    run->count++;
    return m->sql && m->file ? EXIT_DONE : EXIT_FAILED;
}

static int
load_migrations(struct run *run)
{
    char path[4096];
    struct dirent **entries;

    snprintf(path, sizeof(path), "%s/%s", run->dir, run->kind);
    int n = scandir(path, &entries, choose_sql, alphasort);
    if (n < 0)
        return fail(EXIT_FAILED, path, strerror(errno));
    run->migrations = calloc((size_t) n + 1, sizeof(*run->migrations));
    int code = run->migrations ? EXIT_DONE : EXIT_FAILED;
    for (int i = 0; i < n; i++) {
        if (code == EXIT_DONE)
            code = add_migration(run, entries[i]->d_name);
        free(entries[i]);
    }
    free(entries);
    if (code == EXIT_DONE && run->count == 0)
        return fail(EXIT_FAILED, path, "no migrations there");
    return code;
}

static void
free_migrations(struct run *run)
{
    for (unsigned i = 0; i < run->count; i++) {
        free(run->migrations[i].file);
        free(run->migrations[i].sql);
    }
    free(run->migrations);
}

/* ---- the database ---- */

/* Runs one or more statements without parameters; false: said on stderr. */
static bool
execute(struct run *run, const char *subject, const char *sql)
{
    PGresult *r = PQexec(run->conn, sql);
    ExecStatusType status = PQresultStatus(r);
    bool done = status == PGRES_COMMAND_OK || status == PGRES_TUPLES_OK;

    if (!done)
        fail(EXIT_FAILED, subject, PQerrorMessage(run->conn));
    PQclear(r);
    return done;
}

/* One statement with text parameters; NULL: said on stderr. */
static PGresult *
query(struct run *run, const char *subject, const char *sql, int count, const char *const *values)
{
    PGresult *r = PQexecParams(run->conn, sql, count, NULL, values, NULL, NULL, 0);
    ExecStatusType status = PQresultStatus(r);

    if (status == PGRES_COMMAND_OK || status == PGRES_TUPLES_OK)
        return r;
    fail(EXIT_FAILED, subject, PQerrorMessage(run->conn));
    PQclear(r);
    return NULL;
}

/* The first value as a copy, "" when there is no row; NULL: said on stderr. */
static char *
query_text(struct run *run, const char *subject, const char *sql, int count,
           const char *const *values)
{
    PGresult *r = query(run, subject, sql, count, values);

    if (!r)
        return NULL;
    char *text = strdup(PQntuples(r) > 0 ? PQgetvalue(r, 0, 0) : "");
    PQclear(r);
    if (!text)
        fail(EXIT_FAILED, subject, "out of memory");
    return text;
}

static int
open_database(struct run *run)
{
    const char *const keywords[] = {"dbname",          "application_name",     "client_encoding",
                                    "connect_timeout", "target_session_attrs", NULL};
    const char *const values[] = {run->dsn, "fleetcast-schema", "UTF8", "10", "read-write", NULL};

    run->conn = PQconnectdbParams(keywords, values, 1);
    if (PQstatus(run->conn) != CONNECTION_OK)
        return fail(EXIT_FAILED, "connect", PQerrorMessage(run->conn));
    /* Whoever comes second waits here, for as long as the first needs. */
    const char *const name[] = {run->name};
    PGresult *r =
        execute(run, "session", "SET client_min_messages = warning") &&
                execute(run, "session", "SET default_transaction_isolation = 'read committed'") &&
                execute(run, "lock", "SELECT pg_advisory_lock(" MIGRATION_LOCK ")") &&
                execute(run, "session", "SET lock_timeout = '10s'")
            ? query(run, "session", "SELECT set_config('fleetcast.partition', $1, false)", 1, name)
            : NULL;
    PQclear(r);
    return r ? EXIT_DONE : EXIT_FAILED;
}

/* A catalog has no owner row, a partition's names it: either way this must be its database. */
static int
check_identity(struct run *run)
{
    const char *const kind_sql =
        "SELECT CASE WHEN to_regclass('public.owner') IS NOT NULL THEN 'partition'"
        "            WHEN to_regclass('public.coordinator') IS NOT NULL THEN 'catalog' END";
    char why[256];
    char *kind = query_text(run, "identity", kind_sql, 0, NULL);
    char *name = NULL;
    int code = kind ? EXIT_DONE : EXIT_FAILED;

    if (code == EXIT_DONE && *kind && strcmp(kind, run->kind) != 0) {
        snprintf(why, sizeof(why), "this database is a %s", kind);
        code = fail(EXIT_REFUSED, run->kind, why);
    } else if (code == EXIT_DONE && strcmp(kind, "partition") == 0) {
        name = query_text(run, "identity", "SELECT partition FROM owner", 0, NULL);
        if (!name)
            code = EXIT_FAILED;
        else if (strcmp(name, run->name) != 0) {
            snprintf(why, sizeof(why), "this database is partition \"%s\"", name);
            code = fail(EXIT_REFUSED, run->name, why);
        }
    }
    free(kind);
    free(name);
    return code;
}

/* Each recorded version must be a file here, unchanged. */
static int
check_history(struct run *run, unsigned *ret_version)
{
    const char *const exists = "SELECT to_regclass('public.schema_version') IS NOT NULL";
    const char *const same = "SELECT checksum = encode(sha256(convert_to($2, 'UTF8')), 'hex')"
                             "  FROM schema_version WHERE version = $1::int";
    char *there = query_text(run, "schema_version", exists, 0, NULL);
    bool empty = there && strcmp(there, "t") != 0;

    free(there);
    if (!there)
        return EXIT_FAILED;
    *ret_version = 0;
    if (empty)
        return EXIT_DONE;
    PGresult *r =
        query(run, "schema_version", "SELECT version FROM schema_version ORDER BY 1", 0, NULL);
    if (!r)
        return EXIT_FAILED;
    unsigned recorded = (unsigned) PQntuples(r);
    PQclear(r);
    if (recorded > run->count)
        return fail(EXIT_REFUSED, run->kind, "the database is newer than these files");
    for (unsigned i = 0; i < recorded; i++) {
        char version[16];

        snprintf(version, sizeof(version), "%u", i + 1);
        const char *const values[] = {version, run->migrations[i].sql};
        char *match = query_text(run, "schema_version", same, 2, values);
        bool good = match && strcmp(match, "t") == 0;

        free(match);
        if (!match)
            return EXIT_FAILED;
        if (!good)
            return fail(EXIT_REFUSED, run->migrations[i].file,
                        "changed since it was applied (write a new migration instead)");
    }
    *ret_version = recorded;
    return EXIT_DONE;
}

/* ---- applying ---- */

static bool
begin(struct run *run, const char *subject)
{
    /* The exclusive lock in a statement of its own (DESIGN §4.2), once there is one to take; then
       as the schema's owner, once it has one, so that everything new belongs to it. */
    return execute(run, subject, "BEGIN") &&
           execute(run, subject,
                   "DO $$ BEGIN IF to_regprocedure('public.fleetcast_lock()') IS NOT NULL THEN"
                   " PERFORM pg_advisory_xact_lock(public.fleetcast_lock()); END IF; END $$") &&
           execute(run, subject,
                   "CREATE TABLE IF NOT EXISTS public.schema_version ("
                   " version int PRIMARY KEY, name text NOT NULL, checksum text NOT NULL,"
                   " applied_at timestamptz NOT NULL DEFAULT now())") &&
           execute(run, subject,
                   "SELECT set_config('role', pg_get_userbyid(relowner), true)"
                   " FROM pg_class WHERE oid = 'public.schema_version'::regclass");
}

static int
apply(struct run *run, unsigned version)
{
    const char *const record = "INSERT INTO schema_version (version, name, checksum) VALUES"
                               " ($1::int, $2, encode(sha256(convert_to($3, 'UTF8')), 'hex'))";
    const struct migration *m = &run->migrations[version - 1];
    char number[16];

    snprintf(number, sizeof(number), "%u", version);
    const char *const values[] = {number, m->file, m->sql};
    if (!begin(run, m->file) || !execute(run, m->file, m->sql))
        return EXIT_FAILED; /* the transaction ends with the connection */
    PGresult *r = query(run, m->file, record, 3, values);
    if (!r)
        return EXIT_FAILED;
    PQclear(r);
    if (!execute(run, m->file, "COMMIT"))
        return EXIT_FAILED;
    printf("applied %s/%s\n", run->kind, m->file);
    return EXIT_DONE;
}

static int
migrate(struct run *run)
{
    unsigned version = 0;
    int code = load_migrations(run);

    if (code == EXIT_DONE)
        code = open_database(run);
    if (code == EXIT_DONE)
        code = check_identity(run);
    if (code == EXIT_DONE)
        code = check_history(run, &version);
    if (code != EXIT_DONE)
        return code;
    if (run->check) {
        printf("database %u, files %u\n", version, run->count);
        return version < run->count ? EXIT_PENDING : EXIT_DONE;
    }
    while (code == EXIT_DONE && version < run->count)
        code = apply(run, ++version);
    if (code == EXIT_DONE)
        printf("%s%s%s is at version %u\n", run->kind, *run->name ? " " : "", run->name, version);
    return code;
}

/* ---- the command line ---- */

static int
parse_arguments(struct run *run, int argc, char **argv)
{
    static const struct option options[] = {{"dsn", required_argument, NULL, 'd'},
                                            {"dir", required_argument, NULL, 'D'},
                                            {"check", no_argument, NULL, 'c'},
                                            {"help", no_argument, NULL, 'h'},
                                            {"version", no_argument, NULL, 'v'},
                                            {NULL, 0, NULL, 0}};

    for (int c; (c = getopt_long(argc, argv, "h", options, NULL)) != -1;)
        switch (c) {
        case 'd': run->dsn = optarg; break;
        case 'D': run->dir = optarg; break;
        case 'c': run->check = true; break;
        case 'h': fputs(usage, stdout); exit(EXIT_DONE);
        case 'v': puts("fleetcast-schema " FLEETCAST_VERSION); exit(EXIT_DONE);
        default: return EXIT_USAGE;
        }
    int words = argc - optind;

    if (words == 1 && strcmp(argv[optind], "catalog") == 0)
        run->kind = "catalog";
    else if (words == 2 && strcmp(argv[optind], "partition") == 0) {
        run->kind = "partition";
        run->name = argv[optind + 1];
    }
    return run->kind && run->dsn ? EXIT_DONE : EXIT_USAGE;
}

int
main(int argc, char **argv)
{
    struct run run = {.name = "", .dir = FLEETCAST_SCHEMA_DIR};
    int code = parse_arguments(&run, argc, argv);

    if (code == EXIT_USAGE) {
        fputs(usage, stderr);
        return EXIT_USAGE;
    }
    setvbuf(stdout, NULL, _IOLBF, 0);
    code = migrate(&run);
    PQfinish(run.conn);
    free_migrations(&run);
    return code;
}
