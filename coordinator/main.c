/* fleetcast-coordinator: arguments, and the words for what is wrong with a configuration. */
#include <stdio.h>
#include <string.h>

#include "coordinator/coordinator.h"
#include "coordinator/fleet.h"
#include "coordinator/holder.h"
#include "coordinator/sources.h"
#include "shared/config.h"
#include "shared/secret.h"

#define PROGRAM "fleetcast-coordinator"

static void
print_machine(const char *title, bool (*row)(unsigned index, struct transition *ret))
{
    struct transition t;
    printf("---\ntitle: %s\n---\nstateDiagram-v2\n", title);
    for (unsigned i = 0; row(i, &t); i++) {
        printf("    %s --> %s: %s (", t.from, t.to, t.event);
        for (const char *c = t.why; *c; c++)
            putchar(*c == ':' ? ',' : *c); /* a second colon ends mermaid's label */
        puts(")");
    }
}

static int
print_machines(void)
{
    print_machine("coordinator", holder_transition);
    print_machine("node, as the coordinator sees it", node_transition);
    print_machine("campaign", source_transition);
    return 0;
}

static int
usage(FILE *out)
{
    fprintf(out, "usage: " PROGRAM " CONF            run\n"
                 "       " PROGRAM " --check CONF    judge the configuration and exit\n"
                 "       " PROGRAM " --fsm           print the state machines (mermaid)\n"
                 "       " PROGRAM " --version\n");
    return out == stdout ? 0 : 2;
}

struct loading {
    struct coordinator_settings *ret;
    const char *path;
};

static int
load(void *arg, FILE *errors)
{
    struct loading *l = arg;
    return coordinator_settings_load(l->ret, l->path, errors);
}

int
main(int argc, char **argv)
{
    if (secret_start() < 0) {
        fprintf(stderr, PROGRAM ": libsodium does not start\n");
        return 1;
    }
    bool check = argc == 3 && strcmp(argv[1], "--check") == 0;
    if (argc == 2 && strcmp(argv[1], "--fsm") == 0)
        return print_machines();
    if (argc == 2 && strcmp(argv[1], "--version") == 0) {
        printf(PROGRAM " " FLEETCAST_VERSION "\n");
        return 0;
    }
    if (argc == 2 && strcmp(argv[1], "--help") == 0)
        return usage(stdout);
    if (!check && (argc != 2 || argv[1][0] == '-'))
        return usage(stderr);
    static struct coordinator_settings settings;
    if (config_read_told(PROGRAM, load, &(struct loading){&settings, argv[argc - 1]}) < 0)
        return 1;
    int code = 0;
    if (check)
        puts("ok");
    else
        code = coordinator_run(&settings, FLEETCAST_VERSION);
    coordinator_settings_done(&settings);
    return code;
}
