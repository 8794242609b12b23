/* health.c - the node's health, as people, load balancers and Prometheus ask for it. */
#include "node/health.h"

#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/seal.h"
#include "shared/httpd.h"

#define CONNECTIONS_MAX   32u
#define IDLE_SECONDS      10u
#define DISK_FULL_PERCENT 97u            /* the high-water file and the logs still fit */
#define LAG_BOUND         (USEC_PER_SEC) /* a loop that is later cannot keep a send's deadline */
#define TEXT_PLAIN        "text/plain; charset=utf-8"

struct health {
    struct health_config config;
    struct httpd *httpd;
};

static double
seconds(usec_t span)
{
    return (double) span / (double) USEC_PER_SEC;
}

static double
milliseconds(usec_t span)
{
    return (double) span / (double) USEC_PER_MSEC;
}

/* ---- texts ---- */

struct text {
    char *data;
    size_t bytes;
    FILE *file;
};

static bool
text_open(struct text *t, struct httpd_request *request)
{
    *t = (struct text){0};
    t->file = open_memstream(&t->data, &t->bytes);
    if (!t->file)
        httpd_answer(request, 500, TEXT_PLAIN, "out of memory\n", 14);
    return t->file;
}

static void
text_answer(struct text *t, struct httpd_request *request, unsigned status, const char *type)
{
    if (fclose(t->file) == 0)
        httpd_answer(request, status, type, t->data, t->bytes);
    else
        httpd_answer(request, 500, TEXT_PLAIN, "out of memory\n", 14);
    free(t->data);
}

/* ---- /livez, /readyz ---- */

static _printf_(3, 4) bool check(FILE *out, bool ok, const char *format, ...)
{
    va_list args;
    fputs(ok ? "[+] " : "[-] ", out);
    va_start(args, format);
    vfprintf(out, format, args);
    va_end(args);
    fputc('\n', out);
    return ok;
}

static bool
check_partition(FILE *out, struct partition *p)
{
    const char *name = partition_name(p), *reason = partition_reason(p);
    enum partition_state state = partition_state_of(p);
    struct db *db = dbpool_lane(partition_pool(p), LANE_TICK);
    bool ok;

    if (state == PARTITION_OPEN && !partition_clock_ok(p))
        ok = check(out, false, "clock failed (%s): %s", name, reason);
    else if (state == PARTITION_OPEN)
        ok = check(out, true, "owner ok (%s epoch %" PRIu64 ", mine)", name, partition_epoch(p));
    else
        ok = check(out, false, "owner failed: %s is %s%s%s", name, partition_state_name(state),
                   *reason ? ": " : "", reason);
    if (db_ready(db))
        return check(out, true, "database ok (%s commit %.1f ms)", name,
                     milliseconds(db_commit_lag(db))) &&
               ok;
    return check(out, false, "database failed: %s: %s", name, db_error(db)) && ok;
}

static void
tell_coordinator(FILE *out, const struct uplink *u)
{
    usec_t age = uplink_heard_age(u, clock_boot());
    if (age == USEC_INFINITY)
        fputs("[i] coordinator not heard yet\n", out);
    else
        fprintf(out, "[i] coordinator %s (%.1f s ago)\n",
                age <= 10 * USEC_PER_SEC ? "ok" : "silent", seconds(age));
}

static bool
check_all(const struct health *h, FILE *out)
{
    const struct health_config *c = &h->config;
    uint32_t disk = uplink_disk_used(c->uplink);
    bool turns = *c->loop_lag < LAG_BOUND;

    bool ok = check(out, turns, "loop %s (lag %.0f ms)", turns ? "ok" : "failed",
                    milliseconds(*c->loop_lag));
    if (*c->stopping)
        ok = check(out, false, "process failed: stopping");
    for (unsigned n = 0; n < c->partition_count; n++)
        ok = check_partition(out, c->partitions[n]) && ok;
    bool room = disk < DISK_FULL_PERCENT;
    ok = check(out, room, "disk %s (%u %%)", room ? "ok" : "failed", disk) && ok;
    tell_coordinator(out, c->uplink);
    fprintf(out, "readyz check %s\n", ok ? "passed" : "failed");
    return ok;
}

