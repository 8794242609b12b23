/*
 * operands.h - devices, phones, spans and times as people write them in an invocation.
 *
 * Each returns 0, or CTL_USAGE with the fault and its form told on stderr.
 */
#pragma once
#include "coordinator/ctl/commands.h"

int operand_device(const char *text, int32_t *ret) _must_check_;
/* As an import takes them: "+60 12-345 6789"; --country of `in` for national forms. */
int operand_phone(const struct invocation *in, const char *text, uint64_t *ret) _must_check_;
/* --name SPAN from 1 s to 10 years; *ret = now + span in unix usec. Not given: 0. */
int operand_until(const struct invocation *in, enum command_option option, const char *name,
                  int64_t *ret) _must_check_;
/* --at: a UTC time, or so long from now; in the past is a fault. Not given: 0. */
int operand_at(const struct invocation *in, int64_t *ret) _must_check_;
/* --since: a UTC time, or so long ago. Not given: 0. */
int operand_since(const struct invocation *in, int64_t *ret) _must_check_;
/* --reason, "" when not given. */
int operand_reason(const struct invocation *in, struct slice *ret) _must_check_;
