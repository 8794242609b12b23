/*
 * socket.h - one raw nng socket on the loop: opened, polled and closed in the one order that works.
 *
 * Private to rpc and feed. No nng timers, cancels or callbacks on nng's threads: nng only fills and
 * drains queues, RECVFD and SENDFD wake the loop. The traps are told in socket.c.
 */
#pragma once
#include <nng/nng.h>
#include <uv.h>

#include "shared/base.h"

enum socket_kind { SOCKET_REP, SOCKET_REQ, SOCKET_PUB, SOCKET_SUB };

struct socket;
typedef void socket_message_fn(void *arg, nng_msg *message); /* borrowed for the call */
typedef void socket_room_fn(void *arg);                      /* after -EAGAIN: try again */

/* REP and PUB listen on `url`, REQ and SUB dial it, again and again. 0 or -errno (-EADDRINUSE). */
int socket_open(struct socket **ret, uv_loop_t *loop, enum socket_kind kind, const char *url,
                socket_message_fn *on_message, socket_room_fn *on_room, void *arg) _must_check_;
/* 0: the message is nng's now. Else it is still the caller's: -EAGAIN (on_room comes later), -EIO.
 */
int socket_send(struct socket *k, nng_msg *message) _must_check_;
/* No callback after this; frees itself when the loop has closed its handles. Accepts NULL. */
void socket_close(struct socket *k);
