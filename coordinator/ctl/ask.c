/* ask.c - clients by name, one slot for the question that is being waited for, retries. */
#include "coordinator/ctl/ask.h"

#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "coordinator/ctl/settings.h"
#include "coordinator/ctl/terminal.h"
#include "proto/rpc.h"
#include "shared/config.h"
#include "shared/secret.h"

/* One try at one address: then the map is asked whether the driver is another one by now. */
#define TRY_MAX   (5 * USEC_PER_SEC)
#define RETRY_MIN (100 * USEC_PER_MSEC)
#define RETRY_MAX (1 * USEC_PER_SEC)
/* Clients of addresses that nodes had before stay until the end. */
#define LINKS_MAX (2 * NODES_MAX)

struct link {
    char name[NAME_BYTES_MAX + 1];
    char url[ADDRESS_BYTES_MAX + 1];
    struct rpc_client *client;
};

/* A question that is waited for; on the heap, for its answer may come after the wait was ended. */
struct waiting {
    bool done, abandoned;
    int err;
    char *body;
    size_t bytes;
};

struct sent { /* ask_send */
    struct asker *asker;
    ask_done_fn *done;
    void *arg;
};

struct asker {
    struct settings settings;
    struct identity identity;
    struct peers peers;
    uv_loop_t loop;
    uv_signal_t sigint;
    uv_timer_t timer;
    bool timer_fired, interrupted, loop_made;
    usec_t timeout; /* of every question, 0 = the defaults */
    struct link links[LINKS_MAX];
    unsigned link_count;
    struct uuid incarnation;
    uint64_t last_id;
    struct message *writer, *reader, *sent_reader;
    struct message *map_reader, *map_next; /* the map at hand stays until a new one is read */
    char *body, *map_body, *map_next_body; /* what the readers point into */
    struct map map;
    bool have_map, asked_coordinator; /* who was asked last */
    char target[64 + ADDRESS_BYTES_MAX];
    char why[512];
};

/* ---- open and close ---- */

static void
on_sigint(uv_signal_t *handle, int number)
{
    struct asker *a = handle->data;
    a->interrupted = true;
    uv_signal_stop(handle); /* the next one ends the program as ever */
}

static void
on_timer(uv_timer_t *handle)
{
    struct asker *a = handle->data;
    a->timer_fired = true;
}

static int
start_loop(struct asker *a)
{
    int err = uv_loop_init(&a->loop);
    if (err < 0)
        return err;
    a->loop_made = true;
    if ((err = uv_signal_init(&a->loop, &a->sigint)) < 0 ||
        (err = uv_timer_init(&a->loop, &a->timer)) < 0)
        return err;
    a->sigint.data = a->timer.data = a;
    uv_unref((uv_handle_t *) &a->sigint);
    return uv_signal_start(&a->sigint, on_sigint, SIGINT);
}

/* What is wrong is said here: a wrong key or name would only meet silence later. */
static int
load_files(struct asker *a, const struct invocation *in, FILE *errors)
{
    struct settings *s = &a->settings;
    int err = settings_load(s, in->options[OPTION_CONFIG], errors);
    if (err < 0)
        return err;
    err = identity_load(&a->identity, s->key);
    if (err < 0) {
        fprintf(errors, "%s:%u: [fleetcast] key = \"%s\": %s\n", s->path,
                config_line(s->path, "fleetcast", "key"), s->key,
                err == -EPERM ? "its mode must be 0600 or 0400" : strerror(-err));
        return err;
    }
    err = peers_load(&a->peers, s->peers, errors);
    if (err < 0)
        return err;
    const struct peer *own = peers_find(&a->peers, s->name);
    if (!own || memcmp(own->public_key, a->identity.public_key, SEAL_KEY_BYTES) != 0) {
        fprintf(errors, "%s:%u: [fleetcast] name = \"%s\": %s has %s\n", s->path,
                config_line(s->path, "fleetcast", "name"), s->name, s->peers,
                own ? "another key for it" : "no such line");
        return -EINVAL;
    }
    if (!peers_find(&a->peers, s->coordinator_name)) {
        fprintf(errors, "%s:%u: [fleetcast] coordinator_name = \"%s\": %s has no such line\n",
                s->path, config_line(s->path, "fleetcast", "coordinator_name"), s->coordinator_name,
                s->peers);
        return -EINVAL;
    }
    return 0;
}

