/*
 * httpd.h - a small HTTP server on the loop (libmicrohttpd, external epoll), for health.
 *
 * GET and HEAD only here: other methods get 405. A slow or half-open client never delays anything:
 * every connection has a deadline for its whole request head and an idle limit, connections are
 * bounded, answers come from memory. Owned by the caller; everything on the loop's thread.
 */
#pragma once
#include <uv.h>

#include "shared/base.h"

struct httpd;
struct httpd_request;

struct httpd_view {
    const char *method;
    const char *path; /* without the query */
    bool verbose;     /* "?verbose" was given */
};
/* Must answer with httpd_answer before it returns. */
typedef void httpd_request_fn(void *arg, struct httpd_request *request,
                              const struct httpd_view *view);

/* address "ip:port" (port 0 = any; httpd_port tells). 0 or -errno (-EADDRINUSE ...). */
int httpd_start(struct httpd **ret, uv_loop_t *loop, const char *address, unsigned connections_max,
                unsigned idle_seconds, httpd_request_fn *on_request, void *arg) _must_check_;
uint16_t httpd_port(const struct httpd *h);
void httpd_answer(struct httpd_request *request, unsigned status, const char *type,
                  const char *body, size_t bytes); /* body is copied */
void httpd_stop(struct httpd *h);
struct httpd *httpd_free(struct httpd *h); /* after the loop is done; NULL is fine */
