/*
 * log.h - one logfmt line per event on stderr (systemd puts it into the journal).
 *
 * Flows and owners log; cores and edges never do. The level is the only mutable global of the
 * product. Event names are fixed words ("partition.taken"); values with blanks are quoted. Never a
 * body, key, DSN or whole phone number: phones go through log_phone.
 */
#pragma once
#include "shared/base.h"

enum log_level { LOG_LEVEL_ERROR, LOG_LEVEL_WARNING, LOG_LEVEL_INFO, LOG_LEVEL_DEBUG };

/* `program` and `instance` (for example "fleetcast-node", "n1") are borrowed for ever. */
void log_open(const char *program, const char *instance, enum log_level level);
/* fields: "epoch=%llu took_us=%llu"; a text value is written as log_quote made it. */
void log_event(enum log_level level, const char *event, const char *fields, ...) _printf_(3, 4);
/* Quotes and escapes `text` when needed; returns buf; cut to size. */
const char *log_quote(char *buf, size_t size, const char *text);
/* "+6012*****89": at most the first four and the last two digits. Returns buf. */
const char *log_phone(char buf[static 24], uint64_t phone);
