/* A fixed pool of libcurl handles on the loop, the guard before each request, and the verdict. */
#include "node/transport.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "node/transport_sockets.h"
#include "proto/limits.h"
#include "shared/content.h"

#define URL_BYTES_MAX           1024u
#define AUTHORIZATION_BYTES_MAX (DEVICE_TOKEN_BYTES_MAX + 64u)
/* A control character takes six bytes in JSON. */
#define REQUEST_BYTES_MAX  (6 * CONTENT_CHARACTERS_MAX + 4096u)
#define RESPONSE_BYTES_MAX (256u * 1024u)
#define HEAD_BYTES_MAX     (64u * 1024u)
#define IDLE_CONNECTIONS   8u /* kept besides those in use */
/* Many TLS handshakes in one turn hold the loop: 400 at once took 0.7 s. */
#define CONNECTIONS_PER_TURN 8u
/* Below the keep-alive of providers and proxies (60 s and more): an idle connection that they
 * close as we send on it costs a doubt. */
#define CONNECTION_AGE_MAX_S 20L

enum slot_state { SLOT_FREE, SLOT_QUEUED, SLOT_ON_WIRE };

struct slot {
    struct transport *owner;
    struct slot *next; /* in the free list or the queue */
    CURL *easy;
    enum slot_state state;
    const struct gateway *gateway;
    struct slice token;
    usec_t send_by;
    send_guard_fn *guard;
    send_done_fn *done;
    void *arg;
    unsigned calls; /* of the guard: requests that libcurl was about to write */
    bool guarded;
    usec_t first_byte;
    struct curl_slist headers[3]; /* a list in place: no allocation per send */
    size_t head_bytes, response_bytes;
    char url[URL_BYTES_MAX];
    char authorization[AUTHORIZATION_BYTES_MAX];
    size_t body_bytes;
    char body[REQUEST_BYTES_MAX];
    char response[RESPONSE_BYTES_MAX]; /* pages that no reply reached cost nothing */
};

struct transport {
    uv_timer_t timer; /* libcurl's */
    uv_idle_t turn;   /* runs while sends are queued */
    CURLM *multi;
    struct sockets *sockets;
    struct slot *slots;
    unsigned slot_count, busy;
    struct slot *free, *queue, **queue_end;
    bool running; /* inside libcurl or the callbacks of ended sends */
    bool stopping, closed;
};

const struct gateway *
gateway_find(struct slice name)
{
    static const struct gateway *const all[] = {&gateway_cloudapi, &gateway_null};

    for (size_t i = 0; i < ARRAY_SIZE(all); i++)
        if (name.bytes == strlen(all[i]->name) && memcmp(name.data, all[i]->name, name.bytes) == 0)
            return all[i];
    return NULL;
}

/* ---- what the end of a transfer proves ---- */

enum verdict
transport_verdict(int curl_code, unsigned calls, bool guarded)
{
    if (curl_code == CURLE_OK)
        return VERDICT_ANSWERED;
    if (calls == 0 || (guarded && calls == 1))
        return VERDICT_NOT_SENT;
    return VERDICT_DOUBT;
}

static enum reason
doubt_reason(CURLcode code, unsigned calls)
{
    if (calls > 1)
        return REASON_REPEAT_REFUSED;
    switch ((int) code) {
    case CURLE_OPERATION_TIMEDOUT: return REASON_TIMEOUT;
    case CURLE_PARTIAL_FILE:
    case CURLE_WRITE_ERROR: /* longer than we read */
    case CURLE_WEIRD_SERVER_REPLY:
    case CURLE_UNSUPPORTED_PROTOCOL: /* no HTTP at all */
    case CURLE_BAD_CONTENT_ENCODING: return REASON_REPLY_UNREADABLE;
    default: return REASON_CONNECTION_LOST;
    }
}

