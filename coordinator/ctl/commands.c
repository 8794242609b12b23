/* commands.c - the table of verbs, and what is made from it: parsing and help. */
#include "coordinator/ctl/commands.h"

#include <assert.h>
#include <string.h>

#include "shared/parse.h"

#define VERSION_TEXT "fleetcast 0.1.0"
#define BIT(id)      COMMAND_OPTION_BIT(id)
#define COMMON       (BIT(FORMAT) | BIT(CONFIG) | BIT(TIMEOUT) | BIT(HELP))
#define IMPORT       (BIT(UPDATE) | BIT(REJECTS) | BIT(DELIMITER) | BIT(BATCH_TIMEOUT))

static const struct {
    const char *name, *value, *help;
} option_table[OPTION_COUNT] = {
#define X(id, name, value, help) [OPTION_##id] = {name, value, help},
    COMMAND_OPTIONS(X)
#undef X
};
static_assert(OPTION_COUNT <= 32, "options are bits of a uint32_t");

static const struct command command_table[] = {
    {"keygen", NULL, "FILE", 1, BIT(NAME) | BIT(ROLE) | BIT(SHARED),
     "make a key file and print its line for the peers file",
     "  fleetcast keygen n1.key --role node >> peers\n"
     "  fleetcast keygen --shared tokens.key\n"
     "The file is made with mode 0600; one that exists is never replaced.\n",
     cmd_keygen},
    {"import", "devices", "FILE", 1, IMPORT,
     "create the devices of a CSV file and give them places",
     "Columns: device_id, name, transport, address, token (or @FILE), min_delay_ms, max_delay_ms,\n"
     "zone, and account, scope, url if wanted. The same file twice adds nothing. Exit 3 when rows\n"
     "were rejected (they are in FILE.rejects.csv with their reasons) or could not be done yet.\n",
     cmd_import_devices},
    {"import", "leads", "FILE", 1, IMPORT | BIT(COUNTRY) | BIT(REFUSE_SHARED),
     "add the leads of a CSV file to their devices",
     "Columns: device_id, phone, name, trigger; every other column is an attribute for templates.\n"
     "The same file twice adds nothing. Exit 3 when rows were rejected (they are in\n"
     "FILE.rejects.csv with their reasons) or could not be done yet (the same command "
     "continues).\n",
     cmd_import_leads},
    {"apply-content", NULL, "FILE", 1, BIT(DRY_RUN),
     "check templates and campaigns in a YAML file and hand them out", NULL, cmd_apply_content},
    {"campaign", "ls", "", 0, 0, "campaigns with their state and progress", NULL, cmd_campaign_ls},
    {"campaign", "show", "NAME", 1, 0, "one campaign: content, state, progress by partition", NULL,
     cmd_campaign_show},
    {"campaign", "start", "NAME", 1, BIT(BECAUSE), "freeze its audience and begin sending", NULL,
     cmd_campaign_start},
    {"campaign", "pause", "NAME", 1, BIT(BECAUSE), "start no more sends of it", NULL,
     cmd_campaign_pause},
    {"campaign", "resume", "NAME", 1, BIT(BECAUSE), "go on after a pause", NULL,
     cmd_campaign_resume},
    {"campaign", "cancel", "NAME", 1, BIT(BECAUSE), "end it for good; what waits is cancelled",
     NULL, cmd_campaign_cancel},
    {"campaign", "watch", "NAME", 1, BIT(UNTIL_FINISHED) | BIT(PLAIN),
     "its progress, drawn again every second",
     "With --until-finished exit 0 once every message is accounted for and nothing waits, 5 when\n"
     "--timeout or Ctrl-C came first (the campaign goes on). Not on a terminal: the result only.\n",
     cmd_campaign_watch},
    {"status", NULL, "", 0, BIT(WATCH), "the cluster on one screen; exit 3 when degraded", NULL,
     cmd_status},
    {"node", "ls", "", 0, 0, "nodes with their last report", NULL, cmd_node_ls},
    {"node", "show", "NAME", 1, 0, "one node and the partitions that it drives", NULL,
     cmd_node_show},
    {"partition", "ls", "", 0, 0, "partitions, who drives them, their gates", NULL,
     cmd_partition_ls},
    {"partition", "show", "NAME", 1, 0, "one partition and its epochs", NULL, cmd_partition_show},
    {"range", "ls", "", 0, 0, "which device IDs lie in which partition", NULL, cmd_range_ls},
    {"locate", NULL, "DEVICE", 1, 0, "where a device is: the map's word and the partition's", NULL,
     cmd_locate},
    {"device", "ls", "", 0, 0, "devices of all partitions", NULL, cmd_device_ls},
    {"device", "show", "DEVICE", 1, 0, "one device", NULL, cmd_device_show},
    {"export", "messages", "", 0, BIT(OUT) | BIT(SINCE), "every message as CSV",
     "Columns: device_id, phone, source, step, state, reason, token, provider_id, claimed_at,\n"
     "settled_at, text_hash. Exit 3 when a partition could not be reached: the file is partial.\n",
     cmd_export_messages},
    {"verify", NULL, "", 0, 0, "check the invariants on all partitions; exit 7 when one is broken",
     NULL, cmd_verify},
};