struct loading {
    struct asker *asker;
    const struct invocation *in;
};

static int
load_told(void *arg, FILE *errors)
{
    struct loading *l = arg;
    return load_files(l->asker, l->in, errors);
}

static int
load(struct asker *a, const struct invocation *in)
{
    int err = config_read_told("fleetcast", load_told, &(struct loading){a, in});
    if (err == -ENOENT && !in->options[OPTION_CONFIG])
        terminal_next("name the configuration: --config FILE, or export FLEETCAST_CONFIG=FILE");
    return err < 0 ? CTL_FAILED : CTL_DONE;
}

int
asker_open(struct asker **ret, const struct invocation *in, usec_t timeout)
{
    struct asker *a = calloc(1, sizeof(*a));
    if (!a)
        return CTL_FAILED;
    a->timeout = timeout;
    int code = load(a, in);
    if (code != 0) {
        asker_free(a);
        return code;
    }
    secret_random(a->incarnation.bytes, sizeof(a->incarnation.bytes));
    a->writer = message_new();
    a->reader = message_new();
    a->map_reader = message_new();
    a->map_next = message_new();
    a->sent_reader = message_new();
    int err =
        a->writer && a->reader && a->map_reader && a->map_next && a->sent_reader ? 0 : -ENOMEM;
    if (err == 0)
        err = start_loop(a);
    if (err < 0) {
        terminal_fault("cannot start: %s", strerror(-err));
        asker_free(a);
        return CTL_FAILED;
    }
    *ret = a;
    return 0;
}

struct asker *
asker_free(struct asker *a)
{
    if (!a)
        return NULL;
    for (unsigned i = 0; i < a->link_count; i++)
        rpc_client_stop(a->links[i].client);
    if (a->loop_made) {
        if (a->sigint.data)
            uv_close((uv_handle_t *) &a->sigint, NULL);
        if (a->timer.data)
            uv_close((uv_handle_t *) &a->timer, NULL);
        uv_run(&a->loop, UV_RUN_DEFAULT);
    }
    for (unsigned i = 0; i < a->link_count; i++)
        rpc_client_free(a->links[i].client);
    if (a->loop_made) {
        int busy = uv_loop_close(&a->loop);
        assert(busy == 0);
    }
    message_free(a->writer);
    message_free(a->reader);
    message_free(a->map_reader);
    message_free(a->map_next);
    message_free(a->sent_reader);
    free(a->body);
    free(a->map_body);
    free(a->map_next_body);
    settings_done(&a->settings);
    identity_wipe(&a->identity);
    free(a);
    return NULL;
}

bool
asker_interrupted(const struct asker *a)
{
    return a->interrupted;
}

void
asker_turn(struct asker *a, usec_t wait)
{
    if (wait == 0) {
        uv_run(&a->loop, UV_RUN_NOWAIT);
        return;
    }
    uv_update_time(&a->loop);
    uv_timer_start(&a->timer, on_timer, (wait + USEC_PER_MSEC - 1) / USEC_PER_MSEC, 0);
    uv_run(&a->loop, UV_RUN_ONCE);
    uv_timer_stop(&a->timer);
}

int
asker_wait(struct asker *a, usec_t span)
{
    a->timer_fired = false;
    uv_update_time(&a->loop);
    uv_timer_start(&a->timer, on_timer, (span + USEC_PER_MSEC - 1) / USEC_PER_MSEC, 0);
    while (!a->timer_fired && !a->interrupted)
        uv_run(&a->loop, UV_RUN_ONCE);
    uv_timer_stop(&a->timer);
    return a->interrupted ? -EINTR : 0;
}

