/* Becoming and staying the holder, over a double of the catalog that answers when the test says. */
#include "coordinator/holder.h"

#include <check.h>
#include <errno.h>
#include <string.h>

#define D (300 * USEC_PER_MSEC)

/* ---- the catalog's row and one call at most on its way ---- */

static struct {
    struct ledger_holder row;
    bool held;
    uint64_t term;
    ledger_load_fn *load;
    ledger_look_fn *look;
    ledger_done_fn *done;
    void *arg;
    unsigned loads, looks, takes, beats, raises, releases;
    uint64_t raised_to;
    struct ledger_holder taken_from;
} book;

int
ledger_load(struct ledger *l, ledger_load_fn *done, void *arg)
{
    book.loads++;
    book.load = done;
    book.arg = arg;
    return 0;
}

int
ledger_look(struct ledger *l, ledger_look_fn *done, void *arg)
{
    book.looks++;
    book.look = done;
    book.arg = arg;
    return 0;
}

static int
call(unsigned *count, ledger_done_fn *done, void *arg)
{
    ck_assert_ptr_null(book.done);
    *count += 1;
    book.done = done;
    book.arg = arg;
    return 0;
}

int
ledger_take(struct ledger *l, const struct ledger_holder *seen, ledger_done_fn *done, void *arg)
{
    book.taken_from = *seen;
    return call(&book.takes, done, arg);
}

int
ledger_beat(struct ledger *l, ledger_done_fn *done, void *arg)
{
    return call(&book.beats, done, arg);
}

int
ledger_raise(struct ledger *l, uint64_t term, ledger_done_fn *done, void *arg)
{
    book.raised_to = book.term = term;
    return call(&book.raises, done, arg);
}

int
ledger_release(struct ledger *l, ledger_done_fn *done, void *arg)
{
    return call(&book.releases, done, arg);
}

void
ledger_hold(struct ledger *l, uint64_t term)
{
    book.term = term;
    book.held = true;
}

void
ledger_let_go(struct ledger *l)
{
    book.held = false;
}

bool
ledger_held(const struct ledger *l)
{
    return book.held;
}

uint64_t
ledger_term(const struct ledger *l)
{
    return book.term;
}

const char *
ledger_error(const struct ledger *l)
{
    return "no";
}

static void
answer_load(enum ledger_outcome outcome)
{
    ledger_load_fn *load = book.load;
    struct ledger_image image = {.holder = book.row};
    ck_assert_ptr_nonnull(load);
    book.load = NULL;
    load(book.arg, outcome, outcome == LEDGER_DONE ? &image : NULL);
}

static void
answer_look(void)
{
    ledger_look_fn *look = book.look;
    ck_assert_ptr_nonnull(look);
    book.look = NULL;
    look(book.arg, LEDGER_DONE, &book.row);
}

static void
answer_done(enum ledger_outcome outcome)
{
    ledger_done_fn *done = book.done;
    ck_assert_ptr_nonnull(done);
    book.done = NULL;
    done(book.arg, outcome);
}

/* ---- fixture ---- */

static struct holder *h;
static const struct uuid me = {{1}}, other = {{2}};
static unsigned news_count;
static enum holder_news news;

static void
on_news(void *arg, enum holder_news what, const struct ledger_image *image)
{
    ck_assert((what == HOLDER_LOADED) == (image != NULL));
    news_count++;
    news = what;
}

static void
setup(void)
{
    memset(&book, 0, sizeof book);
    news_count = 0;
    h = holder_new(NULL, &me, D, on_news, NULL);
    ck_assert_ptr_nonnull(h);
}

static void
teardown(void)
{
    h = holder_free(h);
}

static void
set_row(uint64_t term, uint64_t beat, const char *name, const struct uuid *incarnation)
{
    book.row = (struct ledger_holder){term, beat, {name, strlen(name)}, *incarnation};
}

static void
check_state(enum holder_state s)
{
    ck_assert_str_eq(holder_state_name(holder_state(h)), holder_state_name(s));
}

static void
check_news(unsigned count, enum holder_news what)
{
    ck_assert_uint_eq(news_count, count);
    ck_assert_int_eq((int) news, (int) what);
}

