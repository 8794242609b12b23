/* test_verbs.c - what the verbs make of the drivers' answers: screens, sums, refusals. */
#include <check.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "coordinator/ctl/act.h"
#include "coordinator/ctl/capacity.h"
#include "coordinator/ctl/content_edit.h"
#include "coordinator/ctl/content_known.h"
#include "coordinator/ctl/explain_view.h"
#include "coordinator/ctl/gather.h"
#include "coordinator/ctl/operands.h"

static struct gathered rows;
static char *said;
static size_t said_bytes;

/* ---- answers made up ---- */

static struct cell
number(int64_t n)
{
    return (struct cell){.kind = CELL_INT, .number = n};
}

static struct cell
text(const char *t)
{
    return (struct cell){.kind = CELL_TEXT, .text = ask_text(t)};
}

static struct cell
at(int64_t usec)
{
    return (struct cell){.kind = CELL_TIME, .number = usec};
}

static const struct cell nothing = {.kind = CELL_NULL};

/* A page of one partition; names and cells row by row. */
static void
page(const char *partition, const char *const *names, unsigned columns, struct cell *cells,
     unsigned count)
{
    struct slice heads[COLUMNS_MAX];
    for (unsigned i = 0; i < columns; i++)
        heads[i] = ask_text(names[i]);
    const struct answer answer = {.column_count = columns,
                                  .columns = heads,
                                  .row_count = count,
                                  .cells = cells};
    ck_assert_int_eq(gather_page(&rows, ask_text(partition), &answer), 0);
}

static const char *
explain(const char *noun, const char *name, enum table_format format)
{
    free(said);
    FILE *out = open_memstream(&said, &said_bytes);
    ck_assert_int_eq(explain_print(out, &rows, noun, name, format), 0);
    fclose(out);
    return said;
}

static void
holds(const char *word)
{
    ck_assert_msg(strstr(said, word) != NULL, "no \"%s\" in\n%s", word, said);
}

static void
lacks(const char *word)
{
    ck_assert_msg(strstr(said, word) == NULL, "\"%s\" in\n%s", word, said);
}

static void
done(void)
{
    gathered_done(&rows);
}

/* ---- gather ---- */

START_TEST(rows_are_copies_and_absent_columns_are_nothing)
{
    static const char *const names[] = {"name", "count"};
    char name[] = "cold";
    page("p1", names, 2, (struct cell[]){text(name), number(7)}, 1);
    memset(name, 'x', 4);
    page("p2", names, 2, (struct cell[]){nothing, nothing}, 1);
    ck_assert_uint_eq(rows.row_count, 2);
    ck_assert(gathered_is(&rows, 0, "name", "cold"));
    ck_assert_int_eq(gathered_number(&rows, 0, "count"), 7);
    ck_assert_str_eq(rows.rows[1].partition, "p2");
    ck_assert(gathered_is_null(&rows, 1, "name"));
    ck_assert(gathered_is_null(&rows, 0, "other"));
    ck_assert_int_eq(gathered_number(&rows, 0, "other"), 0);
    ck_assert_uint_eq(gathered_text(&rows, 0, "count").bytes, 0);
    ck_assert_int_eq(gathered_number(&rows, 5, "count"), 0);
}
END_TEST

START_TEST(a_page_of_another_shape_is_refused)
{
    page("p1", (const char *const[]){"a", "b"}, 2, (struct cell[]){number(1), number(2)}, 1);
    struct slice head = ask_text("a");
    struct cell cell = number(1);
    const struct answer other = {.column_count = 1,
                                 .columns = &head,
                                 .row_count = 1,
                                 .cells = &cell};
    ck_assert_int_eq(gather_page(&rows, ask_text("p2"), &other), -EBADMSG);
}
END_TEST

/* ---- explain ---- */

static const char *const device_names[] = {"item", "verdict", "opens", "detail"};

