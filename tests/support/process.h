/*
 * process.h - programs run by tests: argument vectors, captured output, no shell.
 *
 * Everything fails the running Check test with words when it cannot do its work.
 */
#pragma once
#include <sys/types.h>

#include "shared/base.h"
#include "shared/clock.h"

/* Runs argv (NULL-terminated) to its end; *ret_output (heap, stdout and stderr together) unless
 * NULL. Exit code, or 128 + signal. */
int process_run(const char *const argv[], char **ret_output);
/* Calls `done(arg)` about every 20 ms until it is true; false when `limit` has passed. */
bool process_wait(usec_t limit, bool (*done)(void *arg), void *arg);
/* GET on 127.0.0.1:port (or POST when body is given): status, 0 = no answer; *ret_body heap unless
 * NULL. */
unsigned process_http(unsigned port, const char *path, const char *body, char **ret_body);
