/*
 * node.h - the process: creates every module, carries their news, ends them in order.
 *
 * Owner. Drives a list of partitions (those that are home; others are configured for adoption).
 */
#pragma once
#include "node/settings.h"

/* Runs until it is told to stop. The process's exit code (78: another process of our name took a
 * partition over, systemd must not restart us); what was wrong went to stderr. */
int node_run(const struct node_settings *settings, const char *version);
