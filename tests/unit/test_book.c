/* The book: entries change in place, rows follow their revision, a pause ends by itself. */
#include <check.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "node/book.h"

#define DAY (INT64_C(86400) * 1000000)

static struct book *b;
static char why[200];

static void
open_book(void)
{
    b = book_new();
    ck_assert_ptr_nonnull(b);
}

static void
close_book(void)
{
    b = book_free(b);
}

static int
put_template(struct content_template *t)
{
    unsigned change;

    return book_put_template(b, t, &change, why, sizeof(why));
}

static struct content_template
text_template(const char *text)
{
    struct content_template t = {.name = "hello", .is_text = true, .text = strdup(text)};

    return t;
}

static void
put_hello(void)
{
    struct content_template good = text_template("Hi {{name}}");

    ck_assert_int_eq(0, put_template(&good));
}

static unsigned
put_row(struct source_row row)
{
    unsigned change = SOURCE_SAME;

    row.name = row.name ? row.name : "spring";
    row.revision = row.revision ? row.revision : 1;
    row.until = row.until ? row.until : INT64_MAX;
    ck_assert_int_eq(0, book_put_source(b, &row, &change));
    return change;
}

/* A campaign of the template "hello". */
static unsigned
put(int32_t id, enum source_state state)
{
    char name[20];
    struct content_item item = {.kind = CONTENT_CAMPAIGN};
    unsigned change;

    snprintf(name, sizeof(name), "c%d", id);
    change = put_row((
        struct source_row){.source_id = id, .name = name, .class = CLASS_CAMPAIGN, .state = state});
    strcpy(item.campaign.template_name, "hello");
    ck_assert_int_eq(0, book_put_plan(b, id, 1, &item, &change, why, sizeof(why)));
    return change;
}

/* A sequence whose steps say "N d" of delay each: {1, 1, 3, 2} is step 1 after 1 d, 3 after 2 d. */
static void
put_sequence(int32_t id, const char *name, int16_t revision, int16_t all, const char *next,
             const int16_t *steps, unsigned count)
{
    struct content_item item = {.kind = CONTENT_SEQUENCE};
    struct content_sequence *s = &item.sequence;
    unsigned change;

    put_row((struct source_row){.source_id = id,
                                .name = name,
                                .class = CLASS_SEQUENCE,
                                .revision = revision,
                                .all_revision = all});
    strcpy(s->next_sequence, next);
    s->step_count = count;
    s->steps = calloc(count, sizeof(*s->steps));
    for (unsigned i = 0; i < count; i++)
        s->steps[i] = (struct content_step){.step = steps[2 * i],
                                            .delay = (usec_t) (steps[2 * i + 1] * DAY),
                                            .text = strdup("Step for {{name}}")};
    ck_assert_int_eq(0, book_put_plan(b, id, revision, &item, &change, why, sizeof(why)));
}
#define STEPS(...)                                                                                 \
    (const int16_t[]){__VA_ARGS__}, sizeof((const int16_t[]){__VA_ARGS__}) / sizeof(int16_t) / 2

static bool
skips(int32_t source_id, int16_t revision)
{
    const struct entry e = {.source_id = source_id, .lead_no = 1, .revision = revision};

    return book_skips(b, &e);
}

static unsigned active(enum device_class class)
{
    unsigned count;

    book_active(b, class, &count);
    return count;
}

