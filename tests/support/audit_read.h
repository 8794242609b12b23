/* audit_read.h - the audit's own readers of CSV rows and receipts. */
#pragma once
#include <stdio.h>

#include "shared/base.h"
#include "shared/clock.h"

#define AUDIT_COLUMNS_MAX 72 /* a file's 64 and the four of its refused rows */

struct audit_row {
    unsigned count;
    char *fields[AUDIT_COLUMNS_MAX]; /* NUL-terminated, valid during the callback */
    unsigned line;
};
/* Calls back for every row after the header (which is given each time). Nonzero return stops.
 * `refused` is the FILE.rejects.csv that its import wrote, or NULL: those lines are stepped over
 * unread, for a broken row that was refused must not swallow the good ones behind it. */
typedef int audit_row_fn(void *arg, const struct audit_row *header, const struct audit_row *row);
int audit_read_csv(const char *path, const char *refused, audit_row_fn *fn, void *arg,
                   FILE *errors);
int audit_column(const struct audit_row *header, const char *name); /* -1 = absent */

struct audit_receipt {
    usec_t first, last, end;
    bool taken;
    char *address, *to, *token, *text;
};
typedef int audit_receipt_fn(void *arg, const struct audit_receipt *r);
int audit_read_receipts(const char *path, audit_receipt_fn *fn, void *arg, FILE *errors);
