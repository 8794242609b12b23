/* Time, hosts and processes of a simulation; the product's clock, log and libuv's timers on it. */
#include "tests/sim/sim.h"

#include <assert.h>
#include <sodium.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "node/highwater.h"
#include "shared/log.h"

struct sim sim;
static struct rng secrets; /* what the product draws, apart from what the world draws */

/* ---- randomness ---- */

uint64_t
sim_between(uint64_t low, uint64_t high)
{
    return rng_between(&sim.rng, low, high);
}

bool
sim_chance(uint64_t ppm)
{
    return ppm > 0 && rng_between(&sim.rng, 0, 999999) < ppm;
}

static const char *
secrets_name(void)
{
    return "simulation";
}

static void
secrets_fill(void *const buf, const size_t bytes)
{
    unsigned char *p = buf;

    for (size_t i = 0; i < bytes; i += 8) {
        uint64_t word = rng_next(&secrets);

        memcpy(p + i, &word, MIN_OF((size_t) 8, bytes - i));
    }
}

static uint32_t
secrets_word(void)
{
    return (uint32_t) rng_next(&secrets);
}

static struct randombytes_implementation secrets_source = {.implementation_name = secrets_name,
                                                           .random = secrets_word,
                                                           .buf = secrets_fill};

/* ---- events ---- */

static bool
before(const struct event *a, const struct event *b)
{
    return a->at != b->at ? a->at < b->at : a->number < b->number;
}

static void
set(unsigned place, struct event *e)
{
    sim.heap[place] = e;
    e->place = place;
}

static void
up(unsigned place, struct event *e)
{
    for (; place > 1 && before(e, sim.heap[place / 2]); place /= 2)
        set(place, sim.heap[place / 2]);
    set(place, e);
}

static void
down(unsigned place, struct event *e)
{
    for (;;) {
        unsigned child = place * 2;

        if (child > sim.heap_count)
            break;
        if (child < sim.heap_count && before(sim.heap[child + 1], sim.heap[child]))
            child++;
        if (!before(sim.heap[child], e))
            break;
        set(place, sim.heap[child]);
        place = child;
    }
    set(place, e);
}

void
sim_take_out(struct event *e)
{
    unsigned place = e->place;

    if (place == 0)
        return;
    e->place = 0;
    struct event *last = sim.heap[sim.heap_count--];
    if (last == e)
        return;
    if (place > 1 && before(last, sim.heap[place / 2]))
        up(place, last);
    else
        down(place, last);
}

void
sim_put(struct event *e, usec_t at)
{
    sim_take_out(e);
    if (sim.heap_count + 2 > sim.heap_capacity) {
        sim.heap_capacity = MAX_OF(sim.heap_capacity * 2, 1024u);
        sim.heap = realloc(sim.heap, sim.heap_capacity * sizeof(*sim.heap));
        assert(sim.heap);
    }
    e->at = MAX_OF(at, sim.now);
    e->number = ++sim.number;
    up(++sim.heap_count, e);
}

/* FNV-1a, eight bytes at a step. */
void
sim_hash(const void *data, size_t bytes)
{
    const unsigned char *p = data;

    for (; bytes >= 8; p += 8, bytes -= 8) {
        uint64_t word;

        memcpy(&word, p, 8);
        sim.hash = (sim.hash ^ word) * UINT64_C(0x100000001b3);
        sim.hash ^= sim.hash >> 29;
    }
    for (; bytes > 0; p++, bytes--)
        sim.hash = (sim.hash ^ *p) * UINT64_C(0x100000001b3);
}

bool
sim_step(usec_t until)
{
    if (sim.failure || sim.heap_count == 0 || sim.heap[1]->at > until)
        return false;
    struct event *e = sim.heap[1];

    sim_take_out(e);
    sim.now = e->at;
    if (e->process && e->process->stopped_until > sim.now) {
        sim_put(e, e->process->stopped_until); /* frozen: it comes when the process goes on */
        return true;
    }
    sim.event_count++;
    sim_hash(&e->at, sizeof(e->at));
    sim_hash(e->what, strlen(e->what));
    if (sim.verbose)
        printf("%12.6f %-8s %s\n", (double) sim.now / 1e6, e->process ? e->process->name : "world",
               e->what);
    struct process *was = sim_enter(e->process);
    e->run(e);
    sim_leave(was);
    return !sim.failure;
}

