/*
 * small_server.h - an HTTP server in a thread that does one misdeed per POST, and counts.
 *
 * For test_transport alone. The n-th whole POST gets acts[n], the last act repeats. `posts` counts
 * whole requests that were read: what a provider could have sent on.
 */
#pragma once
#include <arpa/inet.h>
#include <assert.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "shared/parse.h"

enum act {
    ANSWER,       /* 200 with an id, kept alive */
    ANSWER_CLOSE, /* the same, but then closes the idle connection */
    REFUSE,       /* 400 with code 131026 */
    FIN,          /* no answer */
    RST,
    HANG,
    BODY_CUT,
    CHUNK_CUT,
    HEADER_CUT,
    LONG_BODY, /* 256 KiB of valid JSON with an id */
    LONGER_BODY,
    LONG_HEAD,
    NO_HTTP,
    REDIRECT,
    HTML_502
};

#define SERVER_CONNECTIONS_MAX 64
#define SERVER_REQUEST_MAX     65536

struct server_connection {
    int fd;
    size_t bytes;
    char data[SERVER_REQUEST_MAX];
};
struct server {
    const enum act *acts;
    unsigned act_count;
    int listener, stop[2];
    uint16_t port;
    pthread_t thread;
    sem_t closed; /* posted at each close of ours */
    sem_t read;   /* posted at each whole POST */
    atomic_uint posts, connections;
    char last[SERVER_REQUEST_MAX]; /* read it when nothing is in flight */
    struct server_connection all[SERVER_CONNECTIONS_MAX];
};

static void
server_write(int fd, const char *data, size_t bytes)
{
    while (bytes > 0) {
        ssize_t n = send(fd, data, bytes, MSG_NOSIGNAL);

        if (n <= 0)
            return; /* the client has gone: its right */
        data += n;
        bytes -= (size_t) n;
    }
}

static void
server_close(struct server *s, struct server_connection *c, bool reset)
{
    struct linger linger = {.l_onoff = reset};

    setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &linger, sizeof linger);
    close(c->fd);
    c->fd = -1;
    sem_post(&s->closed);
}

static void
server_answer(int fd, const char *status, const char *body, size_t declared)
{
    char head[256];
    int n = snprintf(head, sizeof head,
                     "HTTP/1.1 %s\r\nContent-Type: application/json\r\nContent-Length: %zu\r\n"
                     "Location: /elsewhere\r\n\r\n",
                     status, declared);

    server_write(fd, head, (size_t) n);
    server_write(fd, body, strlen(body));
}

/* JSON with an id, of exactly that length. */
static void
server_answer_long(int fd, size_t bytes)
{
    static const char start[] = "{\"messages\":[{\"id\":\"wamid.long\"}],\"x\":\"";
    char *body = malloc(bytes + 1);

    assert(body);
    memset(body, 'x', bytes);
    memcpy(body, start, sizeof start - 1);
    memcpy(body + bytes - 2, "\"}", 3);
    server_answer(fd, "200 OK", body, bytes);
    free(body);
}

static void
server_act(struct server *s, struct server_connection *c)
{
    unsigned n = atomic_fetch_add(&s->posts, 1);
    enum act act = s->acts[n < s->act_count ? n : s->act_count - 1];
    char body[128];

    snprintf(body, sizeof body, "{\"messages\":[{\"id\":\"wamid.%u\"}]}", n);
    switch (act) {
    case ANSWER:
    case ANSWER_CLOSE: server_answer(c->fd, "200 OK", body, strlen(body)); break;
    case REFUSE:
        snprintf(body, sizeof body, "{\"error\":{\"message\":\"m\",\"code\":131026}}");
        server_answer(c->fd, "400 Bad Request", body, strlen(body));
        break;
    case BODY_CUT: server_answer(c->fd, "200 OK", body, strlen(body) + 1); break;
    case CHUNK_CUT: {
        static const char chunk[] = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
                                    "20\r\n{\"messages\":[{\"id\":\"wamid.cut\"}";

        server_write(c->fd, chunk, sizeof chunk - 1);
        break;
    }
    case HEADER_CUT: server_write(c->fd, "HTTP/1.1 200 OK\r\nContent-Le", 27); break;
    case LONG_BODY: server_answer_long(c->fd, 256 * 1024); break;
    case LONGER_BODY: server_answer_long(c->fd, 256 * 1024 + 1); break;
    case LONG_HEAD:
        server_write(c->fd, "HTTP/1.1 200 OK\r\n", 17);
        for (int i = 0; i < 3000; i++)
            server_write(c->fd, "X-Line: 0123456789012345678901234567890\r\n", 41);
        break;
    case NO_HTTP: server_write(c->fd, "hello there\r\n", 13); break;
    case REDIRECT: server_answer(c->fd, "307 Temporary Redirect", "", 0); break;
    case HTML_502: server_answer(c->fd, "502 Bad Gateway", "<html></html>", 13); break;
    case FIN:
    case RST:
    case HANG: break;
    }
    if (act != ANSWER && act != REFUSE && act != HANG && act != LONG_BODY && act != REDIRECT &&
        act != HTML_502)
        server_close(s, c, act == RST);
    sem_post(&s->read);
}

