/*
 * book.h - what a driver keeps in memory besides devices: sources, templates, opt-outs, breakers.
 *
 * Pure. Templates, sources, opt-outs and breakers live until book_free: an entry is changed in
 * place, never removed, so pointers to it stay good. Steps are a plan's: they may be replaced at
 * the next book_put_plan, so nobody keeps them. Lookups allocate nothing.
 */
#pragma once
#include "node/breaker.h"
#include "node/device.h"
#include "shared/compose.h"
#include "shared/content.h"

#define SOURCE_DIRECT  0
#define SOURCE_CLUSTER (-1) /* its pause holds every device */

struct template_entry {
    char *name; /* NULL: the text of one step */
    bool known; /* a source may name it before it came, or it does not compile */
    struct content_template content;
    unsigned text_count; /* free text: one, or its variants */
    struct compose *texts[CONTENT_VARIANTS_MAX];
    struct compose *parameters[CONTENT_PARAMETERS_MAX];
};
struct source_step {
    int16_t step; /* sequences: 1 .. 32767; campaigns and direct messages: 0 */
    struct content_window window;
    usec_t delay, ttl; /* ttl 0: none */
    const struct template_entry *template_;
    struct template_entry *own; /* the step's text, when it names no template */
};
struct source_plan { /* what rows of one revision go through */
    int16_t revision;
    unsigned step_count;
    struct source_step *steps; /* ascending */
    struct content_item item;  /* of a sequence */
};
struct source {
    int32_t source_id;
    char *name;
    enum device_class class; /* CLASS_COUNT: the cluster */
    enum source_state state; /* a pause that is over is active again: book_end_pauses */
    int64_t until;           /* a pause ends by itself then (unix usec); INT64_MAX: by an order */
    int16_t revision, all_revision; /* rows of revisions below all_revision follow the newest */
    bool usable;                    /* every text that its rows may need is there and compiles */
    unsigned plan_count;
    struct source_plan *plans; /* by revision, ascending */
    bool sweep, restep;        /* cancelled, or told to follow the newest: rows may be left */
    int32_t sweep_after, restep_after;
};
/* As the partition's table has it. */
struct source_row {
    int32_t source_id;
    const char *name;
    enum device_class class;
    enum source_state state;
    int64_t until;
    int16_t revision, all_revision;
};
/* What a change of content means for what is listed. */
enum source_change {
    SOURCE_SAME = 0,
    SOURCE_FEWER = 1, /* listed rows may not be sent any more: book_skips names them */
    SOURCE_WAKE = 2,  /* the cluster goes on: every device is looked at */
    SOURCE_MORE = 4   /* << class: rows of it may wait that no list has */
};
enum breaker_kind { BREAKER_URL, BREAKER_SCOPE, BREAKER_ACCOUNT, BREAKER_KIND_COUNT };

struct book;
struct book *book_new(void);
struct book *book_free(struct book *b);

/* 0, -EINVAL with the reason in why (a text does not compile), -ENOMEM. Takes the content over;
 * *ret_change |= what it means for the sources that name it. */
int book_put_template(struct book *b, struct content_template *content, unsigned *ret_change,
                      char *why, size_t why_size) _must_check_;
/* Adds or changes a source; *ret_change |= what it means. 0 or -ENOMEM. */
int book_put_source(struct book *b, const struct source_row *row,
                    unsigned *ret_change) _must_check_;
/* A revision's plan, of a campaign or a sequence that is there; takes the item over. -EINVAL: a
 * text does not compile, the source's rows wait; -ENOMEM. */
int book_put_plan(struct book *b, int32_t source_id, int16_t revision, struct content_item *item,
                  unsigned *ret_change, char *why, size_t why_size) _must_check_;
struct source *book_source(const struct book *b, int32_t source_id); /* NULL: unknown */
struct source *book_source_by_name(const struct book *b, const char *name);
void book_pause(struct book *b, struct source *s); /* by our own order, until one of the operator */
bool book_cluster_paused(const struct book *b, int64_t *ret_until);
/* Pauses whose time is over end; returns what that means (enum source_change). *ret_next: when the
 * next one ends. */
unsigned book_end_pauses(struct book *b, int64_t db_now, int64_t *ret_next);
/* May this waiting row be sent by what is known of its source? The same for a whole source. */
bool book_skips(const struct book *b, const struct entry *e);
bool source_sends(const struct source *s);
/* The sources of a class that send; borrowed until the book changes. */
const int32_t *book_active(struct book *b, enum device_class class, unsigned *ret_count);

/* A source with rows left to sweep (cancelled), or to move to its newest revision; or NULL. */
struct source *book_to_sweep(struct book *b);
/* Whether a source that was read has rows left to sweep: of the whole table, for it was read anew.
 */
void book_set_sweep(struct book *b, int32_t source_id, bool left);
struct source *book_to_restep(struct book *b);
/* A row of this device came back as it was before: the pass over devices begins before it. */
void book_passed_over(struct book *b, struct source *s, const struct entry *e, int32_t device_id);

/* ---- the steps of a row ---- */
/* The revision that a row of `revision` follows. */
int16_t source_revision(const struct source *s, int16_t revision);
/* The step of such a row, or the first behind it when a draft lost it; NULL: nothing is left. */
const struct source_step *source_step(const struct source *s, int16_t revision, int16_t step);
/* The first one with an ordinal above `after`, NULL: none. */
const struct source_step *source_next(const struct source *s, int16_t revision, int16_t after);
/* A sequence's own rules (on_skip, on_fail, on_unknown); NULL for campaigns and direct messages. */
const struct content_sequence *source_rules(const struct source *s, int16_t revision);
/* Who is through goes on there; NULL: nowhere. */
const struct source *source_chain(const struct book *b, const struct source *s, int16_t revision);

/* Where rows of older revisions stand in the newest: per step of each older plan. */
struct restep {
    int16_t revision, step;
    int16_t to_step; /* 0: nothing is left */
    int64_t shift;   /* of the due time, usec */
};
/* Returns how many there are; writes at most max. */
unsigned source_resteps(const struct source *s, struct restep *ret, unsigned max);

/* The one object of that kind and name; NULL: out of memory. */
struct breaker *book_breaker(struct book *b, enum breaker_kind kind, const char *name);
unsigned book_breakers_open(const struct book *b, enum breaker_kind kind);

int book_put_optout(struct book *b, const char *account, uint64_t phone) _must_check_;
void book_drop_optout(struct book *b, const char *account, uint64_t phone);
/* `account` is the device's account breaker: it names the account without a text compare. */
bool book_opted_out(const struct book *b, const struct breaker *account, uint64_t phone);
