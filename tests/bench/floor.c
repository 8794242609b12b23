/*
 * floor.c - the floor F2: the least that PostgreSQL must do for a message, measured beside us.
 *
 * Two bare HOT updates by primary key (claim marked; row advanced) and one bare insert of the log
 * row with its token index: no fence, no opt-out, no lead, no counters, no fill. Prepared, binary
 * arrays, pipelined, one connection. --setup D L makes the tables for D devices x L leads.
 * Prints: CPU microseconds of its backend and WAL bytes, both per message.
 */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <uv.h>

#include "proto/token.h"
#include "shared/clock.h"
#include "shared/db.h"
#include "shared/parse.h"
#include "shared/rng.h"

#define BATCH_MAX 512u

enum { FLOOR_LOCK_FREE_CLAIM, FLOOR_ADVANCE, FLOOR_LOG, FLOOR_WAL, FLOOR_COUNT };
static const struct db_statement statements[FLOOR_COUNT] = {
    {"claim", "UPDATE f2_enrollment e SET state = 1, token = a.token FROM unnest($1::int[], "
              "$2::int[], $3::uuid[])"
              " a(device_id, lead_no, token) WHERE e.device_id = a.device_id AND e.source_id = 1 "
              "AND e.lead_no = a.lead_no"},
    {"advance", "UPDATE f2_enrollment e SET state = 0, step = e.step + 1, due_at = now() FROM "
                "unnest($1::int[], $2::int[])"
                " a(device_id, lead_no) WHERE e.device_id = a.device_id AND e.source_id = 1 AND "
                "e.lead_no = a.lead_no"},
    {"log", "INSERT INTO f2_log(claimed_at, settled_at, epoch, text_hash, token, device_id, "
            "source_id, lead_no, step, attempt, state, reason, provider_id)"
            " SELECT now(), now(), 1, 1, token, device_id, 1, lead_no, 0, 0, 1, 0, "
            "'wamid.HBgLMTY1MDU1NTEyMzQVAgARGBI0FC710C500000001'"
            " FROM unnest($1::int[], $2::int[], $3::uuid[]) a(device_id, lead_no, token)"},
    {"wal", "SELECT (pg_current_wal_insert_lsn() - '0/0'::pg_lsn)::bigint"},
};

struct floor {
    uv_loop_t loop;
    struct db *db;
    struct db_args keys, tokens;
    struct rng rng;
    uint32_t batch, messages, commits, rate, devices, done, start;
    uint64_t next;
    int64_t wal;
    bool failed, waiting, measuring;
    uv_timer_t timer;
};

static void step(struct floor *f);

static void
on_done(void *arg, enum db_outcome outcome, const struct db_reply *reply)
{
    struct floor *f = arg;
    f->waiting = false;
    if (outcome != DB_DONE) {
        fprintf(stderr, "floor: %s\n", db_message(reply));
        f->failed = true;
    }
    if (f->measuring)
        f->wal = db_get_int(reply, 0, 0, 0);
    uv_stop(&f->loop);
}

static void
run_one(struct floor *f, const struct db_call *calls, unsigned count)
{
    f->waiting = true;
    if (db_submit(f->db, calls, count, 10 * USEC_PER_SEC, on_done, f) < 0) {
        f->failed = true;
        return;
    }
    while (f->waiting && !f->failed)
        uv_run(&f->loop, UV_RUN_DEFAULT);
}

static int64_t
wal_now(struct floor *f)
{
    f->measuring = true;
    run_one(f, &(struct db_call){FLOOR_WAL, NULL}, 1);
    f->measuring = false;
    return f->wal;
}

static void
step(struct floor *f)
{
    int32_t devices[BATCH_MAX], leads[BATCH_MAX];
    struct uuid tokens[BATCH_MAX];
    uint8_t random[16];
    for (uint32_t i = 0; i < f->batch; i++, f->next++) {
        devices[i] = (int32_t) (f->next % f->devices) + 1;
        leads[i] = (int32_t) (f->next / f->devices) + 1;
        uint64_t r[2] = {rng_next(&f->rng), rng_next(&f->rng)};
        memcpy(random, r, sizeof(random));
        tokens[i] = token_uuid((int64_t) clock_real(), random);
    }
    db_args_reset(&f->keys);
    db_put_int4s(&f->keys, devices, f->batch);
    db_put_int4s(&f->keys, leads, f->batch);
    db_args_reset(&f->tokens);
    db_put_int4s(&f->tokens, devices, f->batch);
    db_put_int4s(&f->tokens, leads, f->batch);
    db_put_uuids(&f->tokens, tokens, f->batch);
    const struct db_call calls[] = {{FLOOR_LOCK_FREE_CLAIM, &f->tokens},
                                    {FLOOR_ADVANCE, &f->keys},
                                    {FLOOR_LOG, &f->tokens}};
    if (f->commits == 1)
        run_one(f, calls, 3);
    else {
        run_one(f, calls, 1);
        if (!f->failed)
            run_one(f, calls + 1, 2);
    }
    f->done += f->batch;
}

