/* cmd_capacity.c - plan capacity [SOURCE]. */
#include <errno.h>
#include <string.h>

#include "coordinator/ctl/capacity.h"
#include "coordinator/ctl/commands.h"
#include "coordinator/ctl/terminal.h"
#include "coordinator/ctl/view.h"

static void
print_words(const struct capacity *c, const char *what, int64_t not_after, bool fits)
{
    char at[40];
    int64_t now = (int64_t) clock_real();
    terminal_verdict(stdout, fits ? MOOD_GOOD : MOOD_BAD, fits ? "OK" : "TOO LATE");
    if (c->leads == 0)
        printf("   %s: nothing waits\n", what);
    else if (c->finish_at == INT64_MAX)
        printf("   %s does not finish as things stand\n", what);
    else
        printf("   %s finishes at %s\n", what, table_time_text(at, c->finish_at, true));
    capacity_print_need(c, not_after, now, stdout);
}

static int
print_table(const struct capacity *c, const char *source, int64_t not_after, bool fits,
            enum table_format format)
{
    struct table *t = table_new(stdout, format);
    if (!t)
        return -ENOMEM;
    table_column(t, "source", NULL, TABLE_WORDS);
    table_column(t, "fits", NULL, TABLE_WORDS);
    table_column(t, "devices", NULL, TABLE_COUNT);
    table_column(t, "leads", NULL, TABLE_COUNT);
    table_column(t, "messages_per_second", NULL, TABLE_COUNT);
    table_column(t, "finish_at", NULL, TABLE_WORDS);
    table_column(t, "not_after", NULL, TABLE_WORDS);
    table_column(t, "limit", NULL, TABLE_WORDS);
    table_column(t, "devices_never", NULL, TABLE_COUNT);
    table_words(t, "%s", source);
    table_bool(t, fits);
    table_int(t, c->devices);
    table_int(t, c->leads);
    table_milli(t, c->rate_milli, 3);
    if (c->leads > 0 && c->finish_at < INT64_MAX)
        table_time(t, c->finish_at);
    else
        table_null(t);
    if (not_after < INT64_MAX)
        table_time(t, not_after);
    else
        table_null(t);
    table_words(t, "%s", c->limit);
    table_int(t, c->devices_never);
    return table_done(t);
}

static int
print(const struct invocation *in, const struct capacity *c, int64_t not_after)
{
    const char *source = in->operands[0] ? in->operands[0] : "";
    bool fits = capacity_fits(c, not_after, 0);
    int err = 0;
    if (in->format == TABLE_TEXT)
        print_words(c, source[0] ? source : "all that waits", not_after, fits);
    else
        err = print_table(c, source, not_after, fits, in->format);
    if (err < 0 || fflush(stdout) != 0)
        return CTL_FAILED;
    if (!fits)
        terminal_next("add devices or widen their quiet hours; fleetcast explain campaign %s",
                      source);
    return !fits ? CTL_REFUSED : c->silent > 0 ? CTL_DEGRADED : CTL_DONE;
}

/* The not_after of a campaign, none of a sequence, and its version. -ENOENT: neither is there. */
static int
find_end(struct view *v, const char *name, int64_t *ret, uint64_t *ret_version)
{
    const struct view_source *s = view_find_source(v, CONTENT_CAMPAIGN, name);
    if (!s)
        s = view_find_source(v, CONTENT_SEQUENCE, name);
    if (!s)
        return -ENOENT;
    *ret = s->not_after;
    *ret_version = s->version;
    return 0;
}

int
cmd_plan_capacity(const struct invocation *in)
{
    const char *name = in->operand_count > 0 ? in->operands[0] : NULL;
    struct capacity capacity = {0};
    int64_t not_after = INT64_MAX;
    struct asker *a = NULL;
    int code = asker_open(&a, in, in->timeout);
    if (code != CTL_DONE)
        return code;
    uint64_t version = 0;
    struct view *v = view_new();
    int err = v ? view_sources(v, a) : -ENOMEM;
    bool missing = err == 0 && name && find_end(v, name, &not_after, &version) < 0;
    if (err == 0 && !missing)
        err = capacity_wait(a, version);
    if (err == 0 && !missing)
        err = capacity_read(&capacity, a, name ? name : "");
    if (err < 0) {
        code = ask_failed(a, err, "cannot plan");
    } else if (missing) {
        terminal_fault("no campaign or sequence \"%s\"", name);
        terminal_next("fleetcast status");
        code = CTL_FAILED;
    } else {
        code = print(in, &capacity, not_after);
    }
    view_free(v);
    asker_free(a);
    return code;
}
