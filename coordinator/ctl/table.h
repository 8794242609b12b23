/*
 * table.h - rows for people (table) or for programs (json, csv).
 *
 * A table has no borders, numbers at the right with thousands separators, and widths taken from its
 * first rows: those are kept until TABLE_ROWS_KEPT, then rows stream, so any number of rows goes
 * through in bounded memory. JSON is one array of objects, CSV has a header line; both carry plain
 * numbers and RFC 3339 UTC times with microseconds.
 */
#pragma once
#include <stdio.h>

#include "shared/base.h"

#define TABLE_COLUMNS_MAX 32u
#define TABLE_ROWS_KEPT   1000u

enum table_format {
    TABLE_TEXT,
    TABLE_JSON,
    TABLE_CSV,
    TABLE_LIST /* for people: a line per cell, for the few rows of `show` */
};

enum table_kind {
    TABLE_WORDS, /* left */
    TABLE_COUNT, /* right, thousands separators in tables */
    TABLE_NUMBER /* right, digits as they are: ids, phones, epochs */
};

struct table;
/* NULL: out of memory (and said so). `out` is borrowed. */
struct table *table_new(FILE *out, enum table_format format);
/* name: key for programs, with its unit ("oldest_due_seconds"); title: NULL = name in capitals. */
void table_column(struct table *t, const char *name, const char *title, enum table_kind kind);

/* The cells of a row from left to right; the last one ends the row. */
void table_text(struct table *t, struct slice text);
void table_words(struct table *t, const char *format, ...) _printf_(2, 3);
void table_int(struct table *t, int64_t value);
/* thousandths: shown "98.7" with `decimals` 1; programs get all three. */
void table_milli(struct table *t, int64_t milli, unsigned decimals);
/* A figure whose table form ("0 s", "31 %", "-") differs from its number. */
void table_shown(struct table *t, int64_t value, const char *format, ...) _printf_(3, 4);
void table_time(struct table *t, int64_t unix_usec);
void table_bool(struct table *t, bool value);
void table_null(struct table *t); /* "-", null, empty */

/* Writes what is left. 0, -ENOMEM, or -EPIPE: the output cannot be written. Frees t (accepts NULL).
 */
int table_done(struct table *t);
/* Frees a table that has no row yet, as if it had never been; returns NULL. */
struct table *table_drop(struct table *t);

/* "1,234,567"; returns buf. */
const char *table_thousands(char buf[static 32], int64_t value);
/* RFC 3339 UTC: with microseconds for programs, "2026-11-24 14:02:10Z" for people; returns buf. */
const char *table_time_text(char buf[static 40], int64_t unix_usec, bool for_people);
void table_csv_field(FILE *out, struct slice text, char delimiter);
/* One line for people: control characters become blanks, cut to size with "...". Returns buf. */
const char *table_printable(char *buf, size_t size, struct slice text);
