/* cmd_send.c - send DEVICE PHONE TEXT; device pause and resume; node set: one row to one driver. */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "coordinator/ctl/act.h"
#include "coordinator/ctl/commands.h"
#include "coordinator/ctl/operands.h"
#include "coordinator/ctl/table.h"
#include "coordinator/ctl/terminal.h"
#include "shared/content.h"
#include "shared/parse.h"

/* To the partition of the device. */
static int
act_on_device(const struct invocation *in, int32_t device, const struct action *action,
              const char *what)
{
    char partition[NAME_BYTES_MAX + 1], next[64];
    struct act_result result = {0};
    struct asker *a = NULL;
    int code = asker_open(&a, in, in->timeout);
    if (code != CTL_DONE)
        return code;
    int err = ask_map(a);
    bool placed = err == 0 && ask_place(a, device, partition) == 0;
    if (placed)
        err = act_on(a, ask_text(partition), action, &result);
    if (err < 0) {
        code = ask_failed(a, err, "%s", what);
    } else if (!placed) {
        terminal_fault("no device %d", device);
        terminal_next("fleetcast device ls");
        code = CTL_FAILED;
    } else {
        snprintf(next, sizeof(next), "fleetcast explain device %d", device);
        code = act_print(in, what, &result, next);
    }
    asker_free(a);
    return code;
}

static void
write_time(char out[static 32], int64_t at)
{
    out[0] = '\0';
    if (at)
        snprintf(out, 32, "%" PRId64, at);
}

/* ---- send ---- */

static int
judge_text(const char *text)
{
    struct slice s = ask_text(text);
    if (s.bytes == 0)
        terminal_fault("the text is empty");
    else if (!parse_utf8_valid(s))
        terminal_fault("the text is not UTF-8");
    else if (parse_utf8_length(s) > CONTENT_CHARACTERS_MAX)
        terminal_fault("the text has %zu characters: %u at most", parse_utf8_length(s),
                       CONTENT_CHARACTERS_MAX);
    else
        return CTL_DONE;
    return CTL_USAGE;
}

int
cmd_send(const struct invocation *in)
{
    char device_text[16], phone_text[24], expires[32], what[80];
    const char *key = in->options[OPTION_KEY];
    int32_t device = 0;
    uint64_t phone = 0;
    int64_t until = 0;
    int code = operand_device(in->operands[0], &device);
    if (code == CTL_DONE)
        code = operand_phone(in, in->operands[1], &phone);
    if (code == CTL_DONE)
        code = judge_text(in->operands[2]);
    if (code == CTL_DONE)
        code = operand_until(in, OPTION_TTL, "ttl", &until);
    if (code == CTL_DONE && (!key || !key[0] || strlen(key) > LABEL_BYTES_MAX)) {
        terminal_fault("--key KEY is needed, of at most %u bytes: after a doubt the same command"
                       " with the same key sends nothing twice",
                       LABEL_BYTES_MAX);
        code = CTL_USAGE;
    }
    if (code != CTL_DONE)
        return code;
    snprintf(device_text, sizeof(device_text), "%d", device);
    snprintf(phone_text, sizeof(phone_text), "%" PRIu64, phone);
    write_time(expires, until);
    struct slice cells[] = {ask_text(device_text), ask_text(phone_text), ask_text(key),
                            ask_text(in->operands[2]), ask_text(expires)};
    const struct action action = {"send", ARRAY_SIZE(cells), 1, cells, in->timeout};
    snprintf(what, sizeof(what), "message from device %d to +%s", device, phone_text);
    return act_on_device(in, device, &action, what);
}

/* ---- device pause, resume ---- */

static int
order_device(const struct invocation *in, const char *name, bool pause)
{
    char device_text[16], until_text[32], what[80], time[40];
    int32_t device = 0;
    int64_t until = 0;
    struct slice reason = {"", 0};
    int code = operand_device(in->operands[0], &device);
    if (code == CTL_DONE)
        code = operand_reason(in, &reason);
    if (code == CTL_DONE)
        code = operand_until(in, OPTION_SPAN, "for", &until);
    if (code != CTL_DONE)
        return code;
    snprintf(device_text, sizeof(device_text), "%d", device);
    write_time(until_text, until);
    struct slice cells[3] = {ask_text(device_text)};
    unsigned columns = 1;
    if (pause)
        cells[columns++] = ask_text(until_text);
    cells[columns++] = reason;
    const struct action action = {name, columns, 1, cells, in->timeout};
    snprintf(what, sizeof(what), "device %d %s%s%s", device, pause ? "paused" : "resumed",
             until ? " until " : "", until ? table_time_text(time, until, true) : "");
    return act_on_device(in, device, &action, what);
}

int
cmd_device_pause(const struct invocation *in)
{
    return order_device(in, "device.pause", true);
}

int
cmd_device_resume(const struct invocation *in)
{
    return order_device(in, "device.resume", false);
}

/* ---- node set ---- */

/* Every partition that the node drives, one after the other. Their count, or as act_on. */
static int
act_on_node(struct asker *a, const char *node, const struct action *action,
            struct act_result *result)
{
    char names[PARTITIONS_MAX][NAME_BYTES_MAX + 1];
    const struct map *map = asker_map(a);
    int count = 0, err = 0;
    for (uint32_t i = 0; i < map->partition_count; i++) {
        struct slice driver = map->partitions[i].driver, name = map->partitions[i].name;
        if (driver.bytes == strlen(node) && memcmp(driver.data, node, driver.bytes) == 0)
            snprintf(names[count++], sizeof(names[0]), "%.*s", (int) name.bytes, name.data);
    }
    for (int i = 0; i < count && err == 0; i++) {
        struct act_result here = {0};
        err = act_on(a, ask_text(names[i]), action, &here);
        if (err == 0 && here.verdict > result->verdict)
            *result = here;
    }
    return err < 0 ? err : count;
}

int
cmd_node_set(const struct invocation *in)
{
    char what[96];
    const char *node = in->operands[0], *rate = in->options[OPTION_ENROL_RATE];
    struct act_result result = {0};
    struct asker *a = NULL;
    uint32_t rows;
    if (!rate || parse_u32(rate, strlen(rate), 0, 1000000, &rows) < 0) {
        terminal_fault("--enrol-rate N is needed: leads a second, 1 to 1000000; 0 = the default");
        return CTL_USAGE;
    }
    int code = asker_open(&a, in, in->timeout);
    if (code != CTL_DONE)
        return code;
    struct slice cell = ask_text(rate);
    const struct action action = {"node.enrol_rate", 1, 1, &cell, in->timeout};
    snprintf(what, sizeof(what), "node %.24s enrol-rate %s", node, rate);
    int err = ask_map(a);
    int count = err == 0 ? act_on_node(a, node, &action, &result) : err;
    if (count < 0) {
        code = ask_failed(a, count, "%s", what);
    } else if (count == 0) {
        terminal_fault("no node \"%s\" that drives a partition", node);
        terminal_next("fleetcast node ls");
        code = CTL_FAILED;
    } else {
        code = act_print(in, what, &result, "fleetcast node ls");
    }
    asker_free(a);
    return code;
}
