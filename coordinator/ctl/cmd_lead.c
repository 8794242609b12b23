/* cmd_lead.c - lead show, enrol, remove, forget. */
#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <string.h>

#include "coordinator/ctl/act.h"
#include "coordinator/ctl/answer_table.h"
#include "coordinator/ctl/commands.h"
#include "coordinator/ctl/lead_find.h"
#include "coordinator/ctl/operands.h"
#include "coordinator/ctl/table.h"
#include "coordinator/ctl/terminal.h"

/* ---- show ---- */

struct history { /* of one lead */
    struct gathered enrollments, triggers;
};

static int
read_history(struct asker *a, const struct gathered *leads, unsigned row, struct history *ret)
{
    char device[24], number[24];
    snprintf(device, sizeof(device), "%" PRId64, gathered_number(leads, row, "device_id"));
    snprintf(number, sizeof(number), "%" PRId64, gathered_number(leads, row, "lead_no"));
    struct question question = {.name = "lead_enrollments",
                                .argument_count = 2,
                                .arguments = {ask_text(device), ask_text(number)}};
    struct slice partition = ask_text(leads->rows[row].partition);
    int err = gather_of(&ret->enrollments, a, partition, &question);
    question.name = "lead_triggers";
    return err ?: gather_of(&ret->triggers, a, partition, &question);
}

static void
put_rows(struct table *t, const struct gathered *g)
{
    for (unsigned row = 0; row < g->row_count; row++)
        for (unsigned c = 0; c < g->column_count; c++)
            answer_put_cell(t, &g->rows[row].cells[c]);
}

static int
print_rows(const struct gathered *g, const char *none)
{
    if (g->row_count == 0) {
        printf("%s\n", none);
        return 0;
    }
    struct table *t = table_new(stdout, TABLE_TEXT);
    if (!t)
        return -ENOMEM;
    for (unsigned c = 0; c < g->column_count; c++)
        table_column(t, g->columns[c], NULL, TABLE_WORDS);
    put_rows(t, g);
    return table_done(t);
}

static int
print_words(const struct gathered *leads, unsigned row, const struct history *h)
{
    char name[128], attributes[512];
    struct slice trigger = gathered_text(leads, row, "trigger");
    struct slice account = gathered_text(leads, row, "account");
    table_printable(name, sizeof(name), gathered_text(leads, row, "name"));
    table_printable(attributes, sizeof(attributes), gathered_text(leads, row, "attributes"));
    printf("Lead %" PRId64 " \"%s\" of device %" PRId64 "   +%" PRId64
           "   partition %s   account %.*s\n",
           gathered_number(leads, row, "lead_no"), name, gathered_number(leads, row, "device_id"),
           gathered_number(leads, row, "phone"), leads->rows[row].partition, (int) account.bytes,
           account.data);
    if (gathered_number(leads, row, "opted_out"))
        printf("OPTED OUT: no send to it starts\n");
    if (trigger.bytes > 0)
        printf("Trigger %.*s: not used yet\n", (int) trigger.bytes, trigger.data);
    printf("Attributes %s\n\n", attributes[0] ? attributes : "none");
    int err = print_rows(&h->enrollments, "Not enrolled anywhere.");
    if (err == 0 && h->triggers.row_count > 0) {
        fputs("\nTriggers used\n", stdout);
        err = print_rows(&h->triggers, "");
    }
    return err;
}

static json_t *
cell_json(const struct cell *c)
{
    char time[40];
    switch (c->kind) {
    case CELL_NULL: break;
    case CELL_INT: return json_integer((json_int_t) c->number);
    case CELL_TEXT: return json_stringn(c->text.data, c->text.bytes);
    case CELL_TIME: return json_string(table_time_text(time, c->number, false));
    case CELL_BOOL: return json_boolean(c->number != 0);
    }
    return json_null();
}

static json_t *
row_json(const struct gathered *g, unsigned row)
{
    json_t *object = json_object();
    for (unsigned c = 0; c < g->column_count; c++)
        json_object_set_new(object, g->columns[c], cell_json(&g->rows[row].cells[c]));
    return object;
}

static json_t *
rows_json(const struct gathered *g)
{
    json_t *rows = json_array();
    for (unsigned row = 0; row < g->row_count; row++)
        json_array_append_new(rows, row_json(g, row));
    return rows;
}

static void
add_json(json_t *all, const struct gathered *leads, unsigned row, const struct history *h)
{
    json_t *lead = row_json(leads, row);
    json_object_set_new(lead, "partition", json_string(leads->rows[row].partition));
    json_object_set_new(lead, "enrollments", rows_json(&h->enrollments));
    json_object_set_new(lead, "triggers", rows_json(&h->triggers));
    json_array_append_new(all, lead);
}

/* CSV has one table: the enrollments of all leads. */
static int
add_csv(struct table **t, const struct gathered *leads, unsigned row, const struct history *h)
{
    const struct gathered *g = &h->enrollments;
    if (!*t) {
        *t = table_new(stdout, TABLE_CSV);
        if (!*t)
            return -ENOMEM;
        table_column(*t, "device_id", NULL, TABLE_NUMBER);
        table_column(*t, "lead_no", NULL, TABLE_NUMBER);
        for (unsigned c = 0; c < g->column_count; c++)
            table_column(*t, g->columns[c], NULL, TABLE_WORDS);
    }
    for (unsigned r = 0; r < g->row_count; r++) {
        table_int(*t, gathered_number(leads, row, "device_id"));
        table_int(*t, gathered_number(leads, row, "lead_no"));
        for (unsigned c = 0; c < g->column_count; c++)
            answer_put_cell(*t, &g->rows[r].cells[c]);
    }
    return 0;
}

