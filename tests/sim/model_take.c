/* Statements of the take, the beat and the load. */
#include <stdio.h>
#include <string.h>

#include "tests/sim/store.h"

static void
put_text(struct db_reply *r, const char *text)
{
    reply_text(r, text, strlen(text));
}

void
model_lock_shared(struct call *c)
{
    reply_row(c->out); /* void; the server queues for it */
    reply_null(c->out);
}

/* Whether it is time is the server's to judge: the transaction fails, or this is its answer. */
void
model_lock_timed(struct call *c)
{
    model_lock_shared(c);
    reply_int(c->out, 1);
}

void
model_lock_exclusive(struct call *c)
{
    model_lock_shared(c);
}

void
model_epoch(struct call *c)
{
    reply_row(c->out);
    reply_int(c->out, c->s->epoch);
    put_text(c->out, c->s->driver);
    reply_uuid(c->out, &c->s->incarnation);
    reply_int(c->out, c->clock);
    reply_int(c->out, c->s->content_applied);
    reply_int(c->out, c->s->clean);
}

void
model_days(struct call *c)
{
    reply_row(c->out);
    reply_int(c->out, 0);
}

void
model_take(struct call *c)
{
    struct store *s = c->s;
    struct slice driver = value_text(c->in, 1);

    if (!mine(c))
        return;
    s->epoch++;
    snprintf(s->driver, sizeof(s->driver), "%.*s", (int) driver.bytes, driver.data);
    s->incarnation = value_uuid(c->in, 2);
    s->clean = false;
    reply_row(c->out);
    reply_int(c->out, s->epoch);
}

static bool
token_is_among(struct array tokens, const struct uuid *token)
{
    for (unsigned i = 0; i < tokens.count; i++) {
        struct uuid u = array_uuid(tokens, i);

        if (memcmp(&u, token, sizeof(u)) == 0)
            return true;
    }
    return false;
}

void
model_left_over(struct call *c)
{
    int64_t epoch = value_int(c->in, 0), limit = value_int(c->in, 2);
    struct array tokens = value_array(c->in, 1);

    for (unsigned i = 0; i < c->s->devices.count; i++) {
        const struct device_rec *d = &c->s->devices.at[i];

        for (unsigned k = 0; k < d->rows.count && limit > 0; k++) {
            const struct enrollment *e = &d->rows.at[k];

            if (e->state != 1 || e->epoch >= epoch || token_is_among(tokens, &e->token))
                continue;
            limit--;
            reply_row(c->out);
            reply_int(c->out, d->device_id);
            reply_int(c->out, e->source_id);
            reply_int(c->out, e->lead_no);
            reply_int(c->out, e->step);
            reply_int(c->out, e->attempt);
            reply_uuid(c->out, &e->token);
            reply_int(c->out, e->epoch);
            reply_int(c->out, e->revision);
        }
    }
}

void
model_beat(struct call *c)
{
    if (!mine(c))
        return;
    c->s->beat++;
    reply_row(c->out);
    reply_int(c->out, c->s->beat);
    reply_int(c->out, c->s->lsn);
    reply_int(c->out, 1);
}

void
model_release(struct call *c)
{
    if (!mine(c))
        return;
    c->s->clean = true;
    reply_row(c->out);
    reply_int(c->out, c->s->epoch);
}

/* ---- load ---- */

/* Some zones, as they are in January 2026: nothing changes within the days that are asked for. */
static const struct {
    const char *name;
    int32_t offset;
} zones[] = {{"UTC", 0},
             {"Asia/Kolkata", 19800},
             {"America/New_York", -18000},
             {"Pacific/Auckland", 46800}};

void
model_zones(struct call *c)
{
    struct texts names = value_texts(c->in, 0);
    const int64_t hour = INT64_C(3600000000), now = c->now - c->now % hour;

    for (unsigned i = 0; i < names.count; i++) {
        struct slice name = texts_next(&names);

        for (size_t k = 0; k < ARRAY_SIZE(zones); k++) {
            if (strlen(zones[k].name) != name.bytes ||
                memcmp(zones[k].name, name.data, name.bytes) != 0)
                continue;
            reply_row(c->out);
            reply_int(c->out, i + 1);
            reply_int(c->out, now - 48 * hour);
            reply_int(c->out, zones[k].offset);
            reply_int(c->out, now + value_int(c->in, 1) * 24 * hour);
        }
    }
}

