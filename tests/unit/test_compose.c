/* Texts: what is refused at once, what is missing, and every way a value may be written. */
#include "shared/compose.h"

#include <check.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "shared/content.h"
#include "shared/parse.h"
#include "shared/rng.h"

static struct slice
slice(const char *text)
{
    return (struct slice){.data = text, .bytes = strlen(text)};
}

static struct lead_fields
lead(const char *name, const char *attributes)
{
    return (struct lead_fields){.phone = 60123456789u,
                                .name = slice(name),
                                .attributes = slice(attributes)};
}

static void
refused(const char *text, const char *wanted_why)
{
    char why[64] = "";

    ck_assert_ptr_null(compose_new(slice(text), why, sizeof why));
    ck_assert_str_eq(why, wanted_why);
}

/* The text must be exactly `wanted`; NULL: a variable is missing. */
static void
renders(const char *text, struct lead_fields fields, const char *wanted)
{
    char why[64] = "", out[1024];
    size_t bytes = 7777;
    struct compose *c = compose_new(slice(text), why, sizeof why);
    enum compose_verdict v;

    ck_assert_msg(c, "%s: %s", text, why);
    v = compose_render(c, &fields, out, sizeof out, &bytes);
    if (wanted) {
        ck_assert_msg(v == COMPOSE_OK, "%s: verdict %d", text, v);
        ck_assert_msg(bytes == strlen(wanted) && memcmp(out, wanted, bytes) == 0, "%s -> %.*s",
                      text, (int) bytes, out);
    } else {
        ck_assert_int_eq(v, COMPOSE_MISSING_VARIABLE);
        ck_assert_uint_eq(bytes, 7777);
    }
    compose_free(c);
}

START_TEST(texts_that_are_refused)
{
    char long_name[CONTENT_NAME_MAX + 8];

    refused("Hi {{name", "{{ without }}");
    refused("Hi {{", "{{ without }}");
    refused("Hi name}}", "}} without {{");
    refused("{{name}} }}", "}} without {{");
    refused("{{}}", "a variable without a name");
    refused("{{  }}", "a variable without a name");
    refused("{{|there}}", "a variable without a name");
    refused("{{a {{b}}", "a brace inside a variable's name");
    refused("{{{name}}}", "a brace inside a variable's name");
    refused("{{name|{{b}}", "{{ inside a variable");
    memset(long_name, 'x', sizeof long_name);
    memcpy(long_name, "{{", 2);
    memcpy(long_name + sizeof long_name - 3, "}}", 3);
    refused(long_name, "a variable's name is too long");
    ck_assert_ptr_null(compose_free(NULL));
}
END_TEST

START_TEST(missing)
{
    renders("Hi {{name}}", lead("", "{}"), NULL);
    renders("Hi {{city}}", lead("Ann", "{}"), NULL);
    renders("Hi {{city}}", lead("Ann", ""), NULL);
    renders("Hi {{city}}", lead("Ann", "{\"city\":\"\"}"), NULL);
    renders("Hi {{city}}", lead("Ann", "{\"town\":\"KL\"}"), NULL);
    renders("Hi {{cit}}", lead("Ann", "{\"city\":\"KL\"}"), NULL);
    renders("Hi {{city}}", lead("Ann", "{\"cit\":\"KL\",\"cityy\":\"KL\"}"), NULL);
}
END_TEST

/* Broken attributes have no more values; they never crash and never give half a value. */
START_TEST(broken_attributes)
{
    static const char *const broken[] = {"{",
                                         "[]",
                                         "null",
                                         "{\"city\"",
                                         "{\"city\":",
                                         "{\"city\":\"K",
                                         "{\"city\":\"K\\",
                                         "{\"city\":\"K\\u00",
                                         "{\"city\":\"K\\u00zz\"}",
                                         "{\"city\":\"K\\x\"}",
                                         "{\"city\":7}",
                                         "{\"city\":{\"a\":\"b\"}}",
                                         "{\"a\":1,\"city\":\"KL\"}",
                                         "{city:\"KL\"}",
                                         "{\"a\":\"b\" \"city\":\"KL\"}"};

    for (size_t i = 0; i < ARRAY_SIZE(broken); i++)
        renders("{{city|none}}", lead("", broken[i]), "none");
}
END_TEST

