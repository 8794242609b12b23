/* The catalog's statements, each beside its typed function; the fence in every write. */
#include "coordinator/ledger.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "shared/db.h"

#define CALLS_MAX       6u
#define ARENA_BYTES     (4u * FRAME_BYTES_MAX) /* untouched pages cost nothing */
#define CONNECT_TIMEOUT (2 * USEC_PER_SEC)
#define WRITE_TIMEOUT   (5 * USEC_PER_SEC) /* 10,000 ranges under the exclusion constraint: < 1 s */

#define MINE " (SELECT term FROM coordinator) = $1::bigint "

enum statement {
    LOCK_SHARED,
    LOCK_EXCLUSIVE,
    FENCE,
    LOOK,
    TAKE,
    BEAT,
    RAISE,
    RELEASE,
    LOAD_NODES,
    LOAD_PARTITIONS,
    LOAD_RANGES,
    LOAD_CONTENT,
    PUT_NODES,
    PUT_PARTITIONS,
    STEP_MAP,
    DROP_RANGES,
    PUT_RANGES,
    STEP_CONTENT,
    PUT_CONTENT,
    PUT_AUDIT,
    STATEMENT_COUNT
};

static const struct db_statement statements[STATEMENT_COUNT] = {
    [LOCK_SHARED] = {"lock_shared", "SELECT pg_advisory_xact_lock_shared(fleetcast_lock())"},
    [LOCK_EXCLUSIVE] = {"lock_exclusive", "SELECT pg_advisory_xact_lock(fleetcast_lock())"},
    [FENCE] = {"fence", "SELECT 1 FROM coordinator WHERE term = $1::bigint"},
    [LOOK] = {"look", "SELECT term, beat, holder, incarnation, map_version, content_version,"
                      " clock_timestamp() FROM coordinator"},
    [TAKE] = {"take", "UPDATE coordinator SET term = term + 1, beat = beat + 1,"
                      " holder = $3::text, incarnation = $4::uuid"
                      " WHERE term = $1::bigint AND beat = $2::bigint"},
    [BEAT] = {"beat", "UPDATE coordinator SET beat = beat + 1 WHERE term = $1::bigint"
                      " RETURNING clock_timestamp()"},
    [RAISE] = {"raise", "UPDATE coordinator SET term = $2::bigint, beat = beat + 1"
                        " WHERE term = $1::bigint"},
    [RELEASE] = {"release", "UPDATE coordinator SET holder = '' WHERE term = $1::bigint"},
    [LOAD_NODES] = {"load_nodes", "SELECT name, incarnation, rpc_address, health_address, weight"
                                  " FROM node ORDER BY name"},
    [LOAD_PARTITIONS] = {"load_partitions",
                         "SELECT name, home, driver, epoch, timeline, lsn, content_applied"
                         " FROM partition ORDER BY name"},
    [LOAD_RANGES] = {"load_ranges", "SELECT first, last, partition FROM range ORDER BY first"},
    [LOAD_CONTENT] = {"load_content", "SELECT name, kind, id, version, state, started_at, item,"
                                      " revision, all_revision, paused_until, start_at, because"
                                      " FROM content ORDER BY version"},
    [PUT_NODES] =
        {"put_nodes",
         "INSERT INTO node AS n (name, incarnation, rpc_address, health_address, weight)"
         " SELECT * FROM unnest($2::text[], $3::uuid[], $4::text[], $5::text[], $6::int[])"
         " WHERE" MINE "ON CONFLICT (name) DO UPDATE SET"
         " incarnation = excluded.incarnation, rpc_address = excluded.rpc_address,"
         " health_address = excluded.health_address, weight = excluded.weight,"
         " registered_at = CASE WHEN n.incarnation = excluded.incarnation"
         "  THEN n.registered_at ELSE now() END"},
    [PUT_PARTITIONS] = {"put_partitions",
                        "INSERT INTO partition (name, home, driver, epoch, timeline, lsn,"
                        " content_applied)"
                        " SELECT * FROM unnest($2::text[], $3::text[], $4::text[], $5::bigint[],"
                        "  $6::bigint[], $7::bigint[], $8::bigint[])"
                        " WHERE" MINE "ON CONFLICT (name) DO UPDATE SET"
                        " driver = excluded.driver, epoch = excluded.epoch,"
                        " timeline = excluded.timeline, lsn = excluded.lsn,"
                        " content_applied = excluded.content_applied"},
    [STEP_MAP] = {"step_map", "UPDATE coordinator SET map_version = map_version + $2::int"
                              " WHERE term = $1::bigint RETURNING map_version"},
    [DROP_RANGES] = {"drop_ranges", "DELETE FROM range WHERE first = ANY($2::int[]) AND" MINE},
    [PUT_RANGES] = {"put_ranges", "INSERT INTO range (first, last, partition)"
                                  " SELECT * FROM unnest($2::int[], $3::int[], $4::text[])"
                                  " WHERE" MINE},
    [STEP_CONTENT] = {"step_content", "UPDATE coordinator SET content_version = $3::bigint"
                                      " WHERE term = $1::bigint AND content_version = $2::bigint"},
    [PUT_CONTENT] = {"put_content",
                     "INSERT INTO content AS c (kind, name, id, version, state, item, revision,"
                     "  all_revision, paused_until, start_at, because)"
                     " SELECT kind, name, id, version, state, item, revision, all_revision,"
                     "  nullif(until, 'infinity'), nullif(start_at, 'infinity'), because"
                     " FROM unnest($2::smallint[], $3::text[], $4::int[], $5::bigint[],"
                     "  $6::smallint[], $7::text[], $9::int[], $10::int[], $11::timestamptz[],"
                     "  $12::timestamptz[], $13::text[]) u(kind, name, id, version, state, item,"
                     "  revision, all_revision, until, start_at, because)"
                     " WHERE (SELECT content_version FROM coordinator) = $8::bigint AND" MINE
                     "ON CONFLICT (kind, name) DO UPDATE SET"
                     " version = excluded.version, state = excluded.state, item = excluded.item,"
                     " revision = excluded.revision, all_revision = excluded.all_revision,"
                     " paused_until = excluded.paused_until, start_at = excluded.start_at,"
                     " because = excluded.because,"
                     " started_at = coalesce(c.started_at,"
                     "  CASE WHEN c.kind IN (2, 3) AND excluded.state = 0 THEN now() END)"
                     " RETURNING version, started_at"},
    [PUT_AUDIT] = {"put_audit", "INSERT INTO audit (term, who, what, because)"
                                " SELECT $1::bigint, $2::text, $3::text, $4::text WHERE" MINE},
};

