/* audit_time.c - the audit's checks by time: pace, drivers, acknowledged orders, caps. */
#include <ctype.h>
#include <errno.h>
#include <string.h>
#include <time.h>

#include "audit_inner.h"

static const char *const silence_names[SILENCE_COUNT] = {
    [SILENCE_OPTOUT] = "optout",
    [SILENCE_FORGET] = "forget",
    [SILENCE_REMOVE] = "remove",
    [SILENCE_CANCEL] = "cancel",
    [SILENCE_PAUSE_SOURCE] = "pause-source",
    [SILENCE_PAUSE_DEVICE] = "pause-device",
    [SILENCE_PAUSE_CLUSTER] = "pause-cluster",
    [SILENCE_QUIET_SOURCE] = "quiet-source",
    [SILENCE_QUIET_DEVICE] = "quiet-device",
};

static bool
is_phone(enum audit_silence_kind kind)
{
    return kind <= SILENCE_REMOVE;
}

static int
read_silence(struct audit *a, const char *kind, const char *what, usec_t from, usec_t until)
{
    struct audit_silence s = {.kind = 0, .from = from, .until = until ? until : USEC_INFINITY};
    while (s.kind < SILENCE_COUNT && strcmp(silence_names[s.kind], kind) != 0)
        s.kind++;
    if (s.kind == SILENCE_COUNT)
        return -EINVAL;
    bool plus = is_phone(s.kind) && what[0] != '+';
    snprintf(s.what, sizeof(s.what), "%s%.70s", plus ? "+" : "", what);
    a->silences = realloc(a->silences, (a->silence_count + 1) * sizeof(s));
    a->silences[a->silence_count++] = s;
    return 0;
}

int
audit_silences_read(struct audit *a)
{
    if (!a->in->silences)
        return 0;
    FILE *f = fopen(a->in->silences, "re");
    if (!f) {
        fprintf(a->errors, "audit: %s: %s\n", a->in->silences, strerror(errno));
        return -errno;
    }
    char line[256], kind[24], what[72];
    unsigned long long from, until;
    int rc = 0;
    while (rc == 0 && fgets(line, sizeof(line), f)) {
        if (sscanf(line, "%23[^,],%71[^,],%llu,%llu", kind, what, &from, &until) != 4)
            rc = -EINVAL;
        else
            rc = read_silence(a, kind, what, from, until);
        if (rc < 0)
            fprintf(a->errors, "audit: %s: not a silence: %s", a->in->silences, line);
    }
    fclose(f);
    return rc;
}

static bool
named(const struct audit *a, const struct audit_wish *w, enum audit_silence_kind kind)
{
    const char *phone = strchr(w->pair, '\n') + 1, *source = w->source ? w->source->name : "";
    for (size_t i = 0; i < a->silence_count; i++)
        if (a->silences[i].kind == kind &&
            strcmp(a->silences[i].what, is_phone(kind) ? phone : source) == 0)
            return true;
    return false;
}

bool
audit_excused(const struct audit *a, const struct audit_wish *w)
{
    return named(a, w, SILENCE_OPTOUT) || named(a, w, SILENCE_FORGET) ||
           (w->source && named(a, w, SILENCE_REMOVE)) || named(a, w, SILENCE_CANCEL);
}

bool
audit_forgotten(const struct audit *a, const struct audit_wish *w)
{
    return named(a, w, SILENCE_FORGET);
}

/* ---- acknowledged orders ---- */

static bool
forbids(const struct audit *a, const struct audit_silence *s, const struct audit_send *q)
{
    struct audit_sender *sender;
    switch (s->kind) {
    case SILENCE_OPTOUT:
    case SILENCE_FORGET: return strcmp(s->what, q->to) == 0;
    case SILENCE_CANCEL:
    case SILENCE_PAUSE_SOURCE:
    case SILENCE_QUIET_SOURCE: return strcmp(s->what, q->source) == 0;
    case SILENCE_PAUSE_DEVICE:
    case SILENCE_QUIET_DEVICE:
        HASH_FIND(by_address, a->by_address, q->address, strlen(q->address), sender);
        return sender && sender->device_id == atol(s->what);
    case SILENCE_PAUSE_CLUSTER: return true;
    default: return false;
    }
}

static void
judge_silences(struct audit *a)
{
    for (size_t k = 0; k < a->silence_count; k++) {
        const struct audit_silence *s = &a->silences[k];
        uint64_t *count = s->kind <= SILENCE_FORGET         ? &a->r.after_optout
                          : s->kind >= SILENCE_QUIET_SOURCE ? &a->r.in_quiet_hours
                                                            : &a->r.after_order;
        for (size_t i = 0; i < a->send_count; i++) {
            const struct audit_send *q = &a->sends[i];
            if (q->first <= s->from || q->first >= s->until || !forbids(a, s, q))
                continue;
            char what[256];
            snprintf(what, sizeof(what), "%s %s: %.1f ms after it: %s", silence_names[s->kind],
                     s->what, (double) (q->first - s->from) / 1e3, q->token);
            audit_offence(a, count, "sent against an acknowledged order", what);
        }
    }
}

/* ---- pace ---- */

static int
by_address_then_time(const void *x, const void *y)
{
    const struct audit_send *a = x, *b = y;
    int c = strcmp(a->address, b->address);
    return c ? c : (a->first > b->first) - (a->first < b->first);
}

