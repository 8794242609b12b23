/* test_verbs.c - sequences, people, gates and capacity through the command: words and exit codes.
 */
#include <check.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "tests/support/cluster.h"

#define SECONDS(n) ((n) *USEC_PER_SEC)

static struct cluster *cluster;

static void
away(void)
{
    cluster = cluster_free(cluster);
}

static void
apply(int code, const char *word, const char *options, const char *yaml)
{
    cluster_put(cluster, "c.yaml", yaml);
    cluster_expect(cluster, code, word, "apply-content %s/c.yaml %s", cluster_dir(cluster),
                   options);
}

/* Waits, by asking, until the answer has the word. */
static void
until(const char *word, const char *words, usec_t limit)
{
    usec_t deadline = clock_boot() + limit;
    char *output = NULL;
    bool found = false;
    while (!found && clock_boot() < deadline) {
        free(output);
        output = NULL;
        cluster_fleetcast(cluster, &output, words);
        found = strstr(output, word) != NULL;
    }
    ck_assert_msg(found, "%s: no \"%s\" in\n%s", words, word, output);
    free(output);
}

/* ---- exit codes, the bad ones first ---- */

START_TEST(usage_is_2)
{
    static const struct {
        const char *words, *word;
    } cases[] = {
        {"send 1 +60123456789 hello", "--key KEY is needed"},
        {"send 1 hello hello --key k", "not a phone number"},
        {"send x +60123456789 hello --key k", "a device is a whole number"},
        {"send 1 +60123456789 hello --key k --ttl 5", "--ttl \"5\": a span"},
        {"optout add 12", "too short"},
        {"optout import /dev/null --country x", "calling code"},
        {"lead forget 012-3456789 --yes", "country"},
        {"campaign start x --at yesterday", "--at \"yesterday\": a UTC time"},
        {"sequence start x --at 2020-01-01T00:00:00Z", "that time is over"},
        {"campaign pause x --for 0s", "--for \"0s\": a span"},
        {"device pause x", "a device is a whole number"},
        {"preview x", "--lead PHONE is needed"},
        {"node set n1", "--enrol-rate N is needed"},
        {"node set n1 --enrol-rate fast", "--enrol-rate N is needed"},
        {"apply-content x --for some", "new (who is enrolled keeps the old steps) or all"},
        {"export messages --since yesterday", "a UTC time"},
        {"explain cat 5", "explain what?"},
        {"plan capacity a b", "plan capacity [SOURCE]"},
        {"pause now", "usage: fleetcast pause"},
    };
    cluster = cluster_bare(&(struct cluster_options){.nodes = 1});
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
        cluster_expect(cluster, 2, cases[i].word, "%s", cases[i].words);
}
END_TEST

START_TEST(a_silent_coordinator_is_6_and_nobody_to_ask_4)
{
    static const char *const verbs[] = {"sequence ls",
                                        "sequence show x",
                                        "sequence start x",
                                        "pause",
                                        "resume",
                                        "send 1 +60123456789 x --key k",
                                        "lead show +60123456789",
                                        "lead enrol +60123456789 cold",
                                        "lead remove +60123456789 cold",
                                        "lead forget +60123456789 --yes",
                                        "optout add +60123456789",
                                        "optout rm +60123456789",
                                        "optout ls",
                                        "explain device 1",
                                        "explain lead +60123456789",
                                        "explain campaign x",
                                        "plan capacity",
                                        "device pause 1",
                                        "node set n1 --enrol-rate 5",
                                        "export leads",
                                        "preview x --lead +60123456789"};
    cluster = cluster_bare(&(struct cluster_options){.nodes = 1});
    for (size_t i = 0; i < ARRAY_SIZE(verbs); i++)
        cluster_expect(cluster, 6, "no answer from coordinator c1", "%s --timeout 300ms", verbs[i]);
    cluster_expect(cluster, 4, "fleetcast lead forget +60123456789 --yes",
                   "lead forget +60123456789");
}
END_TEST

/* ---- content and sequences ---- */

