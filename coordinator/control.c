/* The pulse: one timer that beats, judges silence, saves and publishes. */
#include "coordinator/control.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "proto/feed.h"
#include "shared/log.h"

#define BEAT_MAX USEC_PER_SEC

struct control {
    struct control_config config;
    uv_loop_t *loop;
    uv_timer_t timer;
    struct requests *requests;
    struct feed_publisher *feed;
    usec_t loop_lag;
    bool saving;
    struct fleet_changes changes; /* of the write on its way */
    struct hint published;
};

static void
publish(struct control *c, bool always)
{
    struct hint now = {.term = ledger_term(c->config.ledger),
                       .map_version = c->config.fleet->map_version,
                       .content_version = c->config.sources->version};
    if (!c->feed || !ledger_held(c->config.ledger) ||
        (!always && memcmp(&now, &c->published, sizeof now) == 0))
        return;
    c->published = now;
    feed_publish(c->feed, &now);
}

static void
on_saved(void *arg, enum ledger_outcome outcome, uint64_t map_version)
{
    struct control *c = arg;
    char error[256];
    c->saving = false;
    switch (outcome) {
    case LEDGER_DONE:
        fleet_changes_saved(c->config.fleet, &c->changes, map_version);
        control_changed(c);
        return;
    case LEDGER_FENCED: holder_fenced(c->config.holder); return;
    case LEDGER_REFUSED:
        log_event(LOG_LEVEL_ERROR, "fleet.not_saved", "error=%s",
                  log_quote(error, sizeof error, ledger_error(c->config.ledger)));
        break;
    case LEDGER_DOUBT: break;
    }
    fleet_changes_lost(c->config.fleet, &c->changes);
}

static void
save(struct control *c)
{
    if (c->saving || !ledger_held(c->config.ledger) ||
        !fleet_changes(c->config.fleet, &c->changes, clock_boot()))
        return;
    c->saving = ledger_save(c->config.ledger, &c->changes, on_saved, c) == 0;
    if (!c->saving)
        fleet_changes_lost(c->config.fleet, &c->changes);
}

void
control_changed(struct control *c)
{
    save(c);
    publish(c, false);
}

static void
on_timer(uv_timer_t *timer)
{
    struct control *c = timer->data;
    usec_t now = clock_boot();
    c->loop_lag = service_loop_lag(c->config.service);
    holder_tick(c->config.holder, now, c->config.fleet->term_heard);
    fleet_tick(c->config.fleet, now);
    save(c);
    if (c->requests)
        requests_tick(c->requests, now);
    publish(c, true);
}

int
control_start(struct control **ret, uv_loop_t *loop, const struct control_config *config)
{
    struct control *c = calloc(1, sizeof *c);
    if (!c)
        return -ENOMEM;
    c->config = *config;
    c->loop = loop;
    int err = uv_timer_init(loop, &c->timer);
    if (err < 0) {
        free(c);
        return err;
    }
    c->timer.data = c;
    uint64_t every = MIN_OF(BEAT_MAX, config->dead / 3) / USEC_PER_MSEC;
    err = uv_timer_start(&c->timer, on_timer, every, every);
    *ret = c; /* an initialised handle must be closed by the loop, whatever happened after */
    return err;
}

int
control_serve(struct control *c, const char *feed_url, struct requests *requests)
{
    int err = feed_publish_start(&c->feed, c->loop, feed_url);
    if (err < 0)
        return err;
    c->requests = requests;
    publish(c, true);
    return 0;
}

usec_t
control_loop_lag(const struct control *c)
{
    return c->loop_lag;
}

void
control_stop(struct control *c)
{
    c->requests = NULL;
    if (c->feed)
        feed_publish_stop(c->feed);
    uv_close((uv_handle_t *) &c->timer, NULL);
}

struct control *
control_free(struct control *c)
{
    if (!c)
        return NULL;
    feed_publish_free(c->feed);
    free(c);
    return NULL;
}