void
sim_say(const char *format, ...)
{
    char line[1024];
    va_list arguments;

    if (sim.muted)
        return;
    va_start(arguments, format);
    int n = vsnprintf(line, sizeof(line), format, arguments);
    va_end(arguments);
    sim_hash(line, (size_t) MIN_OF(n, (int) sizeof(line) - 1));
    if (sim.verbose)
        printf("%12.6f %-8s   %s\n", (double) sim.now / 1e6,
               sim.current ? sim.current->name : "world", line);
}

void
sim_fail(const char *format, ...)
{
    va_list arguments;

    if (sim.failure)
        return;
    va_start(arguments, format);
    vsnprintf(sim.failure_text, sizeof(sim.failure_text), format, arguments);
    va_end(arguments);
    sim.failure = sim.failure_text;
    sim_say("FAILED: %s", sim.failure);
}

void
sim_open(uint64_t seed, bool verbose)
{
    struct event **heap = sim.heap;
    unsigned capacity = sim.heap_capacity;

    sim = (struct sim){.heap = heap,
                       .heap_capacity = capacity,
                       .hash = UINT64_C(0xcbf29ce484222325),
                       .verbose = verbose};
    rng_seed(&sim.rng, seed);
    rng_seed(&secrets, seed ^ UINT64_C(0x5eed5eed5eed5eed));
    randombytes_set_implementation(&secrets_source);
}

void
sim_close(void)
{
    while (sim.heap_count > 0) {
        struct event *e = sim.heap[sim.heap_count];

        sim_take_out(e);
        if (e->drop)
            e->drop(e);
    }
}

/* ---- hosts and processes ---- */

usec_t
host_boot(const struct host *h)
{
    return (usec_t) (h->boot + (int64_t) sim.now + (int64_t) sim.now * h->ppm / 1000000);
}

usec_t
host_when(const struct host *h, usec_t boot)
{
    int64_t passed = (int64_t) boot - h->boot;
    int64_t when = passed * 1000000 / (1000000 + h->ppm);

    while (when + when * h->ppm / 1000000 < passed)
        when++; /* rounding: not a moment before */
    return when < 0 ? 0 : (usec_t) when;
}

void
process_open(struct process *p, struct host *host, const char *name)
{
    *p = (struct process){.host = host};
    snprintf(p->name, sizeof(p->name), "%s", name);
}

struct process *
sim_enter(struct process *p)
{
    struct process *was = sim.current;

    sim.current = p;
    return was;
}

void
sim_leave(struct process *was)
{
    sim.current = was;
}

void
process_stop_for(struct process *p, usec_t time)
{
    p->stopped_until = MAX_OF(p->stopped_until, sim.now + time);
    sim_say("%s is frozen for %llu ms", p->name, (unsigned long long) (time / USEC_PER_MSEC));
}

/* ---- the product's clock, log, and high-water file ---- */

usec_t
clock_boot(void)
{
    assert(sim.current);
    return host_boot(sim.current->host);
}

usec_t
clock_real(void)
{
    assert(sim.current);
    return (usec_t) (SIM_START + (int64_t) sim.now + sim.current->host->real);
}

void
log_open(const char *program, const char *instance, enum log_level level)
{
}

void
log_event(enum log_level level, const char *event, const char *fields, ...)
{
    char line[1024];
    va_list arguments;

    if (sim.muted)
        return;
    va_start(arguments, fields);
    int n = vsnprintf(line, sizeof(line), fields ? fields : " ", arguments);
    va_end(arguments);
    sim_hash(event, strlen(event));
    sim_hash(line, (size_t) MIN_OF(n, (int) sizeof(line) - 1));
    if (sim.verbose)
        printf("%12.6f %-8s   %s %s\n", (double) sim.now / 1e6,
               sim.current ? sim.current->name : "world", event, line);
}

