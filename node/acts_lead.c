/* acts_lead.c - lead.enrol, lead.remove: one lead into a sequence by hand, and out of it. */
#include <string.h>

#include "node/acts_inner.h"
#include "node/audience.h"

#define PHONE    1u /* columns; 0 is the device */
#define SEQUENCE 2u
#define AGAIN    3u

/* The sequence that a cell names; NULL: the row was decided. */
static const struct source *
find_sequence(const struct partition *p, struct act_row *row)
{
    struct slice cell = row->cells[SEQUENCE];
    char name[CONTENT_NAME_MAX + 1] = "";
    const struct source *s = NULL;

    if (cell.bytes <= CONTENT_NAME_MAX) {
        memcpy(name, cell.data, cell.bytes);
        s = book_source_by_name(p->book, name);
    }
    if (s && s->class == CLASS_SEQUENCE)
        return s;
    row_decide(row, ACT_NOT_FOUND, "no sequence of that name is here (yet)");
    return NULL;
}

/* device_id, phone, sequence, again ("1" or "") */
void
act_judge_enrol(const struct acts *a, const struct partition *p, struct act_row *row)
{
    const struct source *s;
    const struct source_step *first;

    if (!row_device(row, 0) || !row_phone(a, row, PHONE))
        return;
    s = find_sequence(p, row);
    if (!s)
        return;
    first = source_next(s, s->revision, 0);
    if (!first) {
        row_decide(row, ACT_REFUSED, "the sequence cannot be used here: see the node's log");
        return;
    }
    row->source_id = s->source_id;
    row->revision = s->revision;
    row->step = first->step;
    row->delay = first->delay;
    row->again = row->cells[AGAIN].bytes == 1 && row->cells[AGAIN].data[0] == '1';
}

static void
put_sources(const struct round *r, struct db_args *args)
{
    int32_t values[ACT_ROWS_MAX];
    unsigned count = 0;

    for (unsigned n = 0; n < r->row_count; n++)
        if (r->rows[n]->verdict == ACT_PENDING)
            values[count++] = r->rows[n]->source_id;
    db_put_int4s(args, values, count);
}

static void
put_starts(const struct round *r, struct db_args *args)
{
    int16_t steps[ACT_ROWS_MAX], revisions[ACT_ROWS_MAX];
    int64_t delays[ACT_ROWS_MAX];
    bool again[ACT_ROWS_MAX];
    unsigned count = 0;

    for (unsigned n = 0; n < r->row_count; n++) {
        const struct act_row *row = r->rows[n];

        if (row->verdict != ACT_PENDING)
            continue;
        steps[count] = row->step;
        revisions[count] = row->revision;
        delays[count] = (int64_t) row->delay;
        again[count++] = row->again;
    }
    db_put_int2s(args, steps, count);
    db_put_int2s(args, revisions, count);
    db_put_int8s(args, delays, count);
    db_put_bools(args, again, count);
}

static void
on_enrolled(void *arg, enum db_outcome outcome, const struct db_reply *reply)
{
    round_verdicts(arg, outcome, reply, round_tell_new);
}

void
act_enrol(struct round *r)
{
    struct db_args *args = round_args(r, 0);
    const struct db_call calls[] = {{STORE_LEAD_ENROL, args}};

    db_put_int8(args, (int64_t) r->partition->epoch);
    round_put_n(r, args);
    round_put_devices(r, args);
    round_put_phones(r, args);
    put_sources(r, args);
    put_starts(r, args);
    round_submit(r, r->action->lock, calls, ARRAY_SIZE(calls), on_enrolled);
}

/* device_id, phone, sequence */
void
act_judge_remove(const struct acts *a, const struct partition *p, struct act_row *row)
{
    const struct source *s;

    if (!row_device(row, 0) || !row_phone(a, row, PHONE))
        return;
    s = find_sequence(p, row);
    if (s)
        row->source_id = s->source_id;
}

static void
tell_gone(const struct round *r, const struct act_row *row, int32_t lead_no,
          const struct db_reply *reply _unused_, unsigned k _unused_)
{
    audience_row_gone(r->partition, row->device_id, row->source_id, lead_no);
}

static void
on_removed(void *arg, enum db_outcome outcome, const struct db_reply *reply)
{
    round_verdicts(arg, outcome, reply, tell_gone);
}

void
act_remove(struct round *r)
{
    struct db_args *args = round_args(r, 0);
    const struct db_call calls[] = {{STORE_LEAD_REMOVE, args}};

    db_put_int8(args, (int64_t) r->partition->epoch);
    round_put_n(r, args);
    round_put_devices(r, args);
    round_put_phones(r, args);
    put_sources(r, args);
    round_submit(r, r->action->lock, calls, ARRAY_SIZE(calls), on_removed);
}
