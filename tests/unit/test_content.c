/* content: what a file may not say, told with line, field and value; and exact round trips. */
#include "shared/content.h"

#include <check.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

static char *said;
static struct content content;

static int
parse_bytes(const char *yaml, size_t bytes)
{
    size_t size;
    free(said);
    content_free(&content);
    FILE *errors = open_memstream(&said, &size);
    int rc = content_parse_yaml(&content, "f.yaml", (struct slice){yaml, bytes}, errors);
    fclose(errors);
    return rc;
}

static int
parse(const char *yaml)
{
    return parse_bytes(yaml, strlen(yaml));
}

static void
refused(const char *yaml, const char *expect)
{
    ck_assert_int_eq(parse(yaml), -EINVAL);
    ck_assert_str_eq(said, expect);
    ck_assert_uint_eq(content.count, 0);
}

#define TEMPLATE(fields) "templates:\n  hello: {" fields "}\n"
#define CAMPAIGN(fields) "campaigns:\n  spring: {template: hello, " fields "}\n"

START_TEST(yaml_that_is_refused)
{
    refused("", "f.yaml:1: holds neither templates nor campaigns nor sequences\n");
    refused("- a\n", "f.yaml:1: holds neither templates nor campaigns nor sequences\n");
    refused("templates: {}\n", "f.yaml:1: templates: is not a map of names\n");
    refused("templates:\n", "f.yaml:1: templates: is not a map of names\n");
    refused("template:\n  a: {text: x}\n", "f.yaml:1: template: unknown field\n");
    refused("templates:\n  a: &x {text: hi}\n", "f.yaml:2: anchors (&name) are not allowed\n");
    refused("templates:\n  a: *x\n", "f.yaml:2: aliases (*name) are not allowed\n");
    refused("templates:\n  a: !!map {text: x}\n", "f.yaml:2: tags (!name) are not allowed\n");
    refused("templates:\n  a: {text: x}\n---\na: b\n",
            "f.yaml:3: a second document (---) is not allowed\n");
    refused("templates:\n  a: {text: x}\n  b: {text: y}\n  a: {text: z}\n",
            "f.yaml:4: a: stands here twice, first in line 2\n");
    refused("templates:\n  a:\n    text: x\n    text: y\n",
            "f.yaml:4: text: stands here twice, first in line 3\n");
    refused("templates:\n  a:\n    text: {{name}}\n",
            "f.yaml:3: a name must be plain text (a text that begins with {{ needs quotes)\n");
    refused("a: [[[[[[[[[1]]]]]]]]]\n", "f.yaml:1: nested too deeply\n");
    refused("\"a\\0b\": 1\n", "f.yaml:1: a name holds a zero byte\n");
    ck_assert_int_eq(parse("templates:\n  a: {text: \"x\n"), -EINVAL);
    ck_assert_ptr_nonnull(strstr(said, "f.yaml:3: found unexpected end of stream"));
    ck_assert_int_eq(parse("templates:\n  a: {text: \"\xff\"}\n"), -EINVAL);
    ck_assert_str_eq(said, "f.yaml:1: is not UTF-8 text\n");
    ck_assert_int_eq(parse_bytes("templates:\0", 11), -EINVAL);
    ck_assert_int_eq(parse_bytes(NULL, 0), -EINVAL);
}
END_TEST