/* Read back by nobody: the catalog's gate is Patroni's; what must hold is the commit's durability
 * and that a dead client's transaction does not hold the lock. */
static const char *const settings[] = {"synchronous_commit",
                                       "on",
                                       "default_transaction_isolation",
                                       "read committed",
                                       "idle_in_transaction_session_timeout",
                                       "5s",
                                       "client_connection_check_interval",
                                       "1s",
                                       NULL};

struct ledger {
    struct db *db;
    struct db_config config;
    char application[64];
    char *name;
    struct uuid incarnation;
    uint64_t term;
    bool held;         /* writes may go out */
    int64_t db_offset; /* database time - BOOTTIME, usec; by the last beat or load */
    char error[256];
    ledger_up_fn *on_up;
    void *arg;
    struct db_args args[CALLS_MAX]; /* of the transaction that is being built */
    struct db_call calls[CALLS_MAX];
    unsigned call_count;
};

/* One transaction on its way. */
struct entry {
    struct ledger *ledger;
    unsigned proof; /* the call that must touch a row, else the term was not ours */
    unsigned value; /* the call whose row holds what the completion tells */
    uint32_t count;
    uint64_t first_version; /* of a content change */
    void (*finish)(struct entry *e, enum ledger_outcome outcome, const struct db_reply *r);
    union {
        ledger_done_fn *done;
        ledger_look_fn *look;
        ledger_load_fn *load;
        ledger_map_fn *map;
        ledger_content_fn *content;
    };
    void *arg;
};

static struct slice
slice_of(const char *text)
{
    return (struct slice){text, strlen(text)};
}

