/* A mark as one line of text, written beside and renamed over. */
#include "node/highwater.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "shared/parse.h"

#define LINE_BYTES_MAX 96u

static int
path_of(char path[static PATH_MAX], const char *dir, const char *partition, const char *suffix)
{
    int n = snprintf(path, PATH_MAX, "%s/highwater-%s%s", dir, partition, suffix);

    return n > 0 && n < PATH_MAX ? 0 : -ENAMETOOLONG;
}

static int
write_line(const char *path, const char *line, size_t bytes)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    int r = 0;

    if (fd < 0)
        return -errno;
    ssize_t n = write(fd, line, bytes);
    if (n != (ssize_t) bytes)
        r = n < 0 ? -errno : -ENOSPC;
    if (close(fd) < 0 && r == 0)
        r = -errno;
    return r;
}

int
highwater_write(const char *dir, const char *partition, const struct highwater *mark)
{
    char path[PATH_MAX], beside[PATH_MAX], line[LINE_BYTES_MAX];
    int r = path_of(path, dir, partition, "");

    if (r == 0)
        r = path_of(beside, dir, partition, ".new");
    if (r < 0)
        return r;
    int n = snprintf(line, sizeof(line), "%" PRIu32 " %" PRIu64 " %" PRIu64 "\n", mark->timeline,
                     mark->lsn, mark->epoch);
    r = write_line(beside, line, (size_t) n);
    if (r == 0 && rename(beside, path) < 0)
        r = -errno;
    if (r < 0)
        unlink(beside);
    return r;
}

/* The digits up to `end`; moves *text behind it. */
static int
number(const char **text, char end, uint64_t max, uint64_t *ret)
{
    const char *stop = strchr(*text, end);

    if (!stop || parse_u64(*text, (size_t) (stop - *text), 0, max, ret) < 0)
        return -EBADMSG;
    *text = stop + 1;
    return 0;
}

static int
parse_line(const char *text, struct highwater *ret)
{
    uint64_t timeline, lsn, epoch;

    if (number(&text, ' ', UINT32_MAX, &timeline) < 0 || number(&text, ' ', UINT64_MAX, &lsn) < 0 ||
        number(&text, '\n', INT64_MAX, &epoch) < 0 || *text != '\0')
        return -EBADMSG;
    *ret = (struct highwater){.timeline = (uint32_t) timeline, .lsn = lsn, .epoch = epoch};
    return 0;
}

int
highwater_read(const char *dir, const char *partition, struct highwater *ret)
{
    char path[PATH_MAX], line[LINE_BYTES_MAX];
    int r = path_of(path, dir, partition, "");

    if (r < 0)
        return r;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    ssize_t n = read(fd, line, sizeof(line) - 1);
    r = n < 0 ? -errno : 0;
    close(fd);
    if (r < 0)
        return r;
    line[n] = '\0';
    return parse_line(line, ret);
}
