/* The rules of devices.csv and leads.csv: every refusal, then what must pass. */
#include "node/rows.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TEXT(literal) ((struct slice){literal, sizeof(literal) - 1})

static const struct row_limits limits = {.gap_min_ms = 100, .allow_http = false};

static struct slice
repeat(char c, size_t bytes)
{
    static char room[LEAD_BYTES_MAX + 2];
    ck_assert_uint_le(bytes, sizeof(room));
    memset(room, c, bytes);
    return (struct slice){room, bytes};
}

static struct device_row
good_device(void)
{
    return (struct device_row){.device_id = 7,
                               .name = TEXT("Shop 7"),
                               .transport = TEXT("cloudapi"),
                               .address = TEXT("1065550001"),
                               .token = TEXT("EAAB-token"),
                               .zone = TEXT("Asia/Kuala_Lumpur"),
                               .account = TEXT("main"),
                               .min_delay_ms = 5000,
                               .max_delay_ms = 15000};
}

static void
refused(struct device_row row, const char *column)
{
    const char *why = rows_device_why(&row, &limits);
    ck_assert_msg(why != NULL, "%s: passed", column);
    ck_assert_msg(strncmp(why, column, strlen(column)) == 0 && why[strlen(column)] == ':',
                  "%s: \"%s\"", column, why);
}

#define REFUSED(field, value, column)                                                              \
    do {                                                                                           \
        struct device_row row = good_device();                                                     \
        row.field = value;                                                                         \
        refused(row, column);                                                                      \
    } while (0)

START_TEST(a_device_with_a_fault_is_refused)
{
    REFUSED(device_id, 0, "device_id");
    REFUSED(device_id, -4, "device_id");
    REFUSED(quiet, TEXT("21:00"), "quiet");
    REFUSED(quiet, TEXT("21:00-21:00"), "quiet");
    REFUSED(quiet, TEXT("21:00-24:01"), "quiet");
    REFUSED(quiet, TEXT("from dusk till dawn"), "quiet");
    REFUSED(quiet, TEXT("00:00-24:00"), "quiet"); /* it would never send */
    REFUSED(daily_cap, DEVICE_CAP_MAX + 1, "daily_cap");
    REFUSED(hourly_cap, DEVICE_CAP_NONE - 1, "hourly_cap");
    REFUSED(age, TEXT("-1"), "age");
    REFUSED(age, TEXT("36501"), "age");
    REFUSED(age, TEXT("2026-02-29"), "age");
    REFUSED(age, TEXT("2026-13-01"), "age");
    REFUSED(age, TEXT("yesterday"), "age");
    REFUSED(transport, TEXT("pigeon"), "transport");
    REFUSED(address, TEXT(""), "address");
    REFUSED(address, TEXT("106/555"), "address");
    REFUSED(address, TEXT("106 555"), "address");
    REFUSED(address, repeat('1', 65), "address");
    REFUSED(token, TEXT(""), "token");
    REFUSED(token, TEXT("two\r\nlines"), "token");
    REFUSED(token, repeat('x', DEVICE_TOKEN_BYTES_MAX + 1), "token");
    REFUSED(zone, TEXT("Asia/Kuala Lumpur"), "zone");
    REFUSED(account, repeat('a', 65), "account");
    REFUSED(scope, TEXT("a\tb"), "scope");
    REFUSED(name, repeat('n', LABEL_BYTES_MAX + 1), "name");
    REFUSED(min_delay_ms, 0, "min_delay_ms");
    REFUSED(min_delay_ms, 99, "min_delay_ms");
    REFUSED(min_delay_ms, 15001, "max_delay_ms");
    REFUSED(max_delay_ms, 86400001, "max_delay_ms");
    REFUSED(url, TEXT("ftp://graph.example"), "url");
    REFUSED(url, TEXT("http://graph.example"), "url");
    REFUSED(url, TEXT("https://"), "url");
    REFUSED(url, TEXT("https://graph.example?x=1"), "url");
}
END_TEST

