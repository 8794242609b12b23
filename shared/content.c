/* The items themselves and their canonical JSON. */
#include "shared/content.h"

#include <assert.h>
#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "shared/content_judge.h"

const char *
content_item_name(const struct content_item *item)
{
    switch (item->kind) {
    case CONTENT_TEMPLATE: return item->template_.name;
    case CONTENT_CAMPAIGN: return item->campaign.name;
    case CONTENT_SEQUENCE: return item->sequence.name;
    case CONTENT_CLUSTER: return CONTENT_CLUSTER_NAME;
    }
    return "";
}

static void
free_audience(struct content_audience *a)
{
    for (unsigned i = 0; i < a->where_count; i++) {
        free(a->where[i].column);
        free(a->where[i].value);
    }
}

void
content_item_free(struct content_item *item)
{
    if (item->kind == CONTENT_TEMPLATE) {
        free(item->template_.text);
        for (unsigned i = 0; i < item->template_.variant_count; i++)
            free(item->template_.variants[i]);
        for (unsigned i = 0; i < item->template_.parameter_count; i++)
            free(item->template_.parameters[i]);
    } else if (item->kind == CONTENT_CAMPAIGN) {
        free_audience(&item->campaign.audience);
    } else if (item->kind == CONTENT_SEQUENCE) {
        free_audience(&item->sequence.audience);
        for (unsigned i = 0; i < item->sequence.step_count; i++)
            free(item->sequence.steps[i].text);
        free(item->sequence.steps);
    }
    memset(item, 0, sizeof(*item));
}

void
content_free(struct content *c)
{
    for (unsigned i = 0; i < c->count; i++)
        content_item_free(&c->items[i]);
    free(c->items);
    *c = (struct content){0};
}

/* ---- JSON out; jansson's setters take NULL (out of memory) and say so ---- */

static bool
set(json_t *object, const char *key, json_t *value)
{
    return json_object_set_new(object, key, value) == 0;
}

static bool
set_texts(json_t *object, const char *key, char *const *texts, unsigned count)
{
    json_t *list = json_array();
    bool ok = true;
    for (unsigned i = 0; ok && i < count; i++)
        ok = json_array_append_new(list, json_string(texts[i])) == 0;
    return set(object, key, list) && ok;
}

static bool
write_template(const struct content_template *t, json_t *object)
{
    if (t->is_text && t->variant_count > 0)
        return set_texts(object, "variants", t->variants, t->variant_count);
    if (t->is_text)
        return set(object, "text", json_string(t->text));
    bool ok = set(object, "template", json_string(t->template_name)) &&
              set(object, "language", json_string(t->language));
    return ok && (t->parameter_count == 0 ||
                  set_texts(object, "body", t->parameters, t->parameter_count));
}

static bool
write_audience(const struct content_audience *c, json_t *object)
{
    if (c->range_count == 0 && c->where_count == 0)
        return true;
    json_t *audience = json_object(), *devices = json_array(), *where = json_object();
    bool ok = true;
    for (unsigned i = 0; ok && i < c->range_count; i++) {
        const struct content_range *r = &c->ranges[i];
        json_t *text = r->first == r->last ? json_sprintf("%d", r->first)
                                           : json_sprintf("%d-%d", r->first, r->last);
        ok = json_array_append_new(devices, text) == 0;
    }
    for (unsigned i = 0; ok && i < c->where_count; i++)
        ok = set(where, c->where[i].column, json_string(c->where[i].value));
    if (ok && c->range_count)
        ok = set(audience, "devices", json_incref(devices));
    if (ok && c->where_count)
        ok = set(audience, "where", json_incref(where));
    json_decref(devices);
    json_decref(where);
    return set(object, "audience", audience) && ok;
}

static bool
set_window(json_t *object, struct content_window w)
{
    char text[16];
    if (w.from == w.to)
        return true;
    content_write_window(text, sizeof(text), w);
    return set(object, "window", json_string(text));
}

static bool
set_delay(json_t *object, const char *key, usec_t delay)
{
    char text[24];
    content_write_delay(text, sizeof(text), delay);
    return set(object, key, json_string(text));
}

static bool
write_step(const struct content_step *step, json_t *object)
{
    return set(object, "step", json_integer(step->step)) &&
           set_delay(object, "delay", step->delay) &&
           (step->ttl == 0 || set_delay(object, "ttl", step->ttl)) &&
           set_window(object, step->window) &&
           (step->text ? set(object, "text", json_string(step->text))
                       : set(object, "template", json_string(step->template_name)));
}

