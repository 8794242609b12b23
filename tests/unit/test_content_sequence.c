/* content_sequence: what a sequence may not say, its canonical form, and where an edit leaves whom.
 */
#include <check.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "shared/compose.h"
#include "shared/content.h"

static char *said;
static struct content content;

static int
parse(const char *yaml)
{
    size_t size;
    free(said);
    content_free(&content);
    FILE *errors = open_memstream(&said, &size);
    int rc = content_parse_yaml(&content, "f.yaml", (struct slice){yaml, strlen(yaml)}, errors);
    fclose(errors);
    return rc;
}

static void
refused(const char *yaml, const char *expect)
{
    ck_assert_int_eq(parse(yaml), -EINVAL);
    ck_assert_str_eq(said, expect);
    ck_assert_uint_eq(content.count, 0);
}

#define STEP(fields) "sequences:\n  cold:\n    steps:\n      - {" fields "}\n"
#define GOOD         "step: 1, template: hello"
#define BAD_STEP(fields, fault)                                                                    \
    refused(STEP(fields), "f.yaml:4: sequences.cold.steps[1]" fault "\n")
#define COLD(fields)            "sequences:\n  cold: {steps: [{" GOOD "}], " fields "}\n"
#define BAD_COLD(fields, fault) refused(COLD(fields), "f.yaml:2: sequences.cold." fault "\n")

START_TEST(steps_that_are_refused)
{
    refused("sequences:\n  cold: {trigger: COLD}\n",
            "f.yaml:2: sequences.cold.steps: is not a list of at least one step\n");
    refused("sequences:\n  cold: {steps: []}\n",
            "f.yaml:2: sequences.cold.steps = \"[...]\": is not a list of at least one step\n");
    refused("sequences:\n  cold: {steps: [a]}\n",
            "f.yaml:2: sequences.cold.steps[1] = \"a\": is not a map of step, delay and template "
            "or text\n");
    BAD_STEP("template: hello", ".step: is required");
    BAD_STEP("step: 0, template: hello", ".step = \"0\": is not a whole number (1 to 32767)");
    BAD_STEP("step: 32768, template: hello",
             ".step = \"32768\": is not a whole number (1 to 32767)");
    BAD_STEP("step: one, template: hello", ".step = \"one\": is not a whole number (1 to 32767)");
    BAD_STEP("step: 1", " = \"{...}\": needs template or text");
    BAD_STEP("step: 1, template: hello, text: x",
             ".text = \"x\": stands beside template: one of both makes the message");
    BAD_STEP("step: 1, text: 'Hi {{name'", ".text = \"Hi {{name\": {{ without }}");
    BAD_STEP(GOOD ", colour: red", ".colour: unknown field");
    BAD_STEP(GOOD ", ttl: 0", ".ttl = \"0\": would end the step before it is due");
}
END_TEST

START_TEST(delays_that_are_refused)
{
    static const char *const delays[] = {"-1d",  "1",         "d",   "1w", "1.5h",
                                         "367d", "31622401s", "1 d", "+1d"};
    for (size_t i = 0; i < sizeof(delays) / sizeof(delays[0]); i++) {
        char yaml[200], fault[200];
        snprintf(yaml, sizeof(yaml), STEP(GOOD ", delay: \"%s\""), delays[i]);
        snprintf(fault, sizeof(fault),
                 "f.yaml:4: sequences.cold.steps[1].delay = \"%s\": is not a span of 0 to 366 days "
                 "such as 90s, 5m, 2h or 3d\n",
                 delays[i]);
        refused(yaml, fault);
    }
}
END_TEST

START_TEST(windows_that_are_refused)
{
    static const char *const windows[] = {"09:00-09:00", "9:00-18:00",  "09:00",
                                          "09:00-25:00", "24:00-08:00", "09:60-18:00",
                                          "09.00-18.00", "09:00-24:01"};
    for (size_t i = 0; i < sizeof(windows) / sizeof(windows[0]); i++) {
        char yaml[200], fault[200];
        snprintf(yaml, sizeof(yaml), STEP(GOOD ", window: \"%s\""), windows[i]);
        snprintf(
            fault, sizeof(fault),
            "f.yaml:4: sequences.cold.steps[1].window = \"%s\": is not a window of some length "
            "such as 09:00-18:00\n",
            windows[i]);
        refused(yaml, fault);
    }
}
END_TEST

START_TEST(ordinals_rise)
{
    refused(
        "sequences:\n  cold:\n    steps:\n      - {step: 2, text: a}\n      - {step: 2, text: b}\n",
        "f.yaml:5: sequences.cold.steps[2].step = \"2\": is there twice\n");
    refused(
        "sequences:\n  cold:\n    steps:\n      - {step: 2, text: a}\n      - {step: 1, text: b}\n",
        "f.yaml:5: sequences.cold.steps[2].step = \"1\": is not above the step before it\n");
}
END_TEST

