/* rpc_client.c - the asking side: keeps a session open, asks again after silence, ends every call.
 */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include "proto/rpc.h"
#include "proto/socket.h"
#include "shared/secret.h"

/* PROTOCOL.md "Recovery of an asking side". */
#define SILENCE_MIN     (1 * USEC_PER_SEC)
#define SILENCE_MAX     (5 * USEC_PER_SEC)
#define REBUILD_SILENCE (15 * USEC_PER_SEC)
#define CALLS_MAX       64u
#define REQUEST_BIT     0x80000000u /* without it nng takes the message and never delivers it */

struct call {
    TAILQ_ENTRY(call) link;
    uint32_t id; /* the same when sent again */
    bool sent;   /* on the present session */
    usec_t deadline;
    rpc_reply_fn *on_reply;
    void *arg;
    size_t bytes;
    char body[];
};
TAILQ_HEAD(calls, call);

enum phase {
    PHASE_GREET, /* a hello waits for room */
    PHASE_ASKED, /* the hello is out */
    PHASE_OPEN   /* calls may be sent */
};

struct rpc_client {
    uv_loop_t *loop;
    char *url;
    struct socket *socket; /* NULL: it could not be opened again yet, or stopped */
    struct seal_client *seal;
    uv_timer_t timer;
    bool stopped, blocked; /* blocked: the last hello found no room */
    enum phase phase;
    struct calls calls; /* all that wait for an answer, oldest first */
    unsigned call_count;
    uint32_t next_id;
    usec_t silence; /* how long to bear before the next hello */
    /* Since when nobody answered, 0 = nothing is owed: the clock of the next hello starts with a
     * call or a hello, that of a new socket with a call; both stop or start anew when a frame
     * opens. */
    usec_t quiet_since, deaf_since;
    usec_t heard_at;
};

static void on_message(void *arg, nng_msg *m);
static void on_room(void *arg);
static void on_timer(uv_timer_t *timer);

/* ---- the timer: one, at the earliest of what may have to be done ---- */

static void
arm(struct rpc_client *c)
{
    usec_t now = clock_boot(), at = USEC_INFINITY;
    struct call *call;

    if (c->stopped)
        return;
    if (c->call_count == 0) {
        uv_timer_stop(&c->timer);
        return;
    }
    TAILQ_FOREACH (call, &c->calls, link)
        at = MIN_OF(at, call->deadline);
    at = MIN_OF(at, c->quiet_since + c->silence);
    at = MIN_OF(at, c->deaf_since + REBUILD_SILENCE);
    uv_update_time(c->loop); /* uv counts from its cached time, the callbacks compare the clock */
    uv_timer_start(&c->timer, on_timer, at > now ? (at - now) / USEC_PER_MSEC + 1 : 1, 0);
}

/* ---- out ---- */

static int
send_frame(struct rpc_client *c, uint32_t id, struct slice frame)
{
    nng_msg *m;
    int r;

    if (!c->socket)
        return -EAGAIN;
    if (nng_msg_alloc(&m, 0) != 0)
        return -ENOMEM;
    if (nng_msg_header_append_u32(m, id) != 0 || nng_msg_append(m, frame.data, frame.bytes) != 0) {
        nng_msg_free(m);
        return -ENOMEM;
    }
    r = socket_send(c->socket, m);
    if (r < 0)
        nng_msg_free(m);
    return r;
}

static uint32_t
new_id(struct rpc_client *c)
{
    return c->next_id++ | REQUEST_BIT;
}

static void
greet(struct rpc_client *c)
{
    struct slice frame;
    int r = seal_client_hello(c->seal, &frame);

    if (r == 0)
        r = send_frame(c, new_id(c), frame);
    if (r < 0) {
        c->blocked = true; /* on_room or the silence clock comes back here */
        return;
    }
    if (c->blocked)
        c->silence = SILENCE_MIN; /* the connection is new: its silence has not been tried */
    c->blocked = false;
    c->phase = PHASE_ASKED;
    c->quiet_since = clock_boot();
}

/* Sends what may be sent now. Never calls back. */
static void
pump(struct rpc_client *c)
{
    struct call *call;

    if (c->phase == PHASE_GREET)
        greet(c);
    if (c->phase == PHASE_OPEN)
        TAILQ_FOREACH (call, &c->calls, link) {
            struct slice frame;

            if (call->sent)
                continue;
            if (seal_client_seal(c->seal, call->id, (struct slice){call->body, call->bytes},
                                 &frame) < 0 ||
                send_frame(c, call->id, frame) < 0)
                break; /* on_room, or the silence clock */
            call->sent = true;
        }
    arm(c);
}

static void
on_room(void *arg)
{
    pump(arg);
}

/* ---- in ---- */

/* The callback is the last thing: it may call again, or stop the client. */
static void
finish(struct call *call, int err, struct slice body)
{
    call->on_reply(call->arg, err, body);
    free(call);
}

static void
unlink_call(struct rpc_client *c, struct call *call)
{
    TAILQ_REMOVE(&c->calls, call, link);
    c->call_count--;
}

static struct call *
find_call(struct rpc_client *c, uint32_t id)
{
    struct call *call;

    TAILQ_FOREACH (call, &c->calls, link)
        if (call->id == id)
            return call;
    return NULL;
}

