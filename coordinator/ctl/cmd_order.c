/* cmd_order.c - start, pause, resume, cancel of campaigns, sequences and the whole cluster. */
#include <errno.h>
#include <string.h>

#include "coordinator/ctl/ask.h"
#include "coordinator/ctl/capacity.h"
#include "coordinator/ctl/commands.h"
#include "coordinator/ctl/operands.h"
#include "coordinator/ctl/source_verb.h"
#include "coordinator/ctl/terminal.h"
#include "coordinator/ctl/view.h"

struct order {
    const char *verb, *done; /* "start", "started" */
    enum source_state state;
    enum source_state from; /* what it must be now; SOURCE_CANCELLED = anything but that */
    const char *otherwise;
    bool stops; /* tells how many sends were on the wire */
};

static const struct order order_start = {
    "start", "started", SOURCE_ACTIVE, SOURCE_DRAFT, "a paused one goes on by resume", false};
static const struct order order_pause = {"pause", "paused", SOURCE_PAUSED, SOURCE_ACTIVE, "", true};
static const struct order order_resume = {
    "resume", "resumed", SOURCE_ACTIVE, SOURCE_PAUSED, "only a paused one goes on", false};
static const struct order order_cancel = {"cancel",         "cancelled", SOURCE_CANCELLED,
                                          SOURCE_CANCELLED, "",          true};

enum content_kind
source_kind(const struct invocation *in)
{
    const struct command *c = in->command;
    bool sequence =
        strcmp(c->verb, "sequence") == 0 || (c->noun && strcmp(c->noun, "sequence") == 0);
    return sequence ? CONTENT_SEQUENCE : CONTENT_CAMPAIGN;
}

int
source_missing(const struct invocation *in)
{
    const char *kind = view_kind_word(source_kind(in));
    terminal_fault("no %s \"%s\"", kind, in->operands[0]);
    terminal_next("fleetcast %s ls", kind);
    return CTL_FAILED;
}

/* ---- what was on the wire ---- */

static int
add_on_wire(void *arg, struct slice partition, const struct answer *page)
{
    int column = answer_column(page, "on_wire");
    (void) partition;
    for (uint32_t row = 0; row < page->row_count; row++)
        *(uint64_t *) arg += (uint64_t) answer_number(page, row, column);
    return 0;
}

/* Sends of the source whose first byte left before the order was in force. name NULL: of all
 * sources, by the nodes' last reports. Who does not answer was named before. */
static int
count_on_wire(struct asker *a, const char *name, uint64_t *ret)
{
    struct question question = {.name = "on_wire",
                                .timeout = USEC_PER_SEC,
                                .argument_count = 1,
                                .arguments = {ask_text(name ? name : "")}};
    uint64_t sum = 0;
    unsigned silent = 0;
    int err = 0;
    if (name) {
        err = ask_map(a);
        if (err == 0)
            err = ask_all_partitions(a, &question, add_on_wire, &sum, &silent);
    } else {
        struct view *v = view_new();
        err = v ? view_cluster(v, a) : -ENOMEM;
        for (unsigned i = 0; err == 0 && i < v->partition_count; i++)
            sum += v->partitions[i].in_flight;
        view_free(v);
    }
    if (err == 0)
        *ret = sum;
    return err;
}

/* ---- the answer ---- */

struct given { /* an order and what came of it */
    const struct order *order;
    const char *kind, *name; /* name NULL: the cluster */
    struct source_order asked;
    uint64_t version;
    uint32_t applied, missing_count;
    char missing[PARTITIONS_MAX][NAME_BYTES_MAX + 1];
    bool wire_known;
    uint64_t on_wire;
};

static void
print_words(const struct given *g)
{
    char at[40];
    if (g->name)
        printf("%s \"%s\" ", g->kind, g->name);
    else
        fputs("the cluster is ", stdout);
    if (g->asked.start_at)
        printf("starts at %s", table_time_text(at, g->asked.start_at, true));
    else
        fputs(g->order->done, stdout);
    if (g->asked.until)
        printf(" until %s", table_time_text(at, g->asked.until, true));
    printf(": content version %llu, in force on %u partition%s", (unsigned long long) g->version,
           g->applied, g->applied == 1 ? "" : "s");
    if (g->wire_known)
        printf("; %llu send%s on the wire", (unsigned long long) g->on_wire,
               g->on_wire == 1 ? " was" : "s were");
    fputc('\n', stdout);
}