START_TEST(every_fault_of_a_file_is_told)
{
    refused(
        "sequences:\n"
        "  cold:\n"
        "    trigger: 'a b'\n"
        "    on_skip: maybe\n"
        "    steps:\n"
        "      - {step: 1, delay: -1d, template: hello}\n"
        "      - {step: 1, text: '{{', ttl: 0, window: '09:00-09:00'}\n"
        "  warm: {steps: [], colour: red}\n"
        "templates:\n"
        "  good: {text: fine}\n",
        "f.yaml:3: sequences.cold.trigger = \"a b\": is not 1 to 64 printable characters without "
        "blank\n"
        "f.yaml:4: sequences.cold.on_skip = \"maybe\": is neither continue nor stop\n"
        "f.yaml:6: sequences.cold.steps[1].delay = \"-1d\": is not a span of 0 to 366 days such as "
        "90s, 5m, 2h or 3d\n"
        "f.yaml:7: sequences.cold.steps[2].step = \"1\": is there twice\n"
        "f.yaml:7: sequences.cold.steps[2].ttl = \"0\": would end the step before it is due\n"
        "f.yaml:7: sequences.cold.steps[2].window = \"09:00-09:00\": is not a window of some "
        "length "
        "such as 09:00-18:00\n"
        "f.yaml:7: sequences.cold.steps[2].text = \"{{\": {{ without }}\n"
        "f.yaml:8: sequences.warm.colour: unknown field\n"
        "f.yaml:8: sequences.warm.steps = \"[...]\": is not a list of at least one step\n");
}
END_TEST

START_TEST(bounds_of_a_sequence)
{
    static char yaml[300000];
    for (unsigned count = 64; count <= 65; count++) {
        size_t at = (size_t) snprintf(yaml, sizeof(yaml), "sequences:\n  cold:\n    steps:\n");
        for (unsigned i = 1; i <= count; i++)
            at += (size_t) snprintf(yaml + at, sizeof(yaml) - at,
                                    "      - {step: %u, template: hello}\n", i);
        if (count == 64)
            ck_assert_msg(parse(yaml) == 0, "%s", said);
        else
            refused(yaml, "f.yaml:3: sequences.cold.steps = \"[...]\": has more than 64 steps\n");
    }
    /* each text is short enough, all of them together do not fit what travels */
    size_t at = (size_t) snprintf(yaml, sizeof(yaml), "sequences:\n  cold:\n    steps:\n");
    for (unsigned i = 1; i <= 17; i++) {
        at += (size_t) snprintf(yaml + at, sizeof(yaml) - at, "      - {step: %u, text: '", i);
        memset(yaml + at, 'x', 4096);
        at += 4096;
        at += (size_t) snprintf(yaml + at, sizeof(yaml) - at, "'}\n");
    }
    refused(yaml, "f.yaml:2: sequences.cold: is larger than 65536 bytes\n");
}
END_TEST

START_TEST(fields_that_are_refused)
{
    BAD_COLD("trigger: 'a b'",
             "trigger = \"a b\": is not 1 to 64 printable characters without blank");
    BAD_COLD("trigger: ''", "trigger = \"\": is not 1 to 64 printable characters without blank");
    BAD_COLD("next_sequence: cold", "next_sequence = \"cold\": leads back to the sequence itself");
    BAD_COLD("next_sequence: 'A B'",
             "next_sequence = \"A B\": holds characters that are not allowed here");
    BAD_COLD("on_skip: resend", "on_skip = \"resend\": is neither continue nor stop");
    BAD_COLD("on_fail: skip", "on_fail = \"skip\": is neither continue nor stop");
    BAD_COLD("on_unknown: continue", "on_unknown = \"continue\": is neither skip nor stop");
    BAD_COLD("not_after: 2026-12-01", "not_after: unknown field");
    BAD_COLD("audience: {devices: []}",
             "audience.devices = \"[...]\": is not a list of device IDs and ranges");
}
END_TEST

