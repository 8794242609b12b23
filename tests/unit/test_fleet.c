/* Reports judged and remembered: names, incarnations, homes, drivers, silence, what is saved. */
#include "coordinator/fleet.h"

#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#define D   (3 * USEC_PER_SEC)
#define NOW (1000 * USEC_PER_SEC)

static struct fleet *f;
static char why[REASON_BYTES_MAX + 1];
static struct fleet_changes changes;

static void
setup(void)
{
    f = fleet_new(D);
    ck_assert_ptr_nonnull(f);
}

static void
teardown(void)
{
    f = fleet_free(f);
}

static struct slice
s(const char *text)
{
    return (struct slice){text, strlen(text)};
}

static struct partition_report
partition(const char *name, uint64_t epoch, const char *gate)
{
    return (struct partition_report){.name = s(name), .epoch = epoch, .gate = s(gate)};
}

/* Node `name` as process number `process`, with at most one partition. */
static int
tell_all(const char *name, uint8_t process, const struct partition_report *p, usec_t now,
         bool stopping)
{
    struct partition_report copy;
    struct report r = {.incarnation = {{process}},
                       .name = s(name),
                       .version = s("0.1"),
                       .rpc_address = s("tcp://127.0.0.1:7410"),
                       .health_address = s("127.0.0.1:7411"),
                       .weight = 1,
                       .stopping = stopping};
    if (p) {
        copy = *p;
        r.partitions = &copy;
        r.partition_count = 1;
    }
    return fleet_report(f, &r, now, why, sizeof why);
}

static int
tell(const char *name, uint8_t process, const struct partition_report *p, usec_t now)
{
    return tell_all(name, process, p, now, false);
}

static enum node_state
state_of(const char *name)
{
    const struct fleet_node *n = fleet_find_node(f, name);
    ck_assert_ptr_nonnull(n);
    return n->state;
}

/* ---- what is refused ---- */

START_TEST(bad_values_change_nothing)
{
    struct partition_report p = partition("P1", 1, "open");
    ck_assert_int_eq(tell("", 1, NULL, NOW), -EINVAL);
    ck_assert_int_eq(tell("N1", 1, NULL, NOW), -EINVAL);
    ck_assert_int_eq(tell("n1", 1, &p, NOW), -EINVAL);
    p = partition("p1", UINT64_MAX, "open");
    ck_assert_int_eq(tell("n1", 1, &p, NOW), -EINVAL);
    ck_assert_uint_eq(f->node_count, 0);
    ck_assert_uint_eq(f->partition_count, 0);
    ck_assert(!fleet_changes(f, &changes, NOW));
}
END_TEST

START_TEST(a_living_twin_is_refused)
{
    ck_assert_int_eq(tell("n1", 1, NULL, NOW), 0);
    ck_assert_int_eq(tell("n1", 2, NULL, NOW + D - 1), -EEXIST);
    ck_assert_str_eq(why, "node n1 is already registered by another living process");
    ck_assert_uint_eq(fleet_find_node(f, "n1")->record.incarnation.bytes[0], 1);
    ck_assert_int_eq(tell("n1", 1, NULL, NOW + D - 1), 0);
    /* the refused one did not make the living one look dead, nor itself alive */
    ck_assert_int_eq(tell("n1", 2, NULL, NOW + D), -EEXIST);
    ck_assert_int_eq(tell("n1", 2, NULL, NOW + 2 * D), 0);
    ck_assert_int_eq(tell("n1", 1, NULL, NOW + 2 * D), -EEXIST);
}
END_TEST

START_TEST(after_an_orderly_stop_the_next_process_need_not_wait)
{
    ck_assert_int_eq(tell("n1", 1, NULL, NOW), 0);
    ck_assert_int_eq(tell_all("n1", 1, NULL, NOW + 1, true), 0);
    ck_assert_int_eq(state_of("n1"), NODE_STOPPING);
    ck_assert_int_eq(tell("n1", 1, NULL, NOW + 2), 0);
    ck_assert_int_eq(state_of("n1"), NODE_STOPPING);
    ck_assert_int_eq(tell("n1", 2, NULL, NOW + 3), 0);
    ck_assert_int_eq(state_of("n1"), NODE_READY);
}
END_TEST