/* ---- life ---- */

static void
on_db_up(void *arg, struct db *db, bool up)
{
    struct ledger *l = arg;
    snprintf(l->error, sizeof l->error, "%s", up ? "" : db_error(db));
    if (!up)
        l->held = false;
    l->on_up(l->arg, up);
}

int
ledger_start(struct ledger **ret, uv_loop_t *loop, const struct ledger_config *config,
             struct rng *rng, ledger_up_fn *on_up, void *arg)
{
    struct ledger *l = calloc(1, sizeof *l);
    if (!l)
        return -ENOMEM;
    int err = 0;
    for (unsigned i = 0; i < CALLS_MAX && err == 0; i++)
        err = db_args_init(&l->args[i], ARENA_BYTES);
    snprintf(l->application, sizeof l->application, "fleetcast-coordinator/%s", config->name);
    l->name = strdup(config->name);
    l->incarnation = config->incarnation;
    l->on_up = on_up;
    l->arg = arg;
    l->config = (struct db_config){.dsn = config->dsn,
                                   .application_name = l->application,
                                   .statements = statements,
                                   .statement_count = STATEMENT_COUNT,
                                   .connect_timeout = CONNECT_TIMEOUT,
                                   .reconnect = true,
                                   .settings = settings};
    if (err == 0 && !l->name)
        err = -ENOMEM;
    if (err == 0)
        err = db_start(&l->db, loop, &l->config, rng, on_db_up, l);
    if (err < 0)
        ledger_free(l);
    else
        *ret = l;
    return err;
}

void
ledger_stop(struct ledger *l)
{
    db_stop(l->db);
}

struct ledger *
ledger_free(struct ledger *l)
{
    if (!l)
        return NULL;
    db_free(l->db);
    for (unsigned i = 0; i < CALLS_MAX; i++)
        db_args_done(&l->args[i]);
    free(l->name);
    free(l);
    return NULL;
}

bool
ledger_ready(const struct ledger *l)
{
    return db_ready(l->db);
}

const char *
ledger_error(const struct ledger *l)
{
    return l->error[0] != '\0' ? l->error : db_error(l->db);
}

usec_t
ledger_commit_lag(const struct ledger *l)
{
    return db_commit_lag(l->db);
}

void
ledger_hold(struct ledger *l, uint64_t term)
{
    l->term = term;
    l->held = true;
}

void
ledger_let_go(struct ledger *l)
{
    l->held = false;
}

bool
ledger_held(const struct ledger *l)
{
    return l->held;
}

uint64_t
ledger_term(const struct ledger *l)
{
    return l->term;
}

/* ---- building and ending a transaction ---- */

static void
begin(struct ledger *l, enum statement lock)
{
    l->call_count = 0;
    l->calls[l->call_count++] = (struct db_call){.statement = lock};
}

static struct db_args *
call(struct ledger *l, enum statement s)
{
    assert(l->call_count < CALLS_MAX);
    struct db_args *a = &l->args[l->call_count];
    db_args_reset(a);
    l->calls[l->call_count++] = (struct db_call){.statement = s, .args = a};
    return a;
}

/* A write: its first parameter is the term. */
static struct db_args *
write_call(struct ledger *l, enum statement s)
{
    struct db_args *a = call(l, s);
    db_put_int8(a, (int64_t) l->term);
    return a;
}

static void
begin_write(struct ledger *l)
{
    begin(l, LOCK_SHARED);
    write_call(l, FENCE);
}

static enum ledger_outcome
judge(struct entry *e, enum db_outcome outcome, const struct db_reply *r)
{
    switch (outcome) {
    case DB_DONE: return db_affected(r, e->proof) > 0 ? LEDGER_DONE : LEDGER_FENCED;
    case DB_REFUSED:
        snprintf(e->ledger->error, sizeof e->ledger->error, "%s: %s", db_sqlstate(r),
                 db_message(r));
        return LEDGER_REFUSED;
    case DB_NOT_RUN:
    case DB_LOST: break;
    }
    return LEDGER_DOUBT;
}

static void
on_done(void *arg, enum db_outcome outcome, const struct db_reply *r)
{
    struct entry *e = arg;
    e->finish(e, judge(e, outcome, r), r);
    free(e);
}

