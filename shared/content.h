/*
 * content.h - templates and campaigns from YAML, and the canonical JSON items that travel.
 *
 * Pure (text in, values out). The command parses a file with content_parse_yaml, sends each item's
 * canonical JSON; coordinator and node read it back with content_item_read: one code judges all
 * three. A file with any fault is refused whole; faults name file, line, field and value.
 *
 *   templates:
 *     hello:   { text: "Hi {{name|there}}, {{city}}" }            # free text
 *     promo:   { template: order_update, language: en_US, body: ["{{name|friend}}", "{{order}}"] }
 *   campaigns:
 *     spring:  { template: hello, audience: { devices: [1-500, 700], where: { city: "KL" } },
 *                not_after: 2026-12-01T00:00:00Z, reliability: at_most_once, priority: 0 }
 */
#pragma once
#include <stdio.h>

#include "shared/base.h"
#include "shared/clock.h"

#define CONTENT_TEXT_BYTES_MAX 16384u /* WhatsApp: 4,096 characters */
#define CONTENT_CHARACTERS_MAX 4096u
#define CONTENT_PARAMETERS_MAX 16u
#define CONTENT_RANGES_MAX     64u
#define CONTENT_WHERE_MAX      8u
#define CONTENT_NAME_MAX       64u /* names: [a-z0-9_-]{1,64} */
#define CONTENT_ITEM_BYTES_MAX 65536u
#define CONTENT_ITEMS_MAX      256u /* of one file */

enum content_kind { CONTENT_TEMPLATE = 1, CONTENT_CAMPAIGN = 2 };
enum source_state { SOURCE_ACTIVE = 0, SOURCE_PAUSED = 1, SOURCE_CANCELLED = 2, SOURCE_DRAFT = 3 };

struct content_template {
    char name[CONTENT_NAME_MAX + 1];
    bool is_text;            /* free text, else an approved template */
    char *text;              /* is_text: the body with {{variables}} */
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
struct content_campaign {
    char name[CONTENT_NAME_MAX + 1];
    char template_name[CONTENT_NAME_MAX + 1]; /* of a content_template */
    unsigned range_count;                     /* 0 = every device */
    struct content_range ranges[CONTENT_RANGES_MAX];
    unsigned where_count;
    struct content_pair where[CONTENT_WHERE_MAX];
    int64_t not_after; /* unix usec; INT64_MAX = none */
    bool at_least_once;
    int16_t priority; /* higher first; 0 by default */
};
struct content_item {
    enum content_kind kind;
    unsigned line; /* where it stood in the YAML file; 0 when read from JSON */
    union {
        struct content_template template_;
        struct content_campaign campaign;
    };
};
struct content {
    unsigned count;
    struct content_item *items;
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
