/* test_command.c - the command against a cluster of real processes: every verb, every exit code. */
#include <check.h>
#include <fcntl.h>
#include <jansson.h>
#include <libpq-fe.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/support/cluster.h"
#include "tests/support/process.h"

#define SECONDS(n) ((n) *USEC_PER_SEC)

static struct cluster *cluster;

static void
away(void)
{
    cluster = cluster_free(cluster);
}

static char *
read_file(const char *name)
{
    char path[256], *text = calloc(1, 65536);
    snprintf(path, sizeof(path), "%s/%s", cluster_dir(cluster), name);
    FILE *f = fopen(path, "r");
    ck_assert_msg(f != NULL, "%s is not there", path);
    text[fread(text, 1, 65535, f)] = '\0';
    fclose(f);
    return text;
}

static long
number_in(const char *database, const char *sql)
{
    char dsn[256];
    PGconn *c = PQconnectdb(cluster_dsn(cluster, database, dsn));
    ck_assert_msg(PQstatus(c) == CONNECTION_OK, "%s", PQerrorMessage(c));
    PGresult *r = PQexec(c, sql);
    long n = PQntuples(r) > 0 ? atol(PQgetvalue(r, 0, 0)) : atol(PQcmdTuples(r));
    ck_assert_msg(PQresultStatus(r) == PGRES_TUPLES_OK || PQresultStatus(r) == PGRES_COMMAND_OK,
                  "%s", PQerrorMessage(c));
    PQclear(r);
    PQfinish(c);
    return n;
}

/* ---- exit codes, the bad ones first ---- */

START_TEST(usage_is_2)
{
    cluster = cluster_bare(&(struct cluster_options){.nodes = 1});
    cluster_expect(cluster, 2, "unknown verb", "fly");
    cluster_expect(cluster, 2, "calling code", "import leads x.csv --country abc");
    cluster_expect(cluster, 2, "a UTC time", "export messages --since yesterday");
    cluster_expect(cluster, 2, "a device is", "locate abc");
    cluster_expect(cluster, 2, "fleetcast status --format json", "status --watch");
}
END_TEST

START_TEST(what_is_wrong_here_is_1_and_a_silent_coordinator_6)
{
    cluster = cluster_bare(&(struct cluster_options){.nodes = 1});
    cluster_expect(cluster, 1, "No such file", "--config /nonexistent status");
    cluster_expect(cluster, 1, "No such file", "import leads /nonexistent.csv");
    cluster_expect(cluster, 1, "No such file", "apply-content /nonexistent.yaml");
    cluster_put(cluster, "bad.csv", "device_id,colour\n1,red\n");
    cluster_expect(cluster, 1, "bad.csv: line 1, column 2 \"colour\": unknown column",
                   "import devices %s/bad.csv", cluster_dir(cluster));
    cluster_expect(cluster, 1, "UTF-16", "import leads %s/utf16.csv",
                   (cluster_put(cluster, "utf16.csv", "\xff\xfe"), cluster_dir(cluster)));
    cluster_put(cluster, "bad.yaml", "campaigns:\n  x: { template: none, colour: red }\n");
    cluster_expect(cluster, 1, "bad.yaml:2", "apply-content %s/bad.yaml", cluster_dir(cluster));
    /* the key of another principal: told at once, not met by silence */
    char text[1024];
    snprintf(text, sizeof(text),
             "[fleetcast]\nname = ops\nkey = %s/watch.key\npeers = %s/peers\n"
             "coordinator = tcp://127.0.0.1:9\ncoordinator_name = c1\n",
             cluster_dir(cluster), cluster_dir(cluster));
    cluster_put(cluster, "wrong.conf", text);
    cluster_expect(cluster, 1, "another key", "--config %s/wrong.conf status",
                   cluster_dir(cluster));
    static const char *const verbs[] = {"status",          "node ls",  "partition ls",
                                        "range ls",        "locate 1", "device ls",
                                        "export messages", "verify",   "campaign ls",
                                        "campaign start x"};
    for (size_t i = 0; i < ARRAY_SIZE(verbs); i++)
        cluster_expect(cluster, 6, "no answer from coordinator c1", "%s --timeout 300ms", verbs[i]);
    cluster_expect(cluster, 0, "\"role\":\"node\"", "keygen %s/new.key --role node --format json",
                   cluster_dir(cluster));
    cluster_expect(cluster, 4, "File exists", "keygen %s/ops.key --role node",
                   cluster_dir(cluster));
}
END_TEST