const char *
asker_why(const struct asker *a)
{
    return a->why;
}

const char *
asker_config(const struct asker *a)
{
    return a->settings.path;
}

const struct map *
asker_map(const struct asker *a)
{
    return &a->map;
}

/* ---- one try ---- */

static int
find_link(struct asker *a, const char *name, struct slice url, struct rpc_client **ret)
{
    for (unsigned i = 0; i < a->link_count; i++) {
        struct link *l = &a->links[i];
        if (strcmp(l->name, name) == 0 && strlen(l->url) == url.bytes &&
            memcmp(l->url, url.data, url.bytes) == 0) {
            *ret = l->client;
            return 0;
        }
    }
    const struct peer *peer = peers_find(&a->peers, name);
    if (!peer) {
        snprintf(a->why, sizeof(a->why), "%s is not in the peers file %s", name, a->settings.peers);
        return -ENOENT;
    }
    if (a->link_count == LINKS_MAX || url.bytes > ADDRESS_BYTES_MAX)
        return -E2BIG;
    struct link *l = &a->links[a->link_count];
    snprintf(l->name, sizeof(l->name), "%s", name);
    snprintf(l->url, sizeof(l->url), "%.*s", (int) url.bytes, url.data);
    int err = rpc_client_start(&l->client, &a->loop, l->url, &a->identity, &a->peers, peer);
    if (err < 0) {
        snprintf(a->why, sizeof(a->why), "%s: %s", l->url, strerror(-err));
        return err;
    }
    a->link_count++;
    *ret = l->client;
    return 0;
}

static int
write_request(struct asker *a, struct request *q, struct slice *ret)
{
    q->incarnation = a->incarnation;
    q->id = ++a->last_id;
    int err = message_write_request(a->writer, q, ret);
    if (err < 0)
        snprintf(a->why, sizeof(a->why), "the request cannot be written: %s", strerror(-err));
    return err;
}

static void
on_waited(void *arg, int err, struct slice body)
{
    struct waiting *w = arg;
    if (w->abandoned) {
        free(w);
        return;
    }
    w->done = true;
    w->err = err;
    if (err == 0) {
        w->body = malloc(body.bytes + 1);
        w->bytes = body.bytes;
        if (w->body)
            memcpy(w->body, body.data, body.bytes);
        else
            w->err = -ENOMEM;
    }
}

/* Sends and waits. The answer's bytes become *body, which `reader` decodes. */
static int
try_once(struct asker *a, struct rpc_client *client, struct request *q, usec_t timeout,
         struct message *reader, char **body, struct reply *ret)
{
    struct slice frame;
    int err = write_request(a, q, &frame);
    if (err < 0)
        return err;
    struct waiting *w = calloc(1, sizeof(*w));
    if (!w)
        return -ENOMEM;
    err = rpc_call(client, frame, timeout, on_waited, w);
    if (err < 0) {
        free(w);
        return err;
    }
    while (!w->done && !a->interrupted)
        uv_run(&a->loop, UV_RUN_ONCE);
    if (!w->done) {
        w->abandoned = true;
        return -EINTR;
    }
    err = w->err;
    if (err == 0) {
        free(*body);
        *body = w->body;
        err = message_read_reply(reader, (struct slice){w->body, w->bytes}, ret);
    }
    free(w);
    if (err == -ETIMEDOUT)
        snprintf(a->why, sizeof(a->why), "no answer from %s", a->target);
    else if (err < 0)
        snprintf(a->why, sizeof(a->why), "%s: %s", a->target, strerror(-err));
    return err;
}

int
ask_status_error(enum message_status status)
{
    switch (status) {
    case STATUS_OK: return 0;
    case STATUS_RETRY:
    case STATUS_MOVED: return -EAGAIN;
    case STATUS_REFUSED: return -EPERM;
    case STATUS_BAD: return -EINVAL;
    case STATUS_FAILED: return -EIO;
    }
    return -EPROTO;
}

