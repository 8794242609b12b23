/* cmd_node.c - node ls, node show NAME. */
#include <string.h>

#include "coordinator/ctl/ask.h"
#include "coordinator/ctl/commands.h"
#include "coordinator/ctl/terminal.h"
#include "coordinator/ctl/view.h"

static void
add_columns(struct table *t)
{
    table_column(t, "name", "NODE", TABLE_WORDS);
    table_column(t, "state", NULL, TABLE_WORDS);
    table_column(t, "report_age_seconds", "LAST REPORT", TABLE_COUNT);
    table_column(t, "partitions", NULL, TABLE_WORDS);
    table_column(t, "weight", NULL, TABLE_COUNT);
    table_column(t, "loop_lag_ms", "LOOP LAG", TABLE_COUNT);
    table_column(t, "disk_percent", "DISK", TABLE_COUNT);
    table_column(t, "map_version", "MAP", TABLE_NUMBER);
    table_column(t, "content_version", "CONTENT", TABLE_NUMBER);
    table_column(t, "rpc_address", "ADDRESS", TABLE_WORDS);
    table_column(t, "health_address", "HEALTH", TABLE_WORDS);
    table_column(t, "version", NULL, TABLE_WORDS);
}

static void
put_node(struct table *t, const struct view *v, const struct view_node *n)
{
    char partitions[256] = "", span[32];
    for (unsigned i = 0; i < v->partition_count; i++) {
        size_t used = strlen(partitions);
        if (strcmp(v->partitions[i].driver, n->name) == 0)
            snprintf(partitions + used, sizeof(partitions) - used, "%s%s", used ? " " : "",
                     v->partitions[i].name);
    }
    table_words(t, "%s", n->name);
    table_words(t, "%s", n->state);
    table_shown(t, (int64_t) (n->report_age / USEC_PER_SEC), "%s ago",
                terminal_span(span, n->report_age));
    table_words(t, "%s", partitions);
    table_int(t, n->weight);
    int64_t lag = (int64_t) (n->loop_lag / USEC_PER_MSEC);
    table_shown(t, lag, "%lld ms", (long long) lag);
    table_shown(t, n->disk_percent, "%u %%", n->disk_percent);
    table_int(t, (int64_t) n->map_version);
    table_int(t, (int64_t) n->content_version);
    table_words(t, "%s", n->rpc_address);
    table_words(t, "%s", n->health_address);
    table_words(t, "%s", n->version);
}

/* name NULL: all of them. */
static int
print_nodes(const struct invocation *in, const char *name)
{
    struct asker *a = NULL;
    int code = asker_open(&a, in, in->timeout);
    if (code != CTL_DONE)
        return code;
    struct view *v = view_new();
    int err = v ? view_cluster(v, a) : 0;
    struct table *t = NULL;
    code = CTL_FAILED;
    if (err < 0)
        code = ask_failed(a, err, "cannot list the nodes");
    else if (v)
        t = table_new(stdout, name && in->format == TABLE_TEXT ? TABLE_LIST : in->format);
    unsigned shown = 0;
    if (t)
        add_columns(t);
    for (unsigned i = 0; t && i < v->node_count; i++) {
        if (name && strcmp(name, v->nodes[i].name) != 0)
            continue;
        put_node(t, v, &v->nodes[i]);
        shown++;
    }
    if (t)
        code = table_done(t) == 0 ? CTL_DONE : CTL_FAILED;
    if (t && name && shown == 0) {
        terminal_fault("no node \"%s\"", name);
        terminal_next("fleetcast node ls");
        code = CTL_FAILED;
    }
    view_free(v);
    asker_free(a);
    return code;
}

int
cmd_node_ls(const struct invocation *in)
{
    return print_nodes(in, NULL);
}

int
cmd_node_show(const struct invocation *in)
{
    return print_nodes(in, in->operands[0]);
}
