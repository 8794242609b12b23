/* table.c - cells are kept as text in one arena until the widths are known, then rows stream. */
#include "coordinator/ctl/table.h"

#include <assert.h>
#include <ctype.h>
#include <errno.h>
#include <jansson.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "shared/clock.h"
#include "shared/parse.h"

struct column {
    char name[64], title[64];
    enum table_kind kind;
    unsigned width;
};

struct table {
    FILE *out;
    enum table_format format;
    unsigned column_count, at; /* at: column of the next cell */
    unsigned name_width;       /* TABLE_LIST */
    struct column columns[TABLE_COLUMNS_MAX];
    uint64_t row_count;
    bool flowing; /* widths are settled */
    /* TABLE_TEXT: cells of the rows that are kept, each NUL-terminated */
    char *arena;
    size_t arena_used, arena_size;
    bool out_of_memory;
};

struct table *
table_new(FILE *out, enum table_format format)
{
    struct table *t = calloc(1, sizeof(*t));
    if (!t) {
        fputs("fleetcast: out of memory\n", stderr);
        return NULL;
    }
    t->out = out;
    t->format = format;
    return t;
}

void
table_column(struct table *t, const char *name, const char *title, enum table_kind kind)
{
    assert(t->column_count < TABLE_COLUMNS_MAX && t->row_count == 0 && t->at == 0);
    struct column *c = &t->columns[t->column_count++];
    snprintf(c->name, sizeof(c->name), "%s", name);
    snprintf(c->title, sizeof(c->title), "%s", title ? title : name);
    for (char *p = c->title; *p && !title; p++)
        *p = *p == '_' ? ' ' : (char) toupper((unsigned char) *p);
    c->kind = kind;
    t->name_width = MAX_OF(t->name_width, (unsigned) strlen(c->name));
    c->width = (unsigned) parse_utf8_length((struct slice){c->title, strlen(c->title)});
}

const char *
table_thousands(char buf[static 32], int64_t value)
{
    char digits[24];
    int n = snprintf(digits, sizeof(digits), "%lld", (long long) value);
    char *out = buf;
    for (int i = 0; i < n; i++) {
        *out++ = digits[i];
        if (digits[i] != '-' && i + 1 < n && (n - i - 1) % 3 == 0)
            *out++ = ',';
    }
    *out = '\0';
    return buf;
}

const char *
table_time_text(char buf[static 40], int64_t unix_usec, bool for_people)
{
    int64_t usec = unix_usec % (int64_t) USEC_PER_SEC;
    if (usec < 0)
        usec += (int64_t) USEC_PER_SEC;
    time_t seconds = (time_t) ((unix_usec - usec) / (int64_t) USEC_PER_SEC);
    struct tm tm;
    if (!gmtime_r(&seconds, &tm)) {
        snprintf(buf, 40, "-");
        return buf;
    }
    size_t n = strftime(buf, 40, for_people ? "%Y-%m-%d %H:%M:%S" : "%Y-%m-%dT%H:%M:%S", &tm);
    if (for_people)
        snprintf(buf + n, 40 - n, "Z");
    else
        snprintf(buf + n, 40 - n, ".%06dZ", (int) usec);
    return buf;
}

void
table_csv_field(FILE *out, struct slice text, char delimiter)
{
    bool quote = text.bytes > 0 && (text.data[0] == ' ' || text.data[text.bytes - 1] == ' ' ||
                                    text.data[0] == '\t' || text.data[text.bytes - 1] == '\t');
    for (size_t i = 0; i < text.bytes && !quote; i++)
        quote = text.data[i] == delimiter || text.data[i] == '"' || text.data[i] == '\n' ||
                text.data[i] == '\r';
    if (!quote) {
        fwrite(text.data, 1, text.bytes, out);
        return;
    }
    fputc('"', out);
    for (size_t i = 0; i < text.bytes; i++) {
        if (text.data[i] == '"')
            fputc('"', out);
        fputc(text.data[i], out);
    }
    fputc('"', out);
}