static void
on_message(void *arg, nng_msg *m)
{
    struct rpc_client *c = arg;
    const uint8_t *h = nng_msg_header(m);
    struct slice frame = {nng_msg_body(m), nng_msg_len(m)}, body = {0};
    struct call *answered = NULL;
    enum seal_in in;
    uint32_t id;

    if (nng_msg_header_len(m) != 4)
        return;
    id = (uint32_t) h[0] << 24 | (uint32_t) h[1] << 16 | (uint32_t) h[2] << 8 | h[3];
    in = seal_client_take(c->seal, id, frame, &body);
    if (in == SEAL_DROPPED)
        return;
    if (in == SEAL_REPLY_NOW)
        c->phase = PHASE_OPEN;
    else
        c->silence = SILENCE_MIN;
    if (in == SEAL_BODY)
        answered = find_call(c, id); /* NULL: given up, or answered before; the first one counted */
    if (answered)
        unlink_call(c, answered);
    c->heard_at = clock_boot();
    c->quiet_since = c->deaf_since = c->call_count > 0 ? c->heard_at : 0;
    pump(c);
    if (answered)
        finish(answered, 0, body);
}

/* ---- time ---- */

static void
expire(struct rpc_client *c, usec_t now)
{
    struct call *call = TAILQ_FIRST(&c->calls);

    while (call) {
        if (call->deadline > now) {
            call = TAILQ_NEXT(call, link);
            continue;
        }
        unlink_call(c, call);
        finish(call, -ETIMEDOUT, (struct slice){0});
        call = TAILQ_FIRST(&c->calls); /* the callback may have changed the list, or emptied it */
    }
}

static void
rebuild(struct rpc_client *c, usec_t now)
{
    socket_close(TAKE_PTR(c->socket));
    c->deaf_since = now;
    /* When it fails (no fds) there is no socket until the silence is over once more. */
    if (socket_open(&c->socket, c->loop, SOCKET_REQ, c->url, on_message, on_room, c) < 0)
        c->socket = NULL;
}

/* A new session, and everything that waits is sent again on it. */
static void
start_over(struct rpc_client *c, usec_t now)
{
    struct call *call;

    TAILQ_FOREACH (call, &c->calls, link)
        call->sent = false;
    c->phase = PHASE_GREET;
    c->silence = MIN_OF(2 * c->silence, SILENCE_MAX);
    c->quiet_since = now;
}

static void
on_timer(uv_timer_t *timer)
{
    struct rpc_client *c = timer->data;
    usec_t now = clock_boot();

    expire(c, now);
    if (c->stopped)
        return;
    if (c->call_count > 0 && now >= c->deaf_since + REBUILD_SILENCE) {
        rebuild(c, now);
        start_over(c, now);
    } else if (c->call_count > 0 && now >= c->quiet_since + c->silence) {
        start_over(c, now);
    }
    pump(c);
}

/* ---- life ---- */

int
rpc_client_start(struct rpc_client **ret, uv_loop_t *loop, const char *url,
                 const struct identity *identity, const struct peers *peers,
                 const struct peer *server)
{
    struct rpc_client *c = calloc(1, sizeof(*c));
    struct slice unused;
    int r = -ENOMEM;

    if (!c)
        return r;
    TAILQ_INIT(&c->calls);
    c->loop = loop;
    c->silence = SILENCE_MIN;
    secret_random(&c->next_id, sizeof(c->next_id)); /* a restarted asker's ids are new ones */
    c->url = strdup(url);
    c->seal = seal_client_new(identity, peers, server);
    if (c->seal && c->url)
        r = seal_client_hello(c->seal, &unused); /* whether this server can be greeted at all */
    if (r == 0)
        r = socket_open(&c->socket, loop, SOCKET_REQ, url, on_message, on_room, c);
    if (r < 0) {
        c->stopped = true;
        rpc_client_free(c);
        return r;
    }
    uv_timer_init(loop, &c->timer);
    c->timer.data = c;
    pump(c); /* the first hello leaves as soon as the connection is up */
    *ret = c;
    return 0;
}

int
rpc_call(struct rpc_client *c, struct slice body, usec_t timeout, rpc_reply_fn *on_reply, void *arg)
{
    usec_t now = clock_boot();
    struct call *call;

    if (c->stopped)
        return -ECANCELED;
    if (body.bytes > BODY_BYTES_MAX)
        return -E2BIG;
    if (c->call_count == CALLS_MAX)
        return -ENOBUFS;
    call = malloc(sizeof(*call) + body.bytes);
    if (!call)
        return -ENOMEM;
    *call = (struct call){.id = new_id(c),
                          .deadline = timeout < USEC_INFINITY - now ? now + timeout : USEC_INFINITY,
                          .on_reply = on_reply,
                          .arg = arg,
                          .bytes = body.bytes};
    if (body.bytes > 0)
        memcpy(call->body, body.data, body.bytes);
    if (c->quiet_since == 0)
        c->quiet_since = now;
    if (c->deaf_since == 0)
        c->deaf_since = now;
    TAILQ_INSERT_TAIL(&c->calls, call, link);
    c->call_count++;
    pump(c);
    return 0;
}

usec_t
rpc_heard_at(const struct rpc_client *c)
{
    return c->heard_at;
}

void
rpc_client_stop(struct rpc_client *c)
{
    struct call *call;

    if (c->stopped)
        return;
    c->stopped = true;
    uv_close((uv_handle_t *) &c->timer, NULL);
    socket_close(TAKE_PTR(c->socket));
    while ((call = TAILQ_FIRST(&c->calls))) {
        unlink_call(c, call);
        finish(call, -ECANCELED, (struct slice){0});
    }
}

struct rpc_client *
rpc_client_free(struct rpc_client *c)
{
    if (!c)
        return NULL;
    assert(c->stopped && c->call_count == 0);
    seal_client_free(c->seal);
    free(c->url);
    free(c);
    return NULL;
}
