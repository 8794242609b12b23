/* test_gates.c - quiet hours, caps, warm-up, TTL and missing variables, end to end; explain says
 * what holds. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "tests/support/audit_read.h"
#include "tests/support/cluster.h"
#include "tests/support/process.h"

#define SECONDS(n) ((n) *USEC_PER_SEC)

static struct cluster *cluster;

static void
away(void)
{
    cluster = cluster_free(cluster);
}

static struct audit_result
ends(uint64_t waiting)
{
    cluster_look(cluster, NULL);
    struct audit_result r = cluster_audit_waiting(cluster, waiting);
    cluster_verify(cluster);
    return r;
}

static char *
leads_of(unsigned devices, unsigned leads, const char *rest)
{
    char *text;
    size_t size;
    FILE *f = open_memstream(&text, &size);
    fputs("device_id,phone,name,trigger,city\n", f);
    for (unsigned d = 1; d <= devices; d++)
        for (unsigned k = 0; k < leads; k++)
            fprintf(f, "%u,+601%04u%06u,%s\n", d, d, k, rest);
    fclose(f);
    return text;
}

static void
begins(unsigned nodes, const char *devices, const char *leads, const char *content)
{
    cluster = cluster_new(&(struct cluster_options){
        .nodes = nodes, .devices_csv = devices, .leads_csv = leads, .content = content});
}

/* The words of `explain`, which must hold `part`. */
static void
explains(const char *what, const char *part)
{
    char words[192], *output;
    snprintf(words, sizeof(words), "explain %s", what);
    int code = cluster_fleetcast(cluster, &output, words);
    ck_assert_msg(code == 0 && strstr(output, part), "%s: exit code %d, not \"%s\" in:\n%s", words,
                  code, part, output);
    free(output);
}

struct message {
    const char *state, *phone;
    char token[128];
};

static int
on_message(void *arg, const struct audit_row *h, const struct audit_row *row)
{
    struct message *m = arg;
    int state = audit_column(h, "state"), phone = audit_column(h, "phone"),
        token = audit_column(h, "token");
    if (strcmp(row->fields[state], m->state) == 0 && strcmp(row->fields[phone], m->phone) == 0)
        snprintf(m->token, sizeof(m->token), "%s", row->fields[token]);
    return 0;
}

/* The same of the message to `phone` that is exported with `state`; after ends. */
static void
explains_message(const char *state, const char *phone, const char *part)
{
    char path[128], what[160];
    struct message m = {state, phone, ""};
    snprintf(path, sizeof(path), "%s/messages.csv", cluster_dir(cluster));
    ck_assert_int_eq(audit_read_csv(path, NULL, on_message, &m, stderr), 0);
    ck_assert_str_ne(m.token, "");
    snprintf(what, sizeof(what), "message %s", m.token);
    explains(what, part);
}

