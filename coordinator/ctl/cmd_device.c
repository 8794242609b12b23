/* cmd_device.c - device ls, device show DEVICE, locate DEVICE. */
#include <errno.h>
#include <string.h>

#include "coordinator/ctl/answer_table.h"
#include "coordinator/ctl/ask.h"
#include "coordinator/ctl/commands.h"
#include "coordinator/ctl/operands.h"
#include "coordinator/ctl/terminal.h"

/* Columns that fit a screen; programs get all of them. */
static const char *const device_columns[] = {"device_id",    "name",       "transport",
                                             "address",      "residence",  "min_delay_ms",
                                             "max_delay_ms", "zone",       "quiet",
                                             "daily_cap",    "hourly_cap", "paused",
                                             "leads",        NULL};

int
cmd_device_ls(const struct invocation *in)
{
    static const struct question question = {.name = "devices"};
    struct answer_table t = {.out = stdout,
                             .format = in->format,
                             .with_partition = true,
                             .only = in->format == TABLE_TEXT ? device_columns : NULL};
    struct asker *a = NULL;
    unsigned silent = 0;
    int code = asker_open(&a, in, in->timeout);
    if (code != CTL_DONE)
        return code;
    int err = ask_map(a);
    if (err == 0)
        err = ask_all_partitions(a, &question, answer_table_page, &t, &silent);
    int written = answer_table_done(&t);
    if (err < 0 || written < 0)
        code = ask_failed(a, err ?: written, "cannot list the devices");
    else if (silent > 0)
        code = CTL_DEGRADED;
    asker_free(a);
    return code;
}

/* Asks the partition in whose range the device lies. 0, -ENOENT (no range, or not in there). */
static int
ask_about(struct asker *a, int32_t device, const char *name, const char *text,
          struct answer_table *t, char partition[static NAME_BYTES_MAX + 1])
{
    struct question question = {.name = name,
                                .argument_count = 1,
                                .arguments = {{text, strlen(text)}}};
    int err = ask_map(a);
    if (err < 0)
        return err;
    if (ask_place(a, device, partition) < 0)
        return -ENOENT;
    err =
        ask_pages(a, (struct slice){partition, strlen(partition)}, &question, answer_table_page, t);
    return err ?: t->row_count > 0 ? err : -ENOENT;
}

static int
show(const struct invocation *in, const char *question)
{
    struct answer_table t = {.out = stdout,
                             .format = in->format == TABLE_TEXT ? TABLE_LIST : in->format,
                             .with_partition = strcmp(question, "device") == 0};
    char partition[NAME_BYTES_MAX + 1] = "";
    struct asker *a = NULL;
    int32_t device = 0;
    int code = operand_device(in->operands[0], &device);
    if (code == CTL_DONE)
        code = asker_open(&a, in, in->timeout);
    if (code != CTL_DONE)
        return code;
    int err = ask_about(a, device, question, in->operands[0], &t, partition);
    int written = answer_table_done(&t);
    err = err ?: written;
    if (err == -ENOENT && partition[0]) {
        terminal_fault("device %d: the map says partition %s, but it is not there", device,
                       partition);
        terminal_next("import the device again: its range was made, its row was not");
        code = CTL_DEGRADED;
    } else if (err == -ENOENT) {
        terminal_fault("no device %d", device);
        terminal_next("fleetcast device ls");
        code = CTL_FAILED;
    } else if (err < 0) {
        code = ask_failed(a, err, "cannot ask about device %d", device);
    }
    asker_free(a);
    return code;
}

int
cmd_device_show(const struct invocation *in)
{
    return show(in, "device");
}

int
cmd_locate(const struct invocation *in)
{
    return show(in, "locate");
}
