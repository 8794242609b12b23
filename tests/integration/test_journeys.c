/* test_journeys.c - leads go COLD -> WARM -> HOT through real processes, while all else happens.
 */
#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "shared/rng.h"
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

/* ---- receipts by text ---- */

struct by_text {
    const char *part;
    uint64_t count;
};

static int
count_text(void *arg, const struct audit_receipt *r)
{
    struct by_text *n = arg;
    n->count += r->taken && strstr(r->text, n->part) != NULL;
    return 0;
}

static uint64_t
received(const char *part)
{
    char path[128];
    struct by_text n = {part, 0};
    snprintf(path, sizeof(path), "%s/receipts.log", cluster_dir(cluster));
    cluster_control(cluster, "{}", "taken"); /* flushes them */
    ck_assert_int_eq(audit_read_receipts(path, count_text, &n, stderr), 0);
    return n.count;
}

static bool
all_received(void *arg)
{
    struct by_text *n = arg;
    return received(n->part) >= n->count;
}

static void
until_received(const char *part, uint64_t count)
{
    struct by_text n = {part, count};
    if (!process_wait(SECONDS(40), all_received, &n)) {
        char *status;
        cluster_fleetcast(cluster, &status, "status");
        ck_abort_msg("\"%s\": %lu of %lu came\n%s", part, (unsigned long) received(part),
                     (unsigned long) count, status);
    }
}

/* ---- the journey ---- */

static void
start_all(void)
{
    cluster_must(cluster, 0, "sequence start hot");
    cluster_must(cluster, 0, "sequence start warm");
    cluster_must(cluster, 0, "sequence start cold");
    cluster_must(cluster, 0, "campaign start spring");
    cluster_campaign(cluster);
}

static void
send_direct(unsigned from, unsigned to)
{
    for (unsigned i = from; i < to; i++) {
        char phone[24], text[24];
        snprintf(phone, sizeof(phone), "+6019000%04u", i);
        snprintf(text, sizeof(text), "direct-%u", i);
        cluster_direct(cluster, 1 + i % 30, phone, text);
    }
}

static void
journey_begins(void)
{
    cluster = cluster_new(&(struct cluster_options){.devices = 30,
                                                    .leads = 8,
                                                    .min_delay = 20,
                                                    .max_delay = 60,
                                                    .latency_min_ms = 1,
                                                    .latency_max_ms = 20,
                                                    .sequences = 600});
    start_all();
}

START_TEST(cold_warm_hot)
{
    journey_begins();
    send_direct(0, 20);
    while (cluster_look(cluster, "hot").sent < 30)
        ck_assert_int_ge(cluster_look(cluster, "cold").audience, 0);
    struct audit_result r = cluster_ends(cluster);
    ck_assert_uint_eq(r.unknown, 0);
    ck_assert_uint_eq(r.sent, r.asked);
    ck_assert_uint_gt(r.asked, 1500);
    for (int i = 1; i <= 3; i++) { /* a trigger is consumed, its use kept */
        char partition[4] = {'p', (char) ('0' + i), '\0'};
        ck_assert_int_eq(cluster_sql(cluster, partition,
                                     "SELECT count(*) FROM lead WHERE trigger IN ('COLD', 'WARM',"
                                     " 'HOT')"),
                         0);
        ck_assert_int_gt(cluster_sql(cluster, partition, "SELECT count(*) FROM trigger_use"), 10);
        /* nothing is kept of what is over but its end */
        ck_assert_int_eq(cluster_sql(cluster, partition, "SELECT count(*) FROM enrollment"), 0);
    }
}
END_TEST

/* A row that was claimed at the crash is a doubt: it and what follows of it stand still, all others
 * go on. */
