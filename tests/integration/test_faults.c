/* test_faults.c - processes and servers die in the middle of a campaign; the audit ends each test.
 */
#include <check.h>
#include <libpq-fe.h>
#include <stdlib.h>
#include <string.h>

#include "tests/support/cluster.h"
#include "tests/support/process.h"

#define SECONDS(n) ((n) *USEC_PER_SEC)

static struct cluster *cluster;

static void
away(void)
{
    cluster = cluster_free(cluster);
}

/* 30 devices x 20 leads at 50-150 ms: about 2.5 s of sending, of which a third is over when this
 * returns. */
static void
campaign_half_way(unsigned latency_ms)
{
    cluster = cluster_new(&(struct cluster_options){.devices = 30,
                                                    .leads = 20,
                                                    .min_delay = 50,
                                                    .max_delay = 150,
                                                    .latency_min_ms = 1,
                                                    .latency_max_ms = latency_ms});
    cluster_campaign(cluster);
    cluster_taken(cluster, 200, SECONDS(30));
    ck_assert_int_lt(cluster_control(cluster, "{}", "taken"), 550);
}

/* Everything ends, nothing lost, twice, early or by two drivers; the database's own invariants
 * hold. */
static struct audit_result
ends_well(void)
{
    cluster_finished(cluster, SECONDS(90));
    struct audit_result r = cluster_audit(cluster);
    ck_assert_uint_eq(r.asked, 600);
    ck_assert_uint_eq(r.waiting, 0);
    ck_assert_uint_eq(r.sent + r.unknown, 600);
    char *output;
    int code = cluster_fleetcast(cluster, &output, "verify");
    ck_assert_msg(code == 0, "verify: %d\n%s", code, output);
    free(output);
    return r;
}

START_TEST(node_killed)
{
    campaign_half_way(30);
    cluster_signal(cluster, "n1", SIGKILL);
    cluster_do(cluster, "start", "n1");
    struct audit_result r = ends_well();
    ck_assert_uint_le(r.unknown, 10); /* at most one open claim for each of its devices */
}
END_TEST

START_TEST(every_node_killed_at_once)
{
    campaign_half_way(30);
    for (int i = 1; i <= 3; i++) {
        char name[4] = {'n', (char) ('0' + i), '\0'};
        cluster_signal(cluster, name, SIGKILL);
    }
    for (int i = 1; i <= 3; i++) {
        char name[4] = {'n', (char) ('0' + i), '\0'};
        cluster_do(cluster, "start", name);
    }
    ck_assert_uint_le(ends_well().unknown, 30);
}
END_TEST

START_TEST(coordinator_killed)
{
    campaign_half_way(5);
    cluster_signal(cluster, "c1", SIGKILL);
    long before = cluster_control(cluster, "{}", "taken");
    cluster_taken(cluster, (uint64_t) before + 100, SECONDS(20)); /* nodes go on without it */
    ck_assert(cluster_ready(cluster, "n1", SECONDS(1)));
    cluster_do(cluster, "start", "c1");
    ck_assert_uint_eq(ends_well().unknown, 0);
}
END_TEST

START_TEST(node_restarts_without_coordinator)
{
    campaign_half_way(5);
    cluster_signal(cluster, "c1", SIGKILL);
    cluster_signal(cluster, "n2", SIGKILL);
    cluster_do(cluster, "start", "n2");
    usec_t last;
    uint64_t before = cluster_receipts(cluster, "p2", &last);
    (void) before;
    cluster_taken(cluster, 580, SECONDS(60));
    cluster_do(cluster, "start", "c1");
    ends_well();
}
END_TEST

static int
backend_of(const char *database, const char *like)
{
    char dsn[256], sql[256];
    PGconn *c = PQconnectdb(cluster_dsn(cluster, database, dsn));
    ck_assert_msg(PQstatus(c) == CONNECTION_OK, "%s", PQerrorMessage(c));
    snprintf(sql, sizeof(sql),
             "SELECT pid FROM pg_stat_activity WHERE datname = '%s' AND application_name LIKE '%s' "
             "ORDER BY pid LIMIT 1",
             database, like);
    PGresult *r = PQexec(c, sql);
    ck_assert_int_eq(PQntuples(r), 1);
    int pid = atoi(PQgetvalue(r, 0, 0));
    PQclear(r);
    PQfinish(c);
    return pid;
}

static void
statement(const char *database, const char *sql)
{
    char dsn[256];
    PGconn *c = PQconnectdb(cluster_dsn(cluster, database, dsn));
    ck_assert_msg(PQstatus(c) == CONNECTION_OK, "%s", PQerrorMessage(c));
    PGresult *r = PQexec(c, sql);
    ck_assert_msg(PQresultStatus(r) == PGRES_COMMAND_OK || PQresultStatus(r) == PGRES_TUPLES_OK,
                  "%s", PQerrorMessage(c));
    PQclear(r);
    PQfinish(c);
}

START_TEST(backend_terminated)
{
    campaign_half_way(30);
    char sql[128];
    snprintf(sql, sizeof(sql), "SELECT pg_terminate_backend(%d)",
             backend_of("p1", "fleetcast-node/n1%/tick"));
    statement("p1", sql);
    ends_well();
}
END_TEST

START_TEST(backend_killed)
{
    campaign_half_way(30);
    ck_assert_int_eq(kill(backend_of("p1", "fleetcast-node/n1%/tick"), SIGKILL),
                     0); /* all of PostgreSQL restarts */
    ends_well();
}
END_TEST

