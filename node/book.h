/*
 * book.h - what a driver keeps in memory besides devices: sources, templates, opt-outs, breakers.
 *
 * Pure. Everything lives until book_free: an entry is changed in place, never removed, so pointers
 * into the book stay good. Lookups allocate nothing.
 */
#pragma once
#include "node/breaker.h"
#include "node/device.h"
#include "shared/compose.h"
#include "shared/content.h"

struct template_entry {
    char *name;
    bool known; /* a source may name it before it came */
    struct content_template content;
    struct compose *text;
    struct compose *parameters[CONTENT_PARAMETERS_MAX];
};
struct source {
    int32_t source_id;
    enum device_class class;
    enum source_state state;
    bool sweep; /* cancelled, and rows may be left to end */
    int32_t sweep_after;
    const struct template_entry *template_;
};
enum breaker_kind { BREAKER_URL, BREAKER_SCOPE, BREAKER_ACCOUNT, BREAKER_KIND_COUNT };

struct book;
struct book *book_new(void);
struct book *book_free(struct book *b);

/* 0, -EINVAL with the reason in why (a text does not compile), -ENOMEM. Takes the content over. */
int book_put_template(struct book *b, struct content_template *content, char *why,
                      size_t why_size) _must_check_;
/* Adds or changes; *ret_changed: its state is another one than before. 0 or -ENOMEM. */
int book_put_source(struct book *b, int32_t source_id, enum device_class class,
                    enum source_state state, const char *template_name,
                    bool *ret_changed) _must_check_;
struct source *book_source(const struct book *b, int32_t source_id); /* NULL: unknown */
/* A cancelled source with rows left to sweep, or NULL. */
struct source *book_to_sweep(const struct book *b);
/* Writes the ids of the active sources of a class; returns how many there are (may exceed max). */
unsigned book_active(const struct book *b, enum device_class class, int32_t *ret, unsigned max);

/* The one object of that kind and name; NULL: out of memory. */
struct breaker *book_breaker(struct book *b, enum breaker_kind kind, const char *name);
unsigned book_breakers_open(const struct book *b, enum breaker_kind kind);

int book_put_optout(struct book *b, const char *account, uint64_t phone) _must_check_;
/* `account` is the device's account breaker: it names the account without a text compare. */
bool book_opted_out(const struct book *b, const struct breaker *account, uint64_t phone);
