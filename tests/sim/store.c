/* The tables: sorted rows, found by bisection; and the few predicates that statements share. */
#include "tests/sim/store.h"

#include <assert.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- rows ---- */

void
rows_room(void **at, unsigned *count, unsigned *capacity, size_t size, unsigned place)
{
    assert(place <= *count);
    if (*count == *capacity) {
        *capacity = MAX_OF(*capacity * 2, 8u);
        *at = realloc(*at, *capacity * size);
        assert(*at);
    }
    char *p = (char *) *at + (size_t) place * size;
    memmove(p + size, p, (size_t) (*count - place) * size);
    memset(p, 0, size);
    (*count)++;
}

void
rows_close(void *at, unsigned *count, size_t size, unsigned place)
{
    assert(place < *count);
    char *p = (char *) at + (size_t) place * size;

    (*count)--;
    memmove(p, p + size, (size_t) (*count - place) * size);
}

void
store_set_text(char **text, const char *data, size_t bytes)
{
    char *fresh = strndup(data ? data : "", bytes);

    assert(fresh);
    free(*text);
    *text = fresh;
}

static char *
empty(void)
{
    char *text = strdup("");

    assert(text);
    return text;
}

/* The first of `count` places for which below(mid) is false. */
#define BISECT(count_, below)                                                                      \
    ({                                                                                             \
        unsigned low_ = 0, high_ = (count_);                                                       \
        while (low_ < high_) {                                                                     \
            unsigned mid = low_ + (high_ - low_) / 2;                                              \
            if (below)                                                                             \
                low_ = mid + 1;                                                                    \
            else                                                                                   \
                high_ = mid;                                                                       \
        }                                                                                          \
        low_;                                                                                      \
    })

/* ---- devices and leads ---- */

unsigned
device_place(const struct store *s, int32_t device_id)
{
    unsigned n = s->devices.count;

    /* Numbers mostly follow one another. */
    if (n > 0 && device_id >= s->devices.at[0].device_id) {
        unsigned guess = (unsigned) (device_id - s->devices.at[0].device_id);
        if (guess < n && s->devices.at[guess].device_id == device_id)
            return guess;
    }
    return BISECT(n, s->devices.at[mid].device_id < device_id);
}

struct device_rec *
store_device(const struct store *s, int32_t device_id)
{
    unsigned place = device_place(s, device_id);

    return place < s->devices.count && s->devices.at[place].device_id == device_id
               ? &s->devices.at[place]
               : NULL;
}

struct device_rec *
store_device_new(struct store *s, int32_t device_id)
{
    struct device_rec *d = rows_insert(&s->devices, device_place(s, device_id));

    d->device_id = device_id;
    char **texts[] = {&d->account, &d->scope, &d->transport, &d->address,       &d->url,
                      &d->zone,    &d->name,  &d->quiet,     &d->paused_because};
    for (size_t i = 0; i < ARRAY_SIZE(texts); i++)
        *texts[i] = empty();
    store_set_text(&d->account, "main", 4);
    store_set_text(&d->zone, "UTC", 3);
    d->token = NULL;
    d->paused_until = d->hour = INT64_MIN;
    d->warm_from = INT32_MAX;
    d->day = 10957; /* 2000-01-01 */
    return d;
}

unsigned
lead_place(const struct device_rec *d, int32_t lead_no)
{
    unsigned n = d->leads.count, guess = (unsigned) (lead_no - 1);

    if (guess < n && d->leads.at[guess].lead_no == lead_no)
        return guess;
    return BISECT(n, d->leads.at[mid].lead_no < lead_no);
}

struct lead *
store_lead(const struct device_rec *d, int32_t lead_no)
{
    unsigned place = lead_place(d, lead_no);

    return place < d->leads.count && d->leads.at[place].lead_no == lead_no ? &d->leads.at[place]
                                                                           : NULL;
}

struct lead *
store_lead_new(struct device_rec *d, int64_t phone)
{
    struct lead *l = rows_insert(&d->leads, d->leads.count);

    *l = (struct lead){.lead_no = ++d->next_lead_no,
                       .phone = phone,
                       .name = empty(),
                       .trigger = empty(),
                       .attributes = strdup("{}")};
    return l;
}

