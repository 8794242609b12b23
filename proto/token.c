/* token.c - writes and reads tokens and their uuids; the reader takes only what the writer makes.
 */
#include "proto/token.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "shared/parse.h"

#define UUID_TEXT_BYTES 36u

struct uuid
token_uuid(int64_t unix_usec, const uint8_t random[static 10])
{
    uint64_t ms = unix_usec > 0 ? (uint64_t) unix_usec / 1000 : 0;
    struct uuid id;

    for (unsigned i = 0; i < 6; i++)
        id.bytes[i] = (uint8_t) (ms >> (40 - 8 * i));
    memcpy(id.bytes + 6, random, 10);
    id.bytes[6] = (uint8_t) (0x70 | (id.bytes[6] & 0x0f)); /* version 7 */
    id.bytes[8] = (uint8_t) (0x80 | (id.bytes[8] & 0x3f)); /* variant of RFC 9562 */
    return id;
}

int64_t
token_uuid_time(const struct uuid *id)
{
    uint64_t ms = 0;

    for (unsigned i = 0; i < 6; i++)
        ms = ms << 8 | id->bytes[i];
    return (int64_t) (ms * 1000);
}

static bool
dash_before(unsigned byte)
{
    return byte == 4 || byte == 6 || byte == 8 || byte == 10;
}

void
token_uuid_write(char ret[static 37], const struct uuid *id)
{
    static const char digits[] = "0123456789abcdef";
    char *p = ret;

    for (unsigned i = 0; i < 16; i++) {
        if (dash_before(i))
            *p++ = '-';
        *p++ = digits[id->bytes[i] >> 4];
        *p++ = digits[id->bytes[i] & 0x0f];
    }
    *p = '\0';
}

/* Lower case only: one uuid has one text, so texts can be compared. */
static int
hex_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return -1;
}

int
token_uuid_parse(struct uuid *ret, struct slice text)
{
    struct uuid id;
    const char *p = text.data;

    if (text.bytes != UUID_TEXT_BYTES)
        return -EINVAL;
    for (unsigned i = 0; i < 16; i++) {
        int high, low;

        if (dash_before(i) && *p++ != '-')
            return -EINVAL;
        high = hex_value(*p++);
        low = hex_value(*p++);
        if (high < 0 || low < 0)
            return -EINVAL;
        id.bytes[i] = (uint8_t) (high << 4 | low);
    }
    *ret = id;
    return 0;
}

size_t
token_write(char ret[static TOKEN_BYTES_MAX + 1], const struct token *t)
{
    char id[UUID_TEXT_BYTES + 1];
    int bytes;

    token_uuid_write(id, &t->id);
    bytes = snprintf(ret, TOKEN_BYTES_MAX + 1, "v1.%s.%" PRIu64 ".%" PRId32 ".%s", t->partition,
                     t->epoch, t->device_id, id);
    assert(bytes > 0 && (unsigned) bytes <= TOKEN_BYTES_MAX);
    return (size_t) bytes;
}

/* Cuts the part before the next '.' off `rest`; false when there is none. */
static bool
cut(struct slice *rest, struct slice *ret_part)
{
    const char *dot = rest->bytes ? memchr(rest->data, '.', rest->bytes) : NULL;
    size_t bytes;

    if (!dot)
        return false;
    bytes = (size_t) (dot - rest->data);
    *ret_part = (struct slice){rest->data, bytes};
    rest->data += bytes + 1;
    rest->bytes -= bytes + 1;
    return true;
}

static bool
partition_name_read(char ret[static NAME_BYTES_MAX + 1], struct slice text)
{
    if (text.bytes < 1 || text.bytes > NAME_BYTES_MAX)
        return false;
    for (size_t i = 0; i < text.bytes; i++) {
        char c = text.data[i];

        if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-'))
            return false;
    }
    memcpy(ret, text.data, text.bytes);
    ret[text.bytes] = '\0';
    return true;
}

/* Decimal without sign or leading zero: one value has one text. */
static bool
number_read(uint64_t *ret, struct slice text, uint64_t max)
{
    if (text.bytes > 1 && text.data[0] == '0')
        return false;
    return parse_u64(text.data, text.bytes, 0, max, ret) == 0;
}

int
token_parse(struct token *ret, struct slice text)
{
    struct token t;
    struct slice version, partition, epoch, device;
    uint64_t device_id;

    if (text.bytes > TOKEN_BYTES_MAX || !cut(&text, &version) || !cut(&text, &partition) ||
        !cut(&text, &epoch) || !cut(&text, &device))
        return -EINVAL;
    if (version.bytes != 2 || memcmp(version.data, "v1", 2) != 0 ||
        !partition_name_read(t.partition, partition) || !number_read(&t.epoch, epoch, INT64_MAX) ||
        !number_read(&device_id, device, DEVICE_ID_MAX) || device_id < 1 ||
        token_uuid_parse(&t.id, text) < 0)
        return -EINVAL;
    t.device_id = (int32_t) device_id;
    *ret = t;
    return 0;
}
