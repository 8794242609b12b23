/* fleetcast-node: arguments, and the words for what is wrong with a configuration. */
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "node/node.h"
#include "shared/config.h"

#define PROGRAM "fleetcast-node"

static int
usage(FILE *out)
{
    fprintf(out, "usage: " PROGRAM " CONF            run\n"
                 "       " PROGRAM " --check CONF    judge the configuration and exit\n"
                 "       " PROGRAM " --fsm           print the state machine (mermaid)\n"
                 "       " PROGRAM " --version\n");
    return out == stdout ? 0 : 2;
}

struct loading {
    struct node_settings *ret;
    const char *path;
};

static int
load(void *arg, FILE *errors)
{
    struct loading *l = arg;
    return settings_load(l->ret, l->path, errors);
}

int
main(int argc, char **argv)
{
    signal(SIGPIPE, SIG_IGN);
    if (secret_start() < 0) {
        fprintf(stderr, PROGRAM ": libsodium does not start\n");
        return 1;
    }
    bool check = argc == 3 && strcmp(argv[1], "--check") == 0;
    if (argc == 2 && strcmp(argv[1], "--fsm") == 0) {
        partition_print_fsm();
        return 0;
    }
    if (argc == 2 && strcmp(argv[1], "--version") == 0) {
        printf(PROGRAM " " FLEETCAST_VERSION "\n");
        return 0;
    }
    if (argc == 2 && strcmp(argv[1], "--help") == 0)
        return usage(stdout);
    if (!check && (argc != 2 || argv[1][0] == '-'))
        return usage(stderr);
    static struct node_settings settings;
    if (config_read_told(PROGRAM, load, &(struct loading){&settings, argv[argc - 1]}) < 0)
        return 1;
    if (check)
        puts("ok");
    int code = check ? 0 : node_run(&settings, FLEETCAST_VERSION);
    settings_done(&settings);
    return code;
}
