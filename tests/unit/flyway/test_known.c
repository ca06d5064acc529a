/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Both ends of a stream lane, with recall: a VM's memory goes to and fro between two hosts, its
 * sets are kept, damaged, cut and lost, and what arrives is always what was sent.
 */
#include "flyway/known.h"

#include <poll.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include "base/fd.h"
#include "flyway/packer.h"
#include "flyway/tools.h"
#include "flyway/unpacker.h"
#include "stream_kit.h"

#define PAGES 3000u
#define PATIENCE_MS 40000
#define SETS 4u

/* ---- hosts ----------------------------------------------------------------------------------- */

/* A set's files on one host. */
typedef struct {
    guint8 id[RECALL_ID_SIZE];
    int index_fd, pages_fd;
} Set;

typedef struct {
    Set sets[SETS];
    guint n;
} Host;

/* Two hosts and the VM: what each of its pages holds. */
typedef struct {
    Host hosts[2];
    guint versions[PAGES]; /* 0: a zero page */
    guint8 key[RECALL_KEY_SIZE];
    guint moves;
} World;

/* How the next move differs from an ordinary one. */
typedef struct {
    gboolean other_key; /* the destination's group has another one */
    guint64
        max_bytes[2]; /* of the source's and the destination's set; 0: enough; 1: none is made */
    guint64 room;     /* of the lane's window; 0: 1 MiB */
} Twist;

/* What came of it. */
typedef struct {
    PackerCounts pages;
    guint64 payload, again;
    guint misses;
    KnownCounts known[2];
    int sealed[2];
} Outcome;

static void
world_up(World *world)
{
    *world = (World){ 0 };
    memset(world->key, 7, sizeof world->key);
    for (guint i = 0; i < PAGES; i++)
        world->versions[i] = i % 4 == 0 ? 0 : 1;
}

static void
world_down(World *world)
{
    for (guint side = 0; side < 2; side++) {
        for (guint i = 0; i < world->hosts[side].n; i++) {
            close(world->hosts[side].sets[i].index_fd);
            close(world->hosts[side].sets[i].pages_fd);
        }
    }
}

/* Every nth page changes. */
static void
change(World *world, guint nth)
{
    for (guint i = 1; i < PAGES; i += nth)
        world->versions[i]++;
}

/* Every third page doesn't compress; every fifth one is like 40 others. */
static void
put_page(GByteArray *stream, guint32 number, guint version)
{
    guint32 seed = (number % 5 == 0 ? number % 7 : number) * 1000 + version;
    g_autoptr(GRand) rand = g_rand_new_with_seed(seed);
    guint32 page[PAGE_BYTES / 4];

    put(stream, (guint64)number << 12 | (version == 0 ? 0x22 : 0x28), 8);
    if (version == 0) {
        put(stream, 0, 1);
        return;
    }
    for (guint i = 0; i < G_N_ELEMENTS(page); i++)
        page[i] = seed % 3 == 0 ? g_rand_int(rand) : seed + i / 16;
    g_byte_array_append(stream, (const guint8 *)page, sizeof page);
}

/* All of the VM's memory, then some pages once more. */
static GByteArray *
memory_stream(const World *world)
{
    GByteArray *stream = g_byte_array_new();

    begin_stream(stream, "pc.ram");
    put(stream, PAGES << 12 | 0x02, 8); /* names the block */
    put_text(stream, "pc.ram");
    put(stream, 0, 1);
    for (guint i = 0; i < PAGES; i++)
        put_page(stream, i, world->versions[i]);
    for (guint i = 0; i < PAGES; i += 10)
        put_page(stream, i, world->versions[i]);
    put(stream, 0x10, 8);
    return stream;
}

static int
memory_file(void)
{
    int fd = memfd_create("set", MFD_CLOEXEC);

    g_assert_cmpint(fd, >=, 0);
    return fd;
}

/* ---- sets ------------------------------------------------------------------------------------ */

