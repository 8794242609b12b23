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
    return item->kind == CONTENT_TEMPLATE ? item->template_.name : item->campaign.name;
}

void
content_item_free(struct content_item *item)
{
    if (item->kind == CONTENT_TEMPLATE) {
        free(item->template_.text);
        for (unsigned i = 0; i < item->template_.parameter_count; i++)
            free(item->template_.parameters[i]);
    } else if (item->kind == CONTENT_CAMPAIGN) {
        for (unsigned i = 0; i < item->campaign.where_count; i++) {
            free(item->campaign.where[i].column);
            free(item->campaign.where[i].value);
        }
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
write_template(const struct content_template *t, json_t *object)
{
    if (t->is_text)
        return set(object, "text", json_string(t->text));
    bool ok = set(object, "template", json_string(t->template_name)) &&
              set(object, "language", json_string(t->language));
    if (!ok || t->parameter_count == 0)
        return ok;
    json_t *body = json_array();
    for (unsigned i = 0; ok && i < t->parameter_count; i++)
        ok = json_array_append_new(body, json_string(t->parameters[i])) == 0;
    return set(object, "body", body) && ok;
}

static bool
write_audience(const struct content_campaign *c, json_t *object)
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
write_campaign(const struct content_campaign *c, json_t *object)
{
    bool ok = set(object, "template", json_string(c->template_name)) &&
              set(object, "priority", json_integer(c->priority)) &&
              set(object, "reliability",
                  json_string(c->at_least_once ? "at_least_once" : "at_most_once")) &&
              write_audience(c, object);
    if (!ok || c->not_after == INT64_MAX)
        return ok;
    time_t seconds = (time_t) (c->not_after / (int64_t) USEC_PER_SEC);
    struct tm tm;
    char text[32];
    if (!gmtime_r(&seconds, &tm) || !strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &tm))
        return false;
    return set(object, "not_after", json_string(text));
}

char *
content_item_write(const struct content_item *item)
{
    bool is_template = item->kind == CONTENT_TEMPLATE;
    assert(is_template || item->kind == CONTENT_CAMPAIGN);
    json_t *object = json_object();
    char *text = NULL;
    if (set(object, "kind", json_string(is_template ? "template" : "campaign")) &&
        set(object, "name", json_string(content_item_name(item))) &&
        (is_template ? write_template(&item->template_, object)
                     : write_campaign(&item->campaign, object)))
        text = json_dumps(object, JSON_SORT_KEYS | JSON_COMPACT);
    json_decref(object);
    return text;
}

/* ---- JSON in ---- */

static int
read_kind(const char *text)
{
    if (text && strcmp(text, "template") == 0)
        return CONTENT_TEMPLATE;
    return text && strcmp(text, "campaign") == 0 ? CONTENT_CAMPAIGN : 0;
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
        content_fault(&judge, 0, "an item needs kind (template or campaign) and name");
    } else {
        json_object_del(object, "kind");
        json_object_del(object, "name");
        content_judge_item(&judge, (enum content_kind) kind, json_string_value(name), object, ret);
    }
    json_decref(name);
    json_decref(object);
    return judge.out_of_memory ? -ENOMEM : judge.fault_count ? -EINVAL : 0;
}
