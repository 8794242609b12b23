/* test_csvfile.c - files as people's programs write them, and as they break them. */
#include "coordinator/ctl/csvfile.h"

#include <check.h>
#include <csv.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "shared/rng.h"

static char path[64];

static void
write_file(const void *data, size_t bytes)
{
    FILE *f = fopen(path, "w");
    ck_assert_ptr_nonnull(f);
    ck_assert_uint_eq(fwrite(data, 1, bytes, f), bytes);
    ck_assert_int_eq(fclose(f), 0);
}

static void
setup(void)
{
    snprintf(path, sizeof(path), "/tmp/test_csvfile.XXXXXX");
    int fd = mkstemp(path);
    ck_assert_int_ge(fd, 0);
    close(fd);
}

static void
teardown(void)
{
    unlink(path);
}

static struct csvfile *
open_text(const char *text)
{
    char why[200] = "";
    struct csvfile *f = NULL;
    write_file(text, strlen(text));
    ck_assert_msg(csvfile_open(&f, path, 0, why, sizeof(why)) == 0, "%s", why);
    return f;
}

static void
expect_refused(const void *data, size_t bytes, const char *word)
{
    char why[200] = "";
    struct csvfile *f = NULL;
    write_file(data, bytes);
    ck_assert_int_eq(csvfile_open(&f, path, 0, why, sizeof(why)), -EINVAL);
    ck_assert_ptr_null(f);
    ck_assert_msg(strstr(why, word) != NULL, "\"%s\" does not say \"%s\"", why, word);
}

/* "line|field|field", or "line!column!fault" */
static const char *
next_text(struct csvfile *f)
{
    static char text[CSV_ROW_BYTES_MAX + 100];
    struct csv_row row;
    int got = csvfile_next(f, &row);
    ck_assert_int_ge(got, 0);
    if (got == 0)
        return NULL;
    size_t n = (size_t) snprintf(text, sizeof(text), "%llu", (unsigned long long) row.line);
    if (row.fault) {
        snprintf(text + n, sizeof(text) - n, "!%u!%s", row.fault_column, row.fault);
        return text;
    }
    for (unsigned i = 0; i < row.count; i++)
        n += (size_t) snprintf(text + n, sizeof(text) - n, "|%.*s", (int) row.fields[i].bytes,
                               row.fields[i].data);
    return text;
}

START_TEST(what_is_no_csv_is_refused_with_words)
{
    expect_refused("", 0, "empty");
    expect_refused("\n\r\n\n", 4, "empty");
    expect_refused("\xff\xfe"
                   "a\0,\0b\0\n\0",
                   10, "UTF-16");
    expect_refused("\xfe\xff\0a\0,", 6, "UTF-16");
    expect_refused("a\0,\0b\0\n\0", 8, "NUL");
    expect_refused("PK\x03\x04zip", 7, "spreadsheet");
    expect_refused("a,b\r1,2\r", 8, "CR alone");
    expect_refused("a,\"b\n1,2\n", 9, "quote");
    expect_refused("a,\xe9\n1,2\n", 7, "column 2: not valid UTF-8");
}
END_TEST

START_TEST(a_missing_file_tells_why)
{
    char why[200] = "";
    struct csvfile *f = NULL;
    ck_assert_int_eq(csvfile_open(&f, "/nonexistent/x.csv", 0, why, sizeof(why)), -ENOENT);
    ck_assert_str_eq(why, "No such file or directory");
    ck_assert_int_eq(csvfile_open(&f, "/tmp", 0, why, sizeof(why)), -EISDIR);
}
END_TEST

START_TEST(a_broken_row_costs_that_row_only)
{
    struct csvfile *f = open_text("a,b,c\n"
                                  "1,\"open,3\n"
                                  "4,5,6\n"
                                  "7,\"x\"y,9\n"
                                  "1,2\n"
                                  "1,2,3,4\n"
                                  "ok,\"a \"\"b\"\" c\",z\n"
                                  "n\xc3,2,3\n"
                                  "1,2,3\n");
    ck_assert_str_eq(next_text(f), "2!1!text behind a closing quote");
    csvfile_free(f);
    f = open_text("a,b,c\n"
                  "7,\"x\"y,9\n"
                  "1,2\n"
                  "1,2,3,4\n"
                  "ok,\"a \"\"b\"\" c\",z\n"
                  "n\xc3,2,3\n"
                  "1,2,3\n"
                  "1,\"open,3\n"
                  "4,5,6\n");
    ck_assert_str_eq(next_text(f), "2!1!text behind a closing quote");
    ck_assert_str_eq(next_text(f), "3!1!the row has 2 columns, the header has 3");
    ck_assert_str_eq(next_text(f), "4!2!the row has 4 columns, the header has 3");
    ck_assert_str_eq(next_text(f), "5|ok|a \"b\" c|z");
    ck_assert_str_eq(next_text(f), "6!0!not valid UTF-8");
    ck_assert_str_eq(next_text(f), "7|1|2|3");
    ck_assert_str_eq(next_text(f), "8!1!a quote is opened and not closed");
    ck_assert_str_eq(next_text(f), "9|4|5|6");
    ck_assert_ptr_null(next_text(f));
    ck_assert_ptr_null(next_text(f));
    csvfile_free(f);
}
END_TEST