START_TEST(a_home_is_claimed_once)
{
    struct partition_report p = partition("p1", 1, "open");
    ck_assert_int_eq(tell("n1", 1, &p, NOW), 0);
    p.epoch = 9;
    ck_assert_int_eq(tell("n2", 2, &p, NOW), -EPERM);
    ck_assert_str_eq(why, "partition p1 is at home on node n1: node n2 may not claim it");
    ck_assert_ptr_null(fleet_find_node(f, "n2"));
    ck_assert_str_eq(f->partitions[0].record.driver, "n1");
    ck_assert_uint_eq(f->partitions[0].record.epoch, 1);
    /* also long after n1 fell silent: adoption is ordered, never claimed */
    ck_assert_int_eq(tell("n2", 2, &p, NOW + 100 * D), -EPERM);
}
END_TEST

START_TEST(limits_hold)
{
    char name[NAME_BYTES_MAX + 1];
    for (unsigned i = 0; i < NODES_MAX; i++) {
        snprintf(name, sizeof name, "n%u", i);
        ck_assert_int_eq(tell(name, 1, NULL, NOW), 0);
    }
    ck_assert_int_eq(tell("one-more", 1, NULL, NOW), -ENOSPC);
    for (unsigned i = 0; i < PARTITIONS_MAX; i++) {
        snprintf(name, sizeof name, "p%u", i);
        struct partition_report p = partition(name, 1, "open");
        ck_assert_int_eq(tell("n0", 1, &p, NOW), 0);
    }
    struct partition_report p = partition("one-more", 1, "open");
    ck_assert_int_eq(tell("n0", 1, &p, NOW), -ENOSPC);
    ck_assert_uint_eq(f->partition_count, PARTITIONS_MAX);
}
END_TEST

/* ---- states ---- */

START_TEST(states_follow_the_gates)
{
    struct partition_report p = partition("p1", 0, "taking");
    ck_assert_int_eq(tell("n1", 1, &p, NOW), 0);
    ck_assert_int_eq(state_of("n1"), NODE_JOINING);
    p = partition("p1", 1, "open");
    ck_assert_int_eq(tell("n1", 1, &p, NOW), 0);
    ck_assert_int_eq(state_of("n1"), NODE_READY);
    ck_assert(fleet_partition_open(f, 0));
    p.gate = s("closed: durability");
    ck_assert_int_eq(tell("n1", 1, &p, NOW), 0);
    ck_assert_int_eq(state_of("n1"), NODE_DEGRADED);
    ck_assert(!fleet_partition_open(f, 0));
    p.gate = s("open");
    ck_assert_int_eq(tell("n1", 1, &p, NOW), 0);
    fleet_tick(f, NOW + D - 1);
    ck_assert_int_eq(state_of("n1"), NODE_READY);
    fleet_tick(f, NOW + D);
    ck_assert_int_eq(state_of("n1"), NODE_SILENT);
    ck_assert(!fleet_partition_open(f, 0));
    ck_assert_int_eq(tell("n1", 1, &p, NOW + 2 * D), 0);
    ck_assert_int_eq(state_of("n1"), NODE_READY);
}
END_TEST

START_TEST(every_pair_of_the_table)
{
    /* rows that are not in the table are refused on purpose: these four, and no others */
    unsigned refused = 0, accepted = 0;
    for (int from = 0; from < NODE_STATE_COUNT; from++) {
        for (int e = NODE_STARTED; e <= NODE_SILENT_TOO_LONG; e++) {
            enum node_state state = (enum node_state) from;
            if (node_step(&state, (enum node_event) e)) {
                accepted++;
                continue;
            }
            refused++;
            ck_assert_int_eq((int) state, from);
            bool on_purpose =
                (from == NODE_STOPPING &&
                 (e == NODE_ALL_OPEN || e == NODE_SOME_OPENING || e == NODE_SOME_CLOSED)) ||
                (from == NODE_SILENT && e == NODE_SILENT_TOO_LONG);
            ck_assert_msg(on_purpose, "%s, event %d", node_state_name((enum node_state) from), e);
        }
    }
    ck_assert_uint_eq(refused, 4);
    struct transition t;
    unsigned rows = 0;
    while (node_transition(rows, &t))
        rows++;
    ck_assert_uint_eq(rows, accepted);
}
END_TEST