static int
judge(struct asker *a, const struct reply *r)
{
    int err = ask_status_error(r->status);
    if (err == 0)
        return 0;
    if (r->reason.bytes > 0)
        snprintf(a->why, sizeof(a->why), "%.*s", (int) r->reason.bytes, r->reason.data);
    else
        snprintf(a->why, sizeof(a->why), "%s: %s", a->target,
                 err == -EAGAIN ? "not now" : strerror(-err));
    return err;
}

static usec_t
deadline_of(const struct asker *a, usec_t timeout, usec_t fallback)
{
    return clock_boot() + (timeout ? timeout : a->timeout ? a->timeout : fallback);
}

/* ---- the coordinator ---- */

static int
ask_coordinator_with(struct asker *a, struct request *q, usec_t deadline, struct message *reader,
                     char **body, struct reply *ret)
{
    struct slice url = {a->settings.coordinator, strlen(a->settings.coordinator)};
    struct rpc_client *client;
    usec_t pause = RETRY_MIN;
    a->asked_coordinator = true;
    snprintf(a->target, sizeof(a->target), "coordinator %s at %s", a->settings.coordinator_name,
             a->settings.coordinator);
    int err = find_link(a, a->settings.coordinator_name, url, &client);
    while (err == 0) {
        usec_t now = clock_boot();
        if (now >= deadline)
            return -ETIMEDOUT;
        err = try_once(a, client, q, deadline - now, reader, body, ret);
        if (err == 0)
            err = judge(a, ret);
        if (err != -EAGAIN || clock_boot() + pause >= deadline)
            return err;
        err = asker_wait(a, pause);
        pause = MIN_OF(2 * pause, RETRY_MAX);
    }
    return err;
}

int
ask_coordinator(struct asker *a, struct request *q, usec_t timeout, struct reply *ret)
{
    return ask_coordinator_with(a, q, deadline_of(a, timeout, ASK_COORDINATOR_TIMEOUT), a->reader,
                                &a->body, ret);
}

static int
load_map(struct asker *a, usec_t deadline)
{
    struct request q = {.kind = MESSAGE_MAP};
    struct reply r;
    int err = ask_coordinator_with(a, &q, deadline, a->map_next, &a->map_next_body, &r);
    if (err < 0)
        return err;
    struct message *reader = a->map_reader;
    char *body = a->map_body;
    a->map_reader = a->map_next;
    a->map_body = a->map_next_body;
    a->map_next = reader;
    a->map_next_body = body;
    a->map = r.map;
    a->have_map = true;
    return 0;
}

int
ask_map(struct asker *a)
{
    return load_map(a, deadline_of(a, 0, ASK_COORDINATOR_TIMEOUT));
}

/* ---- drivers ---- */

int
ask_place(const struct asker *a, int32_t device, char ret[static NAME_BYTES_MAX + 1])
{
    const struct range *range = rangemap_find(&a->map.ranges, device);
    if (!range)
        return -ENOENT;
    struct slice p = a->map.partitions[range->partition].name;
    snprintf(ret, NAME_BYTES_MAX + 1, "%.*s", (int) p.bytes, p.data);
    return 0;
}

static bool
same(struct slice a, struct slice b)
{
    return a.bytes == b.bytes && (a.bytes == 0 || memcmp(a.data, b.data, a.bytes) == 0);
}

/* The client of the partition's driver by the map at hand. -EAGAIN: nobody drives it now. */
static int
find_driver(struct asker *a, struct slice partition, struct rpc_client **ret)
{
    const struct map *m = &a->map;
    for (uint32_t p = 0; p < m->partition_count; p++) {
        if (!same(m->partitions[p].name, partition))
            continue;
        struct slice driver = m->partitions[p].driver;
        for (uint32_t n = 0; n < m->node_count; n++) {
            if (driver.bytes == 0 || !same(m->nodes[n].name, driver))
                continue;
            char name[NAME_BYTES_MAX + 1];
            snprintf(name, sizeof(name), "%.*s", (int) driver.bytes, driver.data);
            snprintf(a->target, sizeof(a->target), "node %s at %.*s", name,
                     (int) m->nodes[n].rpc_address.bytes, m->nodes[n].rpc_address.data);
            return find_link(a, name, m->nodes[n].rpc_address, ret);
        }
        snprintf(a->why, sizeof(a->why), "no node drives partition %.*s now", (int) partition.bytes,
                 partition.data);
        return -EAGAIN;
    }
    snprintf(a->why, sizeof(a->why), "the map has no partition %.*s", (int) partition.bytes,
             partition.data);
    return -ENOENT;
}