START_TEST(too_long)
{
    char *text = malloc(2 * CONTENT_CHARACTERS_MAX + 3), out[20000];
    size_t bytes = 7777;
    struct compose *c;
    struct lead_fields fields = lead("Ann", "{}");

    memset(text, 'x', CONTENT_CHARACTERS_MAX + 1);
    c = compose_new((struct slice){text, CONTENT_CHARACTERS_MAX + 1}, out, sizeof out);
    ck_assert_int_eq(compose_render(c, &fields, out, sizeof out, &bytes), COMPOSE_TOO_LONG);
    ck_assert_uint_eq(bytes, 7777);
    compose_free(c);
    c = compose_new((struct slice){text, CONTENT_CHARACTERS_MAX}, out, sizeof out);
    ck_assert_int_eq(compose_render(c, &fields, out, sizeof out, &bytes), COMPOSE_OK);
    ck_assert_uint_eq(bytes, CONTENT_CHARACTERS_MAX);
    ck_assert_int_eq(compose_render(c, &fields, out, CONTENT_CHARACTERS_MAX, &bytes), COMPOSE_OK);
    ck_assert_int_eq(compose_render(c, &fields, out, CONTENT_CHARACTERS_MAX - 1, &bytes),
                     COMPOSE_TOO_LONG);
    compose_free(c);
    for (unsigned i = 0; i < CONTENT_CHARACTERS_MAX; i++)
        memcpy(text + 2 * i, "\xc3\xa9", 2); /* characters count, not bytes */
    c = compose_new((struct slice){text, 2 * CONTENT_CHARACTERS_MAX}, out, sizeof out);
    ck_assert_int_eq(compose_render(c, &fields, out, sizeof out, &bytes), COMPOSE_OK);
    ck_assert_uint_eq(bytes, 2 * CONTENT_CHARACTERS_MAX);
    compose_free(c);
    c = compose_new(slice("Hello {{name}}"), out, sizeof out); /* ends in a value */
    ck_assert_int_eq(compose_render(c, &fields, out, 8, &bytes), COMPOSE_TOO_LONG);
    ck_assert_int_eq(compose_render(c, &fields, out, 9, &bytes), COMPOSE_OK);
    compose_free(c);
    free(text);
}
END_TEST

START_TEST(values)
{
    renders("", lead("Ann", "{}"), "");
    renders("no variable", lead("Ann", "{}"), "no variable");
    renders("{ } {a} }", lead("Ann", "{}"), "{ } {a} }");
    renders("{{name}}", lead("Ann", "{}"), "Ann");
    renders("{{ name }}{{name}}", lead("Ann", "{}"), "AnnAnn");
    renders("Hi {{name|there}}!", lead("", "{}"), "Hi there!");
    renders("Hi {{name|there}}!", lead("Ann", "{}"), "Hi Ann!");
    renders("a{{name|}}b", lead("", "{}"), "ab");
    renders("{{name| a|b }}", lead("", "{}"), " a|b ");
    renders("{{phone}}", lead("", "{}"), "+60123456789");
    renders("{{city}} {{order}}", lead("", "{\"city\": \"KL\", \"order\": \"A-1\"}"), "KL A-1");
    renders("{{city}}", lead("", " { \"a\" : \"b\" , \"city\" : \"KL\" } "), "KL");
    renders("{{city|x}}", lead("", "{\"city\":\"\"}"), "x");
    renders("{{name}}", lead("Ann", "{\"name\":\"Bob\"}"), "Ann"); /* the lead's own comes first */
}
END_TEST

START_TEST(escapes)
{
    renders("{{a}}", lead("", "{\"a\":\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"}"), "\"\\/\b\f\n\r\t");
    renders("{{a}}", lead("", "{\"a\":\"\\u0041\\u00e9\\u20AC\\ud83d\\uDE00\"}"),
            "A\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80");
    renders("{{a}}", lead("", "{\"a\":\"x\\ud83dy\"}"), "x\xef\xbf\xbdy"); /* half a pair */
    renders("{{a}}", lead("", "{\"a\":\"\\ude00\\ud83d\"}"), "\xef\xbf\xbd\xef\xbf\xbd");
    renders("{{a}}", lead("", "{\"a\":\"\\ud83d\\u0041\"}"),
            "\xef\xbf\xbd"
            "A");
    renders("{{a}}", lead("", "{\"a\":\"\\u0000\"}"), "\xef\xbf\xbd");
    renders("{{caf\xc3\xa9}}", lead("", "{\"caf\\u00e9\":\"ol\xc3\xa9\"}"), "ol\xc3\xa9");
    renders("{{b}}", lead("", "{\"a\":\"\\\"b\\\":\\\"no\",\"b\":\"yes\"}"), "yes");
}
END_TEST

