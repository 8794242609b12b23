/* Dealing device IDs: nothing lost, nothing twice, nothing moved, and as even as devices allow. */
#include "coordinator/place.h"

#include <check.h>
#include <errno.h>
#include <stdlib.h>

#include "shared/rng.h"

static struct place_partition
open_with(uint32_t weight, uint64_t devices)
{
    return (struct place_partition){.open = true, .weight = weight, .devices = devices};
}

START_TEST(runs_that_are_no_runs)
{
    struct run empty = {5, 4}, zero = {0, 3}, negative = {-2, 3};
    struct run overlap[] = {{1, 10}, {10, 12}}, unsorted[] = {{20, 30}, {1, 2}};
    struct run good[] = {{1, 10}, {11, 12}, {DEVICE_ID_MAX, DEVICE_ID_MAX}};
    ck_assert(!place_runs_valid(&empty, 1));
    ck_assert(!place_runs_valid(&zero, 1));
    ck_assert(!place_runs_valid(&negative, 1));
    ck_assert(!place_runs_valid(overlap, 2));
    ck_assert(!place_runs_valid(unsorted, 2));
    ck_assert(place_runs_valid(good, 3));
    ck_assert(place_runs_valid(NULL, 0));
}
END_TEST

START_TEST(nobody_open)
{
    struct place_partition p[] = {{.open = false, .weight = 1}, {.open = true, .weight = 0}};
    struct rangemap map = {0};
    struct place_result r = {.placed = 77};
    struct run run = {1, 10};
    ck_assert_int_eq(place_deal(&r, &map, p, 2, &run, 1), -EAGAIN);
    ck_assert_int_eq(place_deal(&r, &map, p, 0, &run, 1), -EAGAIN);
    ck_assert_uint_eq(r.placed, 77);
    /* what is known needs nobody */
    ck_assert_int_eq(rangemap_put(&map, (struct range){1, 10, 0}), 0);
    ck_assert_int_eq(place_deal(&r, &map, p, 2, &run, 1), 0);
    ck_assert_uint_eq(r.placed, 0);
    ck_assert_uint_eq(r.known, 10);
    rangemap_done(&r.map);
    rangemap_done(&map);
}
END_TEST

START_TEST(too_many_ranges)
{
    /* every second id is a range of its own */
    uint32_t count = RANGES_MAX + 1;
    struct run *runs = calloc(count, sizeof *runs);
    for (uint32_t i = 0; i < count; i++)
        runs[i] = (struct run){(int32_t) (2 * i + 1), (int32_t) (2 * i + 1)};
    struct place_partition p = open_with(1, 0);
    struct rangemap map = {0};
    struct place_result r;
    ck_assert_int_eq(place_deal(&r, &map, &p, 1, runs, count), -E2BIG);
    ck_assert_int_eq(place_deal(&r, &map, &p, 1, runs, count - 1), 0);
    rangemap_done(&r.map);
    free(runs);
}
END_TEST

static void
check_range(const struct rangemap *m, uint32_t i, int32_t first, int32_t last, uint16_t partition)
{
    ck_assert_uint_lt(i, m->count);
    ck_assert_int_eq(m->ranges[i].first, first);
    ck_assert_int_eq(m->ranges[i].last, last);
    ck_assert_uint_eq(m->ranges[i].partition, partition);
}

START_TEST(ninety_on_three)
{
    struct place_partition p[] = {open_with(1, 0), open_with(1, 0), open_with(1, 0)};
    struct rangemap map = {0};
    struct place_result r;
    struct run run = {1, 90};
    ck_assert_int_eq(place_deal(&r, &map, p, 3, &run, 1), 0);
    ck_assert_uint_eq(r.map.count, 3);
    check_range(&r.map, 0, 1, 30, 0);
    check_range(&r.map, 1, 31, 60, 1);
    check_range(&r.map, 2, 61, 90, 2);
    ck_assert_uint_eq(r.placed, 90);
    ck_assert_uint_eq(r.known, 0);
    rangemap_done(&r.map);
}
END_TEST