/* DEVICE_COLUMNS of node/store.c. */
static void
put_device(struct call *c, const struct device_rec *d)
{
    reply_row(c->out);
    reply_int(c->out, d->device_id);
    reply_int(c->out, d->residence);
    reply_int(c->out, d->health);
    reply_int(c->out, d->min_delay_ms);
    reply_int(c->out, d->max_delay_ms);
    put_text(c->out, d->account);
    put_text(c->out, d->scope);
    put_text(c->out, d->transport);
    put_text(c->out, d->address);
    put_text(c->out, d->url);
    put_text(c->out, d->zone);
    reply_text(c->out, (const char *) d->token, d->token_bytes);
    reply_int(c->out, d->paused_until);
    put_text(c->out, d->paused_because);
    put_text(c->out, d->quiet);
    reply_int(c->out, d->daily_cap);
    reply_int(c->out, d->hourly_cap);
    reply_int(c->out, d->warm_from);
    reply_int(c->out, d->day);
    reply_int(c->out, d->day_reserved);
    reply_int(c->out, d->hour);
    reply_int(c->out, d->hour_reserved);
}

void
model_load_devices(struct call *c)
{
    int64_t limit = value_int(c->in, 1);
    unsigned i = device_place(c->s, (int32_t) value_int(c->in, 0) + 1);

    for (; i < c->s->devices.count && limit > 0; i++) {
        if (c->s->devices.at[i].residence != 0)
            continue;
        limit--;
        put_device(c, &c->s->devices.at[i]);
    }
}

void
model_devices_by_id(struct call *c)
{
    struct array ids = value_array(c->in, 0);

    for (unsigned i = 0; i < c->s->devices.count; i++) {
        const struct device_rec *d = &c->s->devices.at[i];

        if (d->residence == 0 && array_has(ids, d->device_id))
            put_device(c, d);
    }
}

void
model_load_sources(struct call *c)
{
    int64_t after = value_int(c->in, 0), limit = value_int(c->in, 1);

    for (unsigned i = 0; i < c->s->sources.count && limit > 0; i++) {
        const struct source_rec *s = &c->s->sources.at[i];
        const struct progress *p = &s->progress;

        if (s->source_id <= after)
            continue;
        limit--;
        reply_row(c->out);
        reply_int(c->out, s->source_id);
        reply_int(c->out, s->kind);
        reply_int(c->out, s->state);
        put_text(c->out, s->item);
        reply_int(c->out, p->there && p->audience > p->not_in_audience + p->sent + p->failed +
                                                        p->unknown + p->expired + p->skipped +
                                                        p->cancelled);
        reply_int(c->out, p->unknown);
        put_text(c->out, s->name);
        reply_int(c->out, s->revision);
        reply_int(c->out, s->all_revision);
        reply_int(c->out, s->paused_until);
    }
}

void
model_load_revisions(struct call *c)
{
    int64_t after = value_int(c->in, 0), revision = value_int(c->in, 1),
            limit = value_int(c->in, 2);

    for (unsigned i = 0; i < c->s->revisions.count && limit > 0; i++) {
        const struct revision_row *r = &c->s->revisions.at[i];
        const struct source_rec *s = store_source(c->s, r->source_id);

        if (!s || s->kind != 2 || r->revision >= s->revision || r->source_id < after ||
            (r->source_id == after && r->revision <= revision))
            continue;
        limit--;
        reply_row(c->out);
        reply_int(c->out, r->source_id);
        reply_int(c->out, r->revision);
        put_text(c->out, r->item);
    }
}

void
model_load_templates(struct call *c)
{
    struct slice after = value_text(c->in, 0);
    int64_t limit = value_int(c->in, 1);
    char name[128];

    snprintf(name, sizeof(name), "%.*s", (int) after.bytes, after.data);
    for (unsigned i = 0; i < c->s->templates.count && limit > 0; i++) {
        const struct template_row *t = &c->s->templates.at[i];

        if (strcmp(t->name, name) <= 0)
            continue;
        limit--;
        reply_row(c->out);
        put_text(c->out, t->name);
        put_text(c->out, t->item);
    }
}

void
model_load_optouts(struct call *c)
{
    int64_t after = value_int(c->in, 0), limit = value_int(c->in, 1);

    while (limit-- > 0) {
        const struct optout_row *next = NULL;

        for (unsigned i = 0; i < c->s->optouts.count; i++) {
            const struct optout_row *o = &c->s->optouts.at[i];
            if (o->number > after && (!next || o->number < next->number))
                next = o;
        }
        if (!next)
            return;
        after = next->number;
        reply_row(c->out);
        put_text(c->out, next->account);
        reply_int(c->out, next->phone);
        reply_int(c->out, next->number);
    }
}
