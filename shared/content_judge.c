/* Reads the fields of one item from its tree; whatever is odd is a fault with field and value. */
#include "shared/content_judge.h"

#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "shared/parse.h"

#define DEVICE_ID_MAX       2147483647u
#define WHERE_VALUE_MAX     1024u
#define VARIABLE_BYTES_MAX  64u
#define LOWER               "abcdefghijklmnopqrstuvwxyz"
#define UPPER               "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
#define DIGITS              "0123456789"
#define NAME_CHARS          LOWER DIGITS "_-"
#define COLUMN_CHARS        LOWER UPPER DIGITS "_ -"
#define PROVIDER_NAME_CHARS LOWER DIGITS "_"
#define LANGUAGE_CHARS      LOWER UPPER DIGITS "_"

/* The item under judgement, to name its fields: "templates.hello" + ".text". */
struct subject {
    struct content_judge *judge;
    const char *group, *name;
    const json_t *fields;
};

/* ---- faults ---- */

void
content_fault(struct content_judge *j, unsigned line, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    if (j->file) {
        fprintf(j->errors, "%s:%u: ", j->file, line);
        vfprintf(j->errors, format, arguments);
        fputc('\n', j->errors);
    } else if (j->fault_count == 0 && j->why_size) {
        vsnprintf(j->why, j->why_size, format, arguments);
    }
    va_end(arguments);
    j->fault_count++;
}

unsigned
content_line(const struct content_judge *j, const json_t *value)
{
    for (size_t i = 0; i < j->mark_count; i++) {
        if (j->marks[i].value == value)
            return j->marks[i].line;
    }
    return 0;
}

/* The first characters of a value, on one line. */
static const char *
shown(char buf[static 100], const json_t *value)
{
    if (json_is_integer(value)) {
        snprintf(buf, 100, "%" JSON_INTEGER_FORMAT, json_integer_value(value));
        return buf;
    }
    const char *text = json_string_value(value);
    if (!text)
        return json_is_array(value)    ? "[...]"
               : json_is_object(value) ? "{...}"
               : json_is_null(value)   ? "null"
               : json_is_true(value)   ? "true"
                                       : "false or a fraction";
    size_t bytes = strnlen(text, 80);
    while (bytes && ((unsigned char) text[bytes] & 0xc0) == 0x80)
        bytes--; /* not inside a character */
    for (size_t i = 0; i < bytes; i++)
        buf[i] = (unsigned char) text[i] < 0x20 || text[i] == 0x7f ? '?' : text[i];
    snprintf(buf + bytes, 100 - bytes, "%s", text[bytes] ? "..." : "");
    return buf;
}

static void
refuse(const struct subject *s, const char *field, const json_t *value, const char *reason)
{
    char text[100];
    unsigned line = content_line(s->judge, value ? value : s->fields);
    if (value)
        content_fault(s->judge, line, "%s.%s.%s = \"%s\": %s", s->group, s->name, field,
                      shown(text, value), reason);
    else
        content_fault(s->judge, line, "%s.%s.%s: %s", s->group, s->name, field, reason);
}

/* ---- values ---- */

/* Of 1 to `bytes_max` bytes, all of `chars` (NULL: any). NULL after a fault. */
static const char *
read_word(const struct subject *s, const char *field, const json_t *value, size_t bytes_max,
          const char *chars)
{
    const char *text = json_string_value(value);
    if (!text)
        refuse(s, field, value, "is not a text (one that begins with { or [ needs quotes)");
    else if (!*text)
        refuse(s, field, value, "is empty");
    else if (json_string_length(value) != strlen(text))
        refuse(s, field, value, "holds a zero byte");
    else if (strlen(text) > bytes_max)
        refuse(s, field, value, "is too long");
    else if (chars && strspn(text, chars) != strlen(text))
        refuse(s, field, value, "holds characters that are not allowed here");
    else
        return text;
    return NULL;
}

static char *
keep(const struct subject *s, const char *text)
{
    char *copy = strdup(text);
    s->judge->out_of_memory |= !copy;
    return copy;
}