static size_t
random_text(struct rng *rng, char *text, unsigned characters_max)
{
    static const char *const pieces[] = {
        "a",    "\"", "\\", "\n",       "\t",           "/", " ",
        "\x01", ":",  ",",  "\xc3\xa9", "\xe2\x82\xac", "}", "\xf0\x9f\x98\x80"};
    unsigned count = (unsigned) rng_between(rng, 1, characters_max);
    size_t used = 0;

    for (unsigned i = 0; i < count; i++) {
        const char *piece = pieces[rng_between(rng, 0, ARRAY_SIZE(pieces) - 1)];

        memcpy(text + used, piece, strlen(piece));
        used += strlen(piece);
    }
    text[used] = '\0';
    return used;
}

/* Cut anywhere, the object gives the whole value or none. */
static void
cut_anywhere(const char *json, const char *value)
{
    char why[64], out[256];
    struct compose *c = compose_new(slice("{{wanted}}"), why, sizeof why);

    ck_assert_ptr_nonnull(c);
    for (size_t cut = 0; cut < strlen(json); cut++) {
        char *copy = malloc(cut + 1); /* of that very size: a read behind it is seen */
        struct lead_fields fields = {.attributes = {copy, cut}};
        size_t bytes = 0;

        memcpy(copy, json, cut);
        if (compose_render(c, &fields, out, sizeof out, &bytes) == COMPOSE_OK) {
            ck_assert_uint_eq(bytes, strlen(value));
            ck_assert_int_eq(memcmp(out, value, bytes), 0);
        }
        free(copy);
    }
    compose_free(c);
}

/* jansson writes, we read. */
START_TEST(whatever_jansson_writes)
{
    struct rng rng;

    rng_seed(&rng, 21);
    for (int round = 0; round < 500; round++) {
        size_t flags = (round & 1 ? JSON_ENSURE_ASCII : 0) | (round & 2 ? JSON_COMPACT : 0) |
                       (round & 4 ? JSON_SORT_KEYS : 0);
        char value[64], other[64];
        json_t *object;
        char *text;

        random_text(&rng, value, 10);
        random_text(&rng, other, 10);
        object = json_pack("{s:s, s:s}", "other", other, "wanted", value);
        text = json_dumps(object, flags);
        ck_assert_ptr_nonnull(text);
        renders("{{wanted}}", lead("", text), value);
        cut_anywhere(text, value);
        json_decref(object);
        free(text);
    }
}
END_TEST

START_TEST(hash)
{
    ck_assert_uint_eq(compose_hash(slice("")), 0xcbf29ce484222325u);
    ck_assert_uint_eq(compose_hash((struct slice){0}), 0xcbf29ce484222325u);
    ck_assert_uint_eq(compose_hash(slice("a")), 0xaf63dc4c8601ec8cu);
    ck_assert_uint_eq(compose_hash(slice("foobar")), 0x85944171f73967e8u);
    ck_assert_uint_ne(compose_hash(slice("\xc3\xa9")), compose_hash(slice("\xc3\xa8")));
}
END_TEST

int
main(void)
{
    Suite *suite = suite_create("compose");
    TCase *all = tcase_create("texts");
    SRunner *runner;
    int failed;

    tcase_add_test(all, texts_that_are_refused);
    tcase_add_test(all, missing);
    tcase_add_test(all, broken_attributes);
    tcase_add_test(all, too_long);
    tcase_add_test(all, values);
    tcase_add_test(all, escapes);
    tcase_add_test(all, whatever_jansson_writes);
    tcase_add_test(all, hash);
    suite_add_tcase(suite, all);
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed > 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
