/*
 * batch.h - one batch of an import on its way through the database: what intake*.c share.
 *
 * Private to the intake. A batch lives from intake_take to batch_end, which answers and frees it.
 * Rows not yet decided have the verdict ROW_PENDING.
 */
#pragma once
#include "node/intake.h"
#include "node/store.h"

#define ROW_PENDING    UINT8_MAX
#define SPANS_MAX      32u /* halving 2,000 rows needs 12 */
#define PROBE_ROUNDS   4u  /* another writer's rows came between that often: ask again later */
#define INTAKE_TIMEOUT (5 * USEC_PER_SEC)
#define INTAKE_ARGS    4u
#define COLUMNS_SEEN   256u

/* Attribute columns that are in lead_column: they are not written again. */
struct columns_seen {
    unsigned count;
    struct column_seen {
        const struct partition *partition;
        unsigned bytes;
        char name[192]; /* as it stands in the JSON */
    } columns[COLUMNS_SEEN];
};

struct intake {
    const struct replies *replies;
    const uint8_t *token_key;
    struct row_limits rows;
    struct intake_limits limits;
    struct columns_seen seen;
    struct db_args args[INTAKE_ARGS];          /* of the transaction that is being submitted */
    struct batch *batches[INTAKE_WAITING_MAX]; /* NULL = free */
    unsigned waiting;
    char zones[64][64]; /* that PostgreSQL knew: its view reads 600 files at each look */
    unsigned zone_count;
};

struct span {
    uint32_t first, end; /* of order */
};

struct known_device { /* as the database said it */
    int32_t device_id;
    int32_t residence;
    int32_t account; /* a number within this batch */
    uint32_t leads;  /* that it has, with those accepted here */
};

struct batch {
    struct intake *intake;
    struct partition *partition;
    struct rpc_ticket ticket;
    struct uuid incarnation; /* of the asker; with its request id it names the request */
    uint64_t request_id;
    enum message_kind kind;
    bool update, refuse_shared;
    uint64_t epoch;
    uint32_t count;
    union {
        struct device_row *devices;
        struct lead_row *leads;
    };
    struct slice *zones; /* devices: those that are being asked for */
    uint32_t zone_count;
    uint8_t *verdicts;
    char **reasons;  /* heap, NULL = none; of refused rows */
    bool *known;     /* leads: the database has it (then update or duplicate) */
    bool *shared;    /* leads: another device of the account has the phone */
    uint32_t *order; /* rows to write, by device and then as in the file */
    uint32_t order_count;
    struct span spans[SPANS_MAX], span; /* of order: still to be written, being written now */
    unsigned span_count, rounds;
    uint32_t numbered;                  /* leads: devices that the span's insert must number */
    struct known_device *known_devices; /* leads: sorted by id */
    uint32_t known_device_count;
    bool *forgotten;                          /* leads: the person was erased */
    struct slice columns[ATTRIBUTES_MAX * 2]; /* leads: of the span, not seen before */
    unsigned column_count;
};

/* ---- intake.c ---- */
/* Answers with the verdicts so far (STATUS_OK: all are decided) and frees the batch. */
void batch_end(struct batch *b, enum message_status status, const char *reason);
void batch_refuse(struct batch *b, uint32_t row, const char *reason);
/* Submits the transaction made of `calls`; ends the batch when that is impossible. */
void batch_submit(struct batch *b, enum dbpool_lane lane, const struct db_call *calls,
                  unsigned count, db_done_fn *done);
struct db_args *batch_args(struct batch *b, unsigned index); /* emptied */
/*
 * Judges what a transaction came to. true = committed, go on. false = the batch was ended, or a
 * part was put back: `again` writes the next span, `reprobe` looks anew for what is there.
 */
bool batch_committed(struct batch *b, enum db_outcome outcome, const struct db_reply *reply,
                     void (*again)(struct batch *b), void (*reprobe)(struct batch *b));
/* The reply's STORE_EPOCH at `call` is ours; else suspects the partition and ends the batch. */
bool batch_epoch_holds(struct batch *b, const struct db_reply *reply, unsigned call);
void batch_all_spans(struct batch *b);
bool batch_next_span(struct batch *b); /* false: all is written */

/* ---- intake_devices.c, intake_leads.c: called once, with all rows pending ---- */
void batch_start_devices(struct batch *b);
void batch_start_leads(struct batch *b);
