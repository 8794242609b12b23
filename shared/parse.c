/* Strict readers: no leading blanks, no signs, nothing left over. */
#include "shared/parse.h"

#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#define PHONE_DIGITS_MIN                                                                           \
    8u /* E.164 sets no least; shorter ones are short codes and typing errors */
#define PHONE_DIGITS_MAX 15u
#define PHONE_TEXT_MAX   64u /* with all its blanks and brackets */

static bool
is_digit(char c)
{
    return c >= '0' && c <= '9';
}

int
parse_u64(const char *text, size_t bytes, uint64_t min, uint64_t max, uint64_t *ret)
{
    if (bytes == 0)
        return -EINVAL;
    uint64_t value = 0;
    bool overflow = false;
    for (size_t i = 0; i < bytes; i++) {
        if (!is_digit(text[i]))
            return -EINVAL;
        overflow |= __builtin_mul_overflow(value, 10, &value);
        overflow |= __builtin_add_overflow(value, (uint64_t) (text[i] - '0'), &value);
    }
    if (overflow || value < min || value > max)
        return -ERANGE;
    *ret = value;
    return 0;
}

int
parse_u32(const char *text, size_t bytes, uint32_t min, uint32_t max, uint32_t *ret)
{
    uint64_t value;
    int rc = parse_u64(text, bytes, min, max, &value);
    if (rc < 0)
        return rc;
    *ret = (uint32_t) value;
    return 0;
}

int
parse_bool(const char *text, bool *ret)
{
    static const char *const words[] = {"no", "yes", "false", "true", "off", "on", "0", "1"};
    for (size_t i = 0; i < ARRAY_SIZE(words); i++) {
        if (strcmp(text, words[i]) == 0) {
            *ret = i % 2 == 1;
            return 0;
        }
    }
    return -EINVAL;
}

int
parse_span(const char *text, usec_t min, usec_t max, usec_t *ret)
{
    static const struct {
        const char *unit;
        usec_t usec;
    } units[] = {
        {"ms", USEC_PER_MSEC},      {"s", USEC_PER_SEC},         {"m", 60 * USEC_PER_SEC},
        {"h", 3600 * USEC_PER_SEC}, {"d", 86400 * USEC_PER_SEC},
    };
    size_t digits = strspn(text, "0123456789");
    for (size_t i = 0; i < ARRAY_SIZE(units); i++) {
        if (strcmp(text + digits, units[i].unit) != 0)
            continue;
        uint64_t count;
        usec_t value;
        int rc = parse_u64(text, digits, 0, UINT64_MAX, &count);
        if (rc < 0)
            return rc;
        if (__builtin_mul_overflow(count, units[i].usec, &value) || value < min || value > max)
            return -ERANGE;
        *ret = value;
        return 0;
    }
    return -EINVAL;
}

/* Bytes at the start of `text` that carry no digit; 0 when the next one must be read. */
static size_t
phone_filler(struct slice text)
{
    /* The last six are what spreadsheets and address books paste: no-break blanks and hyphen, and
       invisible marks of writing direction. */
    static const char *const fillers[] = {
        " ", "\t", "-", ".", "(", ")", "\u00a0", "\u202f", "\u2011", "\u200e", "\u202a", "\u202c",
    };
    for (size_t i = 0; i < ARRAY_SIZE(fillers); i++) {
        size_t bytes = strlen(fillers[i]);
        if (text.bytes >= bytes && memcmp(text.data, fillers[i], bytes) == 0)
            return bytes;
    }
    return 0;
}

static struct slice
skip(struct slice text, size_t bytes)
{
    return (struct slice){text.data + bytes, text.bytes - bytes};
}

/* "6.01E+11", "6,01E+11", "60123456789.0": dropping the point would make another number of it. */
static bool
phone_by_spreadsheet(struct slice text)
{
    size_t i = text.bytes && text.data[0] == '+' ? 1 : 0;
    size_t whole = 0, part = 0, zeros = 0;
    for (; i < text.bytes && is_digit(text.data[i]); i++)
        whole++;
    bool point = i < text.bytes && (text.data[i] == '.' || text.data[i] == ',');
    for (i += point; i < text.bytes && is_digit(text.data[i]); i++) {
        part++;
        zeros += text.data[i] == '0';
    }
    if (whole == 0)
        return false;
    if (i == text.bytes)
        return point && whole >= PHONE_DIGITS_MIN && part > 0 && part == zeros;
    if (text.data[i] != 'E' && text.data[i] != 'e')
        return false;
    i++;
    if (i < text.bytes && (text.data[i] == '+' || text.data[i] == '-'))
        i++;
    size_t exponent = i;
    while (i < text.bytes && is_digit(text.data[i]))
        i++;
    return i > exponent && i == text.bytes;
}

struct phone_digits {
    char digits[PHONE_TEXT_MAX + 1];
    size_t count;
    bool plus;
};

/* false: something stands there that belongs to no number. */
static bool
phone_collect(struct phone_digits *d, struct slice text)
{
    while (text.bytes) {
        size_t filler = phone_filler(text);
        /* "+44 (0)20": the trunk zero is for callers inside the country */
        if (d->plus && text.bytes >= 3 && memcmp(text.data, "(0)", 3) == 0)
            filler = 3;
        if (filler) {
            text = skip(text, filler);
            continue;
        }
        if (*text.data == '+' && d->count == 0 && !d->plus)
            d->plus = true;
        else if (is_digit(*text.data))
            d->digits[d->count++] = *text.data;
        else
            return false;
        text = skip(text, 1);
    }
    return true;
}