START_TEST(more_behind_makes_the_last_range_longer)
{
    struct place_partition p[] = {open_with(1, 30), open_with(1, 30), open_with(1, 30)};
    struct rangemap map = {0};
    ck_assert_int_eq(rangemap_put(&map, (struct range){1, 30, 0}), 0);
    ck_assert_int_eq(rangemap_put(&map, (struct range){31, 60, 1}), 0);
    ck_assert_int_eq(rangemap_put(&map, (struct range){61, 90, 2}), 0);
    struct place_result r;
    struct run run = {1, 180};
    ck_assert_int_eq(place_deal(&r, &map, p, 3, &run, 1), 0);
    ck_assert_uint_eq(r.map.count, 5);
    check_range(&r.map, 2, 61, 120, 2);
    check_range(&r.map, 3, 121, 150, 0);
    check_range(&r.map, 4, 151, 180, 1);
    ck_assert_uint_eq(r.placed, 90);
    ck_assert_uint_eq(r.known, 90);
    rangemap_done(&r.map);
    rangemap_done(&map);
}
END_TEST

START_TEST(the_empty_one_catches_up)
{
    struct place_partition p[] = {open_with(1, 100), open_with(1, 0), open_with(2, 0)};
    struct rangemap map = {0};
    ck_assert_int_eq(rangemap_put(&map, (struct range){1, 100, 0}), 0);
    struct place_result r;
    struct run run = {201, 260};
    ck_assert_int_eq(place_deal(&r, &map, p, 3, &run, 1), 0);
    ck_assert_uint_eq(rangemap_devices(&r.map, 0), 100);
    ck_assert_uint_eq(rangemap_devices(&r.map, 1), 20);
    ck_assert_uint_eq(rangemap_devices(&r.map, 2), 40);
    rangemap_done(&r.map);
    rangemap_done(&map);
}
END_TEST

START_TEST(the_largest_id)
{
    struct place_partition p = open_with(1, 0);
    struct rangemap map = {0};
    struct place_result r;
    struct run run = {DEVICE_ID_MAX - 1, DEVICE_ID_MAX};
    ck_assert_int_eq(place_deal(&r, &map, &p, 1, &run, 1), 0);
    check_range(&r.map, 0, DEVICE_ID_MAX - 1, DEVICE_ID_MAX, 0);
    rangemap_done(&r.map);
}
END_TEST

/* ---- properties, from a seed ---- */

struct world {
    struct place_partition p[8];
    uint32_t partition_count;
    struct rangemap map;
    struct run runs[64];
    uint32_t run_count;
};

static void
make_world(struct world *w, struct rng *rng, bool empty, int32_t run_max)
{
    *w = (struct world){.partition_count = (uint32_t) rng_between(rng, 1, 8)};
    for (uint32_t i = 0; i < w->partition_count; i++)
        w->p[i] = (struct place_partition){.open = i == 0 || rng_between(rng, 0, 4) > 0,
                                           .weight = (uint32_t) rng_between(rng, 1, 5)};
    int64_t at = 1;
    for (int i = 0; !empty && i < 20; i++) {
        at += (int64_t) rng_between(rng, 1, 40);
        int64_t last = at + (int64_t) rng_between(rng, 0, 60);
        uint16_t partition = (uint16_t) rng_between(rng, 0, w->partition_count - 1);
        ck_assert_int_eq(rangemap_put(&w->map,
                                      (struct range){(int32_t) at, (int32_t) last, partition}),
                         0);
        w->p[partition].devices += (uint64_t) (last - at) + 1;
        at = last + 1;
    }
    at = 1;
    for (w->run_count = 0; w->run_count < rng_between(rng, 1, 64) && w->run_count < 64;) {
        at += (int64_t) rng_between(rng, 0, 30);
        int64_t last = at + (int64_t) rng_between(rng, 0, (uint64_t) run_max);
        w->runs[w->run_count++] = (struct run){(int32_t) at, (int32_t) last};
        at = last + 1;
    }
}

