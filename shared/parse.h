/*
 * parse.h - strict values from text: whole string or nothing.
 *
 * Pure. Every function returns 0, -EINVAL (not of that form) or -ERANGE (outside [min, max]);
 * ret_ arguments are untouched on failure.
 */
#pragma once
#include "shared/base.h"
#include "shared/clock.h"

int parse_u64(const char *text, size_t bytes, uint64_t min, uint64_t max,
              uint64_t *ret) _must_check_;
int parse_u32(const char *text, size_t bytes, uint32_t min, uint32_t max,
              uint32_t *ret) _must_check_;
int parse_bool(const char *text, bool *ret) _must_check_; /* yes no true false on off 1 0 */
/* "250ms", "4s", "10m", "2h", "7d"; a bare number is an error (no guessing of units). */
int parse_span(const char *text, usec_t min, usec_t max, usec_t *ret) _must_check_;

/* Why a phone number was refused; parse_phone_why() gives the words people read. */
enum phone_verdict {
    PHONE_OK,
    PHONE_EMPTY,
    PHONE_SCIENTIFIC, /* "6.01E+11", "60123456789.0": a spreadsheet ate or added digits */
    PHONE_LETTERS,
    PHONE_TOO_SHORT, /* fewer than 8 digits after the country code was applied */
    PHONE_TOO_LONG,  /* more than 15 digits */
    PHONE_NO_COUNTRY /* national form (leading 0 or no +) and no --country given */
};
/*
 * E.164: blanks (also no-break ones), '-', '.', '(', ')' are dropped, and so is the "(0)" of
 * "+44 (0)20"; "+..." and "00..." are international. With `country` (calling code such as 60,
 * 0 = none) a leading 0 is replaced by it, and bare digits that do not begin with it get it in
 * front. Without a country bare digits of 8-15 that do not start with 0 are taken as
 * international.
 */
enum phone_verdict parse_phone(struct slice text, uint32_t country, uint64_t *ret_phone);
const char *parse_phone_why(enum phone_verdict v);
/* true when the bytes are valid UTF-8 without NUL. */
bool parse_utf8_valid(struct slice text);
/* Characters (code points) of valid UTF-8. */
size_t parse_utf8_length(struct slice text);
/* "ip:port" -> parts; ip is copied NUL-terminated (at most 46 bytes). */
int parse_address(const char *text, char ret_ip[static 46], uint16_t *ret_port) _must_check_;