static int
show_all(struct asker *a, const struct gathered *leads, enum table_format format)
{
    json_t *json = format == TABLE_JSON ? json_array() : NULL;
    struct table *csv = NULL;
    int err = 0;
    for (unsigned row = 0; row < leads->row_count && err == 0; row++) {
        struct history h = {{0}, {0}};
        err = read_history(a, leads, row, &h);
        if (err == 0 && format == TABLE_TEXT && row > 0)
            fputc('\n', stdout);
        if (err == 0 && format == TABLE_TEXT)
            err = print_words(leads, row, &h);
        else if (err == 0 && json)
            add_json(json, leads, row, &h);
        else if (err == 0)
            err = add_csv(&csv, leads, row, &h);
        gathered_done(&h.enrollments);
        gathered_done(&h.triggers);
    }
    if (csv) {
        int written = table_done(csv);
        err = err ?: written;
    }
    if (json && err == 0)
        err =
            json_dumpf(json, stdout, JSON_INDENT(2)) < 0 || fputc('\n', stdout) == EOF ? -EPIPE : 0;
    json_decref(json);
    return err ?: fflush(stdout) == 0 ? err : -EPIPE;
}

int
cmd_lead_show(const struct invocation *in)
{
    struct gathered leads = {0};
    struct asker *a = NULL;
    int code = asker_open(&a, in, in->timeout);
    if (code == CTL_DONE)
        code = lead_find(a, in, in->operands[0], "cannot show the lead", &leads);
    if (code == CTL_DONE) {
        int err = show_all(a, &leads, in->format);
        if (err < 0)
            code = ask_failed(a, err, "cannot show the lead");
        else if (leads.silent > 0)
            code = CTL_DEGRADED;
    }
    gathered_done(&leads);
    asker_free(a);
    return code;
}

/* ---- enrol, remove ---- */

static int
change_enrollment(const struct invocation *in, const char *name, const char *done)
{
    char device[24], phone[24], what[160];
    struct gathered leads = {0};
    struct act_result result = {0};
    struct asker *a = NULL;
    unsigned row = 0;
    int code = asker_open(&a, in, in->timeout);
    snprintf(what, sizeof(what), "cannot %s the lead", in->command->noun);
    if (code == CTL_DONE)
        code = lead_find_one(a, in, in->operands[0], what, &leads, &row);
    if (code == CTL_DONE) {
        snprintf(device, sizeof(device), "%" PRId64, gathered_number(&leads, row, "device_id"));
        snprintf(phone, sizeof(phone), "%" PRId64, gathered_number(&leads, row, "phone"));
        struct slice cells[] = {ask_text(device), ask_text(phone), ask_text(in->operands[1]),
                                ask_text(in->options[OPTION_AGAIN] ? "1" : "")};
        const struct action action = {name, strcmp(name, "lead.enrol") == 0 ? 4 : 3, 1, cells,
                                      in->timeout};
        snprintf(what, sizeof(what), "lead +%s of device %s %s \"%.64s\"", phone, device, done,
                 in->operands[1]);
        int err = act_on(a, ask_text(leads.rows[row].partition), &action, &result);
        code = err < 0 ? ask_failed(a, err, "%s", what)
                       : act_print(in, what, &result, "fleetcast sequence ls");
    }
    gathered_done(&leads);
    asker_free(a);
    return code;
}

int
cmd_lead_enrol(const struct invocation *in)
{
    return change_enrollment(in, "lead.enrol", "enrolled in");
}

int
cmd_lead_remove(const struct invocation *in)
{
    return change_enrollment(in, "lead.remove", "taken out of");
}

/* ---- forget ---- */

static int
agree(const struct invocation *in, const char *phone)
{
    if (in->options[OPTION_YES])
        return CTL_DONE;
    switch (terminal_confirm("Erase +%s everywhere, for good?", phone)) {
    case TERMINAL_YES: return CTL_DONE;
    case TERMINAL_NO: terminal_fault("nothing was erased"); return CTL_REFUSED;
    case TERMINAL_NONE: break;
    }
    terminal_fault("erasing +%s cannot be undone, and there is nobody to ask", phone);
    terminal_next("fleetcast lead forget +%s --yes", phone);
    return CTL_REFUSED;
}

int
cmd_lead_forget(const struct invocation *in)
{
    char phone[24], what[64];
    struct act_reach reach;
    struct act_result result = {0};
    struct asker *a = NULL;
    uint64_t number = 0;
    int code = operand_phone(in, in->operands[0], &number);
    snprintf(phone, sizeof(phone), "%" PRIu64, number);
    if (code == CTL_DONE)
        code = agree(in, phone);
    if (code == CTL_DONE)
        code = asker_open(&a, in, in->timeout);
    if (code != CTL_DONE)
        return code;
    const char *account = in->options[OPTION_ACCOUNT] ? in->options[OPTION_ACCOUNT] : "";
    struct slice cells[] = {ask_text(account), ask_text(phone)};
    const struct action action = {"lead.forget", ARRAY_SIZE(cells), 1, cells, in->timeout};
    snprintf(what, sizeof(what), "erasing +%s", phone);
    int err = ask_map(a);
    if (err == 0) {
        act_reach_start(&reach, a);
        err = act_everywhere(a, &reach, &action, &result);
    }
    if (err < 0) {
        code = ask_failed(a, err, "%s", what);
    } else if (reach.silent < reach.asked) {
        code = act_print(in, what, &result, "fleetcast lead show PHONE");
    }
    int told = err < 0 ? CTL_DONE : act_reach_tell(&reach, what);
    asker_free(a);
    return code == CTL_DONE ? told : code;
}
