/*
 * settings.h - fleetcast.conf: who we are and where the coordinator is.
 */
#pragma once
#include <stdio.h>

#include "shared/base.h"

struct settings {
    const char *path; /* of the file; borrowed */
    char *name, *key, *peers, *coordinator, *coordinator_name;
};

/* path NULL: $FLEETCAST_CONFIG, else /etc/fleetcast/fleetcast.conf. 0 or -errno, faults written. */
int settings_load(struct settings *ret, const char *path, FILE *errors) _must_check_;
void settings_done(struct settings *s);
