/*
 * feed.h - the hint: term, map version, content version, published each second over nng pub/sub.
 *
 * Not sealed and never trusted: a hint only means "ask now", at most once a second. Silence of 15 s
 * rebuilds the subscriber's socket.
 */
#pragma once
#include <uv.h>

#include "shared/base.h"
#include "shared/clock.h"

struct hint {
    uint64_t term, map_version, content_version;
};

struct feed_publisher;
int feed_publish_start(struct feed_publisher **ret, uv_loop_t *loop, const char *url) _must_check_;
void feed_publish(struct feed_publisher *p, const struct hint *hint); /* never blocks, may drop */
void feed_publish_stop(struct feed_publisher *p);
struct feed_publisher *feed_publish_free(struct feed_publisher *p);

struct feed_subscriber;
typedef void feed_hint_fn(void *arg, const struct hint *hint);
int feed_subscribe_start(struct feed_subscriber **ret, uv_loop_t *loop, const char *url,
                         feed_hint_fn *on_hint, void *arg) _must_check_;
void feed_subscribe_stop(struct feed_subscriber *s);
struct feed_subscriber *feed_subscribe_free(struct feed_subscriber *s);