START_TEST(circles_and_twins_are_refused)
{
#define S(name, next, trigger)                                                                     \
    "  " name ": {next_sequence: " next ", trigger: " trigger ", steps: [{step: 1, text: a}]}\n"
    refused("sequences:\n" S("cold", "warm", "A") S("warm", "hot", "B") S("hot", "cold", "C"),
            "f.yaml:2: sequences.cold.next_sequence = \"warm\": goes in a circle: "
            "cold -> warm -> hot -> cold\n"
            "f.yaml:3: sequences.warm.next_sequence = \"hot\": goes in a circle: "
            "warm -> hot -> cold -> warm\n"
            "f.yaml:4: sequences.hot.next_sequence = \"cold\": goes in a circle: "
            "hot -> cold -> warm -> hot\n");
    refused("sequences:\n" S("cold", "far", "A") S("warm", "far", "A"),
            "f.yaml:3: sequences.warm.trigger = \"A\": is the trigger of sequence cold too\n");
    /* who only leads into a circle is not told of it */
    refused("sequences:\n" S("a", "b", "A") S("b", "c", "B") S("c", "b", "C"),
            "f.yaml:3: sequences.b.next_sequence = \"c\": goes in a circle: b -> c -> b\n"
            "f.yaml:4: sequences.c.next_sequence = \"b\": goes in a circle: c -> b -> c\n");
#undef S
}
END_TEST

START_TEST(variables_and_variants)
{
    refused("variables: [city]\ntemplates:\n  a: {text: 'Hi {{name}} {{ city | x}} {{ctiy}}'}\n",
            "f.yaml:3: templates.a.text = \"Hi {{name}} {{ city | x}} {{ctiy}}\": {{ctiy}} is "
            "neither name, phone nor in the list of variables\n");
    refused("templates:\n  a: {text: '{{x}}'}\nvariables: []\n",
            "f.yaml:2: templates.a.text = \"{{x}}\": {{x}} is neither name, phone nor in the list "
            "of variables\n");
    refused(
        "variables: [city]\nsequences:\n  s: {steps: [{step: 1, text: '{{town | x}}'}]}\n"
        "templates:\n  a: {variants: [x, '{{place}}']}\n  b: {template: t, language: de, body: "
        "['{{x}}']}\n",
        "f.yaml:3: sequences.s.steps[1].text = \"{{town | x}}\": {{town }} is neither name, "
        "phone nor in the list of variables\n"
        "f.yaml:5: templates.a.variants = \"{{place}}\": {{place}} is neither name, phone nor in "
        "the list of variables\n"
        "f.yaml:6: templates.b.body = \"{{x}}\": {{x}} is neither name, phone nor in the list of "
        "variables\n");
    refused("variables: city\ntemplates:\n  a: {text: x}\n",
            "f.yaml:1: variables: is not a list of at most 64 names\n");
    refused("templates:\n  a: {variants: [x]}\n",
            "f.yaml:2: templates.a.variants = \"[...]\": is not a list of 2 to 16 texts\n");
    refused("templates:\n  a: {variants: [x, y], text: z}\n",
            "f.yaml:2: templates.a.variants = \"[...]\": stand beside text or template: one makes "
            "the message\n");
    ck_assert_int_eq(parse("templates:\n  a: {variants: [x, '{{b}}']}\n"), 0);
    ck_assert_uint_eq(content.items[0].template_.variant_count, 2);
    unsigned seen[3] = {0};
    for (uint64_t phone = 60120000000; phone < 60120000300; phone++)
        seen[compose_variant(phone, 3)]++;
    for (unsigned i = 0; i < 3; i++)
        ck_assert_uint_gt(seen[i], 50);
    ck_assert_uint_eq(compose_variant(1, 1000003), 0xaf63ac4c86019afcULL % 1000003);
}
END_TEST

static const char long_sequence[] =
    "sequences:\n"
    "  cold:\n"
    "    trigger: COLD\n"
    "    next_sequence: warm\n"
    "    priority: -3\n"
    "    on_skip: stop\n"
    "    on_fail: continue\n"
    "    on_unknown: stop\n"
    "    audience: {devices: [7, 1-5], where: {city: KL}}\n"
    "    steps:\n"
    "      - {step: 10, template: hello}\n"
    "      - {step: 20, delay: 1d, text: 'Still there?', window: \"22:30-06:00\", ttl: 36h}\n"
    "      - {step: 30, delay: 90s, template: bye}\n";

