/*
 * transport_sockets.h - libcurl's sockets on the loop: one uv_poll for the life of each.
 *
 * Part of the transport edge, used by transport.c alone. Opens and closes the sockets itself, so
 * that a poll is always closed before its descriptor. All memory is taken in sockets_new.
 */
#pragma once
#include <curl/curl.h>
#include <uv.h>

#include "shared/base.h"

struct sockets;
/* The socket is ready: events is a mask of CURL_CSELECT_. */
typedef void sockets_ready_fn(void *arg, int fd, int events);

/* At most count_max sockets at a time, those that are being closed included. NULL: no memory. */
struct sockets *sockets_new(uv_loop_t *loop, unsigned count_max, sockets_ready_fn *on_ready,
                            void *arg);
struct sockets *sockets_free(struct sockets *s); /* after the loop closed its handles */
/* The connections of `easy` will use our sockets. */
int sockets_attach(struct sockets *s, CURL *easy) _must_check_;
/* What CURLMOPT_SOCKETFUNCTION asks for: 0, or -1 when the loop cannot watch it. `keep`: a socket
 * that is no longer watched stays known, for its connection will be used again. Without it nothing
 * of the descriptor is kept, because libcurl 7.88 closes a connection that never came up (and the
 * resolver's own sockets) without asking us. */
int sockets_watch(struct sockets *s, int fd, int what, bool keep);