static int
submit(struct ledger *l, const struct entry *like)
{
    struct entry *e = malloc(sizeof *e);
    if (!e)
        return -ENOMEM;
    *e = *like;
    e->ledger = l;
    int err = db_submit(l->db, l->calls, l->call_count, WRITE_TIMEOUT, on_done, e);
    if (err < 0)
        free(e);
    return err;
}

static void
finish_done(struct entry *e, enum ledger_outcome outcome, const struct db_reply *r)
{
    e->done(e->arg, outcome);
}

static void
keep_time(struct ledger *l, const struct db_reply *r, unsigned at, unsigned column)
{
    l->db_offset = db_get_time(r, at, 0, column) - (int64_t) clock_boot();
}

int64_t
ledger_db_now(const struct ledger *l, usec_t now)
{
    return (int64_t) now + l->db_offset;
}

static void
finish_beat(struct entry *e, enum ledger_outcome outcome, const struct db_reply *r)
{
    if (outcome == LEDGER_DONE)
        keep_time(e->ledger, r, 1, 0);
    e->done(e->arg, outcome);
}

static void
finish_map(struct entry *e, enum ledger_outcome outcome, const struct db_reply *r)
{
    e->map(e->arg, outcome, outcome == LEDGER_DONE ? (uint64_t) db_get_int(r, e->value, 0, 0) : 0);
}

/* ---- becoming the holder ---- */

static struct ledger_holder
read_holder(const struct db_reply *r, unsigned at)
{
    return (struct ledger_holder){.term = (uint64_t) db_get_int(r, at, 0, 0),
                                  .beat = (uint64_t) db_get_int(r, at, 0, 1),
                                  .name = db_get_text(r, at, 0, 2),
                                  .incarnation = db_get_uuid(r, at, 0, 3)};
}

static void
finish_look(struct entry *e, enum ledger_outcome outcome, const struct db_reply *r)
{
    struct ledger_holder h = {0};
    if (outcome == LEDGER_DONE)
        h = read_holder(r, 1);
    e->look(e->arg, outcome, outcome == LEDGER_DONE ? &h : NULL);
}

int
ledger_look(struct ledger *l, ledger_look_fn *done, void *arg)
{
    begin(l, LOCK_SHARED);
    call(l, LOOK);
    return submit(l, &(struct entry){.proof = 1, .finish = finish_look, .look = done, .arg = arg});
}

int
ledger_take(struct ledger *l, const struct ledger_holder *seen, ledger_done_fn *done, void *arg)
{
    begin(l, LOCK_EXCLUSIVE);
    struct db_args *a = call(l, TAKE);
    db_put_int8(a, (int64_t) seen->term);
    db_put_int8(a, (int64_t) seen->beat);
    db_put_text(a, slice_of(l->name));
    db_put_uuid(a, &l->incarnation);
    return submit(l, &(struct entry){.proof = 1, .finish = finish_done, .done = done, .arg = arg});
}

/* ---- loading everything ---- */

enum { AT_HOLDER = 1, AT_NODES, AT_PARTITIONS, AT_RANGES, AT_CONTENT };

struct loaded {
    struct node_record *nodes;
    struct partition_record *partitions;
    struct range *ranges;
    struct sources_record *sources;
};

static bool
copy_column(char *to, size_t size, const struct db_reply *r, unsigned at, unsigned row,
            unsigned column)
{
    struct slice s = db_get_text(r, at, row, column);
    if (s.bytes >= size)
        return false;
    memcpy(to, s.data, s.bytes);
    to[s.bytes] = '\0';
    return true;
}

static int
read_nodes(struct loaded *to, const struct db_reply *r)
{
    for (unsigned i = 0; i < db_rows(r, AT_NODES); i++) {
        struct node_record *n = &to->nodes[i];
        n->incarnation = db_get_uuid(r, AT_NODES, i, 1);
        n->weight = (uint32_t) db_get_int(r, AT_NODES, i, 4);
        if (!copy_column(n->name, sizeof n->name, r, AT_NODES, i, 0) ||
            !copy_column(n->rpc_address, sizeof n->rpc_address, r, AT_NODES, i, 2) ||
            !copy_column(n->health_address, sizeof n->health_address, r, AT_NODES, i, 3))
            return -EINVAL;
    }
    return 0;
}

