/* cmd_preview.c - preview CONTENT --lead PHONE: what that lead would get, composed by the code that
 * sends. */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "coordinator/ctl/commands.h"
#include "coordinator/ctl/content_file.h"
#include "coordinator/ctl/lead_find.h"
#include "coordinator/ctl/table.h"
#include "coordinator/ctl/terminal.h"
#include "shared/compose.h"

struct preview {
    struct content content; /* the file's items, then the catalog's that it lacks */
    struct lead_fields lead;
    struct table *table;
    unsigned fault_count;
};

/* ---- content ---- */

static const struct content_item *
find_item(const struct content *c, enum content_kind kind, const char *name)
{
    for (unsigned i = 0; i < c->count; i++)
        if (c->items[i].kind == kind && strcmp(content_item_name(&c->items[i]), name) == 0)
            return &c->items[i];
    return NULL;
}

static int
add_row(struct content *c, const struct content_row *row)
{
    char why[200];
    if (row->kind > CONTENT_SEQUENCE)
        return 0;
    struct content_item *more = realloc(c->items, (c->count + 1) * sizeof(*more));
    if (!more)
        return -ENOMEM;
    c->items = more;
    int err = content_item_read(&c->items[c->count], row->json, why, sizeof(why));
    if (err < 0)
        return err;
    struct content_item *item = &c->items[c->count];
    if (find_item(c, item->kind, content_item_name(item)))
        content_item_free(item);
    else
        c->count++;
    return 0;
}

static int
add_catalog(struct content *c, struct asker *a)
{
    struct request q = {.kind = MESSAGE_CONTENT};
    struct reply r;
    do {
        int err = ask_coordinator(a, &q, 0, &r);
        for (uint32_t i = 0; err == 0 && i < r.content.row_count; i++) {
            q.content.after = r.content.rows[i].version;
            err = add_row(c, &r.content.rows[i]);
        }
        if (err < 0)
            return err;
    } while (r.content.more && r.content.row_count > 0);
    return 0;
}

/* ---- one text ---- */

static int
put_text(struct preview *p, const char *step, const char *when, const char *what, const char *text)
{
    char why[128];
    size_t bytes = 0;
    char *out = malloc(CONTENT_TEXT_BYTES_MAX + 1);
    struct compose *compose = compose_new(ask_text(text), why, sizeof(why));
    if (!out || !compose) {
        free(out);
        compose_free(compose);
        return -ENOMEM;
    }
    enum compose_verdict verdict =
        compose_render(compose, &p->lead, out, CONTENT_TEXT_BYTES_MAX, &bytes);
    table_words(p->table, "%s", step);
    table_words(p->table, "%s", when);
    table_words(p->table, "%s", what);
    if (verdict == COMPOSE_OK) {
        table_text(p->table, (struct slice){out, bytes});
    } else {
        p->fault_count++;
        table_words(p->table, "%s: %s",
                    verdict == COMPOSE_TOO_LONG ? "SKIPPED too long" : "SKIPPED missing variable",
                    text);
    }
    compose_free(compose);
    free(out);
    return 0;
}

static int
put_template(struct preview *p, const char *step, const char *when, const char *name)
{
    char what[CONTENT_NAME_MAX + 600];
    const struct content_item *item = find_item(&p->content, CONTENT_TEMPLATE, name);
    if (!item)
        return -ENOENT;
    const struct content_template *t = &item->template_;
    if (t->is_text && t->variant_count > 0) {
        unsigned v = compose_variant(p->lead.phone, t->variant_count);
        snprintf(what, sizeof(what), "%s, variant %u of %u", name, v + 1, t->variant_count);
        return put_text(p, step, when, what, t->variants[v]);
    }
    if (t->is_text)
        return put_text(p, step, when, name, t->text);
    int err = 0;
    for (unsigned i = 0; i < t->parameter_count && err == 0; i++) {
        snprintf(what, sizeof(what), "%s: approved %s (%s), {{%u}}", name, t->template_name,
                 t->language, i + 1);
        err = put_text(p, step, when, what, t->parameters[i]);
    }
    if (t->parameter_count == 0) {
        snprintf(what, sizeof(what), "%s: approved %s (%s)", name, t->template_name, t->language);
        err = put_text(p, step, when, what, "");
    }
    return err;
}

