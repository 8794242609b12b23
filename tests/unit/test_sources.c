/* sources: what an apply and an order may do to sequences, schedules and pauses, and in which
 * order. */
#include "coordinator/sources.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

static struct sources *s;
static struct sources_change change;
static char why[REASON_BYTES_MAX + 1];

static void
up(void)
{
    s = sources_new();
    why[0] = '\0';
}

static void
down(void)
{
    sources_change_done(&change);
    s = sources_free(s);
}

static struct slice
slice_of(const char *text)
{
    return (struct slice){text, strlen(text)};
}

static void
commit(void)
{
    int64_t started[CONTENT_ITEMS_MAX] = {0};
    sources_commit(s, &change, started);
}

static enum message_status
judge(uint8_t mode, unsigned count, const char *const *items)
{
    struct slice slices[16];
    for (unsigned i = 0; i < count; i++)
        slices[i] = slice_of(items[i]);
    sources_change_done(&change);
    return sources_judge_apply(s,
                               &(struct apply){.item_count = count, .items = slices, .mode = mode},
                               &change, why, sizeof why);
}

#define APPLY(mode, ...)                                                                           \
    judge(mode, sizeof((const char *[]){__VA_ARGS__}) / sizeof(char *),                            \
          (const char *[]){__VA_ARGS__})
#define DONE(mode, ...)                                                                            \
    do {                                                                                           \
        ck_assert_msg(APPLY(mode, __VA_ARGS__) == STATUS_OK, "%s", why);                           \
        commit();                                                                                  \
    } while (0)
#define REFUSED(words, mode, ...)                                                                  \
    do {                                                                                           \
        ck_assert_int_eq(APPLY(mode, __VA_ARGS__), STATUS_REFUSED);                                \
        ck_assert_str_eq(why, words);                                                              \
    } while (0)

#define HELLO       "{\"kind\":\"template\",\"name\":\"hello\",\"text\":\"hi\"}"
#define STEPS(more) "\"steps\":[{\"step\":1,\"delay\":\"0\",\"template\":\"hello\"}" more "]"
#define STEP2       ",{\"step\":2,\"delay\":\"1d\",\"text\":\"still there?\"}"
#define SEQUENCE(name, fields, more)                                                               \
    "{\"kind\":\"sequence\",\"name\":\"" name "\"," fields STEPS(more) "}"
#define NEXT(next)    "\"next_sequence\":\"" next "\","
#define TRIGGER(word) "\"trigger\":\"" word "\","

static enum message_status
order(enum content_kind kind, const char *name, enum source_state state, int64_t now,
      int64_t start_at, int64_t until)
{
    const struct source_order o = {.name = slice_of(name),
                                   .state = (uint8_t) state,
                                   .because = slice_of("because"),
                                   .kind = (uint8_t) kind,
                                   .start_at = start_at,
                                   .until = until};
    sources_change_done(&change);
    enum message_status status = sources_judge_order(s, &o, now, &change, why, sizeof why);
    if (status == STATUS_OK)
        commit();
    return status;
}

static const struct content_row *
row(enum content_kind kind, const char *name)
{
    const struct sources_item *item = sources_find(s, kind, name);
    ck_assert_ptr_nonnull(item);
    return &item->row;
}

START_TEST(what_is_named_must_exist)
{
    REFUSED("sequence \"cold\": step 1 names template \"hello\", which does not exist", 0,
            SEQUENCE("cold", "", ""));
    REFUSED("sequence \"cold\" names next_sequence \"warm\", which does not exist", 0, HELLO,
            SEQUENCE("cold", NEXT("warm"), ""));
    ck_assert_int_eq(APPLY(0, "{\"kind\":\"cluster\",\"name\":\"cluster\"}"), STATUS_BAD);
    ck_assert_uint_eq(s->count, 0);
}
END_TEST

START_TEST(circles_over_stored_and_new)
{
    DONE(0, HELLO, SEQUENCE("hot", "", ""), SEQUENCE("warm", NEXT("hot"), ""),
         SEQUENCE("cold", NEXT("warm"), ""));
    REFUSED("sequence \"hot\" goes in a circle: hot -> cold -> warm -> hot", 0,
            SEQUENCE("hot", NEXT("cold"), ""));
    REFUSED("sequence \"a\" goes in a circle: a -> b -> a", 0, SEQUENCE("a", NEXT("b"), ""),
            SEQUENCE("b", NEXT("a"), ""));
}
END_TEST

