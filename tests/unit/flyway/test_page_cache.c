/* SPDX-License-Identifier: Apache-2.0 */
/* What is remembered of pages: the header's rule, against one that is written the slow way; and
 * what it is for. */
#include "flyway/page_cache.h"

#include <string.h>
#include <unistd.h>

/* ---- the rule, the slow way ------------------------------------------------------------------ */

typedef struct {
    guint64 address;
    guint32 clock;
    guint content;
} Entry;

typedef struct {
    GHashTable *seen; /* numbers modulo PAGE_CACHE_SEEN */
    GPtrArray *rows;  /* of arrays of Entry, in the order of places */
    guint32 clock;
} Model;

static Model
model_new(void)
{
    Model model = { g_hash_table_new(NULL, NULL),
                    g_ptr_array_new_with_free_func((GDestroyNotify)g_array_unref), 0 };

    for (guint i = 0; i < 1u << PAGE_CACHE_ROW_BITS; i++)
        g_ptr_array_add(model.rows, g_array_new(FALSE, FALSE, sizeof(Entry)));
    return model;
}

static void
model_clear(Model *model)
{
    g_hash_table_unref(model->seen);
    g_ptr_array_unref(model->rows);
}

static GArray *
model_row(const Model *model, guint64 address)
{
    guint64 product = (address >> 12) * 0x9e3779b97f4a7c15u;

    product = (product ^ (product >> 32)) * 0x9e3779b97f4a7c15u;
    return g_ptr_array_index(model->rows, product >> 54);
}

static Entry *
model_find(const Model *model, guint64 address)
{
    GArray *row = model_row(model, address);

    for (guint i = 0; i < row->len; i++) {
        if (g_array_index(row, Entry, i).address == address)
            return &g_array_index(row, Entry, i);
    }
    return NULL;
}

static void
model_take(Model *model, guint64 address, guint content)
{
    GArray *row = model_row(model, address);
    Entry *entry = model_find(model, address);
    Entry fresh = { address, 0, content };

    if (g_hash_table_add(model->seen, GUINT_TO_POINTER((address >> 12) % (16 * 1024 * 1024) + 1)))
        return;
    fresh.clock = ++model->clock;
    if (entry == NULL && row->len < 8) {
        g_array_append_val(row, fresh);
        return;
    }
    for (guint i = 0; entry == NULL && i < row->len; i++) {
        Entry *other = &g_array_index(row, Entry, i);
        gboolean oldest = TRUE;

        for (guint j = 0; j < row->len; j++)
            oldest = oldest && other->clock <= g_array_index(row, Entry, j).clock;
        if (oldest && model->clock - other->clock > 16384)
            entry = other;
    }
    if (entry != NULL)
        *entry = fresh;
}

/* ---- pages ----------------------------------------------------------------------------------- */

static const guint8 *
page_of(guint content)
{
    static guint8 page[PAGE_BYTES];

    for (guint i = 0; i < PAGE_BYTES; i += sizeof content)
        memcpy(page + i, &content, sizeof content);
    return page;
}

static void
assert_has(const PageCache *cache, guint64 address, guint content)
{
    const guint8 *page = page_cache_find(cache, address);

    g_assert_nonnull(page);
    g_assert_cmpmem(page, PAGE_BYTES, page_of(content), PAGE_BYTES);
}

static guint64
at(guint64 number)
{
    return number * PAGE_BYTES;
}

/* The first time it is met, the second time it is kept, then it follows. */
static void
test_second_time(void)
{
    g_autoptr(PageCache) cache = page_cache_new();

    g_assert_null(page_cache_find(cache, at(7)));
    page_cache_take(cache, at(7), page_of(1));
    g_assert_null(page_cache_find(cache, at(7)));
    for (guint i = 2; i < 5; i++) {
        page_cache_take(cache, at(7), page_of(i));
        assert_has(cache, at(7), i);
        g_assert_null(page_cache_find(cache, at(8)));
        g_assert_null(page_cache_find(cache, at(7 + PAGE_CACHE_SEEN)));
    }
    /* Met already, as far as the bits tell; the last of all addresses, too. */
    page_cache_take(cache, at(7 + PAGE_CACHE_SEEN), page_of(9));
    assert_has(cache, at(7 + PAGE_CACHE_SEEN), 9);
    assert_has(cache, at(7), 4);
    page_cache_take(cache, at(G_MAXUINT64), page_of(10));
    page_cache_take(cache, at(G_MAXUINT64), page_of(11));
    assert_has(cache, at(G_MAXUINT64), 11);
    page_cache_free(NULL);
}

