/* What follows what in a sequence, and the texts of delays, windows and triggers. */
#include "shared/content.h"

#include <errno.h>
#include <string.h>

#include "shared/parse.h"

#define DAY_MINUTES 1440

const struct content_step *
content_next_step(const struct content_sequence *s, int16_t after)
{
    for (unsigned i = 0; i < s->step_count; i++)
        if (s->steps[i].step > after)
            return &s->steps[i];
    return NULL;
}

const struct content_step *
content_find_step(const struct content_sequence *s, int16_t step)
{
    const struct content_step *found = content_next_step(s, (int16_t) (step - 1));

    return found && found->step == step ? found : NULL;
}

const struct content_step *
content_restep(const struct content_sequence *from, int16_t step, const struct content_sequence *to,
               int64_t *ret_shift)
{
    const struct content_step *was = content_find_step(from, step), *now;
    int16_t sent = 0;

    for (unsigned i = 0; i < from->step_count && from->steps[i].step < step; i++)
        sent = from->steps[i].step;
    now = content_next_step(to, sent);
    if (now)
        *ret_shift = (int64_t) now->delay - (int64_t) (was ? was->delay : now->delay);
    return now;
}

bool
content_trigger_valid(struct slice trigger)
{
    if (trigger.bytes == 0 || trigger.bytes > CONTENT_TRIGGER_MAX)
        return false;
    for (size_t i = 0; i < trigger.bytes; i++)
        if (trigger.data[i] <= ' ' || trigger.data[i] > '~')
            return false;
    return true;
}

/* ---- delays ---- */

static const struct {
    char unit;
    usec_t usec;
} units[] = {{'d', 86400 * USEC_PER_SEC},
             {'h', 3600 * USEC_PER_SEC},
             {'m', 60 * USEC_PER_SEC},
             {'s', USEC_PER_SEC}};

int
content_read_delay(const char *text, usec_t *ret)
{
    const usec_t most = CONTENT_DELAY_DAYS_MAX * units[0].usec;
    size_t bytes = strlen(text);
    uint32_t number;

    if (strcmp(text, "0") == 0) {
        *ret = 0;
        return 0;
    }
    for (unsigned i = 0; i < ARRAY_SIZE(units) && bytes > 1; i++) {
        if (text[bytes - 1] != units[i].unit)
            continue;
        if (parse_u32(text, bytes - 1, 0, (uint32_t) (most / units[i].usec), &number) < 0)
            return -EINVAL;
        *ret = number * units[i].usec;
        return 0;
    }
    return -EINVAL;
}

void
content_write_delay(char *out, size_t size, usec_t delay)
{
    unsigned i = 0;

    while (i + 1 < ARRAY_SIZE(units) && delay % units[i].usec != 0)
        i++;
    if (delay == 0)
        snprintf(out, size, "0");
    else
        snprintf(out, size, "%llu%c", (unsigned long long) (delay / units[i].usec), units[i].unit);
}

/* ---- windows ---- */

/* "HH:MM"; 24:00 is the end of a day. */
static bool
read_minutes(const char *text, int16_t *ret)
{
    uint32_t hours, minutes;

    if (text[2] != ':' || parse_u32(text, 2, 0, 24, &hours) < 0 ||
        parse_u32(text + 3, 2, 0, 59, &minutes) < 0 || (hours == 24 && minutes > 0))
        return false;
    *ret = (int16_t) (hours * 60 + minutes);
    return true;
}

int
content_read_window(const char *text, struct content_window *ret)
{
    struct content_window w;

    if (strlen(text) != 11 || text[5] != '-' || !read_minutes(text, &w.from) ||
        !read_minutes(text + 6, &w.to) || w.from == DAY_MINUTES || w.from == w.to)
        return -EINVAL;
    *ret = w;
    return 0;
}

void
content_write_window(char *out, size_t size, struct content_window w)
{
    snprintf(out, size, "%02d:%02d-%02d:%02d", w.from / 60, w.from % 60, w.to / 60, w.to % 60);
}

/* ---- chains ---- */

/* A name that the walk from `name` meets again and again; NULL: the walk ends. Brent's way needs no
 * list of names: the hare is compared with where the tortoise waits. */
static const char *
find_circle(const char *name, const char *(*next)(void *arg, const char *name), void *arg)
{
    const char *tortoise = name, *hare = next(arg, name);
    unsigned steps = 1, limit = 2;

    while (hare && *hare) {
        if (strcmp(hare, tortoise) == 0)
            return hare;
        if (steps++ == limit) {
            tortoise = hare;
            limit *= 2;
            steps = 0;
        }
        hare = next(arg, hare);
    }
    return NULL;
}

bool
content_has_cycle(const char *name, const char *(*next)(void *arg, const char *name), void *arg,
                  char *path, size_t path_size)
{
    const char *met = find_circle(name, next, arg), *at = met;
    size_t used;

    if (!met)
        return false;
    while (strcmp(at, name) != 0) {
        at = next(arg, at);
        if (strcmp(at, met) == 0)
            return false; /* it only leads into a circle of others */
    }
    used = (size_t) snprintf(path, path_size, "%s", name);
    do {
        at = next(arg, at);
        if (used < path_size)
            used += (size_t) snprintf(path + used, path_size - used, " -> %s", at);
    } while (strcmp(at, name) != 0 && used < path_size);
    return true;
}
