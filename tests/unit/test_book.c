/* The book: entries change in place, opt-outs are an account's, a bad template changes nothing. */
#include <check.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "node/book.h"

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

static struct content_template
text_template(const char *text)
{
    struct content_template t = {.name = "hello", .is_text = true, .text = strdup(text)};

    return t;
}

static struct source *
put(int32_t id, enum source_state state, bool *changed)
{
    ck_assert_int_eq(0, book_put_source(b, id, CLASS_CAMPAIGN, state, "hello", changed));
    return book_source(b, id);
}

START_TEST(a_text_that_does_not_compile_leaves_the_one_before)
{
    struct content_template good = text_template("Hi {{name}}"), bad = text_template("Hi {{name");
    bool changed;

    ck_assert_ptr_null(book_source(b, 1));
    const struct template_entry *t = put(1, SOURCE_ACTIVE, &changed)->template_;
    ck_assert(!t->known);
    ck_assert_int_eq(-EINVAL, book_put_template(b, &bad, why, sizeof(why)));
    ck_assert(!t->known);
    ck_assert_int_eq(0, book_put_template(b, &good, why, sizeof(why)));
    ck_assert(t->known);
    bad = text_template("{{");
    ck_assert_int_eq(-EINVAL, book_put_template(b, &bad, why, sizeof(why)));
    ck_assert_str_eq("Hi {{name}}", t->content.text);
}
END_TEST

START_TEST(a_source_changes_in_place_and_a_cancel_asks_for_its_sweep_once)
{
    bool changed;
    int32_t ids[4];
    struct source *s = put(1, SOURCE_DRAFT, &changed);

    ck_assert(changed);
    ck_assert_ptr_eq(s, put(1, SOURCE_ACTIVE, &changed));
    ck_assert(changed);
    put(1, SOURCE_ACTIVE, &changed);
    ck_assert(!changed);
    put(2, SOURCE_PAUSED, &changed);
    ck_assert_uint_eq(1, book_active(b, CLASS_CAMPAIGN, ids, 4));
    ck_assert_int_eq(1, ids[0]);
    ck_assert_uint_eq(0, book_active(b, CLASS_SEQUENCE, ids, 4));
    ck_assert_ptr_null(book_to_sweep(b));
    put(1, SOURCE_CANCELLED, &changed);
    ck_assert_ptr_eq(s, book_to_sweep(b));
    s->sweep = false;
    put(1, SOURCE_CANCELLED, &changed);
    ck_assert_ptr_null(book_to_sweep(b));
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
}
END_TEST

int
main(void)
{
    Suite *s = suite_create("book");
    TCase *t = tcase_create("book");

    tcase_add_checked_fixture(t, open_book, close_book);
    tcase_add_test(t, a_text_that_does_not_compile_leaves_the_one_before);
    tcase_add_test(t, a_source_changes_in_place_and_a_cancel_asks_for_its_sweep_once);
    tcase_add_test(t, an_optout_holds_for_its_account_only);
    suite_add_tcase(s, t);
    SRunner *runner = srunner_create(s);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
