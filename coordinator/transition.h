/*
 * transition.h - one row of a state machine as words, for the diagram and for tests.
 *
 * Pure; each machine gives its rows by `bool x_transition(unsigned index, struct transition *ret)`.
 */
#pragma once

struct transition {
    const char *from, *event, *to, *why;
};