START_TEST(canonical_form_goes_round)
{
    char why[200];
    struct content_item again;
    ck_assert_msg(parse(long_sequence) == 0, "%s", said);
    char *json = content_item_write(&content.items[0]);
    ck_assert_str_eq(
        json,
        "{\"audience\":{\"devices\":[\"1-5\",\"7\"],\"where\":{\"city\":\"KL\"}},\"kind\":"
        "\"sequence\",\"name\":\"cold\",\"next_sequence\":\"warm\",\"on_fail\":\"continue\","
        "\"on_skip\":\"stop\",\"on_unknown\":\"stop\",\"priority\":-3,\"steps\":[{\"delay\":\"0\","
        "\"step\":10,\"template\":\"hello\"},{\"delay\":\"1d\",\"step\":20,\"text\":\"Still "
        "there?\",\"ttl\":\"36h\",\"window\":\"22:30-06:00\"},{\"delay\":\"90s\",\"step\":30,"
        "\"template\":\"bye\"}],\"trigger\":\"COLD\"}");
    ck_assert_int_eq(content_item_read(&again, (struct slice){json, strlen(json)}, why, sizeof why),
                     0);
    char *twice = content_item_write(&again);
    ck_assert_str_eq(twice, json);
    const struct content_sequence *s = &again.sequence;
    ck_assert_int_eq(s->steps[1].window.from, 22 * 60 + 30);
    ck_assert_uint_eq(s->steps[1].ttl, 36 * 3600 * USEC_PER_SEC);
    ck_assert_uint_eq(s->steps[2].delay, 90 * USEC_PER_SEC);
    ck_assert_int_eq(content_next_step(s, 0)->step, 10);
    ck_assert_int_eq(content_next_step(s, 10)->step, 20);
    ck_assert_int_eq(content_next_step(s, 15)->step, 20);
    ck_assert_ptr_null(content_next_step(s, 30));
    ck_assert_ptr_null(content_find_step(s, 15));
    content_item_free(&again);
    free(json);
    free(twice);
}
END_TEST

static struct content_sequence
steps(struct content_step *out, const char *ordinals)
{
    struct content_sequence s = {.steps = out};
    for (const char *at = ordinals; *at; at++)
        out[s.step_count++] = (struct content_step){.step = (int16_t) (*at - '0'),
                                                    .delay = (usec_t) (*at - '0') * USEC_PER_SEC};
    return s;
}

START_TEST(where_an_edit_leaves_whom)
{
    /* steps before, waits for, steps after, stands at then (0: through), seconds of shift */
    static const struct {
        const char *from;
        int16_t step;
        const char *to;
        int16_t then;
        int64_t shift;
    } rows[] = {
        {"135", 3, "135", 3, 0},  {"135", 3, "1235", 2, -1}, /* between: it was not sent yet */
        {"135", 5, "1235", 5, 0},                            /* before: it is behind that lead */
        {"135", 3, "1357", 3, 0}, {"135", 3, "15", 5, 2},    {"135", 5, "13", 0, 0},
        {"135", 1, "2", 2, 1},    {"135", 1, "9", 9, 8},     {"135", 5, "14", 4, -1},
        {"13", 3, "1", 0, 0},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct content_step a[8], b[8];
        struct content_sequence from = steps(a, rows[i].from), to = steps(b, rows[i].to);
        int64_t shift = 0;
        const struct content_step *now = content_restep(&from, rows[i].step, &to, &shift);
        ck_assert_int_eq(now ? now->step : 0, rows[i].then);
        ck_assert_int_eq(shift, rows[i].shift * (int64_t) USEC_PER_SEC);
    }
}
END_TEST

START_TEST(triggers)
{
    ck_assert(content_trigger_valid((struct slice){"COLD", 4}));
    ck_assert(content_trigger_valid((struct slice){"a-b_c!", 6}));
    ck_assert(!content_trigger_valid((struct slice){"", 0}));
    ck_assert(!content_trigger_valid((struct slice){"A B", 3}));
    ck_assert(!content_trigger_valid((struct slice){"A\n", 2}));
    ck_assert(!content_trigger_valid((struct slice){"\xc3\xa9", 2}));
    char long_one[66];
    memset(long_one, 'x', sizeof long_one);
    ck_assert(content_trigger_valid((struct slice){long_one, 64}));
    ck_assert(!content_trigger_valid((struct slice){long_one, 65}));
}
END_TEST

START_TEST(campaigns_have_windows)
{
    ck_assert_int_eq(parse("campaigns:\n  a: {template: t, window: \"00:00-24:00\"}\n"), 0);
    ck_assert_int_eq(content.items[0].campaign.window.to, 1440);
    refused("campaigns:\n  a: {template: t, window: \"8-9\"}\n",
            "f.yaml:2: campaigns.a.window = \"8-9\": is not a window of some length such as "
            "09:00-18:00\n");
}
END_TEST

int
main(void)
{
    Suite *s = suite_create("content_sequence");
    TCase *t = tcase_create("content_sequence");
    tcase_add_test(t, steps_that_are_refused);
    tcase_add_test(t, delays_that_are_refused);
    tcase_add_test(t, windows_that_are_refused);
    tcase_add_test(t, every_fault_of_a_file_is_told);
    tcase_add_test(t, bounds_of_a_sequence);
    tcase_add_test(t, ordinals_rise);
    tcase_add_test(t, fields_that_are_refused);
    tcase_add_test(t, circles_and_twins_are_refused);
    tcase_add_test(t, variables_and_variants);
    tcase_add_test(t, canonical_form_goes_round);
    tcase_add_test(t, where_an_edit_leaves_whom);
    tcase_add_test(t, triggers);
    tcase_add_test(t, campaigns_have_windows);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? 1 : 0;
}
