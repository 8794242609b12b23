/* feed.c - three numbers, published often and believed never. */
#include "proto/feed.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "proto/message.h"
#include "proto/socket.h"
#include "proto/wire.h"

#define SILENCE_MAX    (15 * USEC_PER_SEC) /* PROTOCOL.md "Recovery of a hearing side" */
#define CHECK_MS       1000u
#define HINT_BYTES_MAX 64u /* four integers; anything longer is not a hint */
#define HINT_ELEMENTS  4u

/* ---- publisher ---- */

struct feed_publisher {
    struct socket *socket; /* NULL: stopped */
    struct wire_writer *writer;
};

static void
no_message(void *arg, nng_msg *m)
{
    (void) arg;
    (void) m;
}

static void
no_room(void *arg)
{
    (void) arg;
}

int
feed_publish_start(struct feed_publisher **ret, uv_loop_t *loop, const char *url)
{
    struct feed_publisher *p = calloc(1, sizeof(*p));
    int r = -ENOMEM;

    if (!p)
        return r;
    p->writer = wire_writer_new();
    if (p->writer)
        r = socket_open(&p->socket, loop, SOCKET_PUB, url, no_message, no_room, p);
    if (r < 0) {
        feed_publish_free(p);
        return r;
    }
    *ret = p;
    return 0;
}

void
feed_publish(struct feed_publisher *p, const struct hint *hint)
{
    struct slice body;
    nng_msg *m;

    if (!p->socket)
        return;
    wire_writer_reset(p->writer);
    wire_array(p->writer, HINT_ELEMENTS);
    wire_u64(p->writer, PROTOCOL_VERSION);
    wire_u64(p->writer, hint->term);
    wire_u64(p->writer, hint->map_version);
    wire_u64(p->writer, hint->content_version);
    if (wire_writer_done(p->writer, &body) < 0 || nng_msg_alloc(&m, 0) != 0)
        return; /* a hint may be lost: the next one comes in a second */
    if (nng_msg_append(m, body.data, body.bytes) != 0 || socket_send(p->socket, m) < 0)
        nng_msg_free(m);
}

void
feed_publish_stop(struct feed_publisher *p)
{
    socket_close(TAKE_PTR(p->socket));
}

struct feed_publisher *
feed_publish_free(struct feed_publisher *p)
{
    if (!p)
        return NULL;
    assert(!p->socket);
    wire_writer_free(p->writer);
    free(p);
    return NULL;
}

/* ---- subscriber ---- */

struct feed_subscriber {
    uv_loop_t *loop;
    char *url;
    struct socket *socket; /* NULL: it could not be opened again yet, or stopped */
    struct wire_reader *reader;
    uv_timer_t timer;
    usec_t heard_at; /* the last good hint, or the start of this socket */
    bool stopped;
    feed_hint_fn *on_hint;
    void *arg;
};

static bool
read_hint(struct wire_reader *r, struct slice body, struct hint *ret)
{
    struct hint h;
    uint64_t version;

    if (body.bytes > HINT_BYTES_MAX || wire_read_open(r, body) < 0)
        return false;
    (void) wire_read_record(r, HINT_ELEMENTS, HINT_ELEMENTS);
    version = wire_read_u64(r, UINT32_MAX);
    h.term = wire_read_u64(r, INT64_MAX);
    h.map_version = wire_read_u64(r, INT64_MAX);
    h.content_version = wire_read_u64(r, INT64_MAX);
    if (wire_read_close(r) < 0 || version != PROTOCOL_VERSION)
        return false;
    *ret = h;
    return true;
}

static void
on_message(void *arg, nng_msg *m)
{
    struct feed_subscriber *s = arg;
    struct hint hint;

    if (!read_hint(s->reader, (struct slice){nng_msg_body(m), nng_msg_len(m)}, &hint))
        return;
    s->heard_at = clock_boot();
    s->on_hint(s->arg, &hint);
}

static int
open_socket(struct feed_subscriber *s)
{
    s->heard_at = clock_boot();
    return socket_open(&s->socket, s->loop, SOCKET_SUB, s->url, on_message, no_room, s);
}

/* A half-open connection looks like a quiet one: only our own clock tells them apart. */
static void
on_timer(uv_timer_t *timer)
{
    struct feed_subscriber *s = timer->data;

    if (clock_boot() < s->heard_at + SILENCE_MAX)
        return;
    socket_close(TAKE_PTR(s->socket));
    /* When it fails (no fds) there is no socket until the silence is over once more. */
    if (open_socket(s) < 0)
        s->socket = NULL;
}

int
feed_subscribe_start(struct feed_subscriber **ret, uv_loop_t *loop, const char *url,
                     feed_hint_fn *on_hint, void *arg)
{
    struct feed_subscriber *s = calloc(1, sizeof(*s));
    int r = -ENOMEM;

    if (!s)
        return r;
    s->loop = loop;
    s->on_hint = on_hint;
    s->arg = arg;
    s->url = strdup(url);
    s->reader = wire_reader_new();
    if (s->url && s->reader)
        r = open_socket(s);
    if (r < 0) {
        s->stopped = true;
        feed_subscribe_free(s);
        return r;
    }
    uv_timer_init(loop, &s->timer);
    s->timer.data = s;
    uv_timer_start(&s->timer, on_timer, CHECK_MS, CHECK_MS);
    *ret = s;
    return 0;
}

void
feed_subscribe_stop(struct feed_subscriber *s)
{
    if (s->stopped)
        return;
    s->stopped = true;
    uv_close((uv_handle_t *) &s->timer, NULL);
    socket_close(TAKE_PTR(s->socket));
}

struct feed_subscriber *
feed_subscribe_free(struct feed_subscriber *s)
{
    if (!s)
        return NULL;
    assert(s->stopped);
    wire_reader_free(s->reader);
    free(s->url);
    free(s);
    return NULL;
}
