/* capacity.c - the sum over partitions, and whether it ends in time. */
#include "coordinator/ctl/capacity.h"

#include <errno.h>
#include <string.h>

#include "coordinator/ctl/table.h"
#include "coordinator/ctl/view.h"

#define APPLY_WITHIN (5 * USEC_PER_SEC)
#define LOOK_EVERY   (100 * USEC_PER_MSEC)

void
capacity_sum(struct capacity *ret, const struct gathered *g)
{
    *ret = (struct capacity){.silent = g->silent};
    for (unsigned row = 0; row < g->row_count; row++) {
        int64_t leads = gathered_number(g, row, "leads");
        int64_t finish = gathered_is_null(g, row, "finish_at")
                             ? INT64_MAX
                             : gathered_number(g, row, "finish_at");
        ret->devices += gathered_number(g, row, "devices");
        ret->leads += leads;
        ret->devices_never += gathered_number(g, row, "devices_never");
        ret->rate_milli += gathered_number(g, row, "rate_milli");
        if (leads == 0 || finish <= ret->finish_at)
            continue;
        struct slice limit = gathered_text(g, row, "limit");
        ret->finish_at = finish;
        snprintf(ret->limit, sizeof(ret->limit), "%.*s", (int) limit.bytes, limit.data);
    }
}

static bool
has_version(const struct view *v, uint64_t version)
{
    for (unsigned i = 0; i < v->partition_count; i++)
        if (v->partitions[i].reported && v->partitions[i].content_applied < version)
            return false;
    return true;
}

int
capacity_wait(struct asker *a, uint64_t version)
{
    usec_t deadline = clock_boot() + APPLY_WITHIN;
    struct view *v = view_new();
    int err = v ? view_cluster(v, a) : -ENOMEM;
    while (err == 0 && !has_version(v, version) && clock_boot() < deadline) {
        err = asker_wait(a, LOOK_EVERY);
        if (err == 0)
            err = view_cluster(v, a);
    }
    view_free(v);
    return err;
}

int
capacity_read(struct capacity *ret, struct asker *a, const char *source)
{
    struct question question = {.name = "capacity",
                                .argument_count = 1,
                                .arguments = {ask_text(source)}};
    struct gathered answers = {0};
    int err = gather_all(&answers, a, &question);
    if (err == 0)
        capacity_sum(ret, &answers);
    gathered_done(&answers);
    return err;
}

bool
capacity_fits(const struct capacity *c, int64_t not_after, int64_t later)
{
    if (c->leads == 0 || not_after == INT64_MAX)
        return true;
    return c->finish_at < INT64_MAX - later && c->finish_at + later <= not_after;
}

void
capacity_print_need(const struct capacity *c, int64_t not_after, int64_t now, FILE *out)
{
    char leads[32], devices[32], rate[32], never[32];
    if (c->leads == 0)
        return;
    const double day = 86400.0 * (double) USEC_PER_SEC;
    fprintf(out, "  %s leads on %s devices at %s/h%s%s%s", table_thousands(leads, c->leads),
            table_thousands(devices, c->devices),
            table_thousands(rate, c->rate_milli * 3600 / 1000), c->limit[0] ? " (limit: " : "",
            c->limit, c->limit[0] ? ")" : "");
    if (c->devices_never > 0)
        fprintf(out, ", %s of which never open", table_thousands(never, c->devices_never));
    if (c->finish_at < INT64_MAX)
        fprintf(out, " need %.1f days", (double) (c->finish_at - now) / day);
    if (not_after < INT64_MAX)
        fprintf(out, "; %.1f are left", not_after > now ? (double) (not_after - now) / day : 0.0);
    fputc('\n', out);
}
