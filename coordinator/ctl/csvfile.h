/*
 * csvfile.h - CSV rows from a file of any size, one at a time, in bounded memory.
 *
 * RFC 4180 as people's programs write it: UTF-8 with or without BOM; LF or CRLF; ',' ';' or tab,
 * told by the header line; quoted fields with doubled quotes and newlines; blanks around a field
 * are not part of it unless quoted. Empty lines are no rows. A row that cannot be read costs that
 * row only: after a stray or unclosed quote reading goes on at the next line.
 *
 * Not libcsv: it tells neither lines nor columns, cannot go on behind a broken row, and copies byte
 * by byte (the unit test compares this reader with it on random input).
 */
#pragma once
#include "shared/base.h"

#define CSV_COLUMNS_MAX   64u
#define CSV_ROW_BYTES_MAX 65536u

struct csv_row {
    uint64_t line; /* where it begins, from 1 */
    unsigned count;
    struct slice fields[CSV_COLUMNS_MAX]; /* unquoted; borrowed until the next call */
    struct slice raw;                     /* as in the file, without its line end */
    const char *fault;     /* NULL, or why the row cannot be used; then fields may be short */
    unsigned fault_column; /* index of the column at fault */
};

struct csvfile;
/* delimiter 0 = as the header line tells. 0, -EINVAL (no CSV we read: the reason is in why), or
 * -errno (why too). */
int csvfile_open(struct csvfile **ret, const char *path, char delimiter, char *why,
                 size_t why_size) _must_check_;
struct csvfile *csvfile_free(struct csvfile *f); /* accepts NULL, returns NULL */
const struct csv_row *csvfile_header(const struct csvfile *f);
char csvfile_delimiter(const struct csvfile *f);
/* 1 = a row (look at its fault), 0 = end, -errno = the file cannot be read on. */
int csvfile_next(struct csvfile *f, struct csv_row *ret) _must_check_;
/* Back to the first row behind the header; -ESPIPE on a pipe. */
int csvfile_rewind(struct csvfile *f) _must_check_;
uint64_t csvfile_size(const struct csvfile *f);   /* bytes; 0 = not known */
uint64_t csvfile_offset(const struct csvfile *f); /* bytes read as rows so far */

/* Splits one row again that csvfile_next gave as `raw`: fields point into raw or into scratch,
 * which must hold raw.bytes. */
void csv_split(struct slice raw, char delimiter, char *scratch, struct csv_row *ret);