static int
read_partitions(struct loaded *to, const struct db_reply *r)
{
    for (unsigned i = 0; i < db_rows(r, AT_PARTITIONS); i++) {
        struct partition_record *p = &to->partitions[i];
        p->epoch = (uint64_t) db_get_int(r, AT_PARTITIONS, i, 3);
        p->timeline = (uint32_t) db_get_int(r, AT_PARTITIONS, i, 4);
        p->lsn = (uint64_t) db_get_int(r, AT_PARTITIONS, i, 5);
        p->content_applied = (uint64_t) db_get_int(r, AT_PARTITIONS, i, 6);
        if (!copy_column(p->name, sizeof p->name, r, AT_PARTITIONS, i, 0) ||
            !copy_column(p->home, sizeof p->home, r, AT_PARTITIONS, i, 1) ||
            !copy_column(p->driver, sizeof p->driver, r, AT_PARTITIONS, i, 2))
            return -EINVAL;
    }
    return 0;
}

static int
read_ranges(struct loaded *to, const struct db_reply *r)
{
    unsigned partition_count = db_rows(r, AT_PARTITIONS), at = 0;
    for (unsigned i = 0; i < db_rows(r, AT_RANGES); i++) {
        struct slice name = db_get_text(r, AT_RANGES, i, 2);
        /* Neighbours mostly share a partition: look on from where the last one was found. */
        for (unsigned tried = 0;; tried++) {
            if (tried == partition_count)
                return -EINVAL;
            const char *here = to->partitions[at].name;
            if (strlen(here) == name.bytes && memcmp(here, name.data, name.bytes) == 0)
                break;
            at = (at + 1) % partition_count;
        }
        to->ranges[i] = (struct range){(int32_t) db_get_int(r, AT_RANGES, i, 0),
                                       (int32_t) db_get_int(r, AT_RANGES, i, 1), (uint16_t) at};
    }
    return 0;
}

static void
read_content(struct loaded *to, const struct db_reply *r)
{
    for (unsigned i = 0; i < db_rows(r, AT_CONTENT); i++) {
        to->sources[i] =
            (struct sources_record){.name = db_get_text(r, AT_CONTENT, i, 0),
                                    .row = {.kind = (uint8_t) db_get_int(r, AT_CONTENT, i, 1),
                                            .id = (int32_t) db_get_int(r, AT_CONTENT, i, 2),
                                            .version = (uint64_t) db_get_int(r, AT_CONTENT, i, 3),
                                            .state = (uint8_t) db_get_int(r, AT_CONTENT, i, 4),
                                            .started_at = db_get_time(r, AT_CONTENT, i, 5),
                                            .json = db_get_text(r, AT_CONTENT, i, 6),
                                            .revision = (uint32_t) db_get_int(r, AT_CONTENT, i, 7),
                                            .all_revision =
                                                (uint32_t) db_get_int(r, AT_CONTENT, i, 8),
                                            .until = db_get_time(r, AT_CONTENT, i, 9),
                                            .start_at = db_get_time(r, AT_CONTENT, i, 10),
                                            .because = db_get_text(r, AT_CONTENT, i, 11)}};
    }
}

/* One more than needed, so that nothing is an allocation of no bytes. */
static int
make_room(struct loaded *to, const struct db_reply *r)
{
    to->nodes = calloc(db_rows(r, AT_NODES) + 1, sizeof *to->nodes);
    to->partitions = calloc(db_rows(r, AT_PARTITIONS) + 1, sizeof *to->partitions);
    to->ranges = calloc(db_rows(r, AT_RANGES) + 1, sizeof *to->ranges);
    to->sources = calloc(db_rows(r, AT_CONTENT) + 1, sizeof *to->sources);
    return to->nodes && to->partitions && to->ranges && to->sources ? 0 : -ENOMEM;
}

