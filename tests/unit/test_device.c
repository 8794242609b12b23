/* Lists of a device: what joins, what is forgotten, and whose turn it is. */
#include "node/device.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "shared/rng.h"

#define SECOND ((int64_t) USEC_PER_SEC)

static struct device *device;
static struct rng rng;

static void
setup(void)
{
    rng_seed(&rng, 5);
    device = device_new(42);
    ck_assert_ptr_nonnull(device);
}

static void
teardown(void)
{
    device = device_free(device);
    ck_assert_ptr_null(device);
}

static struct entry
entry(int64_t due, int32_t source_id, int32_t lead_no)
{
    return (struct entry){.due = due, .source_id = source_id, .lead_no = lead_no};
}

static void
fill(enum device_class c, unsigned count, int64_t step, bool complete)
{
    struct entry rows[FILL_ENTRIES_MAX] = {0};

    for (unsigned i = 0; i < count; i++)
        rows[i] = entry((int64_t) i * step, 1, (int32_t) i);
    device->lists[c].horizon = 0; /* a fill from the start */
    ck_assert_int_eq(device_fill(device, c, rows, count, complete ? NULL : &rows[count - 1]), 0);
}

static bool
join(enum device_class c, int64_t due, int32_t source_id, int32_t lead_no)
{
    struct entry e = entry(due, source_id, lead_no);

    return device_join(device, c, &e);
}

static const struct entry *
peek(int64_t now, enum device_class *ret_class, int64_t *ret_next)
{
    return device_peek(device, now, NULL, NULL, ret_class, ret_next);
}

static void
assert_sorted(enum device_class c)
{
    const struct entry_list *l = &device->lists[c];

    ck_assert_uint_le(l->head + l->count, l->capacity);
    ck_assert_uint_le(l->capacity, FILL_ENTRIES_MAX);
    for (unsigned i = 1; i < l->count; i++)
        ck_assert_int_le(l->entries[l->head + i - 1].due, l->entries[l->head + i].due);
}

START_TEST(nothing_is_known_at_first)
{
    enum device_class c;
    int64_t next = 0;

    ck_assert_ptr_null(peek(INT64_MAX, &c, &next));
    ck_assert_int_eq(next, INT64_MAX);
    ck_assert(!join(CLASS_CAMPAIGN, 0, 1, 1)); /* the first fill will find it */
    ck_assert(device_is_low(device, CLASS_CAMPAIGN, 0));
    ck_assert_ptr_null(device_free(NULL));
}
END_TEST

START_TEST(horizon_of_a_fill)
{
    fill(CLASS_CAMPAIGN, 100, SECOND, false);
    ck_assert_int_eq(device->lists[CLASS_CAMPAIGN].horizon, 99 * SECOND);
    ck_assert(join(CLASS_CAMPAIGN, 99 * SECOND, 1, 7));  /* a tie before the last row read */
    ck_assert(!join(CLASS_CAMPAIGN, 99 * SECOND, 2, 7)); /* behind it: it may be unseen */
    ck_assert(!join(CLASS_CAMPAIGN, 1000 * SECOND, 2, 7));
    ck_assert(join(CLASS_CAMPAIGN, 99 * SECOND - 1, 2, 7));
    fill(CLASS_CAMPAIGN, 99, SECOND, true);
    ck_assert(join(CLASS_CAMPAIGN, INT64_MAX - 1, 2, 7));
    fill(CLASS_CAMPAIGN, 0, 0, true);
    ck_assert_uint_eq(device->lists[CLASS_CAMPAIGN].count, 0);
    ck_assert(join(CLASS_CAMPAIGN, 5, 2, 7));
    device_drop_lists(device);
    ck_assert(!join(CLASS_CAMPAIGN, 5, 2, 7));
}
END_TEST

START_TEST(a_full_list_lowers_its_horizon)
{
    struct entry_list *l = &device->lists[CLASS_SEQUENCE];

    device->live = 8 * FILL_ENTRIES_MAX;
    fill(CLASS_SEQUENCE, FILL_ENTRIES_MAX, 10, true);
    ck_assert(!join(CLASS_SEQUENCE, 100000, 2, 7)); /* behind the last: it is the one to go */
    ck_assert_int_eq(l->horizon, (FILL_ENTRIES_MAX - 1) * 10);
    ck_assert(join(CLASS_SEQUENCE, 15, 2, 7));
    ck_assert_uint_eq(l->count, FILL_ENTRIES_MAX);
    ck_assert_int_eq(l->horizon, (FILL_ENTRIES_MAX - 2) * 10);
    ck_assert_int_eq(l->entries[2].source_id, 2);
    assert_sorted(CLASS_SEQUENCE);
}
END_TEST

