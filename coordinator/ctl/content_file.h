/*
 * content_file.h - a content file read and judged, and the texts that its items are made of.
 */
#pragma once
#include "shared/content.h"

/* CTL_DONE, or the faults were told: CTL_FAILED. */
int content_file_read(const char *path, struct content *ret) _must_check_;

/* Every text with {{variables}} of an item: what = "templates.hello", "sequences.cold step 2".
 * Non-zero ends it with that value. */
typedef int content_text_fn(void *arg, const struct content_item *item, const char *what,
                            const char *text);
int content_each_text(const struct content_item *item, content_text_fn *each, void *arg);
