/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <glib.h>

/**
 * The worker's confinement by the kernel: a Landlock domain without a rule, and a seccomp filter of
 * the system calls that it needs. See sandbox.c for each of them and its reason.
 */
typedef struct {
    gboolean seccomp;
    int landlock;        /* ABI of the kernel in force; 0 = none */
    const char *without; /* why one is missing, NULL where none is */
} Sandbox;

/** Lets libraries open their files and make their state now, not behind the wall. As sandbox_enter.
 */
const char *sandbox_prepare(void);
/**
 * Enters both: for good, for this thread and all that it makes, so before any other is made. "No
 * new privileges" must be set. NULL, or what failed, with errno. A kernel that has neither is no
 * failure.
 */
const char *sandbox_enter(Sandbox *sandbox);
/** One of them. */
const char *sandbox_enter_landlock(int *abi);
const char *sandbox_enter_seccomp(gboolean *entered);
/** "seccomp, Landlock 3", for the log. */
char *sandbox_describe(const Sandbox *sandbox);

/* What sanitizers need (shadow memory, reading /proc, threads of their own) can't be confined. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANDBOX_SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer) ||                         \
    __has_feature(memory_sanitizer)
#define SANDBOX_SANITIZED 1
#endif
#endif
#ifndef SANDBOX_SANITIZED
#define SANDBOX_SANITIZED 0
#endif