static const char exit_codes[] =
    "Exit codes: 0 done or no change, 1 failed, 2 usage, 3 degraded or partial, 4 refused,\n"
    "5 timed out while the work goes on, 6 coordinator unreachable, 7 an invariant is broken.\n";

const struct command *
commands_table(unsigned *ret_count)
{
    *ret_count = ARRAY_SIZE(command_table);
    return command_table;
}

static void
print_call(FILE *out, const struct command *c, int width)
{
    int n = fprintf(out, "%s%s%s%s%s", c->verb, c->noun ? " " : "", c->noun ? c->noun : "",
                    c->operands[0] ? " " : "", c->operands);
    fprintf(out, "%*s", n < width ? width - n : 0, "");
}

static void
print_options(FILE *out, uint32_t options)
{
    for (unsigned i = 0; i < OPTION_COUNT; i++) {
        if (!(options & 1u << i))
            continue;
        const char *value = option_table[i].value;
        int n =
            fprintf(out, "  --%s%s%s", option_table[i].name, value ? " " : "", value ? value : "");
        fprintf(out, "%*s%s\n", n < 28 ? 28 - n : 2, "", option_table[i].help);
    }
}

/* Of all verbs, or of those of one verb. */
static void
print_overview(FILE *out, const char *verb)
{
    fputs("fleetcast: paced campaigns through thousands of devices, on a cluster of nodes\n\n"
          "Usage: fleetcast VERB [NOUN] [OPTIONS]\n\n",
          out);
    for (size_t i = 0; i < ARRAY_SIZE(command_table); i++) {
        if (verb && strcmp(verb, command_table[i].verb) != 0)
            continue;
        fputs("  ", out);
        print_call(out, &command_table[i], 26);
        fprintf(out, "%s\n", command_table[i].summary);
    }
    fputs("\nOptions of every verb\n", out);
    print_options(out, COMMON);
    fprintf(out, "\n%s", exit_codes);
}

static void
print_help(FILE *out, const struct command *c)
{
    fputs("fleetcast ", out);
    print_call(out, c, 0);
    fprintf(out, ": %s\n\n", c->summary);
    if (c->more)
        fprintf(out, "%s\n", c->more);
    print_options(out, c->options | COMMON);
    fprintf(out, "\n%s", exit_codes);
}

static const struct command *
find_command(const char *verb, const char *noun)
{
    for (size_t i = 0; i < ARRAY_SIZE(command_table); i++) {
        const struct command *c = &command_table[i];
        if (strcmp(c->verb, verb) == 0 && (!c->noun || (noun && strcmp(c->noun, noun) == 0)))
            return c;
    }
    return NULL;
}

static bool
is_verb(const char *verb)
{
    for (size_t i = 0; i < ARRAY_SIZE(command_table); i++)
        if (strcmp(command_table[i].verb, verb) == 0)
            return true;
    return false;
}

/* ---- arguments ---- */

struct words { /* what is no option, in order */
    unsigned count;
    const char *text[2 + COMMAND_OPERANDS_MAX];
};

/* "--name value", "--name=value", or a switch. Steps *at over what it used. */
static int
parse_option(struct invocation *in, int argc, char *const argv[], int *at, FILE *errors)
{
    const char *name = argv[*at] + 2;
    size_t bytes = strcspn(name, "=");
    for (unsigned i = 0; i < OPTION_COUNT; i++) {
        if (strlen(option_table[i].name) != bytes || memcmp(option_table[i].name, name, bytes) != 0)
            continue;
        bool inline_value = name[bytes] == '=';
        if (!option_table[i].value && !inline_value) {
            in->options[i] = "";
            return 0;
        }
        if (!option_table[i].value) {
            fprintf(errors, "fleetcast: --%s takes no value\n", option_table[i].name);
            return CTL_USAGE;
        }
        if (!inline_value && *at + 1 >= argc) {
            fprintf(errors, "fleetcast: --%s needs a value: %s\n", option_table[i].name,
                    option_table[i].value);
            return CTL_USAGE;
        }
        in->options[i] = inline_value ? name + bytes + 1 : argv[++*at];
        return 0;
    }
    fprintf(errors, "fleetcast: unknown option %s\n  next: fleetcast --help\n", argv[*at]);
    return CTL_USAGE;
}

