/* fakeprovider.c - the fake Cloud API server: one thread, epoll, kept-alive HTTP/1.1. */
#include "provider.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "shared/heap.h"
#include "shared/parse.h"

enum phase {
    PHASE_READ,
    PHASE_WAIT /* answer is due later */,
    PHASE_WRITE,
    PHASE_HELD /* never answered */
};

struct connection {
    struct heap_item wake; /* delayed answer, next dripped byte */
    int fd;
    enum phase phase;
    unsigned served;
    char in[REQUEST_BYTES_MAX];
    size_t in_bytes;
    struct request request;
    size_t request_bytes; /* head + body of the request in `in` */
    struct answer answer;
    char out[ANSWER_BYTES_MAX + 512];
    size_t out_bytes, out_done;
    bool close_after;
};

struct server {
    struct provider provider;
    int epoll, listener, signals;
    struct heap wakes;
    bool stopping;
};

static void
close_connection(struct server *s, struct connection *c, bool reset)
{
    heap_remove(&s->wakes, &c->wake);
    if (c->phase == PHASE_HELD || c->phase == PHASE_WAIT || c->phase == PHASE_WRITE)
        provider_receipt(&s->provider, &c->request, &c->answer, 0);
    if (reset)
        (void) setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &(struct linger){1, 0},
                          sizeof(struct linger));
    close(c->fd);
    free(c);
}

/* One header's value inside the head, or NULL. */
static const char *
header(const char *head, size_t bytes, const char *name, size_t *ret_bytes)
{
    size_t n = strlen(name);
    for (const char *p = head; (size_t) (p - head) + n < bytes;) {
        const char *end = memmem(p, bytes - (size_t) (p - head), "\r\n", 2);
        if (!end)
            return NULL;
        if ((size_t) (end - p) > n && strncasecmp(p, name, n) == 0 && p[n] == ':') {
            const char *v = p + n + 1;
            while (v < end && *v == ' ')
                v++;
            *ret_bytes = (size_t) (end - v);
            return v;
        }
        p = end + 2;
    }
    return NULL;
}

/* 1 = a whole request is there, 0 = more is needed, -1 = bad. */
static int
parse_request(struct connection *c)
{
    const char *end = memmem(c->in, c->in_bytes, "\r\n\r\n", 4);
    if (!end)
        return c->in_bytes == sizeof(c->in) ? -1 : 0;
    size_t head = (size_t) (end - c->in) + 4, n = 0;
    struct request *q = &c->request;
    uint32_t length = 0;
    const char *v = header(c->in, head, "Content-Length", &n);
    if (v && parse_u32(v, n, 0, REQUEST_BYTES_MAX, &length) < 0)
        return -1;
    if (head + length > sizeof(c->in))
        return -1;
    if (c->in_bytes < head + length)
        return 0;
    char line[640];
    size_t line_bytes = (size_t) ((const char *) memmem(c->in, head, "\r\n", 2) - c->in);
    snprintf(line, sizeof(line), "%.*s", (int) MIN_OF(line_bytes, sizeof(line) - 1), c->in);
    if (sscanf(line, "%7s %511s", q->method, q->path) != 2)
        return -1;
    q->bearer[0] = '\0';
    v = header(c->in, head, "Authorization", &n);
    if (v && n > 7 && strncasecmp(v, "Bearer ", 7) == 0)
        snprintf(q->bearer, sizeof(q->bearer), "%.*s", (int) MIN_OF(n - 7, sizeof(q->bearer) - 1),
                 v + 7);
    q->body = c->in + head;
    q->body_bytes = length;
    q->reused = c->served > 0;
    c->request_bytes = head + length;
    return 1;
}