static bool
variable_valid(const char *text, size_t bytes)
{
    const char *bar = memchr(text, '|', bytes);
    size_t name_bytes = bar ? (size_t) (bar - text) : bytes;
    if (memchr(text, '{', bytes) || memchr(text, '}', bytes))
        return false;
    while (name_bytes && *text == ' ') {
        text++;
        name_bytes--;
    }
    return name_bytes && name_bytes <= VARIABLE_BYTES_MAX &&
           strspn(text, COLUMN_CHARS) >= name_bytes;
}

static bool
variable_known(const json_t *variables, const char *text, size_t bytes)
{
    const json_t *value;
    size_t i;
    while (bytes && *text == ' ') {
        text++;
        bytes--;
    }
    while (bytes && text[bytes - 1] == ' ')
        bytes--;
    if ((bytes == 4 && memcmp(text, "name", 4) == 0) ||
        (bytes == 5 && memcmp(text, "phone", 5) == 0))
        return true;
    json_array_foreach((json_t *) variables, i, value)
    {
        const char *known = json_string_value(value);
        if (known && strlen(known) == bytes && memcmp(known, text, bytes) == 0)
            return true;
    }
    return false;
}

/* Why `text` cannot be compiled, or NULL. The reason may be written to `buf`. */
static const char *
braces_wrong(char buf[static 200], const json_t *variables, const char *text)
{
    for (;;) {
        const char *open = strstr(text, "{{");
        const char *close = strstr(text, "}}");
        if (!open)
            return close ? "}} without {{" : NULL;
        if (!close)
            return "{{ without }}";
        if (close < open)
            return "}} without {{";
        if (!variable_valid(open + 2, (size_t) (close - open) - 2))
            return "a variable is {{name}} or {{name|default}}, its name 1 to 64 of A-Z a-z 0-9 _ "
                   "- and blank";
        size_t name_bytes = strcspn(open + 2, "|}");
        if (variables && !variable_known(variables, open + 2, name_bytes)) {
            snprintf(buf, 200, "{{%.*s}} is neither name, phone nor in the list of variables",
                     (int) name_bytes, open + 2);
            return buf;
        }
        text = close + 2;
    }
}

static bool
has_control(const char *text, const char *allowed)
{
    for (; *text; text++) {
        bool control = (unsigned char) *text < 0x20 || *text == 0x7f;
        if (control && !strchr(allowed, *text))
            return true;
    }
    return false;
}

/* A text with {{variables}}; NULL after a fault. `allowed`: control characters that it may hold. */
static char *
read_text(const struct subject *s, const char *field, const json_t *value, const char *allowed)
{
    const char *text = read_word(s, field, value, SIZE_MAX, NULL);
    if (!text)
        return NULL;
    char why[200];
    const char *wrong = braces_wrong(why, s->judge->variables, text);
    size_t characters = parse_utf8_length((struct slice){text, strlen(text)});
    char reason[100];
    if (characters > CONTENT_CHARACTERS_MAX) {
        snprintf(reason, sizeof(reason), "has %zu characters, %u are possible", characters,
                 CONTENT_CHARACTERS_MAX);
        refuse(s, field, value, reason);
    } else if (wrong) {
        refuse(s, field, value, wrong);
    } else if (has_control(text, allowed)) {
        refuse(s, field, value, "holds control characters or line ends that cannot be sent here");
    } else {
        return keep(s, text);
    }
    return NULL;
}

static bool
read_digits(const char *text, size_t bytes, int *ret)
{
    uint32_t value;
    if (parse_u32(text, bytes, 0, 9999, &value) < 0)
        return false;
    *ret = (int) value;
    return true;
}

