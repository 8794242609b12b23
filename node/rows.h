/*
 * rows.h - what a row of an import must be, judged before the database sees it.
 *
 * Pure. The answer is NULL (good) or words for people that begin with the column's name; the
 * words are static.
 */
#pragma once
#include "proto/message.h"
#include "shared/base.h"
#include "shared/secret.h"

struct row_limits {
    uint32_t gap_min_ms; /* smallest min_delay_ms that the node accepts */
    bool allow_http;     /* device urls of plain http */
};

const char *rows_device_why(const struct device_row *row, const struct row_limits *limits);
/* A phone that was erased is known by this hash alone; the key is the cluster's token key. */
void rows_phone_hash(const uint8_t key[static SECRET_KEY_BYTES], uint64_t phone,
                     uint8_t ret_hash[static SECRET_HASH_BYTES]);
const char *rows_lead_why(const struct lead_row *row);
/* The next column's name, as it stands between its quotes in attributes that were judged good; *at
 * is 0 at first. false: there are no more. */
bool rows_next_column(struct slice json, size_t *at, struct slice *ret_name);
/* A JSON object whose values are all strings, within ATTRIBUTES_MAX and ATTRIBUTE_BYTES_MAX. */
const char *rows_attributes_why(struct slice json);
