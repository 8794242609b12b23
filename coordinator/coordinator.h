/*
 * coordinator.h - the coordinator's process: its settings, and what owns everything else in it.
 */
#pragma once
#include <stdio.h>

#include "proto/seal.h"
#include "shared/base.h"
#include "shared/clock.h"

struct coordinator_settings {
    char *name, *key, *peers_path, *listen, *feed, *health, *catalog; /* as in the file */
    usec_t dead, watchdog;
    struct identity identity;
    struct peers peers;
};

/*
 * Reads and judges a configuration with the files that it names; nothing is opened but files. 0 or
 * -errno with one line per fault in `errors`.
 */
int coordinator_settings_load(struct coordinator_settings *ret, const char *path,
                              FILE *errors) _must_check_;
void coordinator_settings_done(struct coordinator_settings *s);

/* Runs until a signal or until another coordinator is in charge; the process's exit code. */
int coordinator_run(const struct coordinator_settings *settings, const char *version);
