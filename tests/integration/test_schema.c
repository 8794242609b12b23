/* fleetcast-schema and its migrations: order, refusals, two at once, rights, days, the view. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "shared/clock.h"
#include "tests/support/pgtemp.h"
#include "tests/support/process.h"

enum { DONE = 0, FAILED = 1, USAGE = 2, PENDING = 3, REFUSED = 4 };
#define LAST_VERSION 6

static struct pgtemp *pg;
static char source_dir[4096]; /* the tree's schema/ */

/* ---- running it ---- */

static const char *
program(void)
{
    static char path[4096];
    const char *build = getenv("FLEETCAST_BUILD");

    snprintf(path, sizeof(path), "%s/schema/fleetcast-schema", build ? build : ".");
    return path;
}

/* `name` NULL = catalog; extra NULL or "--check". Output in a buffer of its own. */
static int
schema_as(const struct pgtemp *p, const char *name, const char *database, const char *user,
          const char *dir, const char *extra, const char *expected_text)
{
    char dsn[PGTEMP_DSN_MAX], *output = NULL;
    const char *argv[10] = {program()};
    unsigned n = 1;

    argv[n++] = name ? "partition" : "catalog";
    if (name)
        argv[n++] = name;
    argv[n++] = "--dsn";
    argv[n++] = pgtemp_dsn(p, database, user, dsn);
    argv[n++] = "--dir";
    argv[n++] = dir;
    argv[n] = extra;
    int code = process_run(argv, &output);
    if (expected_text)
        ck_assert_msg(strstr(output, expected_text) != NULL, "\"%s\" is not in: %s", expected_text,
                      output);
    free(output);
    return code;
}

static int
schema(const char *name, const char *database, const char *dir, const char *expected_text)
{
    return schema_as(pg, name, database, NULL, dir, NULL, expected_text);
}

/* The same in a child, for what has to wait. */
static pid_t
schema_begin(const struct pgtemp *p, const char *name, const char *database, const char *dir)
{
    pid_t child = fork();

    ck_assert_int_ge(child, 0);
    if (child == 0)
        _exit(schema_as(p, name, database, NULL, dir, NULL, NULL));
    return child;
}

static int
schema_end(pid_t child)
{
    int status;

    ck_assert_int_eq(waitpid(child, &status, 0), child);
    ck_assert(WIFEXITED(status));
    return WEXITSTATUS(status);
}

/* Returns when `count` sessions of fleetcast-schema wait for a lock. */
static void
wait_blocked(PGconn *c, unsigned count)
{
    usec_t end = clock_boot() + 20 * USEC_PER_SEC;

    while (pgtemp_int(c, "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
                         " AND application_name = 'fleetcast-schema'") < count)
        ck_assert_msg(clock_boot() < end, "nothing waits");
}

/* A fresh empty database; its name lives until the next call. */
static const char *
fresh(const char *name)
{
    PGconn *c = pgtemp_open(pg, "postgres", NULL);

    pgtemp_do(c, "CREATE DATABASE %s TEMPLATE template0", name);
    PQfinish(c);
    return name;
}

static PGconn *
open_as(const char *database, const char *user)
{
    return pgtemp_open(pg, database, user);
}