START_TEST(triggers_are_of_one_sequence)
{
    DONE(0, HELLO, SEQUENCE("cold", TRIGGER("GO"), ""));
    REFUSED("sequence \"warm\": trigger \"GO\" is that of sequence \"cold\"", 0,
            SEQUENCE("warm", TRIGGER("GO"), ""));
    DONE(0, SEQUENCE("warm", TRIGGER("GONE"), ""));
    ck_assert_int_eq(order(CONTENT_SEQUENCE, "cold", SOURCE_CANCELLED, 1, 0, 0), STATUS_OK);
    DONE(0, SEQUENCE("again", TRIGGER("GO"), "")); /* who is cancelled needs it no more */
    REFUSED("sequence \"x\" names next_sequence \"cold\", which is cancelled", 0,
            SEQUENCE("x", NEXT("cold"), ""));
}
END_TEST

START_TEST(a_file_may_come_again_after_a_cancel)
{
    const char *cold = SEQUENCE("cold", NEXT("warm") TRIGGER("GO"), "");
    const char *warm = SEQUENCE("warm", TRIGGER("ON"), "");
    DONE(0, HELLO, cold, warm);
    ck_assert_int_eq(order(CONTENT_SEQUENCE, "warm", SOURCE_CANCELLED, 1, 0, 0), STATUS_OK);
    ck_assert_int_eq(APPLY(0, HELLO, cold, warm), STATUS_OK);
    ck_assert_uint_eq(change.unchanged, 3);
    ck_assert_int_eq(APPLY(0, cold), STATUS_OK);
    DONE(0, cold, warm, SEQUENCE("other", TRIGGER("ON"), "")); /* warm needs it no more */
    REFUSED("sequence \"cold\" names next_sequence \"warm\", which is cancelled", 0, warm,
            SEQUENCE("cold", NEXT("warm") TRIGGER("GO"), STEP2));
    REFUSED("sequence \"warm\" is cancelled, which is for ever", APPLY_FOR_ALL,
            SEQUENCE("warm", TRIGGER("ON"), STEP2));
}
END_TEST

START_TEST(targets_get_lower_versions)
{
    DONE(0, SEQUENCE("cold", NEXT("warm"), ""), SEQUENCE("warm", NEXT("hot"), ""),
         SEQUENCE("hot", "", ""), HELLO);
    ck_assert_uint_eq(row(CONTENT_TEMPLATE, "hello")->version, 1);
    ck_assert_uint_eq(row(CONTENT_SEQUENCE, "hot")->version, 2);
    ck_assert_uint_eq(row(CONTENT_SEQUENCE, "warm")->version, 3);
    ck_assert_uint_eq(row(CONTENT_SEQUENCE, "cold")->version, 4);
    ck_assert_int_eq(row(CONTENT_SEQUENCE, "cold")->state, SOURCE_DRAFT);
    ck_assert_int_ne(row(CONTENT_SEQUENCE, "cold")->id, row(CONTENT_SEQUENCE, "hot")->id);
}
END_TEST

