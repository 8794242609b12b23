/* audit_main.c - the audit as a program: exit 0 clean, 7 an offence (or, with --exactly-once,
 * something not sent), 1 unreadable. */
#include "audit.h"

#include <getopt.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

/* What only the caller knows: lateness as the nodes measured it, and how long it all took. */
struct extras {
    double p50, p99, max, wall_s;
    bool receipts; /* false: what was received is not ours to check */
};

static int
write_report(const char *path, const struct audit_result *r, const struct extras *x)
{
    json_t *j =
        json_pack("{s:I s:I s:I s:I s:I s:I s:I s:I s:I s:I s:I s:I s:I s:I s:I s:I s:f s:f}",
                  "asked", (json_int_t) r->asked, "received", (json_int_t) r->received, "sent",
                  (json_int_t) r->sent, "unknown", (json_int_t) r->unknown, "failed",
                  (json_int_t) r->failed, "ended", (json_int_t) r->ended, "waiting",
                  (json_int_t) r->waiting, "lost", (json_int_t) r->lost, "duplicates",
                  (json_int_t) r->duplicates, "phantom", (json_int_t) r->phantom, "false_sent",
                  (json_int_t) r->false_sent, "hidden_unknown", (json_int_t) r->hidden_unknown,
                  "wrong_text", (json_int_t) r->wrong_text, "pacing_violations",
                  (json_int_t) r->pacing_violations, "after_optout", (json_int_t) r->after_optout,
                  "two_drivers", (json_int_t) r->two_drivers, "shortest_gap_ms",
                  (double) r->shortest_gap / 1e3, "messages_per_s", r->messages_per_s);
    json_object_set_new(j, "receipts_checked", json_boolean(x->receipts));
    json_object_set_new(j, "lateness_ms",
                        json_pack("{s:f s:f s:f}", "p50", x->p50, "p99", x->p99, "max", x->max));
    json_object_set_new(j, "wall_s", json_real(x->wall_s));
    int rc = json_dump_file(j, path, JSON_INDENT(2) | JSON_REAL_PRECISION(7));
    json_decref(j);
    return rc;
}

int
main(int argc, char **argv)
{
    struct audit_input in = {0};
    const char *json = NULL, *lateness = "0,0,0", *wall_ms = "0";
    bool exactly_once = false, open_end = false;
    static const struct option options[] = {{"devices", 1, NULL, 'd'},
                                            {"leads", 1, NULL, 'l'},
                                            {"content", 1, NULL, 'c'},
                                            {"refused-devices", 1, NULL, 'D'},
                                            {"refused-leads", 1, NULL, 'L'},
                                            {"receipts", 1, NULL, 'r'},
                                            {"messages", 1, NULL, 'm'},
                                            {"optouts", 1, NULL, 'o'},
                                            {"country", 1, NULL, 'y'},
                                            {"json", 1, NULL, 'j'},
                                            {"lateness", 1, NULL, 't'},
                                            {"wall-ms", 1, NULL, 'w'},
                                            {"exactly-once", 0, NULL, 'x'},
                                            {"open", 0, NULL, 'e'},
                                            {0}};
    const char **slots[] = {['D'] = &in.refused_devices, ['L'] = &in.refused_leads,
                            ['d'] = &in.devices,         ['l'] = &in.leads,
                            ['c'] = &in.content,         ['r'] = &in.receipts,
                            ['m'] = &in.messages,        ['o'] = &in.optouts,
                            ['y'] = &in.country,         ['j'] = &json,
                            ['t'] = &lateness,           ['w'] = &wall_ms};
    int o;
    while ((o = getopt_long(argc, argv, "", options, NULL)) != -1) {
        if (o == '?')
            return 2;
        if (o == 'x')
            exactly_once = true;
        else if (o == 'e')
            open_end = true;
        else
            *slots[o] = optarg;
    }
    if (!in.devices || !in.leads || !in.content || !in.messages) {
        fprintf(stderr, "usage: audit --devices F --leads F --content F --messages F "
                        "[--refused-devices F] [--refused-leads F] [--receipts F] [--optouts F] "
                        "[--country N] [--json F] [--lateness P50,P99,MAX] "
                        "[--wall-ms N] [--exactly-once] [--open]\n");
        return 2;
    }
    struct audit_result r;
    if (audit_run(&in, &r, stderr, stderr) < 0)
        return 1;
    if (open_end) /* stopped in the middle: what waits and was never received still waits */
        r.lost -= MIN_OF(r.lost, r.waiting);
    audit_print(&r, in.receipts != NULL, stdout);
    struct extras x = {.wall_s = atof(wall_ms) / 1e3, .receipts = in.receipts != NULL};
    if (sscanf(lateness, "%lf,%lf,%lf", &x.p50, &x.p99, &x.max) == 3 && x.max > 0)
        printf("  lateness p50 %.0f ms, p99 %.0f ms, max %.0f ms", x.p50, x.p99, x.max);
    if (in.receipts)
        printf("   shortest gap %.1f ms   %.0f messages/s", (double) r.shortest_gap / 1e3,
               r.messages_per_s);
    putchar('\n');
    if (json && write_report(json, &r, &x) < 0) {
        fprintf(stderr, "audit: cannot write %s\n", json);
        return 1;
    }
    if (exactly_once && (r.sent != r.asked || (in.receipts && r.received != r.asked)))
        return 7; /* nothing wrong, but not everything was sent */
    return audit_offences(&r) ? 7 : 0;
}
