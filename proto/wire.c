/* wire.c - bounded msgpack: a walk of our own, then msgpack-c, then a sticky reader. */
#include "proto/wire.h"

#include <assert.h>
#include <errno.h>
#include <msgpack.h>
#include <stdlib.h>
#include <string.h>

#include "proto/limits.h"
#include "shared/parse.h"

/* ---- the pre-walk ---- */

/* What a leading byte declares; `fault` when bodies have no use for it (maps, floats, ext). */
struct head {
    bool fault, is_array;
    unsigned length_bytes; /* of the big endian length that follows */
    uint32_t length;       /* elements of an array, bytes of content behind the length else */
};

static struct head
head_of(uint8_t b)
{
    if (b <= 0x7f || b >= 0xe0 || b == 0xc0 || b == 0xc2 || b == 0xc3)
        return (struct head){0};
    if (b >= 0x90 && b <= 0x9f)
        return (struct head){.is_array = true, .length = b & 0x0f};
    if (b >= 0xa0 && b <= 0xbf)
        return (struct head){.length = b & 0x1f};
    switch (b) {
    case 0xcc: /* integers */
    case 0xd0: return (struct head){.length = 1};
    case 0xcd:
    case 0xd1: return (struct head){.length = 2};
    case 0xce:
    case 0xd2: return (struct head){.length = 4};
    case 0xcf:
    case 0xd3: return (struct head){.length = 8};
    case 0xc4: /* binary and strings */
    case 0xd9: return (struct head){.length_bytes = 1};
    case 0xc5:
    case 0xda: return (struct head){.length_bytes = 2};
    case 0xc6:
    case 0xdb: return (struct head){.length_bytes = 4};
    case 0xdc: return (struct head){.is_array = true, .length_bytes = 2};
    case 0xdd: return (struct head){.is_array = true, .length_bytes = 4};
    default: return (struct head){.fault = true};
    }
}

bool
wire_walk(struct slice body)
{
    const uint8_t *p = (const uint8_t *) body.data;
    size_t left = body.bytes;
    uint32_t open[FRAME_DEPTH_MAX]; /* elements still to come, per open array */
    unsigned depth = 0;
    size_t owed = 1; /* elements still to come in all: each takes at least one byte */

    if (body.bytes > BODY_BYTES_MAX)
        return false;
    while (owed > 0) {
        struct head h;

        if (left < owed)
            return false;
        h = head_of(*p++);
        left--;
        owed--;
        if (h.fault || left < h.length_bytes)
            return false;
        for (unsigned i = 0; i < h.length_bytes; i++, left--)
            h.length = h.length << 8 | *p++;
        while (depth > 0 && open[depth - 1] == 0)
            depth--;
        if (depth > 0)
            open[depth - 1]--;
        if (h.length > left)
            return false;
        if (h.is_array) {
            if (depth == FRAME_DEPTH_MAX)
                return false;
            open[depth++] = h.length;
            owed += h.length;
        } else {
            p += h.length;
            left -= h.length;
        }
    }
    return left == 0;
}

/* ---- writer ---- */

struct wire_writer {
    msgpack_packer packer;
    char *data;
    size_t bytes, room;
    int err; /* sticky */
};

static int
append(void *arg, const char *data, size_t bytes)
{
    struct wire_writer *w = arg;

    if (w->err)
        return -1;
    if (bytes > BODY_BYTES_MAX - w->bytes) {
        w->err = -E2BIG;
        return -1;
    }
    if (bytes > w->room - w->bytes) {
        size_t room = MAX_OF(w->room * 2, w->bytes + bytes);
        char *grown = realloc(w->data, room);

        if (!grown) {
            w->err = -ENOMEM;
            return -1;
        }
        w->data = grown;
        w->room = room;
    }
    memcpy(w->data + w->bytes, data, bytes);
    w->bytes += bytes;
    return 0;
}

