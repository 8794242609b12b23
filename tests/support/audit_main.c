/* audit_main.c - the audit as a program: exit 0 clean, 7 an offence, 1 could not read. */
#include "audit.h"

#include <getopt.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

static int
write_report(const char *path, const struct audit_result *r)
{
    json_t *j = json_pack(
        "{s:I s:I s:I s:I s:I s:I s:I s:I s:I s:I s:I s:I s:I s:I s:I s:I s:f s:f}", "asked", (json_int_t) r->asked,
        "received", (json_int_t) r->received, "sent", (json_int_t) r->sent, "unknown", (json_int_t) r->unknown,
        "failed", (json_int_t) r->failed, "ended", (json_int_t) r->ended, "waiting", (json_int_t) r->waiting, "lost",
        (json_int_t) r->lost, "duplicates", (json_int_t) r->duplicates, "phantom", (json_int_t) r->phantom,
        "false_sent", (json_int_t) r->false_sent, "hidden_unknown", (json_int_t) r->hidden_unknown, "wrong_text",
        (json_int_t) r->wrong_text, "pacing_violations", (json_int_t) r->pacing_violations, "after_optout",
        (json_int_t) r->after_optout, "two_drivers", (json_int_t) r->two_drivers, "shortest_gap_ms",
        (double) r->shortest_gap / 1e3, "messages_per_s", r->messages_per_s);
    int rc = json_dump_file(j, path, JSON_INDENT(2) | JSON_REAL_PRECISION(7));
    json_decref(j);
    return rc;
}

int
main(int argc, char **argv)
{
    struct audit_input in = {0};
    const char *json = NULL;
    static const struct option options[] = {
        {"devices", 1, NULL, 'd'}, {"leads", 1, NULL, 'l'},   {"content", 1, NULL, 'c'}, {"receipts", 1, NULL, 'r'},
        {"messages", 1, NULL, 'm'}, {"optouts", 1, NULL, 'o'}, {"country", 1, NULL, 'y'}, {"json", 1, NULL, 'j'},
        {0}};
    const char **slots[] = {['d'] = &in.devices,  ['l'] = &in.leads,   ['c'] = &in.content, ['r'] = &in.receipts,
                            ['m'] = &in.messages, ['o'] = &in.optouts, ['y'] = &in.country, ['j'] = &json};
    int o;
    while ((o = getopt_long(argc, argv, "", options, NULL)) != -1) {
        if (o == '?')
            return 2;
        *slots[o] = optarg;
    }
    if (!in.devices || !in.leads || !in.content || !in.messages) {
        fprintf(stderr, "usage: audit --devices F --leads F --content F --messages F [--receipts F] [--optouts F] [--country N] [--json F]\n");
        return 2;
    }
    struct audit_result r;
    if (audit_run(&in, &r, stderr, stderr) < 0)
        return 1;
    audit_print(&r, stdout);
    if (json && write_report(json, &r) < 0) {
        fprintf(stderr, "audit: cannot write %s\n", json);
        return 1;
    }
    return audit_offences(&r) ? 7 : 0;
}