START_TEST(templates_that_are_refused)
{
    refused("templates:\n  Hello: {text: x}\n",
            "f.yaml:2: templates = \"Hello\": not a name (1 to 64 of a-z, 0-9, _ and -)\n");
    refused("templates:\n  \"\": {text: x}\n",
            "f.yaml:2: templates = \"\": not a name (1 to 64 of a-z, 0-9, _ and -)\n");
    refused("templates:\n  a: x\n", "f.yaml:2: templates.a: is not a map of fields\n");
    refused("templates:\n  hello: {language: de}\n",
            "f.yaml:2: templates.hello: needs text, variants, or template and language\n");
    refused("templates:\n  hello:\n    template: t\n    language: en\n    text: x\n",
            "f.yaml:5: templates.hello.text = \"x\": stands beside template: one of both makes the "
            "message\n");
    refused("templates:\n  hello:\n    text: x\n    txt: y\n",
            "f.yaml:4: templates.hello.txt: unknown field\n");
    refused(TEMPLATE("text: x, language: en"),
            "f.yaml:2: templates.hello.language: unknown field\n");
    refused(TEMPLATE("text: ''"), "f.yaml:2: templates.hello.text = \"\": is empty\n");
    refused(TEMPLATE("text: [a]"), "f.yaml:2: templates.hello.text = \"[...]\": is not a text (one "
                                   "that begins with { or [ needs quotes)\n");
    refused(TEMPLATE("text: \"a\\0b\""),
            "f.yaml:2: templates.hello.text = \"a\": holds a zero byte\n");
    refused(TEMPLATE("text: \"a\\eb\""), "f.yaml:2: templates.hello.text = \"a?b\": holds control "
                                         "characters or line ends that cannot be sent here\n");
    refused(TEMPLATE("template: t"), "f.yaml:2: templates.hello.language: is required\n");
    refused(TEMPLATE("template: T, language: en"),
            "f.yaml:2: templates.hello.template = \"T\": holds characters that are not allowed "
            "here\n");
    refused(TEMPLATE("template: t, language: aaaaaaaaaaaaaaaaa"),
            "f.yaml:2: templates.hello.language = \"aaaaaaaaaaaaaaaaa\": is too long\n");
    refused(TEMPLATE("template: t, language: en, body: x"),
            "f.yaml:2: templates.hello.body = \"x\": is not a list of texts\n");
    refused(TEMPLATE(
                "template: t, language: en, body: [1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17]"),
            "f.yaml:2: templates.hello.body = \"[...]\": has more than 16 parameters\n");
    refused(TEMPLATE("template: t, language: en, body: [\"a\\nb\"]"),
            "f.yaml:2: templates.hello.body = \"a?b\": holds control characters or line ends that "
            "cannot be sent here\n");
}
END_TEST

START_TEST(braces_that_are_refused)
{
    static const char *const texts[] = {
        "{{",           "a {{name",
        "name}} b",     "{{}}",
        "{{ }}",        "{{|x}}",
        "{{{name}}}",   "{{a{{b}}",
        "{{a|b{c}}",    "{{n\xc3\xa4me}}",
        "{{a.b}}",      "}}{{",
        "{{a}} {{b} }", "{{aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa}}",
    };
    for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
        char yaml[300];
        snprintf(yaml, sizeof(yaml), TEMPLATE("text: '%s'"), texts[i]);
        ck_assert_msg(parse(yaml) == -EINVAL, "accepted: %s", texts[i]);
        ck_assert_ptr_nonnull(strstr(said, "f.yaml:2: templates.hello.text = "));
    }
    ck_assert_int_eq(parse(TEMPLATE("text: '{{first name}} { {{ a-b_C9 |x, y|z}} } {{b|}}'")), 0);
}
END_TEST

START_TEST(length_counts_characters)
{
    static char yaml[20000];
    for (unsigned extra = 0; extra < 2; extra++) {
        char *p = yaml + snprintf(yaml, sizeof(yaml), "templates:\n  a: {text: '");
        for (unsigned i = 0; i < CONTENT_CHARACTERS_MAX + extra; i++)
            p += snprintf(p, 32, "\xf0\x9f\x99\x82");
        snprintf(p, 8, "'}\n");
        ck_assert_int_eq(parse(yaml), extra ? -EINVAL : 0);
    }
    ck_assert_ptr_nonnull(strstr(said, "has 4097 characters, 4096 are possible"));
}
END_TEST

START_TEST(item_must_fit_a_page)
{
    static char yaml[80000];
    char *p =
        yaml + snprintf(yaml, sizeof(yaml), "templates:\n  a: {template: t, language: en, body: [");
    for (unsigned i = 0; i < 16; i++, p += strlen(p)) {
        memset(p, 'x', CONTENT_CHARACTERS_MAX);
        snprintf(p + CONTENT_CHARACTERS_MAX, 8, "%s", i < 15 ? "," : "]}\n");
    }
    refused(yaml, "f.yaml:2: templates.a: is larger than 65536 bytes\n");
}
END_TEST