/* "2026-12-01T00:00:00Z" or "2026-12-01" (its first instant). */
static bool
read_time(const char *text, int64_t *ret_usec)
{
    struct tm tm = {0}, back;
    size_t bytes = strlen(text);
    bool date = bytes >= 10 && read_digits(text, 4, &tm.tm_year) && text[4] == '-' &&
                read_digits(text + 5, 2, &tm.tm_mon) && text[7] == '-' &&
                read_digits(text + 8, 2, &tm.tm_mday);
    bool clock = bytes == 20 && text[10] == 'T' && read_digits(text + 11, 2, &tm.tm_hour) &&
                 text[13] == ':' && read_digits(text + 14, 2, &tm.tm_min) && text[16] == ':' &&
                 read_digits(text + 17, 2, &tm.tm_sec) && text[19] == 'Z';
    if (!date || (!clock && bytes != 10))
        return false;
    tm.tm_year -= 1900;
    tm.tm_mon -= 1;
    back = tm;
    time_t seconds = timegm(&back);
    /* timegm makes 3 March of 31 February: what comes back must be what was written */
    if (seconds < 0 || back.tm_mon != tm.tm_mon || back.tm_mday != tm.tm_mday ||
        back.tm_hour != tm.tm_hour || back.tm_min != tm.tm_min || back.tm_sec != tm.tm_sec)
        return false;
    *ret_usec = (int64_t) seconds * (int64_t) USEC_PER_SEC;
    return true;
}

/* ---- fields ---- */

static void
refuse_unknown(const struct subject *s, const json_t *object, const char *prefix,
               const char *const *known)
{
    const char *key;
    json_t *value;
    json_object_foreach((json_t *) object, key, value)
    {
        const char *const *k = known;
        while (*k && strcmp(*k, key) != 0)
            k++;
        if (!*k)
            content_fault(s->judge, content_line(s->judge, value), "%s.%s.%s%s: unknown field",
                          s->group, s->name, prefix, key);
    }
}

static void
read_name_field(const struct subject *s, const char *field, char *ret, size_t size,
                const char *chars)
{
    const json_t *value = json_object_get(s->fields, field);
    if (!value) {
        refuse(s, field, NULL, "is required");
        return;
    }
    const char *text = read_word(s, field, value, size - 1, chars);
    if (text)
        snprintf(ret, size, "%s", text);
}

static void
judge_approved(const struct subject *s, struct content_template *t)
{
    read_name_field(s, "template", t->template_name, sizeof(t->template_name), PROVIDER_NAME_CHARS);
    read_name_field(s, "language", t->language, sizeof(t->language), LANGUAGE_CHARS);
    const json_t *body = json_object_get(s->fields, "body"), *value;
    size_t i;
    if (body && !json_is_array(body)) {
        refuse(s, "body", body, "is not a list of texts");
        return;
    }
    if (json_array_size(body) > CONTENT_PARAMETERS_MAX) {
        refuse(s, "body", body, "has more than 16 parameters");
        return;
    }
    json_array_foreach(body, i, value)
    {
        /* The provider refuses parameters with line ends and tabs. */
        t->parameters[t->parameter_count] = read_text(s, "body", value, "");
        t->parameter_count += t->parameters[t->parameter_count] != NULL;
    }
}

static void
judge_variants(const struct subject *s, const json_t *variants, struct content_template *t)
{
    const json_t *value;
    size_t i;
    if (!json_is_array(variants) || json_array_size(variants) < 2 ||
        json_array_size(variants) > CONTENT_VARIANTS_MAX) {
        refuse(s, "variants", variants, "is not a list of 2 to 16 texts");
        return;
    }
    json_array_foreach((json_t *) variants, i, value)
    {
        t->variants[t->variant_count] = read_text(s, "variants", value, "\n\t");
        t->variant_count += t->variants[t->variant_count] != NULL;
    }
}

static void
judge_template(const struct subject *s, struct content_template *t)
{
    static const char *const of_text[] = {"text", "variants", NULL};
    static const char *const of_approved[] = {"template", "language", "body", NULL};
    const json_t *text = json_object_get(s->fields, "text");
    const json_t *approved = json_object_get(s->fields, "template");
    const json_t *variants = json_object_get(s->fields, "variants");
    if (text && approved) {
        refuse(s, "text", text, "stands beside template: one of both makes the message");
        return;
    }
    if (variants && (text || approved)) {
        refuse(s, "variants", variants, "stand beside text or template: one makes the message");
        return;
    }
    if (!text && !approved && !variants) {
        content_fault(s->judge, content_line(s->judge, s->fields),
                      "%s.%s: needs text, variants, or template and language", s->group, s->name);
        return;
    }
    t->is_text = !approved;
    refuse_unknown(s, s->fields, "", t->is_text ? of_text : of_approved);
    if (variants)
        judge_variants(s, variants, t);
    else if (t->is_text)
        t->text = read_text(s, "text", text, "\n\t");
    else
        judge_approved(s, t);
}

