/* socket.c - raw nng sockets under uv_poll. */
#include "proto/socket.h"

#include <errno.h>
#include <nng/protocol/pubsub0/pub.h>
#include <nng/protocol/pubsub0/sub.h>
#include <nng/protocol/reqrep0/rep.h>
#include <nng/protocol/reqrep0/req.h>
#include <pthread.h>
#include <stdlib.h>

#include "proto/limits.h"

/*
 * Traps of nng 1.5.2 that this file is built around (all but the last hold for 1.10 too):
 * - the fds must be fetched before listen or dial, or a wake-up can be lost;
 * - both fds are read-polled, also the one that says "room to send", and both are level-triggered;
 * - REP without SENDBUF says EAGAIN after each reply though nobody is slow; REQ with one keeps
 *   requests for an absent server and delivers them hours later;
 * - an unset RECVMAXSZ lets a few bytes reserve gigabytes;
 * - uv_close of the polls comes before nng_close, or the recycled fd cannot be polled again;
 * - nng_close can wait for ever: see finish_close;
 * - its reconnect timer runs on the wall clock: the owners rebuild the socket after silence.
 */
#define MESSAGES_PER_WAKE_MAX 64
#define RECONNECT_MS_MIN      100
#define RECONNECT_MS_MAX      1000

struct socket {
    nng_socket nng;
    uv_poll_t receive, room;
    unsigned handles; /* polls that the loop still has */
    bool closing, has_receive, has_room;
    socket_message_fn *on_message;
    socket_room_fn *on_room;
    void *arg;
};

static const struct {
    int (*open)(nng_socket *);
    bool listens, receives, waits_for_room;
    int receive_buffer, send_buffer;
} kinds[] = {
    [SOCKET_REP] = {nng_rep0_open_raw, true, true, true, 256, 256},
    [SOCKET_REQ] = {nng_req0_open_raw, false, true, true, 64, 0},
    [SOCKET_PUB] = {nng_pub0_open_raw, true, false, false, 0, 1024},
    [SOCKET_SUB] = {nng_sub0_open_raw, false, true, false, 256, 0},
};

static int
negative_errno(int rv)
{
    switch (rv) {
    case 0: return 0;
    case NNG_EAGAIN: return -EAGAIN;
    case NNG_ENOMEM: return -ENOMEM;
    case NNG_EADDRINUSE: return -EADDRINUSE;
    case NNG_EADDRINVAL:
    case NNG_EINVAL: return -EINVAL;
    case NNG_ENOFILES: return -EMFILE;
    case NNG_EPERM: return -EPERM;
    default: return -EIO;
    }
}

/* ---- polls ---- */

static void on_receive(uv_poll_t *poll, int status, int events);

static void
on_receive(uv_poll_t *poll, int status, int events)
{
    struct socket *k = poll->data;

    (void) events;
    if (status < 0 && uv_poll_start(poll, UV_READABLE, on_receive) < 0)
        return; /* the owner's silence clock rebuilds the socket */
    for (int i = 0; i < MESSAGES_PER_WAKE_MAX && !k->closing; i++) {
        nng_msg *message;

        if (nng_recvmsg(k->nng, &message, NNG_FLAG_NONBLOCK) != 0)
            return;
        k->on_message(k->arg, message);
        nng_msg_free(message);
    }
}

static void
on_poll_room(uv_poll_t *poll, int status, int events)
{
    struct socket *k = poll->data;

    (void) status; /* either way: stop, and let the owner find out by sending */
    (void) events;
    uv_poll_stop(poll);
    if (!k->closing)
        k->on_room(k->arg);
}

static int
start_polls(struct socket *k, uv_loop_t *loop, int receive_fd, int room_fd)
{
    int r;

    if (receive_fd >= 0) {
        r = uv_poll_init(loop, &k->receive, receive_fd);
        if (r < 0)
            return r;
        k->receive.data = k;
        k->has_receive = true;
        r = uv_poll_start(&k->receive, UV_READABLE, on_receive);
        if (r < 0)
            return r;
    }
    if (room_fd >= 0) {
        r = uv_poll_init(loop, &k->room, room_fd);
        if (r < 0)
            return r;
        k->room.data = k;
        k->has_room = true;
    }
    return 0;
}

/* ---- open, send, close ---- */