START_TEST(a_device_that_is_held_says_so_first)
{
    int64_t opens = (int64_t) clock_real() + 3 * 3600 * (int64_t) USEC_PER_SEC;
    page("p3", device_names, 4,
         (struct cell[]){
             text("device"),
             text(""),
             nothing,
             text("\"Shop 17\" cloudapi 1065550001"),
             text("held_by"),
             text("quiet_hours"),
             at(opens),
             text("21:00-08:00 Asia/Kuala_Lumpur"),
             text("driver"),
             text("open"),
             nothing,
             text(""),
             text("quiet_hours"),
             text("holds"),
             at(opens),
             text("21:00-08:00"),
             text("gap"),
             text("open"),
             nothing,
             text("next gap 9.3 s"),
             text("waiting_sequence"),
             text(""),
             nothing,
             text("380 of \"cold\""),
         },
         6);
    explain("device", "2041", TABLE_TEXT);
    holds("Device 2041  on partition p3  \"Shop 17\"");
    holds("HELD BY  quiet hours  21:00-08:00 Asia/Kuala_Lumpur        opens in ");
    holds("quiet hours  HOLDS  in ");
    holds("driver       open");
    holds("waiting sequence: 380 of \"cold\"");
    ck_assert(strstr(said, "HELD BY") < strstr(said, "GATE"));
    explain("device", "2041", TABLE_CSV);
    holds("partition,item,verdict,opens,detail\n");
    holds("p3,held_by,quiet_hours,");
}
END_TEST

START_TEST(a_device_that_nothing_holds_is_open)
{
    page("p1", device_names, 4,
         (struct cell[]){text("device"), text(""), nothing, text("x"), text("held_by"),
                         text("open"), nothing, text(""), text("driver"), text("open"), nothing,
                         text("")},
         3);
    explain("device", "1", TABLE_TEXT);
    holds("OPEN     nothing holds it");
    lacks("HELD BY");
    lacks("HOLDS");
}
END_TEST

static const char *const lead_names[] = {"device_id", "lead_no", "source",  "kind",
                                         "revision",  "step",    "attempt", "state",
                                         "due",       "held_by", "opens",   "detail"};

START_TEST(of_a_lead_the_next_row_counts)
{
    page("p1", lead_names, 12,
         (struct cell[]){number(1),   number(8),         text("warm"), text("sequence"),
                         number(1),   number(2),         number(0),    text("waiting"),
                         at(2000000), text("gap"),       nothing,      text(""),
                         number(1),   number(8),         text("cold"), text("sequence"),
                         number(1),   number(3),         number(0),    text("waiting"),
                         at(1000000), text("daily_cap"), at(9000000),  text("")},
         2);
    explain("lead", "+60123456789", TABLE_TEXT);
    holds("HELD BY  daily cap: step 3 of \"cold\"");
    done();
    page("p1", lead_names, 12,
         (struct cell[]){number(1), number(8), text("warm"), text("sequence"), number(1), number(2),
                         number(0), text("ended"), nothing, text(""), nothing, text("opted_out")},
         1);
    explain("lead", "+60123456789", TABLE_TEXT);
    holds("Nothing waits.");
    holds("opted_out");
}
END_TEST

START_TEST(buckets_of_a_campaign_add_up)
{
    static const char *const names[] = {"bucket", "count", "detail"};
    page("p1", names, 3,
         (struct cell[]){text("sent"), number(1200), text(""), text("held_by_gap"), number(30),
                         text(""), text("failed"), number(0), text("")},
         3);
    page("p2", names, 3,
         (struct cell[]){text("sent"), number(800), text(""), text("held_by_gap"), number(5),
                         text("opens soon")},
         2);
    explain("campaign", "spring", TABLE_TEXT);
    holds("spring   audience 2,035");
    holds("sent         2,000");
    holds("held by gap     35  opens soon");
    lacks("failed");
    explain("campaign", "spring", TABLE_CSV);
    holds("bucket,count,detail\n");
    holds("held_by_gap,35,opens soon\n");
    holds("failed,0,");
}
END_TEST

/* ---- capacity ---- */

static const char *const capacity_names[] = {"devices",   "leads", "rate_milli",
                                             "finish_at", "limit", "devices_never"};