/* 4 KiB a device with 1,000 live enrollments, however they came. */
START_TEST(a_list_stays_small_while_many_join)
{
    const struct entry_list *l = &device->lists[CLASS_SEQUENCE];

    fill(CLASS_SEQUENCE, 0, 0, true);
    for (int32_t i = 0; i < 1000; i++) {
        device->live++;
        join(CLASS_SEQUENCE, i * SECOND, 1, i);
    }
    ck_assert_uint_eq(l->count, 128);
    ck_assert_int_eq(l->horizon, 127 * SECOND);
    ck_assert_uint_le(sizeof(struct device) + l->capacity * sizeof(struct entry), 4096);
    assert_sorted(CLASS_SEQUENCE);
}
END_TEST

START_TEST(equal_due_times_keep_their_order)
{
    enum device_class c;
    int64_t next;

    fill(CLASS_DIRECT, 0, 0, true);
    for (int32_t i = 0; i < 50; i++) /* numbers of direct messages go down */
        ck_assert(join(CLASS_DIRECT, 7, 0, -i));
    for (int32_t i = 0; i < 50; i++) {
        const struct entry *e = peek(7, &c, &next);

        ck_assert_ptr_nonnull(e);
        ck_assert_int_eq(e->lead_no, -i);
        device_take(device, c, e);
    }
    ck_assert_ptr_null(peek(7, &c, &next));
}
END_TEST

/* Against a plain model: an array that is sorted anew each time. */
START_TEST(random_joins_and_takes)
{
    struct entry model[2000];
    unsigned count = 0;
    enum device_class c;
    int64_t next;

    device->live = 8 * FILL_ENTRIES_MAX;
    fill(CLASS_CAMPAIGN, 0, 0, true);
    for (int round = 0; round < 5000; round++) {
        if (count < 400 && rng_between(&rng, 0, 1)) {
            struct entry e = entry((int64_t) rng_between(&rng, 0, 1000), 1, round);

            ck_assert(device_join(device, CLASS_CAMPAIGN, &e));
            model[count++] = e;
        } else if (count > 0) {
            unsigned least = 0;
            const struct entry *e = peek(1000, &c, &next);

            for (unsigned i = 1; i < count; i++)
                if (model[i].due < model[least].due)
                    least = i;
            ck_assert_ptr_nonnull(e);
            ck_assert_int_eq(e->due, model[least].due);
            for (unsigned i = 0; i < count; i++)
                if (model[i].lead_no == e->lead_no)
                    model[i] = model[--count];
            device_take(device, c, e);
        }
        ck_assert_uint_eq(device->lists[CLASS_CAMPAIGN].count, count);
        assert_sorted(CLASS_CAMPAIGN);
    }
}
END_TEST

static bool
skip_source(void *arg, const struct entry *e)
{
    return e->source_id == *(int32_t *) arg;
}

START_TEST(entries_of_a_paused_source_are_skipped)
{
    int32_t paused = 1;
    enum device_class c = CLASS_COUNT;
    int64_t next = 0;
    const struct entry *e;

    fill(CLASS_CAMPAIGN, 100, SECOND, true);
    ck_assert_ptr_null(device_peek(device, INT64_MAX, skip_source, &paused, &c, &next));
    ck_assert_int_eq(next, INT64_MAX);
    ck_assert(join(CLASS_CAMPAIGN, 50 * SECOND, 2, 7));
    ck_assert_ptr_null(device_peek(device, SECOND, skip_source, &paused, &c, &next));
    ck_assert_int_eq(next, 50 * SECOND);
    e = device_peek(device, 50 * SECOND, skip_source, &paused, &c, &next);
    ck_assert_ptr_nonnull(e);
    ck_assert_int_eq(e->source_id, 2);
    device_take(device, c, e); /* from the middle */
    ck_assert_uint_eq(device->lists[CLASS_CAMPAIGN].count, 100);
    assert_sorted(CLASS_CAMPAIGN);
    paused = 3;
    e = device_peek(device, 0, skip_source, &paused, &c, &next);
    ck_assert_int_eq(e->lead_no, 0);
}
END_TEST

