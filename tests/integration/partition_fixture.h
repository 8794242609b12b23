/*
 * partition_fixture.h - a partition's database for tests: made once, emptied for each test.
 *
 * Static functions, for the three programs that test the node's SQL and its driver.
 */
#pragma once
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/support/pgtemp.h"
#include "tests/support/process.h"

#define PARTITION "p1"

static struct pgtemp *pg;
static PGconn *db_admin; /* a plain session of this test */

/* Unchecked setup of the case: in the parent, where Check may be asked and pg survives the forks.
 */
static inline void
fixture_start(void)
{
    const char *build = getenv("FLEETCAST_BUILD"), *source = getenv("FLEETCAST_SOURCE");
    const char *const databases[] = {PARTITION, NULL};
    char program[4096], dir[4096], dsn[PGTEMP_DSN_MAX], *output;

    pg = pgtemp_start(databases);
    snprintf(program, sizeof(program), "%s/schema/fleetcast-schema", build ? build : ".");
    snprintf(dir, sizeof(dir), "%s/schema", source ? source : ".");
    const char *const argv[] = {
        program, "partition", PARTITION, "--dsn", pgtemp_dsn(pg, PARTITION, NULL, dsn),
        "--dir", dir,         NULL};
    if (process_run(argv, &output) != 0) {
        fprintf(stderr, "fleetcast-schema: %s\n", output);
        exit(1);
    }
    free(output);
}

/* Checked setup of each test: in its fork. */
static inline void
fixture_open(void)
{
    db_admin = pgtemp_open(pg, PARTITION, NULL);
    pgtemp_do(db_admin,
              "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()"
              " AND datname = current_database();"
              "TRUNCATE epoch_history, device, lead, source, template, audience, enrollment,"
              " enrollment_end, message, receipt, progress, optout, direct, source_revision,"
              " trigger_use, lead_column, forgotten;"
              "UPDATE owner SET epoch = 0, driver = '', beat = 0, clean = true, next_driver = '',"
              " incarnation = '00000000-0000-0000-0000-000000000000', content_applied = 0");
}

static inline void
fixture_close(void)
{
    PQfinish(db_admin);
}

/* `devices` devices from 1 on with `leads` leads each; phones say device and lead. */
static inline void
fixture_devices(int devices, int leads, int min_delay_ms, int max_delay_ms)
{
    pgtemp_do(db_admin,
              "INSERT INTO device(device_id, min_delay_ms, max_delay_ms, next_lead_no, transport,"
              " address, scope) SELECT d, %d, %d, %d, 'null', 'a' || d, 's' FROM"
              " generate_series(1, %d) d;"
              "INSERT INTO lead(device_id, lead_no, phone, name, attributes) SELECT d, l,"
              " 60000000000 + d * 100000 + l, 'n' || l, jsonb_build_object('city', 'c' || l %% 2)"
              " FROM generate_series(1, %d) d, generate_series(1, %d) l ORDER BY 1, 2",
              min_delay_ms, max_delay_ms, leads, devices, devices, leads);
}

/* A started campaign as a driver would have applied it at content version 1. */
static inline void
fixture_campaign(void)
{
    pgtemp_do(db_admin,
              "INSERT INTO template VALUES ('hello', 1,"
              " '{\"kind\":\"template\",\"name\":\"hello\",\"text\":\"Hi {{name}} in {{city}}\"}');"
              "INSERT INTO source(source_id, kind, state, content_version, started_version,"
              " started_at, name, item) VALUES (1, 1, 0, 1, 1, now(), 'spring',"
              " '{\"kind\":\"campaign\",\"name\":\"spring\",\"template\":\"hello\"}');"
              "INSERT INTO progress(source_id, audience) SELECT 1, sum(next_lead_no) FROM device;"
              "INSERT INTO audience(device_id, source_id, upto)"
              " SELECT device_id, 1, next_lead_no FROM device;"
              "UPDATE device SET content_version = 1; UPDATE owner SET content_applied = 1");
}

#define STEP(n, delay, text) "{\"step\":" #n ",\"delay\":\"" delay "\",\"text\":\"" text "\"}"
#define COLD_ITEM                                                                                  \
    "{\"kind\":\"sequence\",\"name\":\"cold\",\"trigger\":\"GO\",\"next_sequence\":\"warm\","      \
    "\"steps\":[" STEP(1, "0", "Cold 1 {{name}}") "," STEP(2, "1s", "Cold 2 {{name}}") "," STEP(   \
        3, "1s", "Cold 3 {{name}}") "]}"
#define WARM_ITEM                                                                                  \
    "{\"kind\":\"sequence\",\"name\":\"warm\",\"steps\":[" STEP(1, "1s", "Warm 1 {{name}}") "]}"
/* Started sequences: cold (1; trigger GO; steps 1, 2, 3; then warm), warm (2; step 1). Who direct
 * messages belong to (0) and the cluster's own scope (-1) are there too. */
static inline void
fixture_sequences(void)
{
    pgtemp_do(db_admin,
              "INSERT INTO source(source_id, kind, state, content_version, started_version,"
              " started_at, name, trigger, item) VALUES"
              " (1, 2, 0, 1, 1, now(), 'cold', 'GO', '" COLD_ITEM "'),"
              " (2, 2, 0, 1, 1, now(), 'warm', '', '" WARM_ITEM "'),"
              " (0, 0, 0, 0, 0, 'infinity', '(direct)', '', '{}'),"
              " (-1, 4, 0, 0, 0, 'infinity', '(cluster)', '', '{}');"
              "INSERT INTO source_revision SELECT source_id, 1, item FROM source WHERE kind = 2;"
              "INSERT INTO progress(source_id) SELECT source_id FROM source WHERE source_id >= 0;"
              "INSERT INTO audience(device_id, source_id, upto)"
              " SELECT device_id, 1, 2147483647 FROM device;"
              "UPDATE device SET content_version = 1; UPDATE owner SET content_applied = 1");
}

/* Every lead of an audience is counted once; waiting is what is derived. */
static inline void
fixture_sums(void)
{
    ck_assert_int_eq(
        0, pgtemp_int(db_admin,
                      "SELECT count(*) FROM progress p WHERE audience - not_in_audience - sent"
                      " - failed - unknown - expired - skipped - cancelled <>"
                      " (SELECT count(*) FROM enrollment e WHERE e.source_id = p.source_id"
                      " AND e.state <> 2) + (SELECT coalesce(sum(upto - cursor), 0) FROM audience a"
                      " WHERE a.source_id = p.source_id AND upto < 2147483647)"));
}

static inline int
fixture_run(Suite *suite)
{
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    pgtemp_free(pg);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