static void
answer_ready(struct health *h, struct httpd_request *request, bool verbose)
{
    struct text all;
    if (!text_open(&all, request))
        return;
    bool ok = check_all(h, all.file);
    if (ok && !verbose) { /* what is wrong is told unasked, what is well is not */
        fclose(all.file);
        free(all.data);
        httpd_answer(request, 200, TEXT_PLAIN, "ok\n", 3);
        return;
    }
    text_answer(&all, request, ok ? 200 : 503, TEXT_PLAIN);
}

static void
answer_live(const struct health *h, struct httpd_request *request)
{
    bool ok =
        service_turning(h->config.service, clock_boot(), MAX_OF(h->config.watchdog, USEC_PER_SEC));
    httpd_answer(request, ok ? 200 : 503, TEXT_PLAIN, ok ? "ok\n" : "loop stuck\n", ok ? 3 : 11);
}

/* ---- /status ---- */

static json_t *
text_value(struct slice s)
{
    json_t *value = json_stringn(s.data, s.bytes);
    return value ? value : json_string("?"); /* words of a server in another encoding */
}

static json_t *
number(uint64_t n)
{
    return json_integer((json_int_t) n);
}

static json_t *
age_value(usec_t age)
{
    return age == USEC_INFINITY ? json_null() : json_real(seconds(age));
}

static json_t *
lateness_value(const struct histogram *lateness)
{
    return json_pack("{s:f, s:f, s:f, s:I}", "p50", milliseconds(histogram_quantile(lateness, 500)),
                     "p99", milliseconds(histogram_quantile(lateness, 990)), "max",
                     milliseconds(lateness->max), "count", (json_int_t) lateness->total);
}

static json_t *
partition_value(struct partition *p, usec_t now)
{
    const struct meter *m = partition_meter(p);
    struct partition_report r;

    partition_report(p, now, &r);
    return json_pack(
        "{s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o,"
        " s:f, s:f, s:f, s:o, s:o, s:o, s:o, s:{s:o, s:o, s:o}}",
        "name", text_value(r.name), "epoch", number(r.epoch), "gate", text_value(r.gate), "reason",
        text_value(r.reason), "timeline", number(r.timeline), "lsn", number(r.lsn),
        "content_applied", number(r.content_applied), "beat_age_s", age_value(r.beat_age),
        "devices", number(r.devices), "live", number(r.live), "due", number(r.due), "sent",
        number(r.sent), "failed", number(r.failed), "unknown", number(r.unknown), "in_flight",
        number(r.in_flight), "pool_busy", number(r.pool_busy), "pool_max", number(r.pool_max),
        "oldest_due_s", seconds(r.oldest_due), "rate_per_s", r.rate_milli / 1000.0, "plan_per_s",
        r.plan_milli / 1000.0, "lateness_ms", lateness_value(&r.lateness), "stale_claims",
        number(m->stale), "refused_by_epoch", number(m->fenced), "poison_rows", number(m->poison),
        "breakers_open", "url", number(partition_breakers_open(p, BREAKER_URL)), "scope",
        number(partition_breakers_open(p, BREAKER_SCOPE)), "account",
        number(partition_breakers_open(p, BREAKER_ACCOUNT)));
}