/* Memory of all sizes, hot parts of it, and addresses that nobody has. */
static guint64
random_address(GRand *rand)
{
    switch (g_rand_int_range(rand, 0, 8)) {
    case 0:
        return at((guint64)g_rand_int(rand) << g_rand_int_range(rand, 0, 20));
    case 1:
    case 2:
        return at((guint64)g_rand_int_range(rand, 0, 60000));
    case 3:
        return at((guint64)g_rand_int_range(rand, 0, 100) * 2048);
    default:
        return at(5000 + (guint64)g_rand_int_range(rand, 0, 9000));
    }
}

static void
test_rule(void)
{
    g_autoptr(PageCache) cache = page_cache_new();
    g_autoptr(GRand) rand = g_rand_new_with_seed(1);
    Model model = model_new();
    guint found = 0, full = 0;

    for (guint i = 0; i < 300000; i++) {
        guint64 address = random_address(rand);
        const Entry *entry = model_find(&model, address);

        if (entry == NULL) {
            g_assert_null(page_cache_find(cache, address));
        } else {
            assert_has(cache, address, entry->content);
            found++;
        }
        full += model_row(&model, address)->len == 8;
        page_cache_take(cache, address, page_of(i));
        model_take(&model, address, i);
    }
    g_test_message("%u found, %u in full rows", found, full);
    g_assert_cmpuint(found, >, 50000);
    g_assert_cmpuint(full, >, 50000);
    model_clear(&model);
}

/* Passes over pages that are written all the time. Part of them found in the last one, per 1000. */
static guint
found_of(guint pages, guint passes)
{
    g_autoptr(PageCache) cache = page_cache_new();
    guint found = 0;

    for (guint pass = 0; pass < passes; pass++) {
        found = 0;
        for (guint64 i = 0; i < pages; i++) {
            guint64 address = at(i * 37 % 100003); /* scattered, in any order */

            found += page_cache_find(cache, address) != NULL;
            page_cache_take(cache, address, page_of(pass));
        }
    }
    g_test_message("%u pages: %u found", pages, found);
    return found * 1000 / pages;
}

/* What fits is nearly all there from the third pass on; of twice as much a good part is. */
static void
test_passes(void)
{
    g_assert_cmpuint(found_of(500, 2), ==, 0);
    g_assert_cmpuint(found_of(500, 3), ==, 1000);
    g_assert_cmpuint(found_of(PAGE_CACHE_PAGES / 2, 3), >=, 950);
    g_assert_cmpuint(found_of(PAGE_CACHE_PAGES * 3 / 4, 4), >=, 880);
    g_assert_cmpuint(found_of(PAGE_CACHE_PAGES * 2, 4), >=, 450);
}

/* What isn't written any more makes room. */
static void
test_room(void)
{
    g_autoptr(PageCache) cache = page_cache_new();
    guint found = 0;

    for (guint pass = 0; pass < 3; pass++) {
        for (guint64 i = 0; i < 4 * PAGE_CACHE_PAGES; i++)
            page_cache_take(cache, at(i), page_of(1));
    }
    for (guint pass = 0; pass < 8; pass++) {
        found = 0;
        for (guint64 i = 0; i < PAGE_CACHE_PAGES / 2; i++) {
            found += page_cache_find(cache, at(200000 + i)) != NULL;
            page_cache_take(cache, at(200000 + i), page_of(2));
        }
    }
    g_assert_cmpuint(found, >, PAGE_CACHE_PAGES / 2 * 95 / 100);
}

static gsize
resident(void)
{
    g_autofree char *text = NULL;

    g_assert_true(g_file_get_contents("/proc/self/statm", &text, NULL, NULL));
    return g_ascii_strtoull(strchr(text, ' '), NULL, 10) * (gsize)sysconf(_SC_PAGESIZE);
}

/* A first pass over 4 GiB takes no more than its bits and what is looked at. */
static void
test_memory(void)
{
    g_autoptr(PageCache) cache = page_cache_new();
    const guint8 *page = page_of(1);
    gsize before = resident();

    for (guint64 i = 0; i < 1 << 20; i++)
        page_cache_take(cache, at(i), page);
    g_assert_cmpuint(resident(), <, before + (2u << 20));
}

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/flyway/page-cache/second-time", test_second_time);
    g_test_add_func("/flyway/page-cache/rule", test_rule);
    g_test_add_func("/flyway/page-cache/passes", test_passes);
    g_test_add_func("/flyway/page-cache/room", test_room);
    g_test_add_func("/flyway/page-cache/memory", test_memory);
    return g_test_run();
}