START_TEST(a_source_waits_until_its_texts_are_there)
{
    struct content_template good = text_template("Hi {{name}}"), bad = text_template("Hi {{name");

    ck_assert_ptr_null(book_source(b, 1));
    ck_assert_uint_eq(SOURCE_SAME, put(1, SOURCE_ACTIVE));
    ck_assert(skips(1, 1));
    ck_assert_uint_eq(0, active(CLASS_CAMPAIGN));
    ck_assert_int_eq(-EINVAL, put_template(&bad));
    ck_assert(skips(1, 1));
    unsigned change = SOURCE_SAME;
    ck_assert_int_eq(0, book_put_template(b, &good, &change, why, sizeof(why)));
    ck_assert_uint_eq(SOURCE_MORE << CLASS_CAMPAIGN, change);
    ck_assert(!skips(1, 1));
    ck_assert_uint_eq(1, active(CLASS_CAMPAIGN));
    bad = text_template("{{");
    ck_assert_int_eq(-EINVAL, put_template(&bad));
    const struct source_step *step = source_step(book_source(b, 1), 1, 0);
    ck_assert_str_eq("Hi {{name}}", step->template_->content.text);
    ck_assert(skips(99, 1)); /* nobody knows it */
}
END_TEST

START_TEST(a_change_says_what_lists_must_do)
{
    put_hello();
    ck_assert_uint_eq(SOURCE_SAME, put(1, SOURCE_DRAFT));
    struct source *s = book_source(b, 1);
    ck_assert_uint_eq(SOURCE_MORE << CLASS_CAMPAIGN, put(1, SOURCE_ACTIVE));
    ck_assert_ptr_eq(s, book_source(b, 1));
    ck_assert_uint_eq(SOURCE_SAME, put(1, SOURCE_ACTIVE));
    ck_assert_uint_eq(SOURCE_FEWER, put(1, SOURCE_PAUSED));
    ck_assert_uint_eq(SOURCE_SAME, put(2, SOURCE_PAUSED));
    ck_assert_uint_eq(0, active(CLASS_CAMPAIGN));
    put(2, SOURCE_ACTIVE);
    ck_assert_uint_eq(1, active(CLASS_CAMPAIGN));
    ck_assert_uint_eq(0, active(CLASS_SEQUENCE));
    ck_assert_ptr_eq(s, book_source_by_name(b, "c1"));
    ck_assert_ptr_null(book_source_by_name(b, "c3"));
}
END_TEST

START_TEST(a_cancel_asks_for_its_sweep_once)
{
    const struct entry e = {.source_id = 1, .revision = 1};

    put_hello();
    put(1, SOURCE_ACTIVE);
    ck_assert_ptr_null(book_to_sweep(b));
    ck_assert_uint_eq(SOURCE_FEWER, put(1, SOURCE_CANCELLED));
    struct source *s = book_to_sweep(b);
    ck_assert_ptr_eq(book_source(b, 1), s);
    s->sweep_after = 50;
    book_passed_over(b, s, &e, 60); /* ahead of it */
    ck_assert_int_eq(50, s->sweep_after);
    book_passed_over(b, s, &e, 7);
    ck_assert_int_eq(6, s->sweep_after);
    s->sweep = false;
    put(1, SOURCE_CANCELLED);
    ck_assert_ptr_null(book_to_sweep(b));
    book_passed_over(b, s, &e, 9);
    ck_assert_ptr_eq(s, book_to_sweep(b));
    ck_assert_int_eq(8, s->sweep_after);
}
END_TEST

START_TEST(more_sources_than_any_array_are_all_listed)
{
    unsigned count;

    put_hello();
    for (int32_t id = 1; id <= 3000; id++)
        put(id, SOURCE_ACTIVE);
    const int32_t *ids = book_active(b, CLASS_CAMPAIGN, &count);
    ck_assert_uint_eq(3000, count);
    for (int32_t i = 0; i < 3000; i++)
        ck_assert_int_eq(i + 1, ids[i]);
}
END_TEST

