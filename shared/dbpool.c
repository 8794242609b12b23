/* A bounded set of connections to one database; each lane has one, or shares one. */
#include "shared/dbpool.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

static_assert(LANE_COUNT <= DBPOOL_MAX, "a pool holds every lane");

struct member {
    struct dbpool *pool;
    struct db *db;
    struct db_config config; /* the pool's with its own application_name */
    char application_name[64];
    unsigned index;
};

struct dbpool {
    dbpool_up_fn *on_up;
    void *arg;
    unsigned count;
    struct member members[LANE_COUNT];
};

static const char *const lane_names[LANE_COUNT] = {
    [LANE_TICK] = "tick", [LANE_FILL] = "fill", [LANE_INTAKE] = "intake", [LANE_QUERY] = "query"};

static void
on_member_up(void *arg, struct db *db, bool up)
{
    struct member *m = arg;

    for (unsigned lane = m->index; lane < LANE_COUNT; lane += m->pool->count)
        m->pool->on_up(m->pool->arg, (enum dbpool_lane) lane, up);
}

static int
start_member(struct dbpool *p, unsigned index, uv_loop_t *loop, const struct db_config *config,
             struct rng *rng)
{
    struct member *m = &p->members[index];

    m->pool = p;
    m->index = index;
    snprintf(m->application_name, sizeof(m->application_name), "%s/%s", config->application_name,
             lane_names[index]);
    m->config = *config;
    m->config.application_name = m->application_name;
    return db_start(&m->db, loop, &m->config, rng, on_member_up, m);
}

int
dbpool_start(struct dbpool **ret, uv_loop_t *loop, const struct db_config *config, unsigned count,
             struct rng *rng, dbpool_up_fn *on_up, void *arg)
{
    if (count == 0 || count > DBPOOL_MAX)
        return -EINVAL;
    struct dbpool *p = calloc(1, sizeof(*p));

    if (!p)
        return -ENOMEM;
    p->on_up = on_up;
    p->arg = arg;
    /* More connections than lanes would never be asked for anything. */
    count = MIN_OF(count, (unsigned) LANE_COUNT);
    int r = start_member(p, 0, loop, config, rng);
    if (r < 0) {
        free(p);
        return r;
    }
    /* Only memory can fail now; fewer connections serve all lanes, and dbpool_count tells. */
    for (p->count = 1; p->count < count; p->count++)
        if (start_member(p, p->count, loop, config, rng) < 0)
            break;
    *ret = p;
    return 0;
}

struct db *
dbpool_lane(struct dbpool *p, enum dbpool_lane lane)
{
    return p->members[(unsigned) lane % p->count].db;
}

unsigned
dbpool_count(const struct dbpool *p)
{
    return p->count;
}

unsigned
dbpool_ready(const struct dbpool *p)
{
    unsigned n = 0;

    for (unsigned i = 0; i < p->count; i++)
        n += db_ready(p->members[i].db);
    return n;
}

unsigned
dbpool_busy(const struct dbpool *p)
{
    unsigned n = 0;

    for (unsigned i = 0; i < p->count; i++)
        n += db_depth(p->members[i].db) > 0;
    return n;
}

void
dbpool_stop(struct dbpool *p)
{
    for (unsigned i = 0; i < p->count; i++)
        db_stop(p->members[i].db);
}

struct dbpool *
dbpool_free(struct dbpool *p)
{
    if (!p)
        return NULL;
    for (unsigned i = 0; i < p->count; i++)
        db_free(p->members[i].db);
    free(p);
    return NULL;
}