START_TEST(journey_with_crashes)
{
    journey_begins();
    send_direct(0, 10);
    cluster_taken(cluster, 300, SECONDS(30));
    cluster_look(cluster, NULL);
    cluster_signal(cluster, "n1", SIGKILL);
    cluster_look(cluster, NULL);
    cluster_do(cluster, "start", "n1");
    cluster_taken(cluster, 600, SECONDS(30));
    cluster_pg(cluster, "crash");
    cluster_pg(cluster, "run");
    for (int i = 1; i <= 3; i++) {
        char name[4] = {'n', (char) ('0' + i), '\0'};
        ck_assert(cluster_ready(cluster, name, SECONDS(30)));
    }
    send_direct(10, 20);
    cluster_look(cluster, NULL);
    struct audit_result r = cluster_ends(cluster);
    ck_assert_uint_le(r.unknown, 10 + 30);
    ck_assert_uint_eq(r.sent + r.unknown + r.not_due, r.asked);
    ck_assert_uint_le(r.not_due, r.unknown * 10);
}
END_TEST

/* ---- edits of a running sequence ---- */

static const char before_edit[] =
    "sequences:\n  cold:\n    trigger: COLD\n    steps:\n"
    "      - { step: 1, delay: 0, text: \"first {{name|you}}\" }\n"
    "      - { step: 2, delay: 6s, text: \"old second {{name|you}}\" }\n"
    "      - { step: 4, delay: 1s, text: \"fourth {{name|you}}\" }\n";
static const char after_edit[] =
    "sequences:\n  cold:\n    trigger: COLD\n    steps:\n"
    "      - { step: 1, delay: 0, text: \"first {{name|you}}\" }\n"
    "      - { step: 2, delay: 2s, text: \"new second {{name|you}}\" }\n"
    "      - { step: 3, delay: 1s, text: \"third {{name|you}}\" }\n"
    "      - { step: 4, delay: 1s, text: \"fourth {{name|you}}\" }\n";

static void
put_leads_from(unsigned devices, unsigned from, unsigned leads, const char *trigger,
               const char *name)
{
    char *text;
    size_t size;
    FILE *f = open_memstream(&text, &size);
    fputs("device_id,phone,name,trigger,city\n", f);
    for (unsigned d = 1; d <= devices; d++)
        for (unsigned k = from; k < leads; k++)
            fprintf(f, "%u,+601%04u%06u,Ann,%s,\n", d, d, k, trigger);
    fclose(f);
    cluster_put(cluster, name, text);
    free(text);
}

static void
put_leads(unsigned devices, unsigned leads, const char *trigger, const char *name)
{
    put_leads_from(devices, 0, leads, trigger, name);
}

static void
import_leads(const char *options)
{
    char words[256];
    snprintf(words, sizeof(words), "import leads %s/leads.csv%s", cluster_dir(cluster), options);
    cluster_must(cluster, 0, words);
}

/* 10 devices x 3 leads; all have had the first step and wait for the second. */
static void
edit_begins(void)
{
    cluster = cluster_new(&(struct cluster_options){.nodes = 1,
                                                    .devices = 10,
                                                    .leads = 3,
                                                    .min_delay = 10,
                                                    .max_delay = 30,
                                                    .content = before_edit});
    put_leads(10, 3, "COLD", "leads.csv");
    import_leads(" --update");
    cluster_must(cluster, 0, "sequence start cold");
    until_received("first", 30);
    char words[128];
    cluster_put(cluster, "edited.yaml", after_edit);
    snprintf(words, sizeof(words), "apply-content %s/edited.yaml --yes", cluster_dir(cluster));
    cluster_must(cluster, 4, words); /* it must be said for whom */
}

START_TEST(edit_for_new)
{
    edit_begins();
    cluster_edit(cluster, after_edit, "new");
    put_leads(10, 4, "COLD", "leads.csv"); /* ten more come */
    import_leads("");
    until_received("third", 10);
    cluster_ends(cluster);
    ck_assert_uint_eq(received("old second"), 30);
    ck_assert_uint_eq(received("new second"), 10);
    ck_assert_uint_eq(received("third"), 10);
    ck_assert_uint_eq(received("fourth"), 40);
}
END_TEST

