/* lead_find.c - one question to every partition, rows of other devices left out. */
#include "coordinator/ctl/lead_find.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "coordinator/ctl/operands.h"
#include "coordinator/ctl/terminal.h"

static void
keep_device(struct gathered *g, int32_t device)
{
    unsigned kept = 0;
    for (unsigned row = 0; row < g->row_count; row++) {
        struct gathered_row r = g->rows[row];
        if (gathered_number(g, row, "device_id") == device)
            g->rows[kept++] = r;
        else
            free(r.cells);
    }
    g->row_count = kept;
}

int
lead_find(struct asker *a, const struct invocation *in, const char *text, const char *told,
          struct gathered *ret)
{
    char digits[24];
    uint64_t phone = 0;
    int32_t device = 0;
    int code = operand_phone(in, text, &phone);
    if (code == CTL_DONE && in->options[OPTION_DEVICE])
        code = operand_device(in->options[OPTION_DEVICE], &device);
    if (code != CTL_DONE)
        return code;
    snprintf(digits, sizeof(digits), "%" PRIu64, phone);
    struct question question = {.name = "leads_by_phone",
                                .argument_count = 1,
                                .arguments = {ask_text(digits)}};
    int err = ask_map(a);
    if (err == 0)
        err = gather_all(ret, a, &question);
    if (err < 0)
        return ask_failed(a, err, "%s", told);
    if (device)
        keep_device(ret, device);
    if (ret->row_count > 0)
        return CTL_DONE;
    terminal_fault("%s: no lead has the phone +%s%s%s", told, digits, device ? " on device " : "",
                   device ? in->options[OPTION_DEVICE] : "");
    if (ret->silent > 0) {
        terminal_next("fleetcast status; then the same command again");
        return CTL_DEGRADED;
    }
    terminal_next("fleetcast export leads, to see which there are");
    return CTL_FAILED;
}

int
lead_find_one(struct asker *a, const struct invocation *in, const char *text, const char *told,
              struct gathered *ret, unsigned *ret_row)
{
    int code = lead_find(a, in, text, told, ret);
    if (code != CTL_DONE)
        return code;
    *ret_row = 0;
    if (ret->row_count == 1)
        return CTL_DONE;
    terminal_fault("%s: %u devices have that phone", told, ret->row_count);
    for (unsigned row = 0; row < ret->row_count && row < 10; row++) {
        struct slice name = gathered_text(ret, row, "name");
        fprintf(stderr, "  --device %" PRId64 "   %.*s\n", gathered_number(ret, row, "device_id"),
                (int) name.bytes, name.data);
    }
    terminal_next("the same command with --device");
    return CTL_REFUSED;
}