static int
read_all(struct loaded *to, const struct db_reply *r)
{
    if (db_rows(r, AT_PARTITIONS) > PARTITIONS_MAX)
        return -E2BIG;
    int err = make_room(to, r);
    if (err == 0)
        err = read_nodes(to, r);
    if (err == 0)
        err = read_partitions(to, r);
    if (err == 0)
        err = read_ranges(to, r);
    if (err == 0)
        read_content(to, r);
    return err;
}

static struct ledger_image
image_of(const struct loaded *from, const struct db_reply *r)
{
    return (struct ledger_image){.holder = read_holder(r, AT_HOLDER),
                                 .content_version = (uint64_t) db_get_int(r, AT_HOLDER, 0, 5),
                                 .fleet = {.map_version = (uint64_t) db_get_int(r, AT_HOLDER, 0, 4),
                                           .node_count = db_rows(r, AT_NODES),
                                           .nodes = from->nodes,
                                           .partition_count = db_rows(r, AT_PARTITIONS),
                                           .partitions = from->partitions,
                                           .ranges = {.ranges = from->ranges,
                                                      .count = db_rows(r, AT_RANGES)}},
                                 .source_count = db_rows(r, AT_CONTENT),
                                 .sources = from->sources};
}

static void
finish_load(struct entry *e, enum ledger_outcome outcome, const struct db_reply *r)
{
    if (outcome != LEDGER_DONE) {
        e->load(e->arg, outcome, NULL);
        return;
    }
    struct loaded all = {0};
    int err = read_all(&all, r);
    if (err < 0) {
        snprintf(e->ledger->error, sizeof e->ledger->error, "catalog does not load: %s",
                 strerror(-err));
        e->load(e->arg, LEDGER_REFUSED, NULL);
    } else {
        struct ledger_image image = image_of(&all, r);
        keep_time(e->ledger, r, AT_HOLDER, 6);
        e->load(e->arg, LEDGER_DONE, &image);
    }
    free(all.nodes);
    free(all.partitions);
    free(all.ranges);
    free(all.sources);
}

int
ledger_load(struct ledger *l, ledger_load_fn *done, void *arg)
{
    begin(l, LOCK_SHARED);
    call(l, LOOK);
    call(l, LOAD_NODES);
    call(l, LOAD_PARTITIONS);
    call(l, LOAD_RANGES);
    call(l, LOAD_CONTENT);
    return submit(
        l, &(struct entry){.proof = AT_HOLDER, .finish = finish_load, .load = done, .arg = arg});
}

/* ---- as the holder ---- */

int
ledger_beat(struct ledger *l, ledger_done_fn *done, void *arg)
{
    if (!l->held)
        return -ENOTCONN;
    begin(l, LOCK_SHARED);
    write_call(l, BEAT);
    return submit(l, &(struct entry){.proof = 1, .finish = finish_beat, .done = done, .arg = arg});
}

int
ledger_raise(struct ledger *l, uint64_t term, ledger_done_fn *done, void *arg)
{
    if (!l->held)
        return -ENOTCONN;
    begin(l, LOCK_EXCLUSIVE);
    db_put_int8(write_call(l, RAISE), (int64_t) term);
    int err =
        submit(l, &(struct entry){.proof = 1, .finish = finish_done, .done = done, .arg = arg});
    if (err == 0)
        l->term = term;
    return err;
}

int
ledger_release(struct ledger *l, ledger_done_fn *done, void *arg)
{
    if (!l->held)
        return -ENOTCONN;
    begin(l, LOCK_SHARED);
    write_call(l, RELEASE);
    return submit(l, &(struct entry){.proof = 1, .finish = finish_done, .done = done, .arg = arg});
}

static void
put_nodes(struct ledger *l, const struct fleet_changes *c)
{
    struct slice names[NODES_MAX], rpc[NODES_MAX], health[NODES_MAX];
    struct uuid incarnations[NODES_MAX];
    int32_t weights[NODES_MAX];
    for (unsigned i = 0; i < c->node_count; i++) {
        names[i] = slice_of(c->nodes[i].name);
        rpc[i] = slice_of(c->nodes[i].rpc_address);
        health[i] = slice_of(c->nodes[i].health_address);
        incarnations[i] = c->nodes[i].incarnation;
        weights[i] = (int32_t) c->nodes[i].weight;
    }
    struct db_args *a = write_call(l, PUT_NODES);
    db_put_texts(a, names, c->node_count);
    db_put_uuids(a, incarnations, c->node_count);
    db_put_texts(a, rpc, c->node_count);
    db_put_texts(a, health, c->node_count);
    db_put_int4s(a, weights, c->node_count);
}

