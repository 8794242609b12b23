/*
 * store.h - every SQL statement of the node on a partition, by name.
 *
 * Edge: the only node file with SQL. store_statements is prepared on every connection of the pool.
 * Each statement's comment in store.c says what it locks, what it may see after a wait, and what a
 * crash before and after it leaves. Intake's and answers' statements stand here too.
 */
#pragma once
#include "shared/db.h"

/* The schema that these statements were written for; the gate stays closed on another. */
#define STORE_SCHEMA_VERSION 6

enum store_statement {
    STORE_LOCK_SHARED,
    STORE_LOCK_TIMED,
    STORE_LOCK_EXCLUSIVE,
    STORE_EPOCH, /* epoch, driver, incarnation, clock, content_applied, clean: after the lock */

    /* becoming driver */
    STORE_CHECK,
    STORE_DAYS,
    STORE_CLEAR,
    STORE_TAKE,
    STORE_LEFT_OVER,
    STORE_BEAT,
    STORE_GIVE_BACK,
    STORE_RELEASE,

    /* loading */
    STORE_ZONES,
    STORE_LOAD_DEVICES,
    STORE_DEVICES_BY_ID,
    STORE_LOAD_SOURCES,
    STORE_LOAD_REVISIONS,
    STORE_LOAD_TEMPLATES,
    STORE_LOAD_OPTOUTS,

    /* the tick */
    STORE_ADVANCE,
    STORE_FINISH,
    STORE_EVIDENCE,
    STORE_REFUSE,
    STORE_RESERVE,
    STORE_CLAIM,
    STORE_CLAIM_DIRECT,

    /* audience */
    STORE_FILL,
    STORE_LIVE,
    STORE_ENROL,
    STORE_ENROL_LOCK,
    STORE_ENROL_TRIGGER,
    STORE_ENROL_OPEN,
    STORE_TRIGGER_BACK,
    STORE_SWEEP,
    STORE_RESTEP,

    /* content */
    STORE_PUT_TEMPLATES,
    STORE_PUT_SOURCES,
    STORE_AUDIENCE,
    STORE_APPLIED,
    STORE_PAUSE_SOURCE,

    /* acts of people */
    STORE_OPTOUT_ADD,
    STORE_OPTOUT_END,
    STORE_OPTOUT_REMOVE,
    STORE_FORGET_BLOCK,
    STORE_FORGET_FIND,
    STORE_FORGET_TOKENS,
    STORE_FORGET_IDS,
    STORE_FORGET_ERASE,
    STORE_SEND,
    STORE_LEAD_ENROL,
    STORE_LEAD_REMOVE,
    STORE_DEVICE_PAUSE,

    /* retention */
    STORE_DAY_DROP,
    STORE_DAY_INDEX,
    STORE_OLD_RECEIPTS,
    STORE_OLD_TRIGGERS,
    STORE_OLD_DIRECT,

    /* ---- intake and answers add theirs below this line, here and in store.c ---- */
    STORE_INTAKE_ZONES,
    STORE_INTAKE_DEVICE_UPDATE,
    STORE_INTAKE_DEVICE_INSERT,
    STORE_INTAKE_LEAD_DEVICES,
    STORE_INTAKE_LEAD_PROBE,
    STORE_INTAKE_FORGOTTEN,
    STORE_INTAKE_COLUMNS,
    STORE_INTAKE_LEAD_INSERT,
    STORE_INTAKE_LEAD_UPDATE,

    STORE_ANSWER_DEVICES,
    STORE_ANSWER_DEVICE,
    STORE_ANSWER_LEADS,
    STORE_ANSWER_MESSAGES,
    STORE_ANSWER_PROGRESS,
    STORE_ANSWER_PARTITION,
    STORE_ANSWER_EPOCHS,
    STORE_ANSWER_OPTOUTS,
    STORE_ANSWER_LOCATE,
    STORE_ANSWER_LEADS_BY_PHONE,
    STORE_ANSWER_ENROLLMENTS,
    STORE_ANSWER_TRIGGERS,
    STORE_ANSWER_COLUMNS,
    STORE_ANSWER_POSITIONS,
    STORE_ANSWER_REVISIONS,

    STORE_EXPLAIN_DEVICE,
    STORE_EXPLAIN_LEAD,
    STORE_EXPLAIN_MESSAGE,
    STORE_EXPLAIN_SOURCE,
    STORE_EXPLAIN_ON_WIRE,
    STORE_EXPLAIN_CAPACITY,

    STORE_VERIFY_EPOCHS,
    STORE_VERIFY_DRIVERS,
    STORE_VERIFY_COUNTS,
    STORE_VERIFY_SENT_ONCE,
    STORE_VERIFY_PACE,
    STORE_VERIFY_ORPHANS,
    STORE_VERIFY_PLACES,
    STORE_VERIFY_STEPS,
    STORE_VERIFY_CLAIMS,
    STORE_VERIFY_CURSORS,
    STORE_COUNT
};
extern const struct db_statement store_statements[STORE_COUNT];
/* settings every session must have, NULL-terminated pairs for db_config.settings */
extern const char *const store_settings[];
