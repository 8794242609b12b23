/* fleetcast-node: arguments, and the words for what is wrong with a configuration. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "node/node.h"

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

/* Every line of `text` on stderr, with the program's name before it. */
static void
print_faults(const char *text)
{
    while (*text) {
        size_t bytes = strcspn(text, "\n");
        fprintf(stderr, PROGRAM ": %.*s\n", (int) bytes, text);
        text += bytes + (text[bytes] == '\n');
    }
}

static int
load(struct node_settings *ret, const char *path)
{
    char *faults = NULL;
    size_t bytes = 0;
    FILE *errors = open_memstream(&faults, &bytes);
    if (!errors) {
        fprintf(stderr, PROGRAM ": out of memory\n");
        return -1;
    }
    int err = settings_load(ret, path, errors);
    fclose(errors);
    print_faults(faults);
    free(faults);
    return err;
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
    if (load(&settings, argv[argc - 1]) < 0)
        return 1;
    if (check)
        puts("ok");
    int code = check ? 0 : node_run(&settings, FLEETCAST_VERSION);
    settings_done(&settings);
    return code;
}