#define CHAIN                                                                                      \
    "  cold:\n    trigger: COLD\n    next_sequence: warm\n    steps:\n"                            \
    "      - { step: 1, delay: 0, text: \"first {{name|you}}\" }\n"                                \
    "      - { step: 2, delay: 1d, text: \"second\" }\n"                                           \
    "  warm:\n    next_sequence: hot\n    steps: [ { step: 1, delay: 1d, text: \"warm\" } ]\n"     \
    "  hot:\n    steps: [ { step: 1, delay: 1d, text: \"hot\" } ]\n"

/* Leads 0 and 1 of two devices, the first of each with a trigger. */
#define LEADS                                                                                      \
    "device_id,phone,name,trigger,city\n"                                                          \
    "1,+60111111111,Ann,COLD,Penang\n1,+60111111112,Bo,,Ipoh\n"                                    \
    "2,+60122222221,Chen,COLD,\n2,+60122222222,Dewi,,Ipoh\n"

static void
start_cluster(unsigned nodes)
{
    cluster = cluster_new(&(struct cluster_options){.nodes = nodes,
                                                    .devices = 2,
                                                    .leads_csv = LEADS,
                                                    .content = "templates:\n  hi: { text: \"Hi "
                                                               "{{name|you}}\" }\n"
                                                               "campaigns:\n  hello: { template: "
                                                               "hi }\nsequences:\n" CHAIN});
}

START_TEST(content_is_refused_with_what_to_do)
{
    start_cluster(1);
    apply(4, "no lead has a column of that name (nearest: city)", "",
          "templates:\n  t: { text: \"{{ctiy}}\" }\n");
    apply(4, "--allow-unknown", "", "templates:\n  t: { text: \"{{ctiy}}\" }\n");
    apply(0, "1 created", "--allow-unknown", "templates:\n  t: { text: \"{{ctiy}}\" }\n");
    apply(0, "1 created", "", "variables: [ctiy]\ntemplates:\n  u: { text: \"{{ctiy}}\" }\n");
    apply(1, "hot -> cold", "",
          "sequences:\n  cold: { next_sequence: hot, steps: [ { step: 1, delay: 0, text: x } ] }\n"
          "  hot: { next_sequence: cold, steps: [ { step: 1, delay: 0, text: x } ] }\n");
    apply(4, "nowhere", "",
          "sequences:\n  s: { next_sequence: nowhere, steps: [ { step: 1, delay: 0, text: x } ] "
          "}\n");
    cluster_expect(cluster, 1, "no sequence \"none\"", "sequence show none");
    cluster_expect(cluster, 1, "fleetcast sequence ls", "sequence start none");
    cluster_expect(cluster, 4, "it is draft", "sequence pause cold");
    cluster_expect(cluster, 4, "it is draft", "sequence resume cold");
    cluster_expect(cluster, 4, "was not started", "sequence watch cold --until-finished");
}
END_TEST

START_TEST(a_sequence_is_shown_with_who_stands_where)
{
    start_cluster(2);
    cluster_expect(cluster, 0, "sequence \"hot\" started", "sequence start hot");
    cluster_expect(cluster, 0, "started", "sequence start warm");
    cluster_expect(cluster, 0, "started", "sequence start cold --reason spring");
    until("\"count\": 2", "sequence show cold --format json", SECONDS(20));
    json_t *show = cluster_json(cluster, "sequence show cold");
    ck_assert_str_eq(json_string_value(json_object_get(show, "state")), "active");
    ck_assert_str_eq(json_string_value(json_object_get(show, "reason")), "spring");
    json_decref(show);
    cluster_expect(cluster, 0, "cold -> warm -> hot", "sequence show cold");
    cluster_expect(cluster, 0, "second", "sequence show cold");
    cluster_expect(cluster, 0, "cold,active,COLD,warm,2,1,", "sequence ls --format csv");
    cluster_expect(cluster, 0, "sequence  active", "status");
    cluster_expect(cluster, 5, "sequence watch cold",
                   "sequence watch cold --until-finished --timeout 500ms");
    cluster_expect(cluster, 0, "taken out", "lead remove +60111111111 cold");
    cluster_expect(cluster, 0, "taken out", "lead remove +60122222221 cold");
    cluster_expect(cluster, 0, "(= 2 leads)   2 messages",
                   "sequence watch cold --until-finished --timeout 20s");
    cluster_expect(cluster, 0, "COLD", "lead show +60111111111");
    cluster_expect(cluster, 0, "cold", "lead show 60111111111 --format csv");
    cluster_expect(cluster, 0, "\"triggers\"", "lead show +60-11-1111111 --format json");
    cluster_expect(cluster, 1, "no lead has the phone +60999999999", "lead show +60999999999");
}
END_TEST

