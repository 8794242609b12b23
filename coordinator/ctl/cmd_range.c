/* cmd_range.c - range ls: the map. */
#include <inttypes.h>

#include "coordinator/ctl/ask.h"
#include "coordinator/ctl/commands.h"

int
cmd_range_ls(const struct invocation *in)
{
    struct asker *a = NULL;
    int code = asker_open(&a, in, in->timeout);
    if (code != CTL_DONE)
        return code;
    int err = ask_map(a);
    struct table *t = err == 0 ? table_new(stdout, in->format) : NULL;
    const struct map *map = asker_map(a);
    code = CTL_FAILED;
    if (t) {
        table_column(t, "first", NULL, TABLE_COUNT);
        table_column(t, "last", NULL, TABLE_COUNT);
        table_column(t, "devices", NULL, TABLE_COUNT);
        table_column(t, "partition", NULL, TABLE_WORDS);
        table_column(t, "driver", NULL, TABLE_WORDS);
        for (uint32_t i = 0; i < map->ranges.count; i++) {
            const struct range *r = &map->ranges.ranges[i];
            table_int(t, r->first);
            table_int(t, r->last);
            table_int(t, (int64_t) r->last - r->first + 1);
            table_text(t, map->partitions[r->partition].name);
            table_text(t, map->partitions[r->partition].driver);
        }
        code = table_done(t) == 0 ? CTL_DONE : CTL_FAILED;
    }
    if (err < 0)
        code = ask_failed(a, err, "cannot read the map");
    asker_free(a);
    return code;
}
