/* test_commands.c - the command table: what is refused, what is understood, what help says. */
#include "coordinator/ctl/commands.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

static char *said, *complained;
static size_t said_bytes, complained_bytes;
static struct invocation in;

static int
parse(const char *line)
{
    static char copy[256]; /* operands point into it */
    char *argv[16] = {(char *) "fleetcast"}, *save = NULL;
    int argc = 1;
    snprintf(copy, sizeof(copy), "%s", line);
    for (char *word = strtok_r(copy, " ", &save); word; word = strtok_r(NULL, " ", &save))
        argv[argc++] = word;
    free(said);
    free(complained);
    FILE *out = open_memstream(&said, &said_bytes);
    FILE *errors = open_memstream(&complained, &complained_bytes);
    int code = commands_parse(&in, argc, argv, out, errors);
    fclose(out);
    fclose(errors);
    return code;
}

START_TEST(usage_is_refused_with_the_next_command)
{
    static const struct {
        const char *line, *word;
    } cases[] = {
        {"", "Usage"},
        {"fly", "unknown verb \"fly\""},
        {"import", "fleetcast import devices FILE"},
        {"import cats x", "import what?"},
        {"import leads", "import leads FILE"},
        {"import leads a b", "import leads FILE"},
        {"import leads a b c d e f", "too many arguments"},
        {"status --frmat json", "unknown option --frmat"},
        {"status -f", "unknown option -f"},
        {"status --format xml", "table, json or csv"},
        {"status --format", "needs a value"},
        {"status --timeout 5", "a span"},
        {"status --country 60", "no option of status"},
        {"import leads a --update=yes", "takes no value"},
        {"campaign resume x --for 2h", "--for is no option of campaign resume"},
        {"plan capacity a b", "plan capacity [SOURCE]"},
        {"send 1 2", "send DEVICE PHONE TEXT"},
        {"explain", "fleetcast explain device DEVICE"},
        {"optout add", "optout add PHONE"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        ck_assert_int_eq(parse(cases[i].line), CTL_USAGE);
        ck_assert_ptr_null(in.command);
        ck_assert_msg(strstr(complained, cases[i].word) != NULL, "\"%s\": \"%s\"", cases[i].line,
                      complained);
        ck_assert_uint_eq(said_bytes, 0);
    }
}
END_TEST

START_TEST(calls_are_understood)
{
    ck_assert_int_eq(parse("import leads a.csv --country 60 --update --format=json --timeout 2m"),
                     0);
    ck_assert_str_eq(in.command->noun, "leads");
    ck_assert_uint_eq(in.operand_count, 1);
    ck_assert_str_eq(in.operands[0], "a.csv");
    ck_assert_str_eq(in.options[OPTION_COUNTRY], "60");
    ck_assert_ptr_nonnull(in.options[OPTION_UPDATE]);
    ck_assert_ptr_null(in.options[OPTION_REFUSE_SHARED]);
    ck_assert_int_eq(in.format, TABLE_JSON);
    ck_assert_uint_eq(in.timeout, 120 * USEC_PER_SEC);
    ck_assert_int_eq(parse("--format csv node ls"), 0);
    ck_assert_str_eq(in.command->verb, "node");
    ck_assert_int_eq(parse("keygen -- --odd"), 0);
    ck_assert_str_eq(in.operands[0], "--odd");
    ck_assert_int_eq(parse("campaign pause x --for 2h --because wrong"), 0);
    ck_assert_str_eq(in.options[OPTION_SPAN], "2h");
    ck_assert_str_eq(in.options[OPTION_REASON], "wrong");
    ck_assert_int_eq(parse("apply-content x --for=all --yes"), 0);
    ck_assert_str_eq(in.options[OPTION_MODE], "all");
    ck_assert_ptr_null(in.options[OPTION_SPAN]);
    ck_assert_int_eq(parse("plan capacity"), 0);
    ck_assert_uint_eq(in.operand_count, 0);
    ck_assert_int_eq(parse("plan capacity cold"), 0);
    ck_assert_str_eq(in.operands[0], "cold");
    ck_assert_int_eq(parse("send 1 +60123456789 hello --key k"), 0);
    ck_assert_str_eq(in.operands[2], "hello");
    ck_assert_int_eq(parse("pause --reason wrong"), 0);
    ck_assert_ptr_null(in.command->noun);
    ck_assert_int_eq(parse("status"), 0);
    ck_assert_int_eq(in.format, TABLE_TEXT);
    ck_assert_uint_eq(in.timeout, 0);
}
END_TEST

START_TEST(help_is_made_from_the_table)
{
    unsigned count;
    const struct command *table = commands_table(&count);
    ck_assert_int_eq(parse("--help"), 0);
    ck_assert_ptr_null(in.command);
    for (unsigned i = 0; i < count; i++) {
        char line[64];
        snprintf(line, sizeof(line), "%s%s%s --help", table[i].verb, table[i].noun ? " " : "",
                 table[i].noun ? table[i].noun : "");
        ck_assert_ptr_nonnull(strstr(said, table[i].summary));
        ck_assert_int_eq(parse(line), 0);
        ck_assert_ptr_nonnull(strstr(said, table[i].summary));
        ck_assert_ptr_nonnull(strstr(said, "Exit codes"));
        ck_assert_uint_eq(complained_bytes, 0);
        ck_assert_int_eq(parse("help"), 0);
    }
    ck_assert_int_eq(parse("help import"), 0);
    ck_assert_ptr_nonnull(strstr(said, "import leads FILE"));
    ck_assert_ptr_null(strstr(said, "keygen"));
    ck_assert_int_eq(parse("--version"), 0);
    ck_assert_int_eq(strncmp(said, "fleetcast ", 10), 0);
}
END_TEST

START_TEST(the_table_is_whole)
{
    unsigned count;
    const struct command *table = commands_table(&count);
    for (unsigned i = 0; i < count; i++) {
        ck_assert_ptr_nonnull(table[i].run);
        ck_assert_uint_le(table[i].operand_count, COMMAND_OPERANDS_MAX);
        ck_assert_int_eq(table[i].operand_count > 0, table[i].operands[0] != '\0');
        for (unsigned k = i + 1; k < count; k++)
            ck_assert(strcmp(table[i].verb, table[k].verb) != 0 ||
                      (table[i].noun && table[k].noun && strcmp(table[i].noun, table[k].noun)));
    }
}
END_TEST

int
main(void)
{
    Suite *s = suite_create("commands");
    TCase *t = tcase_create("commands");
    tcase_add_test(t, usage_is_refused_with_the_next_command);
    tcase_add_test(t, calls_are_understood);
    tcase_add_test(t, help_is_made_from_the_table);
    tcase_add_test(t, the_table_is_whole);
    suite_add_tcase(s, t);
    SRunner *sr = srunner_create(s);
    srunner_run_all(sr, CK_NORMAL);
    int failed = srunner_ntests_failed(sr);
    srunner_free(sr);
    return failed ? 1 : 0;
}
