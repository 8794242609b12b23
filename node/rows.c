/* rows.c - the rules of devices.csv and leads.csv, one function per kind of row. */
#include "node/rows.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "node/transport.h"
#include "shared/content.h"
#include "shared/parse.h"

#define DAY_MS            86400000u
#define WORD_BYTES_MAX    64u /* account, scope, trigger, zone */
#define NAME_TEXT_MAX     LABEL_BYTES_MAX
#define URL_BYTES_MAX     LABEL_BYTES_MAX
#define ADDRESS_TEXT_MAX  64u
#define PHONE_MIN         10000000u        /* 8 digits */
#define PHONE_MAX         999999999999999u /* 15 digits, E.164 */
#define ATTRIBUTE_KEY_MAX 64u
#define AGE_MAX           36500u

/* Visible ASCII without what would change a URL's or a header's meaning. */
static bool
is_word(struct slice text, size_t bytes_max, const char *without)
{
    if (text.bytes > bytes_max)
        return false;
    for (size_t i = 0; i < text.bytes; i++) {
        unsigned char c = (unsigned char) text.data[i];
        if (c <= ' ' || c > '~' || strchr(without, c))
            return false;
    }
    return true;
}

static bool
starts_with(struct slice text, const char *prefix)
{
    size_t bytes = strlen(prefix);
    return text.bytes > bytes && memcmp(text.data, prefix, bytes) == 0;
}

static const char *
url_why(struct slice url, bool allow_http)
{
    if (url.bytes == 0)
        return NULL;
    if (!is_word(url, URL_BYTES_MAX, "\"<>\\^`{|}?#"))
        return "url: not a base URL (255 bytes, no blanks, no query)";
    if (starts_with(url, "https://"))
        return NULL;
    if (!starts_with(url, "http://"))
        return "url: must begin with https://";
    return allow_http ? NULL : "url: plain http is off on this node ([send] allow_http)";
}

static const char *
delays_why(const struct device_row *row, uint32_t gap_min_ms)
{
    if (row->min_delay_ms == 0)
        return "min_delay_ms: must be above 0";
    if (row->min_delay_ms > row->max_delay_ms)
        return "max_delay_ms: must not be below min_delay_ms";
    if (row->max_delay_ms > DAY_MS)
        return "max_delay_ms: must not be above one day (86400000)";
    if (row->min_delay_ms < gap_min_ms)
        return "min_delay_ms: below the smallest gap of this node ([timing] gap_min)";
    return NULL;
}

/* A cap that was said, and is no cap: 1 to DEVICE_CAP_MAX are. */
static bool
is_no_cap(uint32_t cap)
{
    return cap != DEVICE_CAP_NONE && cap > DEVICE_CAP_MAX;
}

static bool
is_none(struct slice text)
{
    return text.bytes == 4 && memcmp(text.data, "none", 4) == 0;
}

static bool
is_quiet(struct slice text)
{
    struct content_window window;
    char copy[16];

    if (text.bytes == 0 || is_none(text))
        return true;
    if (text.bytes >= sizeof(copy))
        return false;
    memcpy(copy, text.data, text.bytes);
    copy[text.bytes] = '\0';
    /* The whole day would be: never. */
    return content_read_window(copy, &window) == 0 && (window.to + 1440 - window.from) % 1440 != 0;
}

static bool
is_date(struct slice text)
{
    static const uint32_t days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    uint32_t year, month, day;

    if (text.bytes != 10 || text.data[4] != '-' || text.data[7] != '-' ||
        parse_u32(text.data, 4, 2000, 2999, &year) < 0 ||
        parse_u32(text.data + 5, 2, 1, 12, &month) < 0 ||
        parse_u32(text.data + 8, 2, 1, 31, &day) < 0)
        return false;
    bool leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    return day <= days[month - 1] + (month == 2 && leap);
}

static bool
is_age(struct slice text)
{
    uint32_t days;

    return text.bytes == 0 || is_none(text) || is_date(text) ||
           parse_u32(text.data, text.bytes, 0, AGE_MAX, &days) == 0;
}

static const char *
limits_why(const struct device_row *row)
{
    if (!is_quiet(row->quiet))
        return "quiet: must be HH:MM-HH:MM in its zone such as 21:00-08:00, or none";
    if (is_no_cap(row->daily_cap))
        return "daily_cap: must be 1 to 1000000000, or none";
    if (is_no_cap(row->hourly_cap))
        return "hourly_cap: must be 1 to 1000000000, or none";
    if (!is_age(row->age))
        return "age: must be days (0 to 36500), a date such as 2026-11-24, or none";
    return NULL;
}

