/* test_ctl.c - columns and rows of an import, and the file of what was refused. */
#include <check.h>
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "coordinator/ctl/import_rows.h"
#include "coordinator/ctl/rejects.h"

static char scratch[4096], header_scratch[4096];
static struct csv_row header, row;
static struct import_columns columns;
static char why[300];

static int
read_header(enum import_kind kind, const char *line)
{
    csv_split((struct slice){line, strlen(line)}, ',', header_scratch, &header);
    ck_assert_ptr_null(header.fault);
    header.line = 1;
    why[0] = '\0';
    return import_columns_read(&columns, kind, &header, why, sizeof(why));
}

static void
read_row(const char *line)
{
    csv_split((struct slice){line, strlen(line)}, ',', scratch, &row);
    ck_assert_ptr_null(row.fault);
    ck_assert_uint_eq(row.count, header.count);
}

static bool
is(struct slice a, const char *b)
{
    return a.bytes == strlen(b) && memcmp(a.data, b, a.bytes) == 0;
}

#define DEVICES "device_id,name,transport,address,token,min_delay_ms,max_delay_ms,zone"

START_TEST(headers_are_refused_by_line_and_column)
{
    static const struct {
        enum import_kind kind;
        const char *line, *word;
    } cases[] = {
        {IMPORT_DEVICES, "device_id,name", "no column \"transport\""},
        {IMPORT_DEVICES, DEVICES ",colour", "column 9 \"colour\": unknown column"},
        {IMPORT_DEVICES, DEVICES ",zone", "column 9 \"zone\": the column stands twice"},
        {IMPORT_DEVICES, DEVICES ",Zone", "stands twice"},
        {IMPORT_LEADS, "phone,name", "no column \"device_id\""},
        {IMPORT_LEADS, "device_id;phone", "is the delimiter"},
        {IMPORT_LEADS, "device_id,phone,", "column 3 \"\": the column has no name"},
        {IMPORT_LEADS, "device_id,phone,a{b", "cannot name an attribute"},
        {IMPORT_LEADS, "device_id,phone,city,city", "column 4 \"city\": the column stands twice"},
        {IMPORT_LEADS,
         "device_id,phone,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,"
         "28,29,30,31,32,33",
         "column 35 \"33\": more than 32"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        ck_assert_int_eq(read_header(cases[i].kind, cases[i].line), -EINVAL);
        ck_assert_int_eq(strncmp(why, "line 1", 6), 0);
        ck_assert_msg(strstr(why, cases[i].word) != NULL, "\"%s\": %s", cases[i].line, why);
    }
}
END_TEST

START_TEST(a_bad_device_is_refused_at_its_column)
{
    static const struct {
        const char *line, *reason;
        unsigned field;
    } cases[] = {
        {",a,cloudapi,1,t,1,2,UTC", "missing", 0},
        {"0,a,cloudapi,1,t,1,2,UTC", "not a whole number from 1 to 2147483647", 0},
        {"2147483648,a,cloudapi,1,t,1,2,UTC", "not a whole number from 1 to 2147483647", 0},
        {"1.0,a,cloudapi,1,t,1,2,UTC", "not a whole number from 1 to 2147483647", 0},
        {"1,a,cloudapi,1,t,-1,2,UTC", "not whole milliseconds", 5},
        {"1,a,cloudapi,1,t,5s,2,UTC", "not whole milliseconds", 5},
        {"1,a,cloudapi,1,t,3,2,UTC", "below min_delay_ms", 6},
        {"1,a,a-transport-with-a-long-name,1,t,1,2,UTC", "no such transport", 2},
    };
    struct device_row d;
    ck_assert_int_eq(read_header(IMPORT_DEVICES, DEVICES), 0);
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        unsigned field = 99;
        read_row(cases[i].line);
        const char *reason = import_device(&columns, &row, &d, &field);
        ck_assert_ptr_nonnull(reason);
        ck_assert_int_eq(strncmp(reason, cases[i].reason, strlen(cases[i].reason)), 0);
        ck_assert_uint_eq(field, cases[i].field);
    }
}
END_TEST

