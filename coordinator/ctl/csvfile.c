/* csvfile.c - a window over the file that always holds one whole row, and the scanner of a row. */
#include "coordinator/ctl/csvfile.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "shared/parse.h"

/* Read in large pieces; what is left of the last piece is always less than one row. */
#define WINDOW_BYTES (1024u * 1024u)
static_assert(WINDOW_BYTES >= 4 * CSV_ROW_BYTES_MAX, "moving the rest must be cheap");

struct csvfile {
    int fd;
    bool eof;
    char delimiter;
    char *window; /* WINDOW_BYTES */
    size_t at, end;
    uint64_t size, base; /* base: file offset of window[0] */
    uint64_t line;       /* of window[at] */
    uint64_t first_line; /* of the first row behind the header */
    uint64_t first_offset;
    char *scratch; /* CSV_ROW_BYTES_MAX: fields with doubled quotes, without them */
    char *header_text;
    char *header_scratch;
    struct csv_row header;
    char fault[128];
};

/* Reading one row: where we are in it. */
struct scan {
    const char *p, *end;
    char *scratch;
    char delimiter;
    uint64_t lines; /* newlines inside quotes */
    const char *fault;
    bool open; /* the fault: a quote that nothing closes */
};

static bool
is_blank(const struct scan *s, char c)
{
    return (c == ' ' || c == '\t') && c != s->delimiter;
}

/* Behind a field: the delimiter, a line end, or the end of the window. */
static bool
at_field_end(const struct scan *s)
{
    if (s->p == s->end || *s->p == s->delimiter || *s->p == '\n')
        return true;
    return *s->p == '\r' && (s->p + 1 == s->end || s->p[1] == '\n');
}

static struct slice
scan_quoted(struct scan *s)
{
    const char *start = ++s->p, *copied = start;
    char *out = s->scratch;
    for (;;) {
        const char *quote = memchr(s->p, '"', (size_t) (s->end - s->p));
        if (!quote) {
            s->fault = "a quote is opened and not closed";
            s->open = true;
            return (struct slice){start, 0};
        }
        s->p = quote + 1;
        if (s->p == s->end || *s->p != '"')
            break;
        /* "" stands for one quote: copy up to and with the first of the two */
        memcpy(out, copied, (size_t) (s->p - copied));
        out += s->p - copied;
        copied = ++s->p;
    }
    const char *close = s->p - 1;
    for (const char *n = start; (n = memchr(n, '\n', (size_t) (close - n))); n++)
        s->lines++;
    while (s->p < s->end && is_blank(s, *s->p))
        s->p++;
    if (!at_field_end(s))
        s->fault = "text behind a closing quote";
    if (copied == start)
        return (struct slice){start, (size_t) (close - start)};
    memcpy(out, copied, (size_t) (close - copied));
    out += close - copied;
    struct slice field = {s->scratch, (size_t) (out - s->scratch)};
    s->scratch = out;
    return field;
}

static struct slice
scan_plain(struct scan *s)
{
    const char *start = s->p;
    char delimiter = s->delimiter;
    const char *p = start, *end = s->end;
    while (p < end && *p != delimiter && *p != '\n')
        p++;
    s->p = p;
    const char *last = p;
    if (last > start && last[-1] == '\r' && (p == end || *p == '\n'))
        s->p = --last;
    while (last > start && is_blank(s, last[-1]))
        last--;
    return (struct slice){start, (size_t) (last - start)};
}

/* Fields up to the line end; s->p is left on it (or on s->end). */
static void
scan_row(struct scan *s, struct csv_row *ret)
{
    ret->count = 0;
    for (;;) {
        while (s->p < s->end && is_blank(s, *s->p))
            s->p++;
        if (ret->count == CSV_COLUMNS_MAX) {
            s->fault = "more columns than can be read (64)";
            ret->fault_column = CSV_COLUMNS_MAX - 1;
            return;
        }
        bool quoted = s->p < s->end && *s->p == '"';
        ret->fields[ret->count] = quoted ? scan_quoted(s) : scan_plain(s);
        if (s->fault) {
            ret->fault_column = ret->count;
            return;
        }
        ret->count++;
        if (s->p == s->end || *s->p != s->delimiter)
            return;
        s->p++;
    }
}

static size_t
line_end_bytes(const char *p, const char *end)
{
    if (p < end && *p == '\r')
        return p + 1 == end ? 1 : p[1] == '\n' ? 2 : 0;
    return p < end && *p == '\n';
}

void
csv_split(struct slice raw, char delimiter, char *scratch, struct csv_row *ret)
{
    struct scan s = {.p = raw.data,
                     .end = raw.data + raw.bytes,
                     .scratch = scratch,
                     .delimiter = delimiter};
    scan_row(&s, ret);
    ret->raw = raw;
    ret->fault = s.fault;
}

