/* libmicrohttpd without threads: its epoll fd and its timeouts are pumped by the loop. */
#include "shared/httpd.h"

#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <microhttpd.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "shared/clock.h"
#include "shared/parse.h"

#define SWEEP_MS          200u
#define HEAD_BYTES_MAX    16384u
#define CONNECTIONS_SPARE 8u /* for those that were cut and that MHD has yet to close */
#define LISTEN_BACKLOG    64
#define UNTIL_CUT         USEC_INFINITY /* deadline of a connection that was cut */

struct httpd_request {
    struct httpd *httpd;
    struct MHD_Connection *connection; /* NULL: this place is free */
    int fd;
    usec_t deadline; /* of what the client has to do now */
    bool answered;
    enum MHD_Result queued;
};

struct httpd {
    struct MHD_Daemon *daemon;
    uv_poll_t poll;
    uv_timer_t timer, sweep;
    httpd_request_fn *on_request;
    void *arg;
    usec_t idle;
    uint16_t port;
    bool running; /* inside MHD_run: it must not be entered again */
    bool stopping;
    unsigned connection_count, connections_max;
    unsigned place_count;
    struct httpd_request places[]; /* one a connection */
};

static void on_sweep(uv_timer_t *timer);

/* ---- connections ---- */

/*
 * MHD's own timeout counts from the last byte, so that a byte now and then holds a connection for
 * ever. Ours counts from the start of what is awaited: the head, then that the answer is taken.
 * shutdown makes MHD see the end and close; the fd is never closed behind its back.
 */
static void
cut(struct httpd_request *r)
{
    shutdown(r->fd, SHUT_RDWR);
    r->deadline = UNTIL_CUT;
}

/* Newcomers are served: the one that has kept us waiting longest goes. */
static void
make_room(struct httpd *h)
{
    struct httpd_request *oldest = NULL;
    for (unsigned i = 0; i < h->place_count; i++) {
        struct httpd_request *r = &h->places[i];
        if (r->connection && r->deadline != UNTIL_CUT &&
            (!oldest || r->deadline < oldest->deadline))
            oldest = r;
    }
    if (oldest)
        cut(oldest);
}

static void
on_connection(void *arg, struct MHD_Connection *connection, void **context,
              enum MHD_ConnectionNotificationCode what)
{
    struct httpd *h = arg;
    if (what == MHD_CONNECTION_NOTIFY_CLOSED) {
        struct httpd_request *gone = *context;
        gone->connection = NULL;
        if (--h->connection_count == 0 && !h->stopping)
            uv_timer_stop(&h->sweep);
        return;
    }
    if (h->connection_count >= h->connections_max)
        make_room(h);
    struct httpd_request *r = h->places;
    while (r->connection) {
        r++;
        assert(r < h->places + h->place_count); /* MHD's limit is place_count */
    }
    *r = (struct httpd_request){
        .httpd = h,
        .connection = connection,
        .fd = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD)->connect_fd,
        .deadline = clock_boot() + h->idle,
    };
    *context = r;
    if (h->connection_count++ == 0)
        uv_timer_start(&h->sweep, on_sweep, SWEEP_MS, SWEEP_MS);
}

static struct httpd_request *
request_of(struct MHD_Connection *connection)
{
    return MHD_get_connection_info(connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT)->socket_context;
}

static void
on_completed(void *arg, struct MHD_Connection *connection, void **state _unused_,
             enum MHD_RequestTerminationCode why _unused_)
{
    struct httpd *h = arg;
    struct httpd_request *r = request_of(connection);
    r->answered = false;
    if (r->deadline != UNTIL_CUT)
        r->deadline = clock_boot() + 2 * h->idle; /* it may idle, then send its next head */
}

/* ---- requests ---- */