START_TEST(next_is_the_earliest_of_all_classes)
{
    enum device_class c;
    int64_t next = 0;

    fill(CLASS_CAMPAIGN, 0, 0, true);
    fill(CLASS_SEQUENCE, 0, 0, true);
    join(CLASS_CAMPAIGN, 900, 1, 1);
    join(CLASS_SEQUENCE, 700, 1, 1);
    ck_assert_ptr_null(peek(699, &c, &next));
    ck_assert_int_eq(next, 700);
    ck_assert_ptr_nonnull(peek(700, &c, &next));
    ck_assert_int_eq(c, CLASS_SEQUENCE);
}
END_TEST

static enum device_class
serve(int64_t now)
{
    enum device_class c = CLASS_COUNT;
    int64_t next;
    const struct entry *e = peek(now, &c, &next);
    struct entry copy;

    ck_assert_ptr_nonnull(e);
    copy = *e;
    device_take(device, c, &copy); /* a copy will do: callers keep one over the claim */
    return c;
}

START_TEST(weights)
{
    unsigned served[CLASS_COUNT] = {0};

    for (int i = 0; i < 13 * 100; i++) {
        for (unsigned c = 0; c < CLASS_COUNT; c++)
            if (device->lists[c].count == 0)
                fill((enum device_class) c, 512, 1, true);
        served[serve(INT64_MAX)]++;
    }
    ck_assert_uint_eq(served[CLASS_DIRECT], 800);
    ck_assert_uint_eq(served[CLASS_CAMPAIGN], 400);
    ck_assert_uint_eq(served[CLASS_SEQUENCE], 100);
}
END_TEST

START_TEST(a_class_alone_gets_every_turn)
{
    for (enum device_class c = CLASS_DIRECT; c < CLASS_COUNT; c++) {
        device_drop_lists(device);
        fill(c, 100, 1, true);
        for (int i = 0; i < 100; i++)
            ck_assert_int_eq(serve(INT64_MAX), c);
    }
}
END_TEST

/* The others come and go as they like: 12 of their sends lie between two of a sequence at most,
 * and a direct message waits for two at most. */
START_TEST(no_class_waits_longer_than_promised)
{
    static const unsigned most[CLASS_COUNT] = {
        [CLASS_DIRECT] = 2, [CLASS_CAMPAIGN] = 3, [CLASS_SEQUENCE] = 12};
    unsigned waited[CLASS_COUNT] = {0};

    rng_seed(&rng, (uint64_t) _i);
    for (int round = 0; round < 20000; round++) {
        bool any = false;

        for (unsigned c = 0; c < CLASS_COUNT; c++) {
            bool was_due = device->lists[c].count > 0;
            bool is_due = was_due ? rng_between(&rng, 0, 9) > 0 : rng_between(&rng, 0, 3) == 0;

            if (is_due != was_due) {
                fill((enum device_class) c, is_due ? 300 : 0, 1, true);
                waited[c] = 0;
            }
            any |= is_due;
        }
        if (!any)
            continue;
        enum device_class served = serve(INT64_MAX);

        for (unsigned c = 0; c < CLASS_COUNT; c++) {
            waited[c] = c == served || device->lists[c].count == 0 ? 0 : waited[c] + 1;
            ck_assert_uint_le(waited[c], most[c]);
        }
    }
}
END_TEST

/* Direct messages that come one by one are never without a turn, nor is the rest. */
START_TEST(one_by_one)
{
    unsigned direct = 0;

    fill(CLASS_SEQUENCE, 512, 1, true);
    for (int i = 0; i < 130; i++) {
        enum device_class c;
        int64_t next;

        fill(CLASS_DIRECT, 0, 0, true);
        ck_assert_ptr_nonnull(peek(INT64_MAX, &c, &next)); /* looked at while there was none */
        fill(CLASS_DIRECT, 1, 1, true);
        direct += serve(INT64_MAX) == CLASS_DIRECT;
    }
    ck_assert_uint_ge(direct, 130 * 8 / 9 - 1);
    ck_assert_uint_le(direct, 130 * 8 / 9 + 1);
}
END_TEST

START_TEST(low)
{
    fill(CLASS_CAMPAIGN, 500, 3600 * SECOND, true); /* a list full of later days */
    ck_assert(device_is_low(device, CLASS_CAMPAIGN, 0));
    fill(CLASS_CAMPAIGN, 15, 1, true);
    ck_assert(device_is_low(device, CLASS_CAMPAIGN, 0));
    fill(CLASS_CAMPAIGN, 16, 4 * SECOND, true); /* the 16th is due in 60 s */
    ck_assert(!device_is_low(device, CLASS_CAMPAIGN, 0));
    ck_assert(device_is_low(device, CLASS_CAMPAIGN, -1));
    serve(INT64_MAX);
    ck_assert(device_is_low(device, CLASS_CAMPAIGN, 0));
}
END_TEST

