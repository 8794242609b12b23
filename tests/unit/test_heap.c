/* heap: against a plain array through thousands of random steps. */
#include "shared/heap.h"

#include <check.h>
#include <signal.h>

#include "shared/rng.h"

#define COUNT 300u

static struct heap_item items[COUNT];

static void
fresh(struct heap *h, uint32_t capacity)
{
    ck_assert_int_eq(heap_init(h, capacity), 0);
    for (unsigned i = 0; i < COUNT; i++)
        items[i] = (struct heap_item){.index = HEAP_ABSENT};
}

static void
check_order(const struct heap *h)
{
    for (uint32_t i = 0; i < h->count; i++) {
        ck_assert_uint_eq(h->items[i]->index, i);
        if (i)
            ck_assert_uint_le(h->items[(i - 1) / 2]->key, h->items[i]->key);
    }
}

START_TEST(empty)
{
    struct heap h;
    fresh(&h, 0);
    ck_assert_ptr_null(heap_top(&h));
    heap_remove(&h, &items[0]);
    ck_assert_uint_eq(items[0].index, HEAP_ABSENT);
    heap_done(&h);
    ck_assert_ptr_null(h.items);
    heap_done(&h);
}
END_TEST

START_TEST(more_than_capacity_is_a_bug)
{
    struct heap h;
    fresh(&h, 1);
    heap_put(&h, &items[0], 1);
    heap_put(&h, &items[1], 2); /* aborts */
}
END_TEST

START_TEST(item_of_another_heap_is_a_bug)
{
    struct heap h, other;
    fresh(&h, 2);
    ck_assert_int_eq(heap_init(&other, 2), 0);
    heap_put(&h, &items[0], 1);
    heap_put(&other, &items[1], 1);
    heap_remove(&h, &items[1]); /* aborts */
}
END_TEST

START_TEST(reserve_keeps_items)
{
    struct heap h;
    fresh(&h, 2);
    heap_put(&h, &items[0], 9);
    heap_put(&h, &items[1], 3);
    ck_assert_int_eq(heap_reserve(&h, COUNT), 0);
    ck_assert_int_eq(heap_reserve(&h, 1), 0); /* never shrinks */
    ck_assert_uint_eq(h.capacity, COUNT);
    for (unsigned i = 2; i < COUNT; i++)
        heap_put(&h, &items[i], COUNT - i);
    check_order(&h);
    ck_assert_ptr_eq(heap_top(&h), &items[COUNT - 1]);
    heap_done(&h);
}
END_TEST

START_TEST(put_again_moves)
{
    struct heap h;
    fresh(&h, 3);
    heap_put(&h, &items[0], 10);
    heap_put(&h, &items[1], 20);
    heap_put(&h, &items[2], 30);
    heap_put(&h, &items[0], 25);
    ck_assert_ptr_eq(heap_top(&h), &items[1]);
    heap_put(&h, &items[2], 1);
    ck_assert_ptr_eq(heap_top(&h), &items[2]);
    ck_assert_uint_eq(h.count, 3);
    heap_put(&h, &items[2], USEC_INFINITY);
    heap_remove(&h, &items[1]);
    ck_assert_ptr_eq(heap_top(&h), &items[0]);
    heap_done(&h);
}
END_TEST

/* Removing `10` puts `3` into another branch, where it belongs higher, not lower. */
START_TEST(removal_may_move_the_last_item_up)
{
    static const usec_t keys[] = {1, 9, 2, 10, 11, 3, 4, 12, 13, 14, 15, 5};
    struct heap h;
    fresh(&h, COUNT);
    for (unsigned i = 0; i < ARRAY_SIZE(keys); i++)
        heap_put(&h, &items[i], keys[i]);
    heap_remove(&h, &items[7]);
    check_order(&h);
    heap_done(&h);
}
END_TEST

static struct heap_item *
least(void)
{
    struct heap_item *found = NULL;
    for (unsigned i = 0; i < COUNT; i++) {
        if (items[i].index != HEAP_ABSENT && (!found || items[i].key < found->key))
            found = &items[i];
    }
    return found;
}

START_TEST(random_steps)
{
    struct heap h;
    struct rng r;
    fresh(&h, COUNT);
    rng_seed(&r, 4711);
    for (unsigned step = 0; step < 20000; step++) {
        struct heap_item *item = &items[rng_between(&r, 0, COUNT - 1)];
        uint64_t what = rng_between(&r, 0, 9);
        if (what < 6)
            heap_put(&h, item, rng_between(&r, 0, 500));
        else
            heap_remove(&h, what < 8 || !h.count ? item : heap_top(&h));
        const struct heap_item *top = heap_top(&h), *expect = least();
        ck_assert_int_eq(top == NULL, expect == NULL);
        if (top)
            ck_assert_uint_eq(top->key, expect->key);
        if (step % 100 == 0)
            check_order(&h);
    }
    usec_t last = 0;
    for (struct heap_item *top; (top = heap_top(&h));) {
        ck_assert_uint_ge(top->key, last);
        last = top->key;
        heap_remove(&h, top);
        ck_assert_uint_eq(top->index, HEAP_ABSENT);
    }
    heap_done(&h);
}
END_TEST

int
main(void)
{
    Suite *s = suite_create("heap");
    TCase *t = tcase_create("heap");
    tcase_add_test_raise_signal(t, more_than_capacity_is_a_bug, SIGABRT);
    tcase_add_test_raise_signal(t, item_of_another_heap_is_a_bug, SIGABRT);
    tcase_add_test(t, empty);
    tcase_add_test(t, reserve_keeps_items);
    tcase_add_test(t, put_again_moves);
    tcase_add_test(t, removal_may_move_the_last_item_up);
    tcase_add_test(t, random_steps);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? 1 : 0;
}
