/*
 * import.h - the rows of a CSV file on their way to the drivers of their devices.
 *
 * Reads, judges and counts them; lanes.h carries the good ones, rejects.h keeps the bad ones. What
 * could not be done (a partition that does not answer) is not the same as what was refused: it is
 * counted apart, and the same import again goes on.
 */
#pragma once
#include "coordinator/ctl/ask.h"
#include "coordinator/ctl/import_rows.h"
#include "coordinator/ctl/lanes.h"
#include "coordinator/ctl/rejects.h"

#define IMPORT_BATCH_TIMEOUT (60 * USEC_PER_SEC)

struct import_config {
    const char *path;
    uint32_t country; /* calling code, 0 = none */
    bool update, refuse_shared;
    usec_t batch_timeout;
    usec_t deadline; /* BOOTTIME; USEC_INFINITY = none: then what is on its way is ended, as by
                        Ctrl-C */
};

struct import_counts {
    uint64_t read, accepted, duplicate, updated, rejected, not_done;
    uint64_t shared;
};

struct import;
/* asker (its map loaded), file (at its first row), columns, config and rejects are borrowed. */
int import_new(struct import **ret, struct asker *asker, struct csvfile *file,
               const struct import_columns *columns, const struct import_config *config,
               struct rejects *rejects) _must_check_;
struct import *import_free(struct import *im);
/*
 * All rows. 0 (look at the counts), -EINTR (Ctrl-C or the deadline: what was on its way is done),
 * -EPERM (a node refuses us: import_why), or another -errno (the file, memory, the rejects file).
 */
int import_run(struct import *im) _must_check_;
const struct import_counts *import_counts(const struct import *im);
const char *import_why(const struct import *im);
/* A line on stderr for each partition that was given up; how many. */
unsigned import_tell_not_done(const struct import *im);
/* The first pass over devices: reads every row, calls back for the good ones. 0 or -errno. */
typedef int import_device_fn(void *arg, int32_t device_id);
int import_each_device(struct import *im, import_device_fn *on_device, void *arg) _must_check_;