START_TEST(postgresql_crashes)
{
    campaign_half_way(30);
    cluster_pg(cluster, "crash");
    cluster_pg(cluster, "run");
    ends_well();
}
END_TEST

START_TEST(postgresql_and_a_node_crash)
{
    campaign_half_way(30);
    cluster_pg(cluster, "crash");
    cluster_signal(cluster, "n3", SIGKILL);
    cluster_pg(cluster, "run");
    cluster_do(cluster, "start", "n3");
    ends_well();
}
END_TEST

/* The lock rule from outside: what another driver's take does. */
static const char take_sql[] = "BEGIN; SELECT pg_advisory_xact_lock(fleetcast_lock());"
                               "UPDATE owner SET epoch = epoch + 1, driver = '%s', incarnation = "
                               "gen_random_uuid(), clean = false; COMMIT";

static void
frozen_and_taken(const char *by)
{
    campaign_half_way(5);
    cluster_signal(cluster, "n1", SIGSTOP);
    char sql[512];
    snprintf(sql, sizeof(sql), take_sql, by);
    statement("p1", sql);
    usec_t taken = clock_boot(), last;
    /* Let every send_by pass while it sleeps: other partitions show that time goes on. */
    cluster_taken(cluster, 500, SECONDS(30));
    while (clock_boot() < taken + 700 * USEC_PER_MSEC)
        (void) cluster_control(cluster, "{}", "taken");
    uint64_t before = cluster_receipts(cluster, "p1", &last);
    cluster_signal(cluster, "n1", SIGCONT);
    if (strcmp(by, "n1") == 0)
        ck_assert_int_eq(cluster_exit(cluster, "n1", SECONDS(20)),
                         78); /* fenced by its own name: a clone */
    else {
        char *body = NULL;
        usec_t limit = clock_boot() + SECONDS(10);
        do {
            free(TAKE_PTR(body));
            (void) cluster_health(cluster, "n1", "/status", &body);
        } while ((!body || !strstr(body, "fenced")) && clock_boot() < limit);
        ck_assert_msg(body && strstr(body, "fenced"), "n1 does not say that it is fenced: %s",
                      body);
        free(body);
        ck_assert_uint_eq(cluster_health(cluster, "n1", "/readyz", NULL), 503);
    }
    ck_assert_uint_eq(cluster_receipts(cluster, "p1", &last), before);
    ck_assert_uint_lt(last, taken + 500 * USEC_PER_MSEC +
                                50 * USEC_PER_MSEC); /* S after the last claim at most */
}

START_TEST(frozen_node_is_fenced)
{
    frozen_and_taken("tester");
    cluster_do(cluster, "stop", "n1");
    statement("p1", "UPDATE owner SET driver = 'n1'"); /* the tester hands it back */
    cluster_do(cluster, "start", "n1");
    ends_well();
}
END_TEST

START_TEST(clone_exits)
{
    frozen_and_taken("n1");
    cluster_do(cluster, "start", "n1");
    ends_well();
}
END_TEST

START_TEST(second_process_is_refused)
{
    campaign_half_way(5);
    char program[700], config[128], *output;
    snprintf(program, sizeof(program), "%s/node/fleetcast-node", getenv("FLEETCAST_BUILD"));
    snprintf(config, sizeof(config), "%s/n1.conf", cluster_dir(cluster));
    const char *const argv[] = {program, config, NULL};
    ck_assert_int_ne(process_run(argv, &output), 0);
    ck_assert_msg(strstr(output, "n1"), "the refusal does not say what is wrong: %s", output);
    free(output);
    ck_assert_uint_eq(ends_well().unknown, 0);
}
END_TEST

START_TEST(sigterm_finishes_the_wire)
{
    campaign_half_way(100);
    ck_assert_int_eq(kill(cluster_pid(cluster, "n2"), SIGTERM), 0);
    ck_assert_int_eq(cluster_exit(cluster, "n2", SECONDS(10)), 0);
    cluster_do(cluster, "start", "n2");
    ck_assert_uint_eq(ends_well().unknown, 0); /* nothing was cut off */
}
END_TEST

int
main(int argc, char **argv)
{
    Suite *suite = suite_create("faults");
    TCase *t = tcase_create("campaign");
    tcase_set_timeout(t, 180);
    tcase_add_checked_fixture(t, NULL, away);
    tcase_add_test(t, node_killed);
    tcase_add_test(t, every_node_killed_at_once);
    tcase_add_test(t, coordinator_killed);
    tcase_add_test(t, node_restarts_without_coordinator);
    tcase_add_test(t, backend_terminated);
    tcase_add_test(t, backend_killed);
    tcase_add_test(t, postgresql_crashes);
    tcase_add_test(t, postgresql_and_a_node_crash);
    tcase_add_test(t, frozen_node_is_fenced);
    tcase_add_test(t, clone_exits);
    tcase_add_test(t, second_process_is_refused);
    tcase_add_test(t, sigterm_finishes_the_wire);
    suite_add_tcase(suite, t);
    SRunner *runner = srunner_create(suite);
    srunner_set_fork_status(runner, CK_FORK);
    srunner_run_all(runner, CK_NORMAL);
    int bad = srunner_ntests_failed(runner);
    srunner_free(runner);
    cluster_sweep();
    return bad == 0 ? 0 : 1;
}