START_TEST(limits_of_a_device)
{
    static const struct {
        const char *cells, *reason;
        unsigned field;
    } bad[] = {
        {"9-17,,,,", "not HH:MM-HH:MM", 8},
        {"21:00-8:00,,,,", "not HH:MM-HH:MM", 8},
        {",0,,,", "not a whole number from 1 to 1000000000", 9},
        {",,1000000001,,", "not a whole number from 1 to 1000000000", 10},
        {",,,new,", "not whole days", 11},
        {",,,,1.11.2026", "not a date", 12},
        {",,,3,2026-11-01", "age says it already", 12},
    };
    char line[200];
    struct device_row d;
    unsigned field = 99;

    ck_assert_int_eq(read_header(IMPORT_DEVICES,
                                 DEVICES ",quiet,daily_cap,hourly_cap,age,warm_from"),
                     0);
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        snprintf(line, sizeof(line), "1,a,cloudapi,1,t,1,2,UTC,%s", bad[i].cells);
        read_row(line);
        const char *reason = import_device(&columns, &row, &d, &field);
        ck_assert_msg(reason != NULL, "%s passed", bad[i].cells);
        ck_assert_msg(strncmp(reason, bad[i].reason, strlen(bad[i].reason)) == 0, "%s", reason);
        ck_assert_uint_eq(field, bad[i].field);
    }
    read_row("1,a,cloudapi,1,t,1,2,UTC,21:00-08:00,1000,none,,2026-11-01");
    ck_assert_ptr_null(import_device(&columns, &row, &d, &field));
    ck_assert(is(d.quiet, "21:00-08:00") && is(d.age, "2026-11-01"));
    ck_assert_uint_eq(d.daily_cap, 1000);
    ck_assert_uint_eq(d.hourly_cap, DEVICE_CAP_NONE);
    read_row("1,a,cloudapi,1,t,1,2,UTC,,,,7,");
    ck_assert_ptr_null(import_device(&columns, &row, &d, &field));
    ck_assert(is(d.quiet, "") && is(d.age, "7"));
    ck_assert(d.daily_cap == 0 && d.hourly_cap == 0);
}
END_TEST

START_TEST(a_bad_lead_is_refused_at_its_column)
{
    char json[IMPORT_JSON_BYTES], line[12000];
    struct lead_row lead;
    unsigned field;
    ck_assert_int_eq(read_header(IMPORT_LEADS, "phone,device_id,name,trigger,city"), 0);
    read_row("6.01E+11,1,a,b,c");
    ck_assert_ptr_nonnull(import_lead(&columns, &row, 0, json, &lead, &field));
    ck_assert_uint_eq(field, 0);
    read_row("0123456789,1,a,b,c");
    ck_assert_ptr_nonnull(import_lead(&columns, &row, 0, json, &lead, &field));
    ck_assert_ptr_null(import_lead(&columns, &row, 60, json, &lead, &field));
    ck_assert_uint_eq(lead.phone, 60123456789u);
    read_row("60123456789,x,a,b,c");
    ck_assert_ptr_nonnull(import_lead(&columns, &row, 0, json, &lead, &field));
    ck_assert_uint_eq(field, 1);
    snprintf(line, sizeof(line), "60123456789,1,a,b,%01025d", 1);
    read_row(line);
    ck_assert_str_eq(import_lead(&columns, &row, 0, json, &lead, &field), "longer than 1024 bytes");
    ck_assert_uint_eq(field, 4);
    snprintf(line, sizeof(line), "60123456789,1,a,%065d,c", 1);
    read_row(line);
    ck_assert_str_eq(import_lead(&columns, &row, 0, json, &lead, &field), "longer than 64 bytes");
    ck_assert_uint_eq(field, 3);
}
END_TEST

START_TEST(a_row_longer_than_a_lead_may_be_is_refused)
{
    char json[IMPORT_JSON_BYTES], names[256] = "device_id,phone", *line = malloc(64000);
    struct lead_row lead;
    unsigned field = 0;
    size_t n = (size_t) sprintf(line, "1,60123456789");
    for (int i = 0; i < 32; i++) {
        sprintf(names + strlen(names), ",a%d", i);
        n += (size_t) sprintf(line + n, ",%01000d", i);
    }
    ck_assert_int_eq(read_header(IMPORT_LEADS, names), 0);
    read_row(line);
    ck_assert_str_eq(import_lead(&columns, &row, 0, json, &lead, &field),
                     "the row is longer than 8192 bytes");
    ck_assert_uint_eq(field, 2 + 8);
    free(line);
}
END_TEST

START_TEST(a_device)
{
    struct device_row d;
    unsigned field;
    ck_assert_int_eq(read_header(IMPORT_DEVICES, "Reject_Line,ZONE,url," DEVICES), -EINVAL);
    ck_assert_int_eq(read_header(IMPORT_DEVICES, "reject_line,url," DEVICES), 0);
    ck_assert(columns.ignored[0] && !columns.ignored[1]);
    read_row("17,https://x,7,Shop 7,cloudapi,1065550001,@t.txt,,,Asia/Kuala_Lumpur");
    ck_assert_ptr_null(import_device(&columns, &row, &d, &field));
    ck_assert_int_eq(d.device_id, 7);
    ck_assert(is(d.name, "Shop 7") && is(d.token, "@t.txt") && is(d.url, "https://x"));
    ck_assert(is(d.zone, "Asia/Kuala_Lumpur") && is(d.account, ""));
    ck_assert_uint_eq(d.min_delay_ms, 5000);
    ck_assert_uint_eq(d.max_delay_ms, 15000);
}
END_TEST

