/* rpc_server.c - the answering side: opens what comes, hands it up, seals answers in any order. */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "proto/rpc.h"
#include "proto/socket.h"

/* nng takes 256 more by itself; a reader that is slower than that many answers loses some, and asks
 * again. */
#define ANSWERS_WAITING_MAX       256u
#define ANSWERS_WAITING_BYTES_MAX (16u * 1024u * 1024u)

struct rpc_server {
    struct socket *socket; /* NULL: stopped */
    struct seal_server *seal;
    rpc_request_fn *on_request;
    void *arg;
    nng_msg *waiting[ANSWERS_WAITING_MAX]; /* a ring: nng had no room */
    unsigned first, count;
    size_t waiting_bytes;
};

static uint32_t
get_u32(const uint8_t *p)
{
    return (uint32_t) p[0] << 24 | (uint32_t) p[1] << 16 | (uint32_t) p[2] << 8 | p[3];
}

/* ---- answers out ---- */

static void
drop_waiting(struct rpc_server *s)
{
    for (; s->count > 0; s->count--, s->first = (s->first + 1) % ANSWERS_WAITING_MAX)
        nng_msg_free(s->waiting[s->first]);
    s->waiting_bytes = 0;
}

static void
on_room(void *arg)
{
    struct rpc_server *s = arg;

    while (s->count > 0) {
        nng_msg *m = s->waiting[s->first];
        size_t bytes = nng_msg_len(m);
        int r = socket_send(s->socket, m);

        if (r == -EAGAIN)
            return;
        if (r < 0)
            nng_msg_free(m);
        s->waiting_bytes -= bytes;
        s->first = (s->first + 1) % ANSWERS_WAITING_MAX;
        s->count--;
    }
}

static int
put_waiting(struct rpc_server *s, nng_msg *m)
{
    if (s->count == ANSWERS_WAITING_MAX ||
        nng_msg_len(m) > ANSWERS_WAITING_BYTES_MAX - s->waiting_bytes)
        return -ENOBUFS;
    s->waiting[(s->first + s->count) % ANSWERS_WAITING_MAX] = m;
    s->count++;
    s->waiting_bytes += nng_msg_len(m);
    return 0;
}

static int
send_frame(struct rpc_server *s, uint32_t pipe, uint32_t request, struct slice frame)
{
    nng_msg *m;
    int r = -EAGAIN; /* behind those that wait already */

    if (nng_msg_alloc(&m, 0) != 0)
        return -ENOMEM;
    if (nng_msg_header_append_u32(m, pipe) != 0 || nng_msg_header_append_u32(m, request) != 0 ||
        nng_msg_append(m, frame.data, frame.bytes) != 0) {
        nng_msg_free(m);
        return -ENOMEM;
    }
    if (s->count == 0)
        r = socket_send(s->socket, m);
    if (r == -EAGAIN)
        r = put_waiting(s, m);
    if (r < 0)
        nng_msg_free(m);
    return r;
}

int
rpc_reply(struct rpc_server *s, struct rpc_ticket ticket, struct slice body)
{
    struct slice frame;
    int r;

    if (!s->socket)
        return 0; /* nobody is there any more: as for a gone peer */
    r = seal_server_reply(s->seal, ticket.session, ticket.request, body, &frame);
    if (r == -ESTALE)
        return 0;
    return r < 0 ? r : send_frame(s, ticket.pipe, ticket.request, frame);
}

/* ---- requests in ---- */

static void
on_message(void *arg, nng_msg *m)
{
    struct rpc_server *s = arg;
    const uint8_t *header = nng_msg_header(m);
    struct slice frame = {nng_msg_body(m), nng_msg_len(m)}, out = {0};
    struct rpc_ticket ticket = {0};
    const struct peer *peer = NULL;

    if (nng_msg_header_len(m) != 8)
        return;
    ticket.pipe = get_u32(header);
    ticket.request = get_u32(header + 4);
    switch (seal_server_take(s->seal, ticket.request, frame, &out, &ticket.session, &peer)) {
    case SEAL_DROPPED: break;
    case SEAL_REPLY_NOW:
        /* A hello whose answer finds no room is asked again by its client. */
        (void) !send_frame(s, ticket.pipe, ticket.request, out);
        break;
    case SEAL_BODY: s->on_request(s->arg, ticket, peer, out); break;
    }
}

/* ---- life ---- */

int
rpc_server_start(struct rpc_server **ret, uv_loop_t *loop, const char *url,
                 const struct identity *identity, const struct peers *peers,
                 rpc_request_fn *on_request, void *arg)
{
    struct rpc_server *s = calloc(1, sizeof(*s));
    int r = -ENOMEM;

    if (!s)
        return r;
    s->on_request = on_request;
    s->arg = arg;
    s->seal = seal_server_new(identity, peers);
    if (s->seal)
        r = socket_open(&s->socket, loop, SOCKET_REP, url, on_message, on_room, s);
    if (r < 0) {
        rpc_server_free(s);
        return r;
    }
    *ret = s;
    return 0;
}

const uint64_t *
rpc_server_drops(const struct rpc_server *s)
{
    return seal_server_drops(s->seal);
}

void
rpc_server_stop(struct rpc_server *s)
{
    socket_close(TAKE_PTR(s->socket));
    drop_waiting(s);
}

struct rpc_server *
rpc_server_free(struct rpc_server *s)
{
    if (!s)
        return NULL;
    assert(!s->socket);
    seal_server_free(s->seal);
    free(s);
    return NULL;
}