START_TEST(edit_for_all)
{
    edit_begins();
    cluster_edit(cluster, after_edit, "all");
    put_leads(10, 4, "COLD", "leads.csv");
    import_leads("");
    until_received("fourth", 40);
    cluster_ends(cluster);
    ck_assert_uint_eq(received("old second"), 0);
    ck_assert_uint_eq(received("new second"), 40);
    ck_assert_uint_eq(received("third"), 40);
    ck_assert_uint_eq(received("fourth"), 40);
}
END_TEST

/* The sweep that moves them is interrupted: it begins again, and nobody is moved twice. */
START_TEST(edit_for_all_under_kill)
{
    edit_begins();
    cluster_edit(cluster, after_edit, "all");
    cluster_signal(cluster, "n1", SIGKILL);
    cluster_do(cluster, "start", "n1");
    struct audit_result r = cluster_ends(cluster);
    ck_assert_uint_eq(received("old second"), 0);
    ck_assert_uint_eq(r.sent + r.unknown + r.not_due, r.asked);
    ck_assert_uint_ge(received("fourth") + r.unknown, 30);
}
END_TEST

/* ---- enrolment ---- */

/* A trigger that comes to a lead which the cursor has passed enrols at once; the same trigger again
 * does not send a journey twice. */
START_TEST(a_trigger_comes_late)
{
    cluster = cluster_new(&(struct cluster_options){.nodes = 1,
                                                    .devices = 4,
                                                    .leads = 3,
                                                    .min_delay = 10,
                                                    .max_delay = 30,
                                                    .content = before_edit});
    cluster_must(cluster, 0, "sequence start cold");
    ck_assert_int_eq(cluster_look(cluster, "cold").audience, 0);
    put_leads(4, 3, "COLD", "leads.csv");
    import_leads(" --update");
    until_received("first", 12);
    import_leads(" --update"); /* again, while they are in it */
    until_received("fourth", 12);
    import_leads(" --update"); /* and after they went through it */
    struct audit_result r = cluster_ends(cluster);
    ck_assert_uint_eq(r.sent, 36);
    struct cluster_counts n = cluster_look(cluster, "cold");
    ck_assert_int_eq(n.audience, 12);
    ck_assert_int_eq(n.sent, 12);
}
END_TEST

/* By hand: enrolled, taken out again, shown. */
START_TEST(people_enrol_and_remove)
{
    cluster = cluster_new(&(struct cluster_options){.nodes = 1,
                                                    .devices = 4,
                                                    .leads = 3,
                                                    .min_delay = 10,
                                                    .max_delay = 30,
                                                    .content = before_edit});
    put_leads(4, 3, "", "leads.csv"); /* the generated ones have the same numbers */
    import_leads(" --update");
    cluster_must(cluster, 0, "sequence start cold");
    cluster_enrol(cluster, 1, "+6010001000000", "cold");
    cluster_enrol(cluster, 2, "+6010002000001", "cold");
    until_received("first", 2);
    cluster_silence(cluster, "remove", "+6010002000001",
                    "lead remove +6010002000001 cold --device 2");
    char *output;
    ck_assert_int_eq(cluster_fleetcast(cluster, &output, "lead show +6010001000000"), 0);
    ck_assert_msg(strstr(output, "cold"), "%s", output);
    free(output);
    cluster_ends(cluster);
    ck_assert_uint_eq(received("old second"), 1);
    ck_assert_uint_eq(received("fourth"), 1);
    cluster_must(cluster, 4, "lead enrol +6010001000000 cold --device 1");
    ck_assert_uint_eq(cluster_look(cluster, "cold").audience, 2);
    cluster_must(cluster, 0, "lead enrol +6010001000000 cold --device 1 --again");
    until_received("first", 3);
}
END_TEST

/* ---- very many triggers at once ---- */

static double
lateness_p99_ms(void)
{
    char *output;
    cluster_fleetcast(cluster, &output, "status --format json");
    const char *at = strstr(output, "\"lateness_ms\""), *p99 = at ? strstr(at, "\"p99\":") : NULL;
    ck_assert_msg(p99, "%s", output);
    double value = atof(p99 + strlen("\"p99\":"));
    free(output);
    return value;
}