/* The buckets of a source sum to its audience. */
static int64_t
explained_sum(const char *source)
{
    char words[128], *output, *save = NULL;
    snprintf(words, sizeof(words), "explain %s --format csv", source);
    int code = cluster_fleetcast(cluster, &output, words);
    ck_assert_msg(code == 0, "%s: exit code %d\n%s", words, code, output);
    int64_t sum = 0;
    unsigned rows = 0;
    for (char *line = strtok_r(output, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
        char *comma = strchr(line, ',');
        if (rows++ > 0 && comma)
            sum += atoll(comma + 1);
    }
    free(output);
    return sum;
}

static bool
is_paced_out(void *arg)
{
    uint64_t *count = arg;
    return (uint64_t) cluster_control(cluster, "{}", "taken") >= *count;
}

/* `count` came, and then no more while everything else that could come does (`what`). */
static void
stays_at(uint64_t count)
{
    if (!process_wait(SECONDS(30), is_paced_out, &count)) {
        char *status;
        cluster_fleetcast(cluster, &status, "status");
        ck_abort_msg("%ld of %lu came\n%s", cluster_control(cluster, "{}", "taken"),
                     (unsigned long) count, status);
    }
    for (usec_t end = clock_boot() + SECONDS(2); clock_boot() < end;)
        cluster_look(cluster, NULL);
    ck_assert_int_eq(cluster_control(cluster, "{}", "taken"), count);
}

static const char hello[] = "templates:\n  hello: { text: \"Hi {{name|there}}\" }\n"
                            "campaigns:\n  hello: { template: hello }\n";

/* ---- quiet hours ---- */

/* "HH:MM" of now + minutes in the zone, by the C library. */
static void
local_minute(char out[static 8], const char *zone, int minutes)
{
    setenv("TZ", zone, 1);
    tzset();
    time_t at = time(NULL) + minutes * 60;
    struct tm local;
    localtime_r(&at, &local);
    snprintf(out, 8, "%02d:%02d", local.tm_hour, local.tm_min);
    unsetenv("TZ");
    tzset();
}

/* Devices in three zones: in the middle of quiet hours, before them, and after them. */
START_TEST(quiet_hours_in_three_zones)
{
    static const char *const zones[] = {"Asia/Kathmandu", "America/St_Johns", "Pacific/Kiritimati"};
    char devices[2048] = "device_id,name,transport,address,token,min_delay_ms,max_delay_ms,zone,"
                         "quiet\n";
    for (unsigned i = 0; i < 9; i++) {
        char from[8], to[8], *end = devices + strlen(devices);
        int shift = i % 3 == 0 ? -60 : i % 3 == 1 ? 60 : -180; /* now is in it, before it, after */
        local_minute(from, zones[i / 3], shift);
        local_minute(to, zones[i / 3], shift + 120);
        sprintf(end, "%u,d,cloudapi,500%u,t,20,60,%s,%s-%s\n", i + 1, i + 1, zones[i / 3], from,
                to);
    }
    char *leads = leads_of(9, 4, "Ann,,");
    begins(2, devices, leads, hello);
    free(leads);
    char lines[256] = "";
    for (unsigned d = 1; d <= 9; d += 3)
        sprintf(lines + strlen(lines), "quiet-device,%u,1,0\n", d);
    cluster_put(cluster, "silences", lines);
    cluster_campaign(cluster);
    stays_at(24);
    explains("device 1", "quiet");
    explains("lead +6010004000000", "quiet");
    ck_assert_int_eq(explained_sum("campaign hello"), 36);
    struct cluster_counts n = cluster_look(cluster, "hello");
    ck_assert_int_eq(n.sent, 24);
    ck_assert_int_eq(n.waiting, 12);
    ends(12);
}
END_TEST

/* A step's window that is closed holds its row only: the device sends what else it has. */
START_TEST(a_window_holds_the_row)
{
    char from[8], to[8], content[1024];
    local_minute(from, "Asia/Kuala_Lumpur", 120);
    local_minute(to, "Asia/Kuala_Lumpur", 240);
    snprintf(content, sizeof(content),
             "templates:\n  hello: { text: \"Hi {{name|there}}\" }\n"
             "campaigns:\n  hello: { template: hello }\n"
             "sequences:\n  cold:\n    trigger: COLD\n    steps:\n"
             "      - { step: 1, delay: 0, text: \"in its window\", window: \"%s-%s\" }\n",
             from, to);
    char *leads = leads_of(3, 4, "Ann,COLD,");
    begins(1,
           "device_id,name,transport,address,token,min_delay_ms,max_delay_ms,zone\n"
           "1,d,cloudapi,5001,t,20,60,Asia/Kuala_Lumpur\n2,d,cloudapi,5002,t,20,60,"
           "Asia/Kuala_Lumpur\n3,d,cloudapi,5003,t,20,60,Asia/Kuala_Lumpur\n",
           leads, content);
    free(leads);
    cluster_put(cluster, "silences", "quiet-source,cold,1,0\n");
    cluster_must(cluster, 0, "sequence start cold");
    cluster_campaign(cluster);
    stays_at(12);
    explains("lead +6010001000000", "window");
    ck_assert_int_eq(explained_sum("sequence cold"), 12);
    ck_assert_int_eq(cluster_look(cluster, "cold").waiting, 12);
    ck_assert_int_eq(cluster_look(cluster, "hello").sent, 12);
    ends(12);
}
END_TEST

/* ---- caps ---- */

/* Seven a day, in spite of restarts and crashes: what was reserved counts as used. */
START_TEST(daily_cap_survives)
{
    char *leads = leads_of(3, 20, "Ann,,");
    begins(1,
           "device_id,name,transport,address,token,min_delay_ms,max_delay_ms,zone,daily_cap,"
           "hourly_cap\n1,d,cloudapi,5001,t,50,100,Asia/Kuala_Lumpur,7,\n"
           "2,d,cloudapi,5002,t,50,100,Asia/Kuala_Lumpur,200,9\n"
           "3,d,cloudapi,5003,t,50,100,Asia/Kuala_Lumpur,,\n",
           leads, hello);
    free(leads);
    cluster_campaign(cluster);
    cluster_taken(cluster, 5, SECONDS(20));
    cluster_signal(cluster, "n1", SIGKILL);
    cluster_do(cluster, "start", "n1");
    cluster_taken(cluster, 12, SECONDS(20));
    cluster_do(cluster, "stop", "n1");
    cluster_do(cluster, "start", "n1");
    for (usec_t limit = clock_boot() + SECONDS(20);
         cluster_sql(cluster, "p1", "SELECT count(*) FROM enrollment WHERE device_id = 3") > 0 &&
         clock_boot() < limit;)
        continue;
    for (usec_t end = clock_boot() + SECONDS(2); clock_boot() < end;)
        cluster_look(cluster, NULL);
    explains("device 1", "daily cap");
    explains("device 2", "cap");
    ck_assert_int_eq(explained_sum("campaign hello"), 60);
    struct cluster_counts n = cluster_look(cluster, "hello");
    ck_assert_int_ge(n.sent + n.unknown, 20 + 7 + 9 - 2 * 2); /* a block lost with each crash */
    ends((uint64_t) n.waiting);
}
END_TEST

START_TEST(warm_up_limits_a_young_device)
{
    char *leads = leads_of(2, 24, "Ann,,");
    begins(1,
           "device_id,name,transport,address,token,min_delay_ms,max_delay_ms,zone,daily_cap,age\n"
           "1,d,cloudapi,5001,t,10,30,Asia/Kuala_Lumpur,100,1\n"
           "2,d,cloudapi,5002,t,10,30,Asia/Kuala_Lumpur,100,40\n",
           leads, hello);
    free(leads);
    cluster_campaign(cluster);
    stays_at(44);
    explains("device 1", "warm");
    ends(4);
}
END_TEST

/* ---- time to live, missing variables ---- */

static const char two_steps[] =
    "variables: [city]\n"
    "sequences:\n  cold:\n    trigger: COLD\n    on_skip: continue\n    steps:\n"
    "      - { step: 1, delay: 0, text: \"one\" }\n"
    "      - { step: 2, delay: 5s, ttl: 2s, text: \"two\" }\n"
    "      - { step: 3, delay: 1s, text: \"three\" }\n"
    "  stops:\n    trigger: STOPS\n    on_skip: stop\n    steps:\n"
    "      - { step: 1, delay: 0, text: \"from {{city}}\" }\n"
    "      - { step: 2, delay: 0, text: \"then\" }\n"
    "  goes:\n    trigger: GOES\n    steps:\n"
    "      - { step: 1, delay: 0, text: \"from {{city}}\" }\n"
    "      - { step: 2, delay: 1s, text: \"then\" }\n";
static const char three_devices[] =
    "device_id,name,transport,address,token,min_delay_ms,max_delay_ms,zone\n"
    "1,d,cloudapi,5001,t,10,30,UTC\n2,d,cloudapi,5002,t,10,30,UTC\n3,d,cloudapi,5003,t,10,30,UTC\n";

/* Paused over the second step's time to live: it expires visibly, and the third follows. */
START_TEST(a_step_expires_and_the_next_follows)
{
    char *leads = leads_of(3, 5, "Ann,COLD,");
    begins(1, three_devices, leads, two_steps);
    free(leads);
    cluster_started(cluster, "cold");
    cluster_must(cluster, 0, "sequence start cold");
    cluster_taken(cluster, 15, SECONDS(20));
    cluster_silence(cluster, "pause-source", "cold", "sequence pause cold");
    for (usec_t end = clock_boot() + SECONDS(9); clock_boot() < end;)
        cluster_look(cluster, NULL);
    cluster_reopen(cluster, "pause-source", "cold", "sequence resume cold");
    cluster_settles(cluster, SECONDS(30));
    struct audit_result r = ends(0);
    ck_assert_uint_eq(r.ended, 15);
    ck_assert_uint_eq(r.sent, 30);
    explains_message("expired", "6010001000000", "expired");
    struct cluster_counts n = cluster_look(cluster, "cold");
    ck_assert_int_eq(n.audience, 15);
    ck_assert_int_eq(n.sent, 15); /* it went through */
}
END_TEST

START_TEST(a_missing_variable_is_skipped)
{
    static const char leads[] = "device_id,phone,name,trigger,city\n"
                                "1,+6010001000000,Ann,STOPS,\n"
                                "1,+6010001000001,Ann,STOPS,\n"
                                "1,+6010001000002,Ann,STOPS,\n"
                                "1,+6010001000003,Ann,STOPS,\n"
                                "2,+6010002000000,Ann,GOES,\n"
                                "2,+6010002000001,Ann,GOES,\n"
                                "2,+6010002000002,Ann,GOES,\n"
                                "2,+6010002000003,Ann,GOES,\n"
                                "3,+6010003000000,Bo,GOES,Ipoh\n";
    begins(1, three_devices, leads, two_steps);
    cluster_started(cluster, "stops,goes");
    cluster_must(cluster, 0, "sequence start stops");
    cluster_must(cluster, 0, "sequence start goes");
    cluster_taken(cluster, 6, SECONDS(20));
    cluster_settles(cluster, SECONDS(20));
    explains("lead +6010001000000", "missing");
    struct audit_result r = ends(0);
    explains_message("skipped", "6010002000000", "missing");
    ck_assert_uint_eq(r.sent, 4 + 2); /* the second step of those that go on, and Bo's two */
    ck_assert_uint_eq(r.ended, 8);
    ck_assert_uint_eq(r.not_due, 4);
    ck_assert_int_eq(cluster_look(cluster, "stops").skipped, 4);
    ck_assert_int_eq(cluster_look(cluster, "goes").sent, 5);
    ck_assert_int_eq(explained_sum("sequence stops"), 4);
    ck_assert_int_eq(explained_sum("sequence goes"), 5);
}
END_TEST

int
main(void)
{
    Suite *suite = suite_create("gates");
    cluster_case(suite, quiet_hours_in_three_zones, away);
    cluster_case(suite, a_window_holds_the_row, away);
    cluster_case(suite, daily_cap_survives, away);
    cluster_case(suite, warm_up_limits_a_young_device, away);
    cluster_case(suite, a_step_expires_and_the_next_follows, away);
    cluster_case(suite, a_missing_variable_is_skipped, away);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int bad = srunner_ntests_failed(runner);
    srunner_free(runner);
    cluster_sweep();
    return bad == 0 ? 0 : 1;
}
