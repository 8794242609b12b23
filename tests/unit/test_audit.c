/* test_audit.c - the checker itself is checked: a clean run is green, each planted offence is red.
 */
#include "tests/support/audit.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char dir[] = "/tmp/fleetcast-audit.XXXXXX";
static const char *devices_csv =
    "device_id,name,transport,address,token,min_delay_ms,max_delay_ms,zone\n"
    "1,A,cloudapi,5001,t,100,300,UTC\n2,B,cloudapi,5002,t,100,300,UTC\n";
static const char *leads_csv = "device_id,phone,name,trigger,city\n"
                               "1,+60100000001,Ann,,KL\n1,0100000002,Bo,,\n2,+60100000003,,,"
                               "\"Penang, P\"\n9,+60100000004,Eve,,\n1,12,X,,\n";
static const char *content_yaml =
    "templates:\n  hello: { text: \"Hi {{name|there}} in {{ city |town}} {{phone}}\" }\n"
    "campaigns:\n  spring: { template: hello }\n";
#define ID "0197a000-0000-7000-8000-00000000000"
static const char *messages_head =
    "device_id,phone,source,step,state,reason,token,provider_id,claimed_at,settled_at,text_hash\n";

/* What one test run consists of; a test changes one thing of the clean one. */
struct story {
    const char *states[3], *tokens[3], *texts[3], *to[3];
    unsigned taken[3]; /* receipts of each */
    long long first[3], end[3];
    bool no_row[3];
    const char *extra_receipt, *silences;
};

static struct story
clean(void)
{
    return (struct story){
        .states = {"sent", "sent", "sent"},
        .tokens = {"v1.p1.3.1." ID "1", "v1.p1.3.1." ID "2", "v1.p2.1.2." ID "3"},
        .texts = {"Hi Ann in KL +60100000001", "Hi Bo in town +60100000002",
                  "Hi there in Penang, P +60100000003"},
        .to = {"+60100000001", "+60100000002", "+60100000003"},
        .taken = {1, 1, 1},
        .first = {1000000, 1150000, 1000500},
        .end = {1010000, 1160000, 1010500},
    };
}

static void
put(const char *name, const char *text)
{
    char path[256];
    snprintf(path, sizeof(path), "%s/%s", dir, name);
    FILE *f = fopen(path, "w");
    ck_assert_ptr_nonnull(f);
    fputs(text, f);
    ck_assert_int_eq(fclose(f), 0);
}

static struct audit_result
run(const struct story *s)
{
    char *receipts = NULL, *messages = NULL, paths[6][256];
    size_t size;
    FILE *r = open_memstream(&receipts, &size), *m = open_memstream(&messages, &size);
    fputs(messages_head, m);
    for (int i = 0; i < 3; i++) {
        if (!s->no_row[i])
            fprintf(m, "%d,%s,spring,0,%s,,%s,wamid.%d,,,\n", i == 2 ? 2 : 1, s->to[i] + 1,
                    s->states[i], s->tokens[i], i);
        for (unsigned k = 0; k < s->taken[i]; k++)
            fprintf(r,
                    "{\"first\":%lld,\"last\":%lld,\"end\":%lld,\"address\":\"500%d\",\"to\":\"%"
                    "s\",\"token\":\"%s\",\"text\":\"%s\",\"taken\":true}\n",
                    s->first[i] + k * 500000, s->first[i] + k * 500000 + 10, s->end[i] + k * 500000,
                    i == 2 ? 2 : 1, s->to[i], s->tokens[i], s->texts[i]);
    }
    fputs(s->extra_receipt ? s->extra_receipt : "", r);
    fclose(r);
    fclose(m);
    put("devices.csv", devices_csv);
    put("leads.csv", leads_csv);
    put("content.yaml", content_yaml);
    put("receipts", receipts);
    put("messages.csv", messages);
    put("silences", s->silences ? s->silences : "");
    free(receipts);
    free(messages);
    const char *names[] = {"devices.csv", "leads.csv",    "content.yaml",
                           "receipts",    "messages.csv", "silences"};
    for (int i = 0; i < 6; i++)
        snprintf(paths[i], sizeof(paths[i]), "%s/%s", dir, names[i]);
    struct audit_input in = {.devices = paths[0],
                             .leads = paths[1],
                             .content = paths[2],
                             .receipts = paths[3],
                             .messages = paths[4],
                             .silences = paths[5],
                             .country = "60"};
    struct audit_result ret;
    ck_assert_int_eq(audit_run(&in, &ret, NULL, stderr), 0);
    return ret;
}