static void
release(struct transport *t, struct slot *slot)
{
    explicit_bzero(slot->authorization, sizeof slot->authorization);
    slot->state = SLOT_FREE;
    slot->next = t->free;
    t->free = slot;
    t->busy--;
}

/* The slot is free when `done` is called: it may start the next send. */
static void
finish(struct slot *slot, CURLcode code, unsigned status, struct slice reply)
{
    send_done_fn *done = slot->done;
    void *arg = slot->arg;
    char id_buffer[256];
    struct outcome_report report = {.status = status,
                                    .verdict =
                                        transport_verdict((int) code, slot->calls, slot->guarded),
                                    .calls = slot->calls,
                                    .guarded = slot->guarded,
                                    .first_byte = slot->first_byte,
                                    .ended = clock_boot()};

    switch (report.verdict) {
    case VERDICT_ANSWERED: slot->gateway->judge(status, reply, &report, id_buffer); break;
    case VERDICT_NOT_SENT: report.outcome = OUTCOME_NOT_SENT; break;
    case VERDICT_DOUBT:
        report.outcome = OUTCOME_UNKNOWN;
        report.reason = doubt_reason(code, slot->calls);
        break;
    }
    release(slot->owner, slot);
    done(arg, &report);
}

/* ---- callbacks of libcurl ---- */

/* Directly before the bytes, once per real request. libcurl repeats a POST by itself when a kept
 * connection dies without an answer: that is call 2, and the first may have been read. */
static bool
last_word(struct slot *slot)
{
    usec_t now = clock_boot();

    if (++slot->calls > 1)
        return false;
    slot->guarded = now >= slot->send_by || !slot->guard(slot->arg, now);
    if (slot->guarded)
        return false;
    slot->first_byte = now;
    return true;
}

static int
on_request(void *arg, char *to, char *from, int to_port, int from_port)
{
    return last_word(arg) ? CURL_PREREQFUNC_OK : CURL_PREREQFUNC_ABORT;
}

static size_t
on_head(char *data, size_t size, size_t count, void *arg)
{
    struct slot *slot = arg;

    slot->head_bytes += size * count;
    return slot->head_bytes <= HEAD_BYTES_MAX ? size * count : 0;
}

static size_t
on_response(char *data, size_t size, size_t count, void *arg)
{
    struct slot *slot = arg;
    size_t bytes = size * count;

    if (bytes > RESPONSE_BYTES_MAX - slot->response_bytes)
        return 0; /* ends the transfer: what is cut proves nothing */
    memcpy(slot->response + slot->response_bytes, data, bytes);
    slot->response_bytes += bytes;
    return bytes;
}

static int
on_socket(CURL *easy, curl_socket_t fd, int what, void *arg, void *per_socket)
{
    struct transport *t = arg;
    struct slot *slot = NULL;

    curl_easy_getinfo(easy, CURLINFO_PRIVATE, &slot);
    return sockets_watch(t->sockets, fd, what, slot && slot->calls > 0);
}

/* ---- driving libcurl ---- */

static void close_all(struct transport *t);

static void
enter(struct transport *t)
{
    assert(!t->running);
    t->running = true;
}

static void
leave(struct transport *t)
{
    t->running = false;
    if (t->stopping && !t->closed)
        close_all(t);
}

static void
collect(struct transport *t)
{
    CURLMsg *message;
    int left;

    while ((message = curl_multi_info_read(t->multi, &left))) {
        CURLcode code = message->data.result;
        struct slot *slot = NULL;
        long status = 0;

        assert(message->msg == CURLMSG_DONE);
        curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, &slot);
        curl_easy_getinfo(slot->easy, CURLINFO_RESPONSE_CODE, &status);
        curl_multi_remove_handle(t->multi, slot->easy); /* `message` is gone with it */
        finish(slot, code, (unsigned) status,
               (struct slice){.data = slot->response, .bytes = slot->response_bytes});
    }
}

