/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The adaptive policy against simulated sources, codecs and links: never more than a tenth slower
 * than passing bytes on, near the best that can be done on a slow link, and calm.
 */
#include "flyway/policy.h"

#define MBIT (1e6 / 8)
#define BATCH 131072.0
#define QUEUE_BYTES (2 * 1024 * 1024.0) /* that may wait for the link */

/** What is true in the simulation, unknown to the policy. */
typedef struct {
    guint threads;
    double link_bps;
    double source_bps;          /* what QEMU can deliver; 0: no limit */
    double hash_s;              /* per page byte */
    double pack_s[PAGE_LEVELS]; /* per plain byte */
    double ratio[PAGE_LEVELS];
    double pages;  /* of raw bytes, not zero pages */
    double unseen; /* of pages, not known at the destination */
    double noise;  /* part of each measure */
    guint hiccup;  /* each so-manieth report says that the link was the limit; 0: none does */
} World;

typedef struct {
    Policy policy;
    World world;
    GRand *rand;
    /* seconds: when the source, the codec, the link are free again; when policy_interval() comes */
    double source, codec, link, report, last_report;
    double blocked, starved, sent, raw;
    double total; /* payload bytes */
    guint reports;
    guint used[POLICY_WAYS];
} Simulation;

static const World epyc = {
    .threads = 1,
    .link_bps = 1000 * MBIT,
    .hash_s = 0.8e-9,
    .pack_s = { 0.08e-9, 1.0e-9, 2.5e-9, 5.0e-9 },
    .ratio = { 1.0, 0.33, 0.2, 0.18 },
    .pages = 1,
    .unseen = 0.9,
    .noise = 0.1,
};

static void
simulation_init(Simulation *simulation, const World *world)
{
    *simulation = (Simulation){ .world = *world };
    simulation->rand = g_rand_new_with_seed(11);
    simulation->report = 0.02;
    policy_init(&simulation->policy, world->threads);
}

static double
noisy(Simulation *simulation, double value)
{
    double noise = simulation->world.noise;

    return value * g_rand_double_range(simulation->rand, 1 - noise, 1 + noise + 1e-9);
}

/* What a batch costs: seconds of a thread, bytes on the wire. */
static void
cost_of(const World *world, PolicyWay way, double *plain, double *hash_s, double *pack_s)
{
    gboolean hashes = policy_hashes(way);

    *plain = BATCH * world->pages * (hashes ? world->unseen : 1);
    *hash_s = hashes ? BATCH * world->pages * world->hash_s : 0;
    *pack_s = *plain * world->pack_s[policy_level(way)];
}

/* The link carries payload from when the codec is done; the time it had some waiting is "blocked".
 */
static void
carry(Simulation *simulation, double payload)
{
    double start = MAX(simulation->codec, simulation->link);
    double took = payload / simulation->world.link_bps;

    simulation->blocked += MAX(0, MIN(took, simulation->link - simulation->codec));
    simulation->link = start + took;
    simulation->sent += payload;
    simulation->total += payload;
    /* The queue is bounded: the codec waits. */
    simulation->codec =
        MAX(simulation->codec, simulation->link - QUEUE_BYTES / simulation->world.link_bps);
}

static void
report(Simulation *simulation)
{
    PolicyInterval link = { .seconds = simulation->link - simulation->last_report,
                            .raw_bytes = (guint64)simulation->raw,
                            .sent_bytes = (guint64)simulation->sent };

    if (simulation->link < simulation->report)
        return;
    link.blocked = MIN(1, simulation->blocked / link.seconds);
    if (simulation->world.hiccup > 0 && ++simulation->reports % simulation->world.hiccup == 0)
        link.blocked = 0.6;
    link.starved = MIN(1, simulation->starved / link.seconds);
    policy_interval(&simulation->policy, &link);
    simulation->blocked = simulation->starved = simulation->sent = simulation->raw = 0;
    simulation->last_report = simulation->link;
    simulation->report = simulation->link + 0.1;
}