START_TEST(edits_make_revisions)
{
    DONE(0, HELLO, SEQUENCE("cold", TRIGGER("GO"), ""));
    DONE(0, SEQUENCE("cold", TRIGGER("GO2"), STEP2)); /* a draft changes freely */
    ck_assert_uint_eq(row(CONTENT_SEQUENCE, "cold")->revision, 1);
    ck_assert_int_eq(order(CONTENT_SEQUENCE, "cold", SOURCE_ACTIVE, 1, 0, 0), STATUS_OK);
    DONE(0, SEQUENCE("cold", TRIGGER("GO2"), STEP2)); /* nothing changed: nothing to say */
    ck_assert_uint_eq(row(CONTENT_SEQUENCE, "cold")->revision, 1);
    REFUSED("sequence \"cold\" is active: say --for new or --for all", 0,
            SEQUENCE("cold", TRIGGER("GO2"), ""));
    REFUSED("sequence \"cold\" is active: its trigger cannot be changed any more", 1,
            SEQUENCE("cold", TRIGGER("GO"), ""));
    REFUSED("sequence \"cold\" is active: its audience cannot be changed any more", 2,
            SEQUENCE("cold", TRIGGER("GO2") "\"audience\":{\"devices\":[\"1\"]},", STEP2));
    DONE(APPLY_FOR_NEW, SEQUENCE("cold", TRIGGER("GO2"), ""));
    ck_assert_uint_eq(row(CONTENT_SEQUENCE, "cold")->revision, 2);
    ck_assert_uint_eq(row(CONTENT_SEQUENCE, "cold")->all_revision, 0);
    ck_assert_int_eq(row(CONTENT_SEQUENCE, "cold")->state, SOURCE_ACTIVE);
    DONE(APPLY_FOR_ALL, SEQUENCE("cold", TRIGGER("GO2"), STEP2));
    ck_assert_uint_eq(row(CONTENT_SEQUENCE, "cold")->revision, 3);
    ck_assert_uint_eq(row(CONTENT_SEQUENCE, "cold")->all_revision, 3);
    DONE(APPLY_FOR_NEW, SEQUENCE("cold", TRIGGER("GO2"), ""));
    ck_assert_uint_eq(row(CONTENT_SEQUENCE, "cold")->all_revision, 3);
    ck_assert_int_eq(order(CONTENT_SEQUENCE, "cold", SOURCE_CANCELLED, 1, 0, 0), STATUS_OK);
    REFUSED("sequence \"cold\" is cancelled, which is for ever", APPLY_FOR_ALL,
            SEQUENCE("cold", TRIGGER("GO2"), STEP2));
}
END_TEST

START_TEST(a_start_in_the_future)
{
    DONE(0, HELLO, SEQUENCE("cold", "", ""));
    ck_assert_int_eq(order(CONTENT_SEQUENCE, "cold", SOURCE_ACTIVE, 100, 500, 0), STATUS_OK);
    ck_assert_int_eq(row(CONTENT_SEQUENCE, "cold")->state, SOURCE_DRAFT);
    ck_assert_int_eq(row(CONTENT_SEQUENCE, "cold")->start_at, 500);
    uint64_t version = s->version;
    ck_assert_int_eq(order(CONTENT_SEQUENCE, "cold", SOURCE_ACTIVE, 110, 500, 0), STATUS_OK);
    ck_assert_uint_eq(s->version, version); /* the same again is no change */
    ck_assert(!sources_judge_due(s, 499, &change));
    ck_assert(sources_judge_due(s, 500, &change));
    commit();
    ck_assert_int_eq(row(CONTENT_SEQUENCE, "cold")->state, SOURCE_ACTIVE);
    ck_assert_int_eq(row(CONTENT_SEQUENCE, "cold")->start_at, 0);
    ck_assert(!sources_judge_due(s, 10000, &change));
    ck_assert_int_eq(order(CONTENT_SEQUENCE, "cold", SOURCE_ACTIVE, 110, 500, 0), STATUS_REFUSED);
    ck_assert_str_eq(
        why, "sequence \"cold\": it was started already: only a first start can wait for its time");
    ck_assert_int_eq(order(CONTENT_SEQUENCE, "cold", SOURCE_ACTIVE, 600, 500, 0), STATUS_OK);

    DONE(0, SEQUENCE("warm", "", ""));
    ck_assert_int_eq(order(CONTENT_SEQUENCE, "warm", SOURCE_ACTIVE, 100, 500, 0), STATUS_OK);
    DONE(0, SEQUENCE("warm", TRIGGER("GO"), "")); /* still a draft, still scheduled */
    ck_assert_int_eq(row(CONTENT_SEQUENCE, "warm")->start_at, 500);
    ck_assert_int_eq(order(CONTENT_SEQUENCE, "warm", SOURCE_ACTIVE, 100, 0, 0), STATUS_OK);
    ck_assert_int_eq(row(CONTENT_SEQUENCE, "warm")->state, SOURCE_ACTIVE); /* now, after all */
    ck_assert_int_eq(row(CONTENT_SEQUENCE, "warm")->start_at, 0);

    DONE(0, "{\"kind\":\"campaign\",\"name\":\"spring\",\"template\":\"hello\"}");
    ck_assert_int_eq(order(0, "spring", SOURCE_ACTIVE, 100, 500, 0), STATUS_OK);
    ck_assert_int_eq(row(CONTENT_CAMPAIGN, "spring")->state, SOURCE_DRAFT);
    ck_assert(sources_judge_due(s, 500, &change));
    commit();
    ck_assert_int_eq(row(CONTENT_CAMPAIGN, "spring")->state, SOURCE_ACTIVE);
}
END_TEST