static void
act(struct transport *t, curl_socket_t fd, int events)
{
    int running;

    curl_multi_socket_action(t->multi, fd, events, &running);
}

static void
on_ready(void *arg, int fd, int events)
{
    struct transport *t = arg;

    enter(t);
    act(t, fd, events);
    collect(t);
    leave(t);
}

static void
on_timer(uv_timer_t *timer)
{
    struct transport *t = timer->data;

    enter(t);
    act(t, CURL_SOCKET_TIMEOUT, 0);
    collect(t);
    leave(t);
}

/* libcurl must not be entered from here: also 0 ms is a matter of the next turn. */
static int
on_timeout_wanted(CURLM *multi, long ms, void *arg)
{
    struct transport *t = arg;

    if (ms < 0)
        return uv_timer_stop(&t->timer);
    return uv_timer_start(&t->timer, on_timer, (uint64_t) ms, 0);
}

/* ---- the queue: sends that begin at the next turns ---- */

static struct slot *
dequeue(struct transport *t)
{
    struct slot *slot = t->queue;

    if (slot) {
        t->queue = slot->next;
        if (!t->queue)
            t->queue_end = &t->queue;
    }
    return slot;
}

static void
begin_null(struct slot *slot)
{
    if (last_word(slot))
        finish(slot, CURLE_OK, 200, slot->token);
    else
        finish(slot, CURLE_ABORTED_BY_CALLBACK, 0, (struct slice){0});
}

/* True when it needs a connection that is not there yet. */
static bool
begin(struct transport *t, struct slot *slot)
{
    /* Too late is seen again by last_word, but a refusal there costs the connection. */
    slot->guarded = clock_boot() >= slot->send_by;
    if (slot->guarded) {
        finish(slot, CURLE_ABORTED_BY_CALLBACK, 0, (struct slice){0});
        return false;
    }
    slot->state = SLOT_ON_WIRE;
    if (curl_easy_setopt(slot->easy, CURLOPT_URL, slot->url) ||
        curl_easy_setopt(slot->easy, CURLOPT_POSTFIELDSIZE, (long) slot->body_bytes) ||
        curl_multi_add_handle(t->multi, slot->easy)) {
        finish(slot, CURLE_OUT_OF_MEMORY, 0, (struct slice){0});
        return false;
    }
    act(t, CURL_SOCKET_TIMEOUT, 0); /* now: a kept connection is used, or a new one begun */
    return slot->calls == 0;
}

static void
on_turn(uv_idle_t *turn)
{
    struct transport *t = turn->data;
    unsigned connections = 0;

    enter(t);
    for (unsigned i = 0; i < SENDS_PER_CALLBACK_MAX && connections < CONNECTIONS_PER_TURN; i++) {
        struct slot *slot = t->stopping ? NULL : dequeue(t);

        if (!slot)
            break;
        if (slot->gateway->build)
            connections += begin(t, slot);
        else
            begin_null(slot);
    }
    collect(t);
    if (!t->queue)
        uv_idle_stop(&t->turn);
    leave(t);
}

int
transport_send(struct transport *t, const struct outgoing *o, send_guard_fn *guard,
               send_done_fn *done, void *arg)
{
    struct slot *slot = t->free;
    int r = 0;

    assert(o->gateway && guard && done);
    if (t->stopping)
        return -ESHUTDOWN;
    if (!slot)
        return -EAGAIN;
    if (o->gateway->build)
        r = o->gateway->build(o, slot->url, sizeof slot->url, slot->authorization,
                              sizeof slot->authorization, slot->body, sizeof slot->body,
                              &slot->body_bytes);
    if (r < 0) {
        explicit_bzero(slot->authorization, sizeof slot->authorization);
        return r;
    }
    t->free = slot->next;
    t->busy++;
    slot->state = SLOT_QUEUED;
    slot->gateway = o->gateway;
    slot->token = o->token;
    slot->send_by = o->send_by;
    slot->guard = guard;
    slot->done = done;
    slot->arg = arg;
    slot->calls = 0;
    slot->guarded = false;
    slot->first_byte = 0;
    slot->head_bytes = slot->response_bytes = 0;
    slot->next = NULL;
    *t->queue_end = slot;
    t->queue_end = &slot->next;
    uv_idle_start(&t->turn, on_turn);
    return 0;
}

