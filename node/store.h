/*
 * store.h - every SQL statement of the node on a partition, by name, and their typed arguments.
 *
 * Edge: the only node file with SQL. store_statements is prepared on every connection of the pool.
 * Each statement's comment in store.c says what it locks, what it may see after a wait, and what a
 * crash before and after it leaves. Intake's and answers' statements stand here too.
 */
#pragma once
#include "shared/db.h"

/* X(ENUM_NAME): see store.c for text and parameters. The list grows with the store. */
enum store_statement {
    STORE_LOCK_SHARED,
    STORE_LOCK_EXCLUSIVE,
    STORE_EPOCH, /* epoch, driver, incarnation, now(): for checks after the lock */
    STORE_COUNT
};
extern const struct db_statement store_statements[STORE_COUNT];
/* settings every session must have, NULL-terminated pairs for db_config.settings */
extern const char *const store_settings[];