START_TEST(a_lead_and_its_attributes)
{
    char json[IMPORT_JSON_BYTES];
    struct lead_row lead;
    unsigned field;
    ck_assert_int_eq(read_header(IMPORT_LEADS, "device_id,phone,name,\"a \"\"b\"\"\",city,note"),
                     0);
    ck_assert_uint_eq(columns.attribute_count, 3);
    read_row("3,+60 12-345 6789,An,x,,\"q\"\"\\\n\t\x01\xc3\xa9\"");
    ck_assert_ptr_null(import_lead(&columns, &row, 0, json, &lead, &field));
    ck_assert_uint_eq(lead.phone, 60123456789u);
    ck_assert(is(lead.trigger, ""));
    json_t *parsed = json_loadb(lead.attributes.data, lead.attributes.bytes, 0, NULL);
    ck_assert_uint_eq(json_object_size(parsed), 2); /* an empty value is no value */
    ck_assert_str_eq(json_string_value(json_object_get(parsed, "a \"b\"")), "x");
    ck_assert_str_eq(json_string_value(json_object_get(parsed, "note")), "q\"\\\n\t\x01\xc3\xa9");
    json_decref(parsed);
    read_row("3,+60 12-345 6789,An,,,");
    ck_assert_ptr_null(import_lead(&columns, &row, 0, json, &lead, &field));
    ck_assert_uint_eq(lead.attributes.bytes, 0);
}
END_TEST

/* ---- the rejects file ---- */

static char directory[64], path[96];

