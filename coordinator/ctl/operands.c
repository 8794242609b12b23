/* operands.c - what people write becomes values, or a fault that shows the form. */
#include "coordinator/ctl/operands.h"

#include <string.h>
#include <time.h>

#include "coordinator/ctl/terminal.h"
#include "proto/limits.h"
#include "shared/parse.h"

#define SPAN_MAX (3650 * 86400 * USEC_PER_SEC)

int
operand_device(const char *text, int32_t *ret)
{
    uint32_t device;
    if (parse_u32(text, strlen(text), 1, DEVICE_ID_MAX, &device) < 0) {
        terminal_fault("\"%s\": a device is a whole number from 1 to 2147483647", text);
        return CTL_USAGE;
    }
    *ret = (int32_t) device;
    return CTL_DONE;
}

int
operand_phone(const struct invocation *in, const char *text, uint64_t *ret)
{
    const char *code = in->options[OPTION_COUNTRY];
    uint32_t country = 0;
    if (code && parse_u32(code, strlen(code), 1, 999, &country) < 0) {
        terminal_fault("--country \"%s\": a calling code of 1 to 3 digits, for example 60", code);
        return CTL_USAGE;
    }
    enum phone_verdict verdict = parse_phone((struct slice){text, strlen(text)}, country, ret);
    if (verdict == PHONE_OK)
        return CTL_DONE;
    terminal_fault("\"%s\": %s", text, parse_phone_why(verdict));
    terminal_next("write the number as +60123456789, or give --country CODE");
    return CTL_USAGE;
}

int
operand_until(const struct invocation *in, enum command_option option, const char *name,
              int64_t *ret)
{
    const char *text = in->options[option];
    usec_t span = 0;
    if (text && parse_span(text, USEC_PER_SEC, SPAN_MAX, &span) < 0) {
        terminal_fault("--%s \"%s\": a span such as 90s, 30m, 2h or 1d", name, text);
        return CTL_USAGE;
    }
    *ret = text ? (int64_t) (clock_real() + span) : 0;
    return CTL_DONE;
}

/* "2026-11-24T14:00:00Z"; seconds may be left out. */
static bool
read_time(const char *text, int64_t *ret)
{
    struct tm tm = {0};
    const char *end = strptime(text, "%Y-%m-%dT%H:%M:%S", &tm);
    if (!end) {
        tm = (struct tm){0};
        end = strptime(text, "%Y-%m-%dT%H:%M", &tm);
    }
    if (!end || strcmp(end, "Z") != 0)
        return false;
    time_t seconds = timegm(&tm);
    if (seconds < 0)
        return false;
    *ret = (int64_t) seconds * (int64_t) USEC_PER_SEC;
    return true;
}

static int
no_time(const char *name, const char *text)
{
    terminal_fault("--%s \"%s\": a UTC time such as 2026-11-24T14:00:00Z, or a span such as 2h",
                   name, text);
    return CTL_USAGE;
}

int
operand_at(const struct invocation *in, int64_t *ret)
{
    const char *text = in->options[OPTION_AT];
    int64_t now = (int64_t) clock_real(), at = 0;
    usec_t span;
    if (text && parse_span(text, USEC_PER_SEC, SPAN_MAX, &span) == 0)
        at = now + (int64_t) span;
    else if (text && !read_time(text, &at))
        return no_time("at", text);
    if (text && at <= now) {
        terminal_fault("--at \"%s\": that time is over", text);
        return CTL_USAGE;
    }
    *ret = at;
    return CTL_DONE;
}

int
operand_since(const struct invocation *in, int64_t *ret)
{
    const char *text = in->options[OPTION_SINCE];
    int64_t since = 0;
    usec_t span;
    if (text && parse_span(text, USEC_PER_SEC, SPAN_MAX, &span) == 0)
        since = (int64_t) (clock_real() - span);
    else if (text && !read_time(text, &since))
        return no_time("since", text);
    *ret = since;
    return CTL_DONE;
}

int
operand_reason(const struct invocation *in, struct slice *ret)
{
    const char *text = in->options[OPTION_REASON] ? in->options[OPTION_REASON] : "";
    size_t bytes = strlen(text);
    if (bytes > LABEL_BYTES_MAX || !parse_utf8_valid((struct slice){text, bytes})) {
        terminal_fault("--reason: longer than %u bytes, or not UTF-8", LABEL_BYTES_MAX);
        return CTL_USAGE;
    }
    *ret = (struct slice){text, bytes};
    return CTL_DONE;
}