/* "7" or "1-500". NULL, or what is wrong. */
static const char *
read_range(const char *text, struct content_range *ret)
{
    const char *dash = strchr(text, '-');
    size_t first_bytes = dash ? (size_t) (dash - text) : strlen(text);
    uint32_t first, last;
    if (parse_u32(text, first_bytes, 1, DEVICE_ID_MAX, &first) < 0)
        return "not a device ID or a range (1 to 2147483647)";
    last = first;
    if (dash && parse_u32(dash + 1, strlen(dash + 1), 1, DEVICE_ID_MAX, &last) < 0)
        return "not a device ID or a range (1 to 2147483647)";
    if (last < first)
        return "range is reversed";
    *ret = (struct content_range){(int32_t) first, (int32_t) last};
    return NULL;
}

/* Keeps the ranges sorted, so that equal audiences have one canonical form. */
static bool
add_range(struct content_audience *c, struct content_range r)
{
    unsigned at = 0;
    while (at < c->range_count && c->ranges[at].first < r.first)
        at++;
    if ((at > 0 && c->ranges[at - 1].last >= r.first) ||
        (at < c->range_count && c->ranges[at].first <= r.last))
        return false;
    memmove(&c->ranges[at + 1], &c->ranges[at], (c->range_count - at) * sizeof(r));
    c->ranges[at] = r;
    c->range_count++;
    return true;
}

static void
judge_devices(const struct subject *s, const json_t *devices, struct content_audience *c)
{
    static const char field[] = "audience.devices";
    const json_t *value;
    size_t i;
    if (!json_is_array(devices) || json_array_size(devices) == 0) {
        refuse(s, field, devices, "is not a list of device IDs and ranges");
        return;
    }
    if (json_array_size(devices) > CONTENT_RANGES_MAX) {
        refuse(s, field, devices, "has more than 64 ranges");
        return;
    }
    json_array_foreach(devices, i, value)
    {
        struct content_range range;
        const char *text = read_word(s, field, value, 32, NULL);
        const char *wrong = text ? read_range(text, &range) : NULL;
        if (text && !wrong && !add_range(c, range))
            wrong = "overlaps another range";
        if (wrong)
            refuse(s, field, value, wrong);
    }
}

static void
judge_where(const struct subject *s, const json_t *where, struct content_audience *c)
{
    const char *column;
    json_t *value;
    if (!json_is_object(where) || json_object_size(where) == 0) {
        refuse(s, "audience.where", where, "is not a map of columns to values");
        return;
    }
    if (json_object_size(where) > CONTENT_WHERE_MAX) {
        refuse(s, "audience.where", where, "has more than 8 columns");
        return;
    }
    json_object_foreach((json_t *) where, column, value)
    {
        if (!*column || strlen(column) > CONTENT_NAME_MAX ||
            strspn(column, COLUMN_CHARS) != strlen(column)) {
            refuse(s, "audience.where", value, "has a column whose name cannot be one");
            continue;
        }
        const char *text = read_word(s, "audience.where", value, WHERE_VALUE_MAX, NULL);
        if (!text)
            continue;
        unsigned at = c->where_count++;
        for (; at > 0 && strcmp(c->where[at - 1].column, column) > 0; at--)
            c->where[at] = c->where[at - 1];
        c->where[at] = (struct content_pair){keep(s, column), keep(s, text)};
        if (s->judge->out_of_memory)
            return;
    }
}