/* The node's figures begin anew: what follows is measured by itself. */
static void
restart_node(void)
{
    cluster_do(cluster, "stop", "n1");
    cluster_do(cluster, "start", "n1");
}

static const char slow_sequence[] = "templates:\n  hello: { text: \"Hi {{name|there}}\" }\n"
                                    "campaigns:\n  hello: { template: hello }\n"
                                    "sequences:\n  cold:\n    trigger: COLD\n    steps:\n"
                                    "      - { step: 1, delay: 1h, text: \"later\" }\n";

static bool
all_enrolled(void *arg)
{
    return cluster_look(cluster, "cold").audience >= *(int64_t *) arg;
}

static bool
triggers_used(void *arg)
{
    (void) arg;
    return cluster_sql(cluster, "p1", "SELECT count(*) FROM lead WHERE trigger = 'COLD'") == 0;
}

/* A part of the leads comes, with triggers, and is enrolled: the lateness of what was sent
 * meanwhile. */
static double
lateness_while_enrolling(unsigned from, unsigned leads)
{
    int64_t many = 100 * (int64_t) (leads - 150);
    char words[128];
    restart_node();
    cluster_must(cluster, 0, "node set n1 --enrol-rate 20000");
    long taken = cluster_control(cluster, "{}", "taken");
    put_leads_from(100, from, leads, "COLD", "more.csv");
    snprintf(words, sizeof(words), "import leads %s/more.csv", cluster_dir(cluster));
    cluster_must(cluster, 0, words);
    ck_assert(process_wait(SECONDS(60), all_enrolled, &many));
    long sent = cluster_control(cluster, "{}", "taken") - taken;
    fprintf(stderr, "lateness p99 %.1f ms of %ld messages while up to %lld were enrolled\n",
            lateness_p99_ms(), sent, (long long) many);
    ck_assert_int_gt(sent, 20); /* it was sending all along, a short run too */
    return lateness_p99_ms();
}

/* 100,000 leads with a trigger are imported and enrolled while a campaign is sent: it is not late
 * for them (in the best of three parts, for others use this machine, too), and the node's memory
 * does not grow with them. */
START_TEST(very_many_triggers)
{
    unsigned part = getenv("FLEETCAST_SHORT") ? 100 : 334, at = 150;
    cluster = cluster_new(&(struct cluster_options){.nodes = 1,
                                                    .devices = 100,
                                                    .leads = 150,
                                                    .min_delay = 200,
                                                    .max_delay = 600,
                                                    .content = slow_sequence});
    cluster_must(cluster, 0, "sequence start cold");
    cluster_campaign(cluster);
    cluster_taken(cluster, 1500, SECONDS(60));
    double alone = lateness_p99_ms(), together = lateness_while_enrolling(at, at + part);
    uint64_t memory = cluster_memory(cluster, "n1");
    together = fmin(together, lateness_while_enrolling(at + part, at + 2 * part));
    together = fmin(together, lateness_while_enrolling(at + 2 * part, at + 3 * part));
    int64_t grown = (int64_t) (cluster_memory(cluster, "n1") - memory);
    fprintf(stderr,
            "lateness p99 %.1f ms alone, %.1f ms with; memory of the node grew by %.1f MiB\n",
            alone, together, (double) grown / 1048576);
    ck_assert_int_lt(grown, 8 * 1048576); /* one batch's room; the leads are three times as many */
    ck_assert_double_le(together, alone + 50);
    ck_assert_int_lt(cluster_control(cluster, "{}", "taken"), 15000); /* it is not over */
    /* And all at once who are in it already: their triggers are used up, and nobody is enrolled. */
    char words[128];
    put_leads_from(100, at, at + 3 * part, "COLD", "more.csv");
    snprintf(words, sizeof(words), "import leads %s/more.csv --update", cluster_dir(cluster));
    cluster_must(cluster, 0, words);
    ck_assert(process_wait(SECONDS(60), triggers_used, NULL));
    ck_assert_int_eq(cluster_look(cluster, "cold").audience, 300 * (int64_t) part);
    char *metrics = NULL;
    ck_assert_uint_eq(cluster_health(cluster, "n1", "/metrics", &metrics), 200);
    const char *line = strstr(metrics, "\nfleetcast_locks_long_total"),
               *value = line ? strchr(line, ' ') : NULL;
    ck_assert_msg(value && atol(value) == 0, "%.200s", line ? line : "no such figure");
    free(metrics);
    cluster_started(cluster, "hello");
    cluster_silence(cluster, "cancel", "hello", "campaign cancel hello");
    cluster_must(cluster, 0, "sequence cancel cold");
    cluster_ends(cluster);
}
END_TEST