static void
setup(void)
{
    snprintf(directory, sizeof(directory), "/tmp/test_ctl.XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(directory));
    snprintf(path, sizeof(path), "%s/r.csv", directory);
}

static void
teardown(void)
{
    unlink(path);
    ck_assert_int_eq(rmdir(directory), 0); /* nothing else was left */
}

static struct rejects *
open_rejects(int secret)
{
    struct rejects *r;
    struct rejects_config config = {.path = path,
                                    .header = &header,
                                    .ignored = columns.ignored,
                                    .delimiter = ',',
                                    .secret_field = secret};
    ck_assert_int_eq(rejects_new(&r, &config), 0);
    return r;
}

static struct slice
words(const char *s)
{
    return (struct slice){s, strlen(s)};
}

START_TEST(without_rejects_there_is_no_file)
{
    ck_assert_int_eq(read_header(IMPORT_LEADS, "device_id,phone"), 0);
    struct rejects *r = open_rejects(-1);
    ck_assert_int_eq(rejects_finish(r), 0);
    rejects_free(r);
    ck_assert_int_eq(access(path, F_OK), -1);
    /* one that is not finished leaves none either */
    r = open_rejects(-1);
    read_row("1,2");
    ck_assert_int_eq(rejects_put(r, &row, 1, words("too short")), 0);
    rejects_free(r);
    ck_assert_int_eq(access(path, F_OK), -1);
    ck_assert_int_eq(access(directory, F_OK), 0);
}
END_TEST

START_TEST(a_folder_that_is_not_there_is_an_error)
{
    struct rejects *r;
    ck_assert_int_eq(read_header(IMPORT_LEADS, "device_id,phone"), 0);
    struct rejects_config config = {.path = "/nonexistent/r.csv",
                                    .header = &header,
                                    .ignored = columns.ignored,
                                    .delimiter = ',',
                                    .secret_field = -1};
    ck_assert_int_eq(rejects_new(&r, &config), 0);
    read_row("1,2");
    ck_assert_int_eq(rejects_put(r, &row, 1, words("too short")), -ENOENT);
    rejects_free(r);
}
END_TEST

START_TEST(the_file_of_rejects_imports_again)
{
    char text[2000];
    struct stat st;
    ck_assert_int_eq(read_header(IMPORT_LEADS, "reject_line,device_id,phone,\"a,b\""), 0);
    struct rejects *r = open_rejects(-1);
    read_row("9,1,12,\"x \"\"y\"\"\nz\"");
    row.line = 48113;
    ck_assert_int_eq(rejects_put(r, &row, 2, words("too short")), 0);
    csv_split(words("1,2"), ',', scratch, &row);
    row.line = 48120;
    ck_assert_int_eq(rejects_put(r, &row, 1, words("the row has 2 columns, the header has 4")), 0);
    ck_assert_uint_eq(rejects_count(r), 2);
    char *shown;
    size_t shown_bytes;
    FILE *out = open_memstream(&shown, &shown_bytes);
    rejects_show(r, out);
    fclose(out);
    ck_assert_ptr_nonnull(strstr(shown, "  line 48,113   phone   \"12\"   too short\n"));
    free(shown);
    ck_assert_int_eq(rejects_finish(r), 0);
    rejects_free(r);
    ck_assert_int_eq(stat(path, &st), 0);
    ck_assert_int_eq(st.st_mode & 0777, 0600);
    FILE *f = fopen(path, "r");
    text[fread(text, 1, sizeof(text) - 1, f)] = '\0';
    fclose(f);
    ck_assert_str_eq(text, "device_id,phone,\"a,b\",reject_line,reject_column,reject_value,"
                           "reject_reason\n"
                           "1,12,\"x \"\"y\"\"\nz\",48113,phone,12,too short\n"
                           ",,,48120,device_id,\"1,2\",\"the row has 2 columns, the header has 4\""
                           "\n");
    /* and its header is one that the importer takes */
    struct csvfile *again;
    ck_assert_int_eq(csvfile_open(&again, path, 0, why, sizeof(why)), 0);
    ck_assert_int_eq(import_columns_read(&columns, IMPORT_LEADS, csvfile_header(again), why,
                                         sizeof(why)),
                     0);
    ck_assert_uint_eq(columns.attribute_count, 1);
    csvfile_free(again);
}
END_TEST

START_TEST(a_value_that_is_no_text_does_not_spoil_the_corrected_row)
{
    char text[500];
    ck_assert_int_eq(read_header(IMPORT_LEADS, "device_id,phone,name"), 0);
    struct rejects *r = open_rejects(-1);
    read_row("1,60123456789,ca\xf9");
    ck_assert_int_eq(rejects_put(r, &row, 2, words("not valid UTF-8")), 0);
    ck_assert_int_eq(rejects_finish(r), 0);
    rejects_free(r);
    FILE *f = fopen(path, "r");
    text[fread(text, 1, sizeof(text) - 1, f)] = '\0';
    fclose(f);
    ck_assert_ptr_nonnull(strstr(text, "\n1,60123456789,ca\xf9,0,name,ca?,not valid UTF-8\n"));
}
END_TEST

START_TEST(tokens_are_not_told)
{
    char *shown, text[1000];
    size_t shown_bytes;
    ck_assert_int_eq(read_header(IMPORT_DEVICES, DEVICES), 0);
    struct rejects *r = open_rejects(columns.at[COLUMN_TOKEN]);
    read_row("1,a,cloudapi,1,SECRET,1,2,UTC");
    ck_assert_int_eq(rejects_put(r, &row, 4, words("longer than 1024 bytes")), 0);
    csv_split(words("1,a,cloudapi,1,SECRET"), ',', scratch, &row);
    ck_assert_int_eq(rejects_put(r, &row, 4, words("the row has 5 columns")), 0);
    FILE *out = open_memstream(&shown, &shown_bytes);
    rejects_show(r, out);
    fclose(out);
    ck_assert_ptr_null(strstr(shown, "SECRET"));
    free(shown);
    ck_assert_int_eq(rejects_finish(r), 0);
    rejects_free(r);
    FILE *f = fopen(path, "r");
    text[fread(text, 1, sizeof(text) - 1, f)] = '\0';
    fclose(f);
    ck_assert_ptr_nonnull(strstr(text, "1,a,cloudapi,1,SECRET,1,2,UTC,0,token,,longer"));
}
END_TEST

int
main(void)
{
    Suite *s = suite_create("ctl");
    TCase *t = tcase_create("rows");
    tcase_add_test(t, headers_are_refused_by_line_and_column);
    tcase_add_test(t, a_bad_device_is_refused_at_its_column);
    tcase_add_test(t, limits_of_a_device);
    tcase_add_test(t, a_bad_lead_is_refused_at_its_column);
    tcase_add_test(t, a_row_longer_than_a_lead_may_be_is_refused);
    tcase_add_test(t, a_device);
    tcase_add_test(t, a_lead_and_its_attributes);
    suite_add_tcase(s, t);
    t = tcase_create("rejects");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, without_rejects_there_is_no_file);
    tcase_add_test(t, a_folder_that_is_not_there_is_an_error);
    tcase_add_test(t, the_file_of_rejects_imports_again);
    tcase_add_test(t, a_value_that_is_no_text_does_not_spoil_the_corrected_row);
    tcase_add_test(t, tokens_are_not_told);
    suite_add_tcase(s, t);
    SRunner *sr = srunner_create(s);
    srunner_run_all(sr, CK_NORMAL);
    int failed = srunner_ntests_failed(sr);
    srunner_free(sr);
    return failed ? 1 : 0;
}
