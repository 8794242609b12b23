/* test_import_flow.c - the import's batches over a double of the cluster: ask.h without sockets. */
#include <assert.h>
#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "coordinator/ctl/import.h"

/* ---- the double: two partitions, p1 has devices 1-100, p2 101-200 ---- */

#define CALLS_MAX 16u

struct call {
    char partition[NAME_BYTES_MAX + 1];
    enum message_kind kind;
    uint32_t row_count;
    int32_t devices[LEADS_PER_BATCH_MAX];
    uint64_t phones[LEADS_PER_BATCH_MAX];
    ask_done_fn *done;
    void *arg;
};

static struct range ranges[3];
static struct map_partition partitions[2];
static struct map map;
static struct call calls[CALLS_MAX];
static unsigned call_count, call_peak[2];
static bool interrupted;
static usec_t now = USEC_PER_SEC; /* the clock stands still but for the waits */
static unsigned maps_loaded, sends;
/* what the nodes do */
static int (*behave)(const struct call *c, struct reply *reply);
static bool seen[201][1000]; /* lead stored, by device and the phone's last three digits */
static uint64_t stored;

usec_t
clock_boot(void)
{
    return now;
}

const struct map *
asker_map(const struct asker *a)
{
    return &map;
}

const char *
asker_why(const struct asker *a)
{
    return "the double says no";
}

bool
asker_interrupted(const struct asker *a)
{
    return interrupted;
}

int
ask_map(struct asker *a)
{
    maps_loaded++;
    map.version++;
    return 0;
}

int
ask_status_error(enum message_status status)
{
    static const int errors[] = {0, -EAGAIN, -EAGAIN, -EPERM, -EINVAL, -EIO};
    return errors[status];
}

static unsigned
in_flight(const char *partition)
{
    unsigned n = 0;
    for (unsigned i = 0; i < call_count; i++)
        n += strcmp(calls[i].partition, partition) == 0;
    return n;
}

int
ask_send(struct asker *a, struct slice partition, struct request *q, usec_t timeout,
         ask_done_fn *done, void *arg)
{
    ck_assert_uint_lt(call_count, CALLS_MAX);
    ck_assert(q->kind == MESSAGE_LEADS);
    ck_assert_uint_gt(q->leads.row_count, 0);
    struct call *c = &calls[call_count++];
    *c = (struct call){.kind = q->kind, .row_count = q->leads.row_count, .done = done, .arg = arg};
    snprintf(c->partition, sizeof(c->partition), "%.*s", (int) partition.bytes, partition.data);
    for (uint32_t i = 0; i < c->row_count; i++) {
        c->devices[i] = q->leads.rows[i].device_id;
        c->phones[i] = q->leads.rows[i].phone;
    }
    unsigned p = c->partition[1] - '1';
    call_peak[p] = MAX_OF(call_peak[p], in_flight(c->partition));
    sends++;
    return 0;
}

/* The oldest call gets its answer. */
void
asker_turn(struct asker *a, usec_t wait)
{
    static uint8_t verdicts[LEADS_PER_BATCH_MAX];
    static struct slice reasons[LEADS_PER_BATCH_MAX];
    now += wait;
    if (call_count == 0)
        return;
    struct call c = calls[0];
    memmove(calls, calls + 1, --call_count * sizeof(calls[0]));
    struct reply reply = {.kind = c.kind,
                          .rows = {.row_count = c.row_count,
                                   .verdicts = verdicts,
                                   .reasons = reasons}};
    int err = behave(&c, &reply);
    c.done(c.arg, err, err == 0 ? &reply : NULL);
}

/* ---- behaviours ---- */

static int
store(const struct call *c, struct reply *reply)
{
    for (uint32_t i = 0; i < c->row_count; i++) {
        const struct range *r = rangemap_find(&map.ranges, c->devices[i]);
        ck_assert_str_eq(c->partition, r->partition == 0 ? "p1" : "p2");
        bool *s = &seen[c->devices[i]][c->phones[i] % 1000];
        reply->rows.verdicts[i] = *s ? ROW_DUPLICATE : ROW_ACCEPTED;
        stored += !*s;
        *s = true;
    }
    return 0;
}