/* ---- a device's other rows ---- */

unsigned
row_place(const struct device_rec *d, int32_t source_id, int32_t lead_no)
{
    const struct enrollment *e = d->rows.at;

    return BISECT(d->rows.count, e[mid].source_id != source_id ? e[mid].source_id < source_id
                                                               : e[mid].lead_no < lead_no);
}

struct enrollment *
store_row(const struct device_rec *d, int32_t source_id, int32_t lead_no)
{
    unsigned place = row_place(d, source_id, lead_no);
    struct enrollment *e = place < d->rows.count ? &d->rows.at[place] : NULL;

    return e && e->source_id == source_id && e->lead_no == lead_no ? e : NULL;
}

struct enrollment *
row_new(struct device_rec *d, int32_t source_id, int32_t lead_no)
{
    if (store_row(d, source_id, lead_no))
        return NULL;
    struct enrollment *e = rows_insert(&d->rows, row_place(d, source_id, lead_no));

    *e = (struct enrollment){.source_id = source_id, .lead_no = lead_no, .revision = 1};
    return e;
}

void
row_delete(struct device_rec *d, const struct enrollment *e)
{
    rows_remove(&d->rows, (unsigned) (e - d->rows.at));
}

static unsigned
end_place(const struct device_rec *d, int32_t source_id, int32_t lead_no)
{
    const struct end_row *e = d->ends.at;

    return BISECT(d->ends.count, e[mid].source_id != source_id ? e[mid].source_id < source_id
                                                               : e[mid].lead_no < lead_no);
}

struct end_row *
end_find(const struct device_rec *d, int32_t source_id, int32_t lead_no)
{
    unsigned place = end_place(d, source_id, lead_no);
    struct end_row *e = place < d->ends.count ? &d->ends.at[place] : NULL;

    return e && e->source_id == source_id && e->lead_no == lead_no ? e : NULL;
}

void
end_put(struct device_rec *d, int32_t source_id, int32_t lead_no, int16_t step, int16_t reason,
        int64_t at)
{
    if (end_find(d, source_id, lead_no))
        return;
    struct end_row *e = rows_insert(&d->ends, end_place(d, source_id, lead_no));

    *e = (struct end_row){source_id, lead_no, step, reason, at};
}

struct audience_row *
audience_find(const struct device_rec *d, int32_t source_id)
{
    for (unsigned i = 0; i < d->audience.count; i++)
        if (d->audience.at[i].source_id == source_id)
            return &d->audience.at[i];
    return NULL;
}

struct direct_row *
direct_find(const struct device_rec *d, int32_t lead_no)
{
    unsigned place = BISECT(d->direct.count, d->direct.at[mid].lead_no < lead_no);

    return place < d->direct.count && d->direct.at[place].lead_no == lead_no ? &d->direct.at[place]
                                                                             : NULL;
}

/* ---- sources and people ---- */

struct source_rec *
store_source(const struct store *s, int32_t source_id)
{
    unsigned place = BISECT(s->sources.count, s->sources.at[mid].source_id < source_id);

    return place < s->sources.count && s->sources.at[place].source_id == source_id
               ? &s->sources.at[place]
               : NULL;
}

bool
source_is_open(const struct source_rec *s, int64_t now)
{
    return s->state == 0 || (s->state == 1 && s->paused_until <= now);
}

bool
cluster_is_open(const struct store *s, int64_t now)
{
    const struct source_rec *w = store_source(s, -1);

    return !(w && w->state == 1 && w->paused_until > now);
}

bool
store_opted_out(const struct store *s, const char *account, int64_t phone)
{
    for (unsigned i = 0; i < s->optouts.count; i++)
        if (s->optouts.at[i].phone == phone && strcmp(s->optouts.at[i].account, account) == 0)
            return true;
    return false;
}

bool
mine(const struct call *c)
{
    return value_int(c->in, 0) == c->s->epoch;
}

