/* audit_content.h - the audit's own reader of content files: what each source sends, and when. */
#pragma once
#include <stdio.h>

#include "shared/base.h"
#include "shared/clock.h"

#define AUDIT_SOURCES_MAX  64u
#define AUDIT_STEPS_MAX    64u
#define AUDIT_VARIANTS_MAX 16u
#define AUDIT_WHERE_MAX    8u

/* Each text with {{variables}}, or "template:NAME:LANGUAGE" and 0x1f before each parameter. */
struct audit_step {
    long step;
    usec_t delay;
    unsigned text_count;
    char *texts[AUDIT_VARIANTS_MAX];
};
struct audit_source {
    char *name;
    bool is_sequence;
    char *trigger, *next; /* NULL = none */
    bool stops_on_skip, goes_on_after_failure;
    char *devices; /* "1-500,700," or NULL = all */
    unsigned where_count;
    char *columns[AUDIT_WHERE_MAX], *values[AUDIT_WHERE_MAX];
    unsigned step_count; /* a campaign has one, numbered 0 */
    struct audit_step steps[AUDIT_STEPS_MAX];
};
struct audit_content {
    unsigned count;
    struct audit_source *sources;
};

int audit_content_read(const char *path, struct audit_content *ret, FILE *errors);
void audit_content_done(struct audit_content *c);
const struct audit_source *audit_content_find(const struct audit_content *c, const char *name);
bool audit_source_has(const struct audit_source *s, long device_id);