int
ask_driver(struct asker *a, struct slice partition, struct request *q, usec_t timeout,
           struct reply *ret)
{
    usec_t deadline = deadline_of(a, timeout, ASK_DRIVER_TIMEOUT), pause = RETRY_MIN;
    char name[NAME_BYTES_MAX + 1], why[sizeof(a->why)] = "";
    assert(partition.bytes <= NAME_BYTES_MAX);
    snprintf(name, sizeof(name), "%.*s", (int) partition.bytes, partition.data);
    partition.data = name; /* the map may be loaded anew under the caller's slice */
    int err = a->have_map ? 0 : load_map(a, deadline);
    while (err == 0) {
        struct rpc_client *client;
        a->asked_coordinator = false;
        err = find_driver(a, partition, &client);
        usec_t now = clock_boot();
        if (err == 0)
            err = try_once(a, client, q,
                           MIN_OF(deadline - MIN_OF(now, deadline - 1), MAX_OF(timeout, TRY_MAX)),
                           a->reader, &a->body, ret);
        if (err == 0)
            err = judge(a, ret);
        if ((err != -EAGAIN && err != -ETIMEDOUT) || clock_boot() + pause >= deadline)
            return err;
        /* what the driver said is better to know than that the map could not be read after it */
        snprintf(why, sizeof(why), "%s", a->why);
        int first = err;
        err = asker_wait(a, pause);
        pause = MIN_OF(2 * pause, RETRY_MAX);
        if (err == 0 && load_map(a, deadline) < 0) {
            a->asked_coordinator = false;
            snprintf(a->why, sizeof(a->why), "%s", why);
            return a->interrupted ? -EINTR : first;
        }
    }
    return err;
}

int
ask_pages(struct asker *a, struct slice partition, const struct question *question,
          ask_page_fn *on_page, void *arg)
{
    char name[NAME_BYTES_MAX + 1], cursor[LABEL_BYTES_MAX];
    struct request q = {.kind = MESSAGE_ASK,
                        .ask = {.question = {question->name, strlen(question->name)},
                                .argument_count = question->argument_count}};
    snprintf(name, sizeof(name), "%.*s", (int) partition.bytes, partition.data);
    q.ask.partition = (struct slice){name, strlen(name)};
    memcpy(q.ask.arguments, question->arguments, sizeof(q.ask.arguments));
    for (;;) {
        struct reply r;
        int err = ask_driver(a, q.ask.partition, &q, question->timeout, &r);
        if (err == 0)
            err = on_page(arg, q.ask.partition, &r.answer);
        if (err != 0 || r.answer.cursor.bytes == 0)
            return err;
        assert(r.answer.cursor.bytes <= sizeof(cursor));
        memcpy(cursor, r.answer.cursor.data, r.answer.cursor.bytes);
        q.ask.cursor = (struct slice){cursor, r.answer.cursor.bytes};
    }
}