START_TEST(an_edit_needs_a_word_and_for_all_says_who_changes)
{
    static const char longer[] = "sequences:\n  cold:\n    trigger: COLD\n    next_sequence: warm\n"
                                 "    steps:\n"
                                 "      - { step: 1, delay: 0, text: \"first {{name|you}}\" }\n"
                                 "      - { step: 2, delay: 2d, text: \"second\" }\n";
    start_cluster(1);
    cluster_expect(cluster, 0, "started", "sequence start cold");
    until("\"count\": 2", "sequence show cold --format json", SECONDS(20));
    until("\"messages\": 2", "sequence show cold --format json", SECONDS(20));
    apply(4, "--for new or --for all", "", longer);
    apply(4, "--for all --yes", "--for all", longer);
    apply(0, "2 of 2 enrolled leads change", "--for all --dry-run", longer);
    apply(0, "would be: 0 created, 1 changed", "--for all --dry-run", longer);
    apply(0, "step 2, 1d later", "--for all --yes", longer);
    cluster_expect(cluster, 0, "revision", "sequence show cold");
    json_t *show = cluster_json(cluster, "sequence show cold");
    ck_assert_int_eq(json_integer_value(json_object_get(show, "revision")), 2);
    ck_assert_int_eq(json_integer_value(json_object_get(show, "all_revision")), 2);
    json_decref(show);
    apply(0, "0 created, 0 changed, 1 unchanged", "--for all", longer);
}
END_TEST

START_TEST(a_preview_is_what_would_be_sent)
{
    start_cluster(2);
    cluster_expect(cluster, 0, "first Ann", "preview cold --lead +60111111111");
    cluster_expect(cluster, 0, "Hi Bo", "preview hello --lead +60111111112");
    cluster_put(cluster, "p.yaml",
                "templates:\n  hi: { variants: [\"A {{city}}\", \"B {{city}}\"] }\n");
    cluster_expect(cluster, 0, "Penang", "preview hi --lead +60111111111 --file %s/p.yaml",
                   cluster_dir(cluster));
    cluster_expect(cluster, 0, "of 2", "preview hello --lead +60111111111 --file %s/p.yaml",
                   cluster_dir(cluster));
    cluster_expect(cluster, 4, "missing variable",
                   "preview hi --lead +60122222221 --file %s/p.yaml", cluster_dir(cluster));
    cluster_expect(cluster, 1, "no template, campaign or sequence \"none\"",
                   "preview none --lead +60111111111");
    cluster_expect(cluster, 1, "no lead has the phone", "preview hi --lead +60999999999");
    cluster_expect(cluster, 1, "No such file",
                   "preview hi --lead +60111111111 --file /nonexistent");
}
END_TEST

/* ---- orders ---- */

