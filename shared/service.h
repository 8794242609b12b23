/*
 * service.h - what every daemon does: signals, systemd's notify and watchdog, orderly stop.
 *
 * Owns its uv handles on the caller's loop. SIGTERM and SIGINT call on_stop once; a second one
 * within the grace does nothing; after `grace` the process is ended with exit code 1 (logged).
 * SIGPIPE is ignored; the process gets no core file and no debugger (keys). WATCHDOG=1 goes out
 * from a loop timer only, at WatchdogSec/3.
 */
#pragma once
#include <uv.h>

#include "shared/base.h"
#include "shared/clock.h"

struct service;
typedef void service_stop_fn(void *arg);

int service_start(struct service **ret, uv_loop_t *loop, usec_t grace, service_stop_fn *on_stop,
                  void *arg) _must_check_;
void service_ready(struct service *s, const char *status); /* READY=1, STATUS= */
void service_status(struct service *s, const char *status);
/* Largest delay of a 100 ms loop timer since the last call, for reports and /livez. */
usec_t service_loop_lag(struct service *s);
/* Closes the handles; free after uv_run returned. */
void service_stop(struct service *s);
struct service *service_free(struct service *s);
/* The loop turned within the last `limit`. */
bool service_turning(const struct service *s, usec_t now, usec_t limit);