START_TEST(fill_size)
{
    static const unsigned sizes[][2] = {{0, 100},    {999, 100},  {1000, 100},   {1010, 101},
                                        {5120, 512}, {5130, 512}, {4000000, 512}};

    for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
        device->live = sizes[i][0];
        ck_assert_uint_eq(device_fill_size(device, CLASS_CAMPAIGN), sizes[i][1]);
    }
    fill(CLASS_CAMPAIGN, 450, SECOND, false);
    ck_assert_uint_eq(device_fill_size(device, CLASS_CAMPAIGN), FILL_ENTRIES_MAX - 450);
}
END_TEST

START_TEST(a_fill_goes_on_behind_the_horizon)
{
    const struct entry_list *l = &device->lists[CLASS_SEQUENCE];
    struct entry more[3] = {entry(100 * SECOND, 1, 1), entry(100 * SECOND, 1, 2),
                            entry(101 * SECOND, 1, 3)};

    fill(CLASS_SEQUENCE, 100, SECOND, false);
    for (int i = 0; i < 90; i++)
        serve(INT64_MAX);
    ck_assert_int_eq(0, device_fill(device, CLASS_SEQUENCE, more, 3, &more[2]));
    ck_assert_uint_eq(l->count, 13);
    ck_assert_int_eq(l->horizon, 101 * SECOND);
    assert_sorted(CLASS_SEQUENCE);
    device_rewind(device, CLASS_SEQUENCE); /* what is listed may still be sent meanwhile */
    ck_assert(!join(CLASS_SEQUENCE, 5, 1, 9));
    ck_assert_int_eq(CLASS_SEQUENCE, serve(INT64_MAX));
    ck_assert_int_eq(0, device_fill(device, CLASS_SEQUENCE, more, 2, NULL));
    ck_assert_uint_eq(l->count, 2);
    ck_assert_int_eq(l->horizon, INT64_MAX);
}
END_TEST

START_TEST(tomorrows_rows_need_no_fill_before_their_horizon_comes_near)
{
    enum device_class c;
    int64_t next = 0;

    ck_assert(device_wants_fill(device, CLASS_SEQUENCE, 0));
    fill(CLASS_SEQUENCE, 100, 3600 * SECOND, false); /* one is due now, one each hour */
    ck_assert(device_is_low(device, CLASS_SEQUENCE, 0));
    ck_assert(!device_wants_fill(device, CLASS_SEQUENCE, 0));
    for (int i = 0; i < 100; i++)
        serve(INT64_MAX);
    ck_assert(!device_wants_fill(device, CLASS_SEQUENCE, 0));
    ck_assert_ptr_null(peek(0, &c, &next)); /* nothing is listed: the horizon is the next look */
    ck_assert_int_eq(next, 99 * 3600 * SECOND - 60 * SECOND);
    ck_assert(device_wants_fill(device, CLASS_SEQUENCE, next));
    fill(CLASS_SEQUENCE, 0, 0, true);
    ck_assert(!device_wants_fill(device, CLASS_SEQUENCE, INT64_MAX - 60 * SECOND - 1));
}
END_TEST

START_TEST(a_held_row_lets_others_pass_and_comes_back)
{
    struct entry_list *l = &device->lists[CLASS_SEQUENCE];
    enum device_class c;
    int64_t next = 0;

    fill(CLASS_SEQUENCE, 3, SECOND, true);
    device_hold(device, CLASS_SEQUENCE, peek(0, &c, &next), 10 * SECOND);
    ck_assert_ptr_null(peek(0, &c, &next));
    ck_assert_int_eq(next, SECOND);
    ck_assert_uint_eq(l->count, 3); /* within the horizon: it stays, due later */
    ck_assert_int_eq(l->reopens, 0);
    fill(CLASS_SEQUENCE, 100, 1, false);
    for (int i = 0; i < 100; i++)
        device_hold(device, CLASS_SEQUENCE, peek(1000, &c, &next), (200 - i) * SECOND);
    ck_assert_uint_eq(l->count, 0); /* behind it: the list is read again when the first reopens */
    ck_assert(device_wants_fill(device, CLASS_SEQUENCE, 0)); /* others may be due behind them */
    ck_assert_ptr_null(peek(1000, &c, &next));
    ck_assert_int_eq(next, 101 * SECOND);
    ck_assert_int_eq(0, device_fill(device, CLASS_SEQUENCE, NULL, 0, NULL));
    ck_assert(!device_wants_fill(device, CLASS_SEQUENCE, 101 * SECOND - 1));
    ck_assert(device_wants_fill(device, CLASS_SEQUENCE, 101 * SECOND));
}
END_TEST