/* True when every byte is ASCII and not NUL: eight at a time, for nearly all rows are. */
static bool
is_plain_ascii(struct slice s)
{
    const uint64_t ones = 0x0101010101010101u, highs = 0x8080808080808080u;
    size_t i = 0;
    for (; i + 8 <= s.bytes; i += 8) {
        uint64_t w;
        memcpy(&w, s.data + i, 8);
        if (((w - ones) | w) & highs)
            return false;
    }
    for (; i < s.bytes; i++)
        if ((signed char) s.data[i] <= 0)
            return false;
    return true;
}

/* Makes sure that the window holds a row of the greatest size, or all that is left of the file. */
static int
fill(struct csvfile *f)
{
    if (f->eof || f->end - f->at >= CSV_ROW_BYTES_MAX)
        return 0;
    memmove(f->window, f->window + f->at, f->end - f->at);
    f->base += f->at;
    f->end -= f->at;
    f->at = 0;
    while (f->end < WINDOW_BYTES) {
        ssize_t n = read(f->fd, f->window + f->end, WINDOW_BYTES - f->end);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
        if (n == 0) {
            f->eof = true;
            break;
        }
        f->end += (size_t) n;
    }
    return 0;
}

/* A row that cannot be read ends at its first line end, however far its quotes reach. */
static int
give_up_row(struct csvfile *f, struct csv_row *ret)
{
    const char *start = f->window + f->at;
    size_t bytes = MIN_OF(f->end - f->at, CSV_ROW_BYTES_MAX);
    const char *newline = memchr(start, '\n', bytes);
    ret->count = 0;
    if (newline) {
        bytes = (size_t) (newline - start);
        f->at += bytes + 1;
        f->line++;
        ret->raw = (struct slice){start, bytes - (bytes > 0 && newline[-1] == '\r')};
        return 1;
    }
    /* longer than any row: keep its beginning, step over the rest */
    memcpy(f->scratch, start, bytes);
    ret->raw = (struct slice){f->scratch, bytes};
    f->at += bytes;
    for (;;) {
        int err = fill(f);
        if (err < 0)
            return err;
        newline = memchr(f->window + f->at, '\n', f->end - f->at);
        if (newline || f->at == f->end)
            break;
        f->at = f->end;
    }
    if (newline) {
        f->at = (size_t) (newline + 1 - f->window);
        f->line++;
    }
    return 1;
}

static void
check_shape(struct csvfile *f, struct csv_row *row)
{
    if (f->header.count > 0 && row->count != f->header.count) {
        snprintf(f->fault, sizeof(f->fault), "the row has %u column%s, the header has %u",
                 row->count, row->count == 1 ? "" : "s", f->header.count);
        row->fault = f->fault;
        row->fault_column = MIN_OF(row->count, f->header.count) - 1;
        return;
    }
    if (is_plain_ascii(row->raw))
        return;
    for (unsigned i = 0; i < row->count && !row->fault; i++) {
        if (parse_utf8_valid(row->fields[i]))
            continue;
        row->fault =
            memchr(row->fields[i].data, 0, row->fields[i].bytes) ? "a NUL byte" : "not valid UTF-8";
        row->fault_column = i;
    }
}

int
csvfile_next(struct csvfile *f, struct csv_row *ret)
{
    for (;;) {
        int err = fill(f);
        if (err < 0)
            return err;
        size_t skip = line_end_bytes(f->window + f->at, f->window + f->end);
        if (skip == 0)
            break;
        f->at += skip;
        f->line++;
    }
    if (f->at == f->end)
        return 0;
    const char *start = f->window + f->at;
    size_t bytes = MIN_OF(f->end - f->at, CSV_ROW_BYTES_MAX);
    struct scan s = {.p = start,
                     .end = start + bytes,
                     .scratch = f->scratch,
                     .delimiter = f->delimiter};
    ret->line = f->line;
    ret->fault_column = 0;
    scan_row(&s, ret);
    if (!s.fault && s.p == s.end && f->at + bytes < f->end)
        s.fault = "longer than 64 KiB";
    else if (s.open && f->at + bytes < f->end)
        s.fault = "a quote is opened and not closed within 64 KiB";
    ret->fault = s.fault;
    if (s.fault)
        return give_up_row(f, ret);
    ret->raw = (struct slice){start, (size_t) (s.p - start)};
    size_t line_end = line_end_bytes(s.p, s.end);
    f->at += ret->raw.bytes + line_end;
    f->line += s.lines + (line_end > 0);
    check_shape(f, ret);
    return 1;
}

/* The delimiter that the header line uses most, outside of quotes. */
static char
sniff(const char *p, size_t bytes)
{
    static const char candidates[] = {',', ';', '\t'};
    unsigned counts[ARRAY_SIZE(candidates)] = {0};
    bool quoted = false;
    for (size_t i = 0; i < bytes && (quoted || p[i] != '\n'); i++) {
        quoted ^= p[i] == '"';
        for (unsigned c = 0; c < ARRAY_SIZE(candidates); c++)
            counts[c] += !quoted && p[i] == candidates[c];
    }
    unsigned best = 0;
    for (unsigned c = 1; c < ARRAY_SIZE(candidates); c++)
        if (counts[c] > counts[best])
            best = c;
    return candidates[best];
}

