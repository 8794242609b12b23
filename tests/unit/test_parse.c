/* parse: what is not exactly of the form is refused and changes nothing. */
#include "shared/parse.h"

#include <check.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static struct slice
text(const char *s)
{
    return (struct slice){s, strlen(s)};
}

START_TEST(numbers_refused)
{
    static const char *const bad[] = {"",    " 1", "1 ", "+1", "-1",  "0x10", "1e3",
                                      "1.0", "a",  "1a", "１", "1\n", "--"};
    uint64_t value = 77;
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
        ck_assert_msg(parse_u64(bad[i], strlen(bad[i]), 0, UINT64_MAX, &value) == -EINVAL, "%s",
                      bad[i]);
    ck_assert_int_eq(parse_u64("1\0", 2, 0, 9, &value), -EINVAL);
    ck_assert_int_eq(parse_u64("18446744073709551616", 20, 0, UINT64_MAX, &value), -ERANGE);
    ck_assert_int_eq(parse_u64("99999999999999999999999", 23, 0, UINT64_MAX, &value), -ERANGE);
    ck_assert_int_eq(parse_u64("9999999999999999999999x", 23, 0, UINT64_MAX, &value), -EINVAL);
    ck_assert_int_eq(parse_u64("4", 1, 5, 9, &value), -ERANGE);
    ck_assert_int_eq(parse_u64("10", 2, 5, 9, &value), -ERANGE);
    uint32_t small = 77;
    ck_assert_int_eq(parse_u32("4294967296", 10, 0, UINT32_MAX, &small), -ERANGE);
    ck_assert_uint_eq(value, 77);
    ck_assert_uint_eq(small, 77);
}
END_TEST

START_TEST(numbers)
{
    uint64_t value;
    uint32_t small;
    ck_assert_int_eq(parse_u64("18446744073709551615", 20, 0, UINT64_MAX, &value), 0);
    ck_assert_uint_eq(value, UINT64_MAX);
    ck_assert_int_eq(parse_u64("007x", 3, 7, 7, &value), 0); /* only its bytes are read */
    ck_assert_uint_eq(value, 7);
    ck_assert_int_eq(parse_u32("4294967295", 10, 0, UINT32_MAX, &small), 0);
    ck_assert_uint_eq(small, UINT32_MAX);
}
END_TEST

START_TEST(booleans)
{
    static const char *const bad[] = {"", "y", "YES", "True", "2", "yes ", "01"};
    bool value = true;
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
        ck_assert_int_eq(parse_bool(bad[i], &value), -EINVAL);
    ck_assert(value);
    static const char *const no[] = {"no", "false", "off", "0"}, *const yes[] = {"yes", "true",
                                                                                 "on", "1"};
    for (size_t i = 0; i < ARRAY_SIZE(no); i++) {
        ck_assert_int_eq(parse_bool(no[i], &value), 0);
        ck_assert(!value);
        ck_assert_int_eq(parse_bool(yes[i], &value), 0);
        ck_assert(value);
    }
}
END_TEST

START_TEST(spans)
{
    static const char *const bad[] = {"",     "4",    "s",    "4 s",  "-4s", "4S",
                                      "1.5s", "4sec", "4ms ", "0x4s", "4us"};
    usec_t value = 77;
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
        ck_assert_msg(parse_span(bad[i], 0, USEC_INFINITY, &value) == -EINVAL, "%s", bad[i]);
    ck_assert_int_eq(parse_span("3s", 4 * USEC_PER_SEC, 5 * USEC_PER_SEC, &value), -ERANGE);
    ck_assert_int_eq(parse_span("6s", 4 * USEC_PER_SEC, 5 * USEC_PER_SEC, &value), -ERANGE);
    ck_assert_int_eq(parse_span("18446744073709551615d", 0, USEC_INFINITY, &value), -ERANGE);
    ck_assert_uint_eq(value, 77);
    static const struct {
        const char *text;
        usec_t usec;
    } good[] = {{"250ms", 250000},  {"4s", 4000000},      {"10m", 600000000},
                {"2h", 7200000000}, {"7d", 604800000000}, {"0s", 0}};
    for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
        ck_assert_int_eq(parse_span(good[i].text, 0, USEC_INFINITY, &value), 0);
        ck_assert_uint_eq(value, good[i].usec);
    }
}
END_TEST