static void
judge_audience(const struct subject *s, struct content_audience *c)
{
    static const char *const known[] = {"devices", "where", NULL};
    const json_t *audience = json_object_get(s->fields, "audience");
    if (!audience)
        return;
    if (!json_is_object(audience) || json_object_size(audience) == 0) {
        refuse(s, "audience", audience, "is not a map of devices and where");
        return;
    }
    refuse_unknown(s, audience, "audience.", known);
    const json_t *devices = json_object_get(audience, "devices");
    const json_t *where = json_object_get(audience, "where");
    if (devices)
        judge_devices(s, devices, c);
    if (where)
        judge_where(s, where, c);
}

/* YAML has texts only, JSON has numbers. */
static bool
read_priority(const json_t *value, int16_t *ret)
{
    const char *text = json_string_value(value);
    json_int_t number = json_integer_value(value);
    if (text) {
        uint32_t magnitude;
        bool negative = *text == '-';
        if (parse_u32(text + negative, strlen(text + negative), 0, INT16_MAX, &magnitude) < 0)
            return false;
        number = negative ? -(json_int_t) magnitude : (json_int_t) magnitude;
    } else if (!json_is_integer(value) || number < -INT16_MAX || number > INT16_MAX) {
        return false;
    }
    *ret = (int16_t) number;
    return true;
}

static void
judge_priority(const struct subject *s, int16_t *ret)
{
    const json_t *value = json_object_get(s->fields, "priority");
    if (value && !read_priority(value, ret))
        refuse(s, "priority", value, "is not a whole number (-32767 to 32767)");
}

static void
read_window(const struct subject *s, const char *field, const json_t *value,
            struct content_window *ret)
{
    const char *text = value ? read_word(s, field, value, 32, NULL) : NULL;
    if (text && content_read_window(text, ret) < 0)
        refuse(s, field, value, "is not a window of some length such as 09:00-18:00");
}

static void
judge_campaign(const struct subject *s, struct content_campaign *c)
{
    static const char *const known[] = {"template", "audience", "not_after", "reliability",
                                        "priority", "window",   NULL};
    refuse_unknown(s, s->fields, "", known);
    read_name_field(s, "template", c->template_name, sizeof(c->template_name), NAME_CHARS);
    judge_audience(s, &c->audience);
    read_window(s, "window", json_object_get(s->fields, "window"), &c->window);

    c->not_after = INT64_MAX;
    const json_t *value = json_object_get(s->fields, "not_after");
    const char *text = value ? read_word(s, "not_after", value, 64, NULL) : NULL;
    if (text && !read_time(text, &c->not_after))
        refuse(s, "not_after", value, "is not a UTC time (2026-12-01T00:00:00Z or 2026-12-01)");

    value = json_object_get(s->fields, "reliability");
    text = value ? read_word(s, "reliability", value, 64, NULL) : NULL;
    c->at_least_once = text && strcmp(text, "at_least_once") == 0;
    if (text && !c->at_least_once && strcmp(text, "at_most_once") != 0)
        refuse(s, "reliability", value, "is neither at_most_once nor at_least_once");

    judge_priority(s, &c->priority);
}

/* ---- sequences ---- */

/* A field of one step: "sequences.cold.steps[2].delay". */
struct step_subject {
    struct subject of; /* its fields are the step's */
    char prefix[24];
    char field[64];
};

static const char *
step_field(struct step_subject *s, const char *field)
{
    snprintf(s->field, sizeof(s->field), "%s.%s", s->prefix, field);
    return s->field;
}

/* YAML has texts only, JSON has numbers. */
static bool
read_ordinal(const json_t *value, int16_t *ret)
{
    const char *text = json_string_value(value);
    json_int_t number = json_integer_value(value);
    uint32_t parsed;
    if (text) {
        if (parse_u32(text, strlen(text), 1, INT16_MAX, &parsed) < 0)
            return false;
        number = parsed;
    } else if (!json_is_integer(value) || number < 1 || number > INT16_MAX) {
        return false;
    }
    *ret = (int16_t) number;
    return true;
}

