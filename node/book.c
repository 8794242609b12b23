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
    UT_hash_handle hh, by_name;
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

    struct source_item *by_name;
    const struct source *cluster;
    bool listed; /* the lists below are as the sources are */
    int32_t *active[CLASS_COUNT];
    unsigned active_count[CLASS_COUNT], active_room;
    bool passes;        /* a source may have rows to sweep or to move */
    int64_t next_until; /* of all pauses, the first to end; it may have been lifted before */
};

struct book *
book_new(void)
{
    struct book *b = calloc(1, sizeof(*b));

    if (b)
        b->next_until = INT64_MAX;
    return b;
}

/* ---- templates ---- */

static void
template_clear(struct template_entry *t)
{
    struct content_item item = {.kind = CONTENT_TEMPLATE, .template_ = t->content};

    content_item_free(&item);
    for (size_t i = 0; i < ARRAY_SIZE(t->texts); i++)
        t->texts[i] = compose_free(t->texts[i]);
    for (size_t i = 0; i < ARRAY_SIZE(t->parameters); i++)
        t->parameters[i] = compose_free(t->parameters[i]);
    *t = (struct template_entry){.name = t->name};
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

static bool
compile(struct compose **ret, const char *text, char *why, size_t why_size)
{
    *ret = compose_new((struct slice){text, strlen(text)}, why, why_size);
    return *ret != NULL;
}

static int
template_compile(struct template_entry *t, char *why, size_t why_size)
{
    const struct content_template *c = &t->content;
    bool ok = true;

    if (c->is_text) {
        t->text_count = MAX_OF(c->variant_count, 1u);
        for (unsigned i = 0; i < t->text_count && ok; i++)
            ok = compile(&t->texts[i], c->variant_count ? c->variants[i] : c->text, why, why_size);
    } else
        for (unsigned i = 0; i < c->parameter_count && ok; i++)
            ok = compile(&t->parameters[i], c->parameters[i], why, why_size);
    t->known = ok;
    return ok ? 0 : -EINVAL;
}

/* With a text missing its rows would fill lists, and hold up those of others. */
static bool
is_usable(const struct source *s)
{
    bool usable = s->class == CLASS_DIRECT || s->plan_count > 0;

    for (unsigned i = 0; i < s->plan_count; i++)
        for (unsigned k = 0; k < s->plans[i].step_count; k++)
            usable &= s->plans[i].steps[k].template_->known;
    return usable;
}

static unsigned
change_of(const struct source *s, bool sent)
{
    if (sent == source_sends(s))
        return SOURCE_SAME;
    return sent ? SOURCE_FEWER : (unsigned) SOURCE_MORE << s->class;
}

int
book_put_template(struct book *b, struct content_template *content, unsigned *ret_change, char *why,
                  size_t why_size)
{
    struct template_entry *t = template_entry(b, content->name);
    struct template_entry fresh = {.content = *content};
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
    for (struct source_item *i = b->sources; i; i = i->hh.next) {
        bool sent = source_sends(&i->source);

        i->source.usable = is_usable(&i->source);
        *ret_change |= change_of(&i->source, sent);
    }
    b->listed = false;
    return 0;
}

/* ---- plans ---- */

static void
plan_clear(struct source_plan *p)
{
    for (unsigned i = 0; i < p->step_count; i++) {
        if (!p->steps[i].own)
            continue;
        template_clear(p->steps[i].own);
        free(p->steps[i].own);
    }
    free(p->steps);
    content_item_free(&p->item);
    *p = (struct source_plan){.revision = p->revision};
}

/* A text that stands in the step itself. */
static int
step_text(struct source_step *step, const char *text, char *why, size_t why_size)
{
    struct template_entry *t = calloc(1, sizeof(*t));

    step->template_ = step->own = t;
    if (!t)
        return -ENOMEM;
    t->content.is_text = true;
    t->content.text = strdup(text);
    return t->content.text ? template_compile(t, why, why_size) : -ENOMEM;
}

static int
step_named(struct book *b, struct source_step *step, const char *name)
{
    step->template_ = template_entry(b, name);
    return step->template_ ? 0 : -ENOMEM;
}

static int
plan_campaign(struct book *b, struct source_plan *p, const struct content_campaign *c)
{
    p->steps = calloc(1, sizeof(*p->steps));
    if (!p->steps)
        return -ENOMEM;
    p->step_count = 1;
    p->steps[0].window = c->window;
    return step_named(b, &p->steps[0], c->template_name);
}

static int
plan_sequence(struct book *b, struct source_plan *p, const struct content_sequence *s, char *why,
              size_t why_size)
{
    int r = 0;

    p->steps = calloc(s->step_count, sizeof(*p->steps));
    if (!p->steps)
        return -ENOMEM;
    for (unsigned i = 0; i < s->step_count && r != -ENOMEM; i++) {
        const struct content_step *c = &s->steps[i];
        struct source_step *step = &p->steps[p->step_count++];
        int one;

        *step = (struct source_step){.step = c->step,
                                     .window = c->window,
                                     .delay = c->delay,
                                     .ttl = c->ttl};
        one = c->text ? step_text(step, c->text, why, why_size)
                      : step_named(b, step, c->template_name);
        r = one < 0 ? one : r;
    }
    return r;
}

/* The plan of that revision, made when it is not there: in order. NULL: out of memory. */
static struct source_plan *
plan_at(struct source *s, int16_t revision)
{
    unsigned at = s->plan_count;
    struct source_plan *grown;

    while (at > 0 && s->plans[at - 1].revision >= revision)
        at--;
    if (at < s->plan_count && s->plans[at].revision == revision)
        return &s->plans[at];
    grown = realloc(s->plans, (s->plan_count + 1) * sizeof(*grown));
    if (!grown)
        return NULL;
    s->plans = grown;
    memmove(grown + at + 1, grown + at, (s->plan_count - at) * sizeof(*grown));
    s->plan_count++;
    grown[at] = (struct source_plan){.revision = revision};
    return &grown[at];
}

int
book_put_plan(struct book *b, int32_t source_id, int16_t revision, struct content_item *item,
              unsigned *ret_change, char *why, size_t why_size)
{
    struct source *s = book_source(b, source_id);
    struct source_plan *p = plan_at(s, revision), fresh = {.revision = revision, .item = *item};
    bool sent = source_sends(s);
    int r;

    *item = (struct content_item){.kind = CONTENT_TEMPLATE}; /* ours now */
    if (!p)
        r = -ENOMEM;
    else if (fresh.item.kind == CONTENT_CAMPAIGN)
        r = plan_campaign(b, &fresh, &fresh.item.campaign);
    else
        r = plan_sequence(b, &fresh, &fresh.item.sequence, why, why_size);
    if (r == -ENOMEM) {
        plan_clear(&fresh);
        return r;
    }
    plan_clear(p);
    *p = fresh;
    s->usable = is_usable(s);
    b->listed = false;
    *ret_change |= change_of(s, sent);
    return r;
}

static const struct source_plan *
plan_of(const struct source *s, int16_t revision)
{
    int16_t wanted = source_revision(s, revision);

    for (unsigned i = s->plan_count; i-- > 0;)
        if (s->plans[i].revision == wanted)
            return &s->plans[i];
    return NULL;
}

int16_t
source_revision(const struct source *s, int16_t revision)
{
    return revision < s->all_revision ? s->revision : revision;
}

const struct source_step *
source_step(const struct source *s, int16_t revision, int16_t step)
{
    const struct source_plan *p = plan_of(s, revision);

    for (unsigned i = 0; p && i < p->step_count; i++)
        if (p->steps[i].step >= step)
            return &p->steps[i];
    return NULL;
}

const struct source_step *
source_next(const struct source *s, int16_t revision, int16_t after)
{
    return after == INT16_MAX ? NULL : source_step(s, revision, (int16_t) (after + 1));
}

const struct content_sequence *
source_rules(const struct source *s, int16_t revision)
{
    const struct source_plan *p = plan_of(s, revision);

    return p && p->item.kind == CONTENT_SEQUENCE ? &p->item.sequence : NULL;
}

const struct source *
source_chain(const struct book *b, const struct source *s, int16_t revision)
{
    const struct content_sequence *rules = source_rules(s, revision);

    return rules && *rules->next_sequence ? book_source_by_name(b, rules->next_sequence) : NULL;
}

static struct restep
restep_of(const struct source_plan *from, const struct source_step *step,
          const struct content_sequence *to)
{
    struct restep r = {.revision = from->revision, .step = step->step};
    const struct content_step *there =
        content_restep(&from->item.sequence, step->step, to, &r.shift);

    r.to_step = there ? there->step : 0;
    return r;
}

unsigned
source_resteps(const struct source *s, struct restep *ret, unsigned max)
{
    const struct content_sequence *to = source_rules(s, s->revision);
    unsigned n = 0;

    for (unsigned i = 0; to && i < s->plan_count; i++) {
        const struct source_plan *from = &s->plans[i];

        if (from->revision >= s->all_revision || from->item.kind != CONTENT_SEQUENCE)
            continue;
        for (unsigned k = 0; k < from->step_count; k++, n++)
            if (n < max)
                ret[n] = restep_of(from, &from->steps[k], to);
    }
    return n;
}

/* ---- sources ---- */

struct source *
book_source(const struct book *b, int32_t source_id)
{
    struct source_item *item;

    HASH_FIND(hh, b->sources, &source_id, sizeof(source_id), item);
    return item ? &item->source : NULL;
}

struct source *
book_source_by_name(const struct book *b, const char *name)
{
    struct source_item *item;

    HASH_FIND(by_name, b->by_name, name, strlen(name), item);
    return item ? &item->source : NULL;
}

bool
source_sends(const struct source *s)
{
    return s->state == SOURCE_ACTIVE && s->usable;
}

static struct source_item *
source_new(struct book *b, const struct source_row *row)
{
    struct source_item *item = calloc(1, sizeof(*item));

    if (!item)
        return NULL;
    item->source = (struct source){.source_id = row->source_id,
                                   .state = SOURCE_DRAFT,
                                   .class = row->class,
                                   .revision = 1};
    item->source.usable = row->class == CLASS_DIRECT; /* others need a plan */
    item->source.name = strdup(row->name);
    if (item->source.name)
        HASH_ADD(hh, b->sources, source.source_id, sizeof(row->source_id), item);
    if (!item->source.name || item->lost) {
        free(item->source.name);
        free(item);
        return NULL;
    }
    HASH_ADD_KEYPTR(by_name, b->by_name, item->source.name, strlen(item->source.name), item);
    if (item->lost) {
        HASH_DEL(b->sources, item);
        free(item->source.name);
        free(item);
        return NULL;
    }
    return item;
}

static void
set_state(struct book *b, struct source *s, enum source_state state, int64_t until)
{
    if (state == SOURCE_CANCELLED && s->state != SOURCE_CANCELLED) {
        s->sweep = b->passes = true;
        s->sweep_after = 0;
    }
    s->state = state;
    s->until = state == SOURCE_PAUSED ? until : INT64_MAX;
    b->next_until = MIN_OF(b->next_until, s->until);
    b->listed = false;
}

int
book_put_source(struct book *b, const struct source_row *row, unsigned *ret_change)
{
    struct source *s = book_source(b, row->source_id);
    bool sent;

    if (!s) {
        struct source_item *item = source_new(b, row);

        if (!item)
            return -ENOMEM;
        s = &item->source;
        b->cluster = row->source_id == SOURCE_CLUSTER ? s : b->cluster;
    }
    sent = source_sends(s);
    if (row->all_revision > s->all_revision) {
        *ret_change |= SOURCE_FEWER; /* until they are moved */
        s->restep = b->passes = true;
        s->restep_after = 0;
    }
    s->revision = row->revision;
    s->all_revision = row->all_revision;
    if (row->source_id == SOURCE_CLUSTER && row->state != SOURCE_PAUSED)
        *ret_change |= SOURCE_WAKE;
    set_state(b, s, row->state, row->until);
    *ret_change |= change_of(s, sent);
    return 0;
}

void
book_pause(struct book *b, struct source *s)
{
    set_state(b, s, SOURCE_PAUSED, INT64_MAX);
}

bool
book_cluster_paused(const struct book *b, int64_t *ret_until)
{
    if (!b->cluster || b->cluster->state != SOURCE_PAUSED)
        return false;
    *ret_until = b->cluster->until;
    return true;
}

unsigned
book_end_pauses(struct book *b, int64_t db_now, int64_t *ret_next)
{
    unsigned change = SOURCE_SAME;
    int64_t next = INT64_MAX;

    *ret_next = b->next_until;
    if (db_now < b->next_until)
        return change;
    for (struct source_item *i = b->sources; i; i = i->hh.next) {
        if (i->source.state == SOURCE_PAUSED && i->source.until <= db_now) {
            set_state(b, &i->source, SOURCE_ACTIVE, INT64_MAX);
            change |= b->cluster == &i->source ? (unsigned) SOURCE_WAKE
                                               : (unsigned) SOURCE_MORE << i->source.class;
        }
        next = MIN_OF(next, i->source.until);
    }
    *ret_next = b->next_until = next;
    return change;
}

bool
book_skips(const struct book *b, const struct entry *e)
{
    const struct source *s = book_source(b, e->source_id);

    return !s || e->revision < s->all_revision || !source_sends(s);
}

/* ---- passes over the devices ---- */

void
book_set_sweep(struct book *b, int32_t source_id, bool left)
{
    struct source *s = book_source(b, source_id);

    s->sweep = left;
    s->sweep_after = 0;
    b->passes |= left;
}

struct source *
book_to_sweep(struct book *b)
{
    for (struct source_item *i = b->passes ? b->sources : NULL; i; i = i->hh.next)
        if (i->source.sweep)
            return &i->source;
    return NULL;
}

struct source *
book_to_restep(struct book *b)
{
    for (struct source_item *i = b->passes ? b->sources : NULL; i; i = i->hh.next)
        if (i->source.restep)
            return &i->source;
    b->passes = book_to_sweep(b) != NULL;
    return NULL;
}

void
book_passed_over(struct book *b, struct source *s, const struct entry *e, int32_t device_id)
{
    if (s->state == SOURCE_CANCELLED) {
        s->sweep_after = s->sweep ? MIN_OF(s->sweep_after, device_id - 1) : device_id - 1;
        s->sweep = b->passes = true;
    } else if (e->revision < s->all_revision) {
        s->restep_after = s->restep ? MIN_OF(s->restep_after, device_id - 1) : device_id - 1;
        s->restep = b->passes = true;
    }
}

/* ---- which sources send ---- */

static bool
make_room(struct book *b, unsigned wanted)
{
    if (wanted <= b->active_room)
        return true;
    for (unsigned c = 0; c < CLASS_COUNT; c++) {
        int32_t *grown = realloc(b->active[c], wanted * 2 * sizeof(*grown));

        if (!grown)
            return false;
        b->active[c] = grown;
    }
    b->active_room = wanted * 2;
    return true;
}

/* Without memory for new lists the old ones stay: what a claim may not send it refuses. */
static void
list_active(struct book *b)
{
    if (!make_room(b, HASH_COUNT(b->sources)))
        return;
    memset(b->active_count, 0, sizeof(b->active_count));
    for (struct source_item *i = b->sources; i; i = i->hh.next) {
        const struct source *s = &i->source;

        if (source_sends(s))
            b->active[s->class][b->active_count[s->class]++] = s->source_id;
    }
    b->listed = true;
}

const int32_t *
book_active(struct book *b, enum device_class class, unsigned *ret_count)
{
    if (!b->listed)
        list_active(b);
    *ret_count = b->active_count[class];
    return b->active[class];
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

void
book_drop_optout(struct book *b, const char *account, uint64_t phone)
{
    struct breaker_item *a;
    struct optout_item *item = NULL;

    HASH_FIND_STR(b->breakers[BREAKER_ACCOUNT], account, a);
    if (a) {
        const struct optout_key key = optout_key(&a->breaker, phone);

        HASH_FIND(hh, b->optouts, &key, sizeof(key), item);
    }
    if (!item)
        return;
    HASH_DEL(b->optouts, item);
    free(item);
}

bool
book_opted_out(const struct book *b, const struct breaker *account, uint64_t phone)
{
    const struct optout_key key = optout_key(account, phone);
    struct optout_item *item;

    HASH_FIND(hh, b->optouts, &key, sizeof(key), item);
    return item != NULL;
}

static void
source_free(struct source_item *i)
{
    for (unsigned k = 0; k < i->source.plan_count; k++)
        plan_clear(&i->source.plans[k]);
    free(i->source.plans);
    free(i->source.name);
    free(i);
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
    HASH_CLEAR(by_name, b->by_name);
    for (struct source_item *i = b->sources, *next; i; i = next) {
        next = i->hh.next;
        HASH_DEL(b->sources, i);
        source_free(i);
    }
    for (unsigned c = 0; c < CLASS_COUNT; c++)
        free(b->active[c]);
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