static void
judge_pace(struct audit *a)
{
    for (size_t i = 1; i < a->send_count; i++) {
        const struct audit_send *p = &a->sends[i - 1], *q = &a->sends[i];
        struct audit_sender *s;
        HASH_FIND(by_address, a->by_address, q->address, strlen(q->address), s);
        if (!s || strcmp(p->address, q->address) != 0)
            continue;
        usec_t from = p->end ? p->end : p->last, gap = q->first > from ? q->first - from : 0;
        if (!a->r.shortest_gap || gap < a->r.shortest_gap)
            a->r.shortest_gap = gap;
        if (gap < s->min_gap) {
            char what[256];
            snprintf(what, sizeof(what), "%.1f ms instead of %.1f ms before %s", (double) gap / 1e3,
                     (double) s->min_gap / 1e3, q->token);
            audit_offence(a, &a->r.pacing_violations, "too early", what);
        }
    }
}

/* ---- caps, by the device's own days and hours ---- */

/* When the claim was made, unix seconds: the token's uuid begins with milliseconds. 0 = no token of
 * ours. */
static time_t
claimed_at(const char *token)
{
    const char *uuid = strrchr(token, '.');
    char hex[13] = "";
    unsigned n = 0;
    for (uuid = uuid ? uuid + 1 : ""; *uuid && n < 12; uuid++)
        if (isxdigit((unsigned char) *uuid))
            hex[n++] = *uuid;
    return n == 12 ? (time_t) (strtoull(hex, NULL, 16) / 1000) : 0;
}

struct span { /* a local day and hour, and what was sent in them */
    int year, day, hour;
    long of_day, of_hour;
};

static void
judge_cap(struct audit *a, const struct audit_sender *s, struct span *span,
          const struct audit_send *q)
{
    time_t at = claimed_at(q->token);
    struct tm local;
    localtime_r(&at, &local);
    bool same_day = local.tm_year == span->year && local.tm_yday == span->day;
    bool same_hour = same_day && local.tm_hour == span->hour;
    *span = (struct span){local.tm_year, local.tm_yday, local.tm_hour,
                          same_day ? span->of_day + 1 : 1, same_hour ? span->of_hour + 1 : 1};
    char what[256];
    snprintf(what, sizeof(what), "device %ld: %ld this day, %ld this hour: %s", s->device_id,
             span->of_day, span->of_hour, q->token);
    if (s->daily_cap && span->of_day > s->daily_cap)
        audit_offence(a, &a->r.over_cap, "over the daily cap", what);
    if (s->hourly_cap && span->of_hour > s->hourly_cap)
        audit_offence(a, &a->r.over_cap, "over the hourly cap", what);
}

/* In the order of each device's sends; the zone is the C library's, not the database's. */
static void
judge_caps(struct audit *a)
{
    const char *was = getenv("TZ");
    char *zone = was ? strdup(was) : NULL;
    const struct audit_sender *in_zone = NULL;
    struct span span = {0};
    for (size_t i = 0; i < a->send_count; i++) {
        struct audit_sender *s;
        const char *address = a->sends[i].address;
        HASH_FIND(by_address, a->by_address, address, strlen(address), s);
        if (!s || !a->sends[i].taken || (!s->daily_cap && !s->hourly_cap))
            continue;
        if (s != in_zone) {
            setenv("TZ", s->zone[0] ? s->zone : "UTC", 1);
            tzset();
            in_zone = s;
            span = (struct span){.day = -1};
        }
        judge_cap(a, s, &span, &a->sends[i]);
    }
    if (zone)
        setenv("TZ", zone, 1);
    else
        unsetenv("TZ");
    tzset();
    free(zone);
}

/* ---- drivers ---- */

static uint64_t
epoch_of(const char *token, char partition[32])
{
    unsigned long long epoch = 0;
    partition[0] = '\0';
    return sscanf(token, "v1.%31[^.].%llu.", partition, &epoch) == 2 ? epoch : 0;
}

static int
by_time(const void *x, const void *y)
{
    const struct audit_send *a = x, *b = y;
    return (a->first > b->first) - (a->first < b->first);
}

/* A partition's epochs never fall in the order of first bytes: else two drivers were at work. */
static void
judge_drivers(struct audit *a)
{
    struct {
        char name[32];
        uint64_t epoch;
    } seen[256] = {0};
    for (size_t i = 0; i < a->send_count; i++) {
        char partition[32];
        uint64_t epoch = epoch_of(a->sends[i].token, partition);
        size_t k = 0;
        while (k < ARRAY_SIZE(seen) - 1 && seen[k].name[0] && strcmp(seen[k].name, partition) != 0)
            k++;
        memcpy(seen[k].name, partition, sizeof(partition));
        if (epoch == 0 || epoch < seen[k].epoch)
            audit_offence(a, &a->r.two_drivers, "an older epoch sends after a newer one",
                          a->sends[i].token);
        seen[k].epoch = MAX_OF(seen[k].epoch, epoch);
    }
}

void
audit_judge_time(struct audit *a)
{
    if (a->send_count == 0)
        return;
    judge_silences(a);
    qsort(a->sends, a->send_count, sizeof(*a->sends), by_address_then_time);
    judge_pace(a);
    judge_caps(a);
    qsort(a->sends, a->send_count, sizeof(*a->sends), by_time);
    judge_drivers(a);
}
