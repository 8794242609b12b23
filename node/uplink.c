/* uplink.c - a report each second, and the catalog's content for the partitions that lack it. */
#include "node/uplink.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>

#include "shared/log.h"
#include "shared/secret.h"

#define REPORT_EVERY_MS  1000u
#define CONTENT_AGAIN_MS 50u /* while a page is being applied */
#define CALL_TIMEOUT     (3 * USEC_PER_SEC)
#define SILENT_PAUSE     (2 * USEC_PER_SEC) /* after a time-out: an ask every 5 s, with jitter */
#define EARLY_EVERY      USEC_PER_SEC

struct uplink {
    struct uplink_config config;
    struct partition **partitions;
    unsigned partition_count;
    usec_t (*loop_lag)(void *arg);
    void *lag_arg;
    struct partition_report *reports; /* room for one report's partitions */

    struct rpc_client *client;
    struct feed_subscriber *subscriber;
    struct message *message; /* requests are copied by rpc_call, replies are used at once */
    struct rng rng;
    uv_timer_t report_timer, content_timer;
    unsigned timers_open;

    bool registered, reporting, asking_content, stopping, stopped;
    uint64_t request_id;
    uint64_t term, map_version, content_version; /* as heard */
    uint64_t content_after;                      /* of the page that is being asked for */
    usec_t heard_at, quiet_until, early_at;
    uint32_t disk_used;
    bool silent; /* said once */
};

static void ask_content(struct uplink *u);

static struct slice
slice_of(const char *text)
{
    return (struct slice){text, strlen(text)};
}

static uint32_t
measure_disk(const char *dir)
{
    struct statvfs v;
    if (statvfs(dir, &v) < 0 || v.f_blocks == 0)
        return 0;
    /* as df: what only root may use is not free for us */
    uint64_t used = v.f_blocks - v.f_bfree, usable = used + v.f_bavail;
    return usable == 0 ? 100 : (uint32_t) ((used * 100 + usable - 1) / usable);
}

static int
call(struct uplink *u, struct request *q, rpc_reply_fn *on_reply)
{
    struct slice body;
    q->incarnation = u->config.incarnation;
    q->id = ++u->request_id;
    int err = message_write_request(u->message, q, &body);
    if (err == 0)
        err = rpc_call(u->client, body, CALL_TIMEOUT, on_reply, u);
    if (err < 0)
        log_event(LOG_LEVEL_WARNING, "uplink.unasked", "kind=%s error=\"%s\"",
                  message_kind_name(q->kind), strerror(-err));
    return err;
}

/* ---- content ---- */

/* The partition that lacks most, of those that could take a page now; NULL = none lacks any. */
static struct partition *
lacking(const struct uplink *u)
{
    struct partition *lowest = NULL;
    for (unsigned n = 0; n < u->partition_count; n++) {
        struct partition *p = u->partitions[n];
        uint64_t wanted = partition_content_wanted(p);
        if (partition_state_of(p) != PARTITION_OPEN || wanted >= u->content_version ||
            partition_content_applied(p) < wanted)
            continue;
        if (!lowest || wanted < partition_content_wanted(lowest))
            lowest = p;
    }
    return lowest;
}

static bool
any_lacks(const struct uplink *u)
{
    for (unsigned n = 0; n < u->partition_count; n++)
        if (partition_content_wanted(u->partitions[n]) < u->content_version)
            return true;
    return false;
}

/* Hands over what is new to `p`: the page may begin earlier, for another partition's sake. */
static void
hand_over(struct partition *p, const struct content_page *page, uint64_t after)
{
    uint64_t wanted = partition_content_wanted(p);
    struct content_page rest = *page;

    if (wanted < after || wanted >= page->version)
        return;
    while (rest.row_count > 0 && rest.rows->version <= wanted) {
        rest.rows++;
        rest.row_count--;
    }
    int err = partition_apply_content(p, &rest);
    if (err < 0 && err != -EAGAIN)
        log_event(LOG_LEVEL_ERROR, "uplink.content_refused", "partition=%s error=\"%s\"",
                  partition_name(p), strerror(-err));
}