unsigned
transport_in_flight(const struct transport *t)
{
    return t->busy;
}

unsigned
transport_free_slots(const struct transport *t)
{
    return t->slot_count - t->busy;
}

/* ---- start and stop ---- */

static CURLcode
set_bounds(CURL *easy, const struct transport_config *c)
{
    CURLcode r = CURLE_OK;

#define SET(option, value) r = r ? r : curl_easy_setopt(easy, option, value)
    SET(CURLOPT_PROTOCOLS_STR, c->allow_http ? "http,https" : "https");
    SET(CURLOPT_HTTP_VERSION, (long) CURL_HTTP_VERSION_1_1);
    SET(CURLOPT_FOLLOWLOCATION, 0L);
    SET(CURLOPT_PROXY, ""); /* also none from the environment */
    SET(CURLOPT_NOSIGNAL, 1L);
    SET(CURLOPT_QUICK_EXIT, 1L); /* else a stuck name look-up holds the loop when it is given up */
    SET(CURLOPT_CONNECTTIMEOUT_MS, (long) (c->connect_timeout / USEC_PER_MSEC));
    SET(CURLOPT_TIMEOUT_MS, (long) (c->timeout / USEC_PER_MSEC));
    SET(CURLOPT_MAXAGE_CONN, CONNECTION_AGE_MAX_S);
    if (c->ca_file)
        SET(CURLOPT_CAINFO, c->ca_file);
    return r;
}

static CURLcode
set_callbacks(struct slot *slot)
{
    CURL *easy = slot->easy;
    CURLcode r = CURLE_OK;

    SET(CURLOPT_PRIVATE, slot);
    SET(CURLOPT_POST, 1L);
    SET(CURLOPT_POSTFIELDS, slot->body);
    SET(CURLOPT_HTTPHEADER, slot->headers);
    SET(CURLOPT_PREREQFUNCTION, on_request);
    SET(CURLOPT_PREREQDATA, slot);
    SET(CURLOPT_HEADERFUNCTION, on_head);
    SET(CURLOPT_HEADERDATA, slot);
    SET(CURLOPT_WRITEFUNCTION, on_response);
    SET(CURLOPT_WRITEDATA, slot);
#undef SET
    return r;
}

static int
slot_init(struct transport *t, struct slot *slot, const struct transport_config *config)
{
    static char content_type[] = "Content-Type: application/json";
    static char no_expect[] = "Expect:"; /* else a long body waits a second for "100 Continue" */

    slot->owner = t;
    slot->next = t->free;
    t->free = slot;
    slot->headers[0] = (struct curl_slist){slot->authorization, &slot->headers[1]};
    slot->headers[1] = (struct curl_slist){content_type, &slot->headers[2]};
    slot->headers[2] = (struct curl_slist){no_expect, NULL};
    slot->easy = curl_easy_init();
    if (!slot->easy)
        return -ENOMEM;
    if (set_bounds(slot->easy, config) || set_callbacks(slot) ||
        sockets_attach(t->sockets, slot->easy) < 0)
        return -EINVAL;
    return 0;
}

