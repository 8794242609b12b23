/* sim [--seeds N] [--from S] [--verbose] [--day]: runs seeds, says which one fails and how to see
 * it. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "shared/secret.h"
#include "tests/sim/world.h"

#ifndef SIM_MUTANT
#define SIM_MUTANT ""
#endif

struct options {
    uint64_t from, seeds;
    bool verbose, day, twice;
};

static uint64_t
run_seed(uint64_t seed, const struct options *o)
{
    sim_open(seed, o->verbose);
    world_open(seed, o->day);
    world_run();
    uint64_t hash = sim.hash;
    world_close();
    return hash;
}

static int
failed(const char *program, uint64_t seed, uint64_t hash)
{
    printf("\nseed %" PRIu64 " failed after %.3f s, %" PRIu64 " events, hash %016" PRIx64 "\n  %s\n"
           "see it:  %s --from %" PRIu64 " --seeds 1 --verbose\n",
           seed, (double) sim.now / 1e6, sim.event_count, hash, sim.failure, program, seed);
    return 1;
}

static bool
read_options(int argc, char **argv, struct options *o)
{
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--verbose") == 0)
            o->verbose = true;
        else if (strcmp(argv[i], "--day") == 0)
            o->day = true;
        else if (strcmp(argv[i], "--seeds") == 0 && i + 1 < argc)
            o->seeds = strtoull(argv[++i], NULL, 10);
        else if (strcmp(argv[i], "--from") == 0 && i + 1 < argc)
            o->from = strtoull(argv[++i], NULL, 10);
        else
            return false;
    }
    return true;
}

int
main(int argc, char **argv)
{
    struct options o = {.from = 1, .seeds = 1000};
    uint64_t events = 0, sends = 0, all = UINT64_C(0xcbf29ce484222325);
    clock_t start = clock();
    bool terminal = isatty(STDOUT_FILENO);

    if (!read_options(argc, argv, &o)) {
        fprintf(stderr, "usage: %s [--seeds N] [--from S] [--verbose] [--day]\n", argv[0]);
        return 2;
    }
    if (secret_start() < 0)
        return 1;
    if (o.day)
        o.seeds = 1;
    for (uint64_t seed = o.from; seed < o.from + o.seeds; seed++) {
        uint64_t hash = run_seed(seed, &o);

        if (sim.failure)
            return failed(argv[0], seed, hash);
        /* The same seed must give the same events: some are run twice. */
        if (!o.verbose && !o.day && seed % 50 == 1 && run_seed(seed, &o) != hash) {
            sim.failure = "a second run gave another hash";
            return failed(argv[0], seed, hash);
        }
        events += sim.event_count;
        sends += world.sends;
        all = (all ^ hash) * UINT64_C(0x100000001b3);
        if (terminal || (seed - o.from + 1) % 100 == 0) {
            printf("%s%" PRIu64 " of %" PRIu64 " seeds, %" PRIu64 " events, %" PRIu64 " sends%s",
                   terminal ? "\r" : "", seed - o.from + 1, o.seeds, events, sends,
                   terminal ? "" : "\n");
            fflush(stdout);
        }
    }
    double took = (double) (clock() - start) / CLOCKS_PER_SEC;
    printf("%s%" PRIu64 " seeds from %" PRIu64 ": nothing broken; %" PRIu64 " events, %" PRIu64
           " sends, %.1f s of simulated time in the last one, %.1f s of CPU, hash %016" PRIx64
           "%s\n",
           terminal ? "\r" : "", o.seeds, o.from, events, sends, (double) sim.now / 1e6, took, all,
           SIM_MUTANT);
    return 0;
}