static int
p1_is_silent(const struct call *c, struct reply *reply)
{
    return strcmp(c->partition, "p1") == 0 ? -ETIMEDOUT : store(c, reply);
}

static int
retries_twice(const struct call *c, struct reply *reply)
{
    static unsigned n;
    if (n++ < 2) {
        reply->status = n == 1 ? STATUS_RETRY : STATUS_MOVED;
        return 0;
    }
    return store(c, reply);
}

/* Stored, but the answer is lost: the same batch comes again. */
static int
answers_are_lost_once(const struct call *c, struct reply *reply)
{
    static unsigned n;
    int err = store(c, reply);
    return n++ == 0 ? -ETIMEDOUT : err;
}

static int
some_rows_move(const struct call *c, struct reply *reply)
{
    static bool moved;
    int err = store(c, reply);
    if (moved || strcmp(c->partition, "p1") != 0)
        return err;
    moved = true;
    for (uint32_t i = 0; i < c->row_count; i++) {
        if (c->devices[i] < 50)
            continue;
        reply->rows.verdicts[i] = ROW_RETRY;
        seen[c->devices[i]][c->phones[i] % 1000] = false;
        stored--;
    }
    ranges[0] = (struct range){1, 49, 0};
    ranges[1] = (struct range){50, 200, 1};
    map.ranges.count = 2;
    return err;
}

static int
refuses_device_3(const struct call *c, struct reply *reply)
{
    static const char words[] = "phone: opted out here";
    int err = store(c, reply);
    for (uint32_t i = 0; i < c->row_count; i++) {
        if (c->devices[i] == 3) {
            reply->rows.verdicts[i] = ROW_REFUSED;
            reply->rows.reasons[reply->rows.reason_count++] =
                (struct slice){words, sizeof(words) - 1};
        }
    }
    return err;
}

static int
refuses_us(const struct call *c, struct reply *reply)
{
    reply->status = STATUS_REFUSED;
    reply->reason = (struct slice){"an observer", 11};
    return 0;
}

static int
interrupts(const struct call *c, struct reply *reply)
{
    interrupted = true;
    return store(c, reply);
}

static int
interrupts_and_p1_is_silent(const struct call *c, struct reply *reply)
{
    interrupted = true;
    return p1_is_silent(c, reply);
}

/* ---- the run of one file ---- */

static char directory[64], path[96], rejects_path[96];
static struct csvfile *file;
static struct import_columns columns;
static struct rejects *rejects;
static struct import *flow;
static struct import_config config;

