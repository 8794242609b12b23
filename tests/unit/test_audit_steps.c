/* test_audit_steps.c - the checker on sequences, direct messages, orders and caps: each planted
 * offence is red, and nothing else is. */
#include "tests/support/audit.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static char dir[] = "/tmp/fleetcast-audit.XXXXXX";
static const char *devices_csv =
    "device_id,address,min_delay_ms,max_delay_ms,zone,daily_cap,hourly_cap,age\n"
    "1,5001,0,0,Asia/Kuala_Lumpur,,,\n2,5002,0,0,Asia/Kathmandu,3,,\n3,5003,0,0,UTC,,2,\n"
    "4,5004,0,0,UTC,100,,1\n";
static const char *leads_csv = "device_id,phone,name,trigger,city\n1,+60100000001,Ann,COLD,KL\n"
                               "1,+60100000002,Bo,NEW,\n";
static const char *content_yaml =
    "templates:\n  hey: { variants: [\"A {{name}}\", \"B {{name}}\", \"C {{name}}\"] }\n"
    "sequences:\n"
    "  cold:\n    trigger: COLD\n    next_sequence: warm\n    on_skip: continue\n    steps:\n"
    "      - { step: 1, delay: 0, template: hey }\n"
    "      - { step: 3, delay: 2s, text: \"still {{name}}\" }\n"
    "  warm:\n    on_fail: stop\n    on_skip: stop\n    steps:\n"
    "      - { step: 1, delay: 1m, text: \"warm {{city}}\" }\n"
    "      - { step: 2, delay: 0, text: \"done\" }\n";

#define ID "0197a000-0000-7000-8000-0000000000"
#define MS 1000ll
enum { COLD1, COLD3, WARM1, WARM2, SENT_COUNT };

struct sent {
    const char *source, *state, *text; /* state NULL = no row */
    int step;
    bool taken;
    long long first; /* end = first + 10 ms */
};
struct story {
    struct sent sent[SENT_COUNT];
    const char *content, *older, *direct, *enrolments, *silences, *leads, *more_receipts,
        *more_messages, *sources;
};

/* FNV-1a of 60100000001 modulo 3 is 2, by an implementation of its own. */
static struct story
clean(void)
{
    return (struct story){.sent = {{"cold", "sent", "C Ann", 1, true, 1000 * MS},
                                   {"cold", "sent", "still Ann", 3, true, 3010 * MS},
                                   {"warm", "sent", "warm KL", 1, true, 63020 * MS},
                                   {"warm", "sent", "done", 2, true, 63030 * MS}},
                          .content = content_yaml,
                          .leads = leads_csv};
}

static const char *
put(const char *name, const char *text, char path[static 128])
{
    if (!text)
        return NULL;
    snprintf(path, 128, "%s/%s", dir, name);
    FILE *f = fopen(path, "w");
    ck_assert_ptr_nonnull(f);
    fputs(text, f);
    ck_assert_int_eq(fclose(f), 0);
    return path;
}

static void
put_sent(const struct story *s, FILE *receipts, FILE *messages)
{
    for (int i = 0; i < SENT_COUNT; i++) {
        const struct sent *m = &s->sent[i];
        if (m->state)
            fprintf(messages, "1,60100000001,%s,%d,%s,,v1.p1.3.1." ID "%02d,w,,,\n", m->source,
                    m->step, m->state, i);
        if (m->taken)
            fprintf(receipts,
                    "{\"first\":%lld,\"last\":%lld,\"end\":%lld,\"address\":\"5001\",\"to\":"
                    "\"+60100000001\",\"token\":\"v1.p1.3.1." ID "%02d\",\"text\":\"%s\","
                    "\"taken\":true}\n",
                    m->first, m->first + 10, m->first + 10 * MS, i, m->text);
    }
    fputs(s->more_receipts ? s->more_receipts : "", receipts);
    fputs(s->more_messages ? s->more_messages : "", messages);
}