START_TEST(a_precondition_that_fails_is_4)
{
    char watch[128];
    cluster = cluster_new(&(struct cluster_options){.nodes = 1, .devices = 2, .leads = 1});
    snprintf(watch, sizeof(watch), "--config %s/watch.conf", cluster_dir(cluster));
    cluster_expect(cluster, 4, "it is draft", "campaign resume hello");
    cluster_expect(cluster, 4, "it is draft", "campaign pause hello");
    cluster_expect(cluster, 4, "was not started", "campaign watch hello --until-finished");
    cluster_expect(cluster, 0, "OK", "%s status", watch);
    cluster_expect(cluster, 4, "configuration of an admin", "%s campaign start hello", watch);
    cluster_expect(cluster, 4, "observer", "%s import devices %s/devices.csv", watch,
                   cluster_dir(cluster));
    cluster_expect(cluster, 4, "admin", "%s import leads %s/leads.csv", watch,
                   cluster_dir(cluster));
    cluster_expect(cluster, 4, "observer", "%s apply-content %s/content.yaml", watch,
                   cluster_dir(cluster));
    cluster_put(cluster, "late.yaml",
                "templates:\n  t: { text: x }\n"
                "campaigns:\n  late: { template: t, not_after: 2020-01-01 }\n");
    cluster_expect(cluster, 0, "2 created", "apply-content %s/late.yaml", cluster_dir(cluster));
    cluster_expect(cluster, 4, "its not_after is 2020-01-01", "campaign start late");
    cluster_expect(cluster, 1, "no campaign \"none\"", "campaign start none");
    cluster_expect(cluster, 1, "no device 4000", "device show 4000");
    cluster_expect(cluster, 1, "no node \"n9\"", "node show n9");
    cluster_expect(cluster, 1, "no partition \"p9\"", "partition show p9");
}
END_TEST

START_TEST(work_that_goes_on_is_5)
{
    cluster = cluster_new(&(struct cluster_options){
        .nodes = 1, .devices = 2, .leads = 50, .min_delay = 200, .max_delay = 200});
    cluster_campaign(cluster);
    cluster_expect(cluster, 5, "goes on", "campaign watch hello --until-finished --timeout 500ms");
    cluster_expect(cluster, 0, "paused", "campaign pause hello --because because");
    cluster_expect(cluster, 5, "paused", "campaign watch hello --until-finished --timeout 500ms");
    cluster_expect(cluster, 4, "campaign resume", "campaign start hello");
    cluster_expect(cluster, 0, "resumed", "campaign resume hello");
    cluster_expect(cluster, 0, "cancelled", "campaign cancel hello");
    cluster_expect(cluster, 4, "it is cancelled", "campaign start hello");
    cluster_expect(cluster, 0, "no change", "--help");
}
END_TEST

START_TEST(a_broken_invariant_is_7)
{
    cluster = cluster_new(&(struct cluster_options){.nodes = 1, .devices = 4, .leads = 3});
    cluster_campaign(cluster);
    cluster_finished(cluster, SECONDS(30));
    cluster_expect(cluster, 0, "OK", "verify");
    ck_assert_int_eq(number_in("p1", "UPDATE progress SET sent = sent + 1 WHERE source_id > 0"), 1);
    cluster_expect(cluster, 7, "BROKEN   1 of", "verify");
    cluster_expect(cluster, 7, "counts sum to the audience,false", "verify --format csv");
    ck_assert_int_eq(number_in("p1", "UPDATE progress SET sent = sent - 1 WHERE source_id > 0"), 1);
    cluster_expect(cluster, 0, "OK", "verify");
}
END_TEST