START_TEST(campaigns_that_are_refused)
{
#define BAD(fields, expect) refused(CAMPAIGN(fields), "f.yaml:2: campaigns.spring." expect "\n")
    refused("campaigns:\n  a: {priority: 1}\n", "f.yaml:2: campaigns.a.template: is required\n");
    refused("campaigns:\n  a: {template: ''}\n",
            "f.yaml:2: campaigns.a.template = \"\": is empty\n");
    refused("campaigns:\n  a: {template: A}\n",
            "f.yaml:2: campaigns.a.template = \"A\": holds characters that are not allowed here\n");
    BAD("notafter: 1", "notafter: unknown field");
    BAD("not_after: tomorrow",
        "not_after = \"tomorrow\": is not a UTC time (2026-12-01T00:00:00Z or 2026-12-01)");
    BAD("reliability: once", "reliability = \"once\": is neither at_most_once nor at_least_once");
    BAD("priority: high", "priority = \"high\": is not a whole number (-32767 to 32767)");
    BAD("priority: 32768", "priority = \"32768\": is not a whole number (-32767 to 32767)");
    BAD("audience: all", "audience = \"all\": is not a map of devices and where");
    BAD("audience: {}", "audience = \"{...}\": is not a map of devices and where");
    BAD("audience: {device: [1]}", "audience.device: unknown field");
}
END_TEST

START_TEST(audiences_that_are_refused)
{
#define BAD_DEVICES(list, expect) BAD("audience: {devices: " list "}", "audience.devices = " expect)
    BAD_DEVICES("5", "\"5\": is not a list of device IDs and ranges");
    BAD_DEVICES("[]", "\"[...]\": is not a list of device IDs and ranges"); /* not: everybody */
    BAD_DEVICES("[0]", "\"0\": not a device ID or a range (1 to 2147483647)");
    BAD_DEVICES("[2147483648]", "\"2147483648\": not a device ID or a range (1 to 2147483647)");
    BAD_DEVICES("[1-]", "\"1-\": not a device ID or a range (1 to 2147483647)");
    BAD_DEVICES("[1-2-3]", "\"1-2-3\": not a device ID or a range (1 to 2147483647)");
    BAD_DEVICES("[9-3]", "\"9-3\": range is reversed");
    BAD_DEVICES("[1-5, 5-9]", "\"5-9\": overlaps another range");
    BAD_DEVICES("[10-20, 1-10]", "\"1-10\": overlaps another range");
    BAD_DEVICES("[10-20, 5-30]", "\"5-30\": overlaps another range");
    BAD_DEVICES("[7, 7]", "\"7\": overlaps another range");
    BAD_DEVICES("[1,3,5,7,9,11,13,15,17,19,21,23,25,27,29,31,33,35,37,39,41,43,45,47,49,51,53,55,"
                "57,59,61,63,65,67,69,71,73,75,77,79,81,83,85,87,89,91,93,95,97,99,101,103,105,107,"
                "109,111,113,115,117,119,121,123,125,127,129]",
                "\"[...]\": has more than 64 ranges");
    BAD("audience: {where: {}}", "audience.where = \"{...}\": is not a map of columns to values");
    BAD("audience: {where: {city: }}", "audience.where = \"\": is empty");
    BAD("audience: {where: {'a.b': x}}",
        "audience.where = \"x\": has a column whose name cannot be one");
    BAD("audience: {where: {a: 1, b: 1, c: 1, d: 1, e: 1, f: 1, g: 1, h: 1, i: 1}}",
        "audience.where = \"{...}\": has more than 8 columns");
}
END_TEST

START_TEST(times_that_are_refused)
{
    static const char *const times[] = {
        "2026-02-31",
        "2026-13-01",
        "2026-00-01",
        "2026-12-01T24:00:00Z",
        "2026-12-01T00:00:60Z",
        "2026-12-01T00:00:00+08:00",
        "2026-12-01T00:00:00",
        "2026-12-01 00:00:00Z",
        "2026-12-1",
        "1969-12-31",
        "26-12-01",
        "2026-12-01T00:60:00Z",
        "+026-12-01",
    };
    for (size_t i = 0; i < ARRAY_SIZE(times); i++) {
        char yaml[200];
        snprintf(yaml, sizeof(yaml), CAMPAIGN("not_after: '%s'"), times[i]);
        ck_assert_msg(parse(yaml) == -EINVAL, "accepted: %s", times[i]);
    }
}
END_TEST