/* ---- who drives what ---- */

START_TEST(the_highest_epoch_drives)
{
    struct node_record nodes[] = {{.name = "n1"}, {.name = "n2"}};
    struct partition_record p1 = {.name = "p1",
                                  .home = "n1",
                                  .driver = "n2",
                                  .epoch = 7,
                                  .timeline = 2,
                                  .lsn = 900,
                                  .content_applied = 4};
    struct fleet_image image = {
        .map_version = 3, .node_count = 2, .nodes = nodes, .partition_count = 1, .partitions = &p1};
    ck_assert_int_eq(fleet_restore(f, &image, NOW), 0);
    /* home comes back with an older epoch: history */
    struct partition_report p = partition("p1", 6, "open");
    p.content_applied = 99;
    ck_assert_int_eq(tell("n1", 1, &p, NOW), 0);
    ck_assert_str_eq(f->partitions[0].record.driver, "n2");
    ck_assert_uint_eq(f->partitions[0].record.content_applied, 4);
    ck_assert(!fleet_partition_open(f, 0));
    /* the same epoch under another name is no driver either */
    p.epoch = 7;
    ck_assert_int_eq(tell("n1", 1, &p, NOW), 0);
    ck_assert_str_eq(f->partitions[0].record.driver, "n2");
    /* the driver that the catalog names may report it, though it is at home elsewhere */
    ck_assert_int_eq(tell("n2", 2, &p, NOW), 0);
    ck_assert(fleet_partition_open(f, 0));
    ck_assert_uint_eq(f->partitions[0].record.content_applied, 99);
    p.epoch = 8;
    p.timeline = 1;
    p.lsn = 1;
    ck_assert_int_eq(tell("n1", 1, &p, NOW), 0);
    ck_assert_str_eq(f->partitions[0].record.driver, "n1");
    ck_assert_uint_eq(f->partitions[0].record.epoch, 8);
    /* the mark never falls */
    ck_assert_uint_eq(f->partitions[0].record.timeline, 2);
    ck_assert_uint_eq(f->partitions[0].record.lsn, 900);
}
END_TEST

START_TEST(report_is_kept_by_value)
{
    char name[] = "p1", gate[] = "open", reason[] = "because";
    struct partition_report p = {.name = s(name), .epoch = 1, .gate = s(gate), .reason = s(reason)};
    histogram_add(&p.lateness, 5000);
    ck_assert_int_eq(tell("n1", 1, &p, NOW), 0);
    memset(name, 'x', 2);
    memset(gate, 'x', 4);
    memset(reason, 'x', 7);
    const struct report *kept = &fleet_find_node(f, "n1")->report;
    ck_assert_uint_eq(kept->partition_count, 1);
    ck_assert_int_eq(strncmp(kept->partitions[0].name.data, "p1", 2), 0);
    ck_assert_int_eq(strncmp(kept->partitions[0].reason.data, "because", 7), 0);
    ck_assert_uint_eq(kept->partitions[0].lateness.total, 1);
    ck_assert(fleet_partition_open(f, 0));
}
END_TEST

/* ---- what goes to the catalog ---- */

START_TEST(changes_are_handed_out_once)
{
    struct partition_report p = partition("p1", 1, "open");
    ck_assert_int_eq(tell("n1", 1, &p, NOW), 0);
    ck_assert(fleet_changes(f, &changes, NOW));
    ck_assert(changes.map_changed);
    ck_assert_uint_eq(changes.node_count, 1);
    ck_assert_uint_eq(changes.partition_count, 1);
    ck_assert_str_eq(changes.partitions[0].home, "n1");
    ck_assert_str_eq(changes.partitions[0].driver, "n1");
    struct place_partition view[PARTITIONS_MAX];
    fleet_place_view(f, view);
    ck_assert(!view[0].open); /* the catalog does not know it yet */
    fleet_changes_saved(f, &changes, 5);
    ck_assert_uint_eq(f->map_version, 5);
    fleet_place_view(f, view);
    ck_assert(view[0].open);
    ck_assert_int_eq(tell("n1", 1, &p, NOW + 1), 0);
    ck_assert(!fleet_changes(f, &changes, NOW + 1));
}
END_TEST

