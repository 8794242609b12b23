/*
 * terminal.h - what people see beside the data: errors, hints, progress. All on stderr.
 *
 * Progress and screens draw only when stderr is a terminal; into a pipe they write nothing.
 */
#pragma once
#include <stdio.h>

#include "shared/base.h"
#include "shared/clock.h"

/* "fleetcast: ..." and "  next: ...", a line each. */
void terminal_fault(const char *format, ...) _printf_(1, 2);
void terminal_next(const char *format, ...) _printf_(1, 2);

bool terminal_draws(void); /* stderr is a terminal that can move its cursor */
/* "OK", "DEGRADED": bold in a colour when `out` is a terminal and NO_COLOR is not set. */
enum terminal_mood { MOOD_GOOD, MOOD_BAD, MOOD_WARNING };
void terminal_verdict(FILE *out, enum terminal_mood mood, const char *word);

/* Asks on stderr for "y" or "yes" on stdin; NONE: nobody is there to answer. */
enum terminal_answer { TERMINAL_NO, TERMINAL_YES, TERMINAL_NONE };
enum terminal_answer terminal_confirm(const char *format, ...) _printf_(1, 2);

/* One line, drawn at most 5 times a second: what, rows, rate, percent, time left. */
struct progress {
    char what[64];
    bool draws;
    usec_t started, drawn;
};
void progress_start(struct progress *p, const char *what, usec_t now);
/* permille of the whole, or -1 when it is not known. */
void progress_draw(struct progress *p, usec_t now, uint64_t rows, int permille);
void progress_end(struct progress *p); /* takes the line away */

/* Several lines that are drawn over one another. */
struct screen {
    unsigned lines; /* on the terminal now */
    char *text;
    size_t bytes;
    FILE *page; /* write the next picture here */
};
int screen_begin(struct screen *s) _must_check_; /* 0 or -ENOMEM */
void screen_show(struct screen *s);              /* and closes the page */

/* "4.2 s", "3 min 20 s", "5 h 58 min"; returns buf. */
const char *terminal_span(char buf[static 32], usec_t span);