/* A node is dead: everything that can be told is told, with exit 3, and naming who is missing. */
START_TEST(a_part_that_is_missing_is_3)
{
    cluster = cluster_new(&(struct cluster_options){.nodes = 2, .devices = 8, .leads = 2});
    const char *dir = cluster_dir(cluster);
    cluster_signal(cluster, "n2", SIGKILL);
    cluster_expect(cluster, 3, "partition p2 does not answer", "device ls --timeout 500ms");
    cluster_expect(cluster, 3, "1 partition is missing", "export messages --timeout 500ms");
    cluster_expect(cluster, 3, "INCOMPLETE", "verify --timeout 500ms");
    cluster_expect(cluster, 3, "not done 8", "import leads %s/leads.csv --timeout-per-batch 1s",
                   dir);
    cluster_expect(cluster, 3, "partition p2: 8 rows not done",
                   "import leads %s/leads.csv --timeout-per-batch 1s", dir);
    cluster_expect(cluster, 3, "not yet in force on partition p2", "campaign start hello");
    cluster_expect(cluster, 3, "DEGRADED   node n2 is silent", "status");
    cluster_do(cluster, "start", "n2");
    cluster_expect(cluster, 0, "duplicate 16", "import leads %s/leads.csv", dir);
    cluster_expect(cluster, 0, "waiting 0", "campaign watch hello --until-finished --timeout 60s");
    cluster_expect(cluster, 0, "OK   ", "verify");
    struct audit_result r = cluster_audit(cluster);
    ck_assert_uint_eq(r.sent, 16);
}
END_TEST

/* ---- what the verbs say ---- */

static void
expect_columns(const char *words, const char *const *names)
{
    json_t *rows = cluster_json(cluster, words);
    ck_assert_msg(json_is_array(rows) && json_array_size(rows) > 0, "%s: no rows", words);
    for (size_t i = 0; names[i]; i++)
        ck_assert_msg(json_object_get(json_array_get(rows, 0), names[i]) != NULL, "%s: no %s",
                      words, names[i]);
    json_decref(rows);
}

START_TEST(every_reading_verb_answers_in_every_format)
{
    static const char *const verbs[] = {"status",
                                        "node ls",
                                        "node show n1",
                                        "partition ls",
                                        "partition show p1",
                                        "range ls",
                                        "locate 1",
                                        "device ls",
                                        "device show 1",
                                        "campaign ls",
                                        "campaign show hello",
                                        "export messages",
                                        "verify"};
    static const char *const formats[] = {"table", "json", "csv"};
    cluster = cluster_new(&(struct cluster_options){.nodes = 2, .devices = 4, .leads = 2});
    cluster_campaign(cluster);
    cluster_expect(cluster, 0, "sent 8", "campaign watch hello --until-finished --timeout 60s");
    for (size_t i = 0; i < ARRAY_SIZE(verbs); i++) {
        json_decref(cluster_json(cluster, verbs[i]));
        for (size_t k = 0; k < ARRAY_SIZE(formats); k++)
            cluster_expect(cluster, 0, "", "%s --format %s", verbs[i], formats[k]);
    }
    expect_columns("device ls", (const char *const[]){"partition", "device_id", "leads", NULL});
    expect_columns("locate 3", (const char *const[]){"partition", "driver", "epoch", NULL});
    expect_columns("range ls", (const char *const[]){"first", "last", "partition", NULL});
    expect_columns("campaign ls", (const char *const[]){"name", "state", "audience", "sent", NULL});
    json_t *status = cluster_json(cluster, "status");
    ck_assert_str_eq(json_string_value(json_object_get(status, "verdict")), "ok");
    ck_assert(json_is_number(json_object_get(json_object_get(status, "lateness_ms"), "p99")));
    json_t *source = json_array_get(json_object_get(status, "sources"), 0);
    ck_assert_int_eq(json_integer_value(json_object_get(source, "sent")), 8);
    json_decref(status);
}
END_TEST

START_TEST(an_export_has_its_columns_and_no_more)
{
    static const char head[] = "device_id,phone,source,step,state,reason,token,provider_id,"
                               "claimed_at,settled_at,text_hash\n";
    cluster = cluster_new(&(struct cluster_options){.nodes = 2, .devices = 4, .leads = 2});
    cluster_expect(cluster, 0, head, "export messages");
    cluster_campaign(cluster);
    cluster_finished(cluster, SECONDS(30));
    cluster_expect(cluster, 0, "8 messages", "export messages --out %s/m.csv",
                   cluster_dir(cluster));
    char *text = read_file("m.csv");
    ck_assert_int_eq(strncmp(text, head, strlen(head)), 0);
    unsigned lines = 0;
    for (const char *p = text; (p = strchr(p, '\n')); p++)
        lines++;
    ck_assert_uint_eq(lines, 9);
    free(text);
    cluster_expect(cluster, 0, "0 messages",
                   "export messages --since 2100-01-01T00:00:00Z --out %s/none.csv",
                   cluster_dir(cluster));
    cluster_expect(cluster, 0, "8 messages", "export messages --since 1h --out %s/all.csv",
                   cluster_dir(cluster));
}
END_TEST