static RecallFiles
files_of(const Host *host, const Set *set)
{
    guint8 bytes[RECALL_INDEX_HEADER_SIZE] = { 0 };
    RecallFiles files = { .index_fd = dup(set->index_fd) };
    RecallHeader header;
    const char *why;

    for (guint i = 0; i < RECALL_SEGMENTS_MAX; i++)
        files.segment_fds[i] = -1;
    if (pread(set->index_fd, bytes, sizeof bytes, 0) != (ssize_t)sizeof bytes ||
        recall_header_decode(bytes, sizeof bytes, &header, &why) < 0)
        return files;
    for (guint i = 0; i < header.n_segments; i++) {
        for (guint j = 0; j < host->n; j++) {
            if (memcmp(host->sets[j].id, header.segments[i].id, RECALL_ID_SIZE) == 0)
                files.segment_fds[i] = dup(host->sets[j].pages_fd);
        }
    }
    return files;
}

/* One side's, with the newest two sets, and files for a new one. */
static Known *
make_known(World *world, guint host, gboolean is_source, const Twist *twist)
{
    guint8 id[RECALL_ID_SIZE] = { (guint8)(world->moves + 1) }, key[RECALL_KEY_SIZE];
    Host *at = &world->hosts[host];
    guint64 max_bytes = twist->max_bytes[is_source ? 0 : 1];
    Set *own = &at->sets[at->n];
    Known *known;

    memcpy(key, world->key, sizeof key);
    if (twist->other_key && !is_source)
        key[0]++;
    known = known_new(is_source ? FLYWAY_SOURCE : FLYWAY_DESTINATION, id, key);
    g_assert_nonnull(known);
    for (guint i = at->n; i > 0 && i + 2 > at->n; i--) {
        RecallFiles files = files_of(at, &at->sets[i - 1]);

        (void)known_add_set(known, at->sets[i - 1].id, &files);
    }
    if (max_bytes == 1)
        return known;
    g_assert_cmpuint(at->n, <, SETS);
    *own = (Set){ .index_fd = memory_file(), .pages_fd = memory_file() };
    memcpy(own->id, id, sizeof id);
    g_assert_cmpint(known_keep(known, dup(own->index_fd), dup(own->pages_fd),
                               max_bytes > 0 ? max_bytes : 1 << 30),
                    ==, 0);
    return known;
}

/* The session is over: is there a set? */
static int
seal(World *world, guint host, Known *known)
{
    Host *at = &world->hosts[host];
    gboolean keeps = known_keeps(known);
    int result = known_seal(known);

    if (result == 0) {
        at->n++;
    } else if (keeps) {
        close(at->sets[at->n].index_fd);
        close(at->sets[at->n].pages_fd);
    }
    return result;
}

static void
agree(Known *source, Known *destination)
{
    FrameSets offer, answer;

    known_offer(source, &offer);
    known_answer(destination, &offer, &answer);
    g_assert_cmpint(known_agree(source, &answer), ==, 0);
}

/* ---- a move ---------------------------------------------------------------------------------- */

typedef struct {
    Crew *crews[2];
    Known *known[2];
    Packer *packer;
    Unpacker *unpacker;
    const GByteArray *input;
    gsize fed, sent, taken;
    gsize room;
    Outcome *outcome;
} Lane;

static void
feed(Lane *lane)
{
    gsize room;
    guint8 *at = packer_room(lane->packer, &room);

    g_assert_false(packer_is_aside(lane->packer)); /* the link is slow */
    room = MIN(room, lane->input->len - lane->fed);
    if (room > 0) {
        memcpy(at, lane->input->data + lane->fed, room);
        lane->fed += room;
        packer_filled(lane->packer, room);
    }
    if (lane->fed == lane->input->len)
        packer_flush(lane->packer);
    packer_run(lane->packer);
}

static void
send_batches(Lane *lane)
{
    const PageBatch *batch;
    Fault fault = { 0 };
    guint32 number;

    while ((batch = packer_again(lane->packer, &number)) != NULL) {
        lane->outcome->again++;
        g_assert_true(
            unpacker_again(lane->unpacker, number, batch->payload, batch->payload_length, &fault));
        packer_sent_again(lane->packer);
    }
    while ((batch = packer_ready(lane->packer)) != NULL &&
           lane->sent + batch->raw_length - lane->taken <= lane->room) {
        lane->outcome->payload += batch->payload_length;
        lane->sent += batch->raw_length;
        g_assert_true(unpacker_batch(lane->unpacker, batch->payload, batch->payload_length,
                                     PAGE_BATCH_RAW, &fault));
        packer_sent(lane->packer);
        packer_run(lane->packer);
    }
}

