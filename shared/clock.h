/*
 * clock.h - the three clocks (DETAILS "Words of time") and their unit.
 *
 * BOOTTIME decides send_by, quarantine, gaps, lateness; it goes on during suspend and is never set.
 * REALTIME is for logs and for the time in identifiers only. Pure cores take `now` as an argument
 * and never call these.
 */
#pragma once
#include <stdint.h>

typedef uint64_t usec_t; /* microseconds */
#define USEC_PER_MSEC ((usec_t) 1000)
#define USEC_PER_SEC  ((usec_t) 1000000)
#define USEC_INFINITY UINT64_MAX

usec_t clock_boot(void);
usec_t clock_real(void); /* since 1970-01-01 UTC */
