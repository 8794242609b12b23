/* test_optouts.c - after an opt-out was acknowledged no send to that phone starts, by the
 * provider's clock, at any instant and under kill -9. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "shared/rng.h"
#include "tests/support/audit_read.h"
#include "tests/support/cluster.h"
#include "tests/support/process.h"

#define SECONDS(n) ((n) *USEC_PER_SEC)
#define DEVICES    30u
#define LEADS      16u

static struct cluster *cluster;

static void
away(void)
{
    cluster = cluster_free(cluster);
}

static void
phone_of(char phone[static 24], unsigned device, unsigned lead)
{
    snprintf(phone, 24, "+601%04u%06u", device, lead);
}

static void
opt_out(unsigned device, unsigned lead, const char *reason)
{
    char phone[24], words[128];
    phone_of(phone, device, lead);
    snprintf(words, sizeof(words), "optout add %s --reason %s", phone, reason);
    cluster_silence(cluster, "optout", phone, words);
}

static void
begins(unsigned latency_ms)
{
    cluster = cluster_new(&(struct cluster_options){.devices = DEVICES,
                                                    .leads = LEADS,
                                                    .min_delay = 80,
                                                    .max_delay = 250,
                                                    .latency_min_ms = 1,
                                                    .latency_max_ms = latency_ms,
                                                    .sequences = 500});
    cluster_must(cluster, 0, "sequence start hot");
    cluster_must(cluster, 0, "sequence start warm");
    cluster_must(cluster, 0, "sequence start cold");
    cluster_must(cluster, 0, "campaign start spring");
    cluster_campaign(cluster);
}

static unsigned
seed(void)
{
    const char *text = getenv("FLEETCAST_SEED");
    unsigned value = text ? (unsigned) atoi(text) : 4711;
    fprintf(stderr, "FLEETCAST_SEED=%u\n", value);
    return value;
}

/* Until a random number of messages more. */
static void
random_while(struct rng *r)
{
    uint64_t taken = (uint64_t) cluster_control(cluster, "{}", "taken");
    cluster_taken(cluster, taken + rng_between(r, 0, 12), SECONDS(20));
}

/* Every phone once, in a random order. */
static void
shuffle(struct rng *r, unsigned order[static DEVICES * LEADS])
{
    for (unsigned i = 0; i < DEVICES * LEADS; i++) {
        unsigned k = (unsigned) rng_between(r, 0, i);
        order[i] = order[k];
        order[k] = i;
    }
}

START_TEST(a_hundred_at_random_offsets)
{
    struct rng r;
    unsigned order[DEVICES * LEADS];
    rng_seed(&r, seed());
    begins(60);
    shuffle(&r, order);
    for (unsigned i = 0; i < 100; i++) {
        opt_out(1 + order[i] / LEADS, order[i] % LEADS, "stop");
        if (i % 10 == 0)
            cluster_look(cluster, NULL);
        else if (i % 3 == 0)
            random_while(&r);
    }
    struct audit_result a = cluster_ends(cluster);
    ck_assert_uint_gt(a.not_due, 100); /* they did stop something */
    char *output;
    ck_assert_int_eq(cluster_fleetcast(cluster, &output, "optout ls --format csv"), 0);
    unsigned lines = 0;
    for (const char *p = output; (p = strstr(p, "stop")); p++)
        lines++;
    ck_assert_msg(lines == 100, "%u of 100 opt-outs\n%s", lines, output);
    free(output);
}
END_TEST

/* The driver dies between the opt-outs: what was acknowledged before holds, what could not be
 * reached says so. */
START_TEST(under_kill)
{
    struct rng r;
    unsigned order[DEVICES * LEADS];
    rng_seed(&r, seed() + 1);
    begins(30);
    shuffle(&r, order);
    for (unsigned i = 0; i < 60; i++) {
        char phone[24], words[128], *output;
        phone_of(phone, 1 + order[i] / LEADS, order[i] % LEADS);
        if (i % 12 == 6) {
            cluster_signal(cluster, "n2", SIGKILL);
            snprintf(words, sizeof(words), "optout add %s --reason stop --timeout 3s", phone);
            int code = cluster_fleetcast(cluster, &output, words);
            ck_assert_msg(code == 3 && strstr(output, "p2"), "exit code %d\n%s", code, output);
            free(output);
            cluster_do(cluster, "start", "n2");
        }
        opt_out(1 + order[i] / LEADS, order[i] % LEADS, "stop");
        if (i % 4 == 0)
            random_while(&r);
    }
    struct audit_result a = cluster_ends(cluster);
    ck_assert_uint_eq(a.sent + a.unknown + a.ended + a.not_due, a.asked);
}
END_TEST

