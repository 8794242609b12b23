/* Opens, watches and closes the sockets of libcurl on the loop. */
#include "node/transport_sockets.h"

#include <errno.h>
#include <linux/sockios.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#define DESCRIPTORS_MAX 65536 /* LimitNOFILE of the unit is 16384 */

struct watched {
    uv_poll_t poll;
    struct sockets *owner;
    struct watched *next; /* free list */
    int fd;
    int events; /* what libcurl wants now, 0 = nothing */
};

struct sockets {
    uv_loop_t *loop;
    sockets_ready_fn *on_ready;
    void *arg;
    struct watched *free;
    struct watched *all;
    struct watched *by_fd[DESCRIPTORS_MAX];
};

struct sockets *
sockets_new(uv_loop_t *loop, unsigned count_max, sockets_ready_fn *on_ready, void *arg)
{
    struct sockets *s = calloc(1, sizeof *s);

    if (!s)
        return NULL;
    s->all = calloc(count_max, sizeof *s->all);
    if (!s->all)
        return sockets_free(s);
    s->loop = loop;
    s->on_ready = on_ready;
    s->arg = arg;
    for (unsigned i = 0; i < count_max; i++) {
        s->all[i].owner = s;
        s->all[i].next = s->free;
        s->free = &s->all[i];
    }
    return s;
}

struct sockets *
sockets_free(struct sockets *s)
{
    if (!s)
        return NULL;
    free(s->all);
    free(s);
    return NULL;
}

static void
on_closed(uv_handle_t *handle)
{
    struct watched *w = handle->data;

    w->next = w->owner->free;
    w->owner->free = w;
}

/* Before the descriptor is closed: the loop lets go of it at once, its number may come again. */
static void
let_go(struct watched *w)
{
    w->owner->by_fd[w->fd] = NULL;
    w->events = 0;
    uv_close((uv_handle_t *) &w->poll, on_closed);
}

/* NULL: no room, or the loop cannot poll it. */
static struct watched *
adopt(struct sockets *s, int fd)
{
    struct watched *w = s->free;

    if (fd >= DESCRIPTORS_MAX)
        return NULL;
    if (s->by_fd[fd])
        let_go(s->by_fd[fd]); /* closed behind our back, and the number came again */
    if (!w || uv_poll_init(s->loop, &w->poll, fd) < 0)
        return NULL;
    s->free = w->next;
    w->poll.data = w;
    w->fd = fd;
    w->events = 0;
    s->by_fd[fd] = w;
    return w;
}

static void
on_poll(uv_poll_t *poll, int status, int events)
{
    struct watched *w = poll->data;
    struct sockets *s = w->owner;
    int fd = w->fd, mask = 0;

    /* A reset comes as an error status, and libuv has stopped the handle: without this the
     * transfer would hear of it only by its timeout. */
    if (status < 0)
        mask = CURL_CSELECT_ERR;
    if (events & UV_READABLE)
        mask |= CURL_CSELECT_IN;
    if (events & UV_WRITABLE)
        mask |= CURL_CSELECT_OUT;
    s->on_ready(s->arg, fd, mask);
    if (status < 0 && s->by_fd[fd] == w && w->events)
        uv_poll_start(&w->poll, w->events, on_poll);
}

int
sockets_watch(struct sockets *s, int fd, int what, bool keep)
{
    struct watched *w = fd < DESCRIPTORS_MAX ? s->by_fd[fd] : NULL;

    if (what == CURL_POLL_REMOVE) {
        if (w && keep) {
            w->events = 0;
            uv_poll_stop(&w->poll);
        } else if (w)
            let_go(w);
        return 0;
    }
    if (!w)
        w = adopt(s, fd);
    if (!w)
        return -1;
    w->events = (what & CURL_POLL_IN ? UV_READABLE : 0) | (what & CURL_POLL_OUT ? UV_WRITABLE : 0);
    return uv_poll_start(&w->poll, w->events, on_poll) < 0 ? -1 : 0;
}

static curl_socket_t
open_socket(void *arg, curlsocktype purpose, struct curl_sockaddr *address)
{
    int fd = socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);

    if (fd < 0)
        return CURL_SOCKET_BAD;
    if (adopt(arg, fd))
        return fd;
    close(fd);
    return CURL_SOCKET_BAD;
}

/* What the kernel has not delivered yet must die with the socket, or a request that we gave up
 * could still arrive whole after its device has gone on. */
static int
close_socket(void *arg, curl_socket_t fd)
{
    struct sockets *s = arg;
    int unsent = 0;

    if (s->by_fd[fd])
        let_go(s->by_fd[fd]);
    if (ioctl(fd, SIOCOUTQ, &unsent) < 0 || unsent > 0) {
        struct linger reset = {.l_onoff = 1, .l_linger = 0};

        (void) setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
    }
    return close(fd);
}

int
sockets_attach(struct sockets *s, CURL *easy)
{
    if (curl_easy_setopt(easy, CURLOPT_OPENSOCKETFUNCTION, open_socket) ||
        curl_easy_setopt(easy, CURLOPT_OPENSOCKETDATA, s) ||
        curl_easy_setopt(easy, CURLOPT_CLOSESOCKETFUNCTION, close_socket) ||
        curl_easy_setopt(easy, CURLOPT_CLOSESOCKETDATA, s))
        return -EINVAL;
    return 0;
}