static void
answer_status(const struct health *h, struct httpd_request *request)
{
    const struct health_config *c = &h->config;
    usec_t now = clock_boot();
    json_t *partitions = json_array();
    char *text = NULL;

    for (unsigned n = 0; n < c->partition_count; n++)
        json_array_append_new(partitions, partition_value(c->partitions[n], now));
    json_t *all = json_pack("{s:s, s:s, s:b, s:f, s:o, s:o, s:o, s:o, s:o, s:i, s:i, s:o}", "node",
                            c->node, "version", c->version, "stopping", *c->stopping, "loop_lag_ms",
                            milliseconds(*c->loop_lag), "disk_used_percent",
                            number(uplink_disk_used(c->uplink)), "coordinator_heard_s",
                            age_value(uplink_heard_age(c->uplink, now)), "term",
                            number(uplink_term(c->uplink)), "map_version",
                            number(uplink_map_version(c->uplink)), "content_version",
                            number(uplink_content_version(c->uplink)), "in_flight",
                            (int) transport_in_flight(c->transport), "batches_waiting",
                            (int) intake_waiting(c->intake), "partitions", partitions);
    if (all)
        text = json_dumps(all, JSON_INDENT(2) | JSON_REAL_PRECISION(9));
    if (text)
        httpd_answer(request, 200, "application/json", text, strlen(text));
    else
        httpd_answer(request, 500, TEXT_PLAIN, "out of memory\n", 14);
    free(text);
    json_decref(all);
}

/* ---- /metrics ---- */

static void
metric(FILE *out, const char *name, const char *type, const char *help)
{
    fprintf(out, "# HELP fleetcast_%s %s\n# TYPE fleetcast_%s %s\n", name, help, name, type);
}

/* One figure of every partition. */
struct figure {
    const char *name, *type, *help;
    double (*value)(const struct partition_report *r, const struct meter *m);
};

#define FIGURE(name, expression)                                                                   \
    static double figure_##name(const struct partition_report *r _unused_,                         \
                                const struct meter *m _unused_)                                    \
    {                                                                                              \
        return (double) (expression);                                                              \
    }
FIGURE(open, r->state == PARTITION_OPEN)
FIGURE(epoch, r->epoch)
FIGURE(beat, r->beat_age == USEC_INFINITY ? -1.0 : seconds(r->beat_age))
FIGURE(devices, r->devices)
FIGURE(live, r->live)
FIGURE(due, r->due)
FIGURE(oldest, seconds(r->oldest_due))
FIGURE(in_flight, r->in_flight)
FIGURE(doubts, r->doubts_open)
FIGURE(busy, r->pool_busy)
FIGURE(pool, r->pool_max)
FIGURE(rate, r->rate_milli / 1000.0)
FIGURE(content, r->content_applied)
FIGURE(stale, m->stale)
FIGURE(fenced, m->fenced)
FIGURE(ticks, m->ticks)
FIGURE(tick_failed, m->tick_failed)
FIGURE(poison, m->poison)
FIGURE(fills, m->fills)
FIGURE(locks_long, m->locks_long)

static const struct figure figures[] = {
    {"partition_open", "gauge", "1 when the partition is driven and sends.", figure_open},
    {"partition_epoch", "gauge", "The epoch in which this node drives it.", figure_epoch},
    {"partition_beat_age_seconds", "gauge", "Age of the last confirmed beat, -1 = none.",
     figure_beat},
    {"devices", "gauge", "Devices driven.", figure_devices},
    {"enrollments_live", "gauge", "Enrollments that are not done, as far as known.", figure_live},
    {"enrollments_due", "gauge", "Enrollments in memory that are due.", figure_due},
    {"backlog_age_seconds", "gauge", "Age of the oldest due row that only a gap holds.",
     figure_oldest},
    {"in_flight", "gauge", "Requests on the wire.", figure_in_flight},
    {"doubts_open", "gauge", "Messages whose fate is unknown.", figure_doubts},
    {"pool_busy", "gauge", "Database connections with a transaction open.", figure_busy},
    {"pool_size", "gauge", "Database connections at most.", figure_pool},
    {"messages_per_second", "gauge", "Rate over the last 10 s.", figure_rate},
    {"content_applied", "gauge", "Content version that the partition has.", figure_content},
    {"stale_claims_total", "counter", "Claims of rows that had changed.", figure_stale},
    {"fenced_total", "counter", "Transactions refused because of a higher epoch.", figure_fenced},
    {"ticks_total", "counter", "Tick transactions.", figure_ticks},
    {"ticks_failed_total", "counter", "Tick transactions that did not commit.", figure_tick_failed},
    {"fills_total", "counter", "Queries that read devices' next rows.", figure_fills},
    {"locks_long_total", "counter", "Transactions that may have held the lock over 500 ms.",
     figure_locks_long},
    {"poison_rows_total", "counter", "Rows that the database refused one by one.", figure_poison},
};