static void
run(Simulation *simulation, double bytes)
{
    for (double done = 0; done < bytes; done += BATCH) {
        const World *world = &simulation->world;
        PolicyWay way = policy_choose(&simulation->policy);
        double plain, hash_s, pack_s, payload;
        PolicySample sample;

        cost_of(world, way, &plain, &hash_s, &pack_s);
        hash_s = noisy(simulation, hash_s);
        pack_s = noisy(simulation, pack_s);
        payload = noisy(simulation, plain * world->ratio[policy_level(way)]);
        sample = (PolicySample){
            way,    BATCH, (guint32)(BATCH * world->pages), (guint32)plain, (guint32)payload,
            hash_s, pack_s
        };
        policy_packed(&simulation->policy, &sample);
        if (world->source_bps > 0)
            simulation->source += BATCH / world->source_bps;
        simulation->starved += MAX(0, simulation->source - simulation->codec);
        simulation->raw += BATCH;
        simulation->codec = MAX(simulation->codec, simulation->source);
        simulation->codec += (hash_s + pack_s) / world->threads;
        carry(simulation, payload);
        report(simulation);
        simulation->used[way]++;
    }
}

/* Seconds that bytes take if one way is kept to. */
static double
seconds_with(const World *world, PolicyWay way, double bytes)
{
    double plain, hash_s, pack_s, slowest;

    cost_of(world, way, &plain, &hash_s, &pack_s);
    slowest = MAX((hash_s + pack_s) / world->threads,
                  plain * world->ratio[policy_level(way)] / world->link_bps);
    if (world->source_bps > 0)
        slowest = MAX(slowest, BATCH / world->source_bps);
    return slowest * bytes / BATCH;
}

static double
seconds_at_best(const World *world, double bytes)
{
    double best = seconds_with(world, POLICY_PASS, bytes);

    for (guint way = POLICY_RAW; way < POLICY_WAYS; way++)
        best = MIN(best, seconds_with(world, way, bytes));
    return best;
}

static double
took(const Simulation *simulation)
{
    return MAX(simulation->codec, simulation->link);
}

static void
check(const Simulation *simulation, double seconds, double pass, double best)
{
    g_test_message(
        "link %.0f Mbit/s, %u threads, source %.0f MB/s, unseen %.2f: %.2f s, pass %.2f, "
        "best %.2f; used %u %u %u %u %u, %u changes",
        simulation->world.link_bps / MBIT, simulation->world.threads,
        simulation->world.source_bps / 1e6, simulation->world.unseen, seconds, pass, best,
        simulation->used[0], simulation->used[1], simulation->used[2], simulation->used[3],
        simulation->used[4], simulation->policy.changes);
    /* A quarter of a second to find out. */
    g_assert_cmpfloat(seconds, <, pass * 1.1 + 0.25);
    g_assert_cmpfloat(seconds, <, best / 0.7 + 0.4);
    g_rand_free(simulation->rand);
}

static const double rates[] = { 100, 200, 1000, 2500, 10000, 25000, 40000 };

/* All links, thread counts, shares of known pages, sources; 4 GB each. */
static void
test_matrix(void)
{
    static const double unseen[] = { 1.0, 0.4, 0.05 }, sources[] = { 0, 400e6, 1.5e9 };

    for (guint i = 0; i < G_N_ELEMENTS(rates) * 3 * 3 * 3; i++) {
        World world = epyc;
        Simulation simulation;

        world.link_bps = rates[i / 27] * MBIT;
        world.threads = 1u << 2 * (i / 9 % 3);
        world.unseen = unseen[i / 3 % 3];
        world.source_bps = sources[i % 3];
        simulation_init(&simulation, &world);
        run(&simulation, 4e9);
        check(&simulation, took(&simulation), seconds_with(&world, POLICY_PASS, 4e9),
              seconds_at_best(&world, 4e9));
        /* Once it knows it stays; looks at a link that may be faster get rare. */
        g_assert_cmpuint(simulation.policy.changes, <, 12 + 0.5 * took(&simulation));
    }
}

