/* The breaker: when it opens, how it probes, and what an outage costs at most. */
#include "node/breaker.h"

#include <check.h>
#include <stdlib.h>

#define S USEC_PER_SEC

static struct breaker breaker;
static struct rng rng;

static void
setup(void)
{
    rng_seed(&rng, 11);
    breaker_init(&breaker);
}

static void
outcome(enum breaker_news news, usec_t now)
{
    breaker_claimed(&breaker, now);
    breaker_ended(&breaker, news, now, 0, &rng);
}

static bool
may(usec_t now)
{
    usec_t opens = 12345;
    bool r = breaker_may(&breaker, now, &opens);

    ck_assert(r == (opens == 12345)); /* untouched when it may, given when not */
    return r;
}

static usec_t
opens(usec_t now)
{
    usec_t at = 0;

    ck_assert(!breaker_may(&breaker, now, &at));
    return at;
}

START_TEST(five_in_a_row)
{
    for (int i = 0; i < 4; i++)
        outcome(BREAKER_DOUBT, S);
    outcome(BREAKER_GOOD, S);
    for (int i = 0; i < 4; i++) {
        outcome(BREAKER_DOUBT, S);
        ck_assert(may(S));
    }
    outcome(BREAKER_DOUBT, S);
    ck_assert(!may(S));
    ck_assert_int_eq(breaker.state, BREAKER_OPEN);
}
END_TEST

/* One doubt in every five, never two in a row. */
START_TEST(a_fifth_of_the_last_fifty)
{
    int sends = 0;

    while (may(S)) {
        outcome(sends % 5 == 4 ? BREAKER_DOUBT : BREAKER_GOOD, S);
        ck_assert_int_le(++sends, 50);
    }
    ck_assert_int_eq(sends, 50);
}
END_TEST

START_TEST(less_than_a_fifth_never_opens)
{
    for (int i = 0; i < 5000; i++) {
        outcome(i % 6 == 5 ? BREAKER_DOUBT : BREAKER_GOOD, S);
        ck_assert(may(S));
        ck_assert_uint_le(breaker.window_doubts, 9);
    }
}
END_TEST

START_TEST(probes_back_off_to_five_minutes)
{
    usec_t now = S, base = S;

    for (int i = 0; i < 5; i++)
        outcome(BREAKER_DOUBT, now);
    for (int probe = 0; probe < 20; probe++) {
        usec_t next = opens(now);

        ck_assert_uint_ge(next, now + base);
        ck_assert_uint_le(next, now + base + base / 4);
        now = next;
        ck_assert(!may(now - 1));
        ck_assert(may(now));
        breaker_claimed(&breaker, now);
        ck_assert_int_eq(breaker.state, BREAKER_PROBING);
        ck_assert_uint_eq(opens(now + 1000 * S), USEC_INFINITY); /* one at a time */
        breaker_ended(&breaker, BREAKER_DOUBT, now, 0, &rng);
        base = MIN_OF(base * 2, 300 * S);
    }
    breaker_claimed(&breaker, now + 400 * S);
    breaker_ended(&breaker, BREAKER_GOOD, now + 400 * S, 0, &rng);
    ck_assert_int_eq(breaker.state, BREAKER_CLOSED);
    ck_assert_uint_eq(breaker.wait, S); /* the next outage starts anew */
    ck_assert_uint_eq(breaker.window_doubts, 0);
}
END_TEST

START_TEST(an_unsent_probe_tells_nothing)
{
    for (int i = 0; i < 5; i++)
        outcome(BREAKER_DOUBT, S);
    breaker_claimed(&breaker, 10 * S);
    breaker_unclaimed(&breaker);
    ck_assert_int_eq(breaker.state, BREAKER_OPEN);
    ck_assert(may(10 * S));
    ck_assert_uint_eq(breaker.in_flight, 0);
}
END_TEST

START_TEST(hold_until)
{
    usec_t until = 60 * S;

    breaker_claimed(&breaker, S);
    breaker_claimed(&breaker, S);
    breaker_claimed(&breaker, S);
    breaker_ended(&breaker, BREAKER_HOLD, S, until, &rng);
    ck_assert_uint_eq(opens(S), USEC_INFINITY); /* two are still in flight */
    breaker_ended(&breaker, BREAKER_GOOD, 2 * S, 0, &rng);
    ck_assert_int_eq(breaker.state, BREAKER_OPEN); /* an older answer opens nothing */
    breaker_ended(&breaker, BREAKER_HOLD, 2 * S, until + S, &rng);
    ck_assert_uint_eq(opens(3 * S), until + S);
    breaker_claimed(&breaker, until + S); /* one probe */
    ck_assert_uint_eq(opens(until + S), USEC_INFINITY);
    breaker_ended(&breaker, BREAKER_HOLD, until + S, until + 2 * S, &rng);
    ck_assert_uint_ge(opens(until + 2 * S), until + 3 * S); /* backs off beyond a short hold */
}
END_TEST