static void
write_figures(FILE *out, const struct health_config *c, const struct partition_report *reports)
{
    for (size_t f = 0; f < ARRAY_SIZE(figures); f++) {
        metric(out, figures[f].name, figures[f].type, figures[f].help);
        for (unsigned n = 0; n < c->partition_count; n++)
            fprintf(out, "fleetcast_%s{partition=\"%s\"} %.15g\n", figures[f].name,
                    partition_name(c->partitions[n]),
                    figures[f].value(&reports[n], partition_meter(c->partitions[n])));
    }
}

static void
write_messages(FILE *out, const struct health_config *c)
{
    metric(out, "messages_total", "counter", "Messages by what became of them.");
    for (unsigned n = 0; n < c->partition_count; n++) {
        const struct meter *m = partition_meter(c->partitions[n]);
        const struct {
            const char *state;
            uint64_t count;
        } states[] = {{"claimed", m->claimed}, {"sent", m->sent},         {"failed", m->failed},
                      {"unknown", m->unknown}, {"not_sent", m->not_sent}, {"ended", m->ended}};
        for (size_t s = 0; s < ARRAY_SIZE(states); s++)
            fprintf(out, "fleetcast_messages_total{partition=\"%s\",state=\"%s\"} %" PRIu64 "\n",
                    partition_name(c->partitions[n]), states[s].state, states[s].count);
    }
}

static void
write_quantiles(FILE *out, const char *name, const char *partition, const struct histogram *h)
{
    static const uint32_t permilles[] = {500, 900, 990, 999};
    for (size_t q = 0; q < ARRAY_SIZE(permilles); q++)
        fprintf(out, "fleetcast_%s{partition=\"%s\",quantile=\"%.3g\"} %.6f\n", name, partition,
                permilles[q] / 1000.0, seconds(histogram_quantile(h, permilles[q])));
    fprintf(out, "fleetcast_%s_count{partition=\"%s\"} %" PRIu64 "\n", name, partition, h->total);
}

static void
write_lateness(FILE *out, const struct health_config *c)
{
    metric(out, "lateness_seconds", "summary", "First byte later than the row was ready.");
    for (unsigned n = 0; n < c->partition_count; n++)
        write_quantiles(out, "lateness_seconds", partition_name(c->partitions[n]),
                        &partition_meter(c->partitions[n])->lateness);
    metric(out, "tick_seconds", "summary", "Tick transaction, from submit to commit.");
    for (unsigned n = 0; n < c->partition_count; n++)
        write_quantiles(out, "tick_seconds", partition_name(c->partitions[n]),
                        &partition_meter(c->partitions[n])->tick_time);
    metric(out, "enrol_seconds", "summary", "Enrolment transaction, from submit to commit.");
    for (unsigned n = 0; n < c->partition_count; n++)
        write_quantiles(out, "enrol_seconds", partition_name(c->partitions[n]),
                        &partition_meter(c->partitions[n])->enrol_time);
}

static void
write_breakers(FILE *out, const struct health_config *c)
{
    static const struct {
        enum breaker_kind kind;
        const char *scope;
    } kinds[] = {{BREAKER_URL, "url"}, {BREAKER_SCOPE, "scope"}, {BREAKER_ACCOUNT, "account"}};

    metric(out, "breakers_open", "gauge", "Base URLs, scopes and accounts that are held back.");
    for (unsigned n = 0; n < c->partition_count; n++)
        for (size_t k = 0; k < ARRAY_SIZE(kinds); k++)
            fprintf(out, "fleetcast_breakers_open{partition=\"%s\",scope=\"%s\"} %u\n",
                    partition_name(c->partitions[n]), kinds[k].scope,
                    partition_breakers_open(c->partitions[n], kinds[k].kind));
}