/* ---- imports ---- */

START_TEST(what_is_rejected_is_corrected_and_imported_again)
{
    cluster = cluster_new(&(struct cluster_options){.nodes = 2, .devices = 4, .leads = 1});
    const char *dir = cluster_dir(cluster);
    cluster_put(cluster, "l.csv",
                "\xef\xbb\xbfphone;device_id;name;city\r\n"
                "012-345 6781;1;\"Multi\nline \"\"q\"\"\";KL\r\n"
                "0123456781;1;again;KL\r\n"
                "6.01E+11;2;x;y\r\n"
                "0123456782;4000;x;y\r\n"
                "0123456783;3\r\n"
                "0123456784;3;\"x;y\r\n"
                "0123456785;4;z;\r\n");
    cluster_expect(cluster, 3, "accepted 2   duplicate 1   rejected 4   (= 7 read)",
                   "import leads %s/l.csv --country 60", dir);
    char *text = read_file("l.csv.rejects.csv");
    ck_assert_ptr_nonnull(strstr(text, "phone;device_id;name;city;reject_line;reject_column;"
                                       "reject_value;reject_reason\n"));
    ck_assert_ptr_nonnull(strstr(text, "6.01E+11;2;x;y;5;phone;6.01E+11;"));
    char *bad = strstr(text, "6.01E+11;2"), *unknown = strstr(text, ";4000;");
    memcpy(bad, "60111111", 8);
    memcpy(unknown, ";0002;", 6);
    cluster_put(cluster, "again.csv", text);
    free(text);
    cluster_expect(cluster, 3, "accepted 2   duplicate 0   rejected 2",
                   "import leads %s/again.csv --country 60", dir);
    ck_assert_int_eq(number_in("p1",
                               "SELECT count(*) FROM lead WHERE name = E'Multi\\nline \"q\"'"
                               " AND phone = 60123456781 AND attributes = '{\"city\": \"KL\"}'"),
                     1);
    cluster_expect(cluster, 3, "accepted 0   updated 2   duplicate 1",
                   "import leads %s/l.csv --country 60 --update", dir);
    ck_assert_int_eq(number_in("p1", "SELECT count(*) FROM lead WHERE name = 'again'"), 1);
}
END_TEST

START_TEST(tokens_come_from_files_and_are_told_to_nobody)
{
    cluster = cluster_new(&(struct cluster_options){.nodes = 1, .devices = 1, .leads = 1});
    const char *dir = cluster_dir(cluster);
    cluster_put(cluster, "token.txt", "FROM-A-FILE\n");
    cluster_put(cluster, "d.csv",
                "device_id,name,transport,address,token,min_delay_ms,max_delay_ms,zone\n"
                "11,A,cloudapi,1,@token.txt,100,200,Asia/Tokyo\n"
                "12,B,cloudapi,1,@missing.txt,100,200,UTC\n"
                "13,C,cloudapi,1,PLAIN-SECRET,100,200,Mars/Olympus\n"
                "14,D,cloudapi,1,PLAIN-SECRET,300,200,UTC\n"
                "15,E,cloudapi,1,PLAIN-SECRET\n");
    char words[256], *output;
    snprintf(words, sizeof(words), "import devices %s/d.csv", dir);
    ck_assert_int_eq(cluster_fleetcast(cluster, &output, words), 3);
    ck_assert_msg(strstr(output, "accepted 1   duplicate 0   rejected 4"), "%s", output);
    ck_assert_ptr_null(strstr(output, "PLAIN-SECRET"));
    free(output);
    cluster_expect(cluster, 0, "Asia/Tokyo", "device show 11");
    char *rejects = read_file("d.csv.rejects.csv");
    ck_assert_ptr_nonnull(strstr(rejects, ",zone,Mars/Olympus,"));
    ck_assert_ptr_nonnull(strstr(rejects, ",max_delay_ms,200,below min_delay_ms"));
    free(rejects);
}
END_TEST

START_TEST(a_phone_that_two_devices_share)
{
    cluster = cluster_new(&(struct cluster_options){.nodes = 1, .devices = 3, .leads = 1});
    const char *dir = cluster_dir(cluster);
    cluster_put(cluster, "s.csv", "device_id,phone\n1,60199999991\n2,60199999991\n3,60199999992\n");
    cluster_expect(cluster, 3, "accepted 2   duplicate 0   rejected 1",
                   "import leads %s/s.csv --refuse-shared --rejects %s/r.csv", dir, dir);
    cluster_expect(cluster, 0, "shared 1:", "import leads %s/s.csv", dir);
    char *rejects = read_file("r.csv");
    ck_assert_ptr_nonnull(strstr(rejects, ",phone,60199999991,"));
    free(rejects);
}
END_TEST

