/* commands.c - what is made from the table of verbs: parsing and help. */
#include "coordinator/ctl/commands.h"

#include <assert.h>
#include <string.h>

#include "shared/parse.h"

#define VERSION_TEXT "fleetcast 0.1.0"
#define BIT(id)      COMMAND_OPTION_BIT(id)
#define COMMON       (BIT(FORMAT) | BIT(CONFIG) | BIT(TIMEOUT) | BIT(HELP))

static const struct {
    const char *name, *value, *help;
} option_table[OPTION_COUNT] = {
#define X(id, name, value, help) [OPTION_##id] = {name, value, help},
    COMMAND_OPTIONS(X)
#undef X
};
static_assert(OPTION_COUNT <= 64, "options are bits of a uint64_t");

static const char exit_codes[] =
    "Exit codes: 0 done or no change, 1 failed, 2 usage, 3 degraded or partial, 4 refused,\n"
    "5 timed out while the work goes on, 6 coordinator unreachable, 7 an invariant is broken.\n";

static void
print_call(FILE *out, const struct command *c, int width)
{
    int n = fprintf(out, "%s%s%s%s%s", c->verb, c->noun ? " " : "", c->noun ? c->noun : "",
                    c->operands[0] ? " " : "", c->operands);
    fprintf(out, "%*s", n < width ? width - n : 0, "");
}

static void
print_options(FILE *out, uint64_t options)
{
    for (unsigned i = 0; i < OPTION_COUNT; i++) {
        if (!(options & (uint64_t) 1 << i))
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
    unsigned count;
    const struct command *table = commands_table(&count);
    for (unsigned i = 0; i < count; i++) {
        if (verb && strcmp(verb, table[i].verb) != 0)
            continue;
        fputs("  ", out);
        print_call(out, &table[i], 30);
        fprintf(out, "%s\n", table[i].summary);
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
    unsigned count;
    const struct command *table = commands_table(&count);
    for (unsigned i = 0; i < count; i++) {
        const struct command *c = &table[i];
        if (strcmp(c->verb, verb) == 0 && (!c->noun || (noun && strcmp(c->noun, noun) == 0)))
            return c;
    }
    return NULL;
}

static bool
is_verb(const char *verb)
{
    unsigned count;
    const struct command *table = commands_table(&count);
    for (unsigned i = 0; i < count; i++)
        if (strcmp(table[i].verb, verb) == 0)
            return true;
    return false;
}

/* ---- arguments ---- */

struct words { /* what is no option, in order */
    unsigned count;
    const char *text[2 + COMMAND_OPERANDS_MAX];
};

/* OPTION_COUNT: there is none of that name. */
static unsigned
find_option(struct slice name)
{
    static const char former[] = "because"; /* what --reason was called in the first release */
    if (name.bytes == strlen(former) && memcmp(name.data, former, name.bytes) == 0)
        return OPTION_REASON;
    for (unsigned i = 0; i < OPTION_COUNT; i++)
        if (strlen(option_table[i].name) == name.bytes &&
            memcmp(option_table[i].name, name.data, name.bytes) == 0)
            return i;
    return OPTION_COUNT;
}

/* "--name value", "--name=value", or a switch. Steps *at over what it used. */
static int
parse_option(struct invocation *in, int argc, char *const argv[], int *at, FILE *errors)
{
    const char *name = argv[*at] + 2;
    size_t bytes = strcspn(name, "=");
    unsigned i = find_option((struct slice){name, bytes});
    if (i == OPTION_COUNT) {
        fprintf(errors, "fleetcast: unknown option %s\n  next: fleetcast --help\n", argv[*at]);
        return CTL_USAGE;
    }
    bool inline_value = name[bytes] == '=';
    if (!option_table[i].value && inline_value) {
        fprintf(errors, "fleetcast: --%s takes no value\n", option_table[i].name);
        return CTL_USAGE;
    }
    if (option_table[i].value && !inline_value && *at + 1 >= argc) {
        fprintf(errors, "fleetcast: --%s needs a value: %s\n", option_table[i].name,
                option_table[i].value);
        return CTL_USAGE;
    }
    in->options[i] = !option_table[i].value ? "" : inline_value ? name + bytes + 1 : argv[++*at];
    return 0;
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

static bool
is_option_of(const struct command *c, unsigned option)
{
    return (c->options | COMMON) & (uint64_t) 1 << option;
}

/* --for is two options: which of them is told by the verb. */
static void
sort_option(struct invocation *in, unsigned given)
{
    for (unsigned i = 0; i < OPTION_COUNT && !is_option_of(in->command, given); i++) {
        if (!is_option_of(in->command, i) ||
            strcmp(option_table[i].name, option_table[given].name) != 0)
            continue;
        in->options[i] = in->options[given];
        in->options[given] = NULL;
        return;
    }
}

static int
judge_command(struct invocation *in, const struct words *w, FILE *errors)
{
    const struct command *c = in->command;
    for (unsigned i = 0; i < OPTION_COUNT; i++) {
        if (in->options[i])
            sort_option(in, i);
        if (in->options[i] && !is_option_of(c, i)) {
            fprintf(errors, "fleetcast: --%s is no option of ", option_table[i].name);
            print_call(errors, c, 0);
            fprintf(errors, "\n  next: fleetcast %s%s%s --help\n", c->verb, c->noun ? " " : "",
                    c->noun ? c->noun : "");
            return CTL_USAGE;
        }
    }
    unsigned used = c->noun ? 2 : 1, given = w->count - used;
    bool optional = c->operands[0] && c->operands[strlen(c->operands) - 1] == ']';
    if (given != c->operand_count && !(optional && given + 1 == c->operand_count)) {
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

static void
print_nouns(FILE *errors, const char *verb)
{
    unsigned count;
    const struct command *table = commands_table(&count);
    fprintf(errors, "fleetcast: %s what? Its nouns:\n", verb);
    for (unsigned i = 0; i < count; i++)
        if (strcmp(table[i].verb, verb) == 0)
            fprintf(errors, "  fleetcast %s %s %s\n", verb, table[i].noun, table[i].operands);
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
        print_nouns(errors, verb);
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