START_TEST(a_pause_with_a_time_ends_by_itself)
{
    int64_t next, until;
    struct source_row row = {.source_id = 1,
                             .name = "c1",
                             .class = CLASS_CAMPAIGN,
                             .state = SOURCE_PAUSED,
                             .until = 5 * DAY};
    struct source_row cluster = {.source_id = SOURCE_CLUSTER,
                                 .name = "(cluster)",
                                 .class = CLASS_COUNT,
                                 .state = SOURCE_PAUSED,
                                 .until = 9 * DAY};

    put_hello();
    put(1, SOURCE_ACTIVE);
    put(2, SOURCE_PAUSED);
    ck_assert_uint_eq(SOURCE_SAME, book_end_pauses(b, INT64_MAX - 1, &next));
    ck_assert_int_eq(INT64_MAX, next); /* without a time it waits for an order */
    ck_assert_uint_eq(SOURCE_FEWER, put_row(row));
    ck_assert(!book_cluster_paused(b, &until));
    ck_assert_uint_eq(SOURCE_SAME, put_row(cluster));
    ck_assert_uint_eq(SOURCE_SAME, book_end_pauses(b, 5 * DAY - 1, &next));
    ck_assert_int_eq(5 * DAY, next);
    ck_assert(skips(1, 1));
    ck_assert_uint_eq(SOURCE_MORE << CLASS_CAMPAIGN, book_end_pauses(b, 5 * DAY, &next));
    ck_assert(!skips(1, 1));
    ck_assert_int_eq(9 * DAY, next);
    ck_assert(book_cluster_paused(b, &until));
    ck_assert_int_eq(9 * DAY, until);
    ck_assert_uint_eq(SOURCE_WAKE, book_end_pauses(b, 10 * DAY, &next));
    ck_assert(!book_cluster_paused(b, &until));
    ck_assert_int_eq(INT64_MAX, next);
    cluster.until = INT64_MAX;
    put_row(cluster);
    ck_assert(book_cluster_paused(b, &until));
    cluster.state = SOURCE_ACTIVE;
    ck_assert_uint_eq(SOURCE_WAKE, put_row(cluster));
    ck_assert(!book_cluster_paused(b, &until));
}
END_TEST

START_TEST(rows_keep_their_revision_unless_all_are_told)
{
    put_sequence(1, "cold", 1, 0, "", STEPS(1, 0, 2, 1, 3, 2));
    put_sequence(1, "cold", 2, 0, "warm", STEPS(1, 0, 3, 5, 4, 1));
    const struct source *s = book_source(b, 1);
    ck_assert_int_eq(1, source_revision(s, 1));
    ck_assert_int_eq(2, source_next(s, 1, 1)->step);
    ck_assert_int_eq(3, source_next(s, 2, 1)->step);
    ck_assert_int_eq(5 * DAY, (int64_t) source_step(s, 2, 3)->delay);
    ck_assert_ptr_null(source_next(s, 1, 3));
    ck_assert_ptr_null(source_step(s, 7, 1));        /* a revision that nobody has */
    ck_assert_int_eq(3, source_step(s, 2, 2)->step); /* lost: the next one behind it */
    ck_assert_str_eq("", source_rules(s, 1)->next_sequence);
    ck_assert(!skips(1, 1));
    ck_assert_ptr_null(book_to_restep(b));
    put_sequence(1, "cold", 3, 3, "warm", STEPS(1, 0, 3, 4));
    ck_assert_int_eq(3, source_revision(s, 1));
    ck_assert_int_eq(3, source_next(s, 1, 1)->step);
    ck_assert(skips(1, 1)); /* until they are moved */
    ck_assert(skips(1, 2));
    ck_assert(!skips(1, 3));
    ck_assert_ptr_eq(s, book_to_restep(b));
    ck_assert_ptr_null(source_chain(b, s, 3)); /* nobody is called warm */
    put_sequence(2, "warm", 1, 0, "", STEPS(1, 1));
    ck_assert_ptr_eq(book_source(b, 2), source_chain(b, s, 3));
}
END_TEST

