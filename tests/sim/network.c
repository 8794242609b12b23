/*
 * proto/rpc.h and proto/feed.h on a simulated network: bodies as proto/message.c wrote them, lost,
 * late, twice, or not at all while two hosts are cut off. The seal is not modelled: who asks is
 * known by the process. As the real client, it asks again after a second of silence.
 */
#include "tests/sim/network.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include "proto/feed.h"
#include "proto/rpc.h"

#define AGAIN USEC_PER_SEC

struct network network;

struct rpc_server {
    struct process *process;
    char url[64];
    rpc_request_fn *on_request;
    void *arg;
    struct rpc_server *next;
    bool stopped;
};

struct call { /* of a client; known by its number to who answers */
    TAILQ_ENTRY(call) link;
    struct rpc_client *client;
    uint64_t number;
    char *body;
    size_t bytes;
    struct event again, deadline;
    rpc_reply_fn *on_reply;
    void *arg;
};
struct rpc_client {
    struct process *process;
    char url[64];
    bool stopped;
    usec_t heard;
    TAILQ_HEAD(, call) calls;
};
struct packet {
    struct event event;
    uint64_t number; /* of the call */
    bool reply;
    char url[64];
    size_t bytes;
    char body[];
};

static struct rpc_server *servers;
static struct rpc_client *clients[64];
static unsigned client_count;
static uint64_t last_number;
static const struct peer admin_peer = {.name = "operator", .role = ROLE_ADMIN};
static const struct peer node_peer = {.name = "node", .role = ROLE_NODE};

static struct call *
find_call(uint64_t number)
{
    struct call *c;

    for (unsigned i = 0; i < client_count; i++)
        TAILQ_FOREACH (c, &clients[i]->calls, link)
            if (c->number == number)
                return c;
    return NULL;
}

static void
call_free(struct call *c)
{
    TAILQ_REMOVE(&c->client->calls, c, link);
    sim_take_out(&c->again);
    sim_take_out(&c->deadline);
    free(c->body);
    free(c);
}

/* ---- packets ---- */

static void
arrive_request(struct packet *p)
{
    struct call *c = find_call(p->number);
    struct rpc_server *s = servers;

    while (s && (s->stopped || strcmp(s->url, p->url) != 0))
        s = s->next;
    if (!s || s->process->dying || !c)
        return;
    if (s->process->stopped_until > sim.now) {
        struct packet *again = malloc(sizeof(*again) + p->bytes);

        assert(again);
        memcpy(again, p, sizeof(*again) + p->bytes);
        again->event.place = 0;
        sim_put(&again->event, s->process->stopped_until);
        return;
    }
    struct process *was = sim_enter(s->process);
    struct rpc_ticket ticket = {.session = p->number};

    s->on_request(s->arg, ticket,
                  strcmp(c->client->process->name, "operator") == 0 ? &admin_peer : &node_peer,
                  (struct slice){p->body, p->bytes});
    sim_leave(was);
}

static void
arrive_reply(struct packet *p)
{
    struct call *c = find_call(p->number);

    if (!c || c->client->process->dying)
        return;
    if (c->client->process->stopped_until > sim.now)
        return; /* its question is asked again */
    rpc_reply_fn *on_reply = c->on_reply;
    void *arg = c->arg;
    struct process *was = sim_enter(c->client->process);

    call_free(c);
    on_reply(arg, 0, (struct slice){p->body, p->bytes});
    sim_leave(was);
}

static void
on_packet(struct event *e)
{
    struct packet *p = container_of(e, struct packet, event);

    if (p->reply)
        arrive_reply(p);
    else
        arrive_request(p);
    free(p);
}

static void
drop_packet(struct event *e)
{
    free(container_of(e, struct packet, event));
}

static void
post_once(uint64_t number, bool reply, const char *url, struct slice body)
{
    struct packet *p = malloc(sizeof(*p) + body.bytes);

    assert(p);
    *p = (struct packet){.number = number, .reply = reply, .bytes = body.bytes};
    p->event =
        (struct event){.what = reply ? "reply" : "ask", .run = on_packet, .drop = drop_packet};
    strncpy(p->url, url, sizeof(p->url) - 1);
    memcpy(p->body, body.data, body.bytes);
    sim_put(&p->event, sim.now + sim_between(100, MAX_OF(network.delay_max, (usec_t) 2000)));
}

static void
post(uint64_t number, bool reply, const char *url, struct slice body)
{
    if (network.cut || sim_chance(network.lose))
        return;
    post_once(number, reply, url, body);
    if (sim_chance(network.twice))
        post_once(number, reply, url, body);
}

/* ---- the server ---- */

int
rpc_server_start(struct rpc_server **ret, uv_loop_t *loop, const char *url,
                 const struct identity *identity, const struct peers *peers,
                 rpc_request_fn *on_request, void *arg)
{
    struct rpc_server *s = calloc(1, sizeof(*s));

    if (!s)
        return -ENOMEM;
    *s = (struct rpc_server){.process = process_of(loop),
                             .on_request = on_request,
                             .arg = arg,
                             .next = servers};
    strncpy(s->url, url, sizeof(s->url) - 1);
    servers = s;
    *ret = s;
    return 0;
}