/* What people give a CSV reader that is no CSV; NULL = may be one. */
static const char *
foreign_format(const char *p, size_t bytes)
{
    if (bytes >= 2 && (memcmp(p, "\xff\xfe", 2) == 0 || memcmp(p, "\xfe\xff", 2) == 0))
        return "the file is UTF-16: save it as \"CSV UTF-8\"";
    if (bytes >= 4 && memcmp(p, "PK\x03\x04", 4) == 0)
        return "the file is a spreadsheet or an archive: export it as \"CSV UTF-8\"";
    const char *newline = memchr(p, '\n', MIN_OF(bytes, CSV_ROW_BYTES_MAX));
    size_t line_bytes = newline ? (size_t) (newline - p) : MIN_OF(bytes, CSV_ROW_BYTES_MAX);
    if (memchr(p, 0, line_bytes))
        return "the header line has NUL bytes: not a text file, or UTF-16; save it as \"CSV "
               "UTF-8\"";
    const char *cr = memchr(p, '\r', line_bytes);
    if (cr && cr + 1 < p + line_bytes)
        return "lines end with CR alone: save it with LF or CRLF line ends";
    return NULL;
}

static int
read_header(struct csvfile *f, char delimiter, char *why, size_t why_size)
{
    int err = fill(f);
    if (err < 0) {
        snprintf(why, why_size, "cannot be read: %s", strerror(-err));
        return err;
    }
    if (f->end >= 3 && memcmp(f->window, "\xef\xbb\xbf", 3) == 0)
        f->at = 3;
    const char *foreign = foreign_format(f->window + f->at, f->end - f->at);
    if (foreign) {
        snprintf(why, why_size, "%s", foreign);
        return -EINVAL;
    }
    f->delimiter = delimiter ? delimiter : sniff(f->window + f->at, f->end - f->at);
    struct csv_row row;
    int got = csvfile_next(f, &row);
    if (got < 0)
        return got;
    if (got == 0) {
        snprintf(why, why_size, "empty: a header line is needed");
        return -EINVAL;
    }
    if (row.fault) {
        snprintf(why, why_size, "line %llu, column %u: %s", (unsigned long long) row.line,
                 row.fault_column + 1, row.fault);
        return -EINVAL;
    }
    /* the header outlives the window */
    f->header_text = malloc(row.raw.bytes + 1);
    f->header_scratch = malloc(row.raw.bytes + 1);
    if (!f->header_text || !f->header_scratch)
        return -ENOMEM;
    memcpy(f->header_text, row.raw.data, row.raw.bytes);
    f->header.line = row.line;
    csv_split((struct slice){f->header_text, row.raw.bytes}, f->delimiter, f->header_scratch,
              &f->header);
    f->first_line = f->line;
    f->first_offset = f->base + f->at;
    return 0;
}

int
csvfile_open(struct csvfile **ret, const char *path, char delimiter, char *why, size_t why_size)
{
    struct csvfile *f = calloc(1, sizeof(*f));
    if (!f)
        return -ENOMEM;
    f->line = 1;
    f->fd = open(path, O_RDONLY | O_CLOEXEC);
    struct stat st;
    int err = 0;
    if (f->fd < 0 || fstat(f->fd, &st) < 0)
        err = -errno;
    else if (S_ISDIR(st.st_mode))
        err = -EISDIR;
    if (err < 0) {
        snprintf(why, why_size, "%s", strerror(-err));
        csvfile_free(f);
        return err;
    }
    f->size = S_ISREG(st.st_mode) ? (uint64_t) st.st_size : 0;
    f->window = malloc(WINDOW_BYTES);
    f->scratch = malloc(CSV_ROW_BYTES_MAX);
    err = f->window && f->scratch ? read_header(f, delimiter, why, why_size) : -ENOMEM;
    if (err == -ENOMEM)
        snprintf(why, why_size, "out of memory");
    if (err < 0) {
        csvfile_free(f);
        return err;
    }
    *ret = f;
    return 0;
}

struct csvfile *
csvfile_free(struct csvfile *f)
{
    if (!f)
        return NULL;
    if (f->fd >= 0)
        close(f->fd);
    free(f->window);
    free(f->scratch);
    free(f->header_text);
    free(f->header_scratch);
    free(f);
    return NULL;
}

const struct csv_row *
csvfile_header(const struct csvfile *f)
{
    return &f->header;
}

char
csvfile_delimiter(const struct csvfile *f)
{
    return f->delimiter;
}

int
csvfile_rewind(struct csvfile *f)
{
    if (lseek(f->fd, (off_t) f->first_offset, SEEK_SET) < 0)
        return -errno;
    f->base = f->first_offset;
    f->at = f->end = 0;
    f->eof = false;
    f->line = f->first_line;
    return 0;
}

uint64_t
csvfile_size(const struct csvfile *f)
{
    return f->size;
}

uint64_t
csvfile_offset(const struct csvfile *f)
{
    return f->base + f->at;
}
