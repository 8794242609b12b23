/* audit_content.c - content from YAML for the audit; shares nothing with the product's reader. */
#include "audit_content.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

static const char *
scalar(yaml_document_t *d, int id)
{
    yaml_node_t *n = yaml_document_get_node(d, id);
    return n && n->type == YAML_SCALAR_NODE ? (const char *) n->data.scalar.value : "";
}

static yaml_node_t *
member(yaml_document_t *d, yaml_node_t *map, const char *name)
{
    if (!map || map->type != YAML_MAPPING_NODE)
        return NULL;
    for (yaml_node_pair_t *p = map->data.mapping.pairs.start; p < map->data.mapping.pairs.top; p++)
        if (strcmp(scalar(d, p->key), name) == 0)
            return yaml_document_get_node(d, p->value);
    return NULL;
}

static const char *
member_text(yaml_document_t *d, yaml_node_t *map, const char *name)
{
    yaml_node_t *n = member(d, map, name);
    return n && n->type == YAML_SCALAR_NODE ? (const char *) n->data.scalar.value : NULL;
}

static char *
copy(const char *text)
{
    return text ? strdup(text) : NULL;
}

static char *
approved_template(yaml_document_t *d, yaml_node_t *t)
{
    char *out = NULL;
    size_t size;
    FILE *f = open_memstream(&out, &size);
    fprintf(f, "template:%s:%s", member_text(d, t, "template") ?: "",
            member_text(d, t, "language") ?: "");
    yaml_node_t *body = member(d, t, "body");
    if (body && body->type == YAML_SEQUENCE_NODE)
        for (yaml_node_item_t *i = body->data.sequence.items.start;
             i < body->data.sequence.items.top; i++)
            fprintf(f, "\x1f%s", scalar(d, *i));
    fclose(f);
    return out;
}

/* The texts of a step or campaign: its own, or its template's one or many. */
static void
read_texts(yaml_document_t *d, yaml_node_t *owner, struct audit_step *ret)
{
    const char *own = member_text(d, owner, "text"), *name = member_text(d, owner, "template");
    yaml_node_t *t = member(d, member(d, yaml_document_get_root_node(d), "templates"), name ?: ""),
                *variants = member(d, t, "variants");
    if (own || member_text(d, t, "text")) {
        ret->texts[ret->text_count++] = strdup(own ?: member_text(d, t, "text"));
    } else if (variants && variants->type == YAML_SEQUENCE_NODE) {
        for (yaml_node_item_t *i = variants->data.sequence.items.start;
             i < variants->data.sequence.items.top && ret->text_count < AUDIT_VARIANTS_MAX; i++)
            ret->texts[ret->text_count++] = strdup(scalar(d, *i));
    } else {
        ret->texts[ret->text_count++] = approved_template(d, t);
    }
}

static usec_t
read_span(const char *text)
{
    char *end;
    usec_t n = text ? strtoull(text, &end, 10) * USEC_PER_SEC : 0;
    if (!text)
        return 0;
    return n * (*end == 'm' ? 60 : *end == 'h' ? 3600 : *end == 'd' ? 86400 : 1);
}

static void
read_audience(yaml_document_t *d, yaml_node_t *a, struct audit_source *s)
{
    yaml_node_t *devices = member(d, a, "devices"), *where = member(d, a, "where");
    if (devices && devices->type == YAML_SEQUENCE_NODE) {
        size_t size;
        FILE *f = open_memstream(&s->devices, &size);
        for (yaml_node_item_t *i = devices->data.sequence.items.start;
             i < devices->data.sequence.items.top; i++)
            fprintf(f, "%s,", scalar(d, *i));
        fclose(f);
    }
    if (where && where->type == YAML_MAPPING_NODE)
        for (yaml_node_pair_t *p = where->data.mapping.pairs.start;
             p < where->data.mapping.pairs.top && s->where_count < AUDIT_WHERE_MAX; p++) {
            s->columns[s->where_count] = strdup(scalar(d, p->key));
            s->values[s->where_count++] = strdup(scalar(d, p->value));
        }
}

