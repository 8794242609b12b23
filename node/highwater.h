/*
 * highwater.h - the furthest point of a partition that this host has seen: timeline, LSN, epoch.
 *
 * One small text file per partition. A database that stands behind it was rolled back (restored
 * from an older copy): rows that were sent would wait again. Not flushed: after a power cut the
 * mark may be older or absent, which only makes it judge less.
 */
#pragma once
#include "shared/base.h"

struct highwater {
    uint32_t timeline;
    uint64_t lsn;
    uint64_t epoch;
};

/* 0 or -errno; the file is replaced whole or not at all. */
int highwater_write(const char *dir, const char *partition,
                    const struct highwater *mark) _must_check_;
/* 0, -ENOENT (none yet), -EBADMSG (not readable as a mark), -errno. */
int highwater_read(const char *dir, const char *partition, struct highwater *ret) _must_check_;
