/* cmd_explain.c - explain device, lead, message, campaign, sequence: what holds it, until when. */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "coordinator/ctl/commands.h"
#include "coordinator/ctl/explain_view.h"
#include "coordinator/ctl/lead_find.h"
#include "coordinator/ctl/operands.h"
#include "coordinator/ctl/source_verb.h"
#include "coordinator/ctl/terminal.h"
#include "coordinator/ctl/view.h"
#include "proto/token.h"

/* ---- from the drivers ---- */

static int
none(const char *what, const char *next)
{
    terminal_fault("%s", what);
    terminal_next("%s", next);
    return CTL_FAILED;
}

static int
explain_one(const struct invocation *in, struct asker *a, struct slice partition,
            const char *question, const char *argument, const char *what, const char *next)
{
    const struct question q = {.name = question,
                               .argument_count = 1,
                               .arguments = {ask_text(argument)}};
    struct gathered g = {0};
    int err = gather_of(&g, a, partition, &q), code = CTL_DONE;
    if (err < 0)
        code = ask_failed(a, err, "cannot explain %s", what);
    else if (g.row_count == 0)
        code = none(what, next);
    else
        code = explain_print(stdout, &g, in->command->noun, in->operands[0], in->format) < 0
                   ? CTL_FAILED
                   : CTL_DONE;
    gathered_done(&g);
    return code;
}

static int
explain_device(const struct invocation *in, struct asker *a)
{
    char partition[NAME_BYTES_MAX + 1], what[48], text[16];
    int32_t device = 0;
    int code = operand_device(in->operands[0], &device);
    if (code != CTL_DONE)
        return code;
    snprintf(what, sizeof(what), "no device %d", device);
    snprintf(text, sizeof(text), "%d", device);
    if (ask_place(a, device, partition) < 0)
        return none(what, "fleetcast device ls");
    return explain_one(in, a, ask_text(partition), "explain_device", text, what,
                       "fleetcast device ls");
}

static int
explain_message(const struct invocation *in, struct asker *a)
{
    struct token token;
    if (token_parse(&token, ask_text(in->operands[0])) < 0) {
        terminal_fault("\"%s\": a token is like v1.p3.12.2041.0197...: the column \"token\" of"
                       " fleetcast export messages",
                       in->operands[0]);
        return CTL_USAGE;
    }
    return explain_one(in, a, ask_text(token.partition), "explain_message", in->operands[0],
                       "no such message", "fleetcast export messages");
}

/* A lead that was never enrolled has no rows; somebody who is no lead has none either. */
static int
explain_nothing(const struct invocation *in, struct asker *a)
{
    struct gathered leads = {0};
    int code = lead_find(a, in, in->operands[0], "cannot explain the lead", &leads);
    if (code == CTL_DONE && in->format == TABLE_TEXT)
        printf("Nothing waits: it was never enrolled in anything.\n");
    if (code == CTL_DONE && leads.silent > 0)
        code = CTL_DEGRADED;
    gathered_done(&leads);
    return fflush(stdout) == 0 ? code : CTL_FAILED;
}

static int
explain_lead(const struct invocation *in, struct asker *a)
{
    char text[24];
    uint64_t phone = 0;
    int code = operand_phone(in, in->operands[0], &phone);
    if (code != CTL_DONE)
        return code;
    snprintf(text, sizeof(text), "%" PRIu64, phone);
    const struct question q = {.name = "explain_lead",
                               .argument_count = 1,
                               .arguments = {ask_text(text)}};
    struct gathered g = {0};
    int err = gather_all(&g, a, &q);
    if (err == 0 && (g.row_count > 0 || in->format != TABLE_TEXT))
        err = explain_print(stdout, &g, "lead", in->operands[0], in->format);
    if (err < 0)
        code = ask_failed(a, err, "cannot explain lead %s", in->operands[0]);
    else if (g.row_count == 0)
        code = explain_nothing(in, a);
    else if (g.silent > 0)
        code = CTL_DEGRADED;
    gathered_done(&g);
    return code;
}

static int
explain_source(const struct invocation *in, struct asker *a)
{
    struct view *v = view_new();
    int err = v ? view_sources(v, a) : -ENOMEM;
    int code = CTL_DONE;
    if (err < 0)
        code = ask_failed(a, err, "cannot explain %s %s", in->command->noun, in->operands[0]);
    else if (!view_find_source(v, source_kind(in), in->operands[0]))
        code = source_missing(in);
    view_free(v);
    if (code != CTL_DONE)
        return code;
    const struct question q = {.name = "explain_source",
                               .argument_count = 1,
                               .arguments = {ask_text(in->operands[0])}};
    struct gathered g = {0};
    err = gather_all(&g, a, &q);
    if (err == 0)
        err = explain_print(stdout, &g, in->command->noun, in->operands[0], in->format);
    if (err < 0)
        code = ask_failed(a, err, "cannot explain %s %s", in->command->noun, in->operands[0]);
    else if (g.silent > 0)
        code = CTL_DEGRADED;
    gathered_done(&g);
    return code;
}

int
cmd_explain(const struct invocation *in)
{
    static const struct {
        const char *noun;
        int (*explain)(const struct invocation *in, struct asker *a);
    } nouns[] = {{"device", explain_device},
                 {"lead", explain_lead},
                 {"message", explain_message},
                 {"campaign", explain_source},
                 {"sequence", explain_source}};
    struct asker *a = NULL;
    int code = asker_open(&a, in, in->timeout);
    if (code != CTL_DONE)
        return code;
    int err = ask_map(a);
    if (err < 0)
        code = ask_failed(a, err, "cannot explain %s %s", in->command->noun, in->operands[0]);
    for (size_t i = 0; i < ARRAY_SIZE(nouns) && err == 0; i++)
        if (strcmp(nouns[i].noun, in->command->noun) == 0)
            code = nouns[i].explain(in, a);
    asker_free(a);
    return code;
}