static enum phone_verdict
phone_complete(const struct phone_digits *d, uint32_t country, uint64_t *ret_phone)
{
    const char *digits = d->digits;
    char code[12] = "";
    if (!d->plus && strncmp(digits, "00", 2) == 0) {
        digits += 2; /* "00" is how one dials "+" */
    } else if (!d->plus && country) {
        snprintf(code, sizeof(code), "%u", country);
        if (digits[0] == '0')
            digits++;
        else if (strncmp(digits, code, strlen(code)) == 0)
            code[0] = '\0'; /* written with it already */
    }
    if (digits[0] == '0' && !code[0])
        return PHONE_NO_COUNTRY;
    size_t count = strlen(code) + strlen(digits);
    if (count < PHONE_DIGITS_MIN)
        return PHONE_TOO_SHORT;
    if (count > PHONE_DIGITS_MAX)
        return PHONE_TOO_LONG;
    uint64_t phone = code[0] ? country : 0;
    for (; *digits; digits++)
        phone = phone * 10 + (uint64_t) (*digits - '0');
    *ret_phone = phone;
    return PHONE_OK;
}

static bool
is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r';
}

enum phone_verdict
parse_phone(struct slice text, uint32_t country, uint64_t *ret_phone)
{
    assert(country <= 999);
    while (text.bytes && is_blank(text.data[0]))
        text = skip(text, 1);
    while (text.bytes && is_blank(text.data[text.bytes - 1]))
        text.bytes--;
    if (text.bytes == 0)
        return PHONE_EMPTY;
    if (phone_by_spreadsheet(text))
        return PHONE_SCIENTIFIC;
    if (text.bytes > PHONE_TEXT_MAX)
        return PHONE_TOO_LONG;
    struct phone_digits d = {.count = 0};
    if (!phone_collect(&d, text))
        return PHONE_LETTERS;
    if (d.count == 0)
        return PHONE_EMPTY;
    return phone_complete(&d, country, ret_phone);
}

const char *
parse_phone_why(enum phone_verdict v)
{
    static const char *const words[] = {
        [PHONE_OK] = "ok",
        [PHONE_EMPTY] = "no number",
        [PHONE_SCIENTIFIC] = "number in scientific notation: export the column as text",
        [PHONE_LETTERS] = "not a phone number",
        [PHONE_TOO_SHORT] = "too short for an international number (8 to 15 digits)",
        [PHONE_TOO_LONG] = "too long for an international number (8 to 15 digits)",
        [PHONE_NO_COUNTRY] = "national number: write it with + and the country, or give --country",
    };
    assert((size_t) v < ARRAY_SIZE(words));
    return words[v];
}

/* Bytes of the code point at the start, 0 when it is none (overlong, surrogate, too high, cut). */
static size_t
utf8_step(struct slice text)
{
    const uint8_t *p = (const uint8_t *) text.data;
    if (p[0] < 0x80)
        return p[0] ? 1 : 0;
    size_t bytes = p[0] >= 0xf0 ? 4 : p[0] >= 0xe0 ? 3 : 2;
    if (p[0] < 0xc2 || p[0] > 0xf4 || text.bytes < bytes)
        return 0;
    for (size_t i = 1; i < bytes; i++) {
        if ((p[i] & 0xc0) != 0x80)
            return 0;
    }
    bool overlong = (p[0] == 0xe0 && p[1] < 0xa0) || (p[0] == 0xf0 && p[1] < 0x90);
    bool surrogate = p[0] == 0xed && p[1] >= 0xa0;
    bool too_high = p[0] == 0xf4 && p[1] >= 0x90;
    return overlong || surrogate || too_high ? 0 : bytes;
}

bool
parse_utf8_valid(struct slice text)
{
    while (text.bytes) {
        size_t bytes = utf8_step(text);
        if (bytes == 0)
            return false;
        text = skip(text, bytes);
    }
    return true;
}

size_t
parse_utf8_length(struct slice text)
{
    size_t count = 0;
    for (size_t i = 0; i < text.bytes; i++)
        count += ((uint8_t) text.data[i] & 0xc0) != 0x80;
    return count;
}

int
parse_address(const char *text, char ret_ip[static 46], uint16_t *ret_port)
{
    const char *colon = strrchr(text, ':');
    if (!colon)
        return -EINVAL;
    const char *ip = text;
    size_t ip_bytes = (size_t) (colon - text);
    bool bracketed = ip_bytes >= 2 && ip[0] == '[' && colon[-1] == ']'; /* [IPv6]:port */
    if (bracketed) {
        ip++;
        ip_bytes -= 2;
    }
    char copy[46] = {0};
    if (ip_bytes >= sizeof(copy))
        return -EINVAL;
    memcpy(copy, ip, ip_bytes);
    struct in6_addr scratch;
    if (inet_pton(bracketed ? AF_INET6 : AF_INET, copy, &scratch) != 1)
        return -EINVAL;
    uint32_t port;
    int rc = parse_u32(colon + 1, strlen(colon + 1), 0, UINT16_MAX, &port);
    if (rc < 0)
        return rc;
    memcpy(ret_ip, copy, sizeof(copy));
    *ret_port = (uint16_t) port;
    return 0;
}