/* Microseconds of CPU that a process of one thread has used. */
static uint64_t
cpu_of(int pid)
{
    char path[64];
    unsigned long long ns = 0;
    snprintf(path, sizeof(path), "/proc/%d/schedstat", pid);
    FILE *file = fopen(path, "re");
    if (!file || fscanf(file, "%llu", &ns) != 1)
        fprintf(stderr, "floor: %s cannot be read\n", path);
    if (file)
        fclose(file);
    return ns / 1000;
}

static void
on_up(void *arg, struct db *db, bool up)
{
    struct floor *f = arg;
    if (up)
        uv_stop(&f->loop);
}

static void
on_pace(uv_timer_t *t)
{
    uv_stop(t->loop);
}

static int
measure(struct floor *f)
{
    while (!db_ready(f->db))
        uv_run(&f->loop, UV_RUN_DEFAULT);
    int pid = db_backend_pid(f->db);
    f->next = (uint64_t) f->start;
    int64_t wal = wal_now(f);
    uint64_t cpu = cpu_of(pid);
    usec_t began = clock_boot();
    while (f->done < f->messages && !f->failed) {
        step(f);
        usec_t due = f->rate ? began + (usec_t) f->done * USEC_PER_SEC / f->rate : 0,
               now = clock_boot();
        if (due > now) {
            uv_timer_start(&f->timer, on_pace, (due - now) / USEC_PER_MSEC, 0);
            uv_run(&f->loop, UV_RUN_DEFAULT);
        }
    }
    if (f->failed)
        return 1;
    printf("%.2f %.1f\n", (double) (cpu_of(pid) - cpu) / f->done,
           (double) (wal_now(f) - wal) / f->done);
    return 0;
}

int
main(int argc, char **argv)
{
    static struct floor f = {.batch = 512, .messages = 50000, .commits = 1, .devices = 1000};
    const char *dsn = NULL;
    static const struct option options[] = {{"dsn", 1, NULL, 'd'},      {"batch", 1, NULL, 'b'},
                                            {"messages", 1, NULL, 'm'}, {"commits", 1, NULL, 'c'},
                                            {"rate", 1, NULL, 'r'},     {"devices", 1, NULL, 'n'},
                                            {"start", 1, NULL, 's'},    {0}};
    uint32_t *numbers[] = {['b'] = &f.batch, ['m'] = &f.messages, ['c'] = &f.commits,
                           ['r'] = &f.rate,  ['n'] = &f.devices,  ['s'] = &f.start};
    for (int o; (o = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        if (o == 'd')
            dsn = optarg;
        else if (o == '?' || parse_u32(optarg, strlen(optarg), 0, 1000000000, numbers[o]) < 0)
            return 2;
    }
    if (!dsn || f.batch == 0 || f.batch > BATCH_MAX || f.batch > f.devices) {
        fprintf(stderr, "usage: floor --dsn DSN --devices N --batch N --messages N --commits 1|2 "
                        "--rate N --start N\n");
        return 2;
    }
    static const char *const settings[] = {"plan_cache_mode",
                                           "force_generic_plan",
                                           "random_page_cost",
                                           "1.1",
                                           "enable_hashjoin",
                                           "off",
                                           "enable_mergejoin",
                                           "off",
                                           NULL};
    struct db_config config = {.dsn = dsn,
                               .application_name = "floor",
                               .statements = statements,
                               .statement_count = FLOOR_COUNT,
                               .connect_timeout = 5 * USEC_PER_SEC,
                               .settings = settings};
    rng_seed(&f.rng, clock_boot());
    uv_loop_init(&f.loop);
    uv_timer_init(&f.loop, &f.timer);
    if (db_args_init(&f.keys, 65536) < 0 || db_args_init(&f.tokens, 65536) < 0 ||
        db_start(&f.db, &f.loop, &config, &f.rng, on_up, &f) < 0)
        return 1;
    int rc = measure(&f);
    db_stop(f.db);
    uv_close((uv_handle_t *) &f.timer, NULL);
    uv_run(&f.loop, UV_RUN_DEFAULT);
    db_free(f.db);
    db_args_done(&f.keys);
    db_args_done(&f.tokens);
    return rc == 0 && uv_loop_close(&f.loop) == 0 ? 0 : 1;
}