static void
read_sequence(yaml_document_t *d, yaml_node_t *body, struct audit_source *s)
{
    const char *on_skip = member_text(d, body, "on_skip"),
               *on_fail = member_text(d, body, "on_fail");
    s->is_sequence = true;
    s->trigger = copy(member_text(d, body, "trigger"));
    s->next = copy(member_text(d, body, "next_sequence"));
    s->stops_on_skip = on_skip && strcmp(on_skip, "stop") == 0;
    s->goes_on_after_failure = on_fail && strcmp(on_fail, "continue") == 0;
    yaml_node_t *steps = member(d, body, "steps");
    if (!steps || steps->type != YAML_SEQUENCE_NODE)
        return;
    for (yaml_node_item_t *i = steps->data.sequence.items.start;
         i < steps->data.sequence.items.top && s->step_count < AUDIT_STEPS_MAX; i++) {
        yaml_node_t *node = yaml_document_get_node(d, *i);
        struct audit_step *step = &s->steps[s->step_count++];
        step->step = atol(member_text(d, node, "step") ?: "0");
        step->delay = read_span(member_text(d, node, "delay"));
        read_texts(d, node, step);
    }
}

static void
read_sources(yaml_document_t *d, const char *group, bool sequences, struct audit_content *ret)
{
    yaml_node_t *map = member(d, yaml_document_get_root_node(d), group);
    if (!map || map->type != YAML_MAPPING_NODE)
        return;
    for (yaml_node_pair_t *p = map->data.mapping.pairs.start;
         p < map->data.mapping.pairs.top && ret->count < AUDIT_SOURCES_MAX; p++) {
        struct audit_source *s = &ret->sources[ret->count++];
        yaml_node_t *body = yaml_document_get_node(d, p->value);
        s->name = strdup(scalar(d, p->key));
        read_audience(d, member(d, body, "audience"), s);
        if (sequences) {
            read_sequence(d, body, s);
        } else {
            s->step_count = 1;
            read_texts(d, body, &s->steps[0]);
        }
    }
}

int
audit_content_read(const char *path, struct audit_content *ret, FILE *errors)
{
    memset(ret, 0, sizeof(*ret));
    FILE *f = fopen(path, "re");
    if (!f) {
        fprintf(errors, "audit: %s: %s\n", path, strerror(errno));
        return -errno;
    }
    yaml_parser_t parser;
    yaml_document_t document;
    yaml_parser_initialize(&parser);
    yaml_parser_set_input_file(&parser, f);
    int rc = yaml_parser_load(&parser, &document) ? 0 : -EINVAL;
    if (rc == 0) {
        ret->sources = calloc(AUDIT_SOURCES_MAX, sizeof(*ret->sources));
        read_sources(&document, "campaigns", false, ret);
        read_sources(&document, "sequences", true, ret);
        yaml_document_delete(&document);
    } else
        fprintf(errors, "audit: %s: not readable as YAML\n", path);
    yaml_parser_delete(&parser);
    fclose(f);
    return rc;
}

void
audit_content_done(struct audit_content *c)
{
    for (unsigned i = 0; i < c->count; i++) {
        struct audit_source *s = &c->sources[i];
        free(s->name);
        free(s->trigger);
        free(s->next);
        free(s->devices);
        for (unsigned k = 0; k < s->where_count; k++) {
            free(s->columns[k]);
            free(s->values[k]);
        }
        for (unsigned k = 0; k < s->step_count; k++)
            for (unsigned n = 0; n < s->steps[k].text_count; n++)
                free(s->steps[k].texts[n]);
    }
    free(c->sources);
}

const struct audit_source *
audit_content_find(const struct audit_content *c, const char *name)
{
    for (unsigned i = 0; i < c->count; i++)
        if (strcmp(c->sources[i].name, name) == 0)
            return &c->sources[i];
    return NULL;
}

bool
audit_source_has(const struct audit_source *s, long device_id)
{
    if (!s->devices)
        return true;
    for (const char *p = s->devices; *p; p = strchr(p, ',') + 1) {
        long first, last;
        int n = sscanf(p, "%ld-%ld", &first, &last);
        if ((n == 1 && device_id == first) || (n == 2 && device_id >= first && device_id <= last))
            return true;
    }
    return false;
}
