/* acts_send.c - send: a direct message with the caller's key. */
#include "node/acts_inner.h"
#include "shared/parse.h"

#define PHONE   1u /* columns; 0 is the device */
#define KEY     2u
#define TEXT    3u
#define EXPIRES 4u
#define KEY_MAX 128u

/* device_id, phone, key, text, expires_at ("" = never) */
void
act_judge_send(const struct acts *a, const struct partition *p _unused_, struct act_row *row)
{
    struct slice text = row->cells[TEXT];

    if (!row_device(row, 0) || !row_phone(a, row, PHONE) || !row_word(row, KEY, "key", KEY_MAX) ||
        !row_time(row, EXPIRES, INT64_MAX))
        return;
    if (row->cells[KEY].bytes == 0)
        row_decide(row, ACT_REFUSED, "key: missing (the same key is sent once)");
    else if (text.bytes == 0)
        row_decide(row, ACT_REFUSED, "text: empty");
    else if (text.bytes > CONTENT_TEXT_BYTES_MAX ||
             parse_utf8_length(text) > CONTENT_CHARACTERS_MAX)
        row_decide(row, ACT_REFUSED, "text: longer than %u characters", CONTENT_CHARACTERS_MAX);
    row->source_id = SOURCE_DIRECT;
    row->revision = 1;
    row->step = 0;
}

static void
on_sent(void *arg, enum db_outcome outcome, const struct db_reply *reply)
{
    round_verdicts(arg, outcome, reply, round_tell_new);
}

void
act_send(struct round *r)
{
    struct db_args *args = round_args(r, 0);
    const struct db_call calls[] = {{STORE_SEND, args}};

    db_put_int8(args, (int64_t) r->partition->epoch);
    round_put_n(r, args);
    round_put_devices(r, args);
    round_put_phones(r, args);
    round_put_cells(r, args, KEY);
    round_put_cells(r, args, TEXT);
    round_put_times(r, args);
    round_put_hashes(r, args);
    db_put_int4(args, (int32_t) DIRECT_WAITING_MAX);
    round_submit(r, r->action->lock, calls, ARRAY_SIZE(calls), on_sent);
}
