/* import_rows.c - one table of columns, two readers of rows, and the JSON of attributes. */
#include "coordinator/ctl/import_rows.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "shared/content.h"
#include "shared/parse.h"

#define KEY_BYTES_MAX     64u
#define NAME_TEXT_MAX     LABEL_BYTES_MAX
#define TRIGGER_BYTES_MAX 64u
#define DELAY_MS_MAX      86400000u
#define MIN_DELAY_DEFAULT 5000u /* DESIGN §6 */
#define MAX_DELAY_DEFAULT 15000u

enum need { NO, OPTIONAL, REQUIRED };

static const struct {
    const char *name;
    enum need devices, leads;
} column_table[COLUMN_COUNT] = {
    [COLUMN_DEVICE_ID] = {"device_id", REQUIRED, REQUIRED},
    [COLUMN_NAME] = {"name", REQUIRED, OPTIONAL},
    [COLUMN_TRANSPORT] = {"transport", REQUIRED, NO},
    [COLUMN_ADDRESS] = {"address", REQUIRED, NO},
    [COLUMN_TOKEN] = {"token", REQUIRED, NO},
    [COLUMN_MIN_DELAY] = {"min_delay_ms", REQUIRED, NO},
    [COLUMN_MAX_DELAY] = {"max_delay_ms", REQUIRED, NO},
    [COLUMN_ZONE] = {"zone", REQUIRED, NO},
    [COLUMN_ACCOUNT] = {"account", OPTIONAL, NO},
    [COLUMN_SCOPE] = {"scope", OPTIONAL, NO},
    [COLUMN_URL] = {"url", OPTIONAL, NO},
    [COLUMN_QUIET] = {"quiet", OPTIONAL, NO},
    [COLUMN_DAILY_CAP] = {"daily_cap", OPTIONAL, NO},
    [COLUMN_HOURLY_CAP] = {"hourly_cap", OPTIONAL, NO},
    [COLUMN_AGE] = {"age", OPTIONAL, NO},
    [COLUMN_WARM_FROM] = {"warm_from", OPTIONAL, NO},
    [COLUMN_PHONE] = {"phone", NO, REQUIRED},
    [COLUMN_TRIGGER] = {"trigger", NO, OPTIONAL},
};

static enum need
need_of(enum import_kind kind, unsigned column)
{
    return kind == IMPORT_DEVICES ? column_table[column].devices : column_table[column].leads;
}

/* ---- JSON ---- */

/* The escaped text; out must hold 6 bytes for each of text's. Returns its end. */
static char *
put_escaped(char *out, struct slice text)
{
    static const char hex[] = "0123456789abcdef";
    for (size_t i = 0; i < text.bytes; i++) {
        unsigned char c = (unsigned char) text.data[i];
        if (c >= 0x20 && c != '"' && c != '\\') {
            *out++ = (char) c;
            continue;
        }
        *out++ = '\\';
        if (c == '"' || c == '\\') {
            *out++ = (char) c;
        } else if (c == '\n' || c == '\r' || c == '\t') {
            *out++ = c == '\n' ? 'n' : c == '\r' ? 'r' : 't';
        } else {
            memcpy(out, "u00", 3);
            out[3] = hex[c >> 4];
            out[4] = hex[c & 15];
            out += 5;
        }
    }
    return out;
}

/* ---- header ---- */

static bool
is_named(struct slice text, const char *name)
{
    return text.bytes == strlen(name) && strncasecmp(text.data, name, text.bytes) == 0;
}

static bool
may_name_attribute(struct slice name)
{
    for (size_t i = 0; i < name.bytes; i++) {
        unsigned char c = (unsigned char) name.data[i];
        if (c < 0x20 || c == 0x7f || c == '{' || c == '}' || c == '|')
            return false;
    }
    return name.bytes > 0 && name.bytes <= KEY_BYTES_MAX;
}

static const char *
add_attribute(struct import_columns *c, struct slice name, unsigned field)
{
    if (!may_name_attribute(name))
        return "cannot name an attribute (1 to 64 bytes without { } | and control characters)";
    if (c->attribute_count == ATTRIBUTES_MAX)
        return "more than 32 columns besides the named ones";
    struct import_attribute *a = &c->attributes[c->attribute_count++];
    static_assert(sizeof(a->key) >= 6 * KEY_BYTES_MAX, "any name fits, escaped");
    char *out = a->key;
    *out++ = '"';
    out = put_escaped(out, name);
    memcpy(out, "\":", 2);
    a->key_bytes = (size_t) (out + 2 - a->key);
    a->field = field;
    return NULL;
}

static const char *
add_column(struct import_columns *c, const struct csv_row *header, unsigned field)
{
    struct slice name = header->fields[field];
    if (name.bytes >= 7 && strncasecmp(name.data, "reject_", 7) == 0) {
        c->ignored[field] = true;
        return NULL;
    }
    for (unsigned i = 0; i < field; i++)
        if (header->fields[i].bytes == name.bytes &&
            strncasecmp(header->fields[i].data, name.data, name.bytes) == 0)
            return "the column stands twice";
    if (name.bytes == 0)
        return "the column has no name";
    for (unsigned i = 0; i < COLUMN_COUNT; i++) {
        if (need_of(c->kind, i) != NO && is_named(name, column_table[i].name)) {
            c->at[i] = (int) field;
            return NULL;
        }
    }
    return c->kind == IMPORT_LEADS ? add_attribute(c, name, field) : "unknown column";
}