const char *
rows_device_why(const struct device_row *row, const struct row_limits *limits)
{
    const struct gateway *gateway = gateway_find(row->transport);

    if (row->device_id < 1)
        return "device_id: must be 1 to 2147483647";
    if (!gateway)
        return "transport: no such transport (cloudapi)";
    if (row->address.bytes == 0 || !is_word(row->address, ADDRESS_TEXT_MAX, "/?#%\\\"&"))
        return "address: must be the sender's id at the provider (64 bytes, no blanks, no / ? # %)";
    if (gateway == &gateway_cloudapi && row->token.bytes == 0)
        return "token: missing (a cloudapi device cannot send without one)";
    if (!is_word(row->token, DEVICE_TOKEN_BYTES_MAX, ""))
        return "token: must be at most 1024 visible ASCII characters";
    if (!is_word(row->zone, WORD_BYTES_MAX, ""))
        return "zone: not a time zone such as Asia/Kuala_Lumpur";
    if (!is_word(row->account, WORD_BYTES_MAX, ""))
        return "account: must be at most 64 visible ASCII characters";
    if (!is_word(row->scope, WORD_BYTES_MAX, ""))
        return "scope: must be at most 64 visible ASCII characters";
    if (row->name.bytes > NAME_TEXT_MAX)
        return "name: longer than 255 bytes";
    const char *why = delays_why(row, limits->gap_min_ms);
    if (!why)
        why = limits_why(row);
    return why ? why : url_why(row->url, limits->allow_http);
}

/* A cursor over JSON text; at == end is the end. */
struct scan {
    const char *at, *end;
};

static bool
scan_char(struct scan *s, char c)
{
    while (s->at < s->end && strchr(" \t\r\n", *s->at) && *s->at)
        s->at++;
    if (s->at == s->end || *s->at != c)
        return false;
    s->at++;
    return true;
}

/* Behind a backslash; \u0000 is refused here because PostgreSQL cannot store it. */
static bool
scan_escape(struct scan *s)
{
    if (s->at == s->end)
        return false;
    char c = *s->at++;
    if (c != 'u')
        return c && strchr("\"\\/bfnrt", c);
    if (s->end - s->at < 4 || memcmp(s->at, "0000", 4) == 0)
        return false;
    for (unsigned i = 0; i < 4; i++, s->at++)
        if (!*s->at || !strchr("0123456789abcdefABCDEF", *s->at))
            return false;
    return true;
}

static bool
scan_string(struct scan *s, size_t bytes_max)
{
    if (!scan_char(s, '"'))
        return false;
    const char *start = s->at;
    while (s->at < s->end && *s->at != '"') {
        unsigned char c = (unsigned char) *s->at++;
        if (c < ' ' || (c == '\\' && !scan_escape(s)))
            return false;
    }
    if (s->at == s->end || (size_t) (s->at - start) > bytes_max)
        return false;
    s->at++;
    return true;
}

const char *
rows_attributes_why(struct slice json)
{
    if (json.bytes == 0)
        return NULL;
    struct scan s = {json.data, json.data + json.bytes};
    bool good = scan_char(&s, '{');
    bool more = good && !scan_char(&s, '}');
    for (unsigned count = 1; more; count++) {
        if (count > ATTRIBUTES_MAX)
            return "attributes: more than 32 columns besides the named ones";
        if (!scan_string(&s, ATTRIBUTE_KEY_MAX) || !scan_char(&s, ':'))
            return "attributes: a column's name is longer than 64 bytes or no text";
        if (!scan_string(&s, ATTRIBUTE_BYTES_MAX))
            return "attributes: a value is longer than 1024 bytes or no text";
        more = scan_char(&s, ',');
        good = more || scan_char(&s, '}');
    }
    return good && s.at == s.end ? NULL : "attributes: not a flat JSON object of texts";
}

bool
rows_next_column(struct slice json, size_t *at, struct slice *ret_name)
{
    struct scan s = {json.data + *at, json.data + json.bytes};

    if (json.bytes == 0 || !scan_char(&s, *at == 0 ? '{' : ',') || !scan_char(&s, '"'))
        return false;
    const char *start = s.at--; /* scan_string reads the quote itself */
    if (!scan_string(&s, ATTRIBUTE_KEY_MAX))
        return false;
    *ret_name = (struct slice){start, (size_t) (s.at - 1 - start)};
    if (!scan_char(&s, ':') || !scan_string(&s, ATTRIBUTE_BYTES_MAX))
        return false;
    *at = (size_t) (s.at - json.data);
    return true;
}

void
rows_phone_hash(const uint8_t key[static SECRET_KEY_BYTES], uint64_t phone,
                uint8_t ret_hash[static SECRET_HASH_BYTES])
{
    static const char context[] = "forgotten phone";
    char digits[24];
    int bytes = snprintf(digits, sizeof(digits), "%" PRIu64, phone);

    secret_keyed_hash(key, (struct slice){context, sizeof(context) - 1},
                      (struct slice){digits, (size_t) bytes}, ret_hash);
}

const char *
rows_lead_why(const struct lead_row *row)
{
    if (row->device_id < 1)
        return "device_id: must be 1 to 2147483647";
    if (row->phone < PHONE_MIN || row->phone > PHONE_MAX)
        return "phone: must be an international number of 8 to 15 digits";
    if (row->name.bytes > NAME_TEXT_MAX)
        return "name: longer than 255 bytes";
    if (row->trigger.bytes > 0 && !content_trigger_valid(row->trigger))
        return "trigger: must be at most 64 visible ASCII characters";
    if (row->name.bytes + row->trigger.bytes + row->attributes.bytes > LEAD_BYTES_MAX)
        return "attributes: the row is longer than 8192 bytes";
    return rows_attributes_why(row->attributes);
}