START_TEST(every_fault_is_told)
{
    refused(
        "templates:\n  a: {text: ''}\n  b: {text: '{{'}\ncampaigns:\n  c: {template: x, y: 1}\n",
        "f.yaml:2: templates.a.text = \"\": is empty\n"
        "f.yaml:3: templates.b.text = \"{{\": {{ without }}\n"
        "f.yaml:5: campaigns.c.y: unknown field\n");
}
END_TEST

START_TEST(too_many_items)
{
    static char yaml[8000];
    char *p = yaml + snprintf(yaml, sizeof(yaml), "templates:\n");
    for (unsigned i = 0; i <= CONTENT_ITEMS_MAX; i++)
        p += snprintf(p, 32, "  t%u: {text: x}\n", i);
    refused(yaml, "f.yaml:258: templates: more than 256 items in one file\n");
}
END_TEST

/* JSON of `item` reads back to the same JSON. */
static void
round_trip(const struct content_item *item, const char *expect)
{
    struct content_item again;
    char why[200] = "";
    char *json = content_item_write(item);
    ck_assert_str_eq(json, expect);
    ck_assert_msg(content_item_read(&again, (struct slice){json, strlen(json)}, why, sizeof(why)) ==
                      0,
                  "%s", why);
    char *second = content_item_write(&again);
    ck_assert_str_eq(json, second);
    ck_assert_uint_eq(again.line, 0);
    ck_assert_str_eq(content_item_name(&again), content_item_name(item));
    content_item_free(&again);
    free(json);
    free(second);
}

START_TEST(canonical_json)
{
    ck_assert_int_eq(
        parse(
            "templates:\n"
            "  hello: { text: \"Hi {{name|there}},\\n\\\"{{city}}\\\" \xc3\xa4/\" }\n"
            "  promo: { template: order_update, language: en_US, body: [\"{{name|friend}}\", x] }\n"
            "  bare:  { language: de, template: t }\n"
            "campaigns:\n"
            "  spring: { template: elsewhere, audience: { devices: [700, 1-500],\n"
            "            where: { city: KL, age: '7' } }, not_after: 2026-12-01T10:20:30Z,\n"
            "            reliability: at_least_once, priority: -5 }\n"
            "  all:   { template: hello, not_after: 2026-12-01 }\n"),
        0);
    ck_assert_str_eq(said, "");
    ck_assert_uint_eq(content.count, 5);
    ck_assert_uint_eq(content.items[3].line, 6);
    const struct content_campaign *c = &content.items[3].campaign;
    ck_assert_uint_eq(c->audience.range_count, 2);
    ck_assert_int_eq(c->audience.ranges[0].last, 500);
    ck_assert_int_eq(c->not_after, INT64_C(1796120430000000));
    ck_assert(c->at_least_once);
    round_trip(&content.items[0],
               "{\"kind\":\"template\",\"name\":\"hello\",\"text\":\"Hi {{name|there}},\\n"
               "\\\"{{city}}\\\" \xc3\xa4/\"}");
    round_trip(&content.items[1],
               "{\"body\":[\"{{name|friend}}\",\"x\"],\"kind\":\"template\",\"language\":\"en_US\","
               "\"name\":\"promo\",\"template\":\"order_update\"}");
    round_trip(&content.items[2],
               "{\"kind\":\"template\",\"language\":\"de\",\"name\":\"bare\",\"template\":\"t\"}");
    round_trip(&content.items[3],
               "{\"audience\":{\"devices\":[\"1-500\",\"700\"],\"where\":{\"age\":\"7\",\"city\":"
               "\"KL\"}},\"kind\":\"campaign\",\"name\":\"spring\",\"not_after\":"
               "\"2026-12-01T10:20:30Z\",\"priority\":-5,\"reliability\":\"at_least_once\","
               "\"template\":\"elsewhere\"}");
    round_trip(&content.items[4],
               "{\"kind\":\"campaign\",\"name\":\"all\",\"not_after\":\"2026-12-01T00:00:00Z\","
               "\"priority\":0,\"reliability\":\"at_most_once\",\"template\":\"hello\"}");
}
END_TEST

