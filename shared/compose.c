/* Compiles a text into literals and variables, and renders it for one lead. */
#include "shared/compose.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "shared/content.h"

struct part {
    struct slice literal; /* when variable.bytes is 0 */
    struct slice variable;
    struct slice fallback;
    bool has_fallback;
};

struct compose {
    char *text; /* the parts are slices of it */
    struct part *parts;
    unsigned count;
};

static struct slice
between(const char *from, const char *to)
{
    return (struct slice){.data = from, .bytes = (size_t) (to - from)};
}

static struct slice
trimmed(struct slice s)
{
    while (s.bytes > 0 && s.data[0] == ' ')
        s.data++, s.bytes--;
    while (s.bytes > 0 && s.data[s.bytes - 1] == ' ')
        s.bytes--;
    return s;
}

static bool
equal(struct slice s, const char *word)
{
    return s.bytes == strlen(word) && memcmp(s.data, word, s.bytes) == 0;
}

static const char *
find(struct slice s, const char *pair)
{
    return s.data && s.bytes > 0 ? memmem(s.data, s.bytes, pair, 2) : NULL;
}

/* The inside of {{...}}. NULL, or what is wrong with it. */
static const char *
read_variable(struct slice inside, struct part *ret)
{
    const char *bar = inside.bytes > 0 ? memchr(inside.data, '|', inside.bytes) : NULL;
    const char *end = inside.data + inside.bytes;
    struct slice name = trimmed(between(inside.data, bar ? bar : end));

    if (name.bytes == 0)
        return "a variable without a name";
    if (memchr(name.data, '{', name.bytes) || memchr(name.data, '}', name.bytes))
        return "a brace inside a variable's name";
    if (find(inside, "{{"))
        return "{{ inside a variable";
    if (name.bytes > CONTENT_NAME_MAX)
        return "a variable's name is too long";
    *ret = (struct part){.variable = name, .has_fallback = bar != NULL};
    if (bar)
        ret->fallback = between(bar + 1, end);
    return NULL;
}

/* Cuts `text` into parts. NULL, or what is wrong with it. */
static const char *
compile(struct compose *c, struct slice text)
{
    const char *end = text.data + text.bytes;

    for (const char *at = text.data; at < end;) {
        struct slice rest = between(at, end);
        const char *open = find(rest, "{{"), *stray = find(rest, "}}"), *close, *wrong;

        if (stray && (!open || stray < open))
            return "}} without {{";
        if (open != at) {
            c->parts[c->count++].literal = between(at, open ? open : end);
            at = open ? open : end;
            continue;
        }
        close = stray; /* the first }} behind the {{ */
        if (!close)
            return "{{ without }}";
        wrong = read_variable(between(open + 2, close), &c->parts[c->count++]);
        if (wrong)
            return wrong;
        at = close + 2;
    }
    return NULL;
}

struct compose *
compose_new(struct slice text, char *why, size_t why_size)
{
    struct compose *c = calloc(1, sizeof *c);
    const char *wrong = "out of memory";
    size_t parts_max = 1; /* a literal before, between and after the variables */

    for (size_t i = 0; i + 1 < text.bytes; i++)
        parts_max += text.data[i] == '{' && text.data[i + 1] == '{' ? 2 : 0;
    if (c) {
        c->text = malloc(text.bytes + 1);
        c->parts = calloc(parts_max, sizeof *c->parts);
    }
    if (c && c->text && c->parts) {
        if (text.bytes > 0)
            memcpy(c->text, text.data, text.bytes);
        wrong = compile(c, (struct slice){.data = c->text, .bytes = text.bytes});
    }
    if (!wrong)
        return c;
    snprintf(why, why_size, "%s", wrong);
    return compose_free(c);
}

struct compose *
compose_free(struct compose *c)
{
    if (!c)
        return NULL;
    free(c->text);
    free(c->parts);
    free(c);
    return NULL;
}

/* ---- the flat JSON object of a lead's attributes, read in place ---- */

struct output {
    char *bytes;
    size_t used, size;
    bool overflow;
};

static void
put(struct output *o, const char *data, size_t bytes)
{
    if (bytes > o->size - o->used) {
        o->overflow = true;
        return;
    }
    if (bytes > 0)
        memcpy(o->bytes + o->used, data, bytes);
    o->used += bytes;
}

static void
put_character(struct output *o, uint32_t code)
{
    char utf8[4];

    if (code < 0x80) {
        utf8[0] = (char) code;
        put(o, utf8, 1);
        return;
    }
    unsigned more = code < 0x800 ? 1 : code < 0x10000 ? 2 : 3;
    static const unsigned char leads[] = {0, 0xC0, 0xE0, 0xF0};

    utf8[0] = (char) (leads[more] | code >> (6 * more));
    for (unsigned i = 1; i <= more; i++)
        utf8[i] = (char) (0x80 | (code >> (6 * (more - i)) & 0x3F));
    put(o, utf8, more + 1);
}

static int
hex4(const char *at, const char *end, uint32_t *ret)
{
    uint32_t value = 0;

    if (end - at < 4)
        return -1;
    for (int i = 0; i < 4; i++) {
        static const char digits[] = "0123456789abcdef";
        const char *digit = at[i] ? strchr(digits, at[i] | 0x20) : NULL;

        if (!digit)
            return -1;
        value = value << 4 | (uint32_t) (digit - digits);
    }
    *ret = value;
    return 0;
}