static struct audit_result
run(const struct story *s)
{
    char *receipts = NULL, *messages = NULL, p[10][128];
    size_t size;
    FILE *r = open_memstream(&receipts, &size), *m = open_memstream(&messages, &size);
    fputs("device_id,phone,source,step,state,reason,token,provider_id,claimed_at,settled_at,"
          "text_hash\n",
          m);
    put_sent(s, r, m);
    fclose(r);
    fclose(m);
    struct audit_input in = {.devices = put("devices.csv", devices_csv, p[0]),
                             .leads = put("leads.csv", s->leads, p[1]),
                             .content = put("content.yaml", s->content, p[2]),
                             .receipts = put("receipts", receipts, p[3]),
                             .messages = put("messages.csv", messages, p[4]),
                             .silences = put("silences", s->silences, p[5]),
                             .older = put("older.yaml", s->older, p[6]),
                             .direct = put("direct.csv", s->direct, p[7]),
                             .enrolments = put("enrolments.csv", s->enrolments, p[8]),
                             .sources = s->sources};
    free(receipts);
    free(messages);
    struct audit_result ret;
    ck_assert_int_eq(audit_run(&in, &ret, NULL, stderr), 0);
    return ret;
}

/* One kind of offence, so many times, and no other. */
#define ONLY(story, field, count)                                                                  \
    do {                                                                                           \
        struct audit_result r_ = run(story);                                                       \
        ck_assert_uint_eq(r_.field, count);                                                        \
        ck_assert_uint_eq(audit_offences(&r_), count);                                             \
    } while (0)

START_TEST(clean_journey_is_green)
{
    struct story s = clean();
    struct audit_result r = run(&s);
    ck_assert_uint_eq(audit_offences(&r), 0);
    ck_assert_uint_eq(r.asked, 4); /* Bo has no trigger that a sequence has */
    ck_assert_uint_eq(r.sent, 4);
    ck_assert_uint_eq(r.waiting, 0);
}
END_TEST

START_TEST(a_step_before_its_delay_is_red)
{
    struct story s = clean();
    s.sent[COLD3].first = 2989 * MS; /* 1,979 ms after the answer's end */
    ONLY(&s, step_too_soon, 1);
    s = clean();
    s.sent[WARM1].first = 62999 * MS; /* the chain's first step: a minute after cold's last */
    ONLY(&s, step_too_soon, 1);
}
END_TEST

START_TEST(steps_in_the_wrong_order_are_red)
{
    struct story s = clean();
    s.sent[COLD1].first = 3500 * MS; /* after step 3 */
    ck_assert_uint_eq(run(&s).out_of_order, 1);
}
END_TEST

START_TEST(a_step_after_a_doubt_or_a_failure_is_red)
{
    static const char *const states[] = {"unknown", "failed", NULL};
    for (size_t i = 0; i < ARRAY_SIZE(states); i++) {
        struct story s = clean();
        s.sent[COLD1].state = states[i];
        s.sent[COLD1].taken = false;
        struct audit_result r = run(&s);
        ck_assert_uint_eq(r.out_of_order, 1);
        ck_assert_uint_eq(r.lost, states[i] ? 0 : 1);
    }
}
END_TEST

/* A skipped step: cold goes on (its delay then counts from what was sent before), warm stops. */
START_TEST(a_skipped_step_goes_by_its_sequence)
{
    struct story s = clean();
    s.sent[COLD3].state = "skipped";
    s.sent[COLD3].taken = false;
    ONLY(&s, lost, 0);
    s.sent[COLD3].state = "expired";
    s.sent[WARM1].state = s.sent[WARM2].state = NULL; /* and then the chain is due */
    s.sent[WARM1].taken = s.sent[WARM2].taken = false;
    ONLY(&s, lost, 1);
    s = clean();
    s.sent[WARM1].state = "skipped";
    s.sent[WARM1].taken = false;
    ONLY(&s, out_of_order, 1);
}
END_TEST

START_TEST(a_lost_step_is_red_once)
{
    struct story s = clean();
    for (int i = COLD3; i <= WARM2; i++) {
        s.sent[i].state = NULL;
        s.sent[i].taken = false;
    }
    struct audit_result r = run(&s);
    ck_assert_uint_eq(r.lost, 1); /* what follows it was not due */
    ck_assert_uint_eq(r.waiting, 3);
    ck_assert_uint_eq(r.not_due, 2);
}
END_TEST

START_TEST(a_step_behind_a_failure_is_not_lost)
{
    struct story s = clean();
    s.sent[COLD3].state = "failed";
    s.sent[COLD3].taken = s.sent[WARM1].taken = s.sent[WARM2].taken = false;
    s.sent[WARM1].state = s.sent[WARM2].state = NULL;
    struct audit_result r = run(&s);
    ck_assert_uint_eq(audit_offences(&r), 0);
    ck_assert_uint_eq(r.not_due, 2);
}
END_TEST