struct wire_writer *
wire_writer_new(void)
{
    struct wire_writer *w = calloc(1, sizeof(*w));

    if (!w)
        return NULL;
    w->room = 4096;
    w->data = malloc(w->room);
    if (!w->data)
        return wire_writer_free(w);
    msgpack_packer_init(&w->packer, w, append);
    return w;
}

struct wire_writer *
wire_writer_free(struct wire_writer *w)
{
    if (w)
        free(w->data);
    free(w);
    return NULL;
}

void
wire_writer_reset(struct wire_writer *w)
{
    w->bytes = 0;
    w->err = 0;
}

/* msgpack-c's own results are dropped in these: append has noted the error. */
void
wire_array(struct wire_writer *w, uint32_t count)
{
    (void) msgpack_pack_array(&w->packer, count);
}

void
wire_u64(struct wire_writer *w, uint64_t v)
{
    (void) msgpack_pack_uint64(&w->packer, v);
}

void
wire_i64(struct wire_writer *w, int64_t v)
{
    (void) msgpack_pack_int64(&w->packer, v);
}

void
wire_bool(struct wire_writer *w, bool v)
{
    (void) (v ? msgpack_pack_true(&w->packer) : msgpack_pack_false(&w->packer));
}

void
wire_text(struct wire_writer *w, struct slice v)
{
    (void) msgpack_pack_str(&w->packer, v.bytes);
    if (v.bytes > 0)
        (void) msgpack_pack_str_body(&w->packer, v.data, v.bytes);
}

void
wire_cstr(struct wire_writer *w, const char *v)
{
    wire_text(w, (struct slice){v, strlen(v)});
}

void
wire_bytes(struct wire_writer *w, const void *data, size_t bytes)
{
    (void) msgpack_pack_bin(&w->packer, bytes);
    if (bytes > 0)
        (void) msgpack_pack_bin_body(&w->packer, data, bytes);
}

void
wire_nil(struct wire_writer *w)
{
    (void) msgpack_pack_nil(&w->packer);
}

void
wire_write_fail(struct wire_writer *w)
{
    if (!w->err)
        w->err = -EINVAL;
}

int
wire_writer_done(struct wire_writer *w, struct slice *ret)
{
    if (w->err)
        return w->err;
    *ret = (struct slice){w->data, w->bytes};
    return 0;
}

/* ---- reader ---- */

struct level {
    const msgpack_object *next;
    uint32_t left;
};

struct wire_reader {
    msgpack_unpacked value;
    struct level levels[FRAME_DEPTH_MAX + 1]; /* the lowest holds the body itself */
    unsigned depth;
    bool failed;
};

struct wire_reader *
wire_reader_new(void)
{
    struct wire_reader *r = calloc(1, sizeof(*r));

    if (r)
        msgpack_unpacked_init(&r->value);
    return r;
}

struct wire_reader *
wire_reader_free(struct wire_reader *r)
{
    if (r)
        msgpack_unpacked_destroy(&r->value);
    free(r);
    return NULL;
}

int
wire_read_open(struct wire_reader *r, struct slice body)
{
    size_t at = 0;

    r->depth = 0;
    r->failed = true; /* until the body proves well-formed, reads give nothing */
    if (!wire_walk(body) ||
        msgpack_unpack_next(&r->value, body.data, body.bytes, &at) != MSGPACK_UNPACK_SUCCESS)
        return -EBADMSG;
    assert(at == body.bytes);
    r->levels[r->depth++] = (struct level){&r->value.data, 1};
    r->failed = false;
    return 0;
}

/* Leaves the arrays that are read out; the level of the next value, NULL when there is none. */
static struct level *
current(struct wire_reader *r)
{
    while (r->depth > 1 && r->levels[r->depth - 1].left == 0)
        r->depth--;
    if (r->failed || r->levels[r->depth - 1].left == 0) {
        r->failed = true;
        return NULL;
    }
    return &r->levels[r->depth - 1];
}

