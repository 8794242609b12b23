/* main.c - the fleetcast command: arguments, then one verb. */
#include <stdio.h>

#include "coordinator/ctl/commands.h"
#include "coordinator/ctl/terminal.h"
#include "shared/secret.h"

int
main(int argc, char *argv[])
{
    struct invocation in;
    int code = commands_parse(&in, argc, argv, stdout, stderr);
    if (code != CTL_DONE || !in.command)
        return code;
    if (secret_start() < 0) {
        terminal_fault("libsodium cannot be used on this machine");
        return CTL_FAILED;
    }
    return in.command->run(&in);
}