/* The message on the wire in that moment ends as what it is; nothing follows it. */
START_TEST(while_on_the_wire)
{
    begins(1);
    for (unsigned d = 1; d <= 6; d++) {
        char rule[160];
        snprintf(rule, sizeof(rule),
                 "{\"rules\":[{\"fault\":\"delay\",\"ms\":1200,\"count\":1,\"address\":"
                 "\"10655%07u\"}]}",
                 d);
        long requests = cluster_control(cluster, rule, "requests");
        (void) requests;
        /* which phone is it: the one that the database shows as claimed */
        char partition[4] = {'p', '1', '\0'}, sql[256];
        int64_t phone = -1;
        for (usec_t limit = clock_boot() + SECONDS(10); phone < 0 && clock_boot() < limit;)
            for (char p = '1'; p <= '3' && phone < 0; p++) {
                partition[1] = p;
                snprintf(sql, sizeof(sql),
                         "SELECT l.phone FROM enrollment e JOIN lead l USING (device_id, lead_no)"
                         " WHERE e.state = 1 AND e.device_id = %u LIMIT 1",
                         d);
                phone = cluster_sql(cluster, partition, sql);
            }
        ck_assert_int_gt(phone, 0);
        char text[24], words[128];
        snprintf(text, sizeof(text), "+%lld", (long long) phone);
        snprintf(words, sizeof(words), "optout add %s --reason stop", text);
        cluster_silence(cluster, "optout", text, words);
    }
    cluster_control(cluster, "{\"rules\":[]}", "taken");
    struct audit_result a = cluster_ends(cluster);
    ck_assert_uint_eq(a.unknown, 0);
}
END_TEST

/* Taken back: new messages go, what was ended stays ended. */
START_TEST(taken_back)
{
    cluster = cluster_new(&(struct cluster_options){
        .nodes = 1, .devices = 4, .leads = 3, .min_delay = 20, .max_delay = 60});
    char phone[24];
    phone_of(phone, 2, 1);
    opt_out(2, 1, "stop");
    cluster_must(cluster, 4, "send 2 +6010002000001 no --key no");
    cluster_campaign(cluster);
    cluster_taken(cluster, 11, SECONDS(20));
    cluster_settles(cluster, SECONDS(20));
    ck_assert_int_eq(cluster_control(cluster, "{}", "taken"), 11);
    ck_assert_int_eq(cluster_look(cluster, "hello").skipped, 1);
    cluster_reopen(cluster, "optout", phone, "optout rm +6010002000001 --reason sorry");
    cluster_direct(cluster, 2, phone, "welcome-back");
    cluster_taken(cluster, 12, SECONDS(20));
    struct audit_result a = cluster_ends(cluster);
    ck_assert_uint_eq(a.sent, 12);
    ck_assert_uint_eq(a.ended + a.not_due, 1);
}
END_TEST

/* A file of them, with rows that are none. */
START_TEST(imported)
{
    cluster = cluster_new(&(struct cluster_options){
        .nodes = 2, .devices = 6, .leads = 3, .min_delay = 20, .max_delay = 60});
    char words[128], line[128], *output;
    cluster_put(cluster, "stop.csv",
                "phone,reason\n+6010001000000,stop\nrubbish,stop\n+6010004000001,\"moved away\"\n");
    snprintf(words, sizeof(words), "optout import %s/stop.csv", cluster_dir(cluster));
    int code = cluster_fleetcast(cluster, &output, words);
    ck_assert_msg(code == 3 && strstr(output, "rubbish"), "exit code %d\n%s", code, output);
    free(output);
    snprintf(line, sizeof(line), "optout,+6010001000000,%llu,0\noptout,+6010004000001,%llu,0\n",
             (unsigned long long) clock_boot(), (unsigned long long) clock_boot());
    cluster_put(cluster, "silences", line);
    cluster_campaign(cluster);
    cluster_settles(cluster, SECONDS(30));
    ck_assert_uint_eq(cluster_ends(cluster).sent, 16);
}
END_TEST

int
main(void)
{
    Suite *suite = suite_create("optouts");
    cluster_case(suite, a_hundred_at_random_offsets, away);
    cluster_case(suite, under_kill, away);
    cluster_case(suite, while_on_the_wire, away);
    cluster_case(suite, taken_back, away);
    cluster_case(suite, imported, away);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int bad = srunner_ntests_failed(runner);
    srunner_free(runner);
    cluster_sweep();
    return bad == 0 ? 0 : 1;
}
