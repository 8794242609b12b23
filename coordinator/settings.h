/*
 * settings.h - the coordinator's configuration file and the key and peers files that it names.
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
 * Reads and judges; nothing is opened but files. 0 or -errno with one line per fault in `errors`.
 */
int coordinator_settings_load(struct coordinator_settings *ret, const char *path,
                              FILE *errors) _must_check_;
void coordinator_settings_done(struct coordinator_settings *s);