START_TEST(pauses_end_and_say_what_was_on_the_wire)
{
    start_cluster(1);
    cluster_expect(cluster, 0, "scheduled", "campaign start hello --at 1h --format csv");
    cluster_expect(cluster, 0, "scheduled", "campaign ls");
    cluster_expect(cluster, 0, "starts 2", "status");
    cluster_expect(cluster, 0, "campaign \"hello\" started", "campaign start hello");
    cluster_expect(cluster, 0, "sends were on the wire",
                   "campaign pause hello --for 1h --reason wrong");
    cluster_expect(cluster, 0, "paused until 2", "status");
    cluster_expect(cluster, 0, ": \"wrong\"", "status");
    cluster_expect(cluster, 0, "\"paused_until\": \"2", "campaign show hello --format json");
    cluster_expect(cluster, 0, "resumed", "campaign resume hello");
    cluster_expect(cluster, 0, "the cluster is paused", "pause --reason fire --for 1h");
    cluster_expect(cluster, 3, "the cluster is paused until", "status");
    cluster_expect(cluster, 3, "next: fleetcast resume", "status");
    cluster_expect(cluster, 0, "the cluster is resumed", "resume");
    cluster_expect(cluster, 0, "OK", "status");
    cluster_expect(cluster, 0, "device 1 paused until 2",
                   "device pause 1 --for 1h --reason broken");
    cluster_expect(cluster, 0, "HELD BY  paused", "explain device 1");
    cluster_expect(cluster, 0, "broken", "explain device 1");
    cluster_expect(cluster, 0, "device 1 resumed: done", "device resume 1");
    cluster_expect(cluster, 1, "no device 77", "device pause 77");
}
END_TEST

START_TEST(who_is_not_reached_is_named_with_3)
{
    start_cluster(2);
    cluster_expect(cluster, 0, "started", "campaign start hello");
    cluster_signal(cluster, "n2", SIGKILL);
    cluster_expect(cluster, 3, "not yet in force on partition p2", "campaign pause hello");
    cluster_expect(cluster, 3, "did not reach partition p2",
                   "optout add +60133333333 --timeout 1s");
    cluster_expect(cluster, 3, "did not reach partition p2",
                   "lead forget +60133333334 --yes --timeout 1s");
    cluster_expect(cluster, 3, "partition p2 does not answer", "optout ls --timeout 500ms");
    cluster_expect(cluster, 3, "1 partition is missing", "export leads --timeout 500ms");
    cluster_expect(cluster, 3, "no answer from node n2",
                   "send 2 +60133333333 x --key k --timeout 500ms");
    cluster_expect(cluster, 3, "no answer from node n2", "device pause 2 --timeout 500ms");
    cluster_expect(cluster, 3, "no answer from node n2", "explain device 2 --timeout 500ms");
    cluster_expect(cluster, 3, "partition p2 does not answer",
                   "lead show +60111111111 --timeout 500ms");
    cluster_expect(cluster, 3, "partition p2 does not answer",
                   "sequence show cold --timeout 500ms");
    cluster_expect(cluster, 3, "partition p2 does not answer", "plan capacity --timeout 500ms");
    cluster_put(cluster, "o.csv", "phone\n+60144444444\n");
    cluster_expect(cluster, 3, "did not reach partition p2",
                   "optout import %s/o.csv --timeout-per-batch 1s", cluster_dir(cluster));
    cluster_do(cluster, "start", "n2");
    cluster_expect(cluster, 0, "known 0", "optout import %s/o.csv", cluster_dir(cluster));
    cluster_expect(cluster, 0, "known 1", "optout import %s/o.csv", cluster_dir(cluster));
    cluster_expect(cluster, 3, "not on every partition", "optout ls");
}
END_TEST

/* ---- people ---- */