static void
put_partitions(struct ledger *l, const struct fleet_changes *c)
{
    struct slice names[PARTITIONS_MAX], homes[PARTITIONS_MAX], drivers[PARTITIONS_MAX];
    int64_t epochs[PARTITIONS_MAX], timelines[PARTITIONS_MAX], lsns[PARTITIONS_MAX],
        applied[PARTITIONS_MAX];
    for (unsigned i = 0; i < c->partition_count; i++) {
        const struct partition_record *p = &c->partitions[i];
        names[i] = slice_of(p->name);
        homes[i] = slice_of(p->home);
        drivers[i] = slice_of(p->driver);
        epochs[i] = (int64_t) p->epoch;
        timelines[i] = p->timeline;
        lsns[i] = (int64_t) p->lsn;
        applied[i] = (int64_t) p->content_applied;
    }
    struct db_args *a = write_call(l, PUT_PARTITIONS);
    db_put_texts(a, names, c->partition_count);
    db_put_texts(a, homes, c->partition_count);
    db_put_texts(a, drivers, c->partition_count);
    db_put_int8s(a, epochs, c->partition_count);
    db_put_int8s(a, timelines, c->partition_count);
    db_put_int8s(a, lsns, c->partition_count);
    db_put_int8s(a, applied, c->partition_count);
}

int
ledger_save(struct ledger *l, const struct fleet_changes *c, ledger_map_fn *done, void *arg)
{
    if (!l->held)
        return -ENOTCONN;
    begin_write(l);
    if (c->node_count > 0)
        put_nodes(l, c);
    if (c->partition_count > 0)
        put_partitions(l, c);
    unsigned value = l->call_count;
    db_put_int4(write_call(l, STEP_MAP), c->map_changed ? 1 : 0);
    return submit(
        l,
        &(struct entry){.proof = 1, .value = value, .finish = finish_map, .map = done, .arg = arg});
}

static void
put_audit(struct ledger *l, const struct ledger_audit *audit)
{
    struct db_args *a = write_call(l, PUT_AUDIT);
    db_put_text(a, audit->who);
    db_put_text(a, audit->what);
    db_put_text(a, audit->because);
}

static bool
range_equal(const struct range *a, const struct range *b)
{
    return a->first == b->first && a->last == b->last && a->partition == b->partition;
}

/* Rows of `from` that are not in `to` as they are go away; rows of `to` that were not there come.
 */
struct range_diff {
    uint32_t gone_count, fresh_count;
    int32_t gone[RANGES_MAX];
    int32_t first[RANGES_MAX], last[RANGES_MAX];
    struct slice names[RANGES_MAX];
};

static void
diff_ranges(struct range_diff *d, const struct rangemap *from, const struct rangemap *to,
            const struct slice *names)
{
    uint32_t i = 0, j = 0;
    while (i < from->count || j < to->count) {
        const struct range *old = i < from->count ? &from->ranges[i] : NULL;
        const struct range *now = j < to->count ? &to->ranges[j] : NULL;
        if (old && now && range_equal(old, now)) {
            i++;
            j++;
        } else if (old && (!now || old->first <= now->first)) {
            d->gone[d->gone_count++] = old->first;
            i++;
        } else {
            d->first[d->fresh_count] = now->first;
            d->last[d->fresh_count] = now->last;
            d->names[d->fresh_count++] = names[now->partition];
            j++;
        }
    }
}

