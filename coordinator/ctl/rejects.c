/* rejects.c - refused rows with their reasons, written again as CSV. */
#include "coordinator/ctl/rejects.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "coordinator/ctl/table.h"
#include "shared/parse.h"

struct shown {
    uint64_t line;
    char column[40], value[48], reason[208];
};

struct rejects {
    struct rejects_config config;
    FILE *file; /* NULL until the first row */
    char *part; /* path while it is written */
    uint64_t count;
    struct shown shown[REJECTS_SHOWN];
    char mended[CSV_ROW_BYTES_MAX];
};

int
rejects_new(struct rejects **ret, const struct rejects_config *config)
{
    struct rejects *r = calloc(1, sizeof(*r));
    if (!r)
        return -ENOMEM;
    r->config = *config;
    *ret = r;
    return 0;
}

static int
open_part(struct rejects *r)
{
    if (asprintf(&r->part, "%s.XXXXXX", r->config.path) < 0) {
        r->part = NULL;
        return -ENOMEM;
    }
    int fd = mkstemp(r->part); /* mode 0600 */
    r->file = fd < 0 ? NULL : fdopen(fd, "w");
    if (!r->file) {
        int err = -errno;
        if (fd >= 0) {
            close(fd);
            unlink(r->part);
        }
        free(r->part);
        r->part = NULL;
        return err;
    }
    const struct csv_row *h = r->config.header;
    for (unsigned i = 0; i < h->count; i++) {
        if (r->config.ignored[i])
            continue;
        table_csv_field(r->file, h->fields[i], r->config.delimiter);
        fputc(r->config.delimiter, r->file);
    }
    char d = r->config.delimiter;
    fprintf(r->file, "reject_line%creject_column%creject_value%creject_reason\n", d, d, d);
    return 0;
}

static void
put_field(struct rejects *r, struct slice text, char behind)
{
    table_csv_field(r->file, text, r->config.delimiter);
    fputc(behind, r->file);
}

/* The value is told in valid UTF-8, or the corrected row would be refused for our own column. */
static struct slice
mend(struct rejects *r, struct slice value)
{
    if (parse_utf8_valid(value))
        return value;
    for (size_t i = 0; i < value.bytes; i++)
        r->mended[i] = (signed char) value.data[i] > 0 ? value.data[i] : '?';
    return (struct slice){r->mended, value.bytes};
}

static void
remember(struct rejects *r, const struct csv_row *row, struct slice column, struct slice value,
         struct slice reason)
{
    if (r->count >= REJECTS_SHOWN)
        return;
    struct shown *s = &r->shown[r->count];
    s->line = row->line;
    table_printable(s->column, sizeof(s->column), column);
    table_printable(s->value, sizeof(s->value), value);
    table_printable(s->reason, sizeof(s->reason), reason);
}

int
rejects_put(struct rejects *r, const struct csv_row *row, unsigned field, struct slice reason)
{
    int err = r->file ? 0 : open_part(r);
    if (err < 0)
        return err;
    const struct csv_row *h = r->config.header;
    bool whole = row->count == h->count;
    /* A row of the wrong shape is told as a whole, its columns stay empty: its values may stand in
       the wrong ones, and padded it would be taken the next time though nobody corrected it. */
    struct slice value = whole && field < row->count ? row->fields[field] : row->raw;
    struct slice column = field < h->count ? h->fields[field] : (struct slice){"", 0};
    bool hidden = r->config.secret_field >= 0 && (!whole || (int) field == r->config.secret_field);
    if (hidden && whole)
        value = (struct slice){"", 0};
    for (unsigned i = 0; i < h->count; i++) {
        if (!r->config.ignored[i])
            put_field(r, whole ? row->fields[i] : (struct slice){"", 0}, r->config.delimiter);
    }
    fprintf(r->file, "%llu%c", (unsigned long long) row->line, r->config.delimiter);
    put_field(r, column, r->config.delimiter);
    put_field(r, mend(r, value), r->config.delimiter);
    put_field(r, reason, '\n');
    remember(r, row, column, hidden ? (struct slice){"(hidden)", 8} : value, reason);
    r->count++;
    return ferror(r->file) ? -EIO : 0;
}

uint64_t
rejects_count(const struct rejects *r)
{
    return r->count;
}

void
rejects_show(const struct rejects *r, FILE *out)
{
    char number[32];
    unsigned shown = (unsigned) MIN_OF(r->count, (uint64_t) REJECTS_SHOWN);
    for (unsigned i = 0; i < shown; i++) {
        const struct shown *s = &r->shown[i];
        fprintf(out, "  line %s   %s   \"%s\"   %s\n", table_thousands(number, (int64_t) s->line),
                s->column, s->value, s->reason);
    }
    if (r->count > shown)
        fprintf(out, "  ... %s more\n", table_thousands(number, (int64_t) (r->count - shown)));
}

int
rejects_finish(struct rejects *r)
{
    if (!r->file)
        return 0;
    int err = fflush(r->file) != 0 || ferror(r->file) || fsync(fileno(r->file)) < 0 ? -EIO : 0;
    if (fclose(r->file) != 0)
        err = err ?: -errno;
    r->file = NULL;
    if (err == 0 && rename(r->part, r->config.path) < 0)
        err = -errno;
    if (err < 0)
        unlink(r->part);
    free(r->part);
    r->part = NULL;
    return err;
}

struct rejects *
rejects_free(struct rejects *r)
{
    if (!r)
        return NULL;
    if (r->file)
        fclose(r->file);
    if (r->part)
        unlink(r->part);
    free(r->part);
    free(r);
    return NULL;
}
