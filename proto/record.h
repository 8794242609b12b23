/*
 * record.h - writes and reads a struct by the table of its fields.
 *
 * One table per record of PROTOCOL.md drives both directions, so they cannot differ. A record
 * travels as an array in the order of its table; elements behind the known ones are stepped over.
 * Private to message.c.
 */
#pragma once
#include "proto/wire.h"
#include "shared/base.h"

enum form {
    FORM_U8, /* numbers: min..max */
    FORM_U16,
    FORM_U32,
    FORM_U64,
    FORM_I32,
    FORM_I64,
    FORM_BOOL,
    FORM_UUID,
    FORM_NAME,      /* [a-z0-9-], min..max bytes */
    FORM_TEXT,      /* min..max bytes */
    FORM_WORDS,     /* text for people: the writer cuts it to max bytes and mends bad UTF-8 */
    FORM_CODES,     /* count bytes (uint8_t *), each <= code_max */
    FORM_HISTOGRAM, /* sparse pairs */
    FORM_RECORD,    /* a struct in place */
    FORM_LIST,      /* count structs on the heap or in the arena */
    FORM_TEXTS,     /* count slices, the same way; each at most text_max bytes */
    FORM_TEXTS_HERE /* count slices in place, room for max */
};

struct record;
struct field {
    enum form form;
    uint16_t offset;
    uint16_t count_offset; /* of the uint32_t count of a list, of texts, of codes */
    uint32_t item_max;     /* CODES: greatest code; TEXTS: bytes of one */
    int64_t min;
    uint64_t max; /* of a number, of bytes, of a count */
    const struct record *record;
};
struct record {
    const struct field *fields;
    uint32_t field_count;
    uint32_t required; /* the first so many must be there; an older peer lacks the rest: zero */
    size_t bytes;      /* of the struct */
};

/* Text for people, cut to bytes_max at a character and made valid: a database's words must not cost
 * the message that carries them. */
void record_write_words(struct wire_writer *w, struct slice text, size_t bytes_max);

/* Zeroed memory for the lists of what is read; NULL: out of memory. */
typedef void *record_room_fn(void *arg, size_t bytes);

/* Faults stick to the writer and the reader; -ENOMEM of `room` is told by *ret_no_room. */
void record_write(struct wire_writer *w, const struct record *record, const void *value);
void record_read(struct wire_reader *r, const struct record *record, void *value,
                 record_room_fn *room, void *arg, bool *ret_no_room);
