/*
 * content_known.h - variables that a content file names and no lead has.
 *
 * A misspelt variable would skip a whole audience; the leads' columns tell it before.
 */
#pragma once
#include <stdio.h>

#include "coordinator/ctl/ask.h"
#include "shared/content.h"

struct known_columns {
    unsigned count, room;
    char **names; /* heap, each once */
};
void known_columns_done(struct known_columns *k);
/* "name" and "phone" are there without being added. 0 or -ENOMEM. */
int known_columns_add(struct known_columns *k, struct slice name) _must_check_;

/* Writes "FILE:LINE: templates.hello names {{ctiy}}, ... nearest: city" for each
 * (errors NULL: only counts); their count, or -ENOMEM. */
int content_unknown(const struct content *content, const char *file, const struct known_columns *k,
                    FILE *errors);

/*
 * The same against the cluster. CTL_DONE: all are known, or nobody can tell (no leads yet, a
 * partition does not answer: said then). CTL_REFUSED: told, with the next command.
 */
int content_check_columns(struct asker *a, const struct content *content,
                          const char *file) _must_check_;