const char *
table_printable(char *buf, size_t size, struct slice text)
{
    bool valid = parse_utf8_valid(text);
    size_t n = text.bytes;
    if (n >= size) {
        assert(size > 4);
        n = size - 4;
        while (n > 0 && ((unsigned char) text.data[n] & 0xc0) == 0x80)
            n--; /* never half a character */
    }
    for (size_t i = 0; i < n; i++) {
        unsigned char c = (unsigned char) text.data[i];
        buf[i] = c < 0x20 || c == 0x7f ? ' ' : c >= 0x80 && !valid ? '?' : (char) c;
    }
    snprintf(buf + n, size - n, "%s", n < text.bytes ? "..." : "");
    return buf;
}

/* ---- TABLE_TEXT ---- */

static void
write_cell(struct table *t, unsigned column, const char *text)
{
    struct column *c = &t->columns[column];
    unsigned length = (unsigned) parse_utf8_length((struct slice){text, strlen(text)});
    unsigned blanks = c->width > length ? c->width - length : 0;
    bool last = column + 1 == t->column_count;
    if (column > 0 && !(last && text[0] == '\0'))
        fputs("  ", t->out);
    if (c->kind != TABLE_WORDS)
        fprintf(t->out, "%*s%s", (int) blanks, "", text);
    else
        fprintf(t->out, "%s%*s", text, last ? 0 : (int) blanks, "");
    if (last)
        fputc('\n', t->out);
}

/* The rows kept so far, with the widths that they need. */
static void
start_flowing(struct table *t)
{
    t->flowing = true;
    unsigned column = 0;
    for (size_t at = 0; at < t->arena_used; at += strlen(t->arena + at) + 1) {
        const char *p = t->arena + at;
        struct column *c = &t->columns[column];
        unsigned length = (unsigned) parse_utf8_length((struct slice){p, strlen(p)});
        c->width = MAX_OF(c->width, length);
        column = (column + 1) % t->column_count;
    }
    for (unsigned i = 0; i < t->column_count; i++)
        write_cell(t, i, t->columns[i].title);
    column = 0;
    for (size_t at = 0; at < t->arena_used; at += strlen(t->arena + at) + 1) {
        write_cell(t, column, t->arena + at);
        column = (column + 1) % t->column_count;
    }
    t->arena_used = 0;
}

static void
keep_cell(struct table *t, const char *text)
{
    size_t bytes = strlen(text) + 1;
    if (t->arena_used + bytes > t->arena_size) {
        size_t size = MAX_OF(2 * t->arena_size, t->arena_used + bytes + 4096);
        char *arena = realloc(t->arena, size);
        if (!arena) {
            t->out_of_memory = true;
            return;
        }
        t->arena = arena;
        t->arena_size = size;
    }
    memcpy(t->arena + t->arena_used, text, bytes);
    t->arena_used += bytes;
}

/* ---- any format: one cell as people see it, as JSON, and as plain text ---- */

static void
put(struct table *t, const char *shown, json_t *value, struct slice plain)
{
    assert(t->at < t->column_count);
    switch (t->format) {
    case TABLE_TEXT:
        if (t->flowing)
            write_cell(t, t->at, shown);
        else
            keep_cell(t, shown);
        break;
    case TABLE_LIST:
        fprintf(t->out, "%s%-*s  %s\n", t->at == 0 && t->row_count > 0 ? "\n" : "",
                (int) t->name_width, t->columns[t->at].name, shown);
        break;
    case TABLE_JSON:
        fprintf(t->out, "%s\"%s\":", t->at == 0 ? (t->row_count == 0 ? "[\n{" : ",\n{") : ",",
                t->columns[t->at].name);
        if (value)
            json_dumpf(value, t->out, JSON_ENCODE_ANY | JSON_COMPACT | JSON_REAL_PRECISION(12));
        else
            t->out_of_memory = true;
        break;
    case TABLE_CSV:
        for (unsigned i = 0; i < t->column_count && t->row_count == 0 && t->at == 0; i++)
            fprintf(t->out, "%s%s", t->columns[i].name, i + 1 < t->column_count ? "," : "\n");
        if (t->at > 0)
            fputc(',', t->out);
        table_csv_field(t->out, plain, ',');
        break;
    }
    json_decref(value);
    if (++t->at < t->column_count)
        return;
    t->at = 0;
    t->row_count++;
    if (t->format == TABLE_JSON)
        fputc('}', t->out);
    if (t->format == TABLE_CSV)
        fputc('\n', t->out);
    if (t->format == TABLE_TEXT && !t->flowing && t->row_count == TABLE_ROWS_KEPT)
        start_flowing(t);
}