/* Memory that can't be packed: nothing is gained, and nothing lost. */
static void
test_incompressible(void)
{
    for (guint i = 0; i < G_N_ELEMENTS(rates); i++) {
        World world = epyc;
        Simulation simulation;

        for (guint level = 0; level < PAGE_LEVELS; level++)
            world.ratio[level] = 1;
        world.unseen = 1;
        world.link_bps = rates[i] * MBIT;
        world.threads = 2;
        simulation_init(&simulation, &world);
        run(&simulation, 4e9);
        check(&simulation, took(&simulation), seconds_with(&world, POLICY_PASS, 4e9),
              seconds_at_best(&world, 4e9));
        g_assert_cmpuint(simulation.used[POLICY_PASS] + simulation.used[POLICY_RAW], >,
                         4e9 / BATCH * 0.8);
    }
}

/* Some more bytes in a world that has changed; adds what they take if one way is kept to. */
static void
run_part(Simulation *simulation, double bytes, double *pass, double *best)
{
    run(simulation, bytes);
    *pass += seconds_with(&simulation->world, POLICY_PASS, bytes);
    *best += seconds_at_best(&simulation->world, bytes);
}

/* The link's rate changes in the middle, both ways. */
static void
test_link_changes(void)
{
    static const double pairs[][2] = { { 10000, 200 },  { 200, 10000 }, { 1000, 40000 },
                                       { 40000, 1000 }, { 100, 1000 },  { 2500, 100 } };

    for (guint i = 0; i < G_N_ELEMENTS(pairs); i++) {
        World world = epyc;
        Simulation simulation;
        double pass = 0, best = 0;

        world.threads = 2;
        world.link_bps = pairs[i][0] * MBIT;
        simulation_init(&simulation, &world);
        for (guint part = 0; part < 2; part++) {
            simulation.world.link_bps = pairs[i][part] * MBIT;
            run_part(&simulation, 8e9, &pass, &best);
        }
        /* What is on the way to a link that became slow needs its time. */
        check(&simulation, took(&simulation), pass + 0.3, best + 0.3);
    }
}

/* Other guests take the cores: zstd costs five times what it did; later they give them back. */
static void
test_codec_changes(void)
{
    World world = epyc;
    Simulation simulation;
    double pass = 0, best = 0;

    world.threads = 2;
    simulation_init(&simulation, &world);
    for (guint part = 0; part < 3; part++) {
        for (guint level = 1; level < PAGE_LEVELS; level++)
            simulation.world.pack_s[level] = epyc.pack_s[level] * (part == 1 ? 5 : 1);
        simulation.world.hash_s = epyc.hash_s * (part == 1 ? 5 : 1);
        run_part(&simulation, 6e9, &pass, &best);
    }
    check(&simulation, took(&simulation), pass, best);
}

/* Memory changes its kind: text, then noise, then text. */
static void
test_content_changes(void)
{
    World world = epyc;
    Simulation simulation;
    double pass = 0, best = 0;

    world.threads = 2;
    world.link_bps = 5000 * MBIT;
    simulation_init(&simulation, &world);
    for (guint part = 0; part < 3; part++) {
        for (guint level = 1; level < PAGE_LEVELS; level++)
            simulation.world.ratio[level] = part == 1 ? 1 : epyc.ratio[level];
        run_part(&simulation, 6e9, &pass, &best);
    }
    check(&simulation, took(&simulation), pass, best);
}

/* A slow link gets the best there is, a fast one the cheapest; a codec far from what was believed
 * at first is found out. */
static void
test_ends(void)
{
    World world = epyc;
    Simulation simulation;

    world.link_bps = 100 * MBIT;
    world.threads = 4;
    simulation_init(&simulation, &world);
    run(&simulation, 2e9);
    g_assert_cmpint(simulation.policy.way, ==, POLICY_ZSTD_BEST);
    g_rand_free(simulation.rand);

    world.link_bps = 40000 * MBIT;
    world.threads = 1;
    simulation_init(&simulation, &world);
    run(&simulation, 8e9);
    g_assert_cmpint(simulation.policy.way, ==, POLICY_PASS);
    g_rand_free(simulation.rand);

    /* QEMU is slow: no core is worn out for it on a fast link, but on a slow one bytes are saved.
     */
    world = epyc;
    world.threads = 16;
    world.link_bps = 40000 * MBIT;
    world.source_bps = 1e9;
    simulation_init(&simulation, &world);
    run(&simulation, 4e9);
    g_assert_cmpint(simulation.policy.way, ==, POLICY_RAW);
    g_rand_free(simulation.rand);
    world.threads = 1;
    world.link_bps = 1000 * MBIT;
    world.source_bps = 150e6;
    simulation_init(&simulation, &world);
    run(&simulation, 4e9);
    g_assert_cmpint(simulation.policy.way, >=, POLICY_ZSTD_FAST);
    g_rand_free(simulation.rand);

    /* As slow as a small ARM board's. */
    world = epyc;
    world.hash_s *= 20;
    for (guint level = 0; level < PAGE_LEVELS; level++)
        world.pack_s[level] *= 12;
    simulation_init(&simulation, &world);
    run(&simulation, 4e9);
    check(&simulation, took(&simulation), seconds_with(&world, POLICY_PASS, 4e9),
          seconds_at_best(&world, 4e9));
}

