/* Hashes of sources, templates, opt-outs and breakers. */
#include "node/book.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* Out of memory is an answer, not the end of the process. */
#define HASH_NONFATAL_OOM         1
#define uthash_nonfatal_oom(item) ((item)->lost = true)
#include <uthash.h>

struct template_item {
    struct template_entry entry;
    bool lost;
    UT_hash_handle hh;
};
struct source_item {
    struct source source;
    bool lost;
    UT_hash_handle hh;
};
struct breaker_item {
    struct breaker breaker;
    uint32_t number; /* of an account: half of an opt-out's key */
    char *name;
    bool lost;
    UT_hash_handle hh;
};
struct optout_key {
    uint64_t phone, account;
};
struct optout_item {
    struct optout_key key;
    bool lost;
    UT_hash_handle hh;
};

struct book {
    struct template_item *templates;
    struct source_item *sources;
    struct breaker_item *breakers[BREAKER_KIND_COUNT];
    struct optout_item *optouts;
};

struct book *
book_new(void)
{
    return calloc(1, sizeof(struct book));
}

/* ---- templates ---- */

static void
template_clear(struct template_entry *t)
{
    struct content_item item = {.kind = CONTENT_TEMPLATE, .template_ = t->content};

    if (!t->known)
        return;
    content_item_free(&item);
    t->text = compose_free(t->text);
    for (size_t i = 0; i < ARRAY_SIZE(t->parameters); i++)
        t->parameters[i] = compose_free(t->parameters[i]);
    t->known = false;
}

static struct template_entry *
template_entry(struct book *b, const char *name)
{
    struct template_item *item;

    HASH_FIND_STR(b->templates, name, item);
    if (item)
        return &item->entry;
    item = calloc(1, sizeof(*item));
    if (item)
        item->entry.name = strdup(name);
    if (!item || !item->entry.name) {
        free(item);
        return NULL;
    }
    HASH_ADD_KEYPTR(hh, b->templates, item->entry.name, strlen(item->entry.name), item);
    if (item->lost) {
        free(item->entry.name);
        free(item);
        return NULL;
    }
    return &item->entry;
}

static int
template_compile(struct template_entry *t, char *why, size_t why_size)
{
    const struct content_template *c = &t->content;

    if (c->is_text) {
        t->text = compose_new((struct slice){c->text, strlen(c->text)}, why, why_size);
        return t->text ? 0 : -EINVAL;
    }
    for (unsigned i = 0; i < c->parameter_count; i++) {
        struct slice text = {c->parameters[i], strlen(c->parameters[i])};

        t->parameters[i] = compose_new(text, why, why_size);
        if (!t->parameters[i])
            return -EINVAL;
    }
    return 0;
}

int
book_put_template(struct book *b, struct content_template *content, char *why, size_t why_size)
{
    struct template_entry *t = template_entry(b, content->name);
    struct template_entry fresh = {.known = true, .content = *content};
    int r = -ENOMEM;

    memset(content, 0, sizeof(*content)); /* ours now */
    if (t)
        r = template_compile(&fresh, why, why_size);
    if (r < 0) {
        template_clear(&fresh);
        return r;
    }
    fresh.name = t->name;
    template_clear(t);
    *t = fresh;
    return 0;
}

/* ---- sources ---- */

struct source *
book_source(const struct book *b, int32_t source_id)
{
    struct source_item *item;

    HASH_FIND(hh, b->sources, &source_id, sizeof(source_id), item);
    return item ? &item->source : NULL;
}

int
book_put_source(struct book *b, int32_t source_id, enum device_class class, enum source_state state,
                const char *template_name, bool *ret_changed)
{
    const struct template_entry *t = template_entry(b, template_name);
    struct source *s = book_source(b, source_id);

    if (!t)
        return -ENOMEM;
    *ret_changed = !s || s->state != state;
    if (!s) {
        struct source_item *item = calloc(1, sizeof(*item));

        if (!item)
            return -ENOMEM;
        s = &item->source;
        s->source_id = source_id;
        HASH_ADD(hh, b->sources, source.source_id, sizeof(source_id), item);
        if (item->lost) {
            free(item);
            return -ENOMEM;
        }
    }
    s->class = class;
    s->template_ = t;
    s->state = state;
    if (*ret_changed && state == SOURCE_CANCELLED) {
        s->sweep = true;
        s->sweep_after = 0;
    }
    return 0;
}