/* A \uXXXX, or a pair of them for one character; a lone surrogate becomes U+FFFD. */
static const char *
unescape_unicode(const char *at, const char *end, struct output *o)
{
    uint32_t high, low;

    if (hex4(at, end, &high) < 0)
        return NULL;
    at += 4;
    if (high >= 0xD800 && high < 0xDC00 && end - at >= 6 && at[0] == '\\' && at[1] == 'u' &&
        hex4(at + 2, end, &low) == 0 && low >= 0xDC00 && low < 0xE000) {
        put_character(o, 0x10000 + ((high - 0xD800) << 10) + (low - 0xDC00));
        return at + 6;
    }
    put_character(o, (high >= 0xD800 && high < 0xE000) || high == 0 ? 0xFFFD : high);
    return at;
}

/* Decodes a JSON string that starts behind its opening quote; returns what follows the closing one,
 * NULL when it is no JSON string. */
static const char *
unescape(const char *at, const char *end, struct output *o)
{
    static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";

    while (at < end && *at != '"') {
        const char *plain = at, *known;

        while (at < end && *at != '"' && *at != '\\')
            at++;
        put(o, plain, (size_t) (at - plain));
        if (at == end || *at == '"')
            continue;
        if (++at == end)
            return NULL;
        if (*at == 'u') {
            at = unescape_unicode(at + 1, end, o);
            if (!at)
                return NULL;
            continue;
        }
        known = *at ? strchr(from, *at) : NULL;
        if (!known)
            return NULL;
        put(o, &to[known - from], 1);
        at++;
    }
    return at < end ? at + 1 : NULL;
}

static const char *
skip_blanks(const char *at, const char *end)
{
    while (at < end && (*at == ' ' || *at == '\t' || *at == '\n' || *at == '\r'))
        at++;
    return at;
}

/* Skips blanks and the one character that must come; NULL when another does. */
static const char *
expect(const char *at, const char *end, char wanted)
{
    at = skip_blanks(at, end);
    return at < end && *at == wanted ? at + 1 : NULL;
}

/* Appends the value of `name`; an object that is not flat or broken has no more values. */
static void
put_attribute(struct output *o, struct slice json, struct slice name)
{
    const char *end = json.data + json.bytes;
    const char *at = json.bytes > 0 ? expect(json.data, end, '{') : NULL;

    while (at && (at = expect(at, end, '"'))) {
        char key_bytes[CONTENT_NAME_MAX];
        struct output key = {.bytes = key_bytes, .size = sizeof key_bytes};
        struct output skipped = {.overflow = true};
        size_t before = o->used;
        bool found;

        if (!(at = unescape(at, end, &key)) || !(at = expect(at, end, ':')) ||
            !(at = expect(at, end, '"')))
            return;
        found =
            !key.overflow && key.used == name.bytes && memcmp(key_bytes, name.data, key.used) == 0;
        at = unescape(at, end, found ? o : &skipped);
        if (found) {
            if (!at)
                o->used = before;
            return;
        }
        at = at ? expect(at, end, ',') : NULL;
    }
}

static void
put_value(struct output *o, const struct lead_fields *lead, struct slice variable)
{
    if (equal(variable, "name"))
        put(o, lead->name.data, lead->name.bytes);
    else if (equal(variable, "phone")) {
        char digits[24];

        put(o, digits, (size_t) snprintf(digits, sizeof digits, "+%" PRIu64, lead->phone));
    } else
        put_attribute(o, lead->attributes, variable);
}

static size_t
characters(const struct output *o)
{
    size_t count = 0;

    for (size_t i = 0; i < o->used; i++)
        count += ((unsigned char) o->bytes[i] & 0xC0) != 0x80;
    return count;
}

enum compose_verdict
compose_render(const struct compose *c, const struct lead_fields *lead, char *out, size_t size,
               size_t *ret_bytes)
{
    struct output o = {.bytes = out, .size = size};

    for (unsigned i = 0; i < c->count; i++) {
        const struct part *p = &c->parts[i];
        size_t before = o.used;

        if (p->variable.bytes == 0) {
            put(&o, p->literal.data, p->literal.bytes);
            continue;
        }
        put_value(&o, lead, p->variable);
        if (o.used != before || o.overflow)
            continue;
        if (!p->has_fallback)
            return COMPOSE_MISSING_VARIABLE;
        put(&o, p->fallback.data, p->fallback.bytes);
    }
    if (o.overflow || characters(&o) > CONTENT_CHARACTERS_MAX)
        return COMPOSE_TOO_LONG;
    *ret_bytes = o.used;
    return COMPOSE_OK;
}

uint64_t
compose_hash(struct slice text)
{
    uint64_t hash = 0xcbf29ce484222325u;

    for (size_t i = 0; i < text.bytes; i++)
        hash = (hash ^ (unsigned char) text.data[i]) * 0x100000001b3u;
    return hash;
}

unsigned
compose_variant(uint64_t phone, unsigned count)
{
    char digits[24];
    int n = snprintf(digits, sizeof(digits), "%" PRIu64, phone);

    return (unsigned) (compose_hash((struct slice){digits, (size_t) n}) % count);
}

bool
compose_variable(const struct compose *c, unsigned index, struct slice *ret_name,
                 bool *ret_has_default)
{
    for (unsigned i = 0; i < c->count; i++) {
        if (c->parts[i].variable.bytes == 0 || index-- > 0)
            continue;
        *ret_name = c->parts[i].variable;
        *ret_has_default = c->parts[i].has_fallback;
        return true;
    }
    return false;
}
