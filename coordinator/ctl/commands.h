/*
 * commands.h - the one table of verbs: parsing of arguments and --help are made from it.
 */
#pragma once
#include <stdio.h>

#include "coordinator/ctl/table.h"
#include "shared/base.h"
#include "shared/clock.h"

/* DESIGN §10; the man page and --help print the words of commands.c. */
enum ctl_exit {
    CTL_DONE = 0,
    CTL_FAILED = 1,
    CTL_USAGE = 2,
    CTL_DEGRADED = 3,    /* not everything was reached or taken */
    CTL_REFUSED = 4,     /* a precondition fails or the state changed */
    CTL_TIMED_OUT = 5,   /* ... while the work goes on */
    CTL_UNREACHABLE = 6, /* the coordinator */
    CTL_BROKEN = 7       /* an invariant */
};

/* X(id, name, value or NULL for a switch, what it does) */
#define COMMAND_OPTIONS(X)                                                                         \
    X(FORMAT, "format", "table|json|csv", "how the answer is written")                             \
    X(CONFIG, "config", "FILE", "else $FLEETCAST_CONFIG, else /etc/fleetcast/fleetcast.conf")      \
    X(TIMEOUT, "timeout", "SPAN", "give up after this long, for example 30s or 10m")               \
    X(NAME, "name", "NAME", "of the new principal; default: FILE without its ending")              \
    X(ROLE, "role", "ROLE", "coordinator, node, admin or observer: prints the peers line")         \
    X(SHARED, "shared", NULL,                                                                      \
      "a token key, the same file for all nodes, instead of a principal's")                        \
    X(COUNTRY, "country", "CODE", "calling code of phones in national form, for example 60")       \
    X(UPDATE, "update", NULL, "overwrite what a known row has (else it counts as duplicate)")      \
    X(REFUSE_SHARED, "refuse-shared", NULL, "reject a phone that another device already has")      \
    X(REJECTS, "rejects", "FILE", "where refused rows go; default: FILE.rejects.csv")              \
    X(DELIMITER, "delimiter", "CHAR", "',' ';' or 'tab'; default: as the header line tells")       \
    X(BATCH_TIMEOUT, "timeout-per-batch", "SPAN",                                                  \
      "how long one batch may be retried; default 60s")                                            \
    X(DRY_RUN, "dry-run", NULL, "check and say what would change, write nothing")                  \
    X(REASON, "reason", "TEXT", "why, kept in the audit log (--because is the same)")              \
    X(AT, "at", "TIME", "not now but then: 2026-11-24T14:00:00Z, or in so long: 2h")               \
    X(FORCE, "force", NULL, "also when it cannot finish in time")                                  \
    X(SPAN, "for", "SPAN", "it ends by itself after this long: 30m, 2h, 1d")                       \
    X(MODE, "for", "new|all", "who follows an edited sequence: new enrollments, or all of them")   \
    X(YES, "yes", NULL, "do not ask, do it")                                                       \
    X(ALLOW_UNKNOWN, "allow-unknown", NULL, "also with variables that no lead has")                \
    X(LEAD, "lead", "PHONE", "whose message")                                                      \
    X(FILE, "file", "FILE", "content from there, before what the cluster has")                     \
    X(KEY, "key", "KEY", "yours: the same key again sends nothing twice")                          \
    X(TTL, "ttl", "SPAN", "it expires when it was not sent after this long")                       \
    X(DEVICE, "device", "DEVICE", "of several devices that have the phone, this one")              \
    X(AGAIN, "again", NULL, "also a lead that has been through it")                                \
    X(ACCOUNT, "account", "NAME", "whose leads; default: main")                                    \
    X(ENROL_RATE, "enrol-rate", "N", "leads enrolled a second at most; 0 = the default again")     \
    X(UNTIL_FINISHED, "until-finished", NULL, "end when every message is accounted for")           \
    X(PLAIN, "plain", NULL, "draw nothing, print the result at the end")                           \
    X(WATCH, "watch", NULL, "draw again every second until Ctrl-C")                                \
    X(OUT, "out", "FILE", "write there instead of the output")                                     \
    X(SINCE, "since", "TIME", "claimed since 2026-11-24T14:00:00Z, or so long ago: 2h")            \
    X(HELP, "help", NULL, "this text")                                                             \
    X(VERSION, "version", NULL, "the program's version")