START_TEST(a_device_without_a_fault_passes)
{
    struct device_row row = good_device();
    ck_assert_ptr_null(rows_device_why(&row, &limits));
    row.min_delay_ms = row.max_delay_ms = 100; /* as small as the node accepts */
    ck_assert_ptr_null(rows_device_why(&row, &limits));
    row.max_delay_ms = 86400000;
    row.url = TEXT("https://graph.example/sub");
    row.zone = row.account = row.scope = row.name = TEXT("");
    ck_assert_ptr_null(rows_device_why(&row, &limits));
    row.transport = TEXT("null"); /* needs no token */
    row.token = TEXT("");
    ck_assert_ptr_null(rows_device_why(&row, &limits));
    row.url = TEXT("http://127.0.0.1:8080");
    struct row_limits open = limits;
    open.allow_http = true;
    ck_assert_ptr_null(rows_device_why(&row, &open));
}
END_TEST

START_TEST(a_device_s_limits_pass)
{
    static const struct {
        const char *quiet, *age;
        uint32_t cap;
    } good[] = {{"21:00-08:00", "0", 1},
                {"none", "none", DEVICE_CAP_NONE},
                {"", "", 0},
                {"09:00-09:01", "2028-02-29", DEVICE_CAP_MAX},
                {"20:00-24:00", "36500", 7}};

    for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
        struct device_row row = good_device();

        row.quiet = (struct slice){good[i].quiet, strlen(good[i].quiet)};
        row.age = (struct slice){good[i].age, strlen(good[i].age)};
        row.daily_cap = row.hourly_cap = good[i].cap;
        const char *why = rows_device_why(&row, &limits);
        ck_assert_msg(why == NULL, "case %zu: %s", i, why);
    }
}
END_TEST