static void
write_process(FILE *out, const struct health_config *c)
{
    const uint64_t *drops = rpc_server_drops(c->server);
    usec_t age = uplink_heard_age(c->uplink, clock_boot());

    metric(out, "loop_lag_seconds", "gauge", "Largest delay of the loop in the last report.");
    fprintf(out, "fleetcast_loop_lag_seconds %.6f\n", seconds(*c->loop_lag));
    metric(out, "coordinator_heard_age_seconds", "gauge", "Since its last answer, -1 = never.");
    fprintf(out, "fleetcast_coordinator_heard_age_seconds %.3f\n",
            age == USEC_INFINITY ? -1.0 : seconds(age));
    metric(out, "disk_used_ratio", "gauge", "Of the file system of the state directory.");
    fprintf(out, "fleetcast_disk_used_ratio %.2f\n", uplink_disk_used(c->uplink) / 100.0);
    metric(out, "slots_free", "gauge", "Requests that could go on the wire now.");
    fprintf(out, "fleetcast_slots_free %u\n", transport_free_slots(c->transport));
    metric(out, "import_batches_waiting", "gauge", "Batches of an import in the database.");
    fprintf(out, "fleetcast_import_batches_waiting %u\n", intake_waiting(c->intake));
    metric(out, "dropped_frames_total", "counter", "Frames dropped without an answer.");
    for (unsigned d = 0; d < SEAL_DROP_COUNT; d++)
        fprintf(out, "fleetcast_dropped_frames_total{reason=\"%s\"} %" PRIu64 "\n",
                seal_drop_name((enum seal_drop) d), drops[d]);
    fprintf(out, "fleetcast_dropped_frames_total{reason=\"body\"} %" PRIu64 "\n", *c->frames_bad);
}

static void
answer_metrics(const struct health *h, struct httpd_request *request)
{
    const struct health_config *c = &h->config;
    struct text all;
    struct partition_report *reports = calloc(c->partition_count + 1u, sizeof(*reports));

    if (!reports) {
        httpd_answer(request, 500, TEXT_PLAIN, "out of memory\n", 14);
    } else if (text_open(&all, request)) {
        for (unsigned n = 0; n < c->partition_count; n++)
            partition_report(c->partitions[n], clock_boot(), &reports[n]);
        write_messages(all.file, c);
        write_lateness(all.file, c);
        write_figures(all.file, c, reports);
        write_breakers(all.file, c);
        write_process(all.file, c);
        text_answer(&all, request, 200, "text/plain; version=0.0.4; charset=utf-8");
    }
    free(reports);
}

/* ---- life ---- */

static void
on_request(void *arg, struct httpd_request *request, const struct httpd_view *view)
{
    struct health *h = arg;

    if (strcmp(view->path, "/livez") == 0)
        answer_live(h, request);
    else if (strcmp(view->path, "/readyz") == 0)
        answer_ready(h, request, view->verbose);
    else if (strcmp(view->path, "/status") == 0)
        answer_status(h, request);
    else if (strcmp(view->path, "/metrics") == 0)
        answer_metrics(h, request);
    else
        httpd_answer(request, 404, TEXT_PLAIN, "/livez /readyz /status /metrics\n", 32);
}

int
health_start(struct health **ret, uv_loop_t *loop, const struct health_config *config)
{
    struct health *h = calloc(1, sizeof(*h));
    if (!h)
        return -ENOMEM;
    h->config = *config;
    int err =
        httpd_start(&h->httpd, loop, config->address, CONNECTIONS_MAX, IDLE_SECONDS, on_request, h);
    if (err < 0)
        free(h);
    else
        *ret = h;
    return err;
}

void
health_stop(struct health *h)
{
    httpd_stop(h->httpd);
}

struct health *
health_free(struct health *h)
{
    if (!h)
        return NULL;
    httpd_free(h->httpd);
    free(h);
    return NULL;
}