START_TEST(phones_refused)
{
    static const struct {
        const char *text;
        uint32_t country;
        enum phone_verdict verdict;
    } rows[] = {
        {"", 0, PHONE_EMPTY},
        {" \t ", 60, PHONE_EMPTY},
        {"\u00a0", 60, PHONE_EMPTY},
        {"+", 0, PHONE_EMPTY},
        {"()-.", 60, PHONE_EMPTY},
        {"6.01E+11", 0, PHONE_SCIENTIFIC},
        {"6,01E+11", 60, PHONE_SCIENTIFIC},
        {" 6.01e11 ", 0, PHONE_SCIENTIFIC},
        {"+6E11", 0, PHONE_SCIENTIFIC},
        {"6.01E-2", 0, PHONE_SCIENTIFIC},
        {"60123456789.0", 0, PHONE_SCIENTIFIC}, /* not 601234567890 */
        {"60123456789,00", 0, PHONE_SCIENTIFIC},
        {"n/a", 0, PHONE_LETTERS},
        {"60123E", 0, PHONE_LETTERS},
        {"+60 12 345 678 ext 9", 0, PHONE_LETTERS},
        {"60+123456789", 0, PHONE_LETTERS},
        {"++60123456789", 0, PHONE_LETTERS},
        {"60,123,456,789", 0, PHONE_LETTERS},
        {"60123456789;60123456780", 0, PHONE_LETTERS},
        {"\xd9\xa6\xd9\xa0", 0, PHONE_LETTERS}, /* Arabic digits */
        {"12345", 0, PHONE_TOO_SHORT},
        {"+1234567", 0, PHONE_TOO_SHORT},
        {"012345", 60, PHONE_TOO_SHORT},
        {"00 1234567", 0, PHONE_TOO_SHORT},
        {"1234567890123456", 0, PHONE_TOO_LONG},
        {"+1234567890123456", 0, PHONE_TOO_LONG},
        {"012345678901234", 60, PHONE_TOO_LONG},
        {"0123456789", 0, PHONE_NO_COUNTRY},
        {"+0123456789", 60, PHONE_NO_COUNTRY},
        {"000123456789", 60, PHONE_NO_COUNTRY},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        uint64_t phone = 77;
        enum phone_verdict v = parse_phone(text(rows[i].text), rows[i].country, &phone);
        ck_assert_msg(v == rows[i].verdict, "%s: %s", rows[i].text, parse_phone_why(v));
        ck_assert_uint_eq(phone, 77);
    }
    char digits[5000];
    uint64_t phone;
    memset(digits, '1', sizeof(digits));
    ck_assert_int_eq(parse_phone((struct slice){digits, sizeof(digits)}, 0, &phone),
                     PHONE_TOO_LONG);
    ck_assert_int_eq(parse_phone((struct slice){"60123456789\0", 12}, 0, &phone), PHONE_LETTERS);
    ck_assert_int_eq(parse_phone((struct slice){NULL, 0}, 0, &phone), PHONE_EMPTY);
}
END_TEST

START_TEST(phones)
{
    static const struct {
        const char *text;
        uint32_t country;
        uint64_t phone;
    } rows[] = {
        {"+60123456789", 0, 60123456789},
        {"+60 (12) 345-67.89", 0, 60123456789},
        {"\t+60\u00a012\u202f345\u20116789\r", 0, 60123456789},
        {"\u202a+60123456789\u202c", 0, 60123456789}, /* pasted from an address book */
        {"(+60) 123456789", 0, 60123456789},
        {"0060123456789", 0, 60123456789},
        {"0060123456789", 49, 60123456789},
        {"60123456789", 0, 60123456789},
        {"60123456789", 60, 60123456789},
        {"0123456789", 60, 60123456789},
        {"123456789", 60, 60123456789},
        {"2125550100", 1, 12125550100},
        {"12125550100", 1, 12125550100},
        {"+491701234567", 60, 491701234567},
        {"+44 (0)20 7946 0018", 0, 442079460018},
        {"+12345678", 0, 12345678},
        {"123456789012345", 0, 123456789012345},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        uint64_t phone = 0;
        enum phone_verdict v = parse_phone(text(rows[i].text), rows[i].country, &phone);
        ck_assert_msg(v == PHONE_OK, "%s: %s", rows[i].text, parse_phone_why(v));
        ck_assert_msg(phone == rows[i].phone, "%s: %" PRIu64, rows[i].text, phone);
    }
}
END_TEST