static void
read_delay(struct step_subject *s, const char *field, bool positive, usec_t *ret)
{
    const json_t *value = json_object_get(s->of.fields, field);
    if (!value)
        return;
    const char *text = read_word(&s->of, step_field(s, field), value, 32, NULL);
    if (!text)
        return;
    if (content_read_delay(text, ret) < 0)
        refuse(&s->of, step_field(s, field), value,
               "is not a span of 0 to 366 days such as 90s, 5m, 2h or 3d");
    else if (positive && *ret == 0)
        refuse(&s->of, step_field(s, field), value, "would end the step before it is due");
}

static void
judge_step_content(struct step_subject *s, struct content_step *step)
{
    const json_t *text = json_object_get(s->of.fields, "text");
    const json_t *named = json_object_get(s->of.fields, "template");
    if (text && named)
        refuse(&s->of, step_field(s, "text"), text,
               "stands beside template: one of both makes the message");
    else if (!text && !named)
        refuse(&s->of, s->prefix, s->of.fields, "needs template or text");
    else if (text)
        step->text = read_text(&s->of, step_field(s, "text"), text, "\n\t");
    else {
        const char *name =
            read_word(&s->of, step_field(s, "template"), named, CONTENT_NAME_MAX, NAME_CHARS);
        snprintf(step->template_name, sizeof(step->template_name), "%s", name ? name : "");
    }
}

static void
judge_step(const struct subject *sequence, const json_t *fields, unsigned index,
           struct content_sequence *c)
{
    static const char *const known[] = {"step", "delay", "template", "text", "ttl", "window", NULL};
    struct step_subject s = {.of = *sequence};
    struct content_step *step = &c->steps[c->step_count];
    snprintf(s.prefix, sizeof(s.prefix), "steps[%u]", index + 1);
    if (!json_is_object(fields)) {
        refuse(sequence, s.prefix, fields, "is not a map of step, delay and template or text");
        return;
    }
    s.of.fields = fields;
    refuse_unknown(&s.of, fields, step_field(&s, ""), known);
    const json_t *ordinal = json_object_get(fields, "step");
    if (!ordinal)
        refuse(&s.of, step_field(&s, "step"), NULL, "is required");
    else if (!read_ordinal(ordinal, &step->step))
        refuse(&s.of, step_field(&s, "step"), ordinal, "is not a whole number (1 to 32767)");
    else if (c->step_count > 0 && step->step == c->steps[c->step_count - 1].step)
        refuse(&s.of, step_field(&s, "step"), ordinal, "is there twice");
    else if (c->step_count > 0 && step->step < c->steps[c->step_count - 1].step)
        refuse(&s.of, step_field(&s, "step"), ordinal, "is not above the step before it");
    read_delay(&s, "delay", false, &step->delay);
    read_delay(&s, "ttl", true, &step->ttl);
    read_window(&s.of, step_field(&s, "window"), json_object_get(fields, "window"), &step->window);
    judge_step_content(&s, step);
    c->step_count++;
}

static void
judge_steps(const struct subject *s, struct content_sequence *c)
{
    const json_t *steps = json_object_get(s->fields, "steps"), *value;
    size_t i;
    if (!steps || !json_is_array(steps) || json_array_size(steps) == 0) {
        refuse(s, "steps", steps, "is not a list of at least one step");
        return;
    }
    if (json_array_size(steps) > CONTENT_STEPS_MAX) {
        refuse(s, "steps", steps, "has more than 64 steps");
        return;
    }
    c->steps = calloc(json_array_size(steps), sizeof(*c->steps));
    if (!c->steps) {
        s->judge->out_of_memory = true;
        return;
    }
    json_array_foreach((json_t *) steps, i, value) judge_step(s, value, (unsigned) i, c);
}

static void
judge_on(const struct subject *s, const char *field, const char *goes_on, enum content_on *ret)
{
    const json_t *value = json_object_get(s->fields, field);
    const char *text = value ? read_word(s, field, value, 64, NULL) : NULL;
    char reason[64];
    if (!text)
        return;
    if (strcmp(text, "stop") == 0) {
        *ret = CONTENT_STOP;
    } else if (strcmp(text, goes_on) == 0) {
        *ret = CONTENT_CONTINUE;
    } else {
        snprintf(reason, sizeof(reason), "is neither %s nor stop", goes_on);
        refuse(s, field, value, reason);
    }
}

