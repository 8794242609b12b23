/* Builds a line in memory and hands it to the kernel in one write(2), so that lines never mix. */
#include "shared/log.h"

#include <assert.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "shared/clock.h"
#include "shared/parse.h"

#define LINE_BYTES_MAX 2048 /* below PIPE_BUF: a pipe that polls writable takes it whole */
#define WRITE_WAIT_MS  20   /* a reader that is slow for a moment; a dead one costs no more */

static struct {
    const char *program;
    const char *instance;
    enum log_level level;
    unsigned long dropped; /* lines that stderr did not take since the last one it took */
} log_state = {.program = "fleetcast", .instance = "-", .level = LOG_LEVEL_INFO};

static const char *const level_names[] = {"error", "warning", "info", "debug"};

void
log_open(const char *program, const char *instance, enum log_level level)
{
    assert(program && instance);
    log_state.program = program;
    log_state.instance = instance;
    log_state.level = level;
}

/* Length after snprintf wrote `n` at `used`: what did not fit is cut. */
static size_t
advance(size_t used, int n, size_t size)
{
    assert(n >= 0);
    return MIN_OF(used + (size_t) n, size - 1);
}

static size_t
begin_line(char *line, size_t size, enum log_level level, const char *event)
{
    usec_t now = clock_real();
    time_t seconds = (time_t) (now / USEC_PER_SEC);
    struct tm tm = {0};
    char when[32] = "";
    if (gmtime_r(&seconds, &tm))
        strftime(when, sizeof(when), "%Y-%m-%dT%H:%M:%S", &tm);
    int n = snprintf(line, size, "time=%s.%03uZ level=%s program=%s instance=%s event=%s", when,
                     (unsigned) (now % USEC_PER_SEC / USEC_PER_MSEC), level_names[level],
                     log_state.program, log_state.instance, event);
    size_t used = advance(0, n, size);
    if (log_state.dropped) {
        n = snprintf(line + used, size - used, " log_dropped=%lu", log_state.dropped);
        used = advance(used, n, size);
    }
    return used;
}

static void
write_line(const char *line, size_t bytes)
{
    struct pollfd fd = {.fd = STDERR_FILENO, .events = POLLOUT};
    int wait = log_state.dropped ? 0 : WRITE_WAIT_MS;
    if (poll(&fd, 1, wait) != 1 || !(fd.revents & POLLOUT) ||
        write(STDERR_FILENO, line, bytes) != (ssize_t) bytes)
        log_state.dropped++; /* there is nowhere else to say it: the next line will */
    else
        log_state.dropped = 0;
}

void
log_event(enum log_level level, const char *event, const char *fields, ...)
{
    assert((size_t) level < ARRAY_SIZE(level_names));
    if (level > log_state.level)
        return;
    char line[LINE_BYTES_MAX];
    size_t size = sizeof(line) - 1; /* room for the newline */
    size_t used = begin_line(line, size, level, event);
    if (fields && *fields && used + 1 < size) {
        line[used++] = ' ';
        va_list arguments;
        va_start(arguments, fields);
        used = advance(used, vsnprintf(line + used, size - used, fields, arguments), size);
        va_end(arguments);
    }
    /* A value that was not quoted must not begin a line of its own or move the cursor. */
    for (size_t i = 0; i < used; i++) {
        if ((unsigned char) line[i] < 0x20 || line[i] == 0x7f)
            line[i] = '?';
    }
    line[used++] = '\n';
    write_line(line, used);
}

/* Bytes of the printable character at the start; 0 when it must be escaped. */
static size_t
printable(const char *text)
{
    unsigned char c = (unsigned char) *text;
    if (c < 0x80)
        return c >= 0x20 && c != 0x7f && c != '"' && c != '\\';
    if (c == 0xc2 && (unsigned char) text[1] < 0xa0)
        return 0; /* U+0080..9F move the cursor too */
    size_t left = strnlen(text, 4);
    for (size_t bytes = 2; bytes <= left; bytes++) {
        if (parse_utf8_valid((struct slice){text, bytes}))
            return bytes;
    }
    return 0;
}

static bool
needs_quotes(const char *text)
{
    if (!*text)
        return true;
    while (*text) {
        size_t bytes = printable(text);
        if (bytes == 0 || *text == ' ' || *text == '=')
            return true;
        text += bytes;
    }
    return false;
}

/* The bytes for the character at the start of `text`, as they stand inside quotes. */
static size_t
escape(char out[static 5], const char *text, size_t *ret_taken)
{
    size_t bytes = printable(text);
    *ret_taken = MAX_OF(bytes, (size_t) 1);
    if (bytes) {
        memcpy(out, text, bytes);
        return bytes;
    }
    const char *from = "\"\\\n\r\t", *to = "\"\\nrt";
    const char *known = strchr(from, *text);
    if (known)
        return (size_t) snprintf(out, 5, "\\%c", to[known - from]);
    return (size_t) snprintf(out, 5, "\\x%02x", (unsigned char) *text);
}

const char *
log_quote(char *buf, size_t size, const char *text)
{
    assert(size >= 3);
    bool quotes = needs_quotes(text);
    size_t used = 0, taken;
    if (quotes)
        buf[used++] = '"';
    for (; *text; text += taken) {
        char piece[5];
        size_t bytes = escape(piece, text, &taken);
        if (used + bytes + (quotes ? 2 : 1) > size)
            break;
        memcpy(buf + used, piece, bytes);
        used += bytes;
    }
    if (quotes)
        buf[used++] = '"';
    buf[used] = '\0';
    return buf;
}

const char *
log_phone(char buf[static 24], uint64_t phone)
{
    char digits[21]; /* of the largest uint64_t */
    int count = snprintf(digits, sizeof(digits), "%llu", (unsigned long long) phone);
    /* Short numbers show less, or what is hidden could be guessed. */
    int head = count >= 10 ? 4 : count >= 8 ? 2 : 0;
    int tail = count >= 8 ? 2 : 0;
    for (int i = head; i < count - tail; i++)
        digits[i] = '*';
    snprintf(buf, 24, "+%s", digits);
    return buf;
}
