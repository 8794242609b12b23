/*
 * rejects.h - the rows that were refused, in a file that can be corrected and imported again.
 *
 * It has the columns of the original and reject_line, reject_column, reject_value, reject_reason,
 * in the original's delimiter. It is written beside its place and moved there at the end; without
 * any refused row no file is made. Mode 0600: it holds phone numbers, and tokens of devices.
 */
#pragma once
#include <stdio.h>

#include "coordinator/ctl/csvfile.h"
#include "shared/base.h"

#define REJECTS_SHOWN 3u

struct rejects_config {
    const char *path;
    const struct csv_row *header;
    const bool *ignored; /* [CSV_COLUMNS_MAX]: columns that are not written again */
    char delimiter;
    int secret_field; /* its value is in the row's column only; -1 = none */
};
struct rejects;
int rejects_new(struct rejects **ret, const struct rejects_config *config) _must_check_;
/* row: fields and raw as csvfile or csv_split gave them. reason is copied. 0 or -errno. */
int rejects_put(struct rejects *r, const struct csv_row *row, unsigned field,
                struct slice reason) _must_check_;
uint64_t rejects_count(const struct rejects *r);
/* The first few for people: "  line 48,113   phone   "6.01E+11"   number in ...". */
void rejects_show(const struct rejects *r, FILE *out);
/* Moves the file to its place (none: does nothing). 0 or -errno. */
int rejects_finish(struct rejects *r) _must_check_;
struct rejects *rejects_free(struct rejects *r); /* unfinished: leaves no file */