static void
deliver(Lane *lane)
{
    const guint8 *bytes;
    Fault fault = { 0 };
    guint32 batch, set;
    gsize length;

    while ((bytes = unpacker_ready(lane->unpacker, &length, &fault)) != NULL) {
        g_assert_cmpuint(lane->taken + length, <=, lane->input->len);
        g_assert_cmpint(memcmp(bytes, lane->input->data + lane->taken, length), ==, 0);
        lane->taken += length;
        unpacker_taken(lane->unpacker);
        packer_delivered(lane->packer, length);
    }
    g_assert_cmpstr(fault.set ? fault.text : "", ==, "");
    if (unpacker_misses(lane->unpacker, &batch, &set)) {
        lane->outcome->misses++;
        g_assert_true(packer_missed(lane->packer, batch, set));
    }
    if (unpacker_kept(lane->unpacker) != G_MAXUINT32)
        known_ended(lane->known[0], unpacker_kept(lane->unpacker));
}

static void
wait_for_crews(Lane *lane)
{
    struct pollfd entries[2];

    for (guint i = 0; i < 2; i++)
        entries[i] = (struct pollfd){ .fd = crew_fd(lane->crews[i]), .events = POLLIN };
    g_assert_cmpint(poll(entries, 2, PATIENCE_MS), >, 0);
    for (guint i = 0; i < 2; i++) {
        if (entries[i].revents != 0)
            crew_notice(lane->crews[i]);
    }
}

static void
carry(Lane *lane)
{
    while (lane->taken < lane->input->len) {
        gsize fed = lane->fed, sent = lane->sent, taken = lane->taken;
        guint again = lane->outcome->misses;

        feed(lane);
        send_batches(lane);
        deliver(lane);
        if (fed == lane->fed && sent == lane->sent && taken == lane->taken &&
            again == lane->outcome->misses)
            wait_for_crews(lane);
    }
    g_assert_true(packer_is_empty(lane->packer));
    g_assert_cmpuint(unpacker_bytes(lane->unpacker), ==, 0);
}

/* The VM moves from a host to the other. */
static Outcome
move(World *world, guint from, const Twist *twist)
{
    static const Twist none = { 0 };
    g_autoptr(GByteArray) input = memory_stream(world);
    Outcome outcome = { 0 };
    Lane lane = { .input = input, .outcome = &outcome, .room = 1 << 20 };

    twist = twist != NULL ? twist : &none;
    if (twist->room > 0)
        lane.room = twist->room;
    for (guint i = 0; i < 2; i++)
        lane.known[i] = make_known(world, i == 0 ? from : 1 - from, i == 0, twist);
    agree(lane.known[0], lane.known[1]);
    lane.crews[0] = crew_new(2, tools_new, tools_free);
    lane.crews[1] = crew_new(1, tools_new, tools_free);
    lane.packer = packer_new(lane.crews[0], lane.known[0], &outcome.pages);
    lane.unpacker = unpacker_new(lane.crews[1], lane.known[1]);
    carry(&lane);
    packer_free(lane.packer);
    unpacker_free(lane.unpacker);
    for (guint i = 0; i < 2; i++) {
        crew_free(lane.crews[i]);
        outcome.sealed[i] = seal(world, i == 0 ? from : 1 - from, lane.known[i]);
        known_counts(lane.known[i], &outcome.known[i]);
        known_free(lane.known[i]);
    }
    world->moves++;
    return outcome;
}

/* ---- tests ----------------------------------------------------------------------------------- */

