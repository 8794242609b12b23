/* Allowances of local days and hours. */
#include "node/quota.h"

#include <errno.h>
#include <string.h>

#include "shared/parse.h"

#define BLOCKS    20u /* of a limit: so much of it a crash loses at most */
#define AGE_MAX   36500u
#define LIMIT_MAX 1000000000u
#define HOUR_USEC ((int64_t) 3600000000)

/* ---- warm-up ---- */

static bool
parse_step(struct warmup *w, struct slice step)
{
    const char *colon = memchr(step.data, ':', step.bytes);
    size_t age = colon ? (size_t) (colon - step.data) : 0;

    return colon && parse_u32(step.data, age, 0, AGE_MAX, &w->steps[w->count].age) == 0 &&
           parse_u32(colon + 1, step.bytes - age - 1, 0, LIMIT_MAX, &w->steps[w->count].limit) == 0;
}

static const char *
why_not(struct warmup *w, const char *text)
{
    for (const char *at = text;; at++) {
        size_t bytes = strcspn(at, ",");

        if (w->count == WARMUP_MAX)
            return "more than 16 ages";
        if (!parse_step(w, (struct slice){at, bytes}))
            return "must be AGE:SENDS,AGE:SENDS,... such as 0:20,4:50,31:0";
        if (w->count == 0 ? w->steps[0].age != 0
                          : w->steps[w->count].age <= w->steps[w->count - 1].age)
            return "ages must begin at 0 and rise";
        w->count++;
        at += bytes;
        if (*at == '\0')
            return NULL;
    }
}

int
warmup_parse(struct warmup *ret, const char *text, const char **ret_why)
{
    struct warmup w = {0};
    const char *why = why_not(&w, text);

    if (why) {
        *ret_why = why;
        return -EINVAL;
    }
    *ret = w;
    return 0;
}

uint32_t
warmup_limit(const struct warmup *w, int32_t from, int32_t day)
{
    uint32_t age = day > from ? (uint32_t) (day - from) : 0, limit = 0;

    if (from == WARM_FROM_NEVER)
        return QUOTA_NONE;
    for (unsigned n = 0; n < w->count && w->steps[n].age <= age; n++)
        limit = w->steps[n].limit;
    return limit == 0 ? QUOTA_NONE : limit;
}

/* ---- counting ---- */

uint32_t
quota_used(const struct quota *q, int32_t unit)
{
    return unit > q->unit ? 0 : q->used;
}

bool
quota_open(const struct quota *q, int32_t unit, uint32_t limit)
{
    return quota_used(q, unit) < limit;
}

bool
quota_take(struct quota *q, int32_t unit, uint32_t limit)
{
    uint32_t block = MAX_OF(1u, limit / BLOCKS);

    if (unit > q->unit)
        *q = (struct quota){.unit = unit};
    if (limit == QUOTA_NONE)
        return false;
    q->used++;
    if (q->used <= q->reserved)
        return false;
    q->reserved = MIN_OF(q->reserved + block, limit);
    return true;
}

void
quota_give(struct quota *q, int32_t unit)
{
    if (q->unit == unit && q->used > 0)
        q->used--;
}

void
quota_load(struct quota *q, int32_t unit, uint32_t reserved)
{
    *q = (struct quota){.unit = unit, .used = reserved, .reserved = reserved};
}

int64_t
quota_hour_time(int32_t hour)
{
    return hour == QUOTA_UNIT_NONE ? INT64_MIN : hour * HOUR_USEC;
}

int32_t
quota_hour_unit(int64_t time)
{
    return time == INT64_MIN ? QUOTA_UNIT_NONE : (int32_t) (time / HOUR_USEC);
}