START_TEST(json_that_is_refused)
{
    static const struct {
        const char *json, *why;
    } rows[] = {
        {"", "'[' or '{' expected near end of file"},
        {"[]", "an item needs kind (template, campaign or sequence) and name"},
        {"{\"kind\":\"x\",\"name\":\"a\"}",
         "an item needs kind (template, campaign or sequence) and name"},
        {"{\"kind\":\"template\",\"name\":7,\"text\":\"x\"}",
         "an item needs kind (template, campaign or sequence) and name"},
        {"{\"kind\":\"template\",\"name\":\"a\",\"name\":\"b\",\"text\":\"x\"}",
         "duplicate object key near '\"name\"'"},
        {"{\"kind\":\"template\",\"name\":\"a\",\"text\":null}",
         "templates.a.text = \"null\": is not a text (one that begins with { or [ needs quotes)"},
        {"{\"kind\":\"template\",\"name\":\"a\",\"text\":\"}}\"}",
         "templates.a.text = \"}}\": }} without {{"},
        {"{\"kind\":\"campaign\",\"name\":\"a\",\"template\":\"t\",\"priority\":40000}",
         "campaigns.a.priority = \"40000\": is not a whole number (-32767 to 32767)"},
        {"{\"kind\":\"campaign\",\"name\":\"a\",\"template\":\"t\",\"priority\":true}",
         "campaigns.a.priority = \"true\": is not a whole number (-32767 to 32767)"},
        {"{\"kind\":\"campaign\",\"name\":\"a\",\"x\":1,\"y\":2}", "campaigns.a.x: unknown field"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct content_item item;
        char why[200] = "";
        int rc = content_item_read(&item, (struct slice){rows[i].json, strlen(rows[i].json)}, why,
                                   sizeof(why));
        ck_assert_int_eq(rc, -EINVAL);
        ck_assert_str_eq(why, rows[i].why);
    }
}
END_TEST

START_TEST(json_too_large)
{
    static char json[CONTENT_ITEM_BYTES_MAX + 1];
    struct content_item item;
    char why[200];
    memset(json, ' ', sizeof(json));
    ck_assert_int_eq(content_item_read(&item, (struct slice){json, sizeof(json)}, why, sizeof(why)),
                     -EINVAL);
    ck_assert_str_eq(why, "item is larger than 65536 bytes");
}
END_TEST

START_TEST(example_file_parses)
{
    static char text[65536];
    FILE *f = fopen(SOURCE_ROOT "/deploy/examples/content.yaml", "r");
    ck_assert_ptr_nonnull(f);
    size_t bytes = fread(text, 1, sizeof(text), f);
    fclose(f);
    ck_assert_msg(parse_bytes(text, bytes) == 0, "%s", said);
    ck_assert_uint_eq(content.count, 9);
    ck_assert_str_eq(content.items[3].campaign.template_name, "hello");
    ck_assert_uint_eq(content.items[6].sequence.step_count, 3);
}
END_TEST

int
main(void)
{
    Suite *s = suite_create("content");
    TCase *t = tcase_create("content");
    tcase_add_test(t, yaml_that_is_refused);
    tcase_add_test(t, templates_that_are_refused);
    tcase_add_test(t, braces_that_are_refused);
    tcase_add_test(t, length_counts_characters);
    tcase_add_test(t, item_must_fit_a_page);
    tcase_add_test(t, campaigns_that_are_refused);
    tcase_add_test(t, audiences_that_are_refused);
    tcase_add_test(t, times_that_are_refused);
    tcase_add_test(t, every_fault_is_told);
    tcase_add_test(t, too_many_items);
    tcase_add_test(t, canonical_json);
    tcase_add_test(t, json_that_is_refused);
    tcase_add_test(t, json_too_large);
    tcase_add_test(t, example_file_parses);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? 1 : 0;
}