static void
test_there_and_back(void)
{
    World world;
    Outcome outcome;
    guint64 first;

    world_up(&world);
    outcome = move(&world, 0, NULL);
    g_assert_cmpuint(outcome.pages.recalled, ==, 0);
    g_assert_cmpuint(outcome.pages.same, >, 500); /* like others, and the second time */
    g_assert_cmpint(outcome.sealed[0], ==, 0);
    g_assert_cmpint(outcome.sealed[1], ==, 0);
    g_assert_cmpuint(outcome.known[0].pages, ==, outcome.known[1].pages);
    first = outcome.payload;

    change(&world, 10);
    outcome = move(&world, 1, NULL);
    g_assert_cmpuint(outcome.known[0].sets, ==, 1);
    g_assert_cmpuint(outcome.pages.recalled, >, 1500);
    g_assert_cmpuint(outcome.known[0].found, ==, outcome.pages.recalled);
    g_assert_cmpuint(outcome.payload, <, first / 4);
    g_assert_cmpuint(outcome.misses, ==, 0);
    g_assert_cmpuint(outcome.known[0].pages, ==, outcome.known[1].pages);

    /* The last set has the pages that were recalled, too; they lie in the first one's file. */
    change(&world, 10);
    outcome = move(&world, 0, NULL);
    g_assert_cmpuint(outcome.known[0].sets, ==, 2);
    g_assert_cmpuint(outcome.pages.recalled, >, 1500);
    g_assert_cmpuint(outcome.misses, ==, 0);
    world_down(&world);
}

static void
test_other_key(void)
{
    const Twist twist = { .other_key = TRUE };
    World world;
    Outcome outcome;

    world_up(&world);
    move(&world, 0, NULL);
    outcome = move(&world, 1, &twist);
    g_assert_cmpuint(outcome.known[0].sets, ==, 0);
    g_assert_cmpuint(outcome.pages.recalled + outcome.pages.same, ==, 0);
    g_assert_cmpint(outcome.sealed[0], ==, -ENODATA); /* nothing was named */
    world_down(&world);
}

/* The destination, or the source, has no more room in the middle: what it has serves later. */
static void
test_quota(gconstpointer data)
{
    const Twist *twist = data;
    World world;
    Outcome outcome;
    guint64 kept;

    world_up(&world);
    outcome = move(&world, 0, twist);
    g_assert_cmpint(outcome.sealed[0], ==, 0);
    g_assert_cmpint(outcome.sealed[1], ==, 0);
    g_assert_cmpuint(outcome.known[0].pages, !=, outcome.known[1].pages);
    kept = MIN(outcome.known[0].pages, outcome.known[1].pages);
    outcome = move(&world, 1, NULL);
    g_assert_cmpuint(outcome.known[0].sets, ==, 1);
    g_assert_cmpuint(outcome.pages.recalled, >=, kept);
    g_assert_cmpuint(outcome.pages.recalled, <, 1500);
    world_down(&world);
}

static void
test_no_store(gconstpointer data)
{
    World world;
    Outcome outcome;

    world_up(&world);
    move(&world, 0, data);
    outcome = move(&world, 1, NULL);
    g_assert_cmpuint(outcome.known[0].sets, ==, 0);
    g_assert_cmpuint(outcome.pages.recalled, ==, 0);
    g_assert_cmpint(outcome.sealed[0], ==, 0);
    world_down(&world);
}

static void
flip(int fd, GRand *rand, off_t from)
{
    off_t size = lseek(fd, 0, SEEK_END), at = g_rand_int_range(rand, (gint32)from, (gint32)size);
    guint8 byte;

    g_assert_cmpint(pread(fd, &byte, 1, at), ==, 1);
    byte ^= (guint8)(1 << g_rand_int_range(rand, 0, 8));
    g_assert_cmpint(pwrite(fd, &byte, 1, at), ==, 1);
}

/* Chunks of the destination's, and of the source's, file are damaged. */
static void
test_damaged_pages(void)
{
    g_autoptr(GRand) rand = g_rand_new_with_seed(3);

    for (guint round = 0; round < 8; round++) {
        World world;
        Outcome outcome;

        world_up(&world);
        move(&world, 0, NULL);
        for (guint i = 0; i < 1 + round; i++) {
            flip(world.hosts[0].sets[0].pages_fd, rand, RECALL_PAGES_HEADER_SIZE);
            flip(world.hosts[1].sets[0].pages_fd, rand, RECALL_PAGES_HEADER_SIZE);
        }
        outcome = move(&world, 1, NULL);
        g_assert_cmpuint(outcome.misses, >, 0);
        g_assert_cmpuint(outcome.again, >=, outcome.misses);
        g_assert_cmpuint(outcome.pages.recalled, >, 500);
        g_assert_cmpuint(outcome.known[0].pages, ==, outcome.known[1].pages);
        /* What was missed was stored anew: the next one doesn't miss it, but for the other host's.
         */
        outcome = move(&world, 0, NULL);
        g_assert_cmpuint(outcome.pages.recalled, >, 500);
        world_down(&world);
    }
}