static void
judge_sequence(const struct subject *s, struct content_sequence *c)
{
    static const char *const known[] = {"trigger",    "next_sequence", "audience",
                                        "priority",   "on_skip",       "on_fail",
                                        "on_unknown", "steps",         NULL};
    refuse_unknown(s, s->fields, "", known);
    const json_t *trigger = json_object_get(s->fields, "trigger");
    const char *text = json_string_value(trigger);
    if (trigger && (!text || !content_trigger_valid((struct slice){text, strlen(text)})))
        refuse(s, "trigger", trigger, "is not 1 to 64 printable characters without blank");
    else if (trigger)
        snprintf(c->trigger, sizeof(c->trigger), "%s", text);
    if (json_object_get(s->fields, "next_sequence"))
        read_name_field(s, "next_sequence", c->next_sequence, sizeof(c->next_sequence), NAME_CHARS);
    if (*c->next_sequence && strcmp(c->next_sequence, c->name) == 0)
        refuse(s, "next_sequence", json_object_get(s->fields, "next_sequence"),
               "leads back to the sequence itself");
    c->on_fail = CONTENT_STOP;
    judge_on(s, "on_skip", "continue", &c->on_skip);
    judge_on(s, "on_fail", "continue", &c->on_fail);
    judge_on(s, "on_unknown", "skip", &c->on_unknown);
    judge_priority(s, &c->priority);
    judge_audience(s, &c->audience);
    judge_steps(s, c);
}

/* A template of 16 long parameters could be more than a page of content can carry. */
static void
judge_size(const struct subject *s, const struct content_item *item)
{
    char *json = content_item_write(item);
    s->judge->out_of_memory |= !json;
    if (json && strlen(json) > CONTENT_ITEM_BYTES_MAX)
        content_fault(s->judge, content_line(s->judge, s->fields), "%s.%s: is larger than %u bytes",
                      s->group, s->name, CONTENT_ITEM_BYTES_MAX);
    free(json);
}

static char *
name_of(struct content_item *item)
{
    return item->kind == CONTENT_TEMPLATE   ? item->template_.name
           : item->kind == CONTENT_CAMPAIGN ? item->campaign.name
                                            : item->sequence.name;
}

static void
judge_fields(const struct subject *s, struct content_item *item)
{
    switch (item->kind) {
    case CONTENT_TEMPLATE: judge_template(s, &item->template_); break;
    case CONTENT_CAMPAIGN: judge_campaign(s, &item->campaign); break;
    case CONTENT_SEQUENCE: judge_sequence(s, &item->sequence); break;
    case CONTENT_CLUSTER: break;
    }
}

void
content_judge_item(struct content_judge *j, enum content_kind kind, const char *name,
                   const json_t *fields, struct content_item *ret)
{
    static const char *const groups[] = {[CONTENT_TEMPLATE] = "templates",
                                         [CONTENT_CAMPAIGN] = "campaigns",
                                         [CONTENT_SEQUENCE] = "sequences",
                                         [CONTENT_CLUSTER] = "cluster"};
    struct subject s = {j, groups[kind], name, fields};
    struct content_item item = {.kind = kind, .line = content_line(j, fields)};
    unsigned faults_before = j->fault_count;
    size_t bytes = strlen(name);

    if (bytes == 0 || bytes > CONTENT_NAME_MAX || strspn(name, NAME_CHARS) != bytes)
        content_fault(j, item.line, "%s = \"%.80s\": not a name (1 to 64 of a-z, 0-9, _ and -)",
                      s.group, name);
    else if (kind != CONTENT_CLUSTER)
        memcpy(name_of(&item), name, bytes + 1);
    if (!json_is_object(fields))
        content_fault(j, item.line, "%s.%.80s: is not a map of fields", s.group, name);
    else
        judge_fields(&s, &item);
    if (j->fault_count == faults_before && !j->out_of_memory)
        judge_size(&s, &item);
    if (j->fault_count == faults_before && !j->out_of_memory)
        *ret = item;
    else
        content_item_free(&item);
}