/* ---- erasure ---- */

/* Every file of the cluster but what the test itself wrote, and every database. */
static uint64_t
traces(const char *digits)
{
    char command[1024], *output;
    snprintf(command, sizeof(command),
             "cd %s && { find . -name '*.log' ! -name receipts.log -exec cat {} + && cat pg/log; "
             "for d in catalog p1"
             " p2 p3; do pg_dump -U postgres -h \"$PWD/pg\" --inserts \"$d\" || exit 2; done; } |"
             " grep -c %s || true",
             cluster_dir(cluster), digits);
    const char *const argv[] = {"/bin/bash", "-c", command, NULL};
    ck_assert_int_eq(process_run(argv, &output), 0);
    char *end;
    uint64_t n = strtoull(output, &end, 10);
    ck_assert_msg(end != output && *end == '\n', "%s", output);
    free(output);
    return n;
}

START_TEST(forgotten_everywhere)
{
    journey_begins();
    static const char phone[] = "+6010001000000", digits[] = "6010001000000";
    cluster_direct(cluster, 1, phone, "to-be-forgotten");
    cluster_taken(cluster, 400, SECONDS(30));
    ck_assert_uint_gt(traces(digits), 0); /* it looks where there is something to see */
    cluster_silence(cluster, "forget", phone, "lead forget +6010001000000 --yes");
    ck_assert_uint_eq(traces(digits), 0);
    cluster_must(cluster, 4, "send 1 +6010001000000 again --key again");
    /* The file that names the lead comes once more: the hash keeps the person out. */
    char words[128], *output;
    snprintf(words, sizeof(words), "import leads %s/leads.csv", cluster_dir(cluster));
    cluster_fleetcast(cluster, &output, words);
    free(output);
    cluster_ends(cluster);
}
END_TEST

/* ---- content that is refused ---- */

struct fault {
    const char *content; /* behind "sequences:\n  new:\n    " unless it begins with '!' */
    const char *where, *value;
};
#define STEP "steps: [ { step: 1, delay: 0, text: \"x\" } ]\n"
static const struct fault faults[] = {
    {"steps: []\n", ":3:", "steps"},
    {"steps: [ { step: 1, delay: -5s, text: \"x\" } ]\n", ":3:", "-5s"},
    {"steps: [ { step: 1, delay: 99999d, text: \"x\" } ]\n", ":3:", "99999d"},
    {"steps: [ { step: 1, delay: soon, text: \"x\" } ]\n", ":3:", "soon"},
    {"steps: [ { step: 1, delay: 0, text: \"x\" }, { step: 1, delay: 0, text: \"y\" } ]\n",
     ":3:", "1"},
    {"steps: [ { step: 2, delay: 0, text: \"x\" }, { step: 1, delay: 0, text: \"y\" } ]\n",
     ":3:", "1"},
    {"steps: [ { step: 1, delay: 0, text: \"x\", template: hello } ]\n", ":3:", "template"},
    {"steps: [ { step: 1, delay: 0 } ]\n", ":3:", "text"},
    {"steps: [ { step: 1, delay: 0, text: \"x\", window: \"09:00-09:00\" } ]\n",
     ":3:", "09:00-09:00"},
    {"steps: [ { step: 1, delay: 0, text: \"x\", window: \"09:00-25:00\" } ]\n",
     ":3:", "09:00-25:00"},
    {"steps: [ { step: 1, delay: 0, text: \"x\", ttl: 0 } ]\n", ":3:", "ttl"},
    {"steps: [ { step: 1, delay: 0, text: \"{{nmae}}\" } ]\n", ":", "nmae"},
    {"steps: [ { step: 1, delay: 0, template: nosuch } ]\n", ":2:", "nosuch"},
    {"next_sequence: new\n    " STEP, ":3:", "new"},
    {"next_sequence: nosuch\n    " STEP, ":2:", "nosuch"},
    {"trigger: \"two words\"\n    " STEP, ":3:", "two words"},
    {"trigger: COLD\n    " STEP, ":2:", "COLD"}, /* another one has it */
    {"on_skip: perhaps\n    " STEP, ":3:", "perhaps"},
    {"!sequences:\n  a: { next_sequence: b, " STEP "}\n  b: { next_sequence: c, " STEP
     "}\n  c: { next_sequence: a, " STEP "}\n",
     ":", "a -> b -> c -> a"},
    {"!campaigns:\n  c: { template: hello, window: \"12:00-12:00\" }\ntemplates:\n"
     "  hello: { text: \"x\" }\n",
     ":2:", "12:00-12:00"},
    {"!templates:\n  v: { variants: [ \"one\" ] }\n", ":2:", "variants"},
    {"!variables: [city]\ntemplates:\n  v: { text: \"{{town}}\" }\n", ":3:", "town"},
};

