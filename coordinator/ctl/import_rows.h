/*
 * import_rows.h - what the columns of devices.csv and leads.csv are, and a row's values from them.
 *
 * Pure. Columns are found by their names in the header line, in any order and case; columns whose
 * name begins with "reject_" are passed over, so that a corrected rejects file is imported again as
 * it is. The node judges every row again: here is judged what a row needs to travel, with the
 * column's place for the rejects file.
 */
#pragma once
#include "coordinator/ctl/csvfile.h"
#include "proto/message.h"

/* Room for the attributes' JSON while it is written. */
#define IMPORT_JSON_BYTES 16384u

enum import_kind { IMPORT_DEVICES, IMPORT_LEADS };

enum import_column {
    COLUMN_DEVICE_ID,
    COLUMN_NAME,
    COLUMN_TRANSPORT,
    COLUMN_ADDRESS,
    COLUMN_TOKEN,
    COLUMN_MIN_DELAY,
    COLUMN_MAX_DELAY,
    COLUMN_ZONE,
    COLUMN_ACCOUNT,
    COLUMN_SCOPE,
    COLUMN_URL,
    COLUMN_QUIET,
    COLUMN_DAILY_CAP,
    COLUMN_HOURLY_CAP,
    COLUMN_AGE,
    COLUMN_WARM_FROM,
    COLUMN_PHONE,
    COLUMN_TRIGGER,
    COLUMN_COUNT
};

struct import_attribute {
    unsigned field;
    size_t key_bytes;
    char key[CSV_COLUMNS_MAX * 6]; /* "\"city\":", escaped */
};

struct import_columns {
    enum import_kind kind;
    unsigned count;       /* of the header */
    int at[COLUMN_COUNT]; /* place of the field, -1 = not there */
    bool ignored[CSV_COLUMNS_MAX];
    unsigned attribute_count;
    struct import_attribute attributes[ATTRIBUTES_MAX];
};

/* 0, or -EINVAL with the words (line and column included) in why. */
int import_columns_read(struct import_columns *ret, enum import_kind kind,
                        const struct csv_row *header, char *why, size_t why_size) _must_check_;
/* NULL = good, else words for people and the field at fault. Texts are slices into the row; a token
 * is as it stands there ("@FILE" too). */
const char *import_device(const struct import_columns *c, const struct csv_row *row,
                          struct device_row *ret, unsigned *ret_field);
/* country: calling code for phones in national form, 0 = none. ret->attributes lies in json. */
const char *import_lead(const struct import_columns *c, const struct csv_row *row, uint32_t country,
                        char json[static IMPORT_JSON_BYTES], struct lead_row *ret,
                        unsigned *ret_field);