static void
on_content(void *arg, int err, struct slice body)
{
    struct uplink *u = arg;
    struct reply reply;

    u->asking_content = false;
    if (u->stopped || err < 0)
        return; /* the next report asks again */
    u->heard_at = clock_boot();
    err = message_read_reply(u->message, body, &reply);
    if (err < 0 || reply.kind != MESSAGE_CONTENT || reply.status != STATUS_OK)
        return;
    for (unsigned n = 0; n < u->partition_count; n++)
        hand_over(u->partitions[n], &reply.content, u->content_after);
    ask_content(u);
}

static void
on_content_timer(uv_timer_t *timer)
{
    ask_content(timer->data);
}

static void
ask_content(struct uplink *u)
{
    if (u->asking_content || u->stopped || !any_lacks(u))
        return;
    struct partition *p = lacking(u);
    if (!p) { /* applying, or not driven yet */
        uv_timer_start(&u->content_timer, on_content_timer, CONTENT_AGAIN_MS, 0);
        return;
    }
    struct request q = {.kind = MESSAGE_CONTENT, .content = {.after = partition_content_wanted(p)}};
    u->asking_content = call(u, &q, on_content) == 0;
}

/* ---- reports ---- */

static void
take_numbers(struct uplink *u, const struct map *map)
{
    if (map->term != u->term) {
        log_event(LOG_LEVEL_INFO, "uplink.term", "term=%" PRIu64 " was=%" PRIu64, map->term,
                  u->term);
        u->registered = u->registered && u->term == 0;
    }
    u->term = map->term;
    u->content_version = map->content_version;
    if (map->full || map->version == u->map_version)
        u->map_version = map->version;
    ask_content(u);
}

static void
hear_nothing(struct uplink *u, int err)
{
    u->quiet_until = clock_boot() + rng_between(&u->rng, 0, SILENT_PAUSE);
    if (!u->silent)
        log_event(LOG_LEVEL_WARNING, "uplink.silent", "coordinator=%s error=\"%s\"",
                  u->config.coordinator_name, strerror(-err));
    u->silent = true;
}

static void
on_report(void *arg, int err, struct slice body)
{
    struct uplink *u = arg;
    struct reply reply;

    u->reporting = false;
    if (u->stopped)
        return;
    if (err == 0)
        err = message_read_reply(u->message, body, &reply);
    if (err < 0) {
        hear_nothing(u, err);
        return;
    }
    u->heard_at = clock_boot();
    if (u->silent)
        log_event(LOG_LEVEL_INFO, "uplink.heard", "coordinator=%s", u->config.coordinator_name);
    u->silent = false;
    if (reply.status != STATUS_OK ||
        (reply.kind != MESSAGE_REPORT && reply.kind != MESSAGE_REGISTER))
        return; /* a standby, or one that does not know us yet */
    u->registered = u->registered || reply.kind == MESSAGE_REGISTER;
    take_numbers(u, &reply.map);
}

static void
send_report(struct uplink *u)
{
    usec_t now = clock_boot();

    if (u->reporting || u->stopped || now < u->quiet_until)
        return;
    for (unsigned n = 0; n < u->partition_count; n++)
        partition_report(u->partitions[n], now, &u->reports[n]);
    u->disk_used = measure_disk(u->config.state_dir);
    struct request q = {
        .kind = u->registered ? MESSAGE_REPORT : MESSAGE_REGISTER,
        .report = {.incarnation = u->config.incarnation,
                   .name = slice_of(u->config.node),
                   .version = slice_of(u->config.program_version),
                   .rpc_address = slice_of(u->config.rpc_address),
                   .health_address = slice_of(u->config.health_address),
                   .weight = u->config.weight,
                   .term = u->term,
                   .map_version = u->map_version,
                   .content_version = u->content_version,
                   .loop_lag = u->loop_lag(u->lag_arg),
                   .disk_used_percent = u->disk_used,
                   .partition_count = u->partition_count,
                   .partitions = u->reports,
                   .stopping = u->stopping},
    };
    u->reporting = call(u, &q, on_report) == 0;
}

