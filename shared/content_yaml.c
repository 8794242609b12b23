/* A content file: libyaml's events -> a jansson tree with line marks -> items. */
#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

#include "shared/content.h"
#include "shared/content_judge.h"
#include "shared/parse.h"

#define DEPTH_MAX 8u /* a where is the fifth level, as is a step */

struct frame {
    json_t *container; /* borrowed: its parent, or the root, holds it */
    char *key;         /* of the value that comes next, in a map */
    unsigned key_line;
};

struct builder {
    struct content_judge *judge;
    json_t *root;
    struct frame frames[DEPTH_MAX];
    unsigned depth;
    struct content_mark *marks;
    size_t mark_count, mark_room;
};

static void
mark(struct builder *b, const json_t *value, unsigned line)
{
    if (b->mark_count == b->mark_room) {
        size_t room = b->mark_room ? 2 * b->mark_room : 64;
        struct content_mark *marks = reallocarray(b->marks, room, sizeof(*marks));
        if (!marks) {
            b->judge->out_of_memory = true;
            return;
        }
        b->marks = marks;
        b->mark_room = room;
    }
    b->marks[b->mark_count++] = (struct content_mark){value, line};
}

/* Gives `value` to where it belongs; NULL: it was not kept. */
static json_t *
add(struct builder *b, json_t *value, unsigned line)
{
    struct frame *top = b->depth ? &b->frames[b->depth - 1] : NULL;
    if (!value) {
        b->judge->out_of_memory = true;
        return NULL;
    }
    int rc = 0;
    if (!top) {
        b->root = value;
    } else if (json_is_array(top->container)) {
        rc = json_array_append_new(top->container, value);
    } else {
        line = top->key_line;
        rc = json_object_set_new(top->container, top->key, value);
        free(top->key);
        top->key = NULL;
    }
    if (rc < 0) {
        b->judge->out_of_memory = true;
        return NULL;
    }
    mark(b, value, line);
    return value;
}

static bool
expects_key(const struct builder *b)
{
    const struct frame *top = b->depth ? &b->frames[b->depth - 1] : NULL;
    return top && json_is_object(top->container) && !top->key;
}

static void
take_key(struct builder *b, const char *text, size_t bytes, unsigned line)
{
    struct frame *top = &b->frames[b->depth - 1];
    const json_t *twin;
    top->key = strndup(text, bytes);
    top->key_line = line;
    if (!top->key) {
        b->judge->out_of_memory = true;
    } else if (strlen(top->key) != bytes) {
        content_fault(b->judge, line, "a name holds a zero byte");
    } else if ((twin = json_object_get(top->container, top->key))) {
        unsigned first = 0;
        for (size_t i = 0; i < b->mark_count; i++) {
            if (b->marks[i].value == twin)
                first = b->marks[i].line;
        }
        content_fault(b->judge, line, "%.80s: stands here twice, first in line %u", top->key,
                      first);
    }
}

static void
open_container(struct builder *b, json_t *container, unsigned line)
{
    if (expects_key(b) || b->depth == DEPTH_MAX) {
        content_fault(b->judge, line, "%s",
                      b->depth == DEPTH_MAX
                          ? "nested too deeply"
                          : "a name must be plain text (a text that begins with {{ needs quotes)");
        json_decref(container);
        return;
    }
    if (add(b, container, line))
        b->frames[b->depth++] = (struct frame){.container = container};
}

/* Anchors, aliases and tags let one place change another: nothing of that is needed here. */
static const char *
forbidden(const yaml_event_t *e)
{
    const yaml_char_t *anchor = NULL, *tag = NULL;
    if (e->type == YAML_SCALAR_EVENT) {
        anchor = e->data.scalar.anchor;
        tag = e->data.scalar.tag;
    } else if (e->type == YAML_SEQUENCE_START_EVENT) {
        anchor = e->data.sequence_start.anchor;
        tag = e->data.sequence_start.tag;
    } else if (e->type == YAML_MAPPING_START_EVENT) {
        anchor = e->data.mapping_start.anchor;
        tag = e->data.mapping_start.tag;
    }
    if (anchor)
        return "anchors (&name) are not allowed";
    if (tag)
        return "tags (!name) are not allowed";
    return e->type == YAML_ALIAS_EVENT ? "aliases (*name) are not allowed" : NULL;
}

