/*
 * content.h - templates, campaigns and sequences from YAML, and the canonical JSON items that
 * travel.
 *
 * Pure (text in, values out). The command parses a file with content_parse_yaml, sends each item's
 * canonical JSON; coordinator and node read it back with content_item_read: one code judges all
 * three. A file with any fault is refused whole; faults name file, line, field and value.
 *
 *   variables: [city, order]      # optional: then a text may name only these, name and phone
 *   templates:
 *     hello:   { text: "Hi {{name|there}}, {{city}}" }            # free text
 *     hey:     { variants: ["Hi {{name|there}}", "Hello {{name|there}}"] }   # by content_variant
 *     promo:   { template: order_update, language: en_US, body: ["{{name|friend}}", "{{order}}"] }
 *   campaigns:
 *     spring:  { template: hello, audience: { devices: [1-500, 700], where: { city: "KL" } },
 *                not_after: 2026-12-01T00:00:00Z, reliability: at_most_once, priority: 0,
 *                window: "09:00-18:00" }
 *   sequences:
 *     cold:
 *       trigger: COLD             # exact token; without one only a chain or a person enrols
 *       next_sequence: warm       # whoever went through cold goes on there
 *       on_skip: continue         # or stop: missing variable, text too long, step over its ttl
 *       on_fail: stop             # or continue
 *       on_unknown: skip          # or stop
 *       steps:
 *         - { step: 1, delay: 0, template: hello }
 *         - { step: 2, delay: 1d, text: "Still there?", window: "09:00-18:00", ttl: 2d }
 */
#pragma once
#include <stdio.h>

#include "shared/base.h"
#include "shared/clock.h"

/* A text may have 4,096 characters, the bound of text.body of WhatsApp's Cloud API. What counts are
 * code points: a letter of any script and most emoji are 1, a flag or a family is as many as it is
 * put together from; {{variables}} count as written in a file and by their values in a send. */
#define CONTENT_CHARACTERS_MAX 4096u
#define CONTENT_TEXT_BYTES_MAX 16384u /* of so many in UTF-8 */
#define CONTENT_PARAMETERS_MAX 16u
#define CONTENT_RANGES_MAX     64u
#define CONTENT_WHERE_MAX      8u
#define CONTENT_NAME_MAX       64u /* names: [a-z0-9_-]{1,64} */
#define CONTENT_ITEM_BYTES_MAX 65536u
#define CONTENT_ITEMS_MAX      256u /* of one file */
#define CONTENT_VARIANTS_MAX   16u
#define CONTENT_STEPS_MAX      64u
#define CONTENT_TRIGGER_MAX    64u
#define CONTENT_VARIABLES_MAX  64u  /* of a file's list */
#define CONTENT_DELAY_DAYS_MAX 366u /* of one step */

/* CLUSTER never stands in a file: the scope that holds every device, source id -1. */
enum content_kind {
    CONTENT_TEMPLATE = 1,
    CONTENT_CAMPAIGN = 2,
    CONTENT_SEQUENCE = 3,
    CONTENT_CLUSTER = 4
};
#define CONTENT_CLUSTER_NAME "cluster"
#define CONTENT_CLUSTER_ID   (-1)
enum source_state { SOURCE_ACTIVE = 0, SOURCE_PAUSED = 1, SOURCE_CANCELLED = 2, SOURCE_DRAFT = 3 };

