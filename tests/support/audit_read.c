/* audit_read.c - the audit's own readers; nothing here is shared with the product's importers. */
#include "audit_read.h"

#include <csv.h>
#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

struct reading {
    struct audit_row header, row;
    bool have_header, failed;
    unsigned line;
    audit_row_fn *fn;
    void *arg;
    int rc;
};

static void
clear_row(struct audit_row *r)
{
    for (unsigned i = 0; i < r->count; i++)
        free(r->fields[i]);
    r->count = 0;
}

static void
on_field(void *data, size_t bytes, void *arg)
{
    struct reading *g = arg;
    if (g->row.count == AUDIT_COLUMNS_MAX) {
        g->failed = true;
        return;
    }
    const char *text = data;
    if (!g->have_header && g->row.count == 0 && bytes >= 3 &&
        memcmp(text, "\xef\xbb\xbf", 3) == 0) {
        text += 3;
        bytes -= 3;
    }
    g->row.fields[g->row.count++] = strndup(text ? text : "", bytes);
}

static void
on_row(int c, void *arg)
{
    struct reading *g = arg;
    g->row.line = ++g->line;
    if (!g->have_header) {
        g->header = g->row;
        g->row.count = 0;
        g->have_header = true;
        return;
    }
    if (g->rc == 0 && !(g->row.count == 1 && g->row.fields[0][0] == '\0'))
        g->rc = g->fn(g->arg, &g->header, &g->row);
    clear_row(&g->row);
}

static unsigned char
delimiter_of(FILE *f)
{
    char line[65536];
    if (!fgets(line, sizeof(line), f))
        line[0] = '\0';
    rewind(f);
    return strchr(line, '\t') ? '\t' : strchr(line, ';') ? ';' : ',';
}

/* ---- rows that were refused ---- */

struct refused_row {
    unsigned long line, lines; /* first, and how many */
};

struct refused {
    struct refused_row *rows;
    size_t count, next;
};

static unsigned long
newlines(const char *text)
{
    unsigned long n = 0;
    while ((text = strchr(text, '\n')))
        n++, text++;
    return n;
}

/* A row that could not be told apart into columns stands whole in reject_value, its own are empty.
 */
static int
on_refused(void *arg, const struct audit_row *h, const struct audit_row *row)
{
    struct refused *r = arg;
    int line = audit_column(h, "reject_line"), value = audit_column(h, "reject_value");
    if (line < 0 || value < 0 || row->count != h->count)
        return -EINVAL;
    unsigned long own = 0;
    bool whole = false;
    for (int i = 0; i < line; i++) {
        own += newlines(row->fields[i]);
        whole |= row->fields[i][0] != '\0';
    }
    r->rows = realloc(r->rows, (r->count + 1) * sizeof(*r->rows));
    r->rows[r->count++] = (struct refused_row){strtoul(row->fields[line], NULL, 10),
                                               1 + (whole ? own : newlines(row->fields[value]))};
    return 0;
}

static int
by_line(const void *a, const void *b)
{
    const struct refused_row *x = a, *y = b;
    return x->line < y->line ? -1 : x->line > y->line;
}

/* How many lines to step over, when a row begins at this one. */
static unsigned long
refused_at(struct refused *r, unsigned long line)
{
    while (r->next < r->count && r->rows[r->next].line < line)
        r->next++;
    return r->next < r->count && r->rows[r->next].line == line ? r->rows[r->next].lines : 0;
}

static void
feed_lines(FILE *f, struct csv_parser *p, struct reading *g, struct refused *refused)
{
    char *text = NULL;
    size_t room = 0;
    ssize_t bytes;
    unsigned long line = 1, skip = 0;
    bool begins = true; /* a row does, at this line */
    for (; (bytes = getline(&text, &room, f)) > 0; line++) {
        if (begins && skip == 0)
            skip = refused_at(refused, line);
        if (skip > 0) {
            skip--;
            continue;
        }
        unsigned rows = g->line;
        if (csv_parse(p, text, (size_t) bytes, on_field, on_row, g) != (size_t) bytes)
            g->failed = true;
        begins = g->line != rows || (begins && strspn(text, "\r\n") == (size_t) bytes);
    }
    free(text);
}

static int
read_rows(const char *path, struct refused *refused, audit_row_fn *fn, void *arg, FILE *errors)
{
    FILE *f = fopen(path, "re");
    if (!f) {
        fprintf(errors, "audit: %s: %s\n", path, strerror(errno));
        return -errno;
    }
    struct csv_parser p;
    struct reading g = {.fn = fn, .arg = arg};
    csv_init(&p, CSV_APPEND_NULL);
    csv_set_delim(&p, delimiter_of(f));
    feed_lines(f, &p, &g, refused);
    csv_fini(&p, on_field, on_row, &g);
    csv_free(&p);
    fclose(f);
    clear_row(&g.row);
    clear_row(&g.header);
    if (g.failed)
        fprintf(errors, "audit: %s: not readable as CSV\n", path);
    return g.failed ? -EINVAL : g.rc;
}

int
audit_read_csv(const char *path, const char *refused, audit_row_fn *fn, void *arg, FILE *errors)
{
    struct refused none = {0}, r = {0};
    int rc = refused ? read_rows(refused, &none, on_refused, &r, errors) : 0;
    if (rc == 0 && r.count > 0)
        qsort(r.rows, r.count, sizeof(*r.rows), by_line);
    if (rc == 0)
        rc = read_rows(path, &r, fn, arg, errors);
    free(r.rows);
    return rc;
}

int
audit_column(const struct audit_row *header, const char *name)
{
    for (unsigned i = 0; i < header->count; i++)
        if (strcasecmp(header->fields[i], name) == 0)
            return (int) i;
    return -1;
}

static const char *
text_of(json_t *line, const char *name)
{
    return json_string_value(json_object_get(line, name)) ?: "";
}

int
audit_read_receipts(const char *path, audit_receipt_fn *fn, void *arg, FILE *errors)
{
    FILE *f = fopen(path, "re");
    if (!f) {
        fprintf(errors, "audit: %s: %s\n", path, strerror(errno));
        return -errno;
    }
    int rc = 0;
    json_error_t error;
    json_t *line;
    while (rc == 0 && (line = json_loadf(f, JSON_DISABLE_EOF_CHECK, &error))) {
        struct audit_receipt r = {
            .first = (usec_t) json_integer_value(json_object_get(line, "first")),
            .last = (usec_t) json_integer_value(json_object_get(line, "last")),
            .end = (usec_t) json_integer_value(json_object_get(line, "end")),
            .taken = json_is_true(json_object_get(line, "taken")),
            .address = (char *) text_of(line, "address"),
            .to = (char *) text_of(line, "to"),
            .token = (char *) text_of(line, "token"),
            .text = (char *) text_of(line, "text"),
        };
        rc = fn(arg, &r);
        json_decref(line);
    }
    if (rc == 0 && !feof(f)) {
        fprintf(errors, "audit: %s: a line is not JSON: %s\n", path, error.text);
        rc = -EINVAL;
    }
    fclose(f);
    return rc;
}