START_TEST(clean_run_is_green)
{
    struct story s = clean();
    struct audit_result r = run(&s);
    ck_assert_uint_eq(audit_offences(&r), 0);
    ck_assert_uint_eq(r.asked, 3); /* the unknown device and the short number are nobody's wish */
    ck_assert_uint_eq(r.received, 3);
    ck_assert_uint_eq(r.sent, 3);
    ck_assert_uint_eq(r.shortest_gap, 140000);
}
END_TEST

START_TEST(lost_is_red)
{
    struct story s = clean();
    s.taken[1] = 0;
    s.no_row[1] = true;
    ck_assert_uint_eq(run(&s).lost, 1);
    s.no_row[1] = false;
    s.states[1] = "unknown"; /* a visible doubt is not lost */
    struct audit_result r = run(&s);
    ck_assert_uint_eq(audit_offences(&r), 0);
    ck_assert_uint_eq(r.unknown, 1);
}
END_TEST

START_TEST(twice_is_red)
{
    struct story s = clean();
    s.taken[0] = 2;
    s.first[1] = 3000000;
    s.end[1] = 3010000;
    ck_assert_uint_eq(run(&s).duplicates, 1);
}
END_TEST

START_TEST(phantom_is_red)
{
    struct story s = clean();
    s.extra_receipt =
        "{\"first\":9000000,\"last\":9000001,\"end\":9000002,\"address\":\"5001\",\"to\":\"+"
        "60100000009\",\"token\":\"v1.p1.3.1.x\",\"text\":\"Hi\",\"taken\":true}\n";
    ck_assert_uint_eq(run(&s).phantom, 1);
}
END_TEST

START_TEST(false_sent_is_red)
{
    struct story s = clean();
    s.taken[2] = 0;
    struct audit_result r = run(&s);
    ck_assert_uint_eq(r.false_sent, 1);
    ck_assert_uint_eq(r.lost, 0);
}
END_TEST

START_TEST(hidden_unknown_is_red)
{
    struct story s = clean();
    s.states[0] = "failed";
    ck_assert_uint_eq(run(&s).hidden_unknown, 1);
    s = clean();
    s.no_row[0] = true;
    ck_assert_uint_eq(run(&s).hidden_unknown, 1);
}
END_TEST

START_TEST(wrong_text_is_red)
{
    struct story s = clean();
    s.texts[1] = "Hi Bo in KL +60100000002";
    ck_assert_uint_eq(run(&s).wrong_text, 1);
}
END_TEST

START_TEST(too_early_is_red)
{
    struct story s = clean();
    s.first[1] = 1109999; /* 99.999 ms after the end of the answer before */
    ck_assert_uint_eq(run(&s).pacing_violations, 1);
    s.first[1] = 1110000;
    ck_assert_uint_eq(run(&s).pacing_violations, 0);
    s.end[0] = 0; /* never answered whole: only the request's last byte proves anything */
    s.first[1] = 1100009;
    ck_assert_uint_eq(run(&s).pacing_violations, 1);
}
END_TEST

START_TEST(after_optout_is_red)
{
    struct story s = clean();
    s.silences = "optout,+60100000002,1149999,0\n";
    ck_assert_uint_eq(run(&s).after_optout, 1);
    s.silences = "optout,60100000002,1150000,0\n";
    ck_assert_uint_eq(run(&s).after_optout, 0);
}
END_TEST

