/*
 * settings.h - the node's configuration file as a struct, judged as a whole.
 *
 * Reads the key files and the peers file too. A file with any fault is refused; faults are written
 * one per line: "FILE:LINE: [section] key = \"value\": reason".
 */
#pragma once
#include <stdio.h>

#include "node/intake.h"
#include "node/partition.h"
#include "proto/seal.h"
#include "shared/secret.h"

struct partition_settings {
    char name[NAME_BYTES_MAX + 1];
    char *dsn;
    bool home; /* ours to drive; the others may be adopted */
};

struct node_settings {
    char *name, *state_dir, *key_path, *token_key_path, *peers_path, *listen, *health;
    uint32_t weight;
    char *coordinator_name, *coordinator_url, *feed_url;
    uint32_t partition_count;
    struct partition_settings partitions[PARTITIONS_MAX];
    uint32_t pool_max, slots;
    char *base_url, *api_version, *ca_file; /* ca_file "" = the system's */
    usec_t connect_timeout;
    bool allow_http;
    struct intake_limits intake; /* its disk is the state directory's */
    struct retention_settings retention;
    struct timing timing;
    char *warmup_text;
    struct warmup warmup;
    struct identity identity;
    struct peers peers;
    uint8_t token_key[SECRET_KEY_BYTES];
};

int settings_load(struct node_settings *ret, const char *path, FILE *errors) _must_check_;
void settings_done(struct node_settings *s); /* wipes the keys */