/* jsonb's @> for flat objects. */
bool
json_contains(const char *attributes, const char *filter)
{
    if (strcmp(filter, "{}") == 0)
        return true;
    json_t *a = json_loads(attributes, 0, NULL), *f = json_loads(filter, 0, NULL), *value;
    const char *key;
    bool holds = a && f;

    assert(a && f);
    json_object_foreach(f, key, value) holds = holds && json_equal(json_object_get(a, key), value);
    json_decref(a);
    json_decref(f);
    return holds;
}

/* "{(,)}" or "{[1,5],[7,7]}", as node/apply.c writes it. */
bool
multirange_has(const char *ranges, int32_t value)
{
    int first, last, used;

    if (strcmp(ranges, "{(,)}") == 0)
        return true;
    for (const char *p = ranges + 1; sscanf(p, "[%d,%d]%n", &first, &last, &used) == 2;) {
        if (value >= first && value <= last)
            return true;
        p += used;
        p += *p == ',';
    }
    return false;
}

/* ---- life ---- */

void
store_open(struct store *s, const char *partition)
{
    static const int16_t kinds[] = {4, 0};

    *s = (struct store){.clean = true, .lsn = 1000};
    snprintf(s->partition, sizeof(s->partition), "%s", partition);
    for (int i = 0; i < 2; i++) {
        struct source_rec *r = rows_insert(&s->sources, (unsigned) i);

        *r = (struct source_rec){.source_id = i - 1,
                                 .kind = kinds[i],
                                 .revision = 1,
                                 .not_after = INT64_MAX,
                                 .started_at = INT64_MAX,
                                 .paused_until = INT64_MAX,
                                 .name = strdup(i == 0 ? "(cluster)" : "(direct)"),
                                 .filter = strdup("{}"),
                                 .devices = strdup("{(,)}"),
                                 .item = strdup("{}"),
                                 .trigger = empty(),
                                 .because = empty(),
                                 .progress = {.there = i == 1}};
    }
}

static void
close_device(struct device_rec *d)
{
    char *texts[] = {d->account, d->scope, d->transport, d->address,       d->url,
                     d->zone,    d->name,  d->quiet,     d->paused_because};

    for (size_t i = 0; i < ARRAY_SIZE(texts); i++)
        free(texts[i]);
    free(d->token);
    for (unsigned i = 0; i < d->leads.count; i++) {
        free(d->leads.at[i].name);
        free(d->leads.at[i].trigger);
        free(d->leads.at[i].attributes);
    }
    for (unsigned i = 0; i < d->direct.count; i++) {
        free(d->direct.at[i].key);
        free(d->direct.at[i].text);
    }
    free(d->leads.at);
    free(d->audience.at);
    free(d->rows.at);
    free(d->ends.at);
    free(d->direct.at);
}

void
store_close(struct store *s)
{
    for (unsigned i = 0; i < s->devices.count; i++)
        close_device(&s->devices.at[i]);
    for (unsigned i = 0; i < s->sources.count; i++) {
        struct source_rec *r = &s->sources.at[i];
        char *texts[] = {r->name, r->filter, r->devices, r->item, r->trigger, r->because};

        for (size_t k = 0; k < ARRAY_SIZE(texts); k++)
            free(texts[k]);
    }
    for (unsigned i = 0; i < s->templates.count; i++) {
        free(s->templates.at[i].name);
        free(s->templates.at[i].item);
    }
    for (unsigned i = 0; i < s->revisions.count; i++)
        free(s->revisions.at[i].item);
    for (unsigned i = 0; i < s->optouts.count; i++) {
        free(s->optouts.at[i].account);
        free(s->optouts.at[i].reason);
    }
    for (unsigned i = 0; i < s->uses.count; i++)
        free(s->uses.at[i].trigger);
    free(s->devices.at);
    free(s->sources.at);
    free(s->templates.at);
    free(s->revisions.at);
    free(s->optouts.at);
    free(s->messages.at);
    free(s->receipts.at);
    free(s->uses.at);
    *s = (struct store){0};
}