int
import_columns_read(struct import_columns *ret, enum import_kind kind, const struct csv_row *header,
                    char *why, size_t why_size)
{
    *ret = (struct import_columns){.kind = kind, .count = header->count};
    memset(ret->at, -1, sizeof(ret->at));
    for (unsigned i = 0; i < header->count; i++) {
        const char *reason = add_column(ret, header, i);
        if (!reason)
            continue;
        snprintf(why, why_size, "line %llu, column %u \"%.*s\": %s",
                 (unsigned long long) header->line, i + 1,
                 (int) MIN_OF(header->fields[i].bytes, (size_t) 80), header->fields[i].data,
                 reason);
        return -EINVAL;
    }
    for (unsigned i = 0; i < COLUMN_COUNT; i++) {
        if (ret->at[i] >= 0 || need_of(kind, i) != REQUIRED)
            continue;
        snprintf(why, why_size, "line %llu: no column \"%s\"%s", (unsigned long long) header->line,
                 column_table[i].name,
                 header->count == 1 ? " (one column only: is the delimiter , ; or tab?)" : "");
        return -EINVAL;
    }
    return 0;
}

/* ---- rows ---- */

struct reading {
    const struct import_columns *columns;
    const struct csv_row *row;
    const char *fault;
    unsigned field;
};

/* The value of a column, "" when it is not there. */
static struct slice
value_of(const struct reading *r, enum import_column column)
{
    int at = r->columns->at[column];
    return at < 0 ? (struct slice){"", 0} : r->row->fields[at];
}

static void
refuse(struct reading *r, enum import_column column, const char *fault)
{
    if (r->fault)
        return; /* the first one is told */
    r->fault = fault;
    r->field = r->columns->at[column] < 0 ? 0 : (unsigned) r->columns->at[column];
}

static struct slice
text_of(struct reading *r, enum import_column column, size_t bytes_max, const char *fault)
{
    struct slice v = value_of(r, column);
    if (v.bytes > bytes_max)
        refuse(r, column, fault);
    return v;
}

static uint32_t
number_of(struct reading *r, enum import_column column, uint32_t min, uint32_t max,
          uint32_t fallback, const char *fault)
{
    struct slice v = value_of(r, column);
    uint32_t number = fallback;
    if (v.bytes == 0 && fallback == 0)
        refuse(r, column, "missing");
    else if (v.bytes > 0 && parse_u32(v.data, v.bytes, min, max, &number) < 0)
        refuse(r, column, fault);
    return number;
}

static int32_t
device_id_of(struct reading *r)
{
    return (int32_t) number_of(r, COLUMN_DEVICE_ID, 1, DEVICE_ID_MAX, 0,
                               "not a whole number from 1 to 2147483647");
}

static bool
is_none(struct slice v)
{
    return v.bytes == 4 && memcmp(v.data, "none", 4) == 0;
}

/* An empty cell says nothing: a known device keeps what it has. */
static uint32_t
cap_of(struct reading *r, enum import_column column)
{
    struct slice v = value_of(r, column);
    uint32_t cap = 0;
    if (is_none(v))
        return DEVICE_CAP_NONE;
    if (v.bytes > 0 && parse_u32(v.data, v.bytes, 1, DEVICE_CAP_MAX, &cap) < 0)
        refuse(r, column, "not a whole number from 1 to 1000000000, nor \"none\"");
    return cap;
}

static struct slice
quiet_of(struct reading *r)
{
    struct slice v = value_of(r, COLUMN_QUIET);
    struct content_window window;
    char text[16];
    snprintf(text, sizeof(text), "%.*s", (int) v.bytes, v.data);
    if (v.bytes > 0 && !is_none(v) &&
        (v.bytes >= sizeof(text) || content_read_window(text, &window) < 0))
        refuse(r, COLUMN_QUIET, "not HH:MM-HH:MM such as 21:00-08:00, nor \"none\"");
    return v;
}

/* Two ways to say it: days, or the date on which it was new. The node judges the date. */
static struct slice
age_of(struct reading *r)
{
    static const char date_fault[] = "not a date such as 2026-11-24, nor \"none\"";
    struct slice age = value_of(r, COLUMN_AGE), date = value_of(r, COLUMN_WARM_FROM);
    uint32_t days;
    if (age.bytes > 0 && date.bytes > 0)
        refuse(r, COLUMN_WARM_FROM, "age says it already");
    if (age.bytes > 0 && !is_none(age) && parse_u32(age.data, age.bytes, 0, 36500, &days) < 0)
        refuse(r, COLUMN_AGE, "not whole days from 0 to 36500, nor \"none\"");
    if (date.bytes > 0 && !is_none(date) && (date.bytes != 10 || !memchr(date.data, '-', 10)))
        refuse(r, COLUMN_WARM_FROM, date_fault);
    return age.bytes > 0 ? age : date;
}

