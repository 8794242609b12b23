/* acts_forget.c - lead.forget: block, the messages' provider ids, erase; a keyed hash stays. */
#include <stdlib.h>
#include <string.h>

#include "node/acts_inner.h"

#define ACCOUNT        0u /* columns */
#define PHONE          1u
#define PAIRS_MAX      20000u /* leads of the people that one round erases */
#define TOKENS_AT_ONCE 1000u  /* of messages, in one transaction */

struct erasure {
    unsigned pair_count, token_count, token_at;
    int32_t devices[PAIRS_MAX], leads[PAIRS_MAX];
    int64_t *times; /* of tokens: their day */
    struct uuid *tokens;
};

struct erasure *
act_erasure_free(struct erasure *e)
{
    if (!e)
        return NULL;
    free(e->times);
    free(e->tokens);
    free(e);
    return NULL;
}

/* account ("" = every), phone */
void
act_judge_forget(const struct acts *a, const struct partition *p _unused_, struct act_row *row)
{
    if (row_phone(a, row, PHONE))
        (void) row_word(row, ACCOUNT, "account", ACCOUNT_MAX);
}

static void
put_people(const struct round *r, struct db_args *args)
{
    db_put_int8(args, (int64_t) r->partition->epoch);
    round_put_n(r, args);
    round_put_accounts(r, args, "");
    round_put_phones(r, args);
}

static void
on_erased(void *arg, enum db_outcome outcome, const struct db_reply *reply)
{
    struct round *r = arg;
    unsigned call = ROUND_CALLS + 1;

    if (!round_committed(r, outcome, reply))
        return;
    round_rows_gone(r, reply, ROUND_CALLS);
    for (unsigned k = 0; k < db_rows(reply, call); k++) {
        struct act_row *row = round_row(r, db_get_int(reply, call, k, 0));
        int64_t erased = db_get_int(reply, call, k, 1);

        if (row)
            row_decide(row, erased > 0 || db_get_bool(reply, call, k, 2) ? ACT_DONE : ACT_KNOWN,
                       "%lld", (long long) erased);
    }
    round_end(r, "a message to it is on the wire");
}

static void
erase(struct round *r)
{
    struct db_args *end = round_args(r, 0), *args = round_args(r, 1);
    const struct db_call calls[] = {{STORE_OPTOUT_END, end}, {STORE_FORGET_ERASE, args}};

    round_put_end(r, end, "", REASON_FORGOTTEN, true);
    put_people(r, args);
    round_put_hashes(r, args);
    round_submit(r, r->action->lock, calls, ARRAY_SIZE(calls), on_erased);
}

static void forget_ids(struct round *r);

static void
on_ids_forgotten(void *arg, enum db_outcome outcome, const struct db_reply *reply)
{
    struct round *r = arg;

    if (!round_committed(r, outcome, reply))
        return;
    r->erasure->token_at += MIN_OF(TOKENS_AT_ONCE, r->erasure->token_count - r->erasure->token_at);
    forget_ids(r);
}

static void
forget_ids(struct round *r)
{
    const struct erasure *e = r->erasure;
    unsigned count = MIN_OF(TOKENS_AT_ONCE, e->token_count - e->token_at);
    struct db_args *args = round_args(r, 0);
    const struct db_call calls[] = {{STORE_FORGET_IDS, args}};

    if (count == 0) {
        erase(r);
        return;
    }
    db_put_int8(args, (int64_t) r->partition->epoch);
    db_put_times(args, e->times + e->token_at, count);
    db_put_uuids(args, e->tokens + e->token_at, count);
    round_submit(r, STORE_LOCK_SHARED, calls, ARRAY_SIZE(calls), on_ids_forgotten);
}

static void
on_tokens(void *arg, enum db_outcome outcome, const struct db_reply *reply)
{
    struct round *r = arg;
    struct erasure *e = r->erasure;

    if (!round_committed(r, outcome, reply))
        return;
    e->token_count = db_rows(reply, 0);
    e->times = calloc(e->token_count + 1u, sizeof(*e->times));
    e->tokens = calloc(e->token_count + 1u, sizeof(*e->tokens));
    if (!e->times || !e->tokens) {
        round_end(r, "out of memory");
        return;
    }
    for (unsigned k = 0; k < e->token_count; k++) {
        e->times[k] = db_get_time(reply, 0, k, 0);
        e->tokens[k] = db_get_uuid(reply, 0, k, 1);
    }
    forget_ids(r);
}

static void
find_tokens(struct round *r)
{
    struct db_args *args = round_args(r, 0);
    const struct db_call call = {STORE_FORGET_TOKENS, args};

    if (r->erasure->pair_count == 0) {
        erase(r);
        return;
    }
    db_put_int4s(args, r->erasure->devices, r->erasure->pair_count);
    db_put_int4s(args, r->erasure->leads, r->erasure->pair_count);
    round_ask(r, &call, on_tokens);
}

/* One place where somebody is: n, device, lead, account, busy. False: no memory for the opt-out. */
static bool
found(struct round *r, const struct db_reply *reply, unsigned call, unsigned k)
{
    struct act_row *row = round_row(r, db_get_int(reply, call, k, 0));
    struct slice account = db_get_text(reply, call, k, 3);
    struct erasure *e = r->erasure;
    char name[ACCOUNT_MAX + 1];

    if (!row || account.bytes > ACCOUNT_MAX)
        return true;
    memcpy(name, account.data, account.bytes);
    name[account.bytes] = '\0';
    if (book_put_optout(r->partition->book, name, row->phone) < 0)
        return false;
    if (db_get_bool(reply, call, k, 4))
        row_decide(row, ACT_RETRY, "a message to it is on the wire, or its device is moving");
    else if (e->pair_count == PAIRS_MAX)
        row_decide(row, ACT_RETRY, "too many leads at once");
    if (row->verdict != ACT_PENDING)
        return true;
    e->devices[e->pair_count] = (int32_t) db_get_int(reply, call, k, 1);
    e->leads[e->pair_count++] = (int32_t) db_get_int(reply, call, k, 2);
    return true;
}

static void
on_blocked(void *arg, enum db_outcome outcome, const struct db_reply *reply)
{
    struct round *r = arg;
    unsigned call = ROUND_CALLS + 2;
    bool known = true;

    if (!round_committed(r, outcome, reply))
        return;
    for (unsigned k = 0; k < db_rows(reply, call) && known; k++)
        known = found(r, reply, call, k);
    if (!known) {
        round_lost_memory(r);
        round_end(r, "out of memory");
        return;
    }
    round_rows_gone(r, reply, ROUND_CALLS + 1);
    if (round_has_pending(r))
        find_tokens(r);
    else
        round_end(r, "");
}

void
act_forget(struct round *r)
{
    struct db_args *block = round_args(r, 0), *end = round_args(r, 1), *find = round_args(r, 2);
    const struct db_call calls[] = {{STORE_FORGET_BLOCK, block},
                                    {STORE_OPTOUT_END, end},
                                    {STORE_FORGET_FIND, find}};

    r->erasure = calloc(1, sizeof(*r->erasure));
    if (!r->erasure) {
        round_end(r, "out of memory");
        return;
    }
    put_people(r, block);
    round_put_end(r, end, "", REASON_FORGOTTEN, true);
    put_people(r, find);
    round_submit(r, r->action->lock, calls, ARRAY_SIZE(calls), on_blocked);
}