START_TEST(a_step_twice_is_red)
{
    struct story s = clean();
    s.more_receipts = "{\"first\":90000000,\"last\":90000001,\"end\":90000002,\"address\":\"5001\","
                      "\"to\":\"+60100000001\",\"token\":\"v1.p1.3.1." ID
                      "99\",\"text\":\"done\",\"taken\":true}\n";
    ONLY(&s, duplicates, 1);
}
END_TEST

START_TEST(another_variant_is_the_wrong_text)
{
    struct story s = clean();
    s.sent[COLD1].text = "B Ann";
    ONLY(&s, wrong_text, 1);
}
END_TEST

START_TEST(a_text_with_a_hole_is_red)
{
    struct story s = clean();
    s.leads = "device_id,phone,name,trigger,city\n1,+60100000001,Ann,COLD,\n";
    s.sent[WARM1].text = "warm ";
    ONLY(&s, wrong_text, 1);
}
END_TEST

/* Nobody asked for the sequence: not by its trigger, not by hand. */
START_TEST(trigger_is_an_exact_token)
{
    struct story s = clean();
    s.leads = "device_id,phone,name,trigger,city\n1,+60100000001,Ann,COLDER,KL\n";
    ONLY(&s, phantom, 4);
    s.enrolments = "device_id,phone,sequence\n1,+60100000001,cold\n";
    ONLY(&s, phantom, 0);
    s.enrolments = NULL;
    s.leads = leads_csv;
    s.sources = "spring,colder";
    ONLY(&s, phantom, 4);
    s.sources = "spring,cold";
    ONLY(&s, phantom, 0);
}
END_TEST

static const char edited_yaml[] =
    "templates:\n  hey: { variants: [\"A {{name}}\", \"B {{name}}\", \"C {{name}}\"] }\n"
    "sequences:\n"
    "  cold:\n    trigger: COLD\n    next_sequence: warm\n    steps:\n"
    "      - { step: 1, delay: 0, template: hey }\n"
    "      - { step: 2, delay: 5s, text: \"new\" }\n"
    "      - { step: 3, delay: 1s, text: \"yet {{name}}\" }\n"
    "  warm:\n    steps:\n      - { step: 1, delay: 1m, text: \"warm {{city}}\" }\n"
    "      - { step: 2, delay: 0, text: \"done\" }\n";

/* Both ways through an edited sequence are good; a text or step of neither is not. */
START_TEST(an_edit_lets_both_contents_be_right)
{
    struct story s = clean();
    s.content = edited_yaml;
    ck_assert_uint_ge(audit_offences(&(struct audit_result[]){run(&s)}[0]), 1);
    s.older = content_yaml;
    ONLY(&s, lost, 0);
    s.sent[COLD3].text = "yet Ann";
    s.sent[COLD3].first = 2010 * MS;
    ONLY(&s, lost, 0);
    s.sent[COLD3].first = 1989 * MS;
    ONLY(&s, step_too_soon, 1);
    s = clean();
    s.content = edited_yaml;
    s.older = content_yaml;
    s.sent[COLD3].text = "never";
    ONLY(&s, wrong_text, 1);
}
END_TEST

START_TEST(direct_messages_are_wishes)
{
    struct story s = clean();
    s.direct = "device_id,phone,text\n1,+60100000009,hello there\n";
    s.more_messages = "1,60100000009,(direct),0,sent,,v1.p1.3.1." ID "77,w,,,\n";
    s.more_receipts = "{\"first\":70000000,\"last\":70000001,\"end\":70000002,\"address\":\"5001\","
                      "\"to\":\"+60100000009\",\"token\":\"v1.p1.3.1." ID
                      "77\",\"text\":\"hello there\",\"taken\":true}\n";
    ONLY(&s, lost, 0);
    s.direct = "device_id,phone,text\n1,+60100000009,hello\n";
    ONLY(&s, wrong_text, 1);
    s.direct = NULL;
    ONLY(&s, phantom, 1);
    s.direct = "device_id,phone,text\n1,+60100000009,hello there\n";
    s.more_messages = s.more_receipts = NULL;
    ONLY(&s, lost, 1);
}
END_TEST