START_TEST(a_lost_write_is_marked_again)
{
    struct partition_report p = partition("p1", 1, "open");
    ck_assert_int_eq(tell("n1", 1, &p, NOW), 0);
    ck_assert(fleet_changes(f, &changes, NOW));
    fleet_changes_lost(f, &changes);
    ck_assert(fleet_changes(f, &changes, NOW));
    ck_assert(changes.map_changed);
    ck_assert_uint_eq(changes.node_count, 1);
    ck_assert_uint_eq(changes.partition_count, 1);
}
END_TEST

START_TEST(the_mark_is_written_when_it_matters)
{
    struct partition_report p = partition("p1", 1, "open");
    ck_assert_int_eq(tell("n1", 1, &p, NOW), 0);
    ck_assert(fleet_changes(f, &changes, NOW));
    fleet_changes_saved(f, &changes, 1);
    p.timeline = 1; /* a new timeline: at once */
    ck_assert_int_eq(tell("n1", 1, &p, NOW), 0);
    ck_assert(fleet_changes(f, &changes, NOW));
    ck_assert(!changes.map_changed);
    p.lsn = 12345; /* only the LSN: at the next mark */
    ck_assert_int_eq(tell("n1", 1, &p, NOW), 0);
    fleet_tick(f, NOW + FLEET_MARK_EVERY - 1);
    ck_assert(!fleet_changes(f, &changes, NOW + FLEET_MARK_EVERY - 1));
    fleet_tick(f, NOW + FLEET_MARK_EVERY);
    ck_assert(fleet_changes(f, &changes, NOW + FLEET_MARK_EVERY));
    ck_assert_uint_eq(changes.partitions[0].lsn, 12345);
    ck_assert(!changes.map_changed);
    p.epoch = 2; /* a new epoch: at once */
    ck_assert_int_eq(tell("n1", 1, &p, NOW), 0);
    ck_assert(fleet_changes(f, &changes, NOW));
    ck_assert_uint_eq(changes.partitions[0].epoch, 2);
}
END_TEST

START_TEST(a_bad_map_is_not_restored)
{
    struct partition_record p = {.name = "p1", .home = "n1"};
    struct range ranges[] = {{1, 10, 0}, {10, 20, 0}}, stranger[] = {{1, 10, 1}};
    struct fleet_image image = {.partition_count = 1,
                                .partitions = &p,
                                .ranges = {.ranges = ranges, .count = 2}};
    ck_assert_int_eq(fleet_restore(f, &image, NOW), -EINVAL);
    image.ranges = (struct rangemap){.ranges = stranger, .count = 1};
    ck_assert_int_eq(fleet_restore(f, &image, NOW), -EINVAL);
    ck_assert_uint_eq(f->partition_count, 0);
}
END_TEST

START_TEST(restored_again_after_a_loss)
{
    struct partition_report p2 = partition("p2", 3, "open");
    ck_assert_int_eq(tell("n2", 2, &p2, NOW), 0); /* p2 is index 0 here, and not saved */
    struct partition_record in_catalog[] = {
        {.name = "p1", .home = "n1", .driver = "n1", .epoch = 4},
        {.name = "p2", .home = "n2", .driver = "n2", .epoch = 2}};
    struct range ranges[] = {{1, 10, 0}, {11, 20, 1}};
    struct fleet_image image = {.map_version = 8,
                                .partition_count = 2,
                                .partitions = in_catalog,
                                .ranges = {.ranges = ranges, .count = 2}};
    ck_assert_int_eq(fleet_restore(f, &image, NOW), 0);
    ck_assert_uint_eq(f->map_version, 8);
    ck_assert_str_eq(f->partitions[0].record.name, "p2");
    ck_assert_uint_eq(f->partitions[0].record.epoch, 3); /* what the report said is newer */
    ck_assert_str_eq(f->partitions[1].record.name, "p1");
    const struct range *r = rangemap_find(&f->ranges, 5);
    ck_assert_uint_eq(r->partition, 1);
    r = rangemap_find(&f->ranges, 15);
    ck_assert_uint_eq(r->partition, 0);
    ck_assert(fleet_changes(f, &changes, NOW));
    ck_assert(changes.map_changed);
    ck_assert_uint_eq(changes.partition_count, 1);
    ck_assert_uint_eq(changes.node_count, 1);
}
END_TEST

