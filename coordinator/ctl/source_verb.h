/*
 * source_verb.h - what the verbs of campaigns and sequences share: which kind they are about.
 */
#pragma once
#include "coordinator/ctl/commands.h"
#include "shared/content.h"

/* Of `fleetcast sequence ...` (or `explain sequence`) and else campaigns. */
enum content_kind source_kind(const struct invocation *in);
/* Says that there is none of that name; CTL_FAILED. */
int source_missing(const struct invocation *in);
