/*
 * sim.h - one process, one thread, one heap of events: time, hosts, processes, randomness, log.
 *
 * Everything that happens is an event, ordered by (time, number). Each one goes into a running
 * hash, and all randomness comes from the seed: the same seed gives the same hash. Code of the
 * product runs only inside a process (sim_enter), whose clock is its host's: off by a constant, and
 * wrong in its rate.
 */
#pragma once
#include <uv.h>

#include "shared/base.h"
#include "shared/clock.h"
#include "shared/rng.h"

#define SIM_START INT64_C(1767225600000000) /* 2026-01-01T00:00:00Z in unix usec */

struct process;

struct event {
    usec_t at;
    uint64_t number;
    unsigned place;          /* in the heap, from 1; 0: not in it */
    struct process *process; /* whose memory it touches; NULL: the world's */
    const char *what;
    void (*run)(struct event *e);
    void (*drop)(struct event *e); /* the simulation ends before it; NULL: nothing to free */
};

struct host {                      /* a machine: its clock goes on when processes end */
    int64_t boot;                  /* of BOOTTIME at the start of the simulation */
    int64_t ppm;                   /* rate error */
    int64_t real;                  /* error of REALTIME */
    uint64_t mark_epoch, mark_lsn; /* the high-water file */
    uint32_t mark_timeline;
    bool mark_written;
};

struct process {
    uv_loop_t loop; /* what the product's code takes for its loop */
    struct host *host;
    char name[32];
    bool dying;           /* its memory is being taken down: nothing reaches the outside any more */
    usec_t stopped_until; /* SIGSTOP: what comes for it waits */
    uv_handle_t *closing[64];
    unsigned closing_count;
    struct {
        void (*run)(void *arg);
        void *arg;
    } at_close[32];
    unsigned at_close_count;
};

struct sim {
    usec_t now;
    uint64_t number, hash, event_count;
    struct event **heap;
    unsigned heap_count, heap_capacity;
    struct process *current;
    struct rng rng;
    bool verbose, muted;
    const char *failure; /* the first broken invariant, NULL = none */
    char failure_text[512];
};
extern struct sim sim;

void sim_open(uint64_t seed, bool verbose);
void sim_close(void);
/* Puts it (anew) at `at`, not before now. */
void sim_put(struct event *e, usec_t at);
void sim_take_out(struct event *e);
/* One event. False: none is left, or something failed. */
bool sim_step(usec_t until);
void sim_fail(const char *format, ...) _printf_(1, 2);
void sim_say(const char *format, ...) _printf_(1, 2); /* a line of the event log, hashed */
void sim_hash(const void *data, size_t bytes);

/* A number in [low, high]; true with probability p of 1,000,000. */
uint64_t sim_between(uint64_t low, uint64_t high);
bool sim_chance(uint64_t ppm);

/* ---- processes ---- */
void process_open(struct process *p, struct host *host, const char *name);
struct process *sim_enter(struct process *p); /* returns who was inside; give it to sim_leave */
void sim_leave(struct process *was);
void process_stop_for(struct process *p, usec_t time);
/* For edges: what the loop's last turns would do. */
void process_at_close(struct process *p, void (*run)(void *arg), void *arg);
/* Runs those, then the callbacks of closed handles; for the end of a process. */
void process_close_handles(struct process *p);
usec_t host_boot(const struct host *h);              /* BOOTTIME now */
usec_t host_when(const struct host *h, usec_t boot); /* simulated time of that BOOTTIME */
static inline struct process *
process_of(uv_loop_t *loop)
{
    return container_of(loop, struct process, loop);
}