START_TEST(a_restored_node_is_silent_until_it_speaks)
{
    struct node_record n = {.incarnation = {{9}}, .name = "n1", .rpc_address = "tcp://1.2.3.4:5"};
    struct fleet_image image = {.node_count = 1, .nodes = &n};
    ck_assert_int_eq(fleet_restore(f, &image, NOW), 0);
    ck_assert_int_eq(state_of("n1"), NODE_SILENT);
    ck_assert(!fleet_changes(f, &changes, NOW));
    ck_assert_int_eq(tell("n1", 1, NULL, NOW + 1), 0); /* and no twin of a living one */
    ck_assert_int_eq(state_of("n1"), NODE_READY);
    ck_assert(fleet_changes(f, &changes, NOW));
    ck_assert(changes.map_changed); /* its address is another */
}
END_TEST

START_TEST(missing_content_is_named)
{
    struct partition_report p1 = partition("p1", 1, "open"), p2 = partition("p2", 1, "open");
    struct slice missing[PARTITIONS_MAX];
    p1.content_applied = 5;
    p2.content_applied = 4;
    ck_assert_int_eq(tell("n1", 1, &p1, NOW), 0);
    ck_assert_int_eq(tell("n2", 1, &p2, NOW), 0);
    ck_assert_uint_eq(fleet_content_missing(f, 4, missing), 0);
    ck_assert_uint_eq(fleet_content_missing(f, 5, missing), 1);
    ck_assert_int_eq(strncmp(missing[0].data, "p2", missing[0].bytes), 0);
    ck_assert_uint_eq(fleet_content_missing(f, 6, missing), 2);
}
END_TEST

START_TEST(the_highest_term_is_remembered)
{
    struct report r = {.incarnation = {{1}}, .name = s("n1"), .term = 12};
    ck_assert_int_eq(fleet_report(f, &r, NOW, why, sizeof why), 0);
    r.term = 3;
    ck_assert_int_eq(fleet_report(f, &r, NOW, why, sizeof why), 0);
    ck_assert_uint_eq(f->term_heard, 12);
    r.term = UINT64_MAX;
    ck_assert_int_eq(fleet_report(f, &r, NOW, why, sizeof why), -EINVAL);
    ck_assert_uint_eq(f->term_heard, 12);
}
END_TEST

int
main(void)
{
    Suite *suite = suite_create("fleet");
    TCase *t = tcase_create("fleet");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, bad_values_change_nothing);
    tcase_add_test(t, a_living_twin_is_refused);
    tcase_add_test(t, after_an_orderly_stop_the_next_process_need_not_wait);
    tcase_add_test(t, a_home_is_claimed_once);
    tcase_add_test(t, limits_hold);
    tcase_add_test(t, states_follow_the_gates);
    tcase_add_test(t, every_pair_of_the_table);
    tcase_add_test(t, the_highest_epoch_drives);
    tcase_add_test(t, report_is_kept_by_value);
    tcase_add_test(t, changes_are_handed_out_once);
    tcase_add_test(t, a_lost_write_is_marked_again);
    tcase_add_test(t, the_mark_is_written_when_it_matters);
    tcase_add_test(t, a_bad_map_is_not_restored);
    tcase_add_test(t, restored_again_after_a_loss);
    tcase_add_test(t, a_restored_node_is_silent_until_it_speaks);
    tcase_add_test(t, missing_content_is_named);
    tcase_add_test(t, the_highest_term_is_remembered);
    suite_add_tcase(suite, t);
    SRunner *sr = srunner_create(suite);
    srunner_run_all(sr, CK_NORMAL);
    int failed = srunner_ntests_failed(sr);
    srunner_free(sr);
    return failed == 0 ? 0 : 1;
}