static bool
set_on(json_t *object, const char *key, enum content_on on, const char *goes_on)
{
    return set(object, key, json_string(on == CONTENT_STOP ? "stop" : goes_on));
}

static bool
write_sequence(const struct content_sequence *s, json_t *object)
{
    json_t *steps = json_array();
    bool ok = true;
    for (unsigned i = 0; ok && i < s->step_count; i++) {
        json_t *step = json_object();
        ok = write_step(&s->steps[i], step);
        ok = json_array_append_new(steps, step) == 0 && ok;
    }
    return set(object, "steps", steps) && ok &&
           set(object, "priority", json_integer(s->priority)) &&
           set_on(object, "on_skip", s->on_skip, "continue") &&
           set_on(object, "on_fail", s->on_fail, "continue") &&
           set_on(object, "on_unknown", s->on_unknown, "skip") &&
           (!*s->trigger || set(object, "trigger", json_string(s->trigger))) &&
           (!*s->next_sequence || set(object, "next_sequence", json_string(s->next_sequence))) &&
           write_audience(&s->audience, object);
}

static bool
write_campaign(const struct content_campaign *c, json_t *object)
{
    bool ok = set(object, "template", json_string(c->template_name)) &&
              set(object, "priority", json_integer(c->priority)) &&
              set(object, "reliability",
                  json_string(c->at_least_once ? "at_least_once" : "at_most_once")) &&
              write_audience(&c->audience, object) && set_window(object, c->window);
    if (!ok || c->not_after == INT64_MAX)
        return ok;
    time_t seconds = (time_t) (c->not_after / (int64_t) USEC_PER_SEC);
    struct tm tm;
    char text[32];
    if (!gmtime_r(&seconds, &tm) || !strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &tm))
        return false;
    return set(object, "not_after", json_string(text));
}

static const char *const kind_names[] = {[CONTENT_TEMPLATE] = "template",
                                         [CONTENT_CAMPAIGN] = "campaign",
                                         [CONTENT_SEQUENCE] = "sequence",
                                         [CONTENT_CLUSTER] = "cluster"};

const char *
content_kind_name(enum content_kind kind)
{
    return kind_names[kind];
}

static bool
write_fields(const struct content_item *item, json_t *object)
{
    switch (item->kind) {
    case CONTENT_TEMPLATE: return write_template(&item->template_, object);
    case CONTENT_CAMPAIGN: return write_campaign(&item->campaign, object);
    case CONTENT_SEQUENCE: return write_sequence(&item->sequence, object);
    case CONTENT_CLUSTER: return true;
    }
    return false;
}

char *
content_item_write(const struct content_item *item)
{
    assert(item->kind >= CONTENT_TEMPLATE && item->kind <= CONTENT_CLUSTER);
    json_t *object = json_object();
    char *text = NULL;
    if (set(object, "kind", json_string(kind_names[item->kind])) &&
        set(object, "name", json_string(content_item_name(item))) && write_fields(item, object))
        text = json_dumps(object, JSON_SORT_KEYS | JSON_COMPACT);
    json_decref(object);
    return text;
}

/* ---- JSON in ---- */

static int
read_kind(const char *text)
{
    for (int kind = CONTENT_TEMPLATE; text && kind <= CONTENT_CLUSTER; kind++)
        if (strcmp(text, kind_names[kind]) == 0)
            return kind;
    return 0;
}

int
content_item_read(struct content_item *ret, struct slice json, char *why, size_t why_size)
{
    struct content_judge judge = {.why = why, .why_size = why_size};
    json_error_t error;
    if (json.bytes > CONTENT_ITEM_BYTES_MAX) {
        content_fault(&judge, 0, "item is larger than %u bytes", CONTENT_ITEM_BYTES_MAX);
        return -EINVAL;
    }
    json_t *object =
        json_loadb(json.data ? json.data : "", json.bytes, JSON_REJECT_DUPLICATES, &error);
    if (!object) {
        content_fault(&judge, 0, "%s", error.text);
        return json_error_code(&error) == json_error_out_of_memory ? -ENOMEM : -EINVAL;
    }
    int kind = read_kind(json_string_value(json_object_get(object, "kind")));
    json_t *name = json_incref(json_object_get(object, "name"));
    if (kind == 0 || !json_is_string(name)) {
        content_fault(&judge, 0, "an item needs kind (template, campaign or sequence) and name");
    } else {
        json_object_del(object, "kind");
        json_object_del(object, "name");
        content_judge_item(&judge, (enum content_kind) kind, json_string_value(name), object, ret);
    }
    json_decref(name);
    json_decref(object);
    return judge.out_of_memory ? -ENOMEM : judge.fault_count ? -EINVAL : 0;
}
