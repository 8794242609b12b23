/* What becomes of a row: the same step again, the next one, the end, the next sequence. */
#include "node/sender_inner.h"

/* The database's time is known to some milliseconds only, and a step may never come before its
 * delay. */
#define DELAY_GRAIN ((int64_t) (10 * USEC_PER_MSEC))

static void
set_fact(struct slot *slot, enum goal goal, int state, enum reason reason, usec_t at)
{
    slot->fact = (struct fact){.goal = (int16_t) goal,
                               .to_step = slot->entry.step,
                               .to_attempt = slot->entry.attempt,
                               .to_revision = slot->entry.revision,
                               .state = (int16_t) state,
                               .reason = (int16_t) reason,
                               .due = slot->entry.due,
                               .at = partition_db_now(slot->sender->p, at)};
}

/* A row of an older revision keeps it with its step: the pass over the devices moves both. */
void
follow_wait(struct slot *slot, int state, enum reason reason, usec_t at, int64_t due,
            unsigned attempt)
{
    set_fact(slot, GOAL_WAITING, state, reason, at);
    slot->fact.due = MAX_OF(slot->fact.due, due);
    slot->fact.to_attempt = (int16_t) attempt;
}

void
follow_unknown(struct slot *slot, enum reason reason, usec_t at)
{
    set_fact(slot, GOAL_UNKNOWN, MESSAGE_UNKNOWN, reason, at);
}

static void
end(struct slot *slot, int state, enum reason reason, usec_t at, int ends_as)
{
    set_fact(slot, GOAL_ENDED, state, reason, at);
    slot->fact.ends_as = (int16_t) ends_as;
}

static int64_t
due_after(const struct slot *slot, usec_t delay)
{
    return slot->fact.at + (delay > 0 ? (int64_t) delay + DELAY_GRAIN : 0);
}

/* Through: the next sequence begins at its first step, as its newest revision has it. Whether it is
 * cancelled, and whether the lead has been through it, the database knows. */
static void
chain(struct slot *slot)
{
    const struct source *next =
        source_chain(slot->sender->p->book, slot->source, slot->entry.revision);
    const struct source_step *first = next ? source_next(next, next->revision, 0) : NULL;

    if (!first)
        return;
    slot->fact.next_source = next->source_id;
    slot->fact.next_step = first->step;
    slot->fact.next_revision = next->revision;
    slot->fact.next_due = due_after(slot, first->delay);
}

void
follow_step(struct slot *slot, int state, enum reason reason, usec_t at)
{
    const struct source *s = slot->source;
    const struct source_step *next = source_next(s, slot->entry.revision, slot->entry.step);

    if (s->class != CLASS_SEQUENCE) {
        end(slot, state, reason, at, state);
        return;
    }
    if (!next) {
        end(slot, state, reason, at, MESSAGE_SENT);
        chain(slot);
        return;
    }
    set_fact(slot, GOAL_WAITING, state, reason, at);
    slot->fact.to_step = next->step;
    slot->fact.to_attempt = 0;
    slot->fact.to_revision = source_revision(s, slot->entry.revision);
    slot->fact.due = due_after(slot, next->delay);
}

static void
by_rule(struct slot *slot, bool goes_on, int state, enum reason reason, usec_t at)
{
    if (goes_on)
        follow_step(slot, state, reason, at);
    else
        end(slot, state, reason, at, state);
}

void
follow_failed(struct slot *slot, enum reason reason, usec_t at)
{
    const struct content_sequence *rules = source_rules(slot->source, slot->entry.revision);

    by_rule(slot, rules && rules->on_fail == CONTENT_CONTINUE, MESSAGE_FAILED, reason, at);
}

void
follow_skipped(struct slot *slot, int state, enum reason reason, usec_t at)
{
    const struct content_sequence *rules = source_rules(slot->source, slot->entry.revision);

    by_rule(slot, rules && rules->on_skip == CONTENT_CONTINUE, state, reason, at);
}
