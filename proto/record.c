/* record.c - two interpreters over one table: a struct to msgpack, and back with every bound. */
#include "proto/record.h"

#include <assert.h>
#include <string.h>

#include "proto/limits.h"
#include "shared/histogram.h"
#include "shared/parse.h"

/* Recursion follows the tables, never the input: as deep as the deepest record of PROTOCOL.md. */

static bool
is_name(struct slice text)
{
    for (size_t i = 0; i < text.bytes; i++) {
        char c = text.data[i];

        if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-'))
            return false;
    }
    return true;
}

/* ---- writing ---- */

static uint32_t
count_of(const struct field *f, const void *value)
{
    uint32_t count;

    memcpy(&count, (const char *) value + f->count_offset, sizeof(count));
    return count;
}

static void
write_number(struct wire_writer *w, const struct field *f, int64_t v)
{
    if (v < f->min || (v > 0 && (uint64_t) v > f->max))
        wire_write_fail(w);
    wire_i64(w, v);
}

static void
write_unsigned(struct wire_writer *w, const struct field *f, uint64_t v)
{
    if (v < (uint64_t) f->min || v > f->max)
        wire_write_fail(w);
    wire_u64(w, v);
}

static void
write_text(struct wire_writer *w, const struct field *f, struct slice v, size_t bytes_max)
{
    if (v.bytes > bytes_max || v.bytes < (size_t) f->min || (v.bytes > 0 && !parse_utf8_valid(v)) ||
        (f->form == FORM_NAME && !is_name(v)))
        wire_write_fail(w);
    wire_text(w, v);
}

void
record_write_words(struct wire_writer *w, struct slice v, size_t bytes_max)
{
    char mended[REASON_BYTES_MAX];

    assert(bytes_max <= sizeof(mended));
    if (v.bytes > bytes_max) {
        v.bytes = bytes_max;
        while (v.bytes > 0 && ((uint8_t) v.data[v.bytes] & 0xc0) == 0x80)
            v.bytes--;
    }
    if (v.bytes > 0 && !parse_utf8_valid(v)) {
        for (size_t i = 0; i < v.bytes; i++)
            mended[i] = (char) (v.data[i] < 0x20 || v.data[i] > 0x7e ? '?' : v.data[i]);
        v.data = mended;
    }
    wire_text(w, v);
}

static void
write_codes(struct wire_writer *w, const struct field *f, const uint8_t *codes, uint32_t count)
{
    if (count > f->max)
        wire_write_fail(w);
    for (uint32_t i = 0; i < count; i++)
        if (codes[i] > f->item_max)
            wire_write_fail(w);
    wire_bytes(w, codes, count);
}

static void
write_histogram(struct wire_writer *w, const struct histogram *h)
{
    uint32_t used = 0;

    for (uint32_t i = 0; i < HISTOGRAM_BUCKETS; i++)
        used += h->counts[i] > 0;
    wire_array(w, 1 + 2 * used);
    wire_u64(w, h->max);
    for (uint32_t i = 0; i < HISTOGRAM_BUCKETS; i++)
        if (h->counts[i] > 0) {
            wire_u64(w, i);
            wire_u64(w, h->counts[i]);
        }
}

static void
write_list(struct wire_writer *w, const struct field *f, const char *items, uint32_t count)
{
    if (count > f->max) {
        wire_write_fail(w);
        return;
    }
    wire_array(w, count);
    for (uint32_t i = 0; i < count; i++)
        record_write(w, f->record, items + i * f->record->bytes);
}

static void
write_texts(struct wire_writer *w, const struct field *f, const struct slice *texts, uint32_t count)
{
    if (count > f->max) {
        wire_write_fail(w);
        return;
    }
    wire_array(w, count);
    for (uint32_t i = 0; i < count; i++)
        write_text(w, f, texts[i], f->item_max);
}

static void
write_field(struct wire_writer *w, const struct field *f, const void *value)
{
    const void *at = (const char *) value + f->offset;

    switch (f->form) {
    case FORM_U8: write_unsigned(w, f, *(const uint8_t *) at); break;
    case FORM_U16: write_unsigned(w, f, *(const uint16_t *) at); break;
    case FORM_U32: write_unsigned(w, f, *(const uint32_t *) at); break;
    case FORM_U64: write_unsigned(w, f, *(const uint64_t *) at); break;
    case FORM_I32: write_number(w, f, *(const int32_t *) at); break;
    case FORM_I64: write_number(w, f, *(const int64_t *) at); break;
    case FORM_BOOL: wire_bool(w, *(const bool *) at); break;
    case FORM_UUID: wire_bytes(w, at, sizeof(struct uuid)); break;
    case FORM_NAME:
    case FORM_TEXT: write_text(w, f, *(const struct slice *) at, f->max); break;
    case FORM_WORDS: record_write_words(w, *(const struct slice *) at, f->max); break;
    case FORM_CODES: write_codes(w, f, *(uint8_t *const *) at, count_of(f, value)); break;
    case FORM_HISTOGRAM: write_histogram(w, at); break;
    case FORM_RECORD: record_write(w, f->record, at); break;
    case FORM_LIST: write_list(w, f, *(char *const *) at, count_of(f, value)); break;
    case FORM_TEXTS: write_texts(w, f, *(struct slice *const *) at, count_of(f, value)); break;
    case FORM_TEXTS_HERE: write_texts(w, f, at, count_of(f, value)); break;
    }
}

void
record_write(struct wire_writer *w, const struct record *record, const void *value)
{
    wire_array(w, record->field_count);
    for (uint32_t i = 0; i < record->field_count; i++)
        write_field(w, &record->fields[i], value);
}

/* ---- reading ---- */

