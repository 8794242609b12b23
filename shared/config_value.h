/*
 * config_value.h - one value of a configuration: judged by its kind, stored in its field.
 *
 * Private to shared/config. Asks the file system for CONFIG_FILE and CONFIG_DIR, nothing else.
 */
#pragma once
#include "shared/config.h"

#define CONFIG_WHY_SIZE        512u
#define CONFIG_SHOWN_BYTES_MAX 200u /* of a value in a message */
#define CONFIG_NAME_BYTES_MAX  24u
#define CONFIG_NAME_WHY        "not a name (1 to 24 of a-z, 0-9 and -)"

bool config_name_valid(const char *name);
bool config_kind_is_text(enum config_kind kind);
/* A value as it may be shown: no control characters, not too long. Returns buf. */
const char *config_shown(char buf[static CONFIG_SHOWN_BYTES_MAX + 1], const char *value);
/* 0; -EINVAL with the reason in why[CONFIG_WHY_SIZE]; -ENOMEM. */
int config_value_store(const struct config_key *key, const char *value, void *target,
                       char *why) _must_check_;