START_TEST(a_start_that_is_taken_back)
{
    DONE(0, HELLO, SEQUENCE("warm", "", ""));
    ck_assert_int_eq(order(CONTENT_SEQUENCE, "warm", SOURCE_ACTIVE, 100, 500, 0), STATUS_OK);
    ck_assert_int_eq(order(CONTENT_SEQUENCE, "warm", SOURCE_ACTIVE, 100, 900, 0), STATUS_OK);
    ck_assert(!sources_judge_due(s, 600, &change));
    ck_assert_int_eq(order(CONTENT_SEQUENCE, "warm", SOURCE_PAUSED, 100, 0, 0), STATUS_REFUSED);
    ck_assert_int_eq(order(CONTENT_SEQUENCE, "warm", SOURCE_CANCELLED, 100, 0, 0), STATUS_OK);
    ck_assert(!sources_judge_due(s, 1000, &change));
}
END_TEST

START_TEST(a_pause_with_an_end)
{
    DONE(0, HELLO, SEQUENCE("cold", "", ""));
    ck_assert_int_eq(order(CONTENT_SEQUENCE, "cold", SOURCE_ACTIVE, 1, 0, 0), STATUS_OK);
    ck_assert_int_eq(order(CONTENT_SEQUENCE, "cold", SOURCE_PAUSED, 100, 0, 100), STATUS_REFUSED);
    ck_assert_str_eq(why, "sequence \"cold\": the pause would be over before it begins");
    ck_assert_int_eq(order(CONTENT_SEQUENCE, "cold", SOURCE_PAUSED, 100, 0, 200), STATUS_OK);
    ck_assert_mem_eq(row(CONTENT_SEQUENCE, "cold")->because.data, "because", 7);
    ck_assert_int_eq(order(CONTENT_SEQUENCE, "cold", SOURCE_PAUSED, 100, 0, 300), STATUS_OK);
    ck_assert(!sources_judge_due(s, 250, &change));
    ck_assert(sources_judge_due(s, 300, &change));
    commit();
    ck_assert_int_eq(row(CONTENT_SEQUENCE, "cold")->state, SOURCE_ACTIVE);
    ck_assert_mem_eq(row(CONTENT_SEQUENCE, "cold")->because.data, "its time came", 13);
    ck_assert_int_eq(order(CONTENT_SEQUENCE, "cold", SOURCE_PAUSED, 400, 0, 0), STATUS_OK);
    ck_assert(!sources_judge_due(s, INT64_MAX, &change)); /* without an end: by an order only */
}
END_TEST

/* Each order in each state, of a sequence: done, the same again, or refused with its reason; and
 * the table that the program prints says just that. */
START_TEST(every_order_in_every_state)
{
    static const char *const expected[4][3] = {
        [SOURCE_DRAFT] = {"", "sequence \"cold\" was not started yet: there is nothing to pause",
                          ""},
        [SOURCE_ACTIVE] = {NULL, "", ""},
        [SOURCE_PAUSED] = {"", NULL, ""},
        [SOURCE_CANCELLED] = {"sequence \"cold\" is cancelled, which is for ever",
                              "sequence \"cold\" is cancelled, which is for ever", NULL}};
    static const char cold[] = SEQUENCE("cold", "", "");
    for (uint8_t from = 0; from < 4; from++) {
        for (uint8_t to = SOURCE_ACTIVE; to <= SOURCE_CANCELLED; to++) {
            struct sources_record stored = {slice_of("cold"),
                                            {.version = 1,
                                             .kind = CONTENT_SEQUENCE,
                                             .id = 1,
                                             .state = from,
                                             .revision = 4,
                                             .json = slice_of(cold)}};
            ck_assert_int_eq(sources_restore(s, 1, &stored, 1), 0);
            const char *want = expected[from][to];
            bool refused = want && *want, in_table = false;
            struct transition row_;
            for (unsigned i = 0; source_transition(i, &row_); i++)
                in_table |= from != to && strcmp(row_.from, source_state_name(from)) == 0 &&
                            strcmp(row_.to, source_state_name(to)) == 0;
            ck_assert_int_eq(in_table, want && !*want);
            ck_assert_int_eq(order(CONTENT_SEQUENCE, "cold", to, 1, 0, 0),
                             refused ? STATUS_REFUSED : STATUS_OK);
            ck_assert_str_eq(why, refused ? want : "");
            why[0] = '\0';
            ck_assert_int_eq(row(CONTENT_SEQUENCE, "cold")->state, refused ? from : to);
            ck_assert_uint_eq(s->version, want && !*want ? 2 : 1);
            ck_assert_uint_eq(row(CONTENT_SEQUENCE, "cold")->revision, 4);
        }
    }
}
END_TEST