const char *
log_quote(char *buf, size_t size, const char *text)
{
    snprintf(buf, size, "\"%.*s\"", (int) size - 3, text);
    return buf;
}

const char *
log_phone(char buf[static 24], uint64_t phone)
{
    snprintf(buf, 24, "+%llu", (unsigned long long) phone);
    return buf;
}

int
highwater_write(const char *dir, const char *partition, const struct highwater *mark)
{
    struct host *h = sim.current->host;

    h->mark_written = true;
    h->mark_epoch = mark->epoch;
    h->mark_lsn = mark->lsn;
    h->mark_timeline = mark->timeline;
    return 0;
}

int
highwater_read(const char *dir, const char *partition, struct highwater *ret)
{
    const struct host *h = sim.current->host;

    if (!h->mark_written)
        return -2; /* ENOENT */
    *ret = (struct highwater){.timeline = h->mark_timeline,
                              .lsn = h->mark_lsn,
                              .epoch = h->mark_epoch};
    return 0;
}

/* ---- libuv's timers ---- */

struct timer {
    struct event event;
    uv_timer_t *handle;
};

static void on_timer(struct event *e);

static struct timer *
timer_of(const uv_timer_t *handle)
{
    return handle->u.reserved[0];
}

/* libuv counts in whole milliseconds of its cached time, cut off: a timer may come early by that
 * much, and the product reckons with it. */
static void
arm(struct timer *t, uint64_t timeout)
{
    struct host *h = process_of(t->handle->loop)->host;
    usec_t due = (host_boot(h) / USEC_PER_MSEC + timeout) * USEC_PER_MSEC;

    sim_put(&t->event, timeout == 0 ? sim.now + 1 : host_when(h, due) + sim_between(1, 60));
}

static void
on_timer(struct event *e)
{
    struct timer *t = container_of(e, struct timer, event);

    if (t->handle->repeat)
        arm(t, t->handle->repeat);
    t->handle->timer_cb(t->handle);
}

int
uv_timer_init(uv_loop_t *loop, uv_timer_t *handle)
{
    struct timer *t = calloc(1, sizeof(*t));

    assert(t);
    memset(handle, 0, sizeof(*handle));
    handle->loop = loop;
    handle->type = UV_TIMER;
    handle->u.reserved[0] = t;
    t->handle = handle;
    t->event = (struct event){.process = process_of(loop), .what = "timer", .run = on_timer};
    return 0;
}

int
uv_timer_start(uv_timer_t *handle, uv_timer_cb cb, uint64_t timeout, uint64_t repeat)
{
    handle->timer_cb = cb;
    handle->repeat = repeat;
    arm(timer_of(handle), timeout);
    return 0;
}

int
uv_timer_stop(uv_timer_t *handle)
{
    sim_take_out(&timer_of(handle)->event);
    return 0;
}

void
uv_update_time(uv_loop_t *loop)
{
}

/* Only a process that ends closes handles; their callbacks run when it is taken down. */
void
uv_close(uv_handle_t *handle, uv_close_cb cb)
{
    struct process *p = process_of(handle->loop);

    sim_take_out(&timer_of((uv_timer_t *) handle)->event);
    handle->close_cb = cb;
    assert(p->closing_count < ARRAY_SIZE(p->closing));
    p->closing[p->closing_count++] = handle;
}

void
process_at_close(struct process *p, void (*run)(void *arg), void *arg)
{
    assert(p->at_close_count < ARRAY_SIZE(p->at_close));
    p->at_close[p->at_close_count].run = run;
    p->at_close[p->at_close_count++].arg = arg;
}

void
process_close_handles(struct process *p)
{
    for (unsigned i = 0; i < p->at_close_count; i++)
        p->at_close[i].run(p->at_close[i].arg);
    p->at_close_count = 0;
    for (unsigned i = 0; i < p->closing_count; i++) {
        uv_handle_t *handle = p->closing[i];

        free(timer_of((uv_timer_t *) handle));
        if (handle->close_cb)
            handle->close_cb(handle);
    }
    p->closing_count = 0;
}