struct order {
    const char *silence; /* with %lld: just before, and just after, the send of cold's step 3 */
    size_t count;        /* its place in struct audit_result */
};
#define PLACE(field) offsetof(struct audit_result, field)
static const struct order orders[] = {
    {"optout,+60100000001,%lld,0\n", PLACE(after_optout)},
    {"forget,60100000001,%lld,0\n", PLACE(after_optout)},
    {"cancel,cold,%lld,0\n", PLACE(after_order)},
    {"pause-source,cold,%lld,3011000\n", PLACE(after_order)},
    {"pause-device,1,%lld,3011000\n", PLACE(after_order)},
    {"pause-cluster,*,%lld,3011000\n", PLACE(after_order)},
    {"quiet-source,cold,%lld,3011000\n", PLACE(in_quiet_hours)},
    {"quiet-device,1,%lld,3011000\n", PLACE(in_quiet_hours)},
};

START_TEST(a_send_after_an_order_is_red)
{
    const struct order *o = &orders[_i];
    char line[128];
    struct story s = clean();
    s.sent[WARM1].state = s.sent[WARM2].state = NULL;
    s.sent[WARM1].taken = s.sent[WARM2].taken = false;
    s.content = "sequences:\n  cold:\n    trigger: COLD\n    steps:\n"
                "      - { step: 1, delay: 0, text: \"C {{name}}\" }\n"
                "      - { step: 3, delay: 2s, text: \"still {{name}}\" }\n";
    snprintf(line, sizeof(line), o->silence, 3010 * MS - 1);
    s.silences = line;
    struct audit_result r = run(&s);
    uint64_t count;
    memcpy(&count, (char *) &r + o->count, sizeof(count));
    ck_assert_uint_eq(count, 1);
    ck_assert_uint_eq(audit_offences(&r), 1);
    snprintf(line, sizeof(line), o->silence, 3010 * MS);
    ONLY(&s, lost, 0);
}
END_TEST

START_TEST(an_order_to_others_forbids_nothing)
{
    struct story s = clean();
    s.silences = "optout,+60100000002,1,0\npause-source,warmer,1,0\npause-device,2,1,0\n"
                 "cancel,col,1,0\nremove,+60100000001,1,0\n";
    ONLY(&s, lost, 0);
    FILE *null = fopen("/dev/null", "w");
    struct audit_result r;
    char p[4][128];
    struct audit_input in = {.devices = put("devices.csv", devices_csv, p[0]),
                             .leads = put("leads.csv", leads_csv, p[1]),
                             .content = put("content.yaml", content_yaml, p[2]),
                             .messages = "/dev/null",
                             .silences = put("silences", "hush,cold,1,0\n", p[3])};
    ck_assert_int_lt(audit_run(&in, &r, NULL, null), 0);
    fclose(null);
}
END_TEST

/* What an order ended need not exist; what was sent before it must still be shown. */
START_TEST(an_order_explains_what_is_missing)
{
    static const char *const lines[] = {"optout,+60100000001,3500000,0\n",
                                        "remove,+60100000001,3500000,0\n",
                                        "cancel,warm,3500000,0\n"};
    for (size_t i = 0; i < ARRAY_SIZE(lines); i++) {
        struct story s = clean();
        s.sent[WARM1].state = s.sent[WARM2].state = NULL;
        s.sent[WARM1].taken = s.sent[WARM2].taken = false;
        ONLY(&s, lost, 1);
        s.silences = lines[i];
        ONLY(&s, lost, 0);
        s.sent[COLD1].state = NULL;
        ck_assert_uint_eq(run(&s).hidden_unknown, 1);
    }
    struct story s = clean();
    s.silences = "forget,+60100000001,99000000,0\n";
    for (int i = 0; i < SENT_COUNT; i++)
        s.sent[i].state = NULL; /* erased everywhere: the rows name nobody */
    ck_assert_uint_eq(run(&s).hidden_unknown, 0);
}
END_TEST

/* Sends of one device, at these unix times (milliseconds in the token). */
static char *
sends_at(int device, const time_t *at, size_t count, char **ret_messages, char **ret_direct)
{
    char *receipts = NULL;
    size_t size, size2, size3;
    FILE *r = open_memstream(&receipts, &size), *m = open_memstream(ret_messages, &size2),
         *d = open_memstream(ret_direct, &size3);
    fputs("device_id,phone,text\n", d);
    for (size_t i = 0; i < count; i++) {
        unsigned long long ms = (unsigned long long) at[i] * 1000;
        char token[96];
        snprintf(token, sizeof(token), "v1.p1.3.%d.%08llx-%04llx-7000-8000-%012zx", device,
                 ms >> 16, ms & 0xffff, i);
        fprintf(d, "%d,+601200000%02zu,x\n", device, i);
        fprintf(m, "%d,601200000%02zu,(direct),0,sent,,%s,w,,,\n", device, i, token);
        fprintf(r,
                "{\"first\":%zu,\"last\":%zu,\"end\":%zu,\"address\":\"500%d\",\"to\":"
                "\"+601200000%02zu\",\"token\":\"%s\",\"text\":\"x\",\"taken\":true}\n",
                90000000 + i * 1000, 90000001 + i * 1000, 90000002 + i * 1000, device, i, token);
    }
    fclose(r);
    fclose(m);
    fclose(d);
    return receipts;
}