enum command_option {
#define X(id, name, value, help) OPTION_##id,
    COMMAND_OPTIONS(X)
#undef X
        OPTION_COUNT
};
#define COMMAND_OPTION_BIT(id) ((uint64_t) 1 << OPTION_##id)

#define COMMAND_OPERANDS_MAX 3u

struct command;
struct invocation {
    const struct command *command; /* NULL: the answer was help or the version */
    unsigned operand_count;
    const char *operands[COMMAND_OPERANDS_MAX];
    const char *options[OPTION_COUNT]; /* NULL = not given; a switch is "" */
    enum table_format format;
    usec_t timeout; /* 0 = not given */
};

struct command {
    const char *verb, *noun; /* noun may be NULL */
    const char *operands;    /* "FILE", "" */
    unsigned operand_count;  /* of these the last may be left out if it is in brackets */
    uint64_t options;        /* bits of COMMAND_OPTION_BIT besides the common ones */
    const char *summary;
    const char *more; /* further lines of its --help, or NULL */
    int (*run)(const struct invocation *in);
};

/*
 * 0 and what to run, or the exit code. Help and version go to `out`, faults to `errors`; then
 * ret->command is NULL.
 */
int commands_parse(struct invocation *ret, int argc, char *const argv[], FILE *out,
                   FILE *errors) _must_check_;
const struct command *commands_table(unsigned *ret_count); /* command_table.c */

/* The verbs: each in its cmd_ file. They return an exit code. */
int cmd_keygen(const struct invocation *in);
int cmd_import_devices(const struct invocation *in);
int cmd_import_leads(const struct invocation *in);
int cmd_apply_content(const struct invocation *in);
int cmd_source_ls(const struct invocation *in); /* campaign, sequence */
int cmd_source_show(const struct invocation *in);
int cmd_source_start(const struct invocation *in);
int cmd_source_pause(const struct invocation *in);
int cmd_source_resume(const struct invocation *in);
int cmd_source_cancel(const struct invocation *in);
int cmd_source_watch(const struct invocation *in);
int cmd_cluster_pause(const struct invocation *in);
int cmd_cluster_resume(const struct invocation *in);
int cmd_preview(const struct invocation *in);
int cmd_send(const struct invocation *in);
int cmd_lead_show(const struct invocation *in);
int cmd_lead_enrol(const struct invocation *in);
int cmd_lead_remove(const struct invocation *in);
int cmd_lead_forget(const struct invocation *in);
int cmd_optout_add(const struct invocation *in);
int cmd_optout_rm(const struct invocation *in);
int cmd_optout_ls(const struct invocation *in);
int cmd_optout_import(const struct invocation *in);
int cmd_explain(const struct invocation *in);
int cmd_plan_capacity(const struct invocation *in);
int cmd_status(const struct invocation *in);
int cmd_node_ls(const struct invocation *in);
int cmd_node_show(const struct invocation *in);
int cmd_node_set(const struct invocation *in);
int cmd_partition_ls(const struct invocation *in);
int cmd_partition_show(const struct invocation *in);
int cmd_range_ls(const struct invocation *in);
int cmd_locate(const struct invocation *in);
int cmd_device_ls(const struct invocation *in);
int cmd_device_show(const struct invocation *in);
int cmd_device_pause(const struct invocation *in);
int cmd_device_resume(const struct invocation *in);
int cmd_export_messages(const struct invocation *in);
int cmd_export_leads(const struct invocation *in);
int cmd_verify(const struct invocation *in);