/* All of the destination's pages are gone: some misses, then the set isn't used. */
static void
test_lost_pages(gconstpointer data)
{
    const Twist *twist = data;
    World world;
    Outcome outcome;

    world_up(&world);
    move(&world, 0, NULL);
    g_assert_cmpint(ftruncate(world.hosts[0].sets[0].pages_fd, RECALL_PAGES_HEADER_SIZE + 5), ==,
                    0);
    outcome = move(&world, 1, twist);
    g_assert_cmpuint(outcome.misses, >=, 10);
    g_assert_cmpuint(outcome.misses, <=, 40);
    world_down(&world);
}

static void
test_damaged_index(void)
{
    g_autoptr(GRand) rand = g_rand_new_with_seed(5);

    for (guint host = 0; host < 2; host++) {
        World world;
        Outcome outcome;

        world_up(&world);
        move(&world, 0, NULL);
        flip(world.hosts[host].sets[0].index_fd, rand, 0);
        outcome = move(&world, 1, NULL);
        g_assert_cmpuint(outcome.known[0].sets, ==, 0);
        g_assert_cmpuint(outcome.pages.recalled, ==, 0);
        world_down(&world);
    }
}

/* What no honest source says. */
static void
test_bad_references(void)
{
    static const guint8 id[RECALL_ID_SIZE] = { 1 }, key[RECALL_KEY_SIZE] = { 2 };
    static const PageReference references[] = { { 1, 0 }, { 9, 0 }, { G_MAXUINT32, 7 }, { 0, 0 } };
    g_autoptr(Known) known = known_new(FLYWAY_DESTINATION, id, key);
    guint8 page[PAGE_BYTES];

    for (guint i = 0; i < G_N_ELEMENTS(references); i++)
        g_assert_cmpint(known_destination.fetch(known, &references[i], page), ==, -EPROTO);
}

/* What no honest destination answers. */
static void
test_bad_answers(void)
{
    static const guint8 id[RECALL_ID_SIZE] = { 1 }, key[RECALL_KEY_SIZE] = { 2 };
    g_autoptr(Known) known = known_new(FLYWAY_SOURCE, id, key);
    FrameSets answer;

    known_offer(known, &answer);
    answer.n = 1;
    g_assert_cmpint(known_agree(known, &answer), ==, -EPROTO);
    g_assert_cmpint(known_agree(NULL, &answer), ==, -EPROTO);
    answer.n = 0;
    g_assert_cmpint(known_agree(NULL, &answer), ==, 0);
    g_assert_cmpint(known_agree(known, &answer), ==, 0);
    g_assert_false(known_is_useful(known));
    g_assert_false(known_missed(known, 5));
}

int
main(int argc, char **argv)
{
    static const Twist short_here = { .max_bytes = { 1 << 20, 0 } };
    static const Twist short_there = { .max_bytes = { 0, 1 << 20 } };
    static const Twist none_here = { .max_bytes = { 1, 0 } };
    static const Twist none_there = { .max_bytes = { 0, 1 } };
    static const Twist long_path = { .room = 8 << 20 };

    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/flyway/known/there-and-back", test_there_and_back);
    g_test_add_func("/flyway/known/other-key", test_other_key);
    g_test_add_data_func("/flyway/known/quota-at-source", &short_here, test_quota);
    g_test_add_data_func("/flyway/known/quota-at-destination", &short_there, test_quota);
    g_test_add_data_func("/flyway/known/no-store-at-source", &none_here, test_no_store);
    g_test_add_data_func("/flyway/known/no-store-at-destination", &none_there, test_no_store);
    g_test_add_func("/flyway/known/damaged-pages", test_damaged_pages);
    g_test_add_data_func("/flyway/known/lost-pages", NULL, test_lost_pages);
    g_test_add_data_func("/flyway/known/lost-pages-on-a-long-path", &long_path, test_lost_pages);
    g_test_add_func("/flyway/known/damaged-index", test_damaged_index);
    g_test_add_func("/flyway/known/bad-references", test_bad_references);
    g_test_add_func("/flyway/known/bad-answers", test_bad_answers);
    return g_test_run();
}