int
rpc_reply(struct rpc_server *s, struct rpc_ticket ticket, struct slice body)
{
    if (!s->process->dying)
        post(ticket.session, true, s->url, body);
    return 0;
}

void
rpc_server_stop(struct rpc_server *s)
{
    s->stopped = true;
}

struct rpc_server *
rpc_server_free(struct rpc_server *s)
{
    struct rpc_server **at = &servers;

    if (!s)
        return NULL;
    while (*at != s)
        at = &(*at)->next;
    *at = s->next;
    free(s);
    return NULL;
}

/* ---- the client ---- */

static void
on_again(struct event *e)
{
    struct call *c = container_of(e, struct call, again);

    post(c->number, false, c->client->url, (struct slice){c->body, c->bytes});
    sim_put(&c->again, sim.now + AGAIN);
}

static void
on_call_deadline(struct event *e)
{
    struct call *c = container_of(e, struct call, deadline);
    rpc_reply_fn *on_reply = c->on_reply;
    void *arg = c->arg;

    call_free(c);
    on_reply(arg, -ETIMEDOUT, (struct slice){0});
}

int
rpc_client_start(struct rpc_client **ret, uv_loop_t *loop, const char *url,
                 const struct identity *identity, const struct peers *peers,
                 const struct peer *server)
{
    struct rpc_client *c = calloc(1, sizeof(*c));

    if (!c)
        return -ENOMEM;
    c->process = process_of(loop);
    strncpy(c->url, url, sizeof(c->url) - 1);
    TAILQ_INIT(&c->calls);
    assert(client_count < ARRAY_SIZE(clients));
    clients[client_count++] = c;
    *ret = c;
    return 0;
}

/* An operator's client goes wherever the node listens now. */
int
rpc_call_to(struct rpc_client *client, const char *url, struct slice body, usec_t timeout,
            rpc_reply_fn *on_reply, void *arg)
{
    strncpy(client->url, url, sizeof(client->url) - 1);
    return rpc_call(client, body, timeout, on_reply, arg);
}

int
rpc_call(struct rpc_client *client, struct slice body, usec_t timeout, rpc_reply_fn *on_reply,
         void *arg)
{
    struct process *p = client->process;
    struct call *c = calloc(1, sizeof(*c));

    if (client->stopped || p->dying) {
        free(c);
        return -ECANCELED;
    }
    assert(c);
    *c = (struct call){.client = client,
                       .number = ++last_number,
                       .bytes = body.bytes,
                       .body = malloc(body.bytes + 1),
                       .on_reply = on_reply,
                       .arg = arg};
    assert(c->body);
    memcpy(c->body, body.data, body.bytes);
    c->again = (struct event){.process = p, .what = "ask again", .run = on_again};
    c->deadline = (struct event){.process = p, .what = "unanswered", .run = on_call_deadline};
    TAILQ_INSERT_TAIL(&client->calls, c, link);
    post(c->number, false, client->url, body);
    sim_put(&c->again, sim.now + AGAIN);
    sim_put(&c->deadline, sim.now + timeout);
    return 0;
}

usec_t
rpc_heard_at(const struct rpc_client *c)
{
    return c->heard;
}

static void
cancel_calls(void *arg)
{
    struct rpc_client *client = arg;
    struct call *c;

    while ((c = TAILQ_FIRST(&client->calls)) != NULL) {
        rpc_reply_fn *on_reply = c->on_reply;
        void *reply_arg = c->arg;

        call_free(c);
        on_reply(reply_arg, -ECANCELED, (struct slice){0});
    }
}

void
rpc_client_stop(struct rpc_client *c)
{
    c->stopped = true;
    process_at_close(c->process, cancel_calls, c);
}

struct rpc_client *
rpc_client_free(struct rpc_client *c)
{
    if (!c)
        return NULL;
    for (unsigned i = 0; i < client_count; i++)
        if (clients[i] == c)
            clients[i] = clients[--client_count];
    free(c);
    return NULL;
}

/* ---- the hint: it only means "ask now", and reports come each second anyway ---- */

struct feed_subscriber {
    feed_hint_fn *on_hint;
};

int
feed_subscribe_start(struct feed_subscriber **ret, uv_loop_t *loop, const char *url,
                     feed_hint_fn *on_hint, void *arg)
{
    struct feed_subscriber *s = calloc(1, sizeof(*s));

    if (!s)
        return -ENOMEM;
    s->on_hint = on_hint;
    *ret = s;
    return 0;
}

void
feed_subscribe_stop(struct feed_subscriber *s)
{
}

struct feed_subscriber *
feed_subscribe_free(struct feed_subscriber *s)
{
    free(s);
    return NULL;
}

void
network_open(void)
{
    network = (struct network){0};
    last_number = 0;
    assert(!servers && client_count == 0);
}