START_TEST(capacity_is_the_sum_and_the_last_partition_binds)
{
    struct capacity c;
    page("p1", capacity_names, 6,
         (struct cell[]){number(10), number(500), number(1000), at(5000), text("gap"), number(0)},
         1);
    page("p2", capacity_names, 6,
         (struct cell[]){number(5), number(800), number(500), at(9000), text("daily cap"),
                         number(0)},
         1);
    page("p3", capacity_names, 6,
         (struct cell[]){number(5), number(0), number(500), nothing, text(""), number(5)}, 1);
    capacity_sum(&c, &rows);
    ck_assert_int_eq(c.devices, 20);
    ck_assert_int_eq(c.leads, 1300);
    ck_assert_int_eq(c.rate_milli, 2000);
    ck_assert_int_eq(c.finish_at, 9000);
    ck_assert_int_eq(c.devices_never, 5);
    ck_assert_str_eq(c.limit, "daily cap");
    ck_assert(capacity_fits(&c, 9000, 0));
    ck_assert(!capacity_fits(&c, 8999, 0));
    ck_assert(!capacity_fits(&c, 9000, 1));
    ck_assert(capacity_fits(&c, INT64_MAX, 0));
}
END_TEST

START_TEST(what_never_ends_does_not_fit)
{
    struct capacity c;
    page("p1", capacity_names, 6,
         (struct cell[]){number(1), number(1), number(0), nothing, text("paused"), number(1)}, 1);
    capacity_sum(&c, &rows);
    ck_assert_int_eq(c.finish_at, INT64_MAX);
    ck_assert(!capacity_fits(&c, INT64_MAX - 1, 0));
    free(said);
    FILE *out = open_memstream(&said, &said_bytes);
    capacity_print_need(&c, INT64_MAX, 0, out);
    fclose(out);
    ck_assert_str_eq(said,
                     "  1 leads on 1 devices at 0/h (limit: paused), 1 of which never open\n");
}
END_TEST

START_TEST(the_need_is_told_in_days)
{
    const int64_t day = 86400 * (int64_t) USEC_PER_SEC;
    const struct capacity c = {.devices = 40,
                               .leads = 88000,
                               .rate_milli = 4000,
                               .finish_at = 61 * day / 10,
                               .limit = "gap 5-15 s"};
    free(said);
    FILE *out = open_memstream(&said, &said_bytes);
    capacity_print_need(&c, 5 * day, 0, out);
    fclose(out);
    ck_assert_str_eq(said, "  88,000 leads on 40 devices at 14,400/h (limit: gap 5-15 s) need 6.1"
                           " days; 5.0 are left\n");
}
END_TEST

/* ---- apply-content --for all ---- */

static struct content
content_of(const char *yaml)
{
    struct content c = {0};
    ck_assert_int_eq(content_parse_yaml(&c, "x.yaml", ask_text(yaml), stderr), 0);
    return c;
}

START_TEST(an_edit_for_all_says_who_goes_where)
{
    static const char old_yaml[] = "sequences:\n  cold:\n    steps:\n"
                                   "      - { step: 1, delay: 0, text: a }\n"
                                   "      - { step: 2, delay: 1d, text: b }\n"
                                   "      - { step: 3, delay: 1d, text: c }\n";
    static const char new_yaml[] = "sequences:\n  cold:\n    steps:\n"
                                   "      - { step: 1, delay: 0, text: other }\n"
                                   "      - { step: 2, delay: 2d, text: b }\n";
    struct content from = content_of(old_yaml), to = content_of(new_yaml);
    const struct sequence_position positions[] = {{1, 1, "waiting", 100},
                                                  {1, 2, "waiting", 20},
                                                  {1, 3, "waiting", 3},
                                                  {1, 3, "unknown", 9}};
    const struct view_source source = {.kind = CONTENT_SEQUENCE, .revision = 1};
    struct edit_revision revision = {1, from.items[0]};
    struct edit_line *lines = NULL;
    int count = edit_lines(positions, 4, &revision, 1, &source, &from.items[0],
                           &to.items[0].sequence, &lines);
    ck_assert_int_eq(count, 3);
    ck_assert(lines[0].changed && lines[0].other_text && lines[0].to->step == 1);
    ck_assert_int_eq(lines[0].shift, 0);
    ck_assert(lines[1].changed && !lines[1].other_text && lines[1].to->step == 2);
    ck_assert_int_eq(lines[1].shift, 86400 * (int64_t) USEC_PER_SEC);
    ck_assert(lines[2].changed);
    ck_assert_ptr_null(lines[2].to);
    free(lines);
    content_free(&from);
    content_free(&to);
}
END_TEST

