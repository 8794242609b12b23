/*
 * rpc.h - sealed request and reply over nng on the loop.
 *
 * Raw rep0/req0 sockets by NNG_OPT_RECVFD; no nng timers, no cancels, no callbacks on nng's threads
 * (PROTOCOL.md "Transport"; the traps are listed in socket.c). The client opens its seal session by
 * itself, asks again with a fresh hello after 1 s of silence (calls are idempotent by PROTOCOL.md),
 * and rebuilds its socket after 15 s without a reply. One client object per address.
 */
#pragma once
#include <uv.h>

#include "proto/seal.h"
#include "shared/base.h"
#include "shared/clock.h"

struct rpc_server;
struct rpc_ticket { /* a value: keep it, answer in any order, from any callback, once */
    uint32_t pipe, request;
    uint64_t session;
};
/* body is borrowed for the call. */
typedef void rpc_request_fn(void *arg, struct rpc_ticket ticket, const struct peer *peer,
                            struct slice body);

/* url "tcp://ip:port". 0 or -errno (-EADDRINUSE). `identity` and `peers` are borrowed until free.
 */
int rpc_server_start(struct rpc_server **ret, uv_loop_t *loop, const char *url,
                     const struct identity *identity, const struct peers *peers,
                     rpc_request_fn *on_request, void *arg) _must_check_;
/* A gone peer is no error, nor is a stopped server. 0, -ENOMEM, -ENOBUFS (own queue full), -E2BIG.
 */
int rpc_reply(struct rpc_server *s, struct rpc_ticket ticket, struct slice body) _must_check_;
const uint64_t *rpc_server_drops(const struct rpc_server *s); /* [SEAL_DROP_COUNT] */
void rpc_server_stop(struct rpc_server *s);
struct rpc_server *rpc_server_free(struct rpc_server *s);

struct rpc_client;
/* err: 0, -ETIMEDOUT, -ECANCELED (stop). body borrowed. Exactly once, never inside rpc_call. */
typedef void rpc_reply_fn(void *arg, int err, struct slice body);
/* 0 or -errno (-EKEYREJECTED: no secret can be shared with this server's key). */
int rpc_client_start(struct rpc_client **ret, uv_loop_t *loop, const char *url,
                     const struct identity *identity, const struct peers *peers,
                     const struct peer *server) _must_check_;
/* body is copied. 0, -ENOMEM, -ENOBUFS (64 calls wait), -E2BIG, -ECANCELED (stopped). */
int rpc_call(struct rpc_client *c, struct slice body, usec_t timeout, rpc_reply_fn *on_reply,
             void *arg) _must_check_;
usec_t
rpc_heard_at(const struct rpc_client *c); /* BOOTTIME of the last frame that opened, 0 = never */
void rpc_client_stop(struct rpc_client *c);
struct rpc_client *rpc_client_free(struct rpc_client *c);