START_TEST(utf8_refused)
{
    static const char *const bad[] = {
        "\x80",
        "\xc0\x80",
        "\xc1\xbf",
        "\xc3",
        "\xc3(",
        "\xe0\x80\x80",
        "\xe0\x9f\xbf",
        "\xed\xa0\x80",
        "\xed\xbf\xbf",
        "\xe2\x82",
        "\xf0\x80\x80\x80",
        "\xf0\x8f\xbf\xbf",
        "\xf4\x90\x80\x80",
        "\xf5\x80\x80\x80",
        "\xff",
        "a\xf0\x9f\x99",
    };
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        /* exact heap copies, so that a sanitizer sees a read past the end */
        size_t bytes = strlen(bad[i]);
        char *copy = malloc(bytes);
        memcpy(copy, bad[i], bytes);
        ck_assert_msg(!parse_utf8_valid((struct slice){copy, bytes}), "row %zu", i);
        free(copy);
    }
    ck_assert(!parse_utf8_valid((struct slice){"a\0b", 3}));
}
END_TEST

START_TEST(utf8)
{
    ck_assert(parse_utf8_valid((struct slice){NULL, 0}));
    ck_assert_uint_eq(parse_utf8_length((struct slice){NULL, 0}), 0);
    struct slice all = text(
        "a\xc2\x80\xdf\xbf\xe0\xa0\x80\xed\x9f\xbf\xee\x80\x80\xf0\x90\x80\x80\xf4\x8f\xbf\xbf");
    ck_assert(parse_utf8_valid(all));
    ck_assert_uint_eq(parse_utf8_length(all), 8);
}
END_TEST

START_TEST(addresses_refused)
{
    static const char *const bad[] = {
        "",
        ":",
        ":80",
        "127.0.0.1",
        "127.0.0.1:",
        "127.0.0.1:x",
        "127.0.0.1: 80",
        "localhost:80",
        "::1:80",
        "[::1]",
        "[::1:80",
        "[127.0.0.1]:80",
        "127.0.0.256:80",
        "[]:80",
        "1.2.3:80",
        "[0000:0000:0000:0000:0000:0000:0000:0000:0000:00000]:80",
    };
    char ip[46] = "same";
    uint16_t port = 77;
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
        ck_assert_msg(parse_address(bad[i], ip, &port) == -EINVAL, "%s", bad[i]);
    ck_assert_int_eq(parse_address("127.0.0.1:65536", ip, &port), -ERANGE);
    ck_assert_str_eq(ip, "same");
    ck_assert_uint_eq(port, 77);
}
END_TEST

START_TEST(addresses)
{
    char ip[46];
    uint16_t port;
    ck_assert_int_eq(parse_address("10.0.0.11:7411", ip, &port), 0);
    ck_assert_str_eq(ip, "10.0.0.11");
    ck_assert_uint_eq(port, 7411);
    ck_assert_int_eq(parse_address("[fe80::1]:0", ip, &port), 0);
    ck_assert_str_eq(ip, "fe80::1");
    ck_assert_uint_eq(port, 0);
}
END_TEST

int
main(void)
{
    Suite *s = suite_create("parse");
    TCase *t = tcase_create("parse");
    tcase_add_test(t, numbers_refused);
    tcase_add_test(t, numbers);
    tcase_add_test(t, booleans);
    tcase_add_test(t, spans);
    tcase_add_test(t, phones_refused);
    tcase_add_test(t, phones);
    tcase_add_test(t, utf8_refused);
    tcase_add_test(t, utf8);
    tcase_add_test(t, addresses_refused);
    tcase_add_test(t, addresses);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? 1 : 0;
}