static void
on_report_timer(uv_timer_t *timer)
{
    struct uplink *u = timer->data;
    send_report(u);
    ask_content(u);
}

/* Never trusted: it only means "ask now". */
static void
on_hint(void *arg, const struct hint *hint)
{
    struct uplink *u = arg;
    usec_t now = clock_boot();

    if (hint->term == u->term && hint->map_version == u->map_version &&
        hint->content_version == u->content_version)
        return;
    if (now < u->early_at + EARLY_EVERY)
        return;
    u->early_at = now;
    u->quiet_until = 0;
    send_report(u);
}

void
uplink_say_stopping(struct uplink *u)
{
    u->stopping = true;
    send_report(u);
}

/* ---- life ---- */

static void
on_timer_closed(uv_handle_t *handle)
{
    struct uplink *u = handle->data;
    u->timers_open--;
}

static void
start_timers(struct uplink *u, uv_loop_t *loop)
{
    uv_timer_init(loop, &u->report_timer); /* cannot fail */
    uv_timer_init(loop, &u->content_timer);
    u->report_timer.data = u->content_timer.data = u;
    u->timers_open = 2;
    uv_timer_start(&u->report_timer, on_report_timer, 0, REPORT_EVERY_MS);
}

int
uplink_start(struct uplink **ret, uv_loop_t *loop, const struct uplink_config *config,
             const struct identity *identity, const struct peers *peers,
             struct partition **partitions, unsigned partition_count, usec_t (*loop_lag)(void *arg),
             void *arg)
{
    const struct peer *coordinator = peers_find(peers, config->coordinator_name);
    uint64_t seed;
    assert(coordinator && partition_count <= PARTITIONS_DRIVEN_MAX);

    struct uplink *u = calloc(1, sizeof(*u));
    if (!u)
        return -ENOMEM;
    *u = (struct uplink){.config = *config,
                         .partitions = partitions,
                         .partition_count = partition_count,
                         .loop_lag = loop_lag,
                         .lag_arg = arg};
    secret_random(&seed, sizeof(seed));
    rng_seed(&u->rng, seed);
    u->message = message_new();
    u->reports = calloc(partition_count + 1u, sizeof(*u->reports));
    int err = u->message && u->reports ? 0 : -ENOMEM;
    if (err == 0)
        err = rpc_client_start(&u->client, loop, config->coordinator_url, identity, peers,
                               coordinator);
    if (err == 0)
        err = feed_subscribe_start(&u->subscriber, loop, config->feed_url, on_hint, u);
    start_timers(u, loop);
    *ret = u; /* also after a fault: the caller stops and frees it when the loop has ended */
    return err;
}

usec_t
uplink_heard_age(const struct uplink *u, usec_t now)
{
    return u->heard_at == 0 ? USEC_INFINITY : now - u->heard_at;
}

uint64_t
uplink_term(const struct uplink *u)
{
    return u->term;
}

uint64_t
uplink_map_version(const struct uplink *u)
{
    return u->map_version;
}

uint64_t
uplink_content_version(const struct uplink *u)
{
    return u->content_version;
}

uint32_t
uplink_disk_used(const struct uplink *u)
{
    return u->disk_used;
}

void
uplink_stop(struct uplink *u)
{
    if (u->stopped)
        return;
    u->stopped = true;
    uv_close((uv_handle_t *) &u->report_timer, on_timer_closed);
    uv_close((uv_handle_t *) &u->content_timer, on_timer_closed);
    if (u->subscriber)
        feed_subscribe_stop(u->subscriber);
    if (u->client)
        rpc_client_stop(u->client);
}

struct uplink *
uplink_free(struct uplink *u)
{
    if (!u)
        return NULL;
    assert(u->timers_open == 0);
    feed_subscribe_free(u->subscriber);
    rpc_client_free(u->client);
    message_free(u->message);
    free(u->reports);
    free(u);
    return NULL;
}
