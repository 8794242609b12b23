/*
 * wire.h - bounded msgpack: the only user of msgpack-c.
 *
 * A body is one array of known arity. wire_read_open walks the whole buffer first (every declared
 * count <= bytes left, depth <= FRAME_DEPTH_MAX, no map, float or ext, exactly one value, nothing
 * behind it) before msgpack-c sees a byte. A reader is sticky: after the first fault every read
 * gives 0 / empty and wire_read_close answers -EBADMSG, so a decoder checks once. Texts are slices
 * into the buffer. A writer is sticky too (-ENOMEM, -E2BIG above BODY_BYTES_MAX, -EINVAL by
 * wire_write_fail).
 */
#pragma once
#include "shared/base.h"

struct wire_writer;
struct wire_writer *wire_writer_new(void);
struct wire_writer *wire_writer_free(struct wire_writer *w);
void wire_writer_reset(struct wire_writer *w);
void wire_array(struct wire_writer *w, uint32_t count);
void wire_u64(struct wire_writer *w, uint64_t v);
void wire_i64(struct wire_writer *w, int64_t v);
void wire_bool(struct wire_writer *w, bool v);
void wire_text(struct wire_writer *w, struct slice v);
void wire_cstr(struct wire_writer *w, const char *v);
void wire_bytes(struct wire_writer *w, const void *data, size_t bytes);
void wire_nil(struct wire_writer *w);
void wire_write_fail(struct wire_writer *w); /* an encoder's own check failed */
/* 0 and the finished body (borrowed until reset), or the first error. */
int wire_writer_done(struct wire_writer *w, struct slice *ret) _must_check_;

struct wire_reader;
struct wire_reader *wire_reader_new(void);
struct wire_reader *wire_reader_free(struct wire_reader *r);
/* 0 or -EBADMSG; the buffer must outlive the reading. */
int wire_read_open(struct wire_reader *r, struct slice body) _must_check_;
uint32_t wire_read_array(struct wire_reader *r, uint32_t min, uint32_t max); /* its count */
/* An array of at least `required` elements, of which the first `known` are read; those behind them
 * are stepped over. Returns how many of the known ones are there. */
uint32_t wire_read_record(struct wire_reader *r, uint32_t required, uint32_t known);
uint64_t wire_read_u64(struct wire_reader *r, uint64_t max);
int64_t wire_read_i64(struct wire_reader *r, int64_t min, int64_t max);
bool wire_read_bool(struct wire_reader *r);
struct slice wire_read_text(struct wire_reader *r, size_t bytes_max); /* valid UTF-8, no NUL */
struct slice wire_read_bytes(struct wire_reader *r, size_t bytes_min, size_t bytes_max);
bool wire_read_nil(struct wire_reader *r);  /* true and stepped over if the next value is nil */
void wire_read_fail(struct wire_reader *r); /* a decoder's own check failed */
int wire_read_close(struct wire_reader *r) _must_check_; /* 0 only if all was read without fault */
/* The pre-walk alone, for fuzzing: true when the buffer is one well-formed bounded value. */
bool wire_walk(struct slice body);
