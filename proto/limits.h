/*
 * limits.h - every bound by name, in one place.
 *
 * Where a figure comes from stands beside it. DESIGN = the design's §4.9 and §5.
 */
#pragma once
#include <assert.h>

#define FRAME_BYTES_MAX                                                                            \
    (1024u * 1024u) /* nng RECVMAXSZ; an unset one let 5 bytes reserve 2 GiB                       \
                     */
#define BODY_BYTES_MAX           (FRAME_BYTES_MAX - 64u) /* sealed and with nng's header it still fits */
#define FRAME_DEPTH_MAX          8u                      /* nesting in a body: NODES uses all */
#define NAME_BYTES_MAX           24u /* [a-z0-9-]: nodes, partitions, principals */
#define TOKEN_BYTES_MAX          96u /* v1.<partition>.<epoch>.<device>.<uuid v7> */
#define PROVIDER_ID_BYTES_MAX    255u
#define ADDRESS_BYTES_MAX        128u /* "tcp://ip:port" */
#define REASON_BYTES_MAX         200u /* words for people */
#define LABEL_BYTES_MAX          255u /* a device's name, zone, account, scope, url; a cursor */
#define DEVICE_ID_MAX            2147483647
#define NODES_MAX                64u
#define PARTITIONS_MAX           256u /* in a cluster */
#define PARTITIONS_DRIVEN_MAX    16u  /* by one node */
#define RANGES_MAX               10000u
#define LEADS_PER_BATCH_MAX      2000u /* of one intake request; a frame stays < 1 MiB */
#define DEVICES_PER_BATCH_MAX    1000u
#define RUNS_PER_BATCH_MAX       20000u /* runs of device IDs in one PLACE request */
#define ATTRIBUTES_MAX           32u    /* columns of a lead besides the named ones */
#define ATTRIBUTE_BYTES_MAX      1024u  /* one value */
#define LEAD_BYTES_MAX           8192u  /* one lead, all columns */
#define DEVICE_TOKEN_BYTES_MAX   1024u
#define ROWS_PER_PAGE_MAX        500u /* of an ANSWER */
#define COLUMNS_MAX              32u
#define CELL_BYTES_MAX           65536u            /* a content item fits */
#define ARGUMENTS_MAX            8u                /* of an ASK; columns of an ACT */
#define ACT_ROWS_MAX             ROWS_PER_PAGE_MAX /* of an ACT: its answer is one page */
#define CONTENT_PER_PAGE_MAX     16u
#define CONTENT_STORED_MAX       10000u                /* items in the catalog, kept in memory */
#define CONTENT_STORED_BYTES_MAX (64u * 1024u * 1024u) /* of their JSON */
#define SLOTS_MAX                4096u                 /* requests on the wire of one node */
#define CLAIM_BATCH_MAX          512u
#define FILL_DEVICES_MAX         128u /* DESIGN §5.1 */
#define FILL_ENTRIES_MIN         100u
#define FILL_ENTRIES_MAX         512u
#define ENROL_LEADS_MAX          64u  /* per device and source, ahead of need (DESIGN §7.2) */
#define ENROL_ROWS_MAX           500u /* per transaction */
#define SENDS_PER_CALLBACK_MAX   64u  /* one callback never holds the loop longer */
#define ATTEMPTS_MAX             5u   /* refused with RETRY: then failed(retries) */
#define PEERS_MAX                256u /* lines of the peers file */
#define SESSIONS_PER_PEER_MAX    64u

static_assert(CLAIM_BATCH_MAX <= SLOTS_MAX, "a claim must find a slot");
static_assert(FILL_ENTRIES_MIN <= FILL_ENTRIES_MAX, "fill bounds");
static_assert(ENROL_LEADS_MAX <= FILL_ENTRIES_MAX, "enrolled rows fit a list");