static void
fill_out(struct connection *c)
{
    struct answer *a = &c->answer;
    int n = snprintf(c->out, sizeof(c->out), "HTTP/1.1 %u %s\r\nContent-Type: %s\r\n%s%s\r\n",
                     a->status, a->status < 300 ? "OK" : "Refused", a->type,
                     a->fault == FAULT_LAST ? "Connection: close\r\n" : "",
                     a->fault == FAULT_BAD_CHUNK ? "Transfer-Encoding: chunked\r\n" : "");
    size_t head = (size_t) n;
    if (a->fault != FAULT_BAD_CHUNK)
        head = head - 2 +
               (size_t) snprintf(c->out + head - 2, sizeof(c->out) - head + 2,
                                 "Content-Length: %zu\r\n\r\n", a->body_bytes);
    else
        head +=
            (size_t) snprintf(c->out + head, sizeof(c->out) - head, "%zx\r\n", a->body_bytes + 10);
    memcpy(c->out + head, a->body, a->body_bytes);
    c->out_bytes = head + a->body_bytes;
    c->out_done = 0;
    c->close_after = a->fault == FAULT_LAST || a->fault == FAULT_CUT_BODY ||
                     a->fault == FAULT_CUT_HEAD || a->fault == FAULT_BAD_CHUNK;
    if (a->fault == FAULT_CUT_BODY)
        c->out_bytes = head + a->body_bytes / 2;
    if (a->fault == FAULT_CUT_HEAD)
        c->out_bytes = 26;
}

static void read_more(struct server *s, struct connection *c);

static void
finish_request(struct server *s, struct connection *c, usec_t ended)
{
    bool whole = c->answer.fault != FAULT_CUT_BODY && c->answer.fault != FAULT_CUT_HEAD &&
                 c->answer.fault != FAULT_BAD_CHUNK;
    provider_receipt(&s->provider, &c->request, &c->answer, whole ? ended : 0);
    c->phase = PHASE_READ;
    c->served++;
    if (c->close_after) {
        close_connection(s, c, false);
        return;
    }
    memmove(c->in, c->in + c->request_bytes, c->in_bytes - c->request_bytes);
    c->in_bytes -= c->request_bytes;
    c->request.first_byte = c->in_bytes ? clock_boot() : 0;
    if (c->in_bytes)
        read_more(s, c);
}

/* The end of the answer is read before its last byte is given to the kernel: never too late. */
static void
write_out(struct server *s, struct connection *c)
{
    while (c->out_done < c->out_bytes) {
        size_t n = c->answer.drip_ms ? 1 : c->out_bytes - c->out_done;
        usec_t now = clock_boot();
        ssize_t w = send(c->fd, c->out + c->out_done, n, MSG_NOSIGNAL);
        if (w < 0 && (errno == EAGAIN || errno == EINTR)) {
            heap_put(&s->wakes, &c->wake, now + USEC_PER_MSEC);
            return;
        }
        if (w < 0) {
            close_connection(s, c, false);
            return;
        }
        c->out_done += (size_t) w;
        if (c->out_done == c->out_bytes) {
            finish_request(s, c, now);
            return;
        }
        if (c->answer.drip_ms) {
            heap_put(&s->wakes, &c->wake, now + c->answer.drip_ms * USEC_PER_MSEC);
            return;
        }
    }
}

static void
start_answer(struct server *s, struct connection *c)
{
    provider_judge(&s->provider, &c->request, &c->answer);
    switch (c->answer.fault) {
    case FAULT_CLOSE:
    case FAULT_REUSED:
    case FAULT_REJECT_CLOSE:
        c->phase = PHASE_WAIT; /* so that the receipt is written */
        close_connection(s, c, false);
        return;
    case FAULT_HANG: c->phase = PHASE_HELD; return;
    default: break;
    }
    fill_out(c);
    if (c->answer.delay) {
        c->phase = PHASE_WAIT;
        heap_put(&s->wakes, &c->wake, clock_boot() + c->answer.delay);
        return;
    }
    c->phase = PHASE_WRITE;
    write_out(s, c);
}

static void
read_more(struct server *s, struct connection *c)
{
    int rc = parse_request(c);
    if (rc < 0)
        close_connection(s, c, false);
    else if (rc > 0) {
        c->request.last_byte = clock_boot();
        start_answer(s, c);
    }
}

/*
 * Reads; *ret_at = when the kernel had the bytes, which is their sender's time: this process may
 * have waited for a CPU since, and then a request that left before an order would look as if it
 * came after it.
 */