START_TEST(two_drivers_is_red)
{
    struct story s = clean();
    s.tokens[1] = "v1.p1.2.1." ID "2";
    ck_assert_uint_eq(run(&s).two_drivers, 1);
    s.tokens[1] = "v1.p1.4.1." ID "2";
    ck_assert_uint_eq(run(&s).two_drivers, 0);
    s.tokens[1] = "not ours";
    ck_assert_uint_ge(run(&s).two_drivers, 1);
}
END_TEST

/* A row that its import refused is nobody's wish, and hides no row behind it. */
START_TEST(refused_rows_are_stepped_over)
{
    put("devices.csv", "device_id;address\n1;5001\n2;x y\n");
    put("devices.rejects.csv", "device_id;address;reject_line;reject_column;reject_value;"
                               "reject_reason\n2;x y;3;address;x y;bad\n");
    put("leads.csv", "device_id,phone,name\r\n1,12,\"two\r\nlines\"\r\n1,+60100000001,Ann\r\n"
                     "1,+60100000002,\"open\r\n2,+60100000003,Bo\r\n\r\n1,+60100000004,Cy\r\n");
    put("leads.rejects.csv",
        "device_id,phone,name,reject_line,reject_column,reject_value,reject_reason\n"
        ",,,5,name,\"1,+60100000002,\"\"open\",a quote is opened and not closed\n"
        "2,+60100000003,Bo,6,device_id,2,no such device\n"
        "1,12,\"two\r\nlines\",2,phone,12,too short\n");
    put("content.yaml", content_yaml);
    put("messages.csv", messages_head);
    char paths[6][256];
    const char *names[] = {"devices.csv",         "leads.csv",         "content.yaml",
                           "devices.rejects.csv", "leads.rejects.csv", "messages.csv"};
    for (int i = 0; i < 6; i++)
        snprintf(paths[i], sizeof(paths[i]), "%s/%s", dir, names[i]);
    struct audit_input in = {.devices = paths[0],
                             .leads = paths[1],
                             .content = paths[2],
                             .refused_devices = paths[3],
                             .refused_leads = paths[4],
                             .messages = paths[5]};
    struct audit_result r;
    ck_assert_int_eq(audit_run(&in, &r, NULL, stderr), 0);
    ck_assert_uint_eq(r.asked, 2); /* Ann and Cy */
}
END_TEST

START_TEST(unreadable_is_an_error)
{
    struct audit_result r;
    struct audit_input in = {.devices = "/nonexistent",
                             .leads = "/nonexistent",
                             .content = "/nonexistent",
                             .messages = "/nonexistent"};
    FILE *null = fopen("/dev/null", "w");
    ck_assert_int_lt(audit_run(&in, &r, NULL, null), 0);
    fclose(null);
}
END_TEST

int
main(void)
{
    if (!mkdtemp(dir))
        return 1;
    Suite *suite = suite_create("audit");
    TCase *t = tcase_create("offences");
    tcase_add_test(t, unreadable_is_an_error);
    tcase_add_test(t, refused_rows_are_stepped_over);
    tcase_add_test(t, clean_run_is_green);
    tcase_add_test(t, lost_is_red);
    tcase_add_test(t, twice_is_red);
    tcase_add_test(t, phantom_is_red);
    tcase_add_test(t, false_sent_is_red);
    tcase_add_test(t, hidden_unknown_is_red);
    tcase_add_test(t, wrong_text_is_red);
    tcase_add_test(t, too_early_is_red);
    tcase_add_test(t, after_optout_is_red);
    tcase_add_test(t, two_drivers_is_red);
    suite_add_tcase(suite, t);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int bad = srunner_ntests_failed(runner);
    srunner_free(runner);
    const char *names[] = {"devices.csv",  "leads.csv", "content.yaml",        "receipts",
                           "messages.csv", "silences",  "devices.rejects.csv", "leads.rejects.csv"};
    for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
        char path[256];
        snprintf(path, sizeof(path), "%s/%s", dir, names[i]);
        unlink(path);
    }
    rmdir(dir);
    return bad == 0 ? 0 : 1;
}