START_TEST(people_opt_out_are_enrolled_removed_and_forgotten)
{
    start_cluster(2);
    const char *dir = cluster_dir(cluster);
    cluster_expect(cluster, 0, "started", "sequence start cold");
    cluster_expect(cluster, 0, "+60111111111 of account main opted out: done",
                   "optout add +60-11-111-1111 --reason stop");
    cluster_expect(cluster, 0, "known", "optout add +60111111111");
    cluster_expect(cluster, 0, "main,60111111111,stop,", "optout ls --format csv");
    cluster_expect(cluster, 0, "OPTED OUT", "lead show +60111111111");
    cluster_expect(cluster, 0, "done", "optout rm +60111111111");
    cluster_expect(cluster, 1, "not found", "optout rm +60111111111");
    cluster_put(cluster, "o.csv", "phone;reason\n+60 11-1111112;asked\n12;short\n6.01E+11;eaten\n");
    cluster_expect(cluster, 3, "added 1   known 0   rejected 2   (= 3 read)",
                   "optout import %s/o.csv", dir);
    cluster_expect(cluster, 3, "6.01E+11", "optout import %s/o.csv --rejects %s/r.csv", dir, dir);
    cluster_expect(cluster, 0, "main,60111111112,asked,", "optout ls --format csv");
    cluster_expect(cluster, 1, "no column \"phone\"", "optout import %s/leads.csv --delimiter ;",
                   dir);
    cluster_expect(cluster, 0, "enrolled in \"warm\": done", "lead enrol +60122222222 warm");
    cluster_expect(cluster, 0, "known", "lead enrol +60122222222 warm");
    cluster_expect(cluster, 0, "taken out of \"warm\": done", "lead remove +60122222222 warm");
    cluster_expect(cluster, 0, "known", "lead remove +60122222222 warm");
    cluster_expect(cluster, 0, "done", "lead enrol +60122222222 warm --again");
    cluster_expect(cluster, 1, "no sequence of that name", "lead enrol +60122222222 none");
    cluster_expect(cluster, 0, "done", "lead forget +60122222222 --yes");
    cluster_expect(cluster, 1, "no lead has the phone", "lead show +60122222222");
}
END_TEST

START_TEST(one_of_several_devices_is_asked_for)
{
    start_cluster(1);
    cluster_put(cluster, "same.csv", "device_id,phone\n1,+60155555555\n2,+60155555555\n");
    cluster_expect(cluster, 0, "accepted 2", "import leads %s/same.csv", cluster_dir(cluster));
    cluster_expect(cluster, 0, "started", "sequence start warm");
    cluster_expect(cluster, 4, "2 devices have that phone", "lead enrol +60155555555 warm");
    cluster_expect(cluster, 0, "of device 2 enrolled", "lead enrol +60155555555 warm --device 2");
    cluster_expect(cluster, 0, "Lead ", "lead show +60155555555");
}
END_TEST

START_TEST(a_message_is_sent_once_for_its_key)
{
    start_cluster(2);
    cluster_expect(cluster, 0, "message from device 1 to +60166666666: done",
                   "send 1 +60166666666 hello --key order-1 --ttl 1h");
    cluster_expect(cluster, 0, "known", "send 1 +60166666666 hello --key order-1");
    until("60166666666,(direct)", "export messages", SECONDS(20));
    cluster_expect(cluster, 0, "done", "optout add +60166666667");
    cluster_expect(cluster, 4, "refused", "send 1 +60166666667 hello --key order-2");
    cluster_expect(cluster, 1, "no device 77", "send 77 +60166666667 hello --key order-3");
    cluster_taken(cluster, 1, SECONDS(10));
}
END_TEST

/* ---- explain, capacity, export ---- */