START_TEST(the_cluster_is_a_scope)
{
    ck_assert_int_eq(order(CONTENT_CLUSTER, "", SOURCE_ACTIVE, 1, 0, 0), STATUS_OK);
    ck_assert_uint_eq(s->count, 0); /* it was not paused: nothing to write */
    ck_assert_int_eq(order(CONTENT_CLUSTER, "", SOURCE_CANCELLED, 1, 0, 0), STATUS_REFUSED);
    ck_assert_int_eq(order(CONTENT_CLUSTER, "", SOURCE_PAUSED, 1, 0, 0), STATUS_OK);
    ck_assert_int_eq(row(CONTENT_CLUSTER, "cluster")->id, CONTENT_CLUSTER_ID);
    ck_assert_int_eq(row(CONTENT_CLUSTER, "cluster")->state, SOURCE_PAUSED);
    struct content_item item;
    ck_assert_int_eq(content_item_read(&item, row(CONTENT_CLUSTER, "cluster")->json, why,
                                       sizeof why),
                     0);
    ck_assert_int_eq(item.kind, CONTENT_CLUSTER);
    ck_assert_int_eq(order(CONTENT_CLUSTER, "", SOURCE_CANCELLED, 1, 0, 0), STATUS_REFUSED);
    ck_assert_int_eq(order(CONTENT_CLUSTER, "", SOURCE_ACTIVE, 1, 0, 0), STATUS_OK);
    DONE(0, HELLO, SEQUENCE("cold", "", ""));
    ck_assert_int_eq(row(CONTENT_SEQUENCE, "cold")->id, 1); /* its id is not counted */
}
END_TEST

START_TEST(what_was_committed_comes_back)
{
    DONE(0, HELLO, SEQUENCE("cold", "", ""));
    ck_assert_int_eq(order(CONTENT_SEQUENCE, "cold", SOURCE_ACTIVE, 1, 9, 0), STATUS_OK);
    ck_assert_int_eq(order(CONTENT_CLUSTER, "", SOURCE_PAUSED, 1, 0, 7), STATUS_OK);
    struct sources_record rows[3];
    for (uint32_t i = 0; i < s->count; i++)
        rows[i] = (struct sources_record){slice_of(s->items[i]->name), s->items[i]->row};
    struct sources *again = sources_new();
    ck_assert_int_eq(sources_restore(again, s->version, rows, s->count), 0);
    struct sources *old = s;
    s = again;
    ck_assert_int_eq(row(CONTENT_SEQUENCE, "cold")->start_at, 9);
    ck_assert_int_eq(row(CONTENT_CLUSTER, "cluster")->until, 7);
    ck_assert_mem_eq(row(CONTENT_CLUSTER, "cluster")->because.data, "because", 7);
    sources_free(old);
    ck_assert(sources_judge_due(s, 7, &change));
}
END_TEST

int
main(void)
{
    Suite *suite = suite_create("sources");
    TCase *t = tcase_create("sources");
    tcase_add_checked_fixture(t, up, down);
    tcase_add_test(t, what_is_named_must_exist);
    tcase_add_test(t, circles_over_stored_and_new);
    tcase_add_test(t, triggers_are_of_one_sequence);
    tcase_add_test(t, a_file_may_come_again_after_a_cancel);
    tcase_add_test(t, targets_get_lower_versions);
    tcase_add_test(t, edits_make_revisions);
    tcase_add_test(t, a_start_in_the_future);
    tcase_add_test(t, a_start_that_is_taken_back);
    tcase_add_test(t, a_pause_with_an_end);
    tcase_add_test(t, every_order_in_every_state);
    tcase_add_test(t, the_cluster_is_a_scope);
    tcase_add_test(t, what_was_committed_comes_back);
    suite_add_tcase(suite, t);
    SRunner *r = srunner_create(suite);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? 1 : 0;
}