START_TEST(an_edit_that_changes_nothing_for_them_says_so)
{
    static const char yaml[] = "sequences:\n  cold:\n    steps:\n"
                               "      - { step: 1, delay: 0, text: a }\n"
                               "      - { step: 2, delay: 1d, text: b }\n";
    static const char more_yaml[] = "sequences:\n  cold:\n    steps:\n"
                                    "      - { step: 1, delay: 0, text: a }\n"
                                    "      - { step: 2, delay: 1d, text: b }\n"
                                    "      - { step: 3, delay: 1d, text: c }\n";
    struct content from = content_of(yaml), to = content_of(more_yaml);
    /* revision 1 is not known any more and 2 is below all_revision: both follow the newest */
    const struct sequence_position positions[] = {{1, 2, "waiting", 5}, {2, 2, "claimed", 1}};
    const struct view_source source = {.kind = CONTENT_SEQUENCE, .revision = 3, .all_revision = 3};
    struct edit_line *lines = NULL;
    int count =
        edit_lines(positions, 2, NULL, 0, &source, &from.items[0], &to.items[0].sequence, &lines);
    ck_assert_int_eq(count, 2);
    ck_assert(!lines[0].changed && !lines[1].changed);
    free(lines);
    content_free(&from);
    content_free(&to);
}
END_TEST

START_TEST(positions_of_partitions_are_summed)
{
    static const char *const names[] = {"revision", "step", "state", "count"};
    struct sequence_position *all = NULL;
    page("p1", names, 4,
         (struct cell[]){number(2), number(1), text("waiting"), number(4), number(1), number(3),
                         text("waiting"), number(5)},
         2);
    page("p2", names, 4, (struct cell[]){number(2), number(1), text("waiting"), number(6)}, 1);
    ck_assert_int_eq(sequence_sum(&rows, &all), 2);
    ck_assert_int_eq(all[0].revision, 1);
    ck_assert_int_eq(all[0].count, 5);
    ck_assert_int_eq(all[1].count, 10);
    free(all);
}
END_TEST

/* ---- variables ---- */

START_TEST(a_misspelt_variable_is_told_with_the_nearest_column)
{
    struct known_columns known = {0};
    struct content c = content_of("templates:\n"
                                  "  hello: { text: \"Hi {{nmae|you}} of {{ctiy}}, {{phone}}\" }\n"
                                  "sequences:\n  s:\n    steps:\n"
                                  "      - { step: 1, delay: 0, text: \"{{order}}\" }\n");
    ck_assert_int_eq(known_columns_add(&known, ask_text("city")), 0);
    ck_assert_int_eq(known_columns_add(&known, ask_text("city")), 0);
    ck_assert_int_eq(known_columns_add(&known, ask_text("order_no")), 0);
    ck_assert_uint_eq(known.count, 2);
    free(said);
    FILE *out = open_memstream(&said, &said_bytes);
    ck_assert_int_eq(content_unknown(&c, "c.yaml", &known, out), 3);
    fclose(out);
    holds("c.yaml:2: templates.hello names {{nmae}}, and no lead has a column of that name"
          " (nearest: name)");
    holds("names {{ctiy}}, and no lead has a column of that name (nearest: city)");
    holds("sequences.s step 1 names {{order}}, and no lead has a column of that name (nearest:"
          " order_no)");
    lacks("{{phone}}");
    ck_assert_int_eq(known_columns_add(&known, ask_text("order")), 0);
    ck_assert_int_eq(content_unknown(&c, "c.yaml", &known, NULL), 2);
    known_columns_done(&known);
    content_free(&c);
}
END_TEST

/* ---- acts, operands ---- */

START_TEST(verdicts_are_words_and_others_are_refusals)
{
    ck_assert_int_eq(act_verdict_of(ask_text("done")), ACT_DONE);
    ck_assert_int_eq(act_verdict_of(ask_text("known")), ACT_KNOWN);
    ck_assert_int_eq(act_verdict_of(ask_text("retry")), ACT_RETRY);
    ck_assert_int_eq(act_verdict_of(ask_text("not_found")), ACT_NOT_FOUND);
    ck_assert_int_eq(act_verdict_of(ask_text("refused")), ACT_REFUSED);
    ck_assert_int_eq(act_verdict_of(ask_text("perhaps")), ACT_REFUSED);
    ck_assert_int_eq(act_verdict_of(ask_text("")), ACT_REFUSED);
}
END_TEST

