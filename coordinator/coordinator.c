/* Owns every module of the process: one order to create them, its reverse to free them. */
#include "coordinator/coordinator.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "coordinator/control.h"
#include "coordinator/health.h"
#include "shared/log.h"
#include "shared/secret.h"

#define STOP_GRACE (10 * USEC_PER_SEC) /* the good-bye to the catalog has 5 s of its own */

struct coordinator {
    const struct coordinator_settings *settings;
    uv_loop_t loop;
    uv_timer_t stopper; /* ends everything from the loop, never from inside a module's callback */
    bool stopping;
    int exit_code;
    struct rng rng;
    struct uuid incarnation;
    struct service *service;
    struct fleet *fleet;
    struct sources *sources;
    struct ledger *ledger;
    struct holder *holder;
    struct control *control;
    struct health *health;
    struct requests *requests;
};

static void
on_stopper(uv_timer_t *timer)
{
    struct coordinator *c = timer->data;
    if (c->requests)
        requests_stop(c->requests);
    if (c->health)
        health_stop(c->health);
    if (c->control)
        control_stop(c->control);
    if (c->ledger)
        ledger_stop(c->ledger);
    if (c->service)
        service_stop(c->service);
    uv_close((uv_handle_t *) &c->stopper, NULL);
}

static void
stop(struct coordinator *c, int exit_code)
{
    if (c->stopping)
        return;
    c->stopping = true;
    c->exit_code = exit_code;
    uv_timer_start(&c->stopper, on_stopper, 0, 0);
}

static void
on_signal(void *arg)
{
    struct coordinator *c = arg;
    log_event(LOG_LEVEL_INFO, "coordinator.stopping", "why=signal");
    if (c->holder)
        holder_leave(c->holder);
    else
        stop(c, 0);
}

static void
on_ledger_up(void *arg, bool up)
{
    struct coordinator *c = arg;
    char error[256];
    if (c->stopping)
        return;
    if (up)
        log_event(LOG_LEVEL_INFO, "catalog.up", "name=%s", c->settings->name);
    else
        log_event(LOG_LEVEL_WARNING, "catalog.down", "error=%s",
                  log_quote(error, sizeof error, ledger_error(c->ledger)));
    holder_up(c->holder, up);
}

static void
on_changed(void *arg)
{
    struct coordinator *c = arg;
    control_changed(c->control);
}

/* The first time that the catalog is ours: from now on we answer. */
static int
serve(struct coordinator *c)
{
    struct requests_config config = {.name = c->settings->name,
                                     .url = c->settings->listen,
                                     .identity = &c->settings->identity,
                                     .peers = &c->settings->peers,
                                     .fleet = c->fleet,
                                     .sources = c->sources,
                                     .ledger = c->ledger,
                                     .holder = c->holder,
                                     .changed = on_changed,
                                     .arg = c};
    int err = requests_start(&c->requests, &c->loop, &config);
    if (err < 0) {
        fprintf(stderr, "fleetcast-coordinator: cannot listen on %s: %s\n", c->settings->listen,
                strerror(-err));
        return err;
    }
    err = control_serve(c->control, c->settings->feed, c->requests);
    if (err < 0)
        fprintf(stderr, "fleetcast-coordinator: cannot publish on %s: %s\n", c->settings->feed,
                strerror(-err));
    else
        service_ready(c->service, "holding the catalog");
    return err;
}

static int
restore(struct coordinator *c, const struct ledger_image *image)
{
    int err = fleet_restore(c->fleet, &image->fleet, clock_boot());
    if (err == 0)
        err = sources_restore(c->sources, image->content_version, image->sources,
                              image->source_count);
    if (err < 0)
        fprintf(stderr, "fleetcast-coordinator: the catalog's content cannot be used: %s\n",
                strerror(-err));
    return err;
}