static void
take_event(struct builder *b, const yaml_event_t *e)
{
    unsigned line = (unsigned) e->start_mark.line + 1;
    const char *wrong = forbidden(e);
    if (wrong) {
        content_fault(b->judge, line, "%s", wrong);
        return;
    }
    const char *text = (const char *) e->data.scalar.value;
    switch (e->type) {
    case YAML_DOCUMENT_START_EVENT:
        if (b->root)
            content_fault(b->judge, line, "a second document (---) is not allowed");
        break;
    case YAML_MAPPING_START_EVENT: open_container(b, json_object(), line); break;
    case YAML_SEQUENCE_START_EVENT: open_container(b, json_array(), line); break;
    case YAML_MAPPING_END_EVENT:
    case YAML_SEQUENCE_END_EVENT: b->depth--; break;
    case YAML_SCALAR_EVENT:
        if (expects_key(b))
            take_key(b, text, e->data.scalar.length, line);
        else
            add(b, json_stringn(text, e->data.scalar.length), line);
        break;
    default: break;
    }
}

/* Builds the tree; stops at the first fault, because what follows would be misread. */
static void
build(struct builder *b, yaml_parser_t *parser)
{
    for (bool end = false; !end;) {
        yaml_event_t event;
        if (!yaml_parser_parse(parser, &event)) {
            if (parser->error == YAML_MEMORY_ERROR)
                b->judge->out_of_memory = true;
            else
                content_fault(b->judge, (unsigned) parser->problem_mark.line + 1, "%s%s%s",
                              parser->problem, parser->context ? " " : "",
                              parser->context ? parser->context : "");
            return;
        }
        end = event.type == YAML_STREAM_END_EVENT;
        take_event(b, &event);
        yaml_event_delete(&event);
        if (b->judge->fault_count || b->judge->out_of_memory)
            return;
    }
}

static void
judge_group(struct content_judge *j, struct content *c, const char *group, enum content_kind kind,
            const json_t *entries)
{
    const char *name;
    json_t *fields;
    if (!json_is_object(entries) || json_object_size(entries) == 0) {
        content_fault(j, content_line(j, entries), "%s: is not a map of names", group);
        return;
    }
    json_object_foreach((json_t *) entries, name, fields)
    {
        if (c->count == CONTENT_ITEMS_MAX) {
            content_fault(j, content_line(j, fields), "%s: more than %u items in one file", group,
                          CONTENT_ITEMS_MAX);
            return;
        }
        unsigned faults = j->fault_count;
        content_judge_item(j, kind, name, fields, &c->items[c->count]);
        c->count += j->fault_count == faults && !j->out_of_memory;
    }
}

/* Texts may name these only. */
static void
judge_variables(struct content_judge *j, const json_t *list)
{
    const json_t *value;
    size_t i;
    if (!json_is_array(list) || json_array_size(list) > CONTENT_VARIABLES_MAX) {
        content_fault(j, content_line(j, list), "variables: is not a list of at most %u names",
                      CONTENT_VARIABLES_MAX);
        return;
    }
    json_array_foreach((json_t *) list, i, value)
    {
        const char *name = json_string_value(value);
        if (!name || !*name || strlen(name) > CONTENT_NAME_MAX)
            content_fault(j, content_line(j, value), "variables = \"%.80s\": not a column's name",
                          name ? name : "...");
    }
    j->variables = list;
}

static const struct content_sequence *
find_sequence(const struct content *c, const char *name)
{
    for (unsigned i = 0; i < c->count; i++)
        if (c->items[i].kind == CONTENT_SEQUENCE && strcmp(c->items[i].sequence.name, name) == 0)
            return &c->items[i].sequence;
    return NULL;
}