static void
copy_tree(char dir[static 64])
{
    snprintf(dir, 64, "/tmp/fleetcast-schema.XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(dir));
    ck_assert_int_eq(process_run((const char *[]){"/bin/cp", "-r", source_dir, dir, NULL}, NULL),
                     0);
    strncat(dir, "/schema", 64 - strlen(dir) - 1);
}

static void
remove_tree(char *dir)
{
    *strrchr(dir, '/') = '\0';
    ck_assert_int_eq(process_run((const char *[]){"/bin/rm", "-rf", dir, NULL}, NULL), 0);
}

static void
write_file(const char *dir, const char *file, const char *mode, const char *sql)
{
    char path[4096];

    snprintf(path, sizeof(path), "%s/%s", dir, file);
    FILE *f = fopen(path, mode);
    ck_assert_ptr_nonnull(f);
    ck_assert_int_ge(fputs(sql, f), 0);
    ck_assert_int_eq(fclose(f), 0);
}

/* ---- refusals ---- */

START_TEST(wrong_words_are_usage)
{
    const char *p = program();

    ck_assert_int_eq(process_run((const char *[]){p, NULL}, NULL), USAGE);
    ck_assert_int_eq(process_run((const char *[]){p, "catalog", NULL}, NULL), USAGE);
    ck_assert_int_eq(process_run((const char *[]){p, "partition", "--dsn", "x", NULL}, NULL),
                     USAGE);
    ck_assert_int_eq(process_run((const char *[]){p, "catalog", "--dsn", "x", "--wrong", NULL},
                                 NULL),
                     USAGE);
    ck_assert_int_eq(process_run((const char *[]){p, "--help", NULL}, NULL), DONE);
    ck_assert_int_eq(process_run((const char *[]){p, "--version", NULL}, NULL), DONE);
    ck_assert_int_eq(schema("x1", "postgres", "/nowhere", "/nowhere/partition"), FAILED);
    ck_assert_int_eq(schema("Upper", fresh("names"), source_dir, "owner_partition_check"), FAILED);
    ck_assert_int_eq(schema("x1", "no_such_database", source_dir, "no_such_database"), FAILED);
}
END_TEST

START_TEST(another_databases_schema_is_refused)
{
    const char *db = fresh("wrong");

    ck_assert_int_eq(schema("p1", db, source_dir, NULL), DONE);
    ck_assert_int_eq(schema("p2", db, source_dir, "this database is partition \"p1\""), REFUSED);
    ck_assert_int_eq(schema(NULL, db, source_dir, "this database is a partition"), REFUSED);
    PGconn *c = open_as(db, NULL);
    ck_assert_str_eq(pgtemp_text(c, "SELECT partition FROM owner"), "p1");
    PQfinish(c);
    db = fresh("wrong_catalog");
    ck_assert_int_eq(schema(NULL, db, source_dir, NULL), DONE);
    ck_assert_int_eq(schema("p1", db, source_dir, "this database is a catalog"), REFUSED);
}
END_TEST

START_TEST(a_changed_file_is_refused)
{
    const char *db = fresh("changed");
    char dir[64];

    copy_tree(dir);
    ck_assert_int_eq(schema("p1", db, dir, NULL), DONE);
    write_file(dir, "partition/001_tables.sql", "a", "-- a word more\n");
    write_file(dir, "partition/007_more.sql", "w", "CREATE TABLE more(x int);\n");
    ck_assert_int_eq(schema("p1", db, dir, "001_tables.sql: changed since it was applied"),
                     REFUSED);
    PGconn *c = open_as(db, NULL);
    ck_assert_str_eq(pgtemp_text(c, "SELECT to_regclass('more')"), "");
    ck_assert_int_eq(pgtemp_int(c, "SELECT max(version) FROM schema_version"), LAST_VERSION);
    PQfinish(c);
    remove_tree(dir);
}
END_TEST

START_TEST(a_newer_database_is_refused)
{
    const char *db = fresh("newer");
    char dir[64];

    copy_tree(dir);
    write_file(dir, "partition/007_more.sql", "w", "CREATE TABLE more(x int);\n");
    ck_assert_int_eq(schema("p1", db, dir, "version 7"), DONE);
    ck_assert_int_eq(schema("p1", db, source_dir, "the database is newer than these files"),
                     REFUSED);
    remove_tree(dir);
}
END_TEST

START_TEST(a_hole_in_the_numbers_applies_nothing)
{
    const char *db = fresh("hole");
    char dir[64];

    copy_tree(dir);
    write_file(dir, "partition/008_late.sql", "w", "SELECT 1;\n");
    ck_assert_int_eq(schema("p1", db, dir, "008_late.sql"), FAILED);
    PGconn *c = open_as(db, NULL);
    ck_assert_str_eq(pgtemp_text(c, "SELECT to_regclass('owner')"), "");
    PQfinish(c);
    remove_tree(dir);
}
END_TEST

START_TEST(a_failing_migration_leaves_nothing_of_itself)
{
    const char *db = fresh("failing");
    char dir[64];

    copy_tree(dir);
    write_file(dir, "partition/007_more.sql", "w", "CREATE TABLE more(x int);\nSELECT 1/0;\n");
    ck_assert_int_eq(schema("p1", db, dir, "division by zero"), FAILED);
    PGconn *c = open_as(db, NULL);
    ck_assert_str_eq(pgtemp_text(c, "SELECT to_regclass('more')"), "");
    ck_assert_int_eq(pgtemp_int(c, "SELECT max(version) FROM schema_version"), LAST_VERSION);
    write_file(dir, "partition/007_more.sql", "w", "CREATE TABLE more(x int);\n");
    ck_assert_int_eq(schema("p1", db, dir, "applied partition/007_more.sql"), DONE);
    /* what is new belongs to the schema's owner, whoever ran it */
    ck_assert_str_eq(pgtemp_text(c, "SELECT tableowner FROM pg_tables WHERE tablename = 'more'"),
                     "fleetcast_owner");
    PQfinish(c);
    remove_tree(dir);
}
END_TEST

/* ---- twice, and two at once ---- */

START_TEST(twice_is_once)
{
    const char *db = fresh("twice");

    ck_assert_int_eq(schema_as(pg, "p1", db, NULL, source_dir, "--check", "database 0, files 6"),
                     PENDING);
    ck_assert_int_eq(schema("p1", db, source_dir, "applied partition/001_tables.sql"), DONE);
    PGconn *c = open_as(db, NULL);
    char first[1024];
    const char *const versions = "SELECT string_agg(v::text, ' ' ORDER BY version)"
                                 " FROM schema_version v";
    snprintf(first, sizeof(first), "%s", pgtemp_text(c, versions));
    ck_assert_int_eq(schema("p1", db, source_dir, "partition p1 is at version 6"), DONE);
    ck_assert_str_eq(pgtemp_text(c, versions), first);
    ck_assert_int_eq(schema_as(pg, "p1", db, NULL, source_dir, "--check", "database 6, files 6"),
                     DONE);
    ck_assert_str_eq(pgtemp_text(c, "SELECT concat_ws(' ', partition, epoch, driver) FROM owner"),
                     "p1 0 ");
    PQfinish(c);
}
END_TEST

START_TEST(two_at_once_are_one)
{
    const char *db = fresh("meeting");
    PGconn *c = open_as(db, NULL), *watcher = open_as(db, NULL);

    /* both are held where each would begin, so that they really meet */
    pgtemp_do(c, "SELECT pg_advisory_lock(7205759403792793600)");
    pid_t a = schema_begin(pg, "p1", db, source_dir), b = schema_begin(pg, "p1", db, source_dir);
    wait_blocked(watcher, 2);
    PQfinish(c);
    ck_assert_int_eq(schema_end(a), DONE);
    ck_assert_int_eq(schema_end(b), DONE);
    ck_assert_int_eq(pgtemp_int(watcher, "SELECT count(*) FROM schema_version"), LAST_VERSION);
    PQfinish(watcher);
}
END_TEST

START_TEST(roles_made_by_another_database_meanwhile_are_taken)
{
    static const char *const databases[] = {"p1", "other", NULL};
    struct pgtemp *p = pgtemp_start(databases);
    PGconn *other = pgtemp_open(p, "other", NULL), *watcher = pgtemp_open(p, "other", NULL);

    pgtemp_do(other, "BEGIN; CREATE ROLE fleetcast_node LOGIN");
    pid_t child = schema_begin(p, "p1", "p1", source_dir);
    wait_blocked(watcher, 1);
    pgtemp_do(other, "COMMIT");
    ck_assert_int_eq(schema_end(child), DONE);
    PQfinish(other);
    PQfinish(watcher);
    pgtemp_free(p);
}
END_TEST

START_TEST(a_migration_waits_for_the_partitions_transactions)
{
    const char *db = fresh("busy");
    char dir[64];

    copy_tree(dir);
    ck_assert_int_eq(schema("p1", db, dir, NULL), DONE);
    write_file(dir, "partition/007_more.sql", "w", "CREATE TABLE more(x int);\n");
    PGconn *tick = open_as(db, "fleetcast_node"), *watcher = open_as(db, NULL);
    pgtemp_do(tick, "BEGIN; SELECT pg_advisory_xact_lock_shared(fleetcast_lock())");
    pid_t child = schema_begin(pg, "p1", db, dir);
    wait_blocked(watcher, 1);
    ck_assert_str_eq(pgtemp_text(watcher, "SELECT to_regclass('more')"), "");
    pgtemp_do(tick, "COMMIT");
    ck_assert_int_eq(schema_end(child), DONE);
    PQfinish(tick);
    PQfinish(watcher);
    remove_tree(dir);
}
END_TEST

START_TEST(a_member_of_the_owner_needs_no_superuser)
{
    PGconn *c = open_as("postgres", NULL);

    ck_assert_int_eq(schema("p0", fresh("with_roles"), source_dir, NULL), DONE);
    ck_assert_int_eq(schema(NULL, fresh("with_roles_too"), source_dir, NULL), DONE);
    pgtemp_do(c, "CREATE ROLE installer LOGIN IN ROLE fleetcast_owner");
    pgtemp_do(c, "CREATE DATABASE theirs OWNER installer TEMPLATE template0");
    pgtemp_do(c, "CREATE DATABASE theirs_too OWNER installer TEMPLATE template0");
    ck_assert_int_eq(schema_as(pg, "p1", "theirs", "installer", source_dir, NULL, "version 6"),
                     DONE);
    ck_assert_int_eq(schema_as(pg, NULL, "theirs_too", "installer", source_dir, NULL, "version 3"),
                     DONE);
    PQfinish(c);
}
END_TEST

/* ---- rights ---- */

static const char no_right[] = "42501";

START_TEST(the_node_writes_rows_and_no_more)
{
    const char *db = fresh("rights_node");

    ck_assert_int_eq(schema("p1", db, source_dir, NULL), DONE);
    PGconn *admin = open_as(db, NULL), *c = open_as(db, "fleetcast_node");
    static const char *const refused[] = {
        "DROP TABLE enrollment",
        "TRUNCATE enrollment",
        "ALTER TABLE enrollment ADD x int",
        "CREATE TABLE mine(x int)",
        "CREATE TEMP TABLE mine(x int)",
        "INSERT INTO owner(one, partition) VALUES (true, 'p2')",
        "DELETE FROM owner",
        "UPDATE message SET state = 1",
        "DELETE FROM message",
        "UPDATE epoch_history SET epoch = 0",
        "DELETE FROM epoch_history",
        "DELETE FROM progress",
        "UPDATE optout SET phone = 0",
        "INSERT INTO schema_version VALUES (99, 'x', 'x')",
    };
    for (size_t i = 0; i < ARRAY_SIZE(refused); i++)
        ck_assert_msg(strcmp(pgtemp_refused(c, "%s", refused[i]), no_right) == 0, "allowed: %s",
                      refused[i]);
    pgtemp_do(c, "UPDATE owner SET epoch = epoch + 1; DELETE FROM enrollment;"
                 "INSERT INTO message VALUES (now(), now(), 1, 0, gen_random_uuid(), 1, 1, 1, 0, 0,"
                 " 1, 0, ''); SELECT * FROM broadcast_messages");
    /* ends its own role's sessions, nobody else's */
    PGconn *twin = open_as(db, "fleetcast_node");
    ck_assert_str_eq(pgtemp_text(c, "SELECT pg_terminate_backend(%d)", PQbackendPID(twin)), "t");
    ck_assert_str_eq(pgtemp_refused(c, "SELECT pg_terminate_backend(%d)", PQbackendPID(admin)),
                     no_right);
    PQfinish(twin);
    PQfinish(c);
    PQfinish(admin);
}
END_TEST

START_TEST(the_peer_reads_optouts_and_the_owner)
{
    const char *db = fresh("rights_peer");

    ck_assert_int_eq(schema("p1", db, source_dir, NULL), DONE);
    PGconn *c = open_as(db, "fleetcast_peer");
    pgtemp_do(c,
              "SELECT number, account, phone FROM optout; SELECT epoch, driver, beat FROM owner");
    static const char *const refused[] = {
        "SELECT * FROM lead",
        "SELECT token FROM device",
        "SELECT * FROM enrollment",
        "INSERT INTO optout(phone, number, account) VALUES (1, 1, 'main')",
        "DELETE FROM optout",
        "UPDATE owner SET epoch = 9",
        "SELECT message_days_make(7)",
        "SELECT message_days_drop(30)",
        "SELECT FROM owner FOR SHARE",
    };
    for (size_t i = 0; i < ARRAY_SIZE(refused); i++)
        ck_assert_msg(strcmp(pgtemp_refused(c, "%s", refused[i]), no_right) == 0, "allowed: %s",
                      refused[i]);
    PQfinish(c);
}
END_TEST

START_TEST(the_coordinator_stays_in_the_catalog)
{
    const char *db = fresh("rights_catalog");
    char dsn[PGTEMP_DSN_MAX];

    ck_assert_int_eq(schema(NULL, db, source_dir, NULL), DONE);
    PGconn *c = open_as(db, "fleetcast_coordinator");
    pgtemp_do(c, "UPDATE coordinator SET term = term + 1;"
                 "INSERT INTO partition(name, home) VALUES ('p1', 'n1');"
                 "INSERT INTO range VALUES (1, 9, 'p1');"
                 "INSERT INTO audit(term, who, what) VALUES (1, 'ops', 'test')");
    ck_assert_str_eq(pgtemp_refused(c, "INSERT INTO range VALUES (5, 6, 'p1')"), "23P01");
    ck_assert_str_eq(pgtemp_refused(c, "INSERT INTO range VALUES (20, 21, 'p9')"), "23503");
    ck_assert_str_eq(pgtemp_refused(c, "DELETE FROM audit"), no_right);
    ck_assert_str_eq(pgtemp_refused(c, "DROP TABLE range"), no_right);
    ck_assert_str_eq(pgtemp_refused(c, "DELETE FROM coordinator"), no_right);
    PQfinish(c);

    ck_assert_int_eq(schema("p1", fresh("rights_border"), source_dir, NULL), DONE);
    c = PQconnectdb(pgtemp_dsn(pg, "rights_border", "fleetcast_coordinator", dsn));
    ck_assert_int_eq(PQstatus(c), CONNECTION_BAD);
    PQfinish(c);
    c = PQconnectdb(pgtemp_dsn(pg, db, "fleetcast_node", dsn));
    ck_assert_int_eq(PQstatus(c), CONNECTION_BAD);
    PQfinish(c);
}
END_TEST

/* ---- message days ---- */

START_TEST(days_are_made_ahead_and_dropped_when_old)
{
    const char *db = fresh("days");
    static const char *const count = "SELECT count(*) FROM pg_inherits"
                                     " WHERE inhparent = 'message'::regclass";

    ck_assert_int_eq(schema("p1", db, source_dir, NULL), DONE);
    PGconn *admin = open_as(db, NULL), *c = open_as(db, "fleetcast_node");
    ck_assert_int_eq(pgtemp_int(c, "%s", count), 9); /* yesterday .. +7 */
    ck_assert_int_eq(pgtemp_int(c, "SELECT message_days_make(7)"), 0);
    ck_assert_int_eq(pgtemp_int(c, "SELECT message_days_make(9)"), 2);
    ck_assert_int_eq(pgtemp_int(c, "SELECT message_days_make(9)"), 0);
    /* each day holds its own UTC day and has the token's index */
    pgtemp_do(admin,
              "INSERT INTO message SELECT t, t, 1, 0, gen_random_uuid(), 1, 1, 1, 0, 0, 1, 0,"
              " '' FROM generate_series(date_trunc('day', now()) - interval '1 day',"
              " date_trunc('day', now()) + interval '9 days 23:59:59', interval '1 hour') t");
    ck_assert_int_eq(pgtemp_int(admin, "SELECT count(*) FROM message WHERE tableoid::regclass::text"
                                       " <> 'message_' || to_char(claimed_at, 'YYYYMMDD')"),
                     0);
    ck_assert_int_eq(pgtemp_int(admin, "SELECT count(*) FROM pg_inherits"
                                       " WHERE inhparent = 'message_token'::regclass"),
                     11);

    pgtemp_do(admin, "SET ROLE fleetcast_owner; CREATE TABLE message_20200101 PARTITION OF message"
                     " FOR VALUES FROM ('2020-01-01') TO ('2020-01-02')");
    pgtemp_do(admin, "SET ROLE fleetcast_owner; CREATE TABLE message_20200102 PARTITION OF message"
                     " FOR VALUES FROM ('2020-01-02') TO ('2020-01-03')");
    ck_assert_str_eq(pgtemp_refused(c, "SELECT message_days_drop(0)"), "22023");
    ck_assert_str_eq(pgtemp_text(c, "SELECT string_agg(d, ' ') FROM message_days_drop(30) d"),
                     "message_20200101 message_20200102");
    ck_assert_int_eq(pgtemp_int(c, "SELECT count(*) FROM message_days_drop(1)"), 0);
    ck_assert_int_eq(pgtemp_int(c, "%s", count), 11);
    PQfinish(c);
    PQfinish(admin);
}
END_TEST

START_TEST(days_do_not_wait_long_for_a_lock)
{
    const char *db = fresh("days_locked");

    ck_assert_int_eq(schema("p1", db, source_dir, NULL), DONE);
    PGconn *admin = open_as(db, NULL), *c = open_as(db, "fleetcast_node");
    pgtemp_do(admin, "SET ROLE fleetcast_owner; CREATE TABLE message_20200101 PARTITION OF message"
                     " FOR VALUES FROM ('2020-01-01') TO ('2020-01-02')");
    pgtemp_do(admin, "RESET ROLE");
    /* a tick writes messages: making goes beside it, dropping gives up and comes again */
    pgtemp_do(admin, "BEGIN; INSERT INTO message VALUES (now(), now(), 1, 0, gen_random_uuid(), 1,"
                     " 1, 1, 0, 0, 1, 0, '')");
    usec_t start = clock_boot();
    ck_assert_int_eq(pgtemp_int(c, "SELECT message_days_make(8)"), 1);
    ck_assert_str_eq(pgtemp_refused(c, "SELECT message_days_drop(30)"), "55P03");
    pgtemp_do(admin, "ROLLBACK; BEGIN; LOCK TABLE message IN SHARE UPDATE EXCLUSIVE MODE");
    ck_assert_str_eq(pgtemp_refused(c, "SELECT message_days_make(9)"), "55P03");
    ck_assert_uint_lt(clock_boot() - start, 3 * USEC_PER_SEC);
    pgtemp_do(admin, "ROLLBACK");
    ck_assert_int_eq(pgtemp_int(c, "SELECT message_days_make(9)"), 1);
    ck_assert_int_eq(pgtemp_int(c, "SELECT count(*) FROM message_days_drop(30)"), 1);
    PQfinish(c);
    PQfinish(admin);
}
END_TEST

/* ---- the view ---- */

START_TEST(broadcast_messages_shows_attempts_and_what_waits)
{
    const char *db = fresh("view");

    ck_assert_int_eq(schema("p1", db, source_dir, NULL), DONE);
    PGconn *c = open_as(db, NULL);
    pgtemp_do(
        c, "INSERT INTO source(source_id, kind, state, content_version, name, item)"
           " VALUES (5, 1, 0, 1, 'spring', '{}'), (6, 2, 0, 1, 'cold', '{}');"
           "INSERT INTO lead(device_id, lead_no, phone, name)"
           " SELECT 1, n, 60120000000 + n, 'lead ' || n FROM generate_series(1, 6) n;"
           "INSERT INTO direct(device_id, lead_no, phone, accepted_at, key, text)"
           " VALUES (1, -1, 60129999999, now(), 'k', 'hi');"
           /* 1 waits, 2 is claimed, 3 is unknown, 4 was sent, 5 was unknown until evidence came */
           "INSERT INTO enrollment(device_id, source_id, lead_no, step, due_at, state)"
           " VALUES (1, 5, 1, 0, now(), 0), (1, 5, 2, 0, now(), 1), (1, 5, 3, 0, now(), 2),"
           " (1, 6, 6, 2, now(), 0), (1, 0, -1, 0, now(), 0);"
           "INSERT INTO message SELECT now(), now(), 1, 0, ('00000000-0000-0000-0000-00000000000'"
           " || n)::uuid, 1, 5, n, 0, 0, state, reason, provider FROM (VALUES (3, 3, 41, ''),"
           " (4, 1, 0, 'wamid.4'), (5, 3, 41, '')) v(n, state, reason, provider);"
           "INSERT INTO message SELECT now(), now(), 1, 0, uuid_v7(now()), 1, 6, 6, 1, 0, 2, 32;"
           "INSERT INTO receipt VALUES (now(), '00000000-0000-0000-0000-000000000005', 3, 42, ''),"
           " (now() + interval '1 s', '00000000-0000-0000-0000-000000000005', 1, 0, 'wamid.5');");
    ck_assert_str_eq(
        pgtemp_text(c,
                    "SELECT string_agg(concat_ws(',', device_id, recipient_phone, recipient_name,"
                    " kind, source, coalesce(campaign_id, 0), coalesce(sequence_id, 0),"
                    " coalesce(sequence_step, 0), status, reason, error_message, provider_id,"
                    " sent_at IS NOT NULL), ' ' ORDER BY lead_no, step) FROM broadcast_messages"),
        "1,60129999999,,direct,(direct),0,0,0,waiting,0,,,f"
        " 1,60120000001,lead 1,campaign,spring,5,0,0,waiting,0,,,f"
        " 1,60120000002,lead 2,campaign,spring,5,0,0,claimed,0,,,f"
        " 1,60120000003,lead 3,campaign,spring,5,0,0,unknown,41,timeout,,f"
        " 1,60120000004,lead 4,campaign,spring,5,0,0,sent,0,,wamid.4,t"
        " 1,60120000005,lead 5,campaign,spring,5,0,0,sent,0,,wamid.5,t"
        " 1,60120000006,lead 6,sequence,cold,0,6,1,failed,32,recipient,,f"
        " 1,60120000006,lead 6,sequence,cold,0,6,2,waiting,0,,,f");
    PQfinish(c);
}
END_TEST

/* ---- retention: what the driver calls ---- */

START_TEST(days_are_dropped_one_at_a_time_and_closed_ones_get_an_index)
{
    const char *db = fresh("retention");

    ck_assert_int_eq(schema("p1", db, source_dir, NULL), DONE);
    PGconn *admin = open_as(db, NULL), *c = open_as(db, "fleetcast_node");
    pgtemp_do(admin,
              "DO $$ DECLARE d date; BEGIN"
              " FOR d IN SELECT (now() AT TIME ZONE 'UTC')::date - n FROM"
              " generate_series(2, 5) n LOOP EXECUTE format('CREATE TABLE %%I PARTITION OF"
              " message FOR VALUES FROM (%%L) TO (%%L)', 'message_' || to_char(d, 'YYYYMMDD'),"
              " d::text || ' 00:00:00+00', (d + 1)::text || ' 00:00:00+00');"
              " EXECUTE format('ALTER TABLE %%I OWNER TO fleetcast_owner',"
              " 'message_' || to_char(d, 'YYYYMMDD')); END LOOP; END $$");
    int days =
        pgtemp_int(admin, "SELECT count(*) FROM pg_inherits WHERE inhparent = 'message'::regclass");
    /* 5 and 4 days ago ended 4 and 3 days ago; a day that ended 2 days ago is younger than 3 */
    ck_assert_int_eq(pgtemp_int(c, "SELECT (message_day_drop(3) = 'message_' || to_char("
                                   "(now() AT TIME ZONE 'UTC')::date - 5, 'YYYYMMDD'))::int"),
                     1);
    ck_assert_int_eq(pgtemp_int(c, "SELECT (message_day_drop(3) IS NOT NULL)::int"), 1);
    ck_assert_int_eq(pgtemp_int(c, "SELECT (message_day_drop(3) IS NULL)::int"), 1);
    ck_assert_int_eq(
        pgtemp_int(admin, "SELECT count(*) FROM pg_inherits WHERE inhparent = 'message'::regclass"),
        days - 2);
    ck_assert_str_eq(pgtemp_refused(c, "SELECT message_day_drop(0)"), "22023");
    /* oldest first, one at a time, then none; never the day that may still be written */
    ck_assert_int_eq(pgtemp_int(c, "SELECT (message_day_index() = 'message_' || to_char("
                                   "(now() AT TIME ZONE 'UTC')::date - 3, 'YYYYMMDD'))::int"),
                     1);
    while (pgtemp_int(c, "SELECT (message_day_index() IS NOT NULL)::int") == 1)
        ;
    ck_assert_int_eq(pgtemp_int(admin, "SELECT count(*) FROM pg_class WHERE relname ="
                                       " 'message_' || to_char(now() AT TIME ZONE 'UTC',"
                                       " 'YYYYMMDD') || '_lead'"),
                     0);
    ck_assert_int_ge(pgtemp_int(admin, "SELECT count(*) FROM pg_class WHERE relname LIKE"
                                       " 'message\\_%%\\_lead'"),
                     2);
    /* a reader holds them up: they give up, and come again */
    pgtemp_do(admin, "BEGIN; SELECT count(*) FROM message");
    ck_assert_str_eq(pgtemp_refused(c, "SELECT message_day_drop(2)"), "55P03");
    pgtemp_do(admin, "COMMIT");
    ck_assert_int_eq(pgtemp_int(c, "SELECT (message_day_drop(2) IS NOT NULL)::int"), 1);
    PQfinish(c);
    PQfinish(admin);
}
END_TEST

/* In order of time with those that a driver makes, and a bound below all of a time. */
START_TEST(tokens_of_the_database_are_in_the_order_of_time)
{
    const char *db = fresh("tokens");

    ck_assert_int_eq(schema("p1", db, source_dir, NULL), DONE);
    PGconn *c = open_as(db, NULL);
    ck_assert_str_eq(pgtemp_text(c, "SELECT concat_ws(' ', substr(t::text, 1, 15),"
                                    " uuid_v7_floor(at) <= t, uuid_v7_floor(at + interval '1 ms')"
                                    " > t) FROM (SELECT at, uuid_v7(at) AS t FROM"
                                    " (SELECT '2026-11-24 14:00:00.123Z'::timestamptz AS at) a) b"),
                     "01a20ddb-377b-7 t t");
    ck_assert_int_eq(pgtemp_int(c, "SELECT count(DISTINCT uuid_v7(now()))"
                                   " FROM generate_series(1, 1000)"),
                     1000);
    PQfinish(c);
}
END_TEST

static Suite *
schema_suite(void)
{
    Suite *s = suite_create("schema");
    TCase *t = tcase_create("schema");

    tcase_set_timeout(t, 60);
    tcase_add_test(t, wrong_words_are_usage);
    tcase_add_test(t, another_databases_schema_is_refused);
    tcase_add_test(t, a_changed_file_is_refused);
    tcase_add_test(t, a_newer_database_is_refused);
    tcase_add_test(t, a_hole_in_the_numbers_applies_nothing);
    tcase_add_test(t, a_failing_migration_leaves_nothing_of_itself);
    tcase_add_test(t, twice_is_once);
    tcase_add_test(t, two_at_once_are_one);
    tcase_add_test(t, roles_made_by_another_database_meanwhile_are_taken);
    tcase_add_test(t, a_migration_waits_for_the_partitions_transactions);
    tcase_add_test(t, a_member_of_the_owner_needs_no_superuser);
    tcase_add_test(t, the_node_writes_rows_and_no_more);
    tcase_add_test(t, the_peer_reads_optouts_and_the_owner);
    tcase_add_test(t, the_coordinator_stays_in_the_catalog);
    tcase_add_test(t, days_are_made_ahead_and_dropped_when_old);
    tcase_add_test(t, days_do_not_wait_long_for_a_lock);
    tcase_add_test(t, broadcast_messages_shows_attempts_and_what_waits);
    tcase_add_test(t, days_are_dropped_one_at_a_time_and_closed_ones_get_an_index);
    tcase_add_test(t, tokens_of_the_database_are_in_the_order_of_time);
    suite_add_tcase(s, t);
    return s;
}

int
main(void)
{
    const char *source = getenv("FLEETCAST_SOURCE");

    snprintf(source_dir, sizeof(source_dir), "%s/schema", source ? source : ".");
    pg = pgtemp_start(NULL);
    SRunner *runner = srunner_create(schema_suite());
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    pgtemp_free(pg);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
