/* feed.c - the hint: 24 bytes, published and heard, with a subscriber that takes a new socket after
 * silence. */
#include "proto/feed.h"

#include <errno.h>
#include <nng/nng.h>
#include <stdlib.h>
#include <string.h>

#include "proto/message.h"
#include "proto/socket.h"
#include "proto/wire.h"

#define CHECK_MS        1000u
#define REBUILD_SILENCE (15 * USEC_PER_SEC)

struct feed_publisher {
    struct socket *socket;
    struct wire_writer *writer;
};

struct feed_subscriber {
    uv_loop_t *loop;
    char *url;
    struct socket *socket; /* NULL: could not be opened again yet, or stopped */
    struct wire_reader *reader;
    uv_timer_t timer;
    usec_t heard_at;
    bool stopped;
    feed_hint_fn *on_hint;
    void *arg;
};

/* ---- publishing ---- */

/* A PUB socket hears nothing and always has room. */
static void
ignore_message(void *arg, nng_msg *message)
{
    (void) arg;
    (void) message;
}

static void
ignore_room(void *arg)
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
        r = socket_open(&p->socket, loop, SOCKET_PUB, url, ignore_message, ignore_room, p);
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

    wire_writer_reset(p->writer);
    wire_array(p->writer, 4);
    wire_u64(p->writer, PROTOCOL_VERSION);
    wire_u64(p->writer, hint->term);
    wire_u64(p->writer, hint->map_version);
    wire_u64(p->writer, hint->content_version);
    /* A lost hint costs nothing: reports ask each second anyway. */
    if (wire_writer_done(p->writer, &body) < 0 || nng_msg_alloc(&m, 0) != 0)
        return;
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
    if (p)
        wire_writer_free(p->writer);
    free(p);
    return NULL;
}

/* ---- hearing ---- */

static void
on_message(void *arg, nng_msg *m)
{
    struct feed_subscriber *s = arg;
    struct hint hint;

    if (wire_read_open(s->reader, (struct slice){nng_msg_body(m), nng_msg_len(m)}) < 0)
        return;
    wire_read_array(s->reader, 4, 4);
    if (wire_read_u64(s->reader, PROTOCOL_VERSION) != PROTOCOL_VERSION)
        wire_read_fail(s->reader);
    hint.term = wire_read_u64(s->reader, INT64_MAX);
    hint.map_version = wire_read_u64(s->reader, INT64_MAX);
    hint.content_version = wire_read_u64(s->reader, INT64_MAX);
    if (wire_read_close(s->reader) < 0)
        return;
    s->heard_at = clock_boot();
    s->on_hint(s->arg, &hint);
}

static int
open_socket(struct feed_subscriber *s)
{
    s->heard_at = clock_boot();
    return socket_open(&s->socket, s->loop, SOCKET_SUB, s->url, on_message, ignore_room, s);
}

/* A half-open connection looks like a quiet one; nng's own reconnect timer runs on the wall clock.
 */
static void
on_timer(uv_timer_t *timer)
{
    struct feed_subscriber *s = timer->data;

    if (clock_boot() < s->heard_at + REBUILD_SILENCE)
        return;
    socket_close(TAKE_PTR(s->socket));
    if (open_socket(s) < 0)
        s->socket = NULL; /* tried again after the next silence */
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
    socket_close(TAKE_PTR(s->socket));
    uv_close((uv_handle_t *) &s->timer, NULL);
}

struct feed_subscriber *
feed_subscribe_free(struct feed_subscriber *s)
{
    if (s) {
        wire_reader_free(s->reader);
        free(s->url);
    }
    free(s);
    return NULL;
}