static int
print_table(const struct given *g, enum table_format format)
{
    struct table *t = table_new(stdout, format);
    if (!t)
        return -ENOMEM;
    table_column(t, "name", NULL, TABLE_WORDS);
    table_column(t, "state", NULL, TABLE_WORDS);
    table_column(t, "content_version", NULL, TABLE_NUMBER);
    table_column(t, "partitions_applied", NULL, TABLE_COUNT);
    table_column(t, "partitions_missing", NULL, TABLE_COUNT);
    table_column(t, "on_the_wire", NULL, TABLE_COUNT);
    table_column(t, "at", NULL, TABLE_WORDS);
    table_words(t, "%s", g->name ? g->name : CONTENT_CLUSTER_NAME);
    table_words(t, "%s", g->asked.start_at ? "scheduled" : view_state_word(g->order->state));
    table_int(t, (int64_t) g->version);
    table_int(t, g->applied);
    table_int(t, g->missing_count);
    if (g->wire_known)
        table_int(t, (int64_t) g->on_wire);
    else
        table_null(t);
    if (g->asked.start_at || g->asked.until)
        table_time(t, g->asked.start_at ? g->asked.start_at : g->asked.until);
    else
        table_null(t);
    return table_done(t);
}

static int
print_given(const struct given *g, enum table_format format)
{
    int err = 0;
    if (format == TABLE_TEXT)
        print_words(g);
    else
        err = print_table(g, format);
    for (uint32_t i = 0; i < g->missing_count; i++)
        terminal_fault(
            "not yet in force on partition %s: it takes effect when that is driven again",
            g->missing[i]);
    if (g->missing_count > 0)
        terminal_next("fleetcast partition ls");
    if (err < 0 || fflush(stdout) != 0)
        return CTL_FAILED;
    return g->missing_count > 0 ? CTL_DEGRADED : CTL_DONE;
}

/* The coordinator answers after up to 10 s, with the names of who did not apply it. */
static int
give(struct asker *a, const struct invocation *in, struct given *g)
{
    struct request q = {.kind = MESSAGE_SOURCE, .source = g->asked};
    struct reply r;
    int err = ask_coordinator(a, &q, in->timeout ? 0 : ASK_ORDER_TIMEOUT, &r);
    if (err < 0)
        return err;
    g->version = r.source.version;
    g->applied = r.source.applied_count;
    for (uint32_t i = 0; i < r.source.missing_count && i < PARTITIONS_MAX; i++)
        snprintf(g->missing[g->missing_count++], sizeof(g->missing[0]), "%.*s",
                 (int) r.source.missing[i].bytes, r.source.missing[i].data);
    if (g->order->stops)
        g->wire_known = count_on_wire(a, g->name, &g->on_wire) == 0;
    return 0;
}

/* ---- preconditions ---- */

static int
refused(const struct given *g, const struct view_source *s)
{
    terminal_fault("cannot %s %s \"%s\": it is %s%s%s", g->order->verb, g->kind, s->name,
                   view_source_state(s), g->order->otherwise[0] ? ": " : "", g->order->otherwise);
    terminal_next("fleetcast %s %s %s", g->kind,
                  s->state == SOURCE_PAUSED && g->order == &order_start ? "resume" : "show",
                  s->name);
    return CTL_REFUSED;
}

/* Started now, all of it would expire at once. */
static int
too_late(const struct given *g, const struct view_source *s)
{
    char until[40];
    terminal_fault("cannot start %s \"%s\": its not_after is %s", g->kind, s->name,
                   table_time_text(until, s->not_after, true));
    terminal_next("correct it, fleetcast apply-content FILE, then fleetcast %s start %s", g->kind,
                  s->name);
    return CTL_REFUSED;
}