static void
setup(void)
{
    snprintf(directory, sizeof(directory), "/tmp/test_flow.XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(directory));
    snprintf(path, sizeof(path), "%s/leads.csv", directory);
    snprintf(rejects_path, sizeof(rejects_path), "%s/rejects.csv", directory);
    ranges[0] = (struct range){1, 100, 0};
    ranges[1] = (struct range){101, 200, 1};
    partitions[0].name = (struct slice){"p1", 2};
    partitions[1].name = (struct slice){"p2", 2};
    map = (struct map){.full = true,
                       .partition_count = 2,
                       .partitions = partitions,
                       .ranges = {.ranges = ranges, .count = 2}};
    config = (struct import_config){.path = path,
                                    .batch_timeout = 10 * USEC_PER_SEC,
                                    .deadline = USEC_INFINITY};
}

static void
teardown(void)
{
    unlink(path);
    unlink(rejects_path);
    rmdir(directory);
}

static void
write_leads(unsigned count)
{
    FILE *f = fopen(path, "w");
    fprintf(f, "device_id,phone,name,city\n");
    for (unsigned i = 0; i < count; i++)
        fprintf(f, "%u,60123456%03u,name %u,KL\n", i % 200 + 1, i / 200, i);
    fclose(f);
}

static int
run(void)
{
    char why[300];
    ck_assert_int_eq(csvfile_open(&file, path, 0, why, sizeof(why)), 0);
    ck_assert_int_eq(import_columns_read(&columns, IMPORT_LEADS, csvfile_header(file), why,
                                         sizeof(why)),
                     0);
    struct rejects_config rc = {.path = rejects_path,
                                .header = csvfile_header(file),
                                .ignored = columns.ignored,
                                .delimiter = ',',
                                .secret_field = -1};
    ck_assert_int_eq(rejects_new(&rejects, &rc), 0);
    ck_assert_int_eq(import_new(&flow, NULL, file, &columns, &config, rejects), 0);
    int err = import_run(flow);
    ck_assert_int_eq(rejects_finish(rejects), 0);
    return err;
}

static struct import_counts
close_run(void)
{
    struct import_counts n = *import_counts(flow);
    import_free(flow);
    rejects_free(rejects);
    csvfile_free(file);
    ck_assert_uint_eq(call_count, 0);
    return n;
}

START_TEST(a_silent_partition_is_not_done_and_the_other_goes_on)
{
    write_leads(20000);
    behave = p1_is_silent;
    config.batch_timeout = 300 * USEC_PER_MSEC;
    ck_assert_int_eq(run(), 0);
    ck_assert_uint_eq(import_tell_not_done(flow), 1);
    struct import_counts n = close_run();
    ck_assert_uint_eq(n.read, 20000);
    ck_assert_uint_eq(n.accepted, 10000);
    ck_assert_uint_eq(n.not_done, 10000);
    ck_assert_uint_eq(n.rejected, 0);
    ck_assert_int_eq(access(rejects_path, F_OK), -1);
    /* the same command again, when it is there: the rest, and nothing twice */
    behave = store;
    ck_assert_int_eq(run(), 0);
    n = close_run();
    ck_assert_uint_eq(n.accepted, 10000);
    ck_assert_uint_eq(n.duplicate, 10000);
    ck_assert_uint_eq(stored, 20000);
}
END_TEST

START_TEST(a_node_that_refuses_us_ends_it)
{
    write_leads(20000);
    behave = refuses_us;
    ck_assert_int_eq(run(), -EPERM);
    ck_assert_str_eq(import_why(flow), "an observer");
    struct import_counts n = close_run();
    ck_assert_uint_eq(n.accepted, 0);
    ck_assert_uint_eq(n.not_done, n.read);
}
END_TEST

START_TEST(an_interruption_ends_what_is_on_its_way)
{
    write_leads(100000);
    behave = interrupts;
    ck_assert_int_eq(run(), -EINTR);
    struct import_counts n = close_run();
    ck_assert_uint_eq(n.accepted, stored);
    ck_assert_uint_gt(n.accepted, 0);
    ck_assert_uint_lt(n.read, 100000);
    ck_assert_uint_eq(n.accepted, n.read); /* what was read is done, nothing more is read */
}
END_TEST

START_TEST(an_interruption_does_not_wait_for_a_silent_node)
{
    write_leads(100000);
    behave = interrupts_and_p1_is_silent;
    ck_assert_int_eq(run(), -EINTR);
    ck_assert_uint_eq(import_tell_not_done(flow), 1);
    struct import_counts n = close_run();
    ck_assert_uint_eq(n.accepted, stored);
    ck_assert_uint_eq(n.read, n.accepted + n.not_done);
    ck_assert_uint_le(sends, 4 + 3);
}
END_TEST

START_TEST(a_deadline_is_an_interruption)
{
    write_leads(100000);
    behave = store;
    config.deadline = clock_boot();
    ck_assert_int_eq(run(), -EINTR);
    struct import_counts n = close_run();
    ck_assert_uint_eq(n.read, 0);
}
END_TEST

START_TEST(refused_rows_go_to_the_rejects_with_the_nodes_words)
{
    char text[4000];
    write_leads(1000);
    behave = refuses_device_3;
    ck_assert_int_eq(run(), 0);
    struct import_counts n = close_run();
    ck_assert_uint_eq(n.rejected, 5);
    ck_assert_uint_eq(n.accepted, 995);
    FILE *f = fopen(rejects_path, "r");
    text[fread(text, 1, sizeof(text) - 1, f)] = '\0';
    fclose(f);
    ck_assert_ptr_nonnull(
        strstr(text, "\n3,60123456000,name 2,KL,4,phone,60123456000,opted out here\n"));
}
END_TEST

START_TEST(rows_without_a_device_are_refused)
{
    FILE *f = fopen(path, "w");
    fprintf(f, "device_id,phone\n201,60123456789\n1,60123456789\n");
    fclose(f);
    behave = store;
    ck_assert_int_eq(run(), 0);
    struct import_counts n = close_run();
    ck_assert_uint_eq(n.rejected, 1);
    ck_assert_uint_eq(n.accepted, 1);
}
END_TEST

START_TEST(retry_and_moved_are_sent_again_with_a_fresh_map)
{
    write_leads(2000);
    behave = retries_twice;
    ck_assert_int_eq(run(), 0);
    struct import_counts n = close_run();
    ck_assert_uint_eq(n.accepted, 2000);
    ck_assert_uint_eq(sends, 4);
    ck_assert_uint_ge(maps_loaded, 1);
}
END_TEST

START_TEST(a_lost_answer_stores_nothing_twice)
{
    write_leads(2000);
    behave = answers_are_lost_once;
    ck_assert_int_eq(run(), 0);
    struct import_counts n = close_run();
    ck_assert_uint_eq(stored, 2000);
    ck_assert_uint_eq(n.accepted + n.duplicate, 2000);
    ck_assert_uint_eq(n.not_done, 0);
}
END_TEST

START_TEST(rows_follow_a_range_that_moves)
{
    write_leads(1000);
    behave = some_rows_move;
    ck_assert_int_eq(run(), 0);
    struct import_counts n = close_run();
    ck_assert_uint_eq(n.accepted, 1000);
    ck_assert_uint_eq(stored, 1000);
}
END_TEST

START_TEST(two_batches_a_partition_are_on_their_way)
{
    write_leads(60000);
    behave = store;
    ck_assert_int_eq(run(), 0);
    struct import_counts n = close_run();
    ck_assert_uint_eq(n.accepted, 60000);
    ck_assert_uint_eq(stored, 60000);
    ck_assert_uint_eq(call_peak[0], 2);
    ck_assert_uint_eq(call_peak[1], 2);
}
END_TEST

START_TEST(an_update_keeps_the_order_of_the_file)
{
    write_leads(60000);
    behave = store;
    config.update = true;
    ck_assert_int_eq(run(), 0);
    struct import_counts n = close_run();
    ck_assert_uint_eq(n.accepted, 60000);
    ck_assert_uint_eq(call_peak[0], 1);
    ck_assert_uint_eq(call_peak[1], 1);
}
END_TEST

int
main(void)
{
    Suite *s = suite_create("import_flow");
    TCase *t = tcase_create("import_flow");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_set_timeout(t, 20);
    tcase_add_test(t, a_silent_partition_is_not_done_and_the_other_goes_on);
    tcase_add_test(t, a_node_that_refuses_us_ends_it);
    tcase_add_test(t, an_interruption_ends_what_is_on_its_way);
    tcase_add_test(t, an_interruption_does_not_wait_for_a_silent_node);
    tcase_add_test(t, a_deadline_is_an_interruption);
    tcase_add_test(t, refused_rows_go_to_the_rejects_with_the_nodes_words);
    tcase_add_test(t, rows_without_a_device_are_refused);
    tcase_add_test(t, retry_and_moved_are_sent_again_with_a_fresh_map);
    tcase_add_test(t, a_lost_answer_stores_nothing_twice);
    tcase_add_test(t, rows_follow_a_range_that_moves);
    tcase_add_test(t, two_batches_a_partition_are_on_their_way);
    tcase_add_test(t, an_update_keeps_the_order_of_the_file);
    suite_add_tcase(s, t);
    SRunner *sr = srunner_create(s);
    srunner_run_all(sr, CK_NORMAL);
    int failed = srunner_ntests_failed(sr);
    srunner_free(sr);
    return failed ? 1 : 0;
}
