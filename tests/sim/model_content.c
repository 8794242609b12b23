/* Statements of content: templates, sources, audiences. */
#include <assert.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "tests/sim/store.h"

static char *
take_text(struct slice s)
{
    char *text = strndup(s.data ? s.data : "", s.bytes);

    assert(text);
    return text;
}

static void
put_template(struct store *s, struct slice name, int64_t version, struct slice item)
{
    char *text = take_text(name);
    unsigned place = 0;

    while (place < s->templates.count && strcmp(s->templates.at[place].name, text) < 0)
        place++;
    if (place < s->templates.count && strcmp(s->templates.at[place].name, text) == 0) {
        struct template_row *t = &s->templates.at[place];

        free(text);
        if (t->content_version >= version)
            return;
        t->content_version = version;
        store_set_text(&t->item, item.data, item.bytes);
        return;
    }
    *rows_insert(&s->templates, place) = (struct template_row){text, take_text(item), version};
}

void
model_put_templates(struct call *c)
{
    struct texts names = value_texts(c->in, 1), items = value_texts(c->in, 3);
    struct array versions = value_array(c->in, 2);

    for (unsigned i = 0; i < names.count && mine(c); i++) {
        struct slice name = texts_next(&names);

        put_template(c->s, name, array_int(versions, i), texts_next(&items));
    }
}

/* item::jsonb -> 'audience' -> 'where' */
static char *
filter_of(const char *item)
{
    json_t *root = json_loads(item, 0, NULL);
    json_t *where = json_object_get(json_object_get(root, "audience"), "where");
    char *text = where ? json_dumps(where, JSON_COMPACT | JSON_SORT_KEYS) : strdup("{}");

    assert(root && text);
    json_decref(root);
    return text;
}

static void
put_revision(struct store *s, const struct source_rec *r)
{
    unsigned place = 0;

    while (place < s->revisions.count && (s->revisions.at[place].source_id < r->source_id ||
                                          (s->revisions.at[place].source_id == r->source_id &&
                                           s->revisions.at[place].revision < r->revision)))
        place++;
    struct revision_row *old = place < s->revisions.count ? &s->revisions.at[place] : NULL;
    if (old && old->source_id == r->source_id && old->revision == r->revision) {
        store_set_text(&old->item, r->item, strlen(r->item));
        return;
    }
    *rows_insert(&s->revisions, place) =
        (struct revision_row){r->source_id, r->revision, strdup(r->item)};
}

static void
free_texts(struct source_rec *r)
{
    free(r->name);
    free(r->filter);
    free(r->devices);
    free(r->item);
    free(r->trigger);
    free(r->because);
}

/* As new or newer stays. */
static void
put_source(struct store *s, struct source_rec *fresh)
{
    struct source_rec *r = store_source(s, fresh->source_id);

    if (r && r->content_version >= fresh->content_version) {
        free_texts(fresh);
        return;
    }
    if (r) {
        fresh->kind = r->kind;
        fresh->progress = r->progress;
        if (r->started_version != 0)
            fresh->started_version = r->started_version;
        free_texts(r);
    } else {
        unsigned place = 0;

        while (place < s->sources.count && s->sources.at[place].source_id < fresh->source_id)
            place++;
        r = rows_insert(&s->sources, place);
    }
    *r = *fresh;
    if (r->kind == 4)
        return;
    put_revision(s, r);
    r->progress.there = true;
}

void
model_put_sources(struct call *c)
{
    struct array ids = value_array(c->in, 1);
    struct texts names = value_texts(c->in, 7), devices = value_texts(c->in, 8),
                 items = value_texts(c->in, 9), triggers = value_texts(c->in, 14),
                 becauses = value_texts(c->in, 15);
#define NUMBER(column) array_int(value_array(c->in, column), i)
#define TIME(column)   array_time(value_array(c->in, column), i)

    for (unsigned i = 0; i < ids.count && mine(c); i++) {
        struct source_rec r = {.source_id = (int32_t) array_int(ids, i),
                               .state = (int16_t) NUMBER(2),
                               .priority = (int16_t) NUMBER(3),
                               .content_version = NUMBER(4),
                               .started_at = TIME(5),
                               .not_after = TIME(6),
                               .kind = (int16_t) NUMBER(10),
                               .revision = (int16_t) NUMBER(11),
                               .all_revision = (int16_t) NUMBER(12),
                               .paused_until = TIME(13),
                               .name = take_text(texts_next(&names)),
                               .devices = take_text(texts_next(&devices)),
                               .item = take_text(texts_next(&items)),
                               .trigger = take_text(texts_next(&triggers)),
                               .because = take_text(texts_next(&becauses))};

        if (r.started_at != INT64_MAX && r.started_at != INT64_MIN)
            r.started_version = r.content_version;
        r.filter = filter_of(r.item);
        put_source(c->s, &r);
    }
#undef NUMBER
#undef TIME
}

static int64_t
started_up_to(const struct store *s, int64_t version)
{
    int64_t most = 0;

    for (unsigned i = 0; i < s->sources.count; i++)
        if (s->sources.at[i].started_version <= version)
            most = MAX_OF(most, s->sources.at[i].started_version);
    return most;
}

static void
audience_of(struct call *c, struct device_rec *d, struct source_rec *s)
{
    bool sequence = s->kind == 2;
    unsigned place = 0;

    if (s->state == 2 || !multirange_has(s->devices, d->device_id) ||
        (sequence ? *s->trigger == '\0' : d->next_lead_no == 0) || audience_find(d, s->source_id))
        return;
    while (place < d->audience.count && d->audience.at[place].source_id < s->source_id)
        place++;
    *rows_insert(&d->audience, place) =
        (struct audience_row){.source_id = s->source_id,
                              .priority = s->priority,
                              .upto = sequence ? OPEN_END_ : d->next_lead_no};
    s->progress.audience += sequence ? 0 : d->next_lead_no;
}

void
model_audience(struct call *c)
{
    int64_t version = value_int(c->in, 1), limit = value_int(c->in, 3);
    int64_t started = started_up_to(c->s, version);

    for (unsigned i = device_place(c->s, (int32_t) value_int(c->in, 2) + 1);
         i < c->s->devices.count && limit > 0 && mine(c); i++) {
        struct device_rec *d = &c->s->devices.at[i];

        if (d->residence != 0 || d->content_version >= started)
            continue;
        limit--;
        for (unsigned k = 0; k < c->s->sources.count; k++) {
            struct source_rec *s = &c->s->sources.at[k];

            if (s->started_version > d->content_version && s->started_version <= version)
                audience_of(c, d, s);
        }
        d->content_version = version;
        reply_row(c->out);
        reply_int(c->out, d->device_id);
    }
}

void
model_applied(struct call *c)
{
    int64_t version = value_int(c->in, 1), started = started_up_to(c->s, version);

    if (!mine(c))
        return;
    for (unsigned i = 0; i < c->s->devices.count; i++)
        if (c->s->devices.at[i].residence == 0 && c->s->devices.at[i].content_version < started)
            return;
    c->s->content_applied = MAX_OF(c->s->content_applied, version);
    reply_row(c->out);
    reply_int(c->out, c->s->content_applied);
}

void
model_pause_source(struct call *c)
{
    static const char why[] = "the provider refuses its template or parameters";
    struct source_rec *s = store_source(c->s, (int32_t) value_int(c->in, 1));

    if (!s || !source_is_open(s, c->now) || !mine(c))
        return;
    s->state = 1;
    s->paused_until = INT64_MAX;
    store_set_text(&s->because, why, strlen(why));
}