/* From a free catalog to the holder of term 1. */
static void
become(void)
{
    set_row(0, 0, "", &other);
    holder_up(h, true);
    answer_load(LEDGER_DONE);
    check_state(HOLDER_TAKING);
    answer_done(LEDGER_DONE);
    set_row(1, 1, "c1", &me);
    answer_load(LEDGER_DONE);
    check_state(HOLDER_HOLDING);
    check_news(1, HOLDER_LOADED);
    ck_assert_uint_eq(book.term, 1);
    ck_assert(book.held);
}

static void
watch(void)
{
    set_row(7, 100, "c2", &other);
    holder_up(h, true);
    holder_tick(h, clock_boot(), 0);
    answer_load(LEDGER_DONE);
    check_state(HOLDER_WATCHING);
}

/* ---- refused ---- */

START_TEST(a_moving_beat_refuses)
{
    watch();
    holder_tick(h, clock_boot(), 0);
    answer_look();
    check_state(HOLDER_WATCHING);
    set_row(7, 101, "c2", &other);
    holder_tick(h, clock_boot() + D, 0); /* even when its time is up */
    answer_look();
    check_state(HOLDER_GONE);
    check_news(1, HOLDER_REFUSED);
    ck_assert_uint_eq(book.takes, 0);
}
END_TEST

START_TEST(a_new_term_refuses)
{
    watch();
    set_row(8, 100, "c3", &other);
    holder_tick(h, clock_boot() + D, 0);
    answer_look();
    check_news(1, HOLDER_REFUSED);
}
END_TEST

START_TEST(outrun_at_the_take)
{
    watch();
    holder_tick(h, clock_boot() + D, 0);
    answer_look();
    check_state(HOLDER_TAKING);
    answer_done(LEDGER_FENCED);
    check_news(1, HOLDER_REFUSED);
    check_state(HOLDER_GONE);
}
END_TEST

START_TEST(fenced_by_the_beat)
{
    become();
    holder_tick(h, clock_boot(), 0);
    ck_assert_uint_eq(book.beats, 1);
    answer_done(LEDGER_FENCED);
    check_state(HOLDER_GONE);
    check_news(2, HOLDER_FENCED);
    ck_assert(!book.held);
    holder_fenced(h); /* said once */
    ck_assert_uint_eq(news_count, 2);
}
END_TEST

START_TEST(fenced_while_away)
{
    become();
    book.held = false;
    holder_up(h, false);
    check_state(HOLDER_AWAY);
    set_row(2, 5, "c2", &other);
    holder_up(h, true);
    answer_load(LEDGER_DONE);
    check_state(HOLDER_GONE);
    check_news(2, HOLDER_FENCED);
    ck_assert_uint_eq(book.takes, 1);
}
END_TEST

START_TEST(fenced_by_a_holder_that_left_again)
{
    become();
    holder_up(h, false);
    set_row(2, 5, "", &other);
    holder_up(h, true);
    answer_load(LEDGER_DONE);
    check_news(2, HOLDER_FENCED);
}
END_TEST

START_TEST(a_raise_that_fails_ends)
{
    become();
    holder_tick(h, clock_boot(), 9);
    ck_assert_uint_eq(book.raised_to, 10);
    answer_done(LEDGER_REFUSED);
    check_news(2, HOLDER_FENCED);
}
END_TEST

/* ---- becoming and staying ---- */

START_TEST(a_free_catalog_is_taken_at_once)
{
    become();
    ck_assert_uint_eq(book.looks, 0);
}
END_TEST

START_TEST(a_still_beat_is_taken_after_d)
{
    watch();
    usec_t since = clock_boot();
    for (usec_t t = since - D / 2; t < since; t += D / 10) {
        holder_tick(h, t, 0);
        answer_look();
        check_state(HOLDER_WATCHING);
    }
    holder_tick(h, since + D, 0);
    answer_look();
    check_state(HOLDER_TAKING);
    ck_assert_uint_eq(book.taken_from.term, 7);
    ck_assert_uint_eq(book.taken_from.beat, 100);
}
END_TEST

START_TEST(left_while_watched)
{
    watch();
    set_row(7, 100, "", &other);
    holder_tick(h, clock_boot(), 0);
    answer_look();
    check_state(HOLDER_TAKING);
}
END_TEST

