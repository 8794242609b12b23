/* command_table.c - the verbs: what each takes, what its --help says, which function it is. */
#include "coordinator/ctl/commands.h"

#define BIT(id) COMMAND_OPTION_BIT(id)
#define IMPORT  (BIT(UPDATE) | BIT(REJECTS) | BIT(DELIMITER) | BIT(BATCH_TIMEOUT))
#define A_LEAD  (BIT(COUNTRY) | BIT(DEVICE))
#define OPTOUT  (BIT(REASON) | BIT(ACCOUNT))

#define WATCH_MORE                                                                                 \
    "With --until-finished exit 0 once every message is accounted for and nothing waits, 5 when\n" \
    "--timeout or Ctrl-C came first (it goes on). Not on a terminal: the result only.\n"
#define PAUSE_MORE                                                                                 \
    "The answer comes when no further send of it can start; it says how many were on the wire\n"   \
    "then. Exit 3 when a partition was not reached: those are named, and it takes effect there\n"  \
    "as soon as they are driven again. With --for it ends by itself.\n"
#define START_MORE                                                                                 \
    "Refused with exit 4 when it could not finish before its not_after, and the limit that "       \
    "binds\n"                                                                                      \
    "is named; --force starts it all the same. With --at it starts then (UTC), also when nobody\n" \
    "looks; until then its state is \"scheduled\".\n"

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
     "zone, and if wanted account, scope, url,\n"
     "  quiet        \"21:00-08:00\" in the device's zone: nothing is sent then\n"
     "  daily_cap    most sends of a day there, hourly_cap of an hour; none = no cap\n"
     "  age          days that the number is in use: young ones are warmed up\n"
     "The same file twice adds nothing; --update writes what changed. Exit 3 when rows were\n"
     "rejected (they are in FILE.rejects.csv with their reasons) or could not be done yet.\n",
     cmd_import_devices},
    {"import", "leads", "FILE", 1, IMPORT | BIT(COUNTRY) | BIT(REFUSE_SHARED),
     "add the leads of a CSV file to their devices",
     "Columns: device_id, phone, name, trigger; every other column is an attribute for templates.\n"
     "A trigger enrols the lead in the sequence that has it. The same file twice adds nothing.\n"
     "Exit 3 when rows were rejected (they are in FILE.rejects.csv with their reasons) or could\n"
     "not be done yet (the same command continues).\n",
     cmd_import_leads},
    {"apply-content", NULL, "FILE", 1, BIT(DRY_RUN) | BIT(MODE) | BIT(YES) | BIT(ALLOW_UNKNOWN),
     "check a YAML file of templates, campaigns, sequences; hand them out",
     "A file with any fault is refused whole. An edit of a sequence that was started needs\n"
     "--for new (who is enrolled keeps what was there) or --for all (all go on by the new steps:\n"
     "says first how many leads change what, and asks; --yes does not ask). A variable that no\n"
     "lead has as a column is refused, but with --allow-unknown or a `variables:` list.\n",
     cmd_apply_content},
    {"preview", NULL, "CONTENT", 1, A_LEAD | BIT(LEAD) | BIT(FILE),
     "what a lead would get, step by step",
     "  fleetcast preview cold --lead +60123456789 --file content.yaml\n"
     "Exit 4 when a text lacks a value or is too long for that lead.\n",
     cmd_preview},
    {"campaign", "ls", "", 0, 0, "campaigns with their state and progress", NULL, cmd_source_ls},
    {"campaign", "show", "NAME", 1, 0, "one campaign: content, state, progress by partition", NULL,
     cmd_source_show},
    {"campaign", "start", "NAME", 1, BIT(REASON) | BIT(AT) | BIT(FORCE),
     "freeze its audience and begin sending", START_MORE, cmd_source_start},
    {"campaign", "pause", "NAME", 1, BIT(REASON) | BIT(SPAN), "start no more sends of it",
     PAUSE_MORE, cmd_source_pause},
    {"campaign", "resume", "NAME", 1, BIT(REASON), "go on after a pause", NULL, cmd_source_resume},
    {"campaign", "cancel", "NAME", 1, BIT(REASON), "end it for good; what waits is cancelled", NULL,
     cmd_source_cancel},
    {"campaign", "watch", "NAME", 1, BIT(UNTIL_FINISHED) | BIT(PLAIN),
     "its progress, drawn again every second", WATCH_MORE, cmd_source_watch},
    {"sequence", "ls", "", 0, 0, "sequences with their state and progress", NULL, cmd_source_ls},
    {"sequence", "show", "NAME", 1, 0, "one sequence: steps, who stands where, progress", NULL,
     cmd_source_show},
    {"sequence", "start", "NAME", 1, BIT(REASON) | BIT(AT) | BIT(FORCE),
     "enrol leads with its trigger, now and as they come", START_MORE, cmd_source_start},
    {"sequence", "pause", "NAME", 1, BIT(REASON) | BIT(SPAN), "start no more sends of it",
     PAUSE_MORE, cmd_source_pause},
    {"sequence", "resume", "NAME", 1, BIT(REASON), "go on after a pause", NULL, cmd_source_resume},
    {"sequence", "cancel", "NAME", 1, BIT(REASON), "end it for good; what waits is cancelled", NULL,
     cmd_source_cancel},
    {"sequence", "watch", "NAME", 1, BIT(UNTIL_FINISHED) | BIT(PLAIN),
     "its progress, drawn again every second", WATCH_MORE, cmd_source_watch},
    {"pause", NULL, "", 0, BIT(REASON) | BIT(SPAN), "the whole cluster starts no more sends",
     PAUSE_MORE, cmd_cluster_pause},
    {"resume", NULL, "", 0, BIT(REASON), "the whole cluster goes on", NULL, cmd_cluster_resume},
    {"send", NULL, "DEVICE PHONE TEXT", 3, BIT(COUNTRY) | BIT(KEY) | BIT(TTL),
     "one message, before all others, in the device's pace",
     "  fleetcast send 2041 +60123456789 \"Your order is on its way\" --key order-4711\n"
     "The same device and key again, within 7 days, is known and sends nothing more.\n",
     cmd_send},
    {"lead", "show", "PHONE", 1, A_LEAD, "who has this phone, and what became of each", NULL,
     cmd_lead_show},
    {"lead", "enrol", "PHONE SEQUENCE", 2, A_LEAD | BIT(AGAIN), "enrol a lead by hand",
     "A lead that is in it is known, and unchanged. One that has been through it is refused (exit "
     "4);\n"
     "--again enrols it once more.\n",
     cmd_lead_enrol},
    {"lead", "remove", "PHONE SEQUENCE", 2, A_LEAD, "take a lead out of a sequence",
     "What was on the wire in that moment ends first.\n", cmd_lead_remove},
    {"lead", "forget", "PHONE", 1, BIT(COUNTRY) | BIT(YES) | BIT(ACCOUNT),
     "erase a person everywhere; nobody writes again",
     "Of every account, or of --account. Exit 3 names the partitions that were not reached: the\n"
     "same command again, until it is 0.\n",
     cmd_lead_forget},
    {"optout", "add", "PHONE", 1, OPTOUT | BIT(COUNTRY), "no send to this phone starts any more",
     "Goes to every partition. Exit 3 names those that were not reached: the same command again.\n",
     cmd_optout_add},
    {"optout", "rm", "PHONE", 1, OPTOUT | BIT(COUNTRY), "take an opt-out back", NULL,
     cmd_optout_rm},
    {"optout", "ls", "", 0, 0, "every opt-out, and how many a partition lacks", NULL,
     cmd_optout_ls},
    {"optout", "import", "FILE", 1,
     OPTOUT | BIT(COUNTRY) | BIT(REJECTS) | BIT(DELIMITER) | BIT(BATCH_TIMEOUT),
     "add the opt-outs of a CSV file",
     "Columns: phone, and if wanted account, reason (else --account, --reason). Exit 3 when rows\n"
     "were rejected (FILE.rejects.csv) or a partition was not reached (the same command again).\n",
     cmd_optout_import},
    {"explain", "device", "DEVICE", 1, 0, "what holds a device now, and when that opens", NULL,
     cmd_explain},
    {"explain", "lead", "PHONE", 1, A_LEAD, "what holds the messages to a phone", NULL,
     cmd_explain},
    {"explain", "message", "TOKEN", 1, 0, "what became of one message, from the beginning", NULL,
     cmd_explain},
    {"explain", "campaign", "NAME", 1, 0, "where its audience stands, and what holds it", NULL,
     cmd_explain},
    {"explain", "sequence", "NAME", 1, 0, "where its leads stand, and what holds them", NULL,
     cmd_explain},
    {"plan", "capacity", "[SOURCE]", 1, 0, "how fast, until when, and which limit binds",
     "Of all that waits, or of one campaign or sequence. Exit 4 when it would not finish in "
     "time.\n",
     cmd_plan_capacity},
    {"status", NULL, "", 0, BIT(WATCH), "the cluster on one screen; exit 3 when degraded", NULL,
     cmd_status},
    {"node", "ls", "", 0, 0, "nodes with their last report", NULL, cmd_node_ls},
    {"node", "show", "NAME", 1, 0, "one node and the partitions that it drives", NULL,
     cmd_node_show},
    {"node", "set", "NAME", 1, BIT(ENROL_RATE), "change a running node until it stops",
     "  fleetcast node set n1 --enrol-rate 5000\n", cmd_node_set},
    {"partition", "ls", "", 0, 0, "partitions, who drives them, their gates", NULL,
     cmd_partition_ls},
    {"partition", "show", "NAME", 1, 0, "one partition and its epochs", NULL, cmd_partition_show},
    {"range", "ls", "", 0, 0, "which device IDs lie in which partition", NULL, cmd_range_ls},
    {"locate", NULL, "DEVICE", 1, 0, "where a device is: the map's word and the partition's", NULL,
     cmd_locate},
    {"device", "ls", "", 0, 0, "devices of all partitions", NULL, cmd_device_ls},
    {"device", "show", "DEVICE", 1, 0, "one device", NULL, cmd_device_show},
    {"device", "pause", "DEVICE", 1, BIT(REASON) | BIT(SPAN), "it starts no more sends", NULL,
     cmd_device_pause},
    {"device", "resume", "DEVICE", 1, BIT(REASON), "it goes on after a pause", NULL,
     cmd_device_resume},
    {"export", "messages", "", 0, BIT(OUT) | BIT(SINCE), "every message as CSV",
     "Columns: device_id, phone, source, step, state, reason, token, provider_id, claimed_at,\n"
     "settled_at, text_hash. Exit 3 when a partition could not be reached: the file is partial.\n",
     cmd_export_messages},
    {"export", "leads", "", 0, BIT(OUT), "every lead as CSV",
     "Columns: device_id, phone, name, trigger, attributes (JSON). Exit 3 when a partition could\n"
     "not be reached: the file is partial.\n",
     cmd_export_leads},
    {"verify", NULL, "", 0, 0, "check the invariants on all partitions; exit 7: one is broken",
     NULL, cmd_verify},
};

const struct command *
commands_table(unsigned *ret_count)
{
    *ret_count = ARRAY_SIZE(command_table);
    return command_table;
}