struct reading {
    struct wire_reader *r;
    record_room_fn *room;
    void *arg;
    bool no_room;
};

static void read_record(struct reading *in, const struct record *record, void *value);

/* Room for `count` items of a list, its count stored beside it; NULL when there is nothing to
 * read. */
static void *
make_room(struct reading *in, const struct field *f, void *value, uint32_t count, size_t bytes)
{
    void *items = NULL;

    if (count > 0) {
        items = in->no_room ? NULL : in->room(in->arg, count * bytes);
        if (!items) {
            in->no_room = true;
            wire_read_fail(in->r);
            return NULL;
        }
    }
    memcpy((char *) value + f->count_offset, &count, sizeof(count));
    memcpy((char *) value + f->offset, &items, sizeof(items));
    return items;
}

static struct slice
read_text(struct reading *in, const struct field *f, size_t bytes_max)
{
    struct slice text = wire_read_text(in->r, bytes_max);

    if (text.bytes < (size_t) f->min || (f->form == FORM_NAME && !is_name(text)))
        wire_read_fail(in->r);
    return text;
}

static uint64_t
read_unsigned(struct reading *in, const struct field *f)
{
    uint64_t v = wire_read_u64(in->r, f->max);

    if (v < (uint64_t) f->min)
        wire_read_fail(in->r);
    return v;
}

static void
read_codes(struct reading *in, const struct field *f, void *value)
{
    struct slice codes = wire_read_bytes(in->r, 0, f->max);
    uint8_t *copy = make_room(in, f, value, (uint32_t) codes.bytes, 1);

    if (!copy)
        return;
    memcpy(copy, codes.data, codes.bytes);
    for (size_t i = 0; i < codes.bytes; i++)
        if (copy[i] > f->item_max)
            wire_read_fail(in->r);
}

static void
read_histogram(struct reading *in, struct histogram *h)
{
    uint32_t elements = wire_read_array(in->r, 1, 1 + 2 * HISTOGRAM_BUCKETS);
    uint64_t least = 0; /* buckets rise, so that none comes twice */

    if (elements % 2 == 0) {
        wire_read_fail(in->r);
        return;
    }
    h->max = wire_read_u64(in->r, UINT64_MAX);
    for (uint32_t i = 1; i < elements; i += 2) {
        uint64_t bucket = wire_read_u64(in->r, HISTOGRAM_BUCKETS - 1);
        uint64_t count = wire_read_u64(in->r, UINT32_MAX);

        if (bucket < least || count == 0) {
            wire_read_fail(in->r);
            return;
        }
        h->counts[bucket] = (uint32_t) count;
        h->total += count;
        least = bucket + 1;
    }
}

static void
read_list(struct reading *in, const struct field *f, void *value)
{
    uint32_t count = wire_read_array(in->r, 0, (uint32_t) f->max);
    char *items = make_room(in, f, value, count, f->record->bytes);

    for (uint32_t i = 0; items && i < count; i++)
        read_record(in, f->record, items + i * f->record->bytes);
}

static void
read_texts(struct reading *in, const struct field *f, void *value)
{
    uint32_t count = wire_read_array(in->r, 0, (uint32_t) f->max);
    struct slice *texts;

    if (f->form == FORM_TEXTS_HERE) {
        memcpy((char *) value + f->count_offset, &count, sizeof(count));
        texts = (struct slice *) (void *) ((char *) value + f->offset);
    } else {
        texts = make_room(in, f, value, count, sizeof(*texts));
    }
    for (uint32_t i = 0; texts && i < count; i++)
        texts[i] = read_text(in, f, f->item_max);
}

static void
read_field(struct reading *in, const struct field *f, void *value)
{
    void *at = (char *) value + f->offset;

    switch (f->form) {
    case FORM_U8: *(uint8_t *) at = (uint8_t) read_unsigned(in, f); break;
    case FORM_U16: *(uint16_t *) at = (uint16_t) read_unsigned(in, f); break;
    case FORM_U32: *(uint32_t *) at = (uint32_t) read_unsigned(in, f); break;
    case FORM_U64: *(uint64_t *) at = read_unsigned(in, f); break;
    case FORM_I32:
        *(int32_t *) at = (int32_t) wire_read_i64(in->r, f->min, (int64_t) f->max);
        break;
    case FORM_I64: *(int64_t *) at = wire_read_i64(in->r, f->min, (int64_t) f->max); break;
    case FORM_BOOL: *(bool *) at = wire_read_bool(in->r); break;
    case FORM_UUID: {
        struct slice bytes = wire_read_bytes(in->r, sizeof(struct uuid), sizeof(struct uuid));

        if (bytes.data)
            memcpy(at, bytes.data, sizeof(struct uuid));
        break;
    }
    case FORM_NAME:
    case FORM_TEXT:
    case FORM_WORDS: *(struct slice *) at = read_text(in, f, f->max); break;
    case FORM_CODES: read_codes(in, f, value); break;
    case FORM_HISTOGRAM: read_histogram(in, at); break;
    case FORM_RECORD: read_record(in, f->record, at); break;
    case FORM_LIST: read_list(in, f, value); break;
    case FORM_TEXTS:
    case FORM_TEXTS_HERE: read_texts(in, f, value); break;
    }
}

static void
read_record(struct reading *in, const struct record *record, void *value)
{
    uint32_t count = wire_read_record(in->r, record->required, record->field_count);

    for (uint32_t i = 0; i < count; i++)
        read_field(in, &record->fields[i], value);
}

void
record_read(struct wire_reader *r, const struct record *record, void *value, record_room_fn *room,
            void *arg, bool *ret_no_room)
{
    struct reading in = {.r = r, .room = room, .arg = arg};

    read_record(&in, record, value);
    *ret_no_room = in.no_room;
}