START_TEST(bad_content_is_refused_whole)
{
    cluster = cluster_new(&(struct cluster_options){.nodes = 1,
                                                    .devices = 10,
                                                    .leads = 20,
                                                    .min_delay = 50,
                                                    .max_delay = 150,
                                                    .sequences = 500});
    cluster_started(cluster, "hello,cold");
    cluster_must(cluster, 0, "sequence start cold");
    cluster_campaign(cluster);
    char words[128], text[2048], *before, *after, *output;
    ck_assert_int_eq(cluster_fleetcast(cluster, &before, "sequence ls --format csv"), 0);
    long taken = cluster_control(cluster, "{}", "taken");
    snprintf(words, sizeof(words), "apply-content %s/bad.yaml --yes", cluster_dir(cluster));
    for (size_t i = 0; i < ARRAY_SIZE(faults); i++) {
        const struct fault *f = &faults[i];
        if (f->content[0] == '!')
            snprintf(text, sizeof(text), "%s", f->content + 1);
        else
            snprintf(text, sizeof(text), "sequences:\n  new:\n    %s  good:\n    %s", f->content,
                     STEP);
        cluster_put(cluster, "bad.yaml", text);
        int code = cluster_fleetcast(cluster, &output, words);
        ck_assert_msg(code == 4 || code == 1, "exit code %d of\n%s%s", code, text, output);
        char where[32];
        snprintf(where, sizeof(where), "bad.yaml%s", f->where);
        ck_assert_msg(strstr(output, where) && strstr(output, f->value),
                      "not \"%s\" and \"%s\" in:\n%s%s", where, f->value, text, output);
        free(output);
    }
    ck_assert_int_eq(cluster_fleetcast(cluster, &after, "sequence ls --format json"), 0);
    ck_assert_msg(!strstr(after, "\"good\"") && !strstr(after, "\"new\""), "%s", after);
    free(before);
    free(after);
    ck_assert_int_gt(cluster_control(cluster, "{}", "taken"), taken);
}
END_TEST

int
main(void)
{
    Suite *suite = suite_create("journeys");
    cluster_case(suite, cold_warm_hot, away);
    cluster_case(suite, journey_with_crashes, away);
    cluster_case(suite, edit_for_new, away);
    cluster_case(suite, edit_for_all, away);
    cluster_case(suite, edit_for_all_under_kill, away);
    cluster_case(suite, a_trigger_comes_late, away);
    cluster_case(suite, people_enrol_and_remove, away);
    cluster_case(suite, very_many_triggers, away);
    cluster_case(suite, forgotten_everywhere, away);
    cluster_case(suite, bad_content_is_refused_whole, away);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int bad = srunner_ntests_failed(runner);
    srunner_free(runner);
    cluster_sweep();
    return bad == 0 ? 0 : 1;
}