static bool
has_leads(void *arg)
{
    return number_in("p1", "SELECT count(*) FROM (SELECT FROM lead LIMIT 1000) x") == 1000;
}

/* Ctrl-C in the middle: what was read is stored, and the same command does the rest. */
START_TEST(an_interrupted_import_goes_on)
{
    char path[256], program[300], config[256], out[256];
    const unsigned rows = 400000;
    cluster = cluster_new(&(struct cluster_options){.nodes = 1, .devices = 8, .leads = 1});
    snprintf(path, sizeof(path), "%s/many.csv", cluster_dir(cluster));
    FILE *f = fopen(path, "w");
    fprintf(f, "device_id,phone,city\n");
    for (unsigned i = 0; i < rows; i++)
        fprintf(f, "%u,6019%07u,Kuala Lumpur\n", i % 8 + 1, i);
    fclose(f);
    snprintf(program, sizeof(program), "%s/coordinator/ctl/fleetcast", getenv("FLEETCAST_BUILD"));
    snprintf(config, sizeof(config), "%s/ops.conf", cluster_dir(cluster));
    snprintf(out, sizeof(out), "%s/import.out", cluster_dir(cluster));
    pid_t pid = fork();
    if (pid == 0) {
        int fd = open(out, O_CREAT | O_WRONLY, 0600);
        dup2(fd, 1);
        dup2(fd, 2);
        execl(program, program, "--config", config, "import", "leads", path, (char *) NULL);
        _exit(127);
    }
    ck_assert(process_wait(SECONDS(30), has_leads, NULL));
    ck_assert_int_eq(kill(pid, SIGINT), 0);
    int status;
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    char *text = read_file("import.out");
    ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) == 1, "status %d\n%s", status, text);
    ck_assert_msg(strstr(text, "stopped after") && strstr(text, "fleetcast import leads"), "%s",
                  text);
    unsigned long long stopped = 0;
    ck_assert_int_eq(sscanf(strstr(text, "stopped after"), "stopped after %llu", &stopped), 1);
    free(text);
    ck_assert_uint_lt(stopped, rows);
    ck_assert_int_eq(number_in("p1", "SELECT count(*) FROM lead"), (long) stopped + 8);
    json_t *result, *counts;
    char words[300];
    snprintf(words, sizeof(words), "import leads %s", path);
    result = cluster_json(cluster, words);
    counts = json_array_get(result, 0);
    ck_assert_int_eq(json_integer_value(json_object_get(counts, "duplicate")), (long) stopped);
    ck_assert_int_eq(json_integer_value(json_object_get(counts, "accepted")),
                     (long) (rows - stopped));
    json_decref(result);
}
END_TEST

int
main(void)
{
    Suite *s = suite_create("command");
    TCase *t = tcase_create("command");
    tcase_add_checked_fixture(t, NULL, away);
    tcase_set_timeout(t, 120);
    tcase_add_test(t, usage_is_2);
    tcase_add_test(t, what_is_wrong_here_is_1_and_a_silent_coordinator_6);
    tcase_add_test(t, a_precondition_that_fails_is_4);
    tcase_add_test(t, work_that_goes_on_is_5);
    tcase_add_test(t, a_broken_invariant_is_7);
    tcase_add_test(t, a_part_that_is_missing_is_3);
    tcase_add_test(t, every_reading_verb_answers_in_every_format);
    tcase_add_test(t, an_export_has_its_columns_and_no_more);
    tcase_add_test(t, what_is_rejected_is_corrected_and_imported_again);
    tcase_add_test(t, tokens_come_from_files_and_are_told_to_nobody);
    tcase_add_test(t, a_phone_that_two_devices_share);
    tcase_add_test(t, an_interrupted_import_goes_on);
    suite_add_tcase(s, t);
    SRunner *sr = srunner_create(s);
    srunner_run_all(sr, CK_NORMAL);
    int failed = srunner_ntests_failed(sr);
    srunner_free(sr);
    cluster_sweep();
    return failed ? 1 : 0;
}
