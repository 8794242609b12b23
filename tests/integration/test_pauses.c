/* test_pauses.c - pause, resume and cancel under load, at random instants and at every scope. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "shared/rng.h"
#include "tests/support/cluster.h"
#include "tests/support/process.h"

#define SECONDS(n) ((n) *USEC_PER_SEC)

static struct cluster *cluster;

static void
away(void)
{
    cluster = cluster_free(cluster);
}

static void
begins(void)
{
    cluster = cluster_new(&(struct cluster_options){.devices = 30,
                                                    .leads = 20,
                                                    .min_delay = 50,
                                                    .max_delay = 150,
                                                    .latency_min_ms = 1,
                                                    .latency_max_ms = 40,
                                                    .sequences = 400});
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

struct scope {
    const char *kind, *what, *pause, *resume;
};
static const struct scope scopes[] = {
    {"pause-source", "hello", "campaign pause hello", "campaign resume hello"},
    {"pause-source", "spring", "campaign pause spring", "campaign resume spring"},
    {"pause-source", "cold", "sequence pause cold", "sequence resume cold"},
    {"pause-source", "warm", "sequence pause warm", "sequence resume warm"},
    {"pause-device", "3", "device pause 3", "device resume 3"},
    {"pause-device", "17", "device pause 17", "device resume 17"},
    {"pause-cluster", "*", "pause", "resume"},
};

static void
pause_scope(const struct scope *s)
{
    char words[128];
    snprintf(words, sizeof(words), "%s --because %s", s->pause, "testing");
    cluster_silence(cluster, s->kind, s->what, words);
}

START_TEST(at_random_instants)
{
    struct rng r;
    rng_seed(&r, seed());
    begins();
    for (unsigned i = 0; i < 21; i++) {
        const struct scope *s = &scopes[rng_between(&r, 0, ARRAY_SIZE(scopes) - 1)];
        cluster_taken(cluster, 20 * i + rng_between(&r, 1, 40), SECONDS(30));
        pause_scope(s);
        struct cluster_counts before = cluster_look(cluster, s->what);
        for (int k = 0; k < 3; k++)
            cluster_look(cluster, NULL);
        struct cluster_counts after = cluster_look(cluster, s->what);
        if (strcmp(s->kind, "pause-source") == 0)
            ck_assert_str_eq(after.state, "paused");
        ck_assert_int_ge(after.sent, before.sent); /* what was on the wire ends */
        cluster_reopen(cluster, s->kind, s->what, s->resume);
    }
    struct audit_result a = cluster_ends(cluster);
    ck_assert_uint_eq(a.unknown, 0);
    ck_assert_uint_eq(a.sent, a.asked);
}
END_TEST

/* A pause outlives the driver: whoever drives next holds it, too. */
START_TEST(under_kill)
{
    begins();
    cluster_taken(cluster, 100, SECONDS(30));
    pause_scope(&scopes[0]);
    pause_scope(&scopes[2]);
    pause_scope(&scopes[4]);
    for (int i = 1; i <= 3; i++) {
        char name[4] = {'n', (char) ('0' + i), '\0'};
        cluster_signal(cluster, name, SIGKILL);
        cluster_do(cluster, "start", name);
        ck_assert_str_eq(cluster_look(cluster, "hello").state, "paused");
    }
    cluster_reopen(cluster, scopes[0].kind, scopes[0].what, scopes[0].resume);
    cluster_reopen(cluster, scopes[2].kind, scopes[2].what, scopes[2].resume);
    cluster_reopen(cluster, scopes[4].kind, scopes[4].what, scopes[4].resume);
    struct audit_result a = cluster_ends(cluster);
    ck_assert_uint_eq(a.sent + a.unknown + a.not_due, a.asked);
    ck_assert_uint_le(a.unknown, 30);
}
END_TEST

/* Each scope with --for: it ends by itself, also when the coordinator is not there. */
START_TEST(with_an_end)
{
    begins();
    cluster_taken(cluster, 50, SECONDS(30));
    usec_t asked = clock_boot();
    cluster_must(cluster, 0, "pause --for 3s --because lunch");
    usec_t paused = clock_boot();
    cluster_signal(cluster, "c1", SIGKILL);
    uint64_t taken = (uint64_t) cluster_control(cluster, "{}", "taken");
    cluster_taken(cluster, taken + 60, SECONDS(30)); /* beyond what was on the wire */
    ck_assert_uint_ge(clock_boot() - asked, SECONDS(3));
    cluster_do(cluster, "start", "c1");
    char lines[128];
    snprintf(lines, sizeof(lines), "pause-cluster,*,%llu,%llu\n", (unsigned long long) paused,
             (unsigned long long) (asked + 3 * USEC_PER_SEC - 20 * USEC_PER_MSEC));
    cluster_put(cluster, "silences", lines);
    cluster_ends(cluster);
}
END_TEST