/* A guest that keeps all cores busy: QEMU has little, measures of time are wild, and now and then a
 * connection seems to be the limit. That is no fast link: bytes are saved. */
static void
test_busy_cores(void)
{
    for (guint hiccup = 0; hiccup < 12; hiccup++) {
        World world = epyc;
        Simulation simulation;

        world.source_bps = 35e6;
        world.noise = 0.8;
        world.unseen = 1;
        world.hiccup = hiccup;
        simulation_init(&simulation, &world);
        run(&simulation, 600e6);
        g_test_message("hiccup %u: used %u %u %u %u %u", hiccup, simulation.used[0],
                       simulation.used[1], simulation.used[2], simulation.used[3],
                       simulation.used[4]);
        g_assert_cmpuint(simulation.used[POLICY_PASS] + simulation.used[POLICY_RAW], <,
                         600e6 / BATCH * 0.05);
        g_rand_free(simulation.rand);
    }
}

/* Memory is text here and nearly nothing there, in turn, on cores that others use, too: a way that
 * was last tried on text isn't compared with one that met the other since. */
static void
test_patches(void)
{
    World world = epyc;
    Simulation simulation;
    double sent = 0, least = 0;

    world.source_bps = 100e6;
    world.unseen = 1;
    world.noise = 0.7;
    simulation_init(&simulation, &world);
    for (guint part = 0; part < 80; part++) {
        double factor = part % 2 == 0 ? 1 : 0.15;

        for (guint level = PAGE_LEVEL_LZ4; level < PAGE_LEVELS; level++) {
            simulation.world.pack_s[level] = epyc.pack_s[level] * 1.4 * factor;
            simulation.world.ratio[level] = epyc.ratio[level] * factor;
        }
        sent -= simulation.total;
        run(&simulation, 15e6 + part * 1e6);
        sent += simulation.total;
        least += (15e6 + part * 1e6) * simulation.world.ratio[PAGE_LEVEL_ZSTD_FAST];
    }
    g_test_message("used %u %u %u %u %u; sent %.2f of what zstd would", simulation.used[0],
                   simulation.used[1], simulation.used[2], simulation.used[3], simulation.used[4],
                   sent / least);
    g_assert_cmpfloat(sent, <, least * 1.2);
    g_rand_free(simulation.rand);
}

/* However few bytes zstd would send: not at the price of being slower than passing on. */
static void
test_thrift_has_limits(void)
{
    World world = epyc;
    Simulation simulation;

    world.link_bps = 3500 * MBIT;
    world.ratio[PAGE_LEVEL_ZSTD_FAST] = 0.02;
    world.ratio[PAGE_LEVEL_ZSTD_BEST] = 0.015;
    simulation_init(&simulation, &world);
    run(&simulation, 4e9);
    check(&simulation, took(&simulation), seconds_with(&world, POLICY_PASS, 4e9),
          seconds_at_best(&world, 4e9));
    g_assert_cmpint(simulation.policy.way, ==, POLICY_LZ4);
}