static int
split_arguments(struct invocation *in, struct words *w, int argc, char *const argv[], FILE *errors)
{
    bool options = true;
    for (int i = 1; i < argc; i++) {
        if (options && strcmp(argv[i], "--") == 0) {
            options = false;
        } else if (options && strcmp(argv[i], "-h") == 0) {
            in->options[OPTION_HELP] = "";
        } else if (options && strncmp(argv[i], "--", 2) == 0) {
            int code = parse_option(in, argc, argv, &i, errors);
            if (code != 0)
                return code;
        } else if (options && argv[i][0] == '-' && argv[i][1] != '\0') {
            fprintf(errors, "fleetcast: unknown option %s: options are written out, --help\n",
                    argv[i]);
            return CTL_USAGE;
        } else if (w->count == ARRAY_SIZE(w->text)) {
            fprintf(errors, "fleetcast: too many arguments: \"%s\"\n", argv[i]);
            return CTL_USAGE;
        } else {
            w->text[w->count++] = argv[i];
        }
    }
    return 0;
}

static int
judge_values(struct invocation *in, FILE *errors)
{
    static const char *const formats[] = {"table", "json", "csv"};
    const char *format = in->options[OPTION_FORMAT];
    for (unsigned i = 0; format && i < ARRAY_SIZE(formats); i++) {
        if (strcmp(format, formats[i]) == 0) {
            in->format = (enum table_format) i;
            format = NULL;
        }
    }
    if (format) {
        fprintf(errors, "fleetcast: --format \"%s\": table, json or csv\n", format);
        return CTL_USAGE;
    }
    const char *timeout = in->options[OPTION_TIMEOUT];
    if (timeout && parse_span(timeout, USEC_PER_MSEC, 7 * 86400 * USEC_PER_SEC, &in->timeout) < 0) {
        fprintf(errors, "fleetcast: --timeout \"%s\": a span such as 500ms, 30s or 10m\n", timeout);
        return CTL_USAGE;
    }
    return 0;
}

static int
judge_command(struct invocation *in, const struct words *w, FILE *errors)
{
    const struct command *c = in->command;
    for (unsigned i = 0; i < OPTION_COUNT; i++) {
        if (in->options[i] && !((c->options | COMMON) & 1u << i)) {
            fprintf(errors, "fleetcast: --%s is no option of ", option_table[i].name);
            print_call(errors, c, 0);
            fprintf(errors, "\n  next: fleetcast %s%s%s --help\n", c->verb, c->noun ? " " : "",
                    c->noun ? c->noun : "");
            return CTL_USAGE;
        }
    }
    unsigned used = c->noun ? 2 : 1;
    if (w->count - used != c->operand_count) {
        fputs("fleetcast: usage: fleetcast ", errors);
        print_call(errors, c, 0);
        fprintf(errors, " [OPTIONS]\n  next: fleetcast %s%s%s --help\n", c->verb,
                c->noun ? " " : "", c->noun ? c->noun : "");
        return CTL_USAGE;
    }
    for (unsigned i = used; i < w->count; i++)
        in->operands[in->operand_count++] = w->text[i];
    return judge_values(in, errors);
}

int
commands_parse(struct invocation *ret, int argc, char *const argv[], FILE *out, FILE *errors)
{
    struct invocation in = {0};
    struct words w = {0};
    *ret = in;
    int code = split_arguments(&in, &w, argc, argv, errors);
    if (code != 0)
        return code;
    if (w.count > 0 && strcmp(w.text[0], "help") == 0) {
        in.options[OPTION_HELP] = "";
        memmove(w.text, w.text + 1, --w.count * sizeof(w.text[0]));
    }
    if (in.options[OPTION_VERSION]) {
        fputs(VERSION_TEXT "\n", out);
        return 0;
    }
    const char *verb = w.count > 0 ? w.text[0] : NULL;
    in.command = verb ? find_command(verb, w.count > 1 ? w.text[1] : NULL) : NULL;
    if (in.options[OPTION_HELP]) {
        if (in.command)
            print_help(out, in.command);
        else
            print_overview(out, verb && is_verb(verb) ? verb : NULL);
        return 0;
    }
    if (!verb) {
        print_overview(errors, NULL);
        return CTL_USAGE;
    }
    if (!in.command && is_verb(verb)) {
        fprintf(errors, "fleetcast: %s what? Its nouns:\n", verb);
        for (size_t i = 0; i < ARRAY_SIZE(command_table); i++) {
            if (strcmp(command_table[i].verb, verb) == 0)
                fprintf(errors, "  fleetcast %s %s %s\n", verb, command_table[i].noun,
                        command_table[i].operands);
        }
        return CTL_USAGE;
    }
    if (!in.command) {
        fprintf(errors, "fleetcast: unknown verb \"%s\"\n  next: fleetcast --help\n", verb);
        return CTL_USAGE;
    }
    code = judge_command(&in, &w, errors);
    if (code == 0)
        *ret = in;
    return code;
}
