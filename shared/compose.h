/*
 * compose.h - template text and a lead's fields -> the text that is sent.
 *
 * Pure. A text is compiled once: literals and {{variable|default}}; variables are the lead's
 * `name`, `phone` and every attribute column. Rendering allocates nothing.
 */
#pragma once
#include "shared/base.h"

struct compose; /* one compiled text */
/* NULL with the reason in why: unbalanced braces, empty or over-long variable name. */
struct compose *compose_new(struct slice text, char *why, size_t why_size);
struct compose *compose_free(struct compose *c);

struct lead_fields { /* slices into the claim's answer */
    uint64_t phone;
    struct slice name;
    struct slice attributes; /* JSON object text, flat, values are strings */
};
enum compose_verdict { COMPOSE_OK, COMPOSE_MISSING_VARIABLE, COMPOSE_TOO_LONG };
/* Writes at most size bytes; counts characters (content.h) against CONTENT_CHARACTERS_MAX. An empty
 * value uses the default; a variable without value and default is MISSING. */
enum compose_verdict compose_render(const struct compose *c, const struct lead_fields *lead,
                                    char *out, size_t size, size_t *ret_bytes);
uint64_t compose_hash(struct slice text); /* FNV-1a 64 */
/* Which of `count` variants this person gets, each time: FNV-1a 64 of the phone's decimal digits,
 * modulo count. */
unsigned compose_variant(uint64_t phone, unsigned count);
/* The name of variable `index` (from 0, repetitions included), a slice into the text; false:
 * there are no more. *ret_has_default: it cannot be missing. */
bool compose_variable(const struct compose *c, unsigned index, struct slice *ret_name,
                      bool *ret_has_default);