START_TEST(where_rows_of_older_revisions_stand_in_the_newest)
{
    struct restep r[8];

    put_sequence(1, "cold", 1, 0, "", STEPS(1, 0, 2, 1, 3, 2));
    put_sequence(1, "cold", 2, 0, "", STEPS(1, 0, 4, 9));
    ck_assert_uint_eq(0, source_resteps(book_source(b, 1), r, 8)); /* for new ones only */
    put_sequence(1, "cold", 3, 3, "", STEPS(1, 0, 2, 3));
    ck_assert_uint_eq(5, source_resteps(book_source(b, 1), r, 8));
    ck_assert_int_eq(1, r[1].revision);
    ck_assert_int_eq(2, r[1].step);
    ck_assert_int_eq(2, r[1].to_step);
    ck_assert_int_eq(2 * DAY, r[1].shift); /* 3 d instead of 1 d */
    ck_assert_int_eq(0, r[2].to_step);     /* step 3: nothing is left */
    ck_assert_int_eq(2, r[4].revision);
    ck_assert_int_eq(2, r[4].to_step); /* waits for 4 behind 1: step 2 was put before it */
    ck_assert_int_eq(3 * DAY - 9 * DAY, r[4].shift);
    ck_assert_uint_eq(5, source_resteps(book_source(b, 1), r, 1));
}
END_TEST

START_TEST(variants_are_compiled_one_by_one)
{
    struct content_template t = {.name = "hello", .is_text = true, .variant_count = 3};

    t.variants[0] = strdup("Hi {{name}}");
    t.variants[1] = strdup("Hello {{name}}");
    t.variants[2] = strdup("Good day");
    ck_assert_int_eq(0, put_template(&t));
    put(1, SOURCE_ACTIVE);
    const struct template_entry *e = source_step(book_source(b, 1), 1, 0)->template_;
    ck_assert_uint_eq(3, e->text_count);
    ck_assert_ptr_nonnull(e->texts[2]);
    put_hello();
    ck_assert_uint_eq(1, e->text_count);
    ck_assert_ptr_null(e->texts[1]);
}
END_TEST

START_TEST(an_optout_holds_for_its_account_only)
{
    const struct breaker *main_account = book_breaker(b, BREAKER_ACCOUNT, "main");
    const struct breaker *other = book_breaker(b, BREAKER_ACCOUNT, "other");

    ck_assert_ptr_eq(main_account, book_breaker(b, BREAKER_ACCOUNT, "main"));
    ck_assert_ptr_ne(main_account, book_breaker(b, BREAKER_SCOPE, "main"));
    ck_assert(!book_opted_out(b, main_account, 60123456789));
    ck_assert_int_eq(0, book_put_optout(b, "main", 60123456789));
    ck_assert_int_eq(0, book_put_optout(b, "main", 60123456789));
    ck_assert(book_opted_out(b, main_account, 60123456789));
    ck_assert(!book_opted_out(b, main_account, 60123456788));
    ck_assert(!book_opted_out(b, other, 60123456789));
    book_drop_optout(b, "other", 60123456789);
    book_drop_optout(b, "nobody", 60123456789);
    ck_assert(book_opted_out(b, main_account, 60123456789));
    book_drop_optout(b, "main", 60123456789);
    book_drop_optout(b, "main", 60123456789);
    ck_assert(!book_opted_out(b, main_account, 60123456789));
    ck_assert_int_eq(0, book_put_optout(b, "main", 60123456789));
    ck_assert(book_opted_out(b, main_account, 60123456789));
}
END_TEST

int
main(void)
{
    Suite *s = suite_create("book");
    TCase *t = tcase_create("book");

    tcase_add_checked_fixture(t, open_book, close_book);
    tcase_add_test(t, a_source_waits_until_its_texts_are_there);
    tcase_add_test(t, a_change_says_what_lists_must_do);
    tcase_add_test(t, a_cancel_asks_for_its_sweep_once);
    tcase_add_test(t, more_sources_than_any_array_are_all_listed);
    tcase_add_test(t, a_pause_with_a_time_ends_by_itself);
    tcase_add_test(t, rows_keep_their_revision_unless_all_are_told);
    tcase_add_test(t, where_rows_of_older_revisions_stand_in_the_newest);
    tcase_add_test(t, variants_are_compiled_one_by_one);
    tcase_add_test(t, an_optout_holds_for_its_account_only);
    suite_add_tcase(s, t);
    SRunner *runner = srunner_create(s);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
