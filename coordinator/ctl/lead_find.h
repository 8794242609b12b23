/*
 * lead_find.h - the leads that have a phone, on every partition.
 */
#pragma once
#include "coordinator/ctl/gather.h"

/*
 * Rows of "leads_by_phone": device_id, lead_no, phone, name, trigger, attributes, account,
 * opted_out. With --device only that device's. The phone is the invocation's operand `text`.
 * CTL_DONE with at least one row (partitions that did not answer are in ret->silent, named), or an
 * exit code: told. `told` = what failed, for people: "cannot show the lead".
 */
int lead_find(struct asker *a, const struct invocation *in, const char *text, const char *told,
              struct gathered *ret) _must_check_;
/* The one lead: of several, --device must say which. *ret_row. As lead_find. */
int lead_find_one(struct asker *a, const struct invocation *in, const char *text, const char *told,
                  struct gathered *ret, unsigned *ret_row) _must_check_;