static ssize_t
read_stamped(int fd, char *to, size_t room, usec_t *ret_at)
{
    union {
        struct cmsghdr header;
        char room[CMSG_SPACE(sizeof(struct timespec))];
    } control;
    struct iovec part = {to, room};
    struct msghdr m = {.msg_iov = &part,
                       .msg_iovlen = 1,
                       .msg_control = &control,
                       .msg_controllen = sizeof(control)};
    ssize_t n = recvmsg(fd, &m, MSG_DONTWAIT);
    usec_t boot = clock_boot(), real = clock_real(), at = real;
    for (struct cmsghdr *h = n > 0 ? CMSG_FIRSTHDR(&m) : NULL; h; h = CMSG_NXTHDR(&m, h))
        if (h->cmsg_level == SOL_SOCKET && h->cmsg_type == SCM_TIMESTAMPNS) {
            struct timespec t;
            memcpy(&t, CMSG_DATA(h), sizeof(t));
            at = (usec_t) t.tv_sec * USEC_PER_SEC + (usec_t) t.tv_nsec / 1000;
        }
    *ret_at = at < real && real - at < USEC_PER_SEC ? boot - (real - at) : boot;
    return n;
}

static void
on_readable(struct server *s, struct connection *c)
{
    if (c->phase != PHASE_READ) { /* only its end can be news here */
        char end[1];
        ssize_t n = recv(c->fd, end, 1, MSG_PEEK | MSG_DONTWAIT);
        if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
            close_connection(s, c, false);
        return;
    }
    char probe[1]; /* an end of the connection must not use up a reset */
    if (c->in_bytes == 0 && recv(c->fd, probe, 1, MSG_PEEK | MSG_DONTWAIT) == 1 &&
        provider_resets(&s->provider)) {
        close_connection(s, c, true);
        return;
    }
    usec_t at;
    ssize_t n = read_stamped(c->fd, c->in + c->in_bytes, sizeof(c->in) - c->in_bytes, &at);
    if (n <= 0) {
        if (n == 0 || (errno != EAGAIN && errno != EINTR))
            close_connection(s, c, false);
        return;
    }
    if (c->in_bytes == 0)
        c->request.first_byte = at;
    c->in_bytes += (size_t) n;
    read_more(s, c);
}

static void
on_listener(struct server *s)
{
    for (;;) {
        int fd = accept4(s->listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0)
            return;
        int one = 1;
        (void) setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
        (void) setsockopt(fd, SOL_SOCKET, SO_TIMESTAMPNS, &one, sizeof(one));
        struct connection *c = calloc(1, sizeof(*c));
        if (!c || heap_reserve(&s->wakes, (uint32_t) fd + 16) < 0) {
            free(c);
            close(fd);
            continue;
        }
        c->fd = fd;
        c->wake.index = HEAP_ABSENT;
        struct epoll_event e = {.events = EPOLLIN | EPOLLRDHUP, .data.ptr = c};
        if (epoll_ctl(s->epoll, EPOLL_CTL_ADD, fd, &e) < 0)
            close_connection(s, c, false);
    }
}

static void
on_wakes(struct server *s)
{
    struct heap_item *top;
    while ((top = heap_top(&s->wakes)) && top->key <= clock_boot()) {
        struct connection *c = container_of(top, struct connection, wake);
        heap_remove(&s->wakes, top);
        c->phase = PHASE_WRITE;
        write_out(s, c);
    }
}

static void
serve(struct server *s)
{
    struct epoll_event events[64];
    while (!s->stopping) {
        struct heap_item *top = heap_top(&s->wakes);
        usec_t now = clock_boot();
        int wait = !top ? 200
                   : top->key <= now
                       ? 0
                       : (int) MIN_OF((top->key - now) / USEC_PER_MSEC + 1, (usec_t) 200);
        int n = epoll_wait(s->epoll, events, ARRAY_SIZE(events), wait);
        for (int i = 0; i < n; i++) {
            if (events[i].data.ptr == &s->listener)
                on_listener(s);
            else if (events[i].data.ptr == &s->signals)
                s->stopping = true;
            else
                on_readable(s, events[i].data.ptr);
        }
        on_wakes(s);
        fflush(s->provider.receipts); /* a reader of the log sees what was answered */
    }
}

