/*
 * coordinator.h - the coordinator's process: what owns everything else in it.
 */
#pragma once
#include "coordinator/settings.h"

/* Runs until a signal or until another coordinator is in charge; the process's exit code. */
int coordinator_run(const struct coordinator_settings *settings, const char *version);