static int
multi_init(struct transport *t)
{
    CURLM *m = t->multi = curl_multi_init();
    long slots = (long) t->slot_count;

    if (!m)
        return -ENOMEM;
    if (curl_multi_setopt(m, CURLMOPT_PIPELINING, (long) CURLPIPE_NOTHING) ||
        curl_multi_setopt(m, CURLMOPT_MAX_TOTAL_CONNECTIONS, slots) ||
        /* Fewer than are in use would mean a new connection for every request. */
        curl_multi_setopt(m, CURLMOPT_MAXCONNECTS, slots + (long) IDLE_CONNECTIONS) ||
        curl_multi_setopt(m, CURLMOPT_SOCKETFUNCTION, on_socket) ||
        curl_multi_setopt(m, CURLMOPT_SOCKETDATA, t) ||
        curl_multi_setopt(m, CURLMOPT_TIMERFUNCTION, on_timeout_wanted) ||
        curl_multi_setopt(m, CURLMOPT_TIMERDATA, t))
        return -EINVAL;
    return 0;
}

/* What needs no loop; transport_free undoes it. */
static int
prepare(struct transport *t, uv_loop_t *loop, const struct transport_config *config)
{
    int r;

    t->slot_count = config->slots;
    t->queue_end = &t->queue;
    t->slots = calloc(config->slots, sizeof *t->slots);
    /* A name has two addresses and a look-up a socket of its own; a closed one counts until the
     * loop has let go of it. */
    t->sockets = sockets_new(loop, 4 * (config->slots + IDLE_CONNECTIONS), on_ready, t);
    if (!t->slots || !t->sockets)
        return -ENOMEM;
    r = multi_init(t);
    for (unsigned i = 0; i < config->slots && r == 0; i++)
        r = slot_init(t, &t->slots[i], config);
    return r;
}

/* Idle connections are closed here too: their sockets let go of the loop. */
static void
cleanup(struct transport *t)
{
    for (unsigned i = 0; i < t->slot_count && t->slots; i++) {
        curl_easy_cleanup(t->slots[i].easy);
        t->slots[i].easy = NULL;
    }
    if (t->multi)
        curl_multi_cleanup(t->multi);
    t->multi = NULL;
    t->closed = true;
}

static void
drop(struct transport *t)
{
    if (t) {
        sockets_free(t->sockets);
        free(t->slots);
        free(t);
    }
    curl_global_cleanup();
}

int
transport_start(struct transport **ret, uv_loop_t *loop, const struct transport_config *config)
{
    struct transport *t;
    int r;

    assert(config->slots > 0 && config->slots <= SLOTS_MAX);
    assert(config->timeout >= USEC_PER_MSEC &&
           config->connect_timeout >= USEC_PER_MSEC); /* 0: for ever */
    if (curl_global_init(CURL_GLOBAL_DEFAULT))
        return -ENOMEM;
    t = calloc(1, sizeof *t);
    r = t ? prepare(t, loop, config) : -ENOMEM;
    if (r < 0) {
        if (t)
            cleanup(t);
        drop(t);
        return r;
    }
    uv_timer_init(loop, &t->timer);
    uv_idle_init(loop, &t->turn);
    t->timer.data = t->turn.data = t;
    *ret = t;
    return 0;
}

static void
close_all(struct transport *t)
{
    struct slot *slot;

    enter(t); /* a `done` may call transport_stop again */
    while ((slot = dequeue(t)))
        finish(slot, CURLE_ABORTED_BY_CALLBACK, 0, (struct slice){0});
    for (unsigned i = 0; i < t->slot_count; i++) {
        slot = &t->slots[i];
        if (slot->state != SLOT_ON_WIRE)
            continue;
        curl_multi_remove_handle(t->multi, slot->easy);
        finish(slot, CURLE_ABORTED_BY_CALLBACK, 0, (struct slice){0});
    }
    assert(t->busy == 0);
    cleanup(t);
    uv_close((uv_handle_t *) &t->timer, NULL);
    uv_close((uv_handle_t *) &t->turn, NULL);
    t->running = false;
}

void
transport_stop(struct transport *t)
{
    t->stopping = true;
    if (!t->running && !t->closed)
        close_all(t);
}

struct transport *
transport_free(struct transport *t)
{
    if (!t)
        return NULL;
    assert(t->closed);
    drop(t);
    return NULL;
}
