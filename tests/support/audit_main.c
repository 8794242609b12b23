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
    const struct {
        const char *name;
        uint64_t value;
    } counts[] = {{"asked", r->asked},
                  {"received", r->received},
                  {"sent", r->sent},
                  {"unknown", r->unknown},
                  {"failed", r->failed},
                  {"ended", r->ended},
                  {"waiting", r->waiting},
                  {"not_due", r->not_due},
                  {"lost", r->lost},
                  {"duplicates", r->duplicates},
                  {"phantom", r->phantom},
                  {"false_sent", r->false_sent},
                  {"hidden_unknown", r->hidden_unknown},
                  {"wrong_text", r->wrong_text},
                  {"pacing_violations", r->pacing_violations},
                  {"after_optout", r->after_optout},
                  {"two_drivers", r->two_drivers},
                  {"out_of_order", r->out_of_order},
                  {"step_too_soon", r->step_too_soon},
                  {"after_order", r->after_order},
                  {"in_quiet_hours", r->in_quiet_hours},
                  {"over_cap", r->over_cap}};
    json_t *j = json_object();
    for (size_t i = 0; i < ARRAY_SIZE(counts); i++)
        json_object_set_new(j, counts[i].name, json_integer((json_int_t) counts[i].value));
    json_object_set_new(j, "shortest_gap_ms", json_real((double) r->shortest_gap / 1e3));
    json_object_set_new(j, "messages_per_s", json_real(r->messages_per_s));
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
                                            {"silences", 1, NULL, 's'},
                                            {"older", 1, NULL, 'O'},
                                            {"direct", 1, NULL, 'i'},
                                            {"enrolments", 1, NULL, 'n'},
                                            {"sources", 1, NULL, 'S'},
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
                            ['m'] = &in.messages,        ['s'] = &in.silences,
                            ['O'] = &in.older,           ['i'] = &in.direct,
                            ['n'] = &in.enrolments,      ['S'] = &in.sources,
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
                        "[--refused-devices F] [--refused-leads F] [--receipts F] [--silences F] "
                        "[--older F] [--direct F] [--enrolments F] [--sources A,B] "
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