static int
set_options(nng_socket s, enum socket_kind kind)
{
    int rv = nng_socket_set_size(s, NNG_OPT_RECVMAXSZ, FRAME_BYTES_MAX);

    if (rv == 0)
        rv = nng_socket_set_bool(s, NNG_OPT_TCP_KEEPALIVE, true);
    if (rv == 0)
        rv = nng_socket_set_int(s, NNG_OPT_RECVBUF, kinds[kind].receive_buffer);
    if (rv == 0 && kind != SOCKET_SUB)
        rv = nng_socket_set_int(s, NNG_OPT_SENDBUF, kinds[kind].send_buffer);
    if (rv == 0 && kinds[kind].waits_for_room) /* one hop: the header is exactly pipe and request */
        rv = nng_socket_set_int(s, NNG_OPT_MAXTTL, 1);
    if (rv == 0)
        rv = nng_socket_set_ms(s, NNG_OPT_RECONNMINT, RECONNECT_MS_MIN);
    if (rv == 0)
        rv = nng_socket_set_ms(s, NNG_OPT_RECONNMAXT, RECONNECT_MS_MAX);
    return rv;
}

static int
start_nng(struct socket *k, enum socket_kind kind, const char *url, int *ret_receive_fd,
          int *ret_room_fd)
{
    int rv = set_options(k->nng, kind);

    if (rv == 0 && kinds[kind].receives)
        rv = nng_socket_get_int(k->nng, NNG_OPT_RECVFD, ret_receive_fd);
    if (rv == 0 && kinds[kind].waits_for_room)
        rv = nng_socket_get_int(k->nng, NNG_OPT_SENDFD, ret_room_fd);
    if (rv == 0 && kinds[kind].listens)
        rv = nng_listen(k->nng, url, NULL, 0);
    else if (rv == 0)
        rv = nng_dial(k->nng, url, NULL, NNG_FLAG_NONBLOCK);
    return negative_errno(rv);
}

int
socket_open(struct socket **ret, uv_loop_t *loop, enum socket_kind kind, const char *url,
            socket_message_fn *on_message, socket_room_fn *on_room, void *arg)
{
    struct socket *k = calloc(1, sizeof(*k));
    int receive_fd = -1, room_fd = -1, r;

    if (!k)
        return -ENOMEM;
    k->on_message = on_message;
    k->on_room = on_room;
    k->arg = arg;
    r = negative_errno(kinds[kind].open(&k->nng));
    if (r < 0) {
        free(k);
        return r;
    }
    r = start_nng(k, kind, url, &receive_fd, &room_fd);
    if (r == 0)
        r = start_polls(k, loop, receive_fd, room_fd);
    if (r < 0) {
        socket_close(k);
        return r;
    }
    *ret = k;
    return 0;
}

int
socket_send(struct socket *k, nng_msg *message)
{
    int r = negative_errno(nng_sendmsg(k->nng, message, NNG_FLAG_NONBLOCK));

    if (r == -EAGAIN && k->has_room) {
        int started = uv_poll_start(&k->room, UV_READABLE, on_poll_room);

        if (started < 0)
            return started;
    }
    return r;
}

static void *
close_nng(void *arg)
{
    nng_close((nng_socket){.id = (uint32_t) (uintptr_t) arg});
    return NULL;
}

/*
 * nng_close waits for ever when a message arrives in that very moment (1.5.2 to 1.10.1: a read that
 * is stopped between a message's length and its body is never finished, and the pipe waits for it).
 * So it runs on a thread that knows nothing of ours but the socket's number, and that the end of
 * the process ends. Without a thread the socket is left to the end of the process as well.
 */
static void
finish_close(struct socket *k)
{
    pthread_t thread;

    if (pthread_create(&thread, NULL, close_nng, (void *) (uintptr_t) k->nng.id) == 0)
        pthread_detach(thread);
    free(k);
}

static void
on_poll_closed(uv_handle_t *handle)
{
    struct socket *k = handle->data;

    if (--k->handles == 0)
        finish_close(k);
}

void
socket_close(struct socket *k)
{
    if (!k || k->closing)
        return;
    k->closing = true;
    k->handles = (unsigned) k->has_receive + (unsigned) k->has_room;
    if (k->has_receive)
        uv_close((uv_handle_t *) &k->receive, on_poll_closed);
    if (k->has_room)
        uv_close((uv_handle_t *) &k->room, on_poll_closed);
    if (k->handles == 0)
        finish_close(k);
}
