/*
 * explain_view.h - the drivers' words about a device, a lead, a message, a source, as screens.
 */
#pragma once
#include "coordinator/ctl/gather.h"
#include "coordinator/ctl/table.h"

/* noun: "device", "lead", "message", "campaign", "sequence". JSON and CSV: the rows as
 * they came (of a source: added up). 0, -ENOMEM, -EPIPE. */
int explain_print(FILE *out, const struct gathered *g, const char *noun, const char *name,
                  enum table_format format) _must_check_;