/* What cannot finish in time is not begun. CTL_DONE: it can, or nobody can tell. */
static int
judge_capacity(struct asker *a, const struct given *g, const struct view_source *s)
{
    struct capacity c = {0};
    char finish[40], until[40];
    int64_t now = (int64_t) clock_real();
    if (s->not_after == INT64_MAX)
        return CTL_DONE;
    int err = capacity_wait(a, s->version);
    if (err == 0)
        err = capacity_read(&c, a, s->name);
    if (err == -EINTR)
        return ask_failed(a, err, "cannot start %s \"%s\"", g->kind, s->name);
    if (err < 0)
        terminal_fault("whether it can finish in time is not known: %s", asker_why(a));
    int64_t later = g->asked.start_at ? g->asked.start_at - now : 0;
    if (err < 0 || capacity_fits(&c, s->not_after, later))
        return CTL_DONE;
    if (c.finish_at == INT64_MAX)
        snprintf(finish, sizeof(finish), "never");
    else
        table_time_text(finish, c.finish_at + later, true);
    terminal_fault("cannot start %s \"%s\": it would finish %s%s, its not_after is %s", g->kind,
                   s->name, c.finish_at == INT64_MAX ? "" : "on ", finish,
                   table_time_text(until, s->not_after, true));
    capacity_print_need(&c, s->not_after, now, stderr);
    terminal_next("add devices, widen quiet hours, or fleetcast %s start %s --force", g->kind,
                  s->name);
    return CTL_REFUSED;
}

static int
judge(struct asker *a, const struct invocation *in, const struct given *g,
      const struct view_source *s)
{
    const struct order *o = g->order;
    bool again = s->state == o->state; /* a new reason or a new end of a pause */
    if (!again &&
        (o->from == SOURCE_CANCELLED ? s->state == SOURCE_CANCELLED : s->state != o->from))
        return refused(g, s);
    if (o != &order_start || s->state != SOURCE_DRAFT)
        return CTL_DONE;
    if (s->not_after < MAX_OF((int64_t) clock_real(), g->asked.start_at))
        return too_late(g, s);
    return in->options[OPTION_FORCE] ? CTL_DONE : judge_capacity(a, g, s);
}

/* ---- the verbs ---- */

static int
read_order(const struct invocation *in, const struct order *o, struct given *g)
{
    bool cluster = !in->command->noun;
    g->order = o;
    g->kind = cluster ? CONTENT_CLUSTER_NAME : in->command->verb;
    g->name = cluster ? NULL : in->operands[0];
    g->asked = (struct source_order){
        .name = ask_text(cluster ? CONTENT_CLUSTER_NAME : in->operands[0]),
        .state = (uint8_t) o->state,
        .kind = (uint8_t) (cluster ? CONTENT_CLUSTER : source_kind(in)),
    };
    int code = operand_reason(in, &g->asked.because);
    if (code == CTL_DONE)
        code = operand_until(in, OPTION_SPAN, "for", &g->asked.until);
    if (code == CTL_DONE)
        code = operand_at(in, &g->asked.start_at);
    return code;
}

static int
give_order(const struct invocation *in, const struct order *o)
{
    struct given g = {0};
    struct asker *a = NULL;
    int code = read_order(in, o, &g);
    if (code == CTL_DONE)
        code = asker_open(&a, in, in->timeout);
    if (code != CTL_DONE)
        return code;
    struct view *v = view_new();
    int err = v ? 0 : -ENOMEM;
    const struct view_source *s = NULL;
    if (err == 0 && g.name) {
        err = view_sources(v, a);
        s = err == 0 ? view_find_source(v, source_kind(in), g.name) : NULL;
        code = s ? judge(a, in, &g, s) : CTL_FAILED;
    }
    if (err == 0 && code == CTL_DONE) {
        err = give(a, in, &g);
        if (err == 0)
            code = print_given(&g, in->format);
    }
    if (err < 0)
        code = g.name ? ask_failed(a, err, "cannot %s %s \"%s\"", o->verb, g.kind, g.name)
                      : ask_failed(a, err, "cannot %s the cluster", o->verb);
    else if (g.name && !s)
        code = source_missing(in);
    view_free(v);
    asker_free(a);
    return code;
}

int
cmd_source_start(const struct invocation *in)
{
    return give_order(in, &order_start);
}

int
cmd_source_pause(const struct invocation *in)
{
    return give_order(in, &order_pause);
}

int
cmd_source_resume(const struct invocation *in)
{
    return give_order(in, &order_resume);
}

int
cmd_source_cancel(const struct invocation *in)
{
    return give_order(in, &order_cancel);
}

int
cmd_cluster_pause(const struct invocation *in)
{
    return give_order(in, &order_pause);
}

int
cmd_cluster_resume(const struct invocation *in)
{
    return give_order(in, &order_resume);
}