START_TEST(everything_is_explained_in_every_format)
{
    static const char *const verbs[] = {"explain device 1",
                                        "explain lead +60111111111",
                                        "explain campaign hello",
                                        "explain sequence cold",
                                        "plan capacity",
                                        "plan capacity hello",
                                        "sequence ls",
                                        "sequence show cold",
                                        "optout ls",
                                        "lead show +60111111111",
                                        "export leads",
                                        "preview cold --lead +60111111111"};
    static const char *const formats[] = {"table", "json", "csv"};
    start_cluster(2);
    cluster_expect(cluster, 0, "started", "campaign start hello");
    cluster_expect(cluster, 0, "started", "sequence start cold");
    cluster_expect(cluster, 0, "waiting 0", "campaign watch hello --until-finished --timeout 30s");
    for (size_t i = 0; i < ARRAY_SIZE(verbs); i++) {
        json_decref(cluster_json(cluster, verbs[i]));
        for (size_t k = 0; k < ARRAY_SIZE(formats); k++)
            cluster_expect(cluster, 0, "", "%s --format %s", verbs[i], formats[k]);
    }
    cluster_expect(cluster, 0, "GATE", "explain device 1");
    cluster_expect(cluster, 0, "audience 4", "explain campaign hello");
    cluster_expect(cluster, 1, "no device 77", "explain device 77");
    cluster_expect(cluster, 1, "no campaign \"none\"", "explain campaign none");
    cluster_expect(cluster, 1, "no lead has the phone", "explain lead +60999999999");
    cluster_expect(cluster, 1, "no campaign or sequence \"none\"", "plan capacity none");
    cluster_expect(cluster, 2, "a token is like", "explain message nonsense");
    cluster_expect(cluster, 0, "4 leads", "export leads --out %s/leads.out", cluster_dir(cluster));
    cluster_expect(cluster, 0, "device_id,phone,name,trigger,attributes\n", "export leads");
    json_t *messages = cluster_json(cluster, "export messages");
    const char *token = json_string_value(json_object_get(json_array_get(messages, 0), "token"));
    ck_assert_ptr_nonnull(token);
    cluster_expect(cluster, 0, "sent", "explain message %s", token);
    json_decref(messages);
    cluster_expect(cluster, 0, "enrol-rate 500: done", "node set n1 --enrol-rate 500");
    cluster_expect(cluster, 1, "no node \"n9\"", "node set n9 --enrol-rate 500");
}
END_TEST

START_TEST(what_cannot_finish_in_time_is_not_begun)
{
    char yaml[512], at[40];
    time_t soon = time(NULL) + 20;
    struct tm tm;
    cluster = cluster_new(&(struct cluster_options){
        .nodes = 1, .devices = 2, .leads = 50, .min_delay = 2000, .max_delay = 2000});
    gmtime_r(&soon, &tm);
    strftime(at, sizeof(at), "%Y-%m-%dT%H:%M:%SZ", &tm);
    snprintf(yaml, sizeof(yaml), "campaigns:\n  tight: { template: hello, not_after: %s }\n", at);
    apply(0, "1 created", "", yaml);
    cluster_expect(cluster, 4, "cannot start campaign \"tight\": it would finish",
                   "campaign start tight");
    cluster_expect(cluster, 4, "fleetcast campaign start tight --force", "campaign start tight");
    cluster_expect(cluster, 4, "TOO LATE", "plan capacity tight");
    cluster_expect(cluster, 0, "started", "campaign start tight --force");
}
END_TEST

static void
add(Suite *s, const char *name, const TTest *test)
{
    TCase *t = tcase_create(name); /* alone: CK_RUN_CASE=NAME */
    tcase_set_timeout(t, 120);
    tcase_add_checked_fixture(t, NULL, away);
    tcase_add_test(t, test);
    suite_add_tcase(s, t);
}

int
main(void)
{
    Suite *s = suite_create("verbs");
#define ADD(name) add(s, #name, name)
    ADD(usage_is_2);
    ADD(a_silent_coordinator_is_6_and_nobody_to_ask_4);
    ADD(content_is_refused_with_what_to_do);
    ADD(a_sequence_is_shown_with_who_stands_where);
    ADD(an_edit_needs_a_word_and_for_all_says_who_changes);
    ADD(a_preview_is_what_would_be_sent);
    ADD(pauses_end_and_say_what_was_on_the_wire);
    ADD(who_is_not_reached_is_named_with_3);
    ADD(people_opt_out_are_enrolled_removed_and_forgotten);
    ADD(one_of_several_devices_is_asked_for);
    ADD(a_message_is_sent_once_for_its_key);
    ADD(everything_is_explained_in_every_format);
    ADD(what_cannot_finish_in_time_is_not_begun);
#undef ADD
    SRunner *sr = srunner_create(s);
    srunner_run_all(sr, CK_NORMAL);
    int failed = srunner_ntests_failed(sr);
    srunner_free(sr);
    cluster_sweep();
    return failed ? 1 : 0;
}