struct content_template {
    char name[CONTENT_NAME_MAX + 1];
    bool is_text;           /* free text, else an approved template */
    char *text;             /* is_text: the body with {{variables}}; NULL with variants */
    unsigned variant_count; /* is_text: 0, or 2 to CONTENT_VARIANTS_MAX texts instead */
    char *variants[CONTENT_VARIANTS_MAX];
    char template_name[513]; /* else: name and language at the provider */
    char language[17];
    unsigned parameter_count; /* body parameters, texts with {{variables}} */
    char *parameters[CONTENT_PARAMETERS_MAX];
};
struct content_range {
    int32_t first, last;
};
struct content_pair {
    char *column, *value;
};
struct content_audience {
    unsigned range_count; /* 0 = every device */
    struct content_range ranges[CONTENT_RANGES_MAX];
    unsigned where_count;
    struct content_pair where[CONTENT_WHERE_MAX];
};
/* Minutes of the day in the device's zone, [from, to); may cross midnight; from == to: none. */
struct content_window {
    int16_t from, to;
};
struct content_campaign {
    char name[CONTENT_NAME_MAX + 1];
    char template_name[CONTENT_NAME_MAX + 1]; /* of a content_template */
    struct content_audience audience;
    int64_t not_after; /* unix usec; INT64_MAX = none */
    bool at_least_once;
    int16_t priority; /* higher first; 0 by default */
    struct content_window window;
};
enum content_on { CONTENT_CONTINUE, CONTENT_STOP };
struct content_step {
    int16_t step; /* ordinal, 1 to 32767, rising */
    usec_t delay; /* after the step before was sent; of the first: after the enrolment */
    usec_t ttl;   /* after its due time; 0 = none */
    struct content_window window;
    char template_name[CONTENT_NAME_MAX + 1]; /* "" = text */
    char *text;                               /* NULL = template_name */
};
struct content_sequence {
    char name[CONTENT_NAME_MAX + 1];
    char trigger[CONTENT_TRIGGER_MAX + 1];    /* "" = none */
    char next_sequence[CONTENT_NAME_MAX + 1]; /* "" = none */
    struct content_audience audience;
    int16_t priority;
    enum content_on on_skip, on_fail, on_unknown;
    unsigned step_count;
    struct content_step *steps; /* heap */
};
struct content_item {
    enum content_kind kind;
    unsigned line; /* where it stood in the YAML file; 0 when read from JSON */
    union {
        struct content_template template_;
        struct content_campaign campaign;
        struct content_sequence sequence;
    };
};
struct content {
    unsigned count;
    struct content_item *items;
    bool has_variables; /* the file lists the variables that its texts may name */
};

/* 0 or -EINVAL (faults written as "FILE:LINE: field = \"value\": reason") or -ENOMEM. */
int content_parse_yaml(struct content *ret, const char *file_name, struct slice yaml,
                       FILE *errors) _must_check_;
void content_free(struct content *c);
void content_item_free(struct content_item *item);
/* Canonical JSON (sorted keys, no blanks); heap, caller frees. NULL: out of memory. */
char *content_item_write(const struct content_item *item);
int content_item_read(struct content_item *ret, struct slice json, char *why,
                      size_t why_size) _must_check_;
const char *content_item_name(const struct content_item *item);
const char *content_kind_name(enum content_kind kind); /* "campaign" */

/* ---- sequences (content_sequence.c) ---- */

/* The first step whose ordinal is above `after` (0: the first of all); NULL: there is none. */
const struct content_step *content_next_step(const struct content_sequence *s, int16_t after);
const struct content_step *content_find_step(const struct content_sequence *s, int16_t step);
/* Where an enrollment that waits for `step` of `from` stands in `to`: at the first step above the
 * last one that it was sent. NULL: nothing is left, it is through. *ret_shift: the new delay - the
 * old one, usec. `step` need not be in `from` any more. */
const struct content_step *content_restep(const struct content_sequence *from, int16_t step,
                                          const struct content_sequence *to, int64_t *ret_shift);
/* 1 to CONTENT_TRIGGER_MAX printable ASCII characters without blank. */
bool content_trigger_valid(struct slice trigger);
/* "90s", "5m", "2h", "3d" or "0"; -EINVAL. */
int content_read_delay(const char *text, usec_t *ret) _must_check_;
void content_write_delay(char *out, size_t size, usec_t delay); /* the same form, exact */
/* "HH:MM-HH:MM"; -EINVAL also when it has no length. */
int content_read_window(const char *text, struct content_window *ret) _must_check_;
void content_write_window(char *out, size_t size, struct content_window w);

/* Follows next_sequence from `name` by next(arg, name) ("" or NULL: ends). True: it comes back to
 * `name`; path = "cold -> warm -> cold". False also when it only leads into a circle of others. */
bool content_has_cycle(const char *name, const char *(*next)(void *arg, const char *name),
                       void *arg, char *path, size_t path_size);