struct source *
book_to_sweep(const struct book *b)
{
    for (struct source_item *i = b->sources; i; i = i->hh.next)
        if (i->source.sweep)
            return &i->source;
    return NULL;
}

unsigned
book_active(const struct book *b, enum device_class class, int32_t *ret, unsigned max)
{
    unsigned n = 0;

    for (struct source_item *i = b->sources; i; i = i->hh.next) {
        if (i->source.state != SOURCE_ACTIVE || i->source.class != class)
            continue;
        if (n < max)
            ret[n] = i->source.source_id;
        n++;
    }
    return n;
}

/* ---- breakers ---- */

struct breaker *
book_breaker(struct book *b, enum breaker_kind kind, const char *name)
{
    struct breaker_item *item;

    HASH_FIND_STR(b->breakers[kind], name, item);
    if (item)
        return &item->breaker;
    item = calloc(1, sizeof(*item));
    if (item)
        item->name = strdup(name);
    if (!item || !item->name) {
        free(item);
        return NULL;
    }
    breaker_init(&item->breaker);
    item->number = HASH_COUNT(b->breakers[kind]);
    HASH_ADD_KEYPTR(hh, b->breakers[kind], item->name, strlen(item->name), item);
    if (item->lost) {
        free(item->name);
        free(item);
        return NULL;
    }
    return &item->breaker;
}

unsigned
book_breakers_open(const struct book *b, enum breaker_kind kind)
{
    unsigned n = 0;

    for (struct breaker_item *i = b->breakers[kind]; i; i = i->hh.next)
        n += i->breaker.state != BREAKER_CLOSED;
    return n;
}

/* ---- opt-outs ---- */

static struct optout_key
optout_key(const struct breaker *account, uint64_t phone)
{
    const struct breaker_item *item =
        container_of((struct breaker *) account, struct breaker_item, breaker);

    return (struct optout_key){.phone = phone, .account = item->number};
}

int
book_put_optout(struct book *b, const char *account, uint64_t phone)
{
    const struct breaker *a = book_breaker(b, BREAKER_ACCOUNT, account);

    if (!a)
        return -ENOMEM;
    if (book_opted_out(b, a, phone))
        return 0;
    struct optout_item *item = calloc(1, sizeof(*item));

    if (!item)
        return -ENOMEM;
    item->key = optout_key(a, phone);
    HASH_ADD(hh, b->optouts, key, sizeof(item->key), item);
    if (item->lost) {
        free(item);
        return -ENOMEM;
    }
    return 0;
}

bool
book_opted_out(const struct book *b, const struct breaker *account, uint64_t phone)
{
    const struct optout_key key = optout_key(account, phone);
    struct optout_item *item;

    HASH_FIND(hh, b->optouts, &key, sizeof(key), item);
    return item != NULL;
}

struct book *
book_free(struct book *b)
{
    if (!b)
        return NULL;
    for (struct template_item *i = b->templates, *next; i; i = next) {
        next = i->hh.next;
        HASH_DEL(b->templates, i);
        template_clear(&i->entry);
        free(i->entry.name);
        free(i);
    }
    for (struct source_item *i = b->sources, *next; i; i = next) {
        next = i->hh.next;
        HASH_DEL(b->sources, i);
        free(i);
    }
    for (unsigned k = 0; k < BREAKER_KIND_COUNT; k++)
        for (struct breaker_item *i = b->breakers[k], *next; i; i = next) {
            next = i->hh.next;
            HASH_DEL(b->breakers[k], i);
            free(i->name);
            free(i);
        }
    for (struct optout_item *i = b->optouts, *next; i; i = next) {
        next = i->hh.next;
        HASH_DEL(b->optouts, i);
        free(i);
    }
    free(b);
    return NULL;
}