static void
ends_by_itself(const char *words, const char *source)
{
    cluster_must(cluster, 0, words);
    struct cluster_counts n = cluster_look(cluster, source);
    ck_assert_str_eq(n.state, "paused");
    usec_t limit = clock_boot() + SECONDS(15);
    do
        n = cluster_look(cluster, source);
    while (strcmp(n.state, "paused") == 0 && clock_boot() < limit);
    ck_assert_str_ne(n.state, "paused");
}

START_TEST(sources_with_an_end)
{
    begins();
    cluster_taken(cluster, 50, SECONDS(30));
    ends_by_itself("campaign pause hello --for 2s", "hello");
    ends_by_itself("sequence pause cold --for 2s", "cold");
    cluster_must(cluster, 0, "device pause 5 --for 1s");
    struct audit_result a = cluster_ends(cluster);
    ck_assert_uint_eq(a.sent, a.asked);
}
END_TEST

START_TEST(cancel_under_load)
{
    begins();
    cluster_taken(cluster, 120, SECONDS(30));
    cluster_silence(cluster, "cancel", "hello", "campaign cancel hello --because wrong");
    for (int k = 0; k < 3; k++)
        cluster_look(cluster, NULL);
    cluster_taken(cluster, 400, SECONDS(30));
    cluster_silence(cluster, "cancel", "warm", "sequence cancel warm --because wrong");
    struct audit_result a = cluster_ends(cluster);
    ck_assert_uint_eq(a.sent + a.unknown + a.ended + a.not_due, a.asked);
    struct cluster_counts n = cluster_look(cluster, "hello");
    ck_assert_str_eq(n.state, "cancelled");
    ck_assert_int_eq(n.waiting, 0);
    ck_assert_int_gt(n.cancelled, 0);
    ck_assert_int_gt(n.sent, 0);
    ck_assert_int_eq(n.audience, 600);
    n = cluster_look(cluster, "warm");
    ck_assert_int_eq(n.waiting, 0);
    ck_assert_int_gt(cluster_look(cluster, "cold").sent, 0); /* it went through, the chain is cut */
    cluster_must(cluster, 4, "campaign resume hello");
}
END_TEST

/* A partition without a driver: exit 3 names it, and it obeys before it sends anything. */
START_TEST(partition_not_reached)
{
    begins();
    cluster_taken(cluster, 100, SECONDS(30));
    cluster_signal(cluster, "n3", SIGKILL);
    char *output;
    int code = cluster_fleetcast(cluster, &output, "campaign pause hello --because test");
    ck_assert_msg(code == 3 && strstr(output, "p3"), "exit code %d\n%s", code, output);
    free(output);
    cluster_do(cluster, "start", "n3");
    code = cluster_fleetcast(cluster, &output, "campaign pause hello --because test");
    ck_assert_msg(code == 0, "exit code %d\n%s", code, output);
    free(output);
    char line[128];
    snprintf(line, sizeof(line), "pause-source,hello,%llu,0\n", (unsigned long long) clock_boot());
    cluster_put(cluster, "silences", line);
    cluster_look(cluster, NULL);
    uint64_t taken = (uint64_t) cluster_control(cluster, "{}", "taken");
    cluster_taken(cluster, taken + 50, SECONDS(30)); /* the sequences go on */
    cluster_reopen(cluster, "pause-source", "hello", "campaign resume hello");
    struct audit_result a = cluster_ends(cluster);
    ck_assert_uint_eq(a.sent + a.unknown + a.not_due, a.asked);
}
END_TEST

/* "scheduled" until its time, by the coordinator's database; a restart forgets nothing. */
START_TEST(start_at_a_time)
{
    cluster = cluster_new(&(struct cluster_options){
        .nodes = 2, .devices = 10, .leads = 3, .min_delay = 20, .max_delay = 60});
    cluster_must(cluster, 0, "campaign start hello --at 4s");
    usec_t ordered = clock_boot();
    ck_assert_str_eq(cluster_look(cluster, "hello").state, "scheduled");
    cluster_signal(cluster, "c1", SIGKILL);
    cluster_do(cluster, "start", "c1");
    cluster_taken(cluster, 1, SECONDS(30));
    ck_assert_uint_ge(clock_boot() - ordered, SECONDS(3));
    cluster_taken(cluster, 30, SECONDS(30)); /* partitions hear of it one after the other */
    ck_assert_uint_eq(cluster_ends(cluster).sent, 30);
}
END_TEST

int
main(void)
{
    Suite *suite = suite_create("pauses");
    cluster_case(suite, at_random_instants, away);
    cluster_case(suite, under_kill, away);
    cluster_case(suite, with_an_end, away);
    cluster_case(suite, sources_with_an_end, away);
    cluster_case(suite, cancel_under_load, away);
    cluster_case(suite, partition_not_reached, away);
    cluster_case(suite, start_at_a_time, away);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int bad = srunner_ntests_failed(runner);
    srunner_free(runner);
    cluster_sweep();
    return bad == 0 ? 0 : 1;
}