void
table_text(struct table *t, struct slice text)
{
    char shown[256];
    json_t *value = t->format == TABLE_JSON ? json_stringn(text.data ?: "", text.bytes) : NULL;
    put(t, table_printable(shown, sizeof(shown), text), value, text);
}

void
table_words(struct table *t, const char *format, ...)
{
    char text[512];
    va_list ap;
    va_start(ap, format);
    vsnprintf(text, sizeof(text), format, ap);
    va_end(ap);
    table_text(t, (struct slice){text, strlen(text)});
}

/* `json` is the expression that makes the value: only made when it is wanted. */
#define PUT(t, shown, plain, json)                                                                 \
    put(t, shown, (t)->format == TABLE_JSON ? (json) : NULL, (struct slice){plain, strlen(plain)})

void
table_int(struct table *t, int64_t value)
{
    char plain[32], shown[32];
    snprintf(plain, sizeof(plain), "%lld", (long long) value);
    bool count = t->columns[t->at].kind == TABLE_COUNT;
    PUT(t, count ? table_thousands(shown, value) : plain, plain, json_integer(value));
}

void
table_milli(struct table *t, int64_t milli, unsigned decimals)
{
    char plain[32], shown[64], whole[32];
    snprintf(plain, sizeof(plain), "%.3f", (double) milli / 1000);
    assert(decimals <= 3);
    int64_t unit = decimals == 0 ? 1000 : decimals == 1 ? 100 : decimals == 2 ? 10 : 1;
    int64_t scaled = (milli + unit / 2) / unit, per = 1000 / unit;
    if (decimals == 0)
        snprintf(shown, sizeof(shown), "%s", table_thousands(whole, scaled));
    else
        snprintf(shown, sizeof(shown), "%s.%0*lld", table_thousands(whole, scaled / per),
                 (int) decimals, (long long) (scaled % per));
    PUT(t, shown, plain, json_real((double) milli / 1000));
}

void
table_shown(struct table *t, int64_t value, const char *format, ...)
{
    char shown[64], plain[32];
    va_list ap;
    va_start(ap, format);
    vsnprintf(shown, sizeof(shown), format, ap);
    va_end(ap);
    snprintf(plain, sizeof(plain), "%lld", (long long) value);
    PUT(t, shown, plain, json_integer(value));
}

void
table_time(struct table *t, int64_t unix_usec)
{
    char plain[40], shown[40];
    table_time_text(plain, unix_usec, false);
    PUT(t, table_time_text(shown, unix_usec, true), plain, json_string(plain));
}

void
table_bool(struct table *t, bool value)
{
    PUT(t, value ? "yes" : "no", value ? "true" : "false", json_boolean(value));
}

void
table_null(struct table *t)
{
    PUT(t, "-", "", json_null());
}

struct table *
table_drop(struct table *t)
{
    assert(!t || (t->row_count == 0 && t->at == 0));
    free(t);
    return NULL;
}

/* An empty answer is an answer: "[]", or the header alone. */
int
table_done(struct table *t)
{
    if (!t)
        return 0;
    assert(t->at == 0);
    if (t->format == TABLE_JSON)
        fputs(t->row_count == 0 ? "[]\n" : "\n]\n", t->out);
    if (t->format == TABLE_TEXT && !t->flowing)
        start_flowing(t);
    for (unsigned i = 0; i < t->column_count && t->format == TABLE_CSV && t->row_count == 0; i++)
        fprintf(t->out, "%s%s", t->columns[i].name, i + 1 < t->column_count ? "," : "\n");
    int err = t->out_of_memory ? -ENOMEM : 0;
    if (fflush(t->out) != 0 || ferror(t->out))
        err = err ?: -EPIPE;
    free(t->arena);
    free(t);
    return err;
}
