/*
 * acts_inner.h - what the files of the acts share: acts.c, acts_rows.c, acts_optout.c,
 * acts_forget.c, acts_send.c, acts_lead.c, acts_device.c.
 *
 * Nobody else includes it. An action's judge sees each row alone, before any transaction; its start
 * submits the round's first transaction; row_decide for every row, then round_end.
 */
#pragma once
#include <sys/queue.h>

#include "node/acts.h"
#include "node/outcome.h"
#include "node/partition_inner.h"
#include "shared/secret.h"

#define ACT_DETAIL_BYTES 128u
#define ACTS_ARGS        4u
#define ACCOUNT_MAX      64u
#define ACTS_TIMEOUT     (5 * USEC_PER_SEC) /* no send depends on it; the lock may have to wait */

enum act_verdict { ACT_PENDING, ACT_DONE, ACT_KNOWN, ACT_REFUSED, ACT_RETRY, ACT_NOT_FOUND };

struct act_row {
    struct slice *cells; /* as asked */
    enum act_verdict verdict;
    char detail[ACT_DETAIL_BYTES];
    /* what the judge read from the cells, as the action needs it */
    int32_t device_id;
    uint64_t phone;
    int64_t time;
    uint8_t hash[SECRET_HASH_BYTES];
    int32_t source_id; /* of an enrolment: where, and its first step */
    int16_t step, revision;
    usec_t delay;
    bool again;
};

struct round;
struct acting;
struct erasure;

struct action {
    const char *name;
    unsigned column_count;
    enum store_statement lock; /* first statement of its transaction; STORE_COUNT: memory only */
    /* Reads the cells; may decide the row. */
    void (*judge)(const struct acts *a, const struct partition *p, struct act_row *row);
    void (*start)(struct round *r);
};

struct acting { /* a request that waits for its answer */
    TAILQ_ENTRY(acting) link;
    struct partition *partition;
    struct rpc_ticket ticket;
    struct uuid incarnation; /* of the asker; with its request id it names the request */
    uint64_t request_id;
    const struct action *action;
    unsigned row_count;
    size_t bytes; /* of its texts */
    struct act_row *rows;
    struct slice *cells; /* and the texts behind them */
};
TAILQ_HEAD(acting_list, acting);

struct acts {
    const struct replies *replies;
    const uint8_t *token_key;
    struct db_args args[ACTS_ARGS]; /* of the transaction that is being submitted */
    unsigned waiting;
    struct acting_list queue;
    LIST_HEAD(, round) rounds;
};

struct round {
    LIST_ENTRY(round) link;
    struct acts *acts;
    struct partition *partition;
    const struct action *action;
    struct acting_list actings;
    unsigned row_count;
    struct act_row *rows[ACT_ROWS_MAX];
    usec_t submitted;
    bool asks_epoch;
    struct erasure *erasure; /* lead.forget: where the people are */
};

/* ---- acts.c ---- */
struct db_args *round_args(struct round *r, unsigned index); /* emptied */
/* lock, STORE_EPOCH, then `calls`: their results begin at ROUND_CALLS. Ends the round when it is
 * impossible. */
#define ROUND_CALLS 2u
void round_submit(struct round *r, enum store_statement lock, const struct db_call *calls,
                  unsigned count, db_done_fn *done);
/* Reads only, without a lock, on the lane of questions: results begin at 0. */
void round_ask(struct round *r, const struct db_call *call, db_done_fn *done);
/* true: committed, the epoch is ours. false: the round was ended. */
bool round_committed(struct round *r, enum db_outcome outcome, const struct db_reply *reply);
/* Answers what is decided; rows that are not are asked again. */
void round_end(struct round *r, const char *why);
bool round_has_pending(const struct round *r);
/* The row that a statement's column n names. NULL: not of this round. */
struct act_row *round_row(struct round *r, int64_t n);
/* Memory could not follow what the database has: the driver takes again, as after any doubt. */
void round_lost_memory(struct round *r);

/* Rows that a statement ended (device, source, lead): memory forgets them. */
void round_rows_gone(const struct round *r, const struct db_reply *reply, unsigned call);

/* ---- acts_rows.c ---- */
void row_decide(struct act_row *row, enum act_verdict verdict, const char *format, ...)
    _printf_(3, 4);

/* Columns of the rows that are not decided yet. n is the row's place in the round. */
unsigned round_put_n(const struct round *r, struct db_args *args);
void round_put_devices(const struct round *r, struct db_args *args);
void round_put_phones(const struct round *r, struct db_args *args);
void round_put_times(const struct round *r, struct db_args *args);
void round_put_hashes(const struct round *r, struct db_args *args);
void round_put_cells(const struct round *r, struct db_args *args, unsigned column);

/* Cells; false: the row was refused with words. */
bool row_device(struct act_row *row, unsigned column);
bool row_phone(const struct acts *a, struct act_row *row, unsigned column); /* and its hash */
bool row_time(struct act_row *row, unsigned column, int64_t absent);
bool row_word(struct act_row *row, unsigned column, const char *what, size_t bytes_max);
/* What a statement's numbers mean; the same in send, enrol and remove (store.c). */
void row_verdict(struct act_row *row, int64_t verdict, int64_t number);
/* Ends a round of send, enrol or remove, whose answer is (n, verdict, lead_no, ...): a row that was
 * done is told to memory by `tell`; k is its place in the answer. */
typedef void round_tell_fn(const struct round *r, const struct act_row *row, int32_t lead_no,
                           const struct db_reply *reply, unsigned k);
void round_verdicts(struct round *r, enum db_outcome outcome, const struct db_reply *reply,
                    round_tell_fn *tell);
/* For what begins to wait: by the row's source, revision and step; column 3 is its due time. */
round_tell_fn round_tell_new;

/* ---- acts_optout.c ---- */
/* Accounts and phones of what is undecided; "" stands for `absent`. */
void round_put_accounts(const struct round *r, struct db_args *args, const char *absent);
/* The parameters of STORE_OPTOUT_END. */
void round_put_end(const struct round *r, struct db_args *args, const char *absent,
                   enum reason reason, bool unknown_too);

/* ---- the actions ---- */
void act_judge_optout(const struct acts *a, const struct partition *p, struct act_row *row);
void act_optout_add(struct round *r);
void act_optout_remove(struct round *r);
void act_judge_forget(const struct acts *a, const struct partition *p, struct act_row *row);
void act_forget(struct round *r);
struct erasure *act_erasure_free(struct erasure *e);
void act_judge_send(const struct acts *a, const struct partition *p, struct act_row *row);
void act_send(struct round *r);
void act_judge_enrol(const struct acts *a, const struct partition *p, struct act_row *row);
void act_enrol(struct round *r);
void act_judge_remove(const struct acts *a, const struct partition *p, struct act_row *row);
void act_remove(struct round *r);
void act_judge_pause(const struct acts *a, const struct partition *p, struct act_row *row);
void act_judge_resume(const struct acts *a, const struct partition *p, struct act_row *row);
void act_pause(struct round *r);
void act_judge_rate(const struct acts *a, const struct partition *p, struct act_row *row);
void act_rate(struct round *r);