START_TEST(a_take_in_doubt_that_arrived)
{
    set_row(0, 0, "", &other);
    holder_up(h, true);
    answer_load(LEDGER_DONE);
    answer_done(LEDGER_DOUBT);
    holder_up(h, false);
    set_row(1, 1, "c1", &me);
    holder_up(h, true);
    answer_load(LEDGER_DONE);
    check_state(HOLDER_HOLDING);
    ck_assert_uint_eq(book.takes, 1);
}
END_TEST

START_TEST(a_load_that_fails_is_asked_again)
{
    holder_up(h, true);
    answer_load(LEDGER_REFUSED);
    check_state(HOLDER_LOADING);
    holder_tick(h, clock_boot(), 0);
    ck_assert_uint_eq(book.loads, 2);
}
END_TEST

START_TEST(one_beat_at_a_time)
{
    become();
    holder_tick(h, clock_boot(), 0);
    holder_tick(h, clock_boot(), 0);
    ck_assert_uint_eq(book.beats, 1);
    answer_done(LEDGER_DONE);
    holder_tick(h, clock_boot(), 0);
    ck_assert_uint_eq(book.beats, 2);
}
END_TEST

START_TEST(everything_is_loaded_again_after_a_loss)
{
    become();
    holder_up(h, false);
    holder_up(h, true);
    set_row(1, 9, "c1", &me);
    answer_load(LEDGER_DONE);
    check_state(HOLDER_HOLDING);
    check_news(2, HOLDER_LOADED);
}
END_TEST

START_TEST(leaving)
{
    become();
    holder_leave(h);
    check_state(HOLDER_LEAVING);
    ck_assert_uint_eq(book.releases, 1);
    answer_done(LEDGER_DONE);
    check_state(HOLDER_GONE);
    check_news(2, HOLDER_LEFT);
}
END_TEST

START_TEST(leaving_while_the_catalog_goes)
{
    become();
    holder_leave(h);
    holder_up(h, false);
    check_news(2, HOLDER_LEFT);
    answer_done(LEDGER_DOUBT);
    ck_assert_uint_eq(news_count, 2);
}
END_TEST

START_TEST(leaving_before_there_is_anything_to_leave)
{
    holder_leave(h);
    check_state(HOLDER_GONE);
    check_news(1, HOLDER_LEFT);
    ck_assert_uint_eq(book.releases, 0);
}
END_TEST

START_TEST(the_end_is_the_end)
{
    struct transition t;
    for (unsigned i = 0; holder_transition(i, &t); i++)
        ck_assert_str_ne(t.from, "gone");
}
END_TEST

int
main(void)
{
    Suite *suite = suite_create("holder");
    TCase *t = tcase_create("holder");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, a_moving_beat_refuses);
    tcase_add_test(t, a_new_term_refuses);
    tcase_add_test(t, outrun_at_the_take);
    tcase_add_test(t, fenced_by_the_beat);
    tcase_add_test(t, fenced_while_away);
    tcase_add_test(t, fenced_by_a_holder_that_left_again);
    tcase_add_test(t, a_raise_that_fails_ends);
    tcase_add_test(t, a_free_catalog_is_taken_at_once);
    tcase_add_test(t, a_still_beat_is_taken_after_d);
    tcase_add_test(t, left_while_watched);
    tcase_add_test(t, a_take_in_doubt_that_arrived);
    tcase_add_test(t, a_load_that_fails_is_asked_again);
    tcase_add_test(t, one_beat_at_a_time);
    tcase_add_test(t, everything_is_loaded_again_after_a_loss);
    tcase_add_test(t, leaving);
    tcase_add_test(t, leaving_while_the_catalog_goes);
    tcase_add_test(t, leaving_before_there_is_anything_to_leave);
    tcase_add_test(t, the_end_is_the_end);
    suite_add_tcase(suite, t);
    SRunner *sr = srunner_create(suite);
    srunner_run_all(sr, CK_NORMAL);
    int failed = srunner_ntests_failed(sr);
    srunner_free(sr);
    return failed == 0 ? 0 : 1;
}