const char *
import_device(const struct import_columns *c, const struct csv_row *row, struct device_row *ret,
              unsigned *ret_field)
{
    struct reading r = {.columns = c, .row = row};
    static const char delay_fault[] = "not whole milliseconds from 1 to 86400000 (one day)";
    *ret = (struct device_row){
        .device_id = device_id_of(&r),
        .name = text_of(&r, COLUMN_NAME, NAME_TEXT_MAX, "longer than 255 bytes"),
        .transport = text_of(&r, COLUMN_TRANSPORT, NAME_BYTES_MAX, "no such transport"),
        .address = text_of(&r, COLUMN_ADDRESS, ADDRESS_BYTES_MAX, "longer than 128 bytes"),
        .token = value_of(&r, COLUMN_TOKEN),
        .min_delay_ms =
            number_of(&r, COLUMN_MIN_DELAY, 1, DELAY_MS_MAX, MIN_DELAY_DEFAULT, delay_fault),
        .max_delay_ms =
            number_of(&r, COLUMN_MAX_DELAY, 1, DELAY_MS_MAX, MAX_DELAY_DEFAULT, delay_fault),
        .zone = text_of(&r, COLUMN_ZONE, LABEL_BYTES_MAX, "not a time zone"),
        .account = text_of(&r, COLUMN_ACCOUNT, LABEL_BYTES_MAX, "longer than 255 bytes"),
        .scope = text_of(&r, COLUMN_SCOPE, LABEL_BYTES_MAX, "longer than 255 bytes"),
        .url = text_of(&r, COLUMN_URL, LABEL_BYTES_MAX, "longer than 255 bytes"),
        .quiet = quiet_of(&r),
        .daily_cap = cap_of(&r, COLUMN_DAILY_CAP),
        .hourly_cap = cap_of(&r, COLUMN_HOURLY_CAP),
        .age = age_of(&r),
    };
    if (ret->max_delay_ms < ret->min_delay_ms)
        refuse(&r, COLUMN_MAX_DELAY, "below min_delay_ms");
    if (r.fault)
        *ret_field = r.field;
    return r.fault;
}

static struct slice
write_attributes(struct reading *r, char json[static IMPORT_JSON_BYTES])
{
    const struct import_columns *c = r->columns;
    char *out = json;
    for (unsigned i = 0; i < c->attribute_count; i++) {
        const struct import_attribute *a = &c->attributes[i];
        struct slice v = r->row->fields[a->field];
        if (v.bytes == 0)
            continue; /* absent: the template's default applies either way */
        static_assert(IMPORT_JSON_BYTES >=
                          LEAD_BYTES_MAX + 6 * ATTRIBUTE_BYTES_MAX + sizeof(a->key) + 8,
                      "one more value always fits");
        const char *start = out;
        if (v.bytes <= ATTRIBUTE_BYTES_MAX) {
            *out = out == json ? '{' : ',';
            out++;
            memcpy(out, a->key, a->key_bytes);
            out += a->key_bytes;
            *out++ = '"';
            start = out;
            out = put_escaped(out, v);
            *out++ = '"';
        }
        bool fits = v.bytes <= ATTRIBUTE_BYTES_MAX && out - start - 1 <= (int) ATTRIBUTE_BYTES_MAX;
        if (!fits || out - json > (int) LEAD_BYTES_MAX - 1) {
            r->fault = fits ? "the row is longer than 8192 bytes" : "longer than 1024 bytes";
            r->field = a->field;
            return (struct slice){"", 0};
        }
    }
    if (out > json)
        *out++ = '}';
    return (struct slice){json, (size_t) (out - json)};
}

const char *
import_lead(const struct import_columns *c, const struct csv_row *row, uint32_t country,
            char json[static IMPORT_JSON_BYTES], struct lead_row *ret, unsigned *ret_field)
{
    struct reading r = {.columns = c, .row = row};
    ret->device_id = device_id_of(&r);
    enum phone_verdict phone = parse_phone(value_of(&r, COLUMN_PHONE), country, &ret->phone);
    if (phone != PHONE_OK)
        refuse(&r, COLUMN_PHONE, parse_phone_why(phone));
    ret->name = text_of(&r, COLUMN_NAME, NAME_TEXT_MAX, "longer than 255 bytes");
    ret->trigger = text_of(&r, COLUMN_TRIGGER, TRIGGER_BYTES_MAX, "longer than 64 bytes");
    if (!r.fault)
        ret->attributes = write_attributes(&r, json);
    if (!r.fault && ret->name.bytes + ret->trigger.bytes + ret->attributes.bytes > LEAD_BYTES_MAX)
        refuse(&r, COLUMN_NAME, "the row is longer than 8192 bytes");
    if (r.fault)
        *ret_field = r.field;
    return r.fault;
}