int
ask_all_partitions(struct asker *a, const struct question *question, ask_page_fn *on_page,
                   void *arg, unsigned *ret_silent)
{
    char names[PARTITIONS_MAX][NAME_BYTES_MAX + 1];
    uint32_t count = a->map.partition_count;
    for (uint32_t i = 0; i < count; i++)
        snprintf(names[i], sizeof(names[i]), "%.*s", (int) a->map.partitions[i].name.bytes,
                 a->map.partitions[i].name.data);
    *ret_silent = 0;
    for (uint32_t i = 0; i < count; i++) {
        int err = ask_pages(a, (struct slice){names[i], strlen(names[i])}, question, on_page, arg);
        if (err == -ETIMEDOUT || err == -EAGAIN || err == -EIO) {
            terminal_fault("partition %s does not answer: %s", names[i], a->why);
            ++*ret_silent;
        } else if (err != 0) {
            return err;
        }
    }
    return 0;
}

int
answer_column(const struct answer *page, const char *name)
{
    for (uint32_t i = 0; i < page->column_count; i++)
        if (same(page->columns[i], (struct slice){name, strlen(name)}))
            return (int) i;
    return -1;
}

static const struct cell *
cell_at(const struct answer *page, uint32_t row, int column)
{
    if (column < 0)
        return NULL;
    assert(row < page->row_count && (uint32_t) column < page->column_count);
    return &page->cells[(size_t) row * page->column_count + (size_t) column];
}

int64_t
answer_number(const struct answer *page, uint32_t row, int column)
{
    const struct cell *c = cell_at(page, row, column);
    return c && (c->kind == CELL_INT || c->kind == CELL_TIME || c->kind == CELL_BOOL) ? c->number
                                                                                      : 0;
}

struct slice
answer_text(const struct answer *page, uint32_t row, int column)
{
    const struct cell *c = cell_at(page, row, column);
    return c && c->kind == CELL_TEXT ? c->text : (struct slice){"", 0};
}

/* ---- without waiting ---- */

static void
on_sent(void *arg, int err, struct slice body)
{
    struct sent *s = arg;
    struct reply r;
    if (err == 0)
        err = message_read_reply(s->asker->sent_reader, body, &r);
    s->done(s->arg, err, err == 0 ? &r : NULL);
    free(s);
}

int
ask_send(struct asker *a, struct slice partition, struct request *q, usec_t timeout,
         ask_done_fn *done, void *arg)
{
    struct rpc_client *client;
    struct slice frame;
    int err = a->have_map ? find_driver(a, partition, &client) : -EAGAIN;
    if (err == 0)
        err = write_request(a, q, &frame);
    if (err < 0)
        return err;
    struct sent *s = calloc(1, sizeof(*s));
    if (!s)
        return -ENOMEM;
    *s = (struct sent){a, done, arg};
    err = rpc_call(client, frame, timeout, on_sent, s);
    if (err < 0)
        free(s);
    return err;
}

/* ---- faults ---- */

const char *
ask_why(const struct asker *a)
{
    return a->why;
}

int
ask_failed(struct asker *a, int err, const char *what, ...)
{
    char text[256];
    va_list ap;
    va_start(ap, what);
    vsnprintf(text, sizeof(text), what, ap);
    va_end(ap);
    if (err == -EPIPE) /* whoever reads us has seen enough */
        return CTL_FAILED;
    if (err == -EINTR) {
        terminal_fault("%s: interrupted", text);
        return CTL_FAILED;
    }
    terminal_fault("%s: %s", text, a->why[0] ? a->why : strerror(-err));
    switch (err) {
    case -ETIMEDOUT:
        if (!a->asked_coordinator) {
            terminal_next("fleetcast status");
            return CTL_DEGRADED;
        }
        terminal_next("is fleetcast-coordinator running there? It does not answer keys that its\n"
                      "        peers file lacks: compare %s and %s with its own",
                      a->settings.path, a->settings.peers);
        return CTL_UNREACHABLE;
    case -EAGAIN:
        terminal_next("fleetcast status; then the same command again");
        return a->asked_coordinator ? CTL_UNREACHABLE : CTL_DEGRADED;
    case -EPERM:
        if (peers_find(&a->peers, a->settings.name)->role == ROLE_OBSERVER)
            terminal_next("use the configuration of an admin: fleetcast --config FILE ...");
        return CTL_REFUSED;
    default: return CTL_FAILED;
    }
}
