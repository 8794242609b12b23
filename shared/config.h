/*
 * config.h - INI files read through a table; every fault names file, line, section, key and value.
 *
 * Uses inih for the syntax; types, bounds, defaults and unknown keys are judged here. A file with
 * any fault is refused whole. Comments begin with ';' (also after a blank) or, at the start of a
 * line, '#'. Lines hold up to 1,000 bytes. Text values are heap copies inside the target, which
 * must be zeroed before: config_free frees them, also after a refused file.
 */
#pragma once
#include <stdio.h>

#include "shared/base.h"
#include "shared/clock.h"

enum config_kind {
    CONFIG_TEXT,     /* char *; min, max = bytes; max 0 = any */
    CONFIG_NAME,     /* char *; [a-z0-9-]{1,24} */
    CONFIG_U32,      /* uint32_t in [min, max] */
    CONFIG_BOOL,     /* bool */
    CONFIG_SPAN,     /* usec_t in [min, max], written "250ms", "4s" */
    CONFIG_FILE,     /* char *; must be a readable file now */
    CONFIG_DIR,      /* char *; must be a writable directory now */
    CONFIG_ADDRESS,  /* char *; "ip:port" */
    CONFIG_ENDPOINT, /* char *; "tcp://ip:port" */
    CONFIG_CHOICE    /* uint32_t or an enum of that size: index into choices */
};

struct config_key {
    const char *section; /* "node"; for a repeated section "[partition NAME]" only "partition" */
    const char *key;
    enum config_kind kind;
    size_t offset;              /* into the struct that holds this section's values */
    const char *fallback;       /* text as in the file; NULL = the key is required; "" = a text
                                   that may be absent (then "") */
    uint64_t min, max;          /* spans in microseconds */
    const char *const *choices; /* CONFIG_CHOICE: NULL-terminated */
};

/*
 * The struct in which the values of `section` go. For "[partition p1]" section is "partition" and
 * name "p1"; for "[node]" name is "". NULL refuses the section (a name that it may not have, none
 * where it needs one, too many): write a reason into why[128]. Unknown sections and a second one of
 * the same name are refused before. After the file it is called with name "" for each section of
 * the table that the file lacks, so that fallbacks fill it; NULL then means: it may be absent.
 */
typedef void *config_section_fn(void *arg, const char *section, const char *name, char *why);

/*
 * 0, -EINVAL (faults were written to `errors`, one per line: "FILE:LINE: [section] key = \"value\":
 * reason"), or -errno when the file cannot be read (also written). Keys that are absent get their
 * fallback; a missing required key is a fault of its section's line.
 */
int config_load(const char *path, const struct config_key *keys, size_t key_count,
                config_section_fn *on_section, void *arg, FILE *errors) _must_check_;
/* Frees every text value of `section` in `target`. */
void config_free(const struct config_key *keys, size_t key_count, const char *section,
                 void *target);
/*
 * Runs `read`, then prints what it wrote to `errors` on stderr, each line behind "PROGRAM: ". Its
 * result, or -ENOMEM.
 */
typedef int config_read_fn(void *arg, FILE *errors);
int config_read_told(const char *program, config_read_fn *read, void *arg) _must_check_;
/* Where `key` of "[section]" (its title, "partition p1" for a named one) stands; 0 = nowhere. For
 * faults that are found after the loading, by what must fit together. */
unsigned config_line(const char *path, const char *section, const char *key);