static int
listen_on(const char *address)
{
    struct sockaddr_in in = {.sin_family = AF_INET};
    char ip[46];
    uint16_t port;
    if (parse_address(address, ip, &port) < 0 || inet_pton(AF_INET, ip, &in.sin_addr) != 1)
        return -EINVAL;
    in.sin_port = htons(port);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), one = 1;
    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) < 0 ||
        bind(fd, (struct sockaddr *) &in, sizeof(in)) < 0 || listen(fd, 4096) < 0) {
        int err = -errno;
        if (fd >= 0)
            close(fd);
        return err;
    }
    return fd;
}

static int
prepare(struct server *s, const char *address)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigprocmask(SIG_BLOCK, &set, NULL);
    signal(SIGPIPE, SIG_IGN);
    struct rlimit files;
    if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
        files.rlim_cur = files.rlim_max;
        (void) setrlimit(RLIMIT_NOFILE, &files);
    }
    s->signals = signalfd(-1, &set, SFD_CLOEXEC);
    s->epoll = epoll_create1(EPOLL_CLOEXEC);
    s->listener = listen_on(address);
    if (s->listener < 0)
        return s->listener;
    struct epoll_event a = {.events = EPOLLIN, .data.ptr = &s->listener},
                       b = {.events = EPOLLIN, .data.ptr = &s->signals};
    if (s->signals < 0 || s->epoll < 0 || epoll_ctl(s->epoll, EPOLL_CTL_ADD, s->listener, &a) < 0 ||
        epoll_ctl(s->epoll, EPOLL_CTL_ADD, s->signals, &b) < 0)
        return -errno;
    return heap_init(&s->wakes, 4096);
}

int
main(int argc, char **argv)
{
    static struct server s;
    const char *address = "127.0.0.1:0", *receipts = NULL;
    uint32_t seed = 1, low = 0, high = 0;
    static const struct option options[] = {
        {"listen", 1, NULL, 'l'},         {"receipts", 1, NULL, 'r'},       {"seed", 1, NULL, 's'},
        {"latency-min-ms", 1, NULL, 'a'}, {"latency-max-ms", 1, NULL, 'b'}, {0}};
    int o, bad = 0;
    while ((o = getopt_long(argc, argv, "", options, NULL)) != -1) {
        if (o == 'l')
            address = optarg;
        else if (o == 'r')
            receipts = optarg;
        else
            bad |= o == '?' || parse_u32(optarg, strlen(optarg), 0, UINT32_MAX,
                                         o == 's'   ? &seed
                                         : o == 'a' ? &low
                                                    : &high) < 0;
    }
    if (bad || !receipts) {
        fprintf(stderr, "usage: fakeprovider --listen IP:PORT --receipts FILE [--seed N] "
                        "[--latency-min-ms N --latency-max-ms N]\n");
        return 2;
    }
    rng_seed(&s.provider.rng, seed);
    s.provider.latency_min_ms = low;
    s.provider.latency_max_ms = high;
    s.provider.receipts = fopen(receipts, "ae");
    if (!s.provider.receipts) {
        fprintf(stderr, "fakeprovider: %s: %s\n", receipts, strerror(errno));
        return 1;
    }
    setvbuf(s.provider.receipts, NULL, _IOFBF, 1 << 16);
    int rc = prepare(&s, address);
    if (rc < 0) {
        fprintf(stderr, "fakeprovider: %s: %s\n", address, strerror(-rc));
        return 1;
    }
    struct sockaddr_in in;
    socklen_t n = sizeof(in);
    getsockname(s.listener, (struct sockaddr *) &in, &n);
    printf("http://127.0.0.1:%u\n", ntohs(in.sin_port));
    fflush(stdout);
    serve(&s);
    heap_done(&s.wakes);
    return fclose(s.provider.receipts) == 0 ? 0 : 1;
}