static void
check_all_in_one_range(const struct world *w, const struct place_result *r)
{
    uint32_t at;
    ck_assert_int_eq(rangemap_check(&r->map, w->partition_count, &at), 0);
    uint64_t fresh = 0, known = 0;
    for (uint32_t i = 0; i < w->run_count; i++) {
        for (int64_t id = w->runs[i].first; id <= w->runs[i].last; id++) {
            const struct range *old = rangemap_find(&w->map, (int32_t) id);
            const struct range *now = rangemap_find(&r->map, (int32_t) id);
            ck_assert_ptr_nonnull(now);
            *(old ? &known : &fresh) += 1;
            if (old)
                ck_assert_uint_eq(old->partition, now->partition);
            else
                ck_assert(w->p[now->partition].open);
        }
    }
    ck_assert_uint_eq(r->placed, fresh);
    ck_assert_uint_eq(r->known, known);
    uint64_t before = 0, after = 0;
    for (uint16_t i = 0; i < w->partition_count; i++) {
        before += rangemap_devices(&w->map, i);
        after += rangemap_devices(&r->map, i);
    }
    ck_assert_uint_eq(after, before + fresh);
}

/* The level of nobody who got something may lie more than one device above the level of another. */
static void
check_even(const struct world *w, const struct place_result *r)
{
    for (uint16_t i = 0; i < w->partition_count; i++) {
        uint64_t mine = rangemap_devices(&r->map, i);
        if (mine == w->p[i].devices)
            continue; /* got nothing: it may have been too full before */
        for (uint16_t j = 0; j < w->partition_count; j++) {
            uint64_t other = rangemap_devices(&r->map, j);
            if (w->p[j].open)
                ck_assert_msg((mine - 1) * w->p[j].weight <= (other + 1) * w->p[i].weight,
                              "%u holds %llu at weight %u, %u holds %llu at weight %u", i,
                              (unsigned long long) mine, w->p[i].weight, j,
                              (unsigned long long) other, w->p[j].weight);
        }
    }
}

START_TEST(random_worlds)
{
    struct rng rng;
    rng_seed(&rng, (uint64_t) _i);
    struct world w;
    make_world(&w, &rng, _i % 3 == 0, _i % 2 == 0 ? 3 : 300);
    struct place_result r, again;
    ck_assert_int_eq(place_deal(&r, &w.map, w.p, w.partition_count, w.runs, w.run_count), 0);
    check_all_in_one_range(&w, &r);
    check_even(&w, &r);
    /* few ranges: a run is cut only where a partition is full or an old range lies in it */
    ck_assert_uint_le(r.map.count, 2 * w.map.count + w.run_count + w.partition_count - 1);
    /* deterministic, and asked again all is known */
    ck_assert_int_eq(place_deal(&again, &w.map, w.p, w.partition_count, w.runs, w.run_count), 0);
    ck_assert_uint_eq(again.map.count, r.map.count);
    for (uint32_t i = 0; i < r.map.count; i++)
        check_range(&again.map, i, r.map.ranges[i].first, r.map.ranges[i].last,
                    r.map.ranges[i].partition);
    rangemap_done(&again.map);
    ck_assert_int_eq(place_deal(&again, &r.map, w.p, w.partition_count, w.runs, w.run_count), 0);
    ck_assert_uint_eq(again.placed, 0);
    ck_assert_uint_eq(again.known, r.placed + r.known);
    rangemap_done(&again.map);
    rangemap_done(&r.map);
    rangemap_done(&w.map);
}
END_TEST

int
main(void)
{
    Suite *s = suite_create("place");
    TCase *t = tcase_create("place");
    tcase_add_test(t, runs_that_are_no_runs);
    tcase_add_test(t, nobody_open);
    tcase_add_test(t, too_many_ranges);
    tcase_add_test(t, ninety_on_three);
    tcase_add_test(t, more_behind_makes_the_last_range_longer);
    tcase_add_test(t, the_empty_one_catches_up);
    tcase_add_test(t, the_largest_id);
    tcase_add_loop_test(t, random_worlds, 0, 300);
    suite_add_tcase(s, t);
    SRunner *sr = srunner_create(s);
    srunner_run_all(sr, CK_NORMAL);
    int failed = srunner_ntests_failed(sr);
    srunner_free(sr);
    return failed == 0 ? 0 : 1;
}
