/* feed.c - the hint: 24 bytes, published and heard, with a subscriber that takes a new socket after
 * silence. */
#include "proto/feed.h"

#include <errno.h>
#include <nng/nng.h>
#include <stdlib.h>
#include <string.h>

#include "proto/socket.h"

#define HINT_BYTES      24u /* term, map version, content version: big endian */
#define CHECK_MS        1000u
#define REBUILD_SILENCE (15 * USEC_PER_SEC)

struct feed_publisher {
    struct socket *socket;
};

struct feed_subscriber {
    uv_loop_t *loop;
    char *url;
    struct socket *socket; /* NULL: could not be opened again yet, or stopped */
    uv_timer_t timer;
    usec_t heard_at;
    bool stopped;
    feed_hint_fn *on_hint;
    void *arg;
};

static void
put_u64(uint8_t *p, uint64_t v)
{
    for (unsigned i = 0; i < 8; i++)
        p[i] = (uint8_t) (v >> (56 - 8 * i));
}

static uint64_t
get_u64(const uint8_t *p)
{
    uint64_t v = 0;

    for (unsigned i = 0; i < 8; i++)
        v = v << 8 | p[i];
    return v;
}

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
    int r;

    if (!p)
        return -ENOMEM;
    r = socket_open(&p->socket, loop, SOCKET_PUB, url, ignore_message, ignore_room, p);
    if (r < 0) {
        free(p);
        return r;
    }
    *ret = p;
    return 0;
}

void
feed_publish(struct feed_publisher *p, const struct hint *hint)
{
    uint8_t bytes[HINT_BYTES];
    nng_msg *m;

    put_u64(bytes, hint->term);
    put_u64(bytes + 8, hint->map_version);
    put_u64(bytes + 16, hint->content_version);
    if (nng_msg_alloc(&m, 0) != 0)
        return; /* a lost hint costs nothing: reports ask each second anyway */
    if (nng_msg_append(m, bytes, sizeof(bytes)) != 0 || socket_send(p->socket, m) < 0)
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
    free(p);
    return NULL;
}

/* ---- hearing ---- */

static void
on_message(void *arg, nng_msg *m)
{
    struct feed_subscriber *s = arg;
    const uint8_t *p = nng_msg_body(m);

    if (nng_msg_len(m) != HINT_BYTES)
        return;
    s->heard_at = clock_boot();
    s->on_hint(s->arg, &(struct hint){get_u64(p), get_u64(p + 8), get_u64(p + 16)});
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
    if (s->url)
        r = open_socket(s);
    if (r < 0) {
        free(s->url);
        free(s);
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
    if (s)
        free(s->url);
    free(s);
    return NULL;
}