void
httpd_answer(struct httpd_request *r, unsigned status, const char *type, const char *body,
             size_t bytes)
{
    assert(!r->answered);
    r->answered = true;
    r->queued = MHD_NO; /* out of memory: the connection is closed */
    /* MHD copies because of MUST_COPY and so never writes through the pointer. */
    struct MHD_Response *response =
        MHD_create_response_from_buffer(bytes, (void *) (uintptr_t) body, MHD_RESPMEM_MUST_COPY);
    if (!response)
        return;
    if (MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, type) == MHD_YES &&
        MHD_add_response_header(response, MHD_HTTP_HEADER_CACHE_CONTROL, "no-store") == MHD_YES &&
        (status != MHD_HTTP_METHOD_NOT_ALLOWED ||
         MHD_add_response_header(response, MHD_HTTP_HEADER_ALLOW, "GET, HEAD") == MHD_YES))
        r->queued = MHD_queue_response(r->connection, status, response);
    MHD_destroy_response(response);
}

/* MHD calls once for the head, then for each piece of a body, then once for the answer. */
static enum MHD_Result
on_access(void *arg, struct MHD_Connection *connection, const char *path, const char *method,
          const char *version _unused_, const char *body _unused_, size_t *body_bytes, void **state)
{
    struct httpd *h = arg;
    struct httpd_request *r = request_of(connection);
    bool is_head_call = *state == NULL;
    *state = r;
    if (*body_bytes) {
        *body_bytes = 0; /* nobody asked for it */
        return MHD_YES;
    }
    if (r->answered)
        return MHD_YES;
    if (is_head_call) {
        static const char text[] = "only GET and HEAD\n";
        if (r->deadline != UNTIL_CUT)
            r->deadline = clock_boot() + h->idle;
        if (strcmp(method, MHD_HTTP_METHOD_GET) == 0 || strcmp(method, MHD_HTTP_METHOD_HEAD) == 0)
            return MHD_YES;
        httpd_answer(r, MHD_HTTP_METHOD_NOT_ALLOWED, "text/plain", text, sizeof(text) - 1);
        return r->queued;
    }
    const char *ignored;
    size_t ignored_bytes;
    struct httpd_view view = {
        .method = method,
        .path = path,
        .verbose = MHD_lookup_connection_value_n(connection, MHD_GET_ARGUMENT_KIND, "verbose", 7,
                                                 &ignored, &ignored_bytes) == MHD_YES,
    };
    h->on_request(h->arg, r, &view);
    assert(r->answered);
    return r->queued;
}

/* ---- the loop ---- */

static void on_timer(uv_timer_t *timer);

static void
pump(struct httpd *h)
{
    if (h->running || h->stopping)
        return;
    h->running = true;
    MHD_run(h->daemon);
    h->running = false;
    MHD_UNSIGNED_LONG_LONG ms;
    if (MHD_get_timeout(h->daemon, &ms) == MHD_YES)
        uv_timer_start(&h->timer, on_timer, ms, 0);
    else
        uv_timer_stop(&h->timer);
}

static void on_poll(uv_poll_t *poll, int status, int events);

static void
listen_to_poll(struct httpd *h)
{
    int rc = uv_poll_start(&h->poll, UV_READABLE, on_poll);
    assert(rc == 0); /* fails only for a handle that closes */
}

static void
on_poll(uv_poll_t *poll, int status, int events _unused_)
{
    struct httpd *h = poll->data;
    pump(h);
    if (status < 0 && !h->stopping)
        listen_to_poll(h); /* libuv stopped the handle before it told the error */
}

static void
on_timer(uv_timer_t *timer)
{
    pump(timer->data);
}

static void
on_sweep(uv_timer_t *timer)
{
    struct httpd *h = timer->data;
    usec_t now = clock_boot();
    for (unsigned i = 0; i < h->place_count; i++) {
        struct httpd_request *r = &h->places[i];
        if (r->connection && r->deadline <= now)
            cut(r);
    }
    pump(h);
}

/* ---- start and stop ---- */