/* Trying other ways costs little, and each has its turn. */
static void
test_probes(void)
{
    World world = epyc;
    Simulation simulation;
    double spent = 0, all = 0;

    world.link_bps = 40000 * MBIT;
    simulation_init(&simulation, &world);
    run(&simulation, 40e9);
    for (guint way = 0; way < POLICY_WAYS; way++) {
        double plain, hash_s, pack_s;

        cost_of(&world, way, &plain, &hash_s, &pack_s);
        all += simulation.used[way] * (hash_s + pack_s);
        if (way != simulation.policy.way)
            spent += simulation.used[way] * (hash_s + pack_s);
        g_assert_cmpuint(simulation.used[way], >, 0);
    }
    g_test_message("%.3f of %.3f s for other ways", spent, all);
    g_assert_cmpfloat(spent, <, all * 0.1);
    g_rand_free(simulation.rand);
}

/* What says nothing changes nothing. */
static void
test_empty_reports(void)
{
    Policy policy, before;
    PolicySample none = { .way = POLICY_LZ4 };
    PolicyInterval link = { .seconds = 0, .sent_bytes = 1000, .blocked = 1 };

    policy_init(&policy, 1);
    before = policy;
    policy_packed(&policy, &none);
    policy_interval(&policy, &link);
    g_assert_cmpmem(&policy, sizeof policy, &before, sizeof before);
    /* Zero pages alone: no measure of packing. */
    for (guint i = 0; i < 1000; i++) {
        none = (PolicySample){ POLICY_ZSTD_BEST, 131072, 0, 20, 30, 1, 1 };
        policy_packed(&policy, &none);
    }
    g_assert_cmpfloat(policy.costs[PAGE_LEVEL_ZSTD_BEST].pack_s, ==,
                      before.costs[PAGE_LEVEL_ZSTD_BEST].pack_s);
    g_assert_cmpfloat(policy.hash_s, ==, before.hash_s);
    /* A stalled link, and one beyond all measure. */
    link = (PolicyInterval){ .seconds = 1, .sent_bytes = 0, .blocked = 1 };
    for (guint i = 0; i < 100; i++)
        policy_interval(&policy, &link);
    g_assert_cmpfloat(policy.link_bps, >, 0);
    link = (PolicyInterval){ .seconds = 1e-6, .sent_bytes = G_MAXUINT32, .blocked = 0 };
    for (guint i = 0; i < 100; i++)
        policy_interval(&policy, &link);
    g_assert_cmpfloat(policy_speed(&policy, POLICY_LZ4), >, 1e8);
}

static void
test_sample_and_names(void)
{
    PageCounts counts = {
        .zero = 100, .raw_bytes = 100000, .plain_bytes = 5000, .payload_bytes = 900
    };
    PolicySample sample = policy_sample(POLICY_LZ4, &counts, 0.25, 0.5);

    g_assert_cmpint(sample.way, ==, POLICY_LZ4);
    g_assert_cmpuint(sample.page_bytes, ==, 99100);
    g_assert_cmpuint(sample.plain_bytes, ==, 5000);
    g_assert_cmpuint(sample.payload_bytes, ==, 900);
    g_assert_cmpfloat(sample.prepare_s, ==, 0.25);
    g_assert_cmpfloat(sample.pack_s, ==, 0.5);
    g_assert_cmpstr(policy_name(POLICY_PASS), ==, "pass");
    g_assert_cmpstr(policy_name(POLICY_ZSTD_BEST), ==, "zstd-best");
    g_assert_false(policy_hashes(POLICY_PASS));
    g_assert_cmpint(policy_level(POLICY_ZSTD_FAST), ==, PAGE_LEVEL_ZSTD_FAST);
}

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/flyway/policy/matrix", test_matrix);
    g_test_add_func("/flyway/policy/incompressible", test_incompressible);
    g_test_add_func("/flyway/policy/link-changes", test_link_changes);
    g_test_add_func("/flyway/policy/codec-changes", test_codec_changes);
    g_test_add_func("/flyway/policy/content-changes", test_content_changes);
    g_test_add_func("/flyway/policy/ends", test_ends);
    g_test_add_func("/flyway/policy/busy-cores", test_busy_cores);
    g_test_add_func("/flyway/policy/patches", test_patches);
    g_test_add_func("/flyway/policy/thrift-has-limits", test_thrift_has_limits);
    g_test_add_func("/flyway/policy/probes", test_probes);
    g_test_add_func("/flyway/policy/empty-reports", test_empty_reports);
    g_test_add_func("/flyway/policy/sample-and-names", test_sample_and_names);
    return g_test_run();
}