/* The next value if it is of this type, else the reader has failed. */
static const msgpack_object *
take(struct wire_reader *r, msgpack_object_type type)
{
    struct level *l = current(r);

    if (!l)
        return NULL;
    if (l->next->type != type) {
        r->failed = true;
        return NULL;
    }
    l->left--;
    return l->next++;
}

static uint32_t
enter(struct wire_reader *r, uint32_t min, uint32_t max, uint32_t known)
{
    const msgpack_object *o = take(r, MSGPACK_OBJECT_ARRAY);
    uint32_t count;

    if (!o)
        return 0;
    if (o->via.array.size < min || o->via.array.size > max) {
        r->failed = true;
        return 0;
    }
    count = MIN_OF(o->via.array.size, known);
    assert(r->depth <= FRAME_DEPTH_MAX); /* the walk saw to it */
    r->levels[r->depth++] = (struct level){o->via.array.ptr, count};
    return count;
}

uint32_t
wire_read_array(struct wire_reader *r, uint32_t min, uint32_t max)
{
    return enter(r, min, max, max);
}

uint32_t
wire_read_record(struct wire_reader *r, uint32_t required, uint32_t known)
{
    return enter(r, required, UINT32_MAX, known);
}

uint64_t
wire_read_u64(struct wire_reader *r, uint64_t max)
{
    const msgpack_object *o = take(r, MSGPACK_OBJECT_POSITIVE_INTEGER);

    if (!o)
        return 0;
    if (o->via.u64 > max) {
        r->failed = true;
        return 0;
    }
    return o->via.u64;
}

int64_t
wire_read_i64(struct wire_reader *r, int64_t min, int64_t max)
{
    struct level *l = current(r);
    const msgpack_object *o;
    int64_t v;

    if (!l)
        return 0;
    o = take(r, l->next->type == MSGPACK_OBJECT_NEGATIVE_INTEGER ? MSGPACK_OBJECT_NEGATIVE_INTEGER
                                                                 : MSGPACK_OBJECT_POSITIVE_INTEGER);
    if (!o)
        return 0;
    if (o->type == MSGPACK_OBJECT_POSITIVE_INTEGER && o->via.u64 > INT64_MAX) {
        r->failed = true;
        return 0;
    }
    v = o->via.i64;
    if (v < min || v > max) {
        r->failed = true;
        return 0;
    }
    return v;
}

bool
wire_read_bool(struct wire_reader *r)
{
    const msgpack_object *o = take(r, MSGPACK_OBJECT_BOOLEAN);

    return o && o->via.boolean;
}

struct slice
wire_read_text(struct wire_reader *r, size_t bytes_max)
{
    const msgpack_object *o = take(r, MSGPACK_OBJECT_STR);
    struct slice text;

    if (!o)
        return (struct slice){0};
    text = (struct slice){o->via.str.ptr, o->via.str.size};
    if (text.bytes > bytes_max || (text.bytes > 0 && !parse_utf8_valid(text))) {
        r->failed = true;
        return (struct slice){0};
    }
    return text;
}

struct slice
wire_read_bytes(struct wire_reader *r, size_t bytes_min, size_t bytes_max)
{
    const msgpack_object *o = take(r, MSGPACK_OBJECT_BIN);

    if (!o)
        return (struct slice){0};
    if (o->via.bin.size < bytes_min || o->via.bin.size > bytes_max) {
        r->failed = true;
        return (struct slice){0};
    }
    return (struct slice){o->via.bin.ptr, o->via.bin.size};
}

bool
wire_read_nil(struct wire_reader *r)
{
    struct level *l = current(r);

    if (!l || l->next->type != MSGPACK_OBJECT_NIL)
        return false;
    l->left--;
    l->next++;
    return true;
}

void
wire_read_fail(struct wire_reader *r)
{
    r->failed = true;
}

int
wire_read_close(struct wire_reader *r)
{
    for (unsigned i = 0; i < r->depth; i++)
        if (r->levels[i].left > 0)
            r->failed = true;
    return r->failed ? -EBADMSG : 0;
}
