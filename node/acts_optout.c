/* acts_optout.c - optout.add, optout.remove: who must not be written to. */
#include <string.h>

#include "node/acts_inner.h"

#define ACCOUNT         0u /* columns */
#define PHONE           1u
#define REASON          2u
#define ACCOUNT_DEFAULT "main"

/* ---- opt-outs ---- */

/* account ("" = main), phone, reason */
void
act_judge_optout(const struct acts *a, const struct partition *p _unused_, struct act_row *row)
{
    if (row_phone(a, row, PHONE) && row_word(row, ACCOUNT, "account", ACCOUNT_MAX))
        (void) row_word(row, REASON, "reason", REASON_BYTES_MAX);
}

static void
account_of(const struct act_row *row, const char *absent, char out[static ACCOUNT_MAX + 1])
{
    struct slice cell = row->cells[ACCOUNT];

    if (cell.bytes == 0)
        cell = (struct slice){absent, strlen(absent)};
    memcpy(out, cell.data, cell.bytes);
    out[cell.bytes] = '\0';
}

void
round_put_accounts(const struct round *r, struct db_args *args, const char *absent)
{
    struct slice values[ACT_ROWS_MAX];
    unsigned count = 0;

    for (unsigned n = 0; n < r->row_count; n++) {
        struct slice cell = r->rows[n]->cells[ACCOUNT];
        if (r->rows[n]->verdict == ACT_PENDING)
            values[count++] = cell.bytes > 0 ? cell : (struct slice){absent, strlen(absent)};
    }
    db_put_texts(args, values, count);
}

void
round_put_end(const struct round *r, struct db_args *args, const char *absent, enum reason reason,
              bool unknown_too)
{
    db_put_int8(args, (int64_t) r->partition->epoch);
    round_put_accounts(r, args, absent);
    round_put_phones(r, args);
    db_put_int2(args, (int16_t) reason);
    db_put_bool(args, unknown_too);
}

/* False: memory does not know of all of them. */
static bool
remember(const struct round *r)
{
    char account[ACCOUNT_MAX + 1];

    for (unsigned n = 0; n < r->row_count; n++) {
        const struct act_row *row = r->rows[n];

        if (row->verdict != ACT_PENDING)
            continue;
        account_of(row, ACCOUNT_DEFAULT, account);
        if (book_put_optout(r->partition->book, account, row->phone) < 0)
            return false;
    }
    return true;
}

/* New ones are named by the statement; the others were known. */
static void
decide_named(struct round *r, const struct db_reply *reply, enum act_verdict named,
             enum act_verdict others)
{
    for (unsigned k = 0; k < db_rows(reply, ROUND_CALLS); k++) {
        struct act_row *row = round_row(r, db_get_int(reply, ROUND_CALLS, k, 0));
        if (row)
            row_decide(row, named, "%s", "");
    }
    for (unsigned n = 0; n < r->row_count; n++)
        if (r->rows[n]->verdict == ACT_PENDING)
            row_decide(r->rows[n], others, "%s", "");
}

/* Memory first: the guard refuses what was claimed before, from here on. */
static void
on_added(void *arg, enum db_outcome outcome, const struct db_reply *reply)
{
    struct round *r = arg;

    if (!round_committed(r, outcome, reply))
        return;
    if (!remember(r)) {
        round_lost_memory(r);
        round_end(r, "out of memory");
        return;
    }
    round_rows_gone(r, reply, ROUND_CALLS + 1);
    decide_named(r, reply, ACT_DONE, ACT_KNOWN);
    round_end(r, "");
}

void
act_optout_add(struct round *r)
{
    struct db_args *add = round_args(r, 0), *end = round_args(r, 1);
    const struct db_call calls[] = {{STORE_OPTOUT_ADD, add}, {STORE_OPTOUT_END, end}};

    db_put_int8(add, (int64_t) r->partition->epoch);
    round_put_n(r, add);
    round_put_accounts(r, add, ACCOUNT_DEFAULT);
    round_put_phones(r, add);
    round_put_cells(r, add, REASON);
    round_put_hashes(r, add);
    round_put_end(r, end, ACCOUNT_DEFAULT, REASON_OPTED_OUT, false);
    round_submit(r, r->action->lock, calls, ARRAY_SIZE(calls), on_added);
}

static void
on_removed(void *arg, enum db_outcome outcome, const struct db_reply *reply)
{
    struct round *r = arg;
    char account[ACCOUNT_MAX + 1];

    if (!round_committed(r, outcome, reply))
        return;
    for (unsigned n = 0; n < r->row_count; n++) {
        if (r->rows[n]->verdict != ACT_PENDING)
            continue;
        account_of(r->rows[n], ACCOUNT_DEFAULT, account);
        book_drop_optout(r->partition->book, account, r->rows[n]->phone);
    }
    decide_named(r, reply, ACT_DONE, ACT_NOT_FOUND);
    round_end(r, "");
}

void
act_optout_remove(struct round *r)
{
    struct db_args *args = round_args(r, 0);
    const struct db_call calls[] = {{STORE_OPTOUT_REMOVE, args}};

    db_put_int8(args, (int64_t) r->partition->epoch);
    round_put_n(r, args);
    round_put_accounts(r, args, ACCOUNT_DEFAULT);
    round_put_phones(r, args);
    round_put_hashes(r, args);
    round_submit(r, r->action->lock, calls, ARRAY_SIZE(calls), on_removed);
}