static int
put_sequence(struct preview *p, const struct content_sequence *s)
{
    char step[16], when[96], delay[32], window[32];
    int err = 0;
    for (unsigned i = 0; i < s->step_count && err == 0; i++) {
        const struct content_step *at = &s->steps[i];
        snprintf(step, sizeof(step), "%d", at->step);
        content_write_delay(delay, sizeof(delay), at->delay);
        content_write_window(window, sizeof(window), at->window);
        bool has_window = at->window.from != at->window.to;
        snprintf(when, sizeof(when), "%s after %s%s%s", delay,
                 i == 0 ? "the enrolment" : "the step before", has_window ? ", " : "",
                 has_window ? window : "");
        err = at->text ? put_text(p, step, when, "text", at->text)
                       : put_template(p, step, when, at->template_name);
    }
    return err;
}

static int
put_content(struct preview *p, const char *name)
{
    const struct content_item *item = find_item(&p->content, CONTENT_SEQUENCE, name);
    if (item)
        return put_sequence(p, &item->sequence);
    item = find_item(&p->content, CONTENT_CAMPAIGN, name);
    if (item)
        return put_template(p, "", "at the start", item->campaign.template_name);
    return put_template(p, "", "", name);
}

/* ---- the verb ---- */

static int
preview_lead(const struct invocation *in, struct preview *p, const struct gathered *leads,
             unsigned row)
{
    p->lead = (struct lead_fields){.phone = (uint64_t) gathered_number(leads, row, "phone"),
                                   .name = gathered_text(leads, row, "name"),
                                   .attributes = gathered_text(leads, row, "attributes")};
    p->table = table_new(stdout, in->format);
    if (!p->table)
        return -ENOMEM;
    table_column(p->table, "step", NULL, TABLE_WORDS);
    table_column(p->table, "when", NULL, TABLE_WORDS);
    table_column(p->table, "content", NULL, TABLE_WORDS);
    table_column(p->table, "text", NULL, TABLE_WORDS);
    int err = put_content(p, in->operands[0]);
    int written = table_done(p->table);
    return err ?: written;
}

static int
preview(const struct invocation *in, struct asker *a, struct preview *p)
{
    struct gathered leads = {0};
    unsigned row = 0;
    int code = lead_find_one(a, in, in->options[OPTION_LEAD], "cannot preview", &leads, &row);
    int err = code == CTL_DONE ? add_catalog(&p->content, a) : 0;
    if (code == CTL_DONE && err == 0)
        err = preview_lead(in, p, &leads, row);
    if (err == -ENOENT) {
        terminal_fault("no template, campaign or sequence \"%s\", or it names a template that is"
                       " not there",
                       in->operands[0]);
        terminal_next("fleetcast campaign ls; fleetcast sequence ls; or --file FILE");
        code = CTL_FAILED;
    } else if (err < 0) {
        code = ask_failed(a, err, "cannot preview %s", in->operands[0]);
    } else if (code == CTL_DONE && p->fault_count > 0) {
        terminal_fault("%u of these texts would be skipped for this lead", p->fault_count);
        terminal_next("give each variable a default: {{city|your town}}");
        code = CTL_REFUSED;
    }
    gathered_done(&leads);
    return code;
}

int
cmd_preview(const struct invocation *in)
{
    struct preview p = {0};
    struct asker *a = NULL;
    int code = CTL_DONE;
    if (!in->options[OPTION_LEAD]) {
        terminal_fault("--lead PHONE is needed: whose message");
        return CTL_USAGE;
    }
    if (in->options[OPTION_FILE])
        code = content_file_read(in->options[OPTION_FILE], &p.content);
    if (code == CTL_DONE)
        code = asker_open(&a, in, in->timeout);
    if (code == CTL_DONE)
        code = preview(in, a, &p);
    content_free(&p.content);
    asker_free(a);
    return code;
}