START_TEST(a_nul_byte_costs_its_row)
{
    write_file("a,b\n1,x\0y\n2,3\n", 14);
    char why[200];
    struct csvfile *f;
    ck_assert_int_eq(csvfile_open(&f, path, 0, why, sizeof(why)), 0);
    ck_assert_str_eq(next_text(f), "2!1!a NUL byte");
    ck_assert_str_eq(next_text(f), "3|2|3");
    csvfile_free(f);
}
END_TEST

START_TEST(a_line_longer_than_any_row_is_stepped_over)
{
    size_t bytes = 3u << 20;
    char *text = malloc(bytes + 100);
    memcpy(text, "a,b\n", 4);
    memset(text + 4, 'x', bytes);
    memcpy(text + 4 + bytes, "\n1,2\n", 6);
    struct csvfile *f = open_text(text);
    ck_assert_str_eq(next_text(f), "2!0!longer than 64 KiB");
    ck_assert_str_eq(next_text(f), "3|1|2");
    ck_assert_ptr_null(next_text(f));
    csvfile_free(f);
    /* longer than a row, with rows behind it in the same window; then one without line end */
    memset(text + 4, 'x', bytes);
    text[4 + 70000] = '\n';
    memcpy(text + 4 + 70001, "1,2\n", 4);
    text[4 + bytes] = '\0';
    f = open_text(text);
    ck_assert_str_eq(next_text(f), "2!0!longer than 64 KiB");
    ck_assert_str_eq(next_text(f), "3|1|2");
    ck_assert_str_eq(next_text(f), "4!0!longer than 64 KiB");
    ck_assert_ptr_null(next_text(f));
    csvfile_free(f);
    /* a quote that is closed, but not within the longest row */
    text[4] = '"';
    text[4 + 70000] = 'x';
    memcpy(text + bytes - 2, "\",x\n", 5);
    f = open_text(text);
    ck_assert_str_eq(next_text(f), "2!0!a quote is opened and not closed within 64 KiB");
    csvfile_free(f);
    free(text);
}
END_TEST

START_TEST(dialects)
{
    struct csvfile *f = open_text("\xef\xbb\xbf"
                                  "a;\"b,c\";d\r\n\r\n1;\"x\r\ny\";3\r\n4;;\r\n5;6;7");
    ck_assert_int_eq(csvfile_delimiter(f), ';');
    ck_assert_uint_eq(csvfile_header(f)->count, 3);
    ck_assert_int_eq(memcmp(csvfile_header(f)->fields[1].data, "b,c", 3), 0);
    ck_assert_str_eq(next_text(f), "3|1|x\r\ny|3");
    ck_assert_str_eq(next_text(f), "5|4||");
    ck_assert_str_eq(next_text(f), "6|5|6|7");
    ck_assert_ptr_null(next_text(f));
    ck_assert_int_eq(csvfile_rewind(f), 0);
    ck_assert_str_eq(next_text(f), "3|1|x\r\ny|3");
    csvfile_free(f);

    f = open_text("a\tb\n 1 \t\" x \" \n\t\n");
    ck_assert_str_eq(next_text(f), "2|1| x ");
    ck_assert_str_eq(next_text(f), "3||");
    ck_assert_ptr_null(next_text(f));
    csvfile_free(f);

    char why[200];
    write_file("a,b;c\n1,2;3\n", 12);
    ck_assert_int_eq(csvfile_open(&f, path, ';', why, sizeof(why)), 0);
    ck_assert_str_eq(next_text(f), "2|1,2|3");
    csvfile_free(f);
}
END_TEST

START_TEST(a_row_splits_again_to_the_same_fields)
{
    char scratch[64];
    struct csv_row row;
    const char raw[] = "1,\"a \"\"b\"\"\",  x ,";
    csv_split((struct slice){raw, sizeof(raw) - 1}, ',', scratch, &row);
    ck_assert_ptr_null(row.fault);
    ck_assert_uint_eq(row.count, 4);
    ck_assert_uint_eq(row.fields[1].bytes, 5);
    ck_assert_int_eq(memcmp(row.fields[1].data, "a \"b\"", 5), 0);
    ck_assert_uint_eq(row.fields[2].bytes, 1);
    ck_assert_uint_eq(row.fields[3].bytes, 0);
}
END_TEST