int
ledger_place(struct ledger *l, const struct rangemap *from, const struct rangemap *to,
             const struct slice *names, const struct ledger_audit *audit, ledger_map_fn *done,
             void *arg)
{
    if (!l->held)
        return -ENOTCONN;
    if (from->count > RANGES_MAX || to->count > RANGES_MAX)
        return -E2BIG;
    struct range_diff *d = calloc(1, sizeof *d);
    if (!d)
        return -ENOMEM;
    diff_ranges(d, from, to, names);
    begin_write(l);
    db_put_int4s(write_call(l, DROP_RANGES), d->gone, d->gone_count);
    struct db_args *a = write_call(l, PUT_RANGES);
    db_put_int4s(a, d->first, d->fresh_count);
    db_put_int4s(a, d->last, d->fresh_count);
    db_put_texts(a, d->names, d->fresh_count);
    unsigned value = l->call_count;
    db_put_int4(write_call(l, STEP_MAP), 1);
    put_audit(l, audit);
    free(d);
    return submit(
        l,
        &(struct entry){.proof = 1, .value = value, .finish = finish_map, .map = done, .arg = arg});
}

static void
put_content(struct ledger *l, const struct sources_change *c)
{
    int16_t kinds[CONTENT_ITEMS_MAX], states[CONTENT_ITEMS_MAX];
    int32_t ids[CONTENT_ITEMS_MAX], revisions[CONTENT_ITEMS_MAX], alls[CONTENT_ITEMS_MAX];
    int64_t versions[CONTENT_ITEMS_MAX], untils[CONTENT_ITEMS_MAX], starts[CONTENT_ITEMS_MAX];
    struct slice names[CONTENT_ITEMS_MAX], items[CONTENT_ITEMS_MAX], because[CONTENT_ITEMS_MAX];
    for (uint32_t i = 0; i < c->count; i++) {
        const struct sources_item *item = c->items[i];
        kinds[i] = item->row.kind;
        states[i] = item->row.state;
        ids[i] = item->row.id;
        revisions[i] = (int32_t) item->row.revision;
        alls[i] = (int32_t) item->row.all_revision;
        untils[i] = item->row.until ? item->row.until : INT64_MAX;
        starts[i] = item->row.start_at ? item->row.start_at : INT64_MAX;
        because[i] = item->row.because;
        versions[i] = (int64_t) item->row.version;
        names[i] = slice_of(item->name);
        items[i] = item->row.json;
    }
    struct db_args *a = write_call(l, PUT_CONTENT);
    db_put_int2s(a, kinds, c->count);
    db_put_texts(a, names, c->count);
    db_put_int4s(a, ids, c->count);
    db_put_int8s(a, versions, c->count);
    db_put_int2s(a, states, c->count);
    db_put_texts(a, items, c->count);
    db_put_int8(a, (int64_t) c->version);
    db_put_int4s(a, revisions, c->count);
    db_put_int4s(a, alls, c->count);
    db_put_times(a, untils, c->count);
    db_put_times(a, starts, c->count);
    db_put_texts(a, because, c->count);
}

static void
finish_content(struct entry *e, enum ledger_outcome outcome, const struct db_reply *r)
{
    int64_t started_at[CONTENT_ITEMS_MAX] = {0};
    for (unsigned i = 0; outcome == LEDGER_DONE && i < db_rows(r, e->value); i++) {
        uint64_t index = (uint64_t) db_get_int(r, e->value, i, 0) - e->first_version;
        assert(index < e->count);
        started_at[index] = db_get_time(r, e->value, i, 1);
    }
    e->content(e->arg, outcome, outcome == LEDGER_DONE ? started_at : NULL);
}

int
ledger_content(struct ledger *l, const struct sources_change *change,
               const struct ledger_audit *audit, ledger_content_fn *done, void *arg)
{
    if (!l->held)
        return -ENOTCONN;
    assert(change->count > 0);
    begin(l, LOCK_SHARED);
    struct db_args *a = write_call(l, STEP_CONTENT);
    db_put_int8(a, (int64_t) change->old_version);
    db_put_int8(a, (int64_t) change->version);
    unsigned value = l->call_count;
    put_content(l, change);
    put_audit(l, audit);
    return submit(l, &(struct entry){.proof = 1,
                                     .value = value,
                                     .count = change->count,
                                     .first_version = change->items[0]->row.version,
                                     .finish = finish_content,
                                     .content = done,
                                     .arg = arg});
}