START_TEST(hold_without_time_backs_off)
{
    breaker_claimed(&breaker, S);
    breaker_ended(&breaker, BREAKER_HOLD, S, 0, &rng);
    ck_assert_uint_ge(opens(S), 2 * S);
    breaker_init(&breaker);
    breaker_claimed(&breaker, S);
    breaker_ended(&breaker, BREAKER_HOLD, S, USEC_INFINITY, &rng); /* by an event only */
    ck_assert_uint_eq(opens(1000000 * S), USEC_INFINITY);
}
END_TEST

/*
 * Property: devices send through one breaker; at a random moment the provider stops answering and
 * at another it comes back. Requests take 10 ms when it is well, the time-out of 20 s when not.
 */
#define DEVICES 300
#define TIMEOUT (20 * S)

struct request {
    bool active, will_doubt;
    usec_t ends;
};

static void
end_requests(struct request *requests, usec_t now, unsigned *doubts)
{
    for (int i = 0; i < DEVICES; i++) {
        struct request *r = &requests[i];

        if (!r->active || r->ends > now)
            continue;
        r->active = false;
        *doubts += r->will_doubt;
        breaker_ended(&breaker, r->will_doubt ? BREAKER_DOUBT : BREAKER_GOOD, now, 0, &rng);
    }
}

START_TEST(an_outage_costs_what_was_in_flight_and_the_probes)
{
    struct request requests[DEVICES] = {0};
    usec_t start = rng_between(&rng, 5, 15) * S, length, now = 0;
    unsigned doubts = 0, at_start = 0, probes = 0, before_opening = 0, sent_after = 0;
    bool counted = false;

    rng_seed(&rng, (uint64_t) _i);
    length = rng_between(&rng, 10, 900) * S;
    start = rng_between(&rng, 5, 15) * S;
    for (; now < start + length + 700 * S; now += 50 * USEC_PER_MSEC) {
        bool down = now >= start && now < start + length;

        end_requests(requests, now, &doubts);
        if (down && !counted) {
            at_start = breaker.in_flight;
            counted = true;
        }
        for (int n = 0; n < 15 && may(now); n++) {
            struct request *r = &requests[rng_between(&rng, 0, DEVICES - 1)];

            if (r->active)
                continue;
            if (breaker.state == BREAKER_OPEN)
                probes += down;
            else
                before_opening += down;
            breaker_claimed(&breaker, now);
            *r = (struct request){true, down, now + (down ? TIMEOUT : 10 * USEC_PER_MSEC)};
            sent_after += now >= start + length;
        }
    }
    end_requests(requests, USEC_INFINITY, &doubts);
    ck_assert(counted);
    ck_assert_uint_eq(breaker.in_flight, 0);
    /* What was claimed before the first doubts came back counts as in flight at the opening. */
    ck_assert_uint_le(before_opening, DEVICES);
    ck_assert_uint_le(doubts, at_start + before_opening + probes);
    /* 20 s for each probe, waits doubling to 300 s: few, however long the outage. */
    ck_assert_uint_le(probes, 10);
    ck_assert_int_eq(breaker.state, BREAKER_CLOSED);
    ck_assert_uint_gt(sent_after, 100);
}
END_TEST

/* 500 devices share one revoked token and answers come at once: one send and then probes. */
START_TEST(a_revoked_token_costs_one_probe)
{
    unsigned sends = 0;

    for (usec_t now = S; now < 60 * S; now += 20 * USEC_PER_MSEC)
        for (int device = 0; device < 500 && may(now); device++) {
            breaker_claimed(&breaker, now);
            breaker_ended(&breaker, BREAKER_HOLD, now, now + 60 * S, &rng);
            sends++;
        }
    ck_assert_uint_eq(sends, 1);
}
END_TEST

START_TEST(names)
{
    ck_assert_str_eq(breaker_state_name(BREAKER_CLOSED), "closed");
    ck_assert_str_eq(breaker_state_name(BREAKER_OPEN), "open");
    ck_assert_str_eq(breaker_state_name(BREAKER_PROBING), "probing");
    ck_assert_str_eq(breaker_state_name((enum breaker_state) 9), "?");
}
END_TEST

int
main(void)
{
    Suite *suite = suite_create("breaker");
    TCase *all = tcase_create("states");
    SRunner *runner;
    int failed;

    tcase_add_checked_fixture(all, setup, NULL);
    tcase_add_test(all, five_in_a_row);
    tcase_add_test(all, a_fifth_of_the_last_fifty);
    tcase_add_test(all, less_than_a_fifth_never_opens);
    tcase_add_test(all, probes_back_off_to_five_minutes);
    tcase_add_test(all, an_unsent_probe_tells_nothing);
    tcase_add_test(all, hold_until);
    tcase_add_test(all, hold_without_time_backs_off);
    tcase_add_loop_test(all, an_outage_costs_what_was_in_flight_and_the_probes, 0, 40);
    tcase_add_test(all, a_revoked_token_costs_one_probe);
    tcase_add_test(all, names);
    suite_add_tcase(suite, all);
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed > 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