START_TEST(a_lead_with_a_fault_is_refused)
{
    static const struct {
        struct lead_row row;
        const char *column;
    } cases[] = {
        {{.device_id = 0, .phone = 60123456789}, "device_id:"},
        {{.device_id = 1, .phone = 9999999}, "phone:"},
        {{.device_id = 1, .phone = 1000000000000000}, "phone:"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        const char *why = rows_lead_why(&cases[i].row);
        ck_assert_ptr_nonnull(why);
        ck_assert_int_eq(strncmp(why, cases[i].column, strlen(cases[i].column)), 0);
    }
    struct lead_row row = {.device_id = 1, .phone = 60123456789};
    row.name = repeat('n', LABEL_BYTES_MAX + 1);
    ck_assert_ptr_nonnull(strstr(rows_lead_why(&row), "name: "));
    row.name = TEXT("");
    row.trigger = repeat('t', 65);
    ck_assert_ptr_nonnull(strstr(rows_lead_why(&row), "trigger: "));
    row.trigger = TEXT("two words");
    ck_assert_ptr_nonnull(strstr(rows_lead_why(&row), "trigger: "));
    row.trigger = TEXT("");
    row.attributes = repeat(' ', LEAD_BYTES_MAX + 1);
    ck_assert_ptr_nonnull(strstr(rows_lead_why(&row), "longer than 8192"));
}
END_TEST

START_TEST(attributes_are_a_flat_object_of_texts)
{
    static const char *const bad[] = {
        "{",
        "}",
        "[]",
        "null",
        "\"a\"",
        "{\"a\":1}",
        "{\"a\":null}",
        "{\"a\":{\"b\":\"c\"}}",
        "{\"a\":[\"b\"]}",
        "{\"a\":\"b\"",
        "{\"a\":\"b\",}",
        "{\"a\" \"b\"}",
        "{a:\"b\"}",
        "{\"a\":\"b\"}x",
        "{\"a\":\"b\"}{}",
        "{\"a\":\"b\\\"}",
        "{\"a\":\"\\x\"}",
        "{\"a\":\"\\u12\"}",
        "{\"a\":\"\\u0000\"}",
        "{\"a\":\"tab\there\"}",
    };
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
        ck_assert_msg(rows_attributes_why((struct slice){bad[i], strlen(bad[i])}) != NULL,
                      "passed: %s", bad[i]);

    static const char *const good[] = {
        "",
        "{}",
        "{ }",
        "{\"city\":\"KL\"}",
        " {\"a\" : \"b\" , \"c\":\"\"}",
        "{\"q\":\"say \\\"hi\\\" \\\\ \\n \\u00e9 \xc3\xa9\"}",
    };
    for (size_t i = 0; i < ARRAY_SIZE(good); i++)
        ck_assert_msg(rows_attributes_why((struct slice){good[i], strlen(good[i])}) == NULL,
                      "refused: %s", good[i]);
}
END_TEST

static struct slice
columns(unsigned count, size_t key_bytes, size_t value_bytes)
{
    static char room[65536];
    int used = snprintf(room, sizeof(room), "{");
    for (unsigned i = 0; i < count; i++)
        used += snprintf(room + used, sizeof(room) - (size_t) used, "%s\"%0*u\":\"%0*u\"",
                         i ? "," : "", (int) key_bytes, i, (int) value_bytes, i);
    used += snprintf(room + used, sizeof(room) - (size_t) used, "}");
    return (struct slice){room, (size_t) used};
}

START_TEST(attributes_have_bounds)
{
    ck_assert_ptr_null(rows_attributes_why(columns(ATTRIBUTES_MAX, 64, 1)));
    ck_assert_ptr_nonnull(rows_attributes_why(columns(ATTRIBUTES_MAX + 1, 2, 1)));
    ck_assert_ptr_nonnull(rows_attributes_why(columns(1, 65, 1)));
    ck_assert_ptr_null(rows_attributes_why(columns(1, 1, ATTRIBUTE_BYTES_MAX)));
    ck_assert_ptr_nonnull(rows_attributes_why(columns(1, 1, ATTRIBUTE_BYTES_MAX + 1)));
}
END_TEST

START_TEST(columns_are_named_one_after_the_other)
{
    static const char json[] = "{ \"city\" : \"K,L\" ,\"a\\\"b\":\"{\\\"x\\\":1}\",\"z\":\"\"}";
    static const char *const names[] = {"city", "a\\\"b", "z"};
    struct slice text = {json, sizeof(json) - 1}, name;
    size_t at = 0;

    ck_assert_ptr_null(rows_attributes_why(text));
    for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
        ck_assert(rows_next_column(text, &at, &name));
        ck_assert_uint_eq(name.bytes, strlen(names[i]));
        ck_assert_mem_eq(name.data, names[i], name.bytes);
    }
    ck_assert(!rows_next_column(text, &at, &name));
    at = 0;
    ck_assert(!rows_next_column((struct slice){"{}", 2}, &at, &name));
    ck_assert(!rows_next_column((struct slice){"", 0}, &at, &name));
}
END_TEST

START_TEST(a_lead_without_a_fault_passes)
{
    struct lead_row row = {.device_id = DEVICE_ID_MAX,
                           .phone = 999999999999999,
                           .name = TEXT("Ann"),
                           .trigger = TEXT("start"),
                           .attributes = TEXT("{\"city\":\"KL\"}")};
    ck_assert_ptr_null(rows_lead_why(&row));
    row = (struct lead_row){.device_id = 1, .phone = 10000000};
    ck_assert_ptr_null(rows_lead_why(&row));
}
END_TEST

int
main(void)
{
    Suite *s = suite_create("rows");
    TCase *t = tcase_create("rows");
    tcase_add_test(t, a_device_with_a_fault_is_refused);
    tcase_add_test(t, a_lead_with_a_fault_is_refused);
    tcase_add_test(t, attributes_are_a_flat_object_of_texts);
    tcase_add_test(t, attributes_have_bounds);
    tcase_add_test(t, a_device_without_a_fault_passes);
    tcase_add_test(t, a_device_s_limits_pass);
    tcase_add_test(t, columns_are_named_one_after_the_other);
    tcase_add_test(t, a_lead_without_a_fault_passes);
    suite_add_tcase(s, t);
    SRunner *sr = srunner_create(s);
    srunner_run_all(sr, CK_NORMAL);
    int failures = srunner_ntests_failed(sr);
    srunner_free(sr);
    return failures ? EXIT_FAILURE : EXIT_SUCCESS;
}
