/* The coordinator's health, as people, Prometheus and load balancers ask for it. */
#include "coordinator/health.h"

#include <errno.h>
#include <jansson.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "shared/httpd.h"

#define CONNECTIONS_MAX 32u
#define IDLE_SECONDS    10u

struct health {
    struct health_config config;
    struct httpd *httpd;
};

/* ---- texts ---- */

struct text {
    char *data;
    size_t bytes;
    FILE *file;
};

static bool
text_open(struct text *t)
{
    *t = (struct text){0};
    t->file = open_memstream(&t->data, &t->bytes);
    return t->file != NULL;
}

static void
text_answer(struct text *t, struct httpd_request *request, unsigned status, const char *type)
{
    if (fclose(t->file) == 0)
        httpd_answer(request, status, type, t->data, t->bytes);
    else
        httpd_answer(request, 500, "text/plain", "out of memory\n", 14);
    free(t->data);
}

static double
seconds(usec_t t)
{
    return (double) t / (double) USEC_PER_SEC;
}

static double
milliseconds(usec_t t)
{
    return (double) t / (double) USEC_PER_MSEC;
}

/* ---- /livez, /readyz ---- */

static bool
loop_turns(const struct health *h)
{
    return service_turning(h->config.service, clock_boot(), h->config.watchdog);
}

static _printf_(3, 4) bool tell(FILE *out, bool ok, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fprintf(out, ok ? "[+] " : "[-] ");
    vfprintf(out, format, args);
    fputc('\n', out);
    va_end(args);
    return ok;
}

static bool
check_all(const struct health *h, FILE *out)
{
    const struct health_config *c = &h->config;
    bool turns = loop_turns(h), catalog = ledger_ready(c->ledger),
         mine = holder_state(c->holder) == HOLDER_HOLDING;
    tell(out, turns, "loop %s (lag %.0f ms)", turns ? "ok" : "failed",
         milliseconds(control_loop_lag(c->control)));
    if (catalog)
        tell(out, true, "catalog ok (commit %.1f ms)", milliseconds(ledger_commit_lag(c->ledger)));
    else
        tell(out, false, "catalog failed: %s", ledger_error(c->ledger));
    if (mine)
        tell(out, true, "term ok (%llu, mine)", (unsigned long long) ledger_term(c->ledger));
    else
        tell(out, false, "term failed: not the holder (%s)",
             holder_state_name(holder_state(c->holder)));
    return turns && catalog && mine;
}

static void
answer_ready(struct health *h, struct httpd_request *request, bool verbose)
{
    struct text all;
    if (!text_open(&all)) {
        httpd_answer(request, 500, "text/plain", "out of memory\n", 14);
        return;
    }
    bool ok = check_all(h, all.file);
    fprintf(all.file, "readyz check %s\n", ok ? "passed" : "failed");
    if (ok && !verbose) { /* what is wrong is told unasked, what is well is not */
        fclose(all.file);
        free(all.data);
        httpd_answer(request, 200, "text/plain", "ok\n", 3);
        return;
    }
    text_answer(&all, request, ok ? 200 : 503, "text/plain; charset=utf-8");
}

/* ---- /metrics ---- */

