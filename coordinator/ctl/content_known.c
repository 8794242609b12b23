/* content_known.c - the leads' columns, and which of them a misspelt variable may have meant. */
#include "coordinator/ctl/content_known.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "coordinator/ctl/content_file.h"
#include "coordinator/ctl/terminal.h"
#include "shared/compose.h"

#define COLUMN_BYTES_MAX 128u
#define ANSWER_WITHIN    (2 * USEC_PER_SEC) /* content does not wait long for a dead node */

void
known_columns_done(struct known_columns *k)
{
    for (unsigned i = 0; i < k->count; i++)
        free(k->names[i]);
    free(k->names);
    *k = (struct known_columns){0};
}

static bool
same(const char *name, struct slice text)
{
    return strlen(name) == text.bytes && memcmp(name, text.data, text.bytes) == 0;
}

static bool
is_known(const struct known_columns *k, struct slice name)
{
    for (unsigned i = 0; i < k->count; i++)
        if (same(k->names[i], name))
            return true;
    return same("name", name) || same("phone", name);
}

int
known_columns_add(struct known_columns *k, struct slice name)
{
    if (is_known(k, name))
        return 0;
    if (k->count == k->room) {
        unsigned room = k->room ? 2 * k->room : 16;
        char **names = realloc(k->names, room * sizeof(*names));
        if (!names)
            return -ENOMEM;
        k->names = names;
        k->room = room;
    }
    char *copy = strndup(name.data, name.bytes);
    if (!copy)
        return -ENOMEM;
    k->names[k->count++] = copy;
    return 0;
}

/* Letters to change, insert or remove until one is the other. */
static unsigned
distance(const char *a, struct slice b)
{
    unsigned row[COLUMN_BYTES_MAX + 1];
    size_t n = MIN_OF(b.bytes, (size_t) COLUMN_BYTES_MAX);
    for (unsigned j = 0; j <= n; j++)
        row[j] = j;
    for (unsigned i = 1; a[i - 1]; i++) {
        unsigned corner = row[0];
        row[0] = i;
        for (unsigned j = 1; j <= n; j++) {
            unsigned change = corner + (a[i - 1] != b.data[j - 1]);
            corner = row[j];
            row[j] = MIN_OF(change, MIN_OF(row[j], row[j - 1]) + 1);
        }
    }
    return row[n];
}

static const char *
nearest(const struct known_columns *k, struct slice name)
{
    const char *best = "name";
    unsigned least = distance(best, name);
    for (unsigned i = 0; i < k->count; i++) {
        unsigned d = distance(k->names[i], name);
        if (d < least) {
            least = d;
            best = k->names[i];
        }
    }
    return best;
}

struct checking {
    const struct known_columns *known;
    const char *file;
    FILE *errors;
    int count;
};

static int
check_text(void *arg, const struct content_item *item, const char *what, const char *text)
{
    struct checking *c = arg;
    char why[128];
    struct slice name;
    bool has_default;
    struct compose *compose = compose_new(ask_text(text), why, sizeof(why));
    if (!compose)
        return -ENOMEM; /* its form was judged with the file */
    for (unsigned i = 0; compose_variable(compose, i, &name, &has_default); i++) {
        if (is_known(c->known, name))
            continue;
        if (c->errors)
            fprintf(
                c->errors,
                "%s:%u: %s names {{%.*s}}, and no lead has a column of that name (nearest: %s)\n",
                c->file, item->line, what, (int) name.bytes, name.data, nearest(c->known, name));
        c->count++;
    }
    compose_free(compose);
    return 0;
}

int
content_unknown(const struct content *content, const char *file, const struct known_columns *k,
                FILE *errors)
{
    struct checking c = {k, file, errors, 0};
    for (unsigned i = 0; i < content->count; i++) {
        int err = content_each_text(&content->items[i], check_text, &c);
        if (err < 0)
            return err;
    }
    return c.count;
}

/* ---- the cluster's leads ---- */

static int
on_columns(void *arg, struct slice partition, const struct answer *page)
{
    int column = answer_column(page, "name"), err = 0;
    (void) partition;
    for (uint32_t row = 0; row < page->row_count && err == 0; row++)
        err = known_columns_add(arg, answer_text(page, row, column));
    return err;
}

static int
on_partition(void *arg, struct slice partition, const struct answer *page)
{
    int column = answer_column(page, "leads_about");
    (void) partition;
    for (uint32_t row = 0; row < page->row_count; row++)
        *(int64_t *) arg += MAX_OF(answer_number(page, row, column), (int64_t) 0);
    return 0;
}

int
content_check_columns(struct asker *a, const struct content *content, const char *file)
{
    static const struct question columns = {.name = "lead_columns", .timeout = ANSWER_WITHIN};
    static const struct question sizes = {.name = "partition", .timeout = ANSWER_WITHIN};
    struct known_columns known = {0};
    unsigned silent = 0;
    int64_t leads = 0;
    int found = content_unknown(content, file, &known, NULL);
    if (found == 0) /* name and phone at most */
        return CTL_DONE;
    found = MIN_OF(found, 0);
    int err = ask_map(a);
    if (err == 0)
        err = ask_all_partitions(a, &columns, on_columns, &known, &silent);
    if (err == 0 && silent == 0 && known.count == 0)
        err = ask_all_partitions(a, &sizes, on_partition, &leads, &silent);
    if (err == 0 && silent == 0 && (known.count > 0 || leads > 0))
        found = content_unknown(content, file, &known, stderr);
    known_columns_done(&known);
    if (err == -EINVAL) { /* a node of the last release does not keep the columns */
        silent++;
        err = 0;
    }
    if (err < 0 || found < 0)
        return ask_failed(a, err < 0 ? err : found, "cannot check the variables of %s", file);
    if (silent > 0)
        terminal_fault("the variables of %s could not be compared with all leads", file);
    if (found == 0)
        return CTL_DONE;
    terminal_fault("%s: refused, nothing was changed", file);
    terminal_next("correct it, or import leads with that column first; or fleetcast apply-content"
                  " %s --allow-unknown",
                  file);
    return CTL_REFUSED;
}