START_TEST(phones_times_and_spans_as_people_write_them)
{
    struct invocation in = {0};
    uint64_t phone = 0;
    int64_t when = 7;
    ck_assert_int_eq(operand_phone(&in, "+60 12-345 6789", &phone), 0);
    ck_assert_uint_eq(phone, 60123456789u);
    ck_assert_int_eq(operand_phone(&in, "012-345 6789", &phone), CTL_USAGE);
    in.options[OPTION_COUNTRY] = "60";
    ck_assert_int_eq(operand_phone(&in, "012-345 6789", &phone), 0);
    ck_assert_uint_eq(phone, 60123456789u);
    in.options[OPTION_COUNTRY] = "x";
    ck_assert_int_eq(operand_phone(&in, "+60123456789", &phone), CTL_USAGE);
    ck_assert_int_eq(operand_at(&in, &when), 0);
    ck_assert_int_eq(when, 0);
    in.options[OPTION_AT] = "2100-01-01T00:00Z";
    ck_assert_int_eq(operand_at(&in, &when), 0);
    ck_assert_int_eq(when, 4102444800 * (int64_t) USEC_PER_SEC);
    in.options[OPTION_AT] = "2h";
    ck_assert_int_eq(operand_at(&in, &when), 0);
    ck_assert_int_gt(when, (int64_t) clock_real());
    static const char *const bad[] = {"tomorrow", "2020-01-01T00:00:00Z", "2100-01-01", "-2h", ""};
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        in.options[OPTION_AT] = bad[i];
        ck_assert_int_eq(operand_at(&in, &when), CTL_USAGE);
    }
    in.options[OPTION_SPAN] = "0s";
    ck_assert_int_eq(operand_until(&in, OPTION_SPAN, "for", &when), CTL_USAGE);
    in.options[OPTION_SPAN] = "90s";
    ck_assert_int_eq(operand_until(&in, OPTION_SPAN, "for", &when), 0);
    ck_assert_int_gt(when, (int64_t) clock_real());
    char reason[300];
    memset(reason, 'x', sizeof(reason));
    reason[256] = '\0';
    struct slice because;
    in.options[OPTION_REASON] = reason;
    ck_assert_int_eq(operand_reason(&in, &because), CTL_USAGE);
    reason[255] = '\0';
    ck_assert_int_eq(operand_reason(&in, &because), 0);
}
END_TEST

int
main(void)
{
    Suite *s = suite_create("verbs");
    TCase *t = tcase_create("verbs");
    tcase_add_checked_fixture(t, NULL, done);
    tcase_add_test(t, rows_are_copies_and_absent_columns_are_nothing);
    tcase_add_test(t, a_page_of_another_shape_is_refused);
    tcase_add_test(t, a_device_that_is_held_says_so_first);
    tcase_add_test(t, a_device_that_nothing_holds_is_open);
    tcase_add_test(t, of_a_lead_the_next_row_counts);
    tcase_add_test(t, buckets_of_a_campaign_add_up);
    tcase_add_test(t, capacity_is_the_sum_and_the_last_partition_binds);
    tcase_add_test(t, what_never_ends_does_not_fit);
    tcase_add_test(t, the_need_is_told_in_days);
    tcase_add_test(t, an_edit_for_all_says_who_goes_where);
    tcase_add_test(t, an_edit_that_changes_nothing_for_them_says_so);
    tcase_add_test(t, positions_of_partitions_are_summed);
    tcase_add_test(t, a_misspelt_variable_is_told_with_the_nearest_column);
    tcase_add_test(t, verdicts_are_words_and_others_are_refusals);
    tcase_add_test(t, phones_times_and_spans_as_people_write_them);
    suite_add_tcase(s, t);
    SRunner *sr = srunner_create(s);
    srunner_run_all(sr, CK_NORMAL);
    int failed = srunner_ntests_failed(sr);
    srunner_free(sr);
    return failed ? 1 : 0;
}
