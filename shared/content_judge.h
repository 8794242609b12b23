/*
 * content_judge.h - whether a tree of values is a template, a campaign or a sequence; the one judge
 * of both formats.
 *
 * Private to shared/content. Pure. Trees are jansson's; for those from YAML `marks` tells where
 * each value stood.
 */
#pragma once
#include <jansson.h>

#include "shared/content.h"

struct content_mark {
    const json_t *value;
    unsigned line;
};

struct content_judge {
    FILE *errors;     /* YAML: every fault is a line here, behind "FILE:LINE: " */
    const char *file; /* NULL: JSON, the first fault is written to why */
    char *why;
    size_t why_size;
    const struct content_mark *marks;
    size_t mark_count;
    const json_t *variables; /* a list: texts may name only these, name and phone; NULL: any */
    unsigned fault_count;
    bool out_of_memory;
};

/* `format`: "templates.hello.text = \"...\": reason", without file and line. */
void content_fault(struct content_judge *j, unsigned line, const char *format, ...) _printf_(3, 4);
unsigned content_line(const struct content_judge *j, const json_t *value); /* 0: not marked */
/* Borrows all; on a fault (see fault_count, out_of_memory) *ret is empty. */
void content_judge_item(struct content_judge *j, enum content_kind kind, const char *name,
                        const json_t *fields, struct content_item *ret);