static uint64_t
over_cap(int device, const time_t *at, size_t count)
{
    char *messages = NULL, *direct = NULL,
         *receipts = sends_at(device, at, count, &messages, &direct);
    struct story s = clean();
    s.more_receipts = receipts;
    s.more_messages = messages;
    s.direct = direct;
    struct audit_result r = run(&s);
    ck_assert_uint_eq(audit_offences(&r), r.over_cap);
    free(receipts);
    free(messages);
    free(direct);
    return r.over_cap;
}

/* Midnight in Kathmandu is 18:15 UTC. */
START_TEST(caps_count_by_the_device_s_own_day)
{
    time_t midnight = 1764008100; /* 2025-11-24T18:15:00Z */
    time_t same[] = {midnight, midnight + 1, midnight + 2, midnight + 3};
    ck_assert_uint_eq(over_cap(2, same, 3), 0);
    ck_assert_uint_eq(over_cap(2, same, 4), 1);
    time_t two[] = {midnight - 1, midnight, midnight + 1, midnight + 2};
    ck_assert_uint_eq(over_cap(2, two, 4), 0);
    time_t hour = 1764007200, hours[] = {hour - 1, hour, hour + 1, hour + 2};
    ck_assert_uint_eq(over_cap(3, hours, 3), 0);
    ck_assert_uint_eq(over_cap(3, hours, 4), 1);
}
END_TEST

/* A device of one day may send 20, whatever its cap. */
START_TEST(warm_up_is_a_cap)
{
    time_t at[21];
    for (size_t i = 0; i < ARRAY_SIZE(at); i++)
        at[i] = 1764007200 + (time_t) i;
    ck_assert_uint_eq(over_cap(4, at, 20), 0);
    ck_assert_uint_eq(over_cap(4, at, 21), 1);
}
END_TEST

int
main(void)
{
    if (!mkdtemp(dir))
        return 1;
    Suite *suite = suite_create("audit_steps");
    TCase *t = tcase_create("offences");
    tcase_add_test(t, clean_journey_is_green);
    tcase_add_test(t, a_step_before_its_delay_is_red);
    tcase_add_test(t, steps_in_the_wrong_order_are_red);
    tcase_add_test(t, a_step_after_a_doubt_or_a_failure_is_red);
    tcase_add_test(t, a_skipped_step_goes_by_its_sequence);
    tcase_add_test(t, a_lost_step_is_red_once);
    tcase_add_test(t, a_step_behind_a_failure_is_not_lost);
    tcase_add_test(t, a_step_twice_is_red);
    tcase_add_test(t, another_variant_is_the_wrong_text);
    tcase_add_test(t, a_text_with_a_hole_is_red);
    tcase_add_test(t, trigger_is_an_exact_token);
    tcase_add_test(t, an_edit_lets_both_contents_be_right);
    tcase_add_test(t, direct_messages_are_wishes);
    tcase_add_loop_test(t, a_send_after_an_order_is_red, 0, ARRAY_SIZE(orders));
    tcase_add_test(t, an_order_to_others_forbids_nothing);
    tcase_add_test(t, an_order_explains_what_is_missing);
    tcase_add_test(t, caps_count_by_the_device_s_own_day);
    tcase_add_test(t, warm_up_is_a_cap);
    suite_add_tcase(suite, t);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int bad = srunner_ntests_failed(runner);
    srunner_free(runner);
    static const char *const names[] = {"devices.csv", "leads.csv",      "content.yaml",
                                        "receipts",    "messages.csv",   "silences",
                                        "older.yaml",  "enrolments.csv", "direct.csv"};
    for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
        char path[128];
        snprintf(path, sizeof(path), "%s/%s", dir, names[i]);
        unlink(path);
    }
    rmdir(dir);
    return bad == 0 ? 0 : 1;
}