static const char *
next_in_file(void *arg, const char *name)
{
    const struct content_sequence *s = find_sequence(arg, name);
    return s ? s->next_sequence : NULL;
}

/* What only the sequences of a file together can have wrong; the coordinator asks the same of all
 * that it keeps. */
static void
judge_chains(struct content_judge *j, struct content *c)
{
    char path[512];
    for (unsigned i = 0; i < c->count; i++) {
        const struct content_sequence *s = &c->items[i].sequence;
        if (c->items[i].kind != CONTENT_SEQUENCE)
            continue;
        if (content_has_cycle(s->name, next_in_file, c, path, sizeof(path)))
            content_fault(j, c->items[i].line,
                          "sequences.%s.next_sequence = \"%s\": goes in a circle: %s", s->name,
                          s->next_sequence, path);
        for (unsigned k = 0; *s->trigger && k < i; k++)
            if (c->items[k].kind == CONTENT_SEQUENCE &&
                strcmp(c->items[k].sequence.trigger, s->trigger) == 0)
                content_fault(j, c->items[i].line,
                              "sequences.%s.trigger = \"%s\": is the trigger of sequence %s too",
                              s->name, s->trigger, c->items[k].sequence.name);
    }
}

static void
judge_file(struct content_judge *j, struct content *c, const json_t *root)
{
    const char *key;
    json_t *value;
    if (!json_is_object(root) || json_object_size(root) == 0) {
        content_fault(j, 1, "holds neither templates nor campaigns nor sequences");
        return;
    }
    c->items = calloc(CONTENT_ITEMS_MAX, sizeof(*c->items));
    if (!c->items) {
        j->out_of_memory = true;
        return;
    }
    value = json_object_get(root, "variables");
    if (value)
        judge_variables(j, value);
    c->has_variables = value != NULL;
    json_object_foreach((json_t *) root, key, value)
    {
        if (strcmp(key, "variables") == 0)
            continue;
        if (strcmp(key, "templates") == 0)
            judge_group(j, c, key, CONTENT_TEMPLATE, value);
        else if (strcmp(key, "campaigns") == 0)
            judge_group(j, c, key, CONTENT_CAMPAIGN, value);
        else if (strcmp(key, "sequences") == 0)
            judge_group(j, c, key, CONTENT_SEQUENCE, value);
        else
            content_fault(j, content_line(j, value), "%.80s: unknown field", key);
    }
    judge_chains(j, c);
}

int
content_parse_yaml(struct content *ret, const char *file_name, struct slice yaml, FILE *errors)
{
    struct content_judge judge = {.errors = errors, .file = file_name};
    struct builder b = {.judge = &judge};
    struct content c = {0};
    yaml_parser_t parser;
    if (!parse_utf8_valid(yaml)) {
        content_fault(&judge, 1, "is not UTF-8 text");
        return -EINVAL;
    }
    if (!yaml_parser_initialize(&parser))
        return -ENOMEM;
    yaml_parser_set_encoding(&parser, YAML_UTF8_ENCODING);
    const char *input = yaml.bytes ? yaml.data : "";
    yaml_parser_set_input_string(&parser, (const unsigned char *) input, yaml.bytes);
    build(&b, &parser);
    yaml_parser_delete(&parser);
    judge.marks = b.marks;
    judge.mark_count = b.mark_count;
    if (judge.fault_count == 0 && !judge.out_of_memory)
        judge_file(&judge, &c, b.root);
    for (unsigned i = 0; i < DEPTH_MAX; i++)
        free(b.frames[i].key);
    free(b.marks);
    json_decref(b.root);
    int rc = judge.out_of_memory ? -ENOMEM : judge.fault_count ? -EINVAL : 0;
    if (rc < 0)
        content_free(&c);
    else
        *ret = c;
    return rc;
}