static void
metric(FILE *out, const char *name, const char *type, const char *help)
{
    fprintf(out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

static void
write_nodes(const struct health *h, FILE *out)
{
    unsigned counts[NODE_STATE_COUNT] = {0};
    for (unsigned i = 0; i < h->config.fleet->node_count; i++)
        counts[h->config.fleet->nodes[i].state]++;
    metric(out, "fleetcast_coordinator_nodes", "gauge", "Nodes by the state of their last report.");
    for (unsigned i = 0; i < NODE_STATE_COUNT; i++)
        fprintf(out, "fleetcast_coordinator_nodes{state=\"%s\"} %u\n",
                node_state_name((enum node_state) i), counts[i]);
}

static void
write_drops(const struct health *h, FILE *out)
{
    const struct requests *r = *h->config.requests;
    metric(out, "fleetcast_coordinator_dropped_frames_total", "counter",
           "Frames dropped without an answer, by reason.");
    for (unsigned i = 0; i < SEAL_DROP_COUNT; i++)
        fprintf(out, "fleetcast_coordinator_dropped_frames_total{reason=\"%s\"} %llu\n",
                seal_drop_name((enum seal_drop) i),
                r ? (unsigned long long) requests_drops(r)[i] : 0ull);
    fprintf(out, "fleetcast_coordinator_dropped_frames_total{reason=\"body\"} %llu\n",
            r ? (unsigned long long) requests_bad_bodies(r) : 0ull);
}

static void
write_number(FILE *out, const char *name, const char *help, uint64_t value)
{
    metric(out, name, "gauge", help);
    fprintf(out, "%s %llu\n", name, (unsigned long long) value);
}

static void
write_seconds(FILE *out, const char *name, const char *help, usec_t value)
{
    metric(out, name, "gauge", help);
    fprintf(out, "%s %.6f\n", name, seconds(value));
}

static void
answer_metrics(struct health *h, struct httpd_request *request)
{
    const struct health_config *c = &h->config;
    struct text all;
    if (!text_open(&all)) {
        httpd_answer(request, 500, "text/plain", "out of memory\n", 14);
        return;
    }
    write_number(all.file, "fleetcast_coordinator_term", "Term that this coordinator last held.",
                 ledger_term(c->ledger));
    write_number(all.file, "fleetcast_coordinator_holding", "1 while the catalog's term is ours.",
                 holder_state(c->holder) == HOLDER_HOLDING);
    write_number(all.file, "fleetcast_coordinator_map_version", "Version of the range map.",
                 c->fleet->map_version);
    write_number(all.file, "fleetcast_coordinator_content_version", "Version of the content.",
                 c->sources->version);
    write_nodes(h, all.file);
    write_drops(h, all.file);
    write_seconds(all.file, "fleetcast_coordinator_loop_lag_seconds",
                  "Largest delay of the loop in the last interval.", control_loop_lag(c->control));
    write_seconds(all.file, "fleetcast_coordinator_catalog_commit_seconds",
                  "Time of the last transaction on the catalog.", ledger_commit_lag(c->ledger));
    text_answer(&all, request, 200, "text/plain; version=0.0.4; charset=utf-8");
}

/* ---- /status ---- */

static json_int_t
integer(uint64_t v)
{
    return (json_int_t) v;
}

static json_t *
node_json(const struct fleet_node *n, usec_t now)
{
    return json_pack("{s:s, s:s, s:I, s:s, s:s, s:I, s:I}", "name", n->record.name, "state",
                     node_state_name(n->state), "report_age_us", integer(now - n->reported_at),
                     "rpc_address", n->record.rpc_address, "health_address",
                     n->record.health_address, "weight", integer(n->record.weight), "partitions",
                     integer(n->report.partition_count));
}

static json_t *
partition_json(const struct fleet *f, unsigned index)
{
    const struct partition_record *p = &f->partitions[index].record;
    return json_pack("{s:s, s:s, s:s, s:I, s:b, s:I, s:I, s:I, s:I}", "name", p->name, "home",
                     p->home, "driver", p->driver, "epoch", integer(p->epoch), "open",
                     (int) fleet_partition_open(f, index), "timeline", integer(p->timeline), "lsn",
                     integer(p->lsn), "content_applied", integer(p->content_applied), "device_ids",
                     integer(rangemap_devices(&f->ranges, (uint16_t) index)));
}

static json_t *
status_json(const struct health *h)
{
    const struct health_config *c = &h->config;
    json_t *nodes = json_array(), *partitions = json_array();
    usec_t now = clock_boot();
    for (unsigned i = 0; i < c->fleet->node_count; i++)
        json_array_append_new(nodes, node_json(&c->fleet->nodes[i], now));
    for (unsigned i = 0; i < c->fleet->partition_count; i++)
        json_array_append_new(partitions, partition_json(c->fleet, i));
    return json_pack("{s:s, s:s, s:s, s:s, s:I, s:I, s:I, s:I, s:b, s:s, s:I, s:I, s:o, s:o}",
                     "program", "fleetcast-coordinator", "version", c->version, "name", c->name,
                     "state", holder_state_name(holder_state(c->holder)), "term",
                     integer(ledger_term(c->ledger)), "map_version", integer(c->fleet->map_version),
                     "content_version", integer(c->sources->version), "ranges",
                     integer(c->fleet->ranges.count), "catalog_ready",
                     (int) ledger_ready(c->ledger), "catalog_error",
                     ledger_ready(c->ledger) ? "" : ledger_error(c->ledger), "catalog_commit_us",
                     integer(ledger_commit_lag(c->ledger)), "loop_lag_us",
                     integer(control_loop_lag(c->control)), "nodes", nodes, "partitions",
                     partitions);
}

static void
answer_status(struct health *h, struct httpd_request *request)
{
    json_t *status = status_json(h);
    char *text = status ? json_dumps(status, JSON_COMPACT) : NULL;
    if (text)
        httpd_answer(request, 200, "application/json", text, strlen(text));
    else
        httpd_answer(request, 500, "text/plain", "out of memory\n", 14);
    free(text);
    json_decref(status);
}

/* ---- life ---- */

static void
on_request(void *arg, struct httpd_request *request, const struct httpd_view *view)
{
    struct health *h = arg;
    if (strcmp(view->path, "/livez") == 0) {
        bool ok = loop_turns(h);
        httpd_answer(request, ok ? 200 : 503, "text/plain", ok ? "ok\n" : "the loop stands\n",
                     ok ? 3 : 16);
    } else if (strcmp(view->path, "/readyz") == 0) {
        answer_ready(h, request, view->verbose);
    } else if (strcmp(view->path, "/status") == 0) {
        answer_status(h, request);
    } else if (strcmp(view->path, "/metrics") == 0) {
        answer_metrics(h, request);
    } else {
        httpd_answer(request, 404, "text/plain", "not here\n", 9);
    }
}

int
health_start(struct health **ret, uv_loop_t *loop, const struct health_config *config)
{
    struct health *h = calloc(1, sizeof *h);
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