START_TEST(a_held_row_that_is_forgotten_is_read_again_when_it_is_due)
{
    struct entry_list *l = &device->lists[CLASS_SEQUENCE];
    struct entry held = entry(300 * SECOND, 1, 999);

    held.held = true; /* due in its row long ago: no fill behind a horizon finds it */
    fill(CLASS_SEQUENCE, 0, 0, true);
    ck_assert(device_join(device, CLASS_SEQUENCE, &held));
    for (int i = 1; i < 128; i++)
        ck_assert(join(CLASS_SEQUENCE, i * SECOND, 1, i));
    ck_assert_int_eq(l->reopens, 0);
    ck_assert(join(CLASS_SEQUENCE, 5, 1, 500)); /* the list is full: the held one leaves it */
    ck_assert_int_eq(l->reopens, 300 * SECOND);
    held.due = 200 * SECOND;
    ck_assert(!device_join(device, CLASS_SEQUENCE, &held)); /* behind the horizon */
    ck_assert_int_eq(l->reopens, 200 * SECOND);
    ck_assert(join(CLASS_SEQUENCE, 6, 1, 501)); /* an ordinary one is found by the next fill */
    ck_assert_int_eq(l->reopens, 200 * SECOND);
}
END_TEST

START_TEST(a_purge_leaves_the_others_and_the_horizon)
{
    int32_t gone = 1;

    fill(CLASS_CAMPAIGN, 100, SECOND, false);
    join(CLASS_CAMPAIGN, 5 * SECOND, 2, 7);
    join(CLASS_CAMPAIGN, 6 * SECOND, 2, 8);
    device_purge(device, CLASS_CAMPAIGN, skip_source, &gone);
    ck_assert_uint_eq(device->lists[CLASS_CAMPAIGN].count, 2);
    ck_assert_int_eq(device->lists[CLASS_CAMPAIGN].horizon, 99 * SECOND);
    ck_assert(device_remove(device, CLASS_CAMPAIGN, 2, 8));
    ck_assert(!device_remove(device, CLASS_CAMPAIGN, 2, 8));
    assert_sorted(CLASS_CAMPAIGN);
}
END_TEST

START_TEST(owned_texts_are_freed)
{
    device->account = strdup("main"); /* the sanitizers see what is left */
    device->scope = strdup("tok:1");
    device->address = strdup("1");
    device->base_url = strdup("u");
    device->paused_because = strdup("quota talks");
    device->sealed_token = malloc(64);
    fill(CLASS_DIRECT, 10, 1, true);
}
END_TEST

int
main(void)
{
    Suite *suite = suite_create("device");
    TCase *all = tcase_create("lists");
    SRunner *runner;
    int failed;

    tcase_add_checked_fixture(all, setup, teardown);
    tcase_add_test(all, nothing_is_known_at_first);
    tcase_add_test(all, horizon_of_a_fill);
    tcase_add_test(all, a_full_list_lowers_its_horizon);
    tcase_add_test(all, a_list_stays_small_while_many_join);
    tcase_add_test(all, equal_due_times_keep_their_order);
    tcase_add_test(all, random_joins_and_takes);
    tcase_add_test(all, entries_of_a_paused_source_are_skipped);
    tcase_add_test(all, next_is_the_earliest_of_all_classes);
    tcase_add_test(all, weights);
    tcase_add_test(all, a_class_alone_gets_every_turn);
    tcase_add_loop_test(all, no_class_waits_longer_than_promised, 0, 10);
    tcase_add_test(all, one_by_one);
    tcase_add_test(all, low);
    tcase_add_test(all, fill_size);
    tcase_add_test(all, a_fill_goes_on_behind_the_horizon);
    tcase_add_test(all, tomorrows_rows_need_no_fill_before_their_horizon_comes_near);
    tcase_add_test(all, a_held_row_lets_others_pass_and_comes_back);
    tcase_add_test(all, a_held_row_that_is_forgotten_is_read_again_when_it_is_due);
    tcase_add_test(all, a_purge_leaves_the_others_and_the_horizon);
    tcase_add_test(all, owned_texts_are_freed);
    suite_add_tcase(suite, all);
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed > 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