static int
open_listener(const char *address, uint16_t *ret_port)
{
    char ip[46];
    uint16_t port;
    if (parse_address(address, ip, &port) < 0)
        return -EINVAL;
    struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_port = htons(port)};
    struct sockaddr_in6 v6 = {.sin6_family = AF_INET6, .sin6_port = htons(port)};
    bool is_v4 = inet_pton(AF_INET, ip, &v4.sin_addr) == 1;
    if (!is_v4 && inet_pton(AF_INET6, ip, &v6.sin6_addr) != 1)
        return -EINVAL;
    const struct sockaddr *at =
        is_v4 ? (const struct sockaddr *) &v4 : (const struct sockaddr *) &v6;
    socklen_t at_bytes = is_v4 ? sizeof(v4) : sizeof(v6);
    int one = 1;
    int fd = socket(at->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -errno;
    union {
        struct sockaddr any;
        struct sockaddr_in v4;
        struct sockaddr_in6 v6;
    } bound;
    socklen_t bound_bytes = sizeof(bound);
    if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) < 0 ||
        bind(fd, at, at_bytes) < 0 || listen(fd, LISTEN_BACKLOG) < 0 ||
        getsockname(fd, &bound.any, &bound_bytes) < 0) {
        int rc = -errno;
        close(fd);
        return rc;
    }
    *ret_port = ntohs(is_v4 ? bound.v4.sin_port : bound.v6.sin6_port);
    return fd;
}

static int
start_daemon(struct httpd *h, int listener, unsigned idle_seconds)
{
    h->daemon = MHD_start_daemon(MHD_USE_EPOLL, 0, NULL, NULL, on_access, h,
                                 MHD_OPTION_LISTEN_SOCKET, listener, MHD_OPTION_CONNECTION_LIMIT,
                                 h->place_count, MHD_OPTION_CONNECTION_TIMEOUT, idle_seconds,
                                 MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t) HEAD_BYTES_MAX,
                                 MHD_OPTION_NOTIFY_CONNECTION, on_connection, h,
                                 MHD_OPTION_NOTIFY_COMPLETED, on_completed, h, MHD_OPTION_END);
    return h->daemon ? 0 : -ENOMEM;
}

int
httpd_start(struct httpd **ret, uv_loop_t *loop, const char *address, unsigned connections_max,
            unsigned idle_seconds, httpd_request_fn *on_request, void *arg)
{
    assert(connections_max > 0 && idle_seconds > 0);
    unsigned place_count = connections_max + CONNECTIONS_SPARE;
    struct httpd *h = calloc(1, sizeof(*h) + place_count * sizeof(h->places[0]));
    if (!h)
        return -ENOMEM;
    h->on_request = on_request;
    h->arg = arg;
    h->idle = idle_seconds * USEC_PER_SEC;
    h->connections_max = connections_max;
    h->place_count = place_count;
    int listener = open_listener(address, &h->port);
    int rc = listener < 0 ? listener : start_daemon(h, listener, idle_seconds);
    if (rc < 0) {
        if (listener >= 0)
            close(listener);
        free(h);
        return rc;
    }
    int fd = MHD_get_daemon_info(h->daemon, MHD_DAEMON_INFO_EPOLL_FD)->epoll_fd;
    rc = uv_poll_init(loop, &h->poll, fd);
    if (rc < 0) {
        h->stopping = true;
        MHD_stop_daemon(h->daemon);
        free(h);
        return rc;
    }
    uv_timer_init(loop, &h->timer);
    uv_timer_init(loop, &h->sweep);
    h->poll.data = h->timer.data = h->sweep.data = h;
    listen_to_poll(h);
    *ret = h;
    return 0;
}

uint16_t
httpd_port(const struct httpd *h)
{
    return h->port;
}

void
httpd_stop(struct httpd *h)
{
    assert(!h->running);
    if (h->stopping)
        return;
    h->stopping = true;
    /* before MHD closes its fd, or the number may be another's when libuv lets go of it */
    uv_poll_stop(&h->poll);
    uv_close((uv_handle_t *) &h->poll, NULL);
    uv_close((uv_handle_t *) &h->timer, NULL);
    uv_close((uv_handle_t *) &h->sweep, NULL);
    MHD_stop_daemon(h->daemon);
    h->daemon = NULL;
}

struct httpd *
httpd_free(struct httpd *h)
{
    assert(!h || !h->daemon);
    free(h);
    return NULL;
}
