/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <glib.h>

/**
 * The name of a page: the first 128 bits of HMAC-SHA256 of its 4096 bytes under a key that neither
 * guests nor the network have. hash.c argues the choice.
 */
#define PAGE_BYTES 4096
#define PAGE_HASH_BYTES 16
#define PAGE_KEY_BYTES 32

typedef struct PageHasher PageHasher;

/**
 * NULL where GnuTLS has no HMAC-SHA256. Holds what is derived from the key, not the key; free with
 * hash_free(). For one thread at a time: each thread makes its own of the same key.
 */
PageHasher *hash_new(const guint8 key[PAGE_KEY_BYTES]);
void hash_free(PageHasher *hasher);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(PageHasher, hash_free)

/** Names one page. Allocates nothing, can't fail. */
void page_hash(PageHasher *hasher, const guint8 page[PAGE_BYTES], guint8 out[PAGE_HASH_BYTES]);
