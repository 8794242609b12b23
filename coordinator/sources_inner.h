/*
 * sources_inner.h - what sources.c and sources_apply.c share.
 *
 * Nobody else includes it.
 */
#pragma once
#include "coordinator/sources.h"

/* Copies the row's texts. NULL: out of memory. */
struct sources_item *sources_item_new(struct slice name, const struct content_row *row);
void sources_item_free(struct sources_item *item); /* NULL is fine */
/* Room for `more` items. 0, -E2BIG (CONTENT_STORED_MAX), -ENOMEM. */
int sources_reserve(struct sources *s, uint32_t more) _must_check_;