static void
on_holder(void *arg, enum holder_news news, const struct ledger_image *image)
{
    struct coordinator *c = arg;
    switch (news) {
    case HOLDER_LOADED:
        if (restore(c, image) < 0 || (!c->requests && !c->stopping && serve(c) < 0))
            stop(c, 1);
        return;
    case HOLDER_REFUSED:
        fprintf(stderr, "fleetcast-coordinator: another coordinator holds this catalog and is"
                        " alive: its beat moves. Stop it first, or use another catalog\n");
        stop(c, 1);
        return;
    case HOLDER_FENCED:
        fprintf(stderr, "fleetcast-coordinator: another coordinator has taken this catalog\n");
        stop(c, 1);
        return;
    case HOLDER_LEFT: stop(c, 0); return;
    }
}

static int
start_health(struct coordinator *c, const char *version)
{
    struct health_config config = {.name = c->settings->name,
                                   .address = c->settings->health,
                                   .version = version,
                                   .watchdog = c->settings->watchdog,
                                   .fleet = c->fleet,
                                   .sources = c->sources,
                                   .ledger = c->ledger,
                                   .holder = c->holder,
                                   .control = c->control,
                                   .service = c->service,
                                   .requests = &c->requests};
    int err = health_start(&c->health, &c->loop, &config);
    if (err < 0)
        fprintf(stderr, "fleetcast-coordinator: cannot serve health on %s: %s\n",
                c->settings->health, strerror(-err));
    return err;
}

static int
start_all(struct coordinator *c, const char *version)
{
    int err = service_start(&c->service, &c->loop, STOP_GRACE, on_signal, c);
    if (err < 0)
        return err;
    c->fleet = fleet_new(c->settings->dead);
    c->sources = sources_new();
    if (!c->fleet || !c->sources)
        return -ENOMEM;
    struct ledger_config ledger = {c->settings->catalog, c->settings->name, c->incarnation};
    err = ledger_start(&c->ledger, &c->loop, &ledger, &c->rng, on_ledger_up, c);
    if (err < 0) {
        fprintf(stderr, "fleetcast-coordinator: [coordinator] catalog cannot be used: %s\n",
                strerror(-err));
        return err;
    }
    c->holder = holder_new(c->ledger, &c->incarnation, c->settings->dead, on_holder, c);
    if (!c->holder)
        return -ENOMEM;
    err = control_start(&c->control, &c->loop,
                        &(struct control_config){.dead = c->settings->dead,
                                                 .fleet = c->fleet,
                                                 .sources = c->sources,
                                                 .ledger = c->ledger,
                                                 .holder = c->holder,
                                                 .service = c->service});
    return err < 0 ? err : start_health(c, version);
}

static void
free_all(struct coordinator *c)
{
    requests_free(c->requests);
    health_free(c->health);
    control_free(c->control);
    holder_free(c->holder);
    ledger_free(c->ledger);
    sources_free(c->sources);
    fleet_free(c->fleet);
    service_free(c->service);
    free(c);
}

int
coordinator_run(const struct coordinator_settings *settings, const char *version)
{
    struct coordinator *c = calloc(1, sizeof *c);
    if (!c || uv_loop_init(&c->loop) < 0) {
        fprintf(stderr, "fleetcast-coordinator: out of memory\n");
        free(c);
        return 1;
    }
    log_open("fleetcast-coordinator", settings->name, LOG_LEVEL_INFO);
    c->settings = settings;
    uint64_t seed;
    secret_random(&seed, sizeof seed);
    rng_seed(&c->rng, seed);
    secret_random(&c->incarnation, sizeof c->incarnation);
    uv_timer_init(&c->loop, &c->stopper);
    c->stopper.data = c;
    int err = start_all(c, version);
    if (err < 0) {
        log_event(LOG_LEVEL_ERROR, "coordinator.start_failed", "error=%d", err);
        stop(c, 1);
    }
    uv_run(&c->loop, UV_RUN_DEFAULT);
    int closed = uv_loop_close(&c->loop);
    assert(closed == 0);
    int exit_code = c->exit_code;
    free_all(c);
    return exit_code;
}