/* ---- the same rows as libcsv, whatever the lengths are to the window ---- */
struct oracle {
    struct csvfile *f;
    struct csv_row row;
    unsigned field;
    uint64_t rows;
};

static void
oracle_field(void *data, size_t bytes, void *arg)
{
    struct oracle *o = arg;
    if (o->field == 0)
        ck_assert_int_eq(csvfile_next(o->f, &o->row), 1);
    ck_assert_msg(o->row.fault == NULL, "line %llu: %s", (unsigned long long) o->row.line,
                  o->row.fault);
    ck_assert_uint_lt(o->field, o->row.count);
    struct slice got = o->row.fields[o->field++];
    ck_assert_uint_eq(got.bytes, bytes);
    ck_assert_int_eq(bytes ? memcmp(got.data, data, bytes) : 0, 0);
}

static void
oracle_row(int c, void *arg)
{
    struct oracle *o = arg;
    ck_assert_uint_eq(o->field, o->row.count);
    o->field = 0;
    o->rows++;
}

static size_t
random_field(struct rng *r, char *out)
{
    static const char plain[] = "abc 0123 \xc3\xa9'x";
    static const char any[] = "ab,\n\r\n \"\"z\xc3\xa9";
    size_t length = rng_between(r, 0, rng_between(r, 0, 20) == 0 ? 3000 : 12), n = 0;
    bool quoted = rng_between(r, 0, 2) == 0;
    const char *set = quoted ? any : plain;
    size_t set_bytes = quoted ? sizeof(any) - 1 : sizeof(plain) - 1;
    if (quoted)
        out[n++] = '"';
    for (size_t i = 0; i < length; i++) {
        size_t at = rng_between(r, 0, set_bytes - 1);
        char c = set[at];
        if (c == '\xc3' || c == '\xa9') {
            out[n++] = '\xc3';
            out[n++] = '\xa9';
        } else if (c == '"') {
            out[n++] = '"';
            out[n++] = '"';
        } else {
            out[n++] = c;
        }
    }
    if (quoted)
        out[n++] = '"';
    return n;
}

START_TEST(random_files_read_as_libcsv_reads_them)
{
    struct rng r;
    rng_seed(&r, 4711);
    size_t size = 6u << 20, n = 0;
    char *text = malloc(size);
    n += (size_t) snprintf(text, size, "h1,h2,h3\n");
    size_t header_bytes = n;
    while (n < size - 40000) {
        for (unsigned i = 0; i < 3; i++) {
            if (i)
                text[n++] = ',';
            else
                text[n++] = 'k'; /* never an empty line */
            if (i)
                n += random_field(&r, text + n);
        }
        if (rng_between(&r, 0, 1))
            text[n++] = '\r';
        text[n++] = '\n';
    }
    write_file(text, n);
    char why[200];
    struct oracle o = {0};
    ck_assert_int_eq(csvfile_open(&o.f, path, 0, why, sizeof(why)), 0);
    struct csv_parser p;
    ck_assert_int_eq(csv_init(&p, 0), 0);
    ck_assert_uint_eq(csv_parse(&p, text + header_bytes, n - header_bytes, oracle_field, oracle_row,
                                &o),
                      n - header_bytes);
    csv_fini(&p, oracle_field, oracle_row, &o);
    csv_free(&p);
    ck_assert_int_eq(csvfile_next(o.f, &o.row), 0);
    ck_assert_uint_gt(o.rows, 10000);
    ck_assert_uint_eq(csvfile_offset(o.f), n);
    csvfile_free(o.f);
    free(text);
}
END_TEST

int
main(void)
{
    Suite *s = suite_create("csvfile");
    TCase *t = tcase_create("csvfile");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_set_timeout(t, 30);
    tcase_add_test(t, what_is_no_csv_is_refused_with_words);
    tcase_add_test(t, a_missing_file_tells_why);
    tcase_add_test(t, a_broken_row_costs_that_row_only);
    tcase_add_test(t, a_nul_byte_costs_its_row);
    tcase_add_test(t, a_line_longer_than_any_row_is_stepped_over);
    tcase_add_test(t, dialects);
    tcase_add_test(t, a_row_splits_again_to_the_same_fields);
    tcase_add_test(t, random_files_read_as_libcsv_reads_them);
    suite_add_tcase(s, t);
    SRunner *sr = srunner_create(s);
    srunner_run_all(sr, CK_NORMAL);
    int failed = srunner_ntests_failed(sr);
    srunner_free(sr);
    return failed ? 1 : 0;
}