/* A whole request in the buffer: acts on it. */
static void
server_look(struct server *s, struct server_connection *c)
{
    char *head_end, *length;
    uint64_t body;
    size_t whole;

    c->data[c->bytes] = '\0';
    head_end = strstr(c->data, "\r\n\r\n");
    length = strstr(c->data, "Content-Length: ");
    if (!head_end || !length)
        return;
    length += strlen("Content-Length: ");
    if (parse_u64(length, strcspn(length, "\r"), 0, SERVER_REQUEST_MAX, &body) < 0)
        assert(!"a length that is no number");
    whole = (size_t) (head_end - c->data) + 4 + body;
    if (c->bytes < whole)
        return;
    memcpy(s->last, c->data, whole);
    s->last[whole] = '\0';
    memmove(c->data, c->data + whole, c->bytes - whole);
    c->bytes -= whole;
    server_act(s, c);
}

static void
server_accept(struct server *s)
{
    int fd = accept(s->listener, NULL, NULL), now = 1;

    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &now, sizeof now);
    for (int i = 0; fd >= 0 && i < SERVER_CONNECTIONS_MAX; i++)
        if (s->all[i].fd < 0) {
            s->all[i].fd = fd;
            s->all[i].bytes = 0;
            atomic_fetch_add(&s->connections, 1);
            return;
        }
    assert(!"too many connections");
}

static void
server_read(struct server *s, struct server_connection *c)
{
    ssize_t n = recv(c->fd, c->data + c->bytes, SERVER_REQUEST_MAX - 1 - c->bytes, 0);

    if (n <= 0) {
        close(c->fd);
        c->fd = -1;
        return;
    }
    c->bytes += (size_t) n;
    server_look(s, c);
}

static void *
server_run(void *arg)
{
    struct server *s = arg;

    for (;;) {
        struct pollfd fds[SERVER_CONNECTIONS_MAX + 2];

        for (int i = 0; i < SERVER_CONNECTIONS_MAX; i++)
            fds[i] = (struct pollfd){.fd = s->all[i].fd, .events = POLLIN};
        fds[SERVER_CONNECTIONS_MAX] = (struct pollfd){.fd = s->listener, .events = POLLIN};
        fds[SERVER_CONNECTIONS_MAX + 1] = (struct pollfd){.fd = s->stop[0], .events = POLLIN};
        if (poll(fds, SERVER_CONNECTIONS_MAX + 2, -1) < 0)
            continue;
        if (fds[SERVER_CONNECTIONS_MAX + 1].revents)
            return NULL;
        for (int i = 0; i < SERVER_CONNECTIONS_MAX; i++)
            if (fds[i].revents)
                server_read(s, &s->all[i]);
        if (fds[SERVER_CONNECTIONS_MAX].revents)
            server_accept(s);
    }
}

/* A listening socket on a free port of 127.0.0.1. */
static int
listen_anywhere(int backlog, int receive_bytes, uint16_t *ret_port)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof a;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), r = 0;

    assert(fd >= 0);
    if (receive_bytes > 0)
        r |= setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &receive_bytes, sizeof receive_bytes);
    r |= bind(fd, (struct sockaddr *) &a, sizeof a);
    r |= listen(fd, backlog);
    r |= getsockname(fd, (struct sockaddr *) &a, &length);
    assert(r == 0);
    *ret_port = ntohs(a.sin_port);
    return fd;
}

static struct server *
server_start(const enum act *acts, unsigned act_count)
{
    struct server *s = calloc(1, sizeof *s);
    int r;

    assert(s);
    s->acts = acts;
    s->act_count = act_count;
    for (int i = 0; i < SERVER_CONNECTIONS_MAX; i++)
        s->all[i].fd = -1;
    s->listener = listen_anywhere(SERVER_CONNECTIONS_MAX, 0, &s->port);
    r = pipe(s->stop) | sem_init(&s->closed, 0, 0) | sem_init(&s->read, 0, 0);
    assert(r == 0);
    r = pthread_create(&s->thread, NULL, server_run, s);
    assert(r == 0);
    return s;
}

static void
server_stop(struct server *s)
{
    close(s->stop[1]);
    pthread_join(s->thread, NULL);
    for (int i = 0; i < SERVER_CONNECTIONS_MAX; i++)
        if (s->all[i].fd >= 0)
            close(s->all[i].fd);
    close(s->listener);
    close(s->stop[0]);
    sem_destroy(&s->closed);
    sem_destroy(&s->read);
    free(s);
}
