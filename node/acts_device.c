/* acts_device.c - device.pause, device.resume, node.enrol_rate. */
#include "node/acts_inner.h"
#include "node/audience.h"
#include "shared/parse.h"

#define RATE_MAX 1000000u

/* device_id, until ("" = until it is resumed), because */
void
act_judge_pause(const struct acts *a _unused_, const struct partition *p _unused_,
                struct act_row *row)
{
    if (row_device(row, 0) && row_time(row, 1, INT64_MAX))
        (void) row_word(row, 2, "because", REASON_BYTES_MAX);
}

/* device_id, because */
void
act_judge_resume(const struct acts *a _unused_, const struct partition *p _unused_,
                 struct act_row *row)
{
    if (row_device(row, 0) && row_word(row, 1, "because", REASON_BYTES_MAX))
        row->time = INT64_MIN;
}

/* At once, before the answer: the guard refuses what is claimed. Words and the next turn come with
 * the device's row, read again. */
static int
follow(struct partition *p, const struct act_row *row)
{
    struct device *d = schedule_find(p->devices, row->device_id);

    if (d)
        d->paused_until = row->time;
    return partition_device_changed(p, row->device_id);
}

static void
on_paused(void *arg, enum db_outcome outcome, const struct db_reply *reply)
{
    struct round *r = arg;

    if (!round_committed(r, outcome, reply))
        return;
    for (unsigned k = 0; k < db_rows(reply, ROUND_CALLS); k++) {
        struct act_row *row = round_row(r, db_get_int(reply, ROUND_CALLS, k, 0));

        if (!row)
            continue;
        if (!db_get_bool(reply, ROUND_CALLS, k, 1)) {
            row_verdict(row, db_is_null(reply, ROUND_CALLS, k, 2) ? 1 : 2, 0);
        } else if (follow(r->partition, row) < 0) {
            round_lost_memory(r);
            break;
        } else {
            row_decide(row, ACT_DONE, "%s", "");
        }
    }
    round_end(r, "out of memory");
}

void
act_pause(struct round *r)
{
    struct db_args *args = round_args(r, 0);
    const struct db_call calls[] = {{STORE_DEVICE_PAUSE, args}};

    db_put_int8(args, (int64_t) r->partition->epoch);
    round_put_n(r, args);
    round_put_devices(r, args);
    round_put_times(r, args);
    round_put_cells(r, args, r->action->column_count - 1);
    round_submit(r, r->action->lock, calls, ARRAY_SIZE(calls), on_paused);
}

/* rows_per_second (0 = the default again) */
void
act_judge_rate(const struct acts *a _unused_, const struct partition *p _unused_,
               struct act_row *row)
{
    struct slice cell = row->cells[0];
    uint64_t rate;

    if (parse_u64(cell.data, cell.bytes, 0, RATE_MAX, &rate) < 0)
        row_decide(row, ACT_REFUSED, "rate: must be 0 to %u rows a second", RATE_MAX);
    else
        row->time = (int64_t) rate;
}

/* Memory only, until the process ends. */
void
act_rate(struct round *r)
{
    for (unsigned n = 0; n < r->row_count; n++) {
        if (r->rows[n]->verdict != ACT_PENDING)
            continue;
        audience_set_rate(r->partition, (uint32_t) r->rows[n]->time);
        row_decide(r->rows[n], ACT_DONE, "%s", "");
    }
    round_end(r, "");
}
