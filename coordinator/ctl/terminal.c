/* terminal.c - cursor movements and the few words of progress. */
#include "coordinator/ctl/terminal.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "coordinator/ctl/table.h"

#define DRAW_EVERY (200 * USEC_PER_MSEC)

void
terminal_fault(const char *format, ...)
{
    va_list ap;
    va_start(ap, format);
    fputs("fleetcast: ", stderr);
    vfprintf(stderr, format, ap);
    fputc('\n', stderr);
    va_end(ap);
}

void
terminal_next(const char *format, ...)
{
    va_list ap;
    va_start(ap, format);
    fputs("  next: ", stderr);
    vfprintf(stderr, format, ap);
    fputc('\n', stderr);
    va_end(ap);
}

enum terminal_answer
terminal_confirm(const char *format, ...)
{
    char line[16];
    va_list ap;
    if (!isatty(STDIN_FILENO) || !isatty(STDERR_FILENO))
        return TERMINAL_NONE;
    va_start(ap, format);
    vfprintf(stderr, format, ap);
    va_end(ap);
    fputs(" [y/N] ", stderr);
    if (!fgets(line, sizeof(line), stdin))
        return TERMINAL_NO;
    return strcmp(line, "y\n") == 0 || strcmp(line, "yes\n") == 0 ? TERMINAL_YES : TERMINAL_NO;
}

static bool
is_terminal(FILE *f)
{
    const char *term = getenv("TERM");
    return isatty(fileno(f)) && term && strcmp(term, "dumb") != 0;
}

bool
terminal_draws(void)
{
    return is_terminal(stderr);
}

void
terminal_verdict(FILE *out, enum terminal_mood mood, const char *word)
{
    static const char *const colours[] = {
        [MOOD_GOOD] = "1;32", [MOOD_BAD] = "1;31", [MOOD_WARNING] = "1;33"};
    const char *no_color = getenv("NO_COLOR");
    if (is_terminal(out) && !(no_color && no_color[0]))
        fprintf(out, "\033[%sm%s\033[0m", colours[mood], word);
    else
        fputs(word, out);
}

const char *
terminal_span(char buf[static 32], usec_t span)
{
    unsigned long long seconds = span / USEC_PER_SEC;
    if (span < 60 * USEC_PER_SEC)
        snprintf(buf, 32, "%llu.%llu s", seconds,
                 (unsigned long long) (span % USEC_PER_SEC / (USEC_PER_SEC / 10)));
    else if (seconds < 3600)
        snprintf(buf, 32, "%llu min %llu s", seconds / 60, seconds % 60);
    else if (seconds < 2 * 86400)
        snprintf(buf, 32, "%llu h %llu min", seconds / 3600, seconds % 3600 / 60);
    else
        snprintf(buf, 32, "%llu d %llu h", seconds / 86400, seconds % 86400 / 3600);
    return buf;
}

void
progress_start(struct progress *p, const char *what, usec_t now)
{
    *p = (struct progress){.draws = terminal_draws(), .started = now};
    snprintf(p->what, sizeof(p->what), "%s", what);
}

void
progress_draw(struct progress *p, usec_t now, uint64_t rows, int permille)
{
    if (!p->draws || now - p->drawn < DRAW_EVERY)
        return;
    p->drawn = now;
    usec_t spent = MAX_OF(now - p->started, (usec_t) 1);
    char count[32], rate[32], left[32];
    fprintf(stderr, "\r%s   %s rows   %s rows/s", p->what, table_thousands(count, (int64_t) rows),
            table_thousands(rate, (int64_t) (rows * USEC_PER_SEC / spent)));
    if (permille > 0)
        fprintf(stderr, "   %d %%   %s left", permille / 10,
                terminal_span(left, spent * (usec_t) (1000 - permille) / (usec_t) permille));
    fputs("\033[K", stderr);
    fflush(stderr);
}

void
progress_end(struct progress *p)
{
    if (p->draws && p->drawn > 0)
        fputs("\r\033[K", stderr);
}

int
screen_begin(struct screen *s)
{
    s->page = open_memstream(&s->text, &s->bytes);
    return s->page ? 0 : -ENOMEM;
}

/* Cuts at the terminal's edge: a wrapped line would put the next picture below this one. */
static size_t
fitting(const char *line, size_t bytes, unsigned columns)
{
    unsigned used = 0;
    for (size_t i = 0; i < bytes; i++) {
        if (line[i] == '\033') {
            while (i < bytes && line[i] != 'm')
                i++;
            continue;
        }
        used += ((unsigned char) line[i] & 0xc0) != 0x80;
        if (used > columns)
            return i;
    }
    return bytes;
}

void
screen_show(struct screen *s)
{
    fclose(s->page);
    s->page = NULL;
    struct winsize size = {0};
    unsigned columns = 200;
    if (ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0)
        columns = size.ws_col;
    if (s->lines > 0)
        fprintf(stderr, "\033[%uA\r", s->lines);
    s->lines = 0;
    for (const char *p = s->text, *end = s->text + s->bytes; p < end;) {
        const char *newline = memchr(p, '\n', (size_t) (end - p));
        size_t bytes = (size_t) ((newline ? newline : end) - p);
        fprintf(stderr, "%.*s\033[0m\033[K\n", (int) fitting(p, bytes, columns), p);
        s->lines++;
        p += bytes + 1;
    }
    fputs("\033[J", stderr);
    fflush(stderr);
    free(s->text);
    s->text = NULL;
}
