/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Theory of operation. Codec threads and connections work at the same time, so a way's speed is
 * that of the slower:
 *
 *     codec  threads / (pages x hash + plain x pack)      raw bytes per second
 *     link   link_bps / (plain x ratio)
 *
 * `pages` is what part of the stream isn't zero pages, `plain` what of it is left to pack after
 * references; hash and pack are seconds per byte, ratio is per plain byte, so that they hold
 * whatever the mixture. All are smoothed over some 32 batches. PASS hashes nothing and sends
 * `pages`.
 *
 * A speed beyond what QEMU delivers is worth nothing. On a link faster than LZ4, or MANY times as
 * fast as QEMU, the fastest way wins; but one that was never seen carrying SPARED_BPS is spared as
 * long as LZ4 keeps up with QEMU. On a slower one bytes count, too: a
 * way is worth speed x wire^-THRIFT, so that zstd is taken before LZ4 where it sends half as much
 * and is no more than 29 % slower; but never what is slower than PASS by more than 5 %, or than 0.7
 * of the fastest (3 % more or less, for who is in and who isn't). PASS itself counts for 5 % less
 * than it does, as what isn't hashed can't be recalled later. Among ways worth the same within 3 %
 * the cheapest wins.
 *
 * To change, CPU must be saved or 8 % be gained, and MIN_STAY batches and MIN_INTERVALS have gone
 * by. So no choice costs more than a tenth against PASS while the measures hold.
 *
 * The link's rate is only known while something waits for it. Then it is taken from what was sent.
 * Else what was sent is a lower bound, and after some patience, unless QEMU is the bottleneck and
 * the link's rate was seen before, the belief grows, so that a link that became faster is found;
 * each time that turns out wrong (a look that costs a few intervals), the patience is doubled, up
 * to 4 s, so that looks become rare. Without the growth the policy could get stuck: a codec that is
 * the bottleneck makes any link look slow. It doesn't grow beyond REACH times the most that was
 * sent, or would have been by PASS: enough for a cheaper way to be tried, and to send more; one
 * moment of saturation and then a slow QEMU are no sign of a link without limits.
 *
 * QEMU is believed to have no more than MORE times what it had of late: where guests keep all cores
 * busy neither link nor codec is the limit, whatever way is taken, and bytes may as well be saved.
 *
 * Memory isn't the same everywhere, nor are the cores as free all the time. So what a way costs is
 * a mean over some MiB for the present one and over several probes for another: one that follows
 * each patch of text or of nearly nothing would be compared with others' means, and the choice
 * would be late for each patch.
 *
 * Ways not in use are tried with single batches now and then, so seldom that it costs at most 1/32
 * of the codec's time; but not RAW on a slow link, which it would cost 5 % more bytes to learn what
 * copying costs.
 */
#include <math.h>
#include "flyway/policy.h"

#define SMOOTHING 32.0
#define PROBE_WEIGHT 4
#define FULL_WEIGHT_BYTES 65536.0
#define LOOK_EVERY 16 /* batches */
#define FIRST_LOOK 8  /* RAW, the beginning, is dear on a slow link */
#define MIN_STAY 64   /* batches, and */
#define MIN_INTERVALS 2
#define PROBE_EVERY 64
#define PROBE_SHARE 32.0
#define TIE 0.97
#define GAIN 1.08
#define PASS_WORTH 0.95
#define OUTLIER 2.0
#define FLOOR 0.7
#define UNFIT 0.5
#define SLACK 0.03
#define THRIFT 0.5
#define STARVED 0.2
#define MANY 8 /* a link so many times as fast as QEMU has bytes to spare */
#define DEMAND_MORE 1.25
#define DEMAND_MAX_BPS 1e13
#define MORE 1.5
#define PEAK_FADES 0.95 /* an interval */
#define LINK_START_BPS 1e9
#define SPARED_BPS 3e8
#define LINK_MAX_BPS 1e12
#define LINK_MIN_BPS 1e3
#define SATURATED 0.5
#define GROWTH 0.5 /* per second, in the first */
#define REACH 16.0
#define PATIENCE_S 0.5
#define PATIENCE_MAX_S 4.0
#define WIRE_MIN 1e-5 /* payload per raw byte: never nothing */

/* Where measuring starts: an EPYC of 2023. */
static const PolicyCost first_costs[PAGE_LEVELS] = {
    [PAGE_LEVEL_RAW] = { .pack_s = 0.1e-9, .ratio = 1.0 },
    [PAGE_LEVEL_LZ4] = { .pack_s = 1.2e-9, .ratio = 0.40 },
    [PAGE_LEVEL_ZSTD_FAST] = { .pack_s = 2.6e-9, .ratio = 0.28 },
    [PAGE_LEVEL_ZSTD_BEST] = { .pack_s = 4.5e-9, .ratio = 0.26 },
};
#define FIRST_HASH_S 0.85e-9

static const struct {
    const char *name;
    PagePackLevel level;
    gboolean hashes;
} ways[POLICY_WAYS] = {
    [POLICY_PASS] = { "pass", PAGE_LEVEL_RAW, FALSE },
    [POLICY_RAW] = { "raw", PAGE_LEVEL_RAW, TRUE },
    [POLICY_LZ4] = { "lz4", PAGE_LEVEL_LZ4, TRUE },
    [POLICY_ZSTD_FAST] = { "zstd-fast", PAGE_LEVEL_ZSTD_FAST, TRUE },
    [POLICY_ZSTD_BEST] = { "zstd-best", PAGE_LEVEL_ZSTD_BEST, TRUE },
};

void
policy_init(Policy *policy, guint threads)
{
    g_assert(threads > 0);
    *policy = (Policy){
        .threads = threads,
        .way = POLICY_RAW,
        .hash_s = FIRST_HASH_S,
        .pages = 1,
        .plain = 1,
        .link_bps = LINK_START_BPS,
        .demand_bps = DEMAND_MAX_BPS,
        .patience_s = PATIENCE_S,
        .hold_s = -PATIENCE_S,
        .since_change = MIN_STAY,
        .since_look = LOOK_EVERY - FIRST_LOOK,
        .intervals = MIN_INTERVALS - 1,
    };
    for (guint i = 0; i < PAGE_LEVELS; i++)
        policy->costs[i] = first_costs[i];
}

PolicySample
policy_sample(PolicyWay way, const PageCounts *counts, double prepare_s, double pack_s)
{
    return (PolicySample){
        .way = way,
        .raw_bytes = counts->raw_bytes,
        .page_bytes = counts->raw_bytes - 9 * counts->zero,
        .plain_bytes = counts->plain_bytes,
        .payload_bytes = counts->payload_bytes,
        .prepare_s = prepare_s,
        .pack_s = pack_s,
    };
}

static void
blend(double *smoothed, double value, double weight)
{
    *smoothed += (value - *smoothed) * weight;
}

/* Times: one batch that was interrupted says little. */
static void
blend_time(double *smoothed, double value, double weight)
{
    blend(smoothed, MIN(value, *smoothed * OUTLIER), weight);
}

static double
weight_of(guint32 bytes)
{
    return MIN(1.0, bytes / FULL_WEIGHT_BYTES) / SMOOTHING;
}

void
policy_packed(Policy *policy, const PolicySample *sample)
{
    PolicyCost *cost = &policy->costs[ways[sample->way].level];
    double weight = weight_of(sample->raw_bytes);

    if (sample->raw_bytes == 0)
        return;
    blend(&policy->pages, (double)sample->page_bytes / sample->raw_bytes, weight);
    if (ways[sample->way].hashes) {
        blend(&policy->plain, (double)sample->plain_bytes / sample->raw_bytes, weight);
        if (sample->page_bytes >= PAGE_BYTES)
            blend_time(&policy->hash_s, sample->prepare_s / sample->page_bytes,
                       weight_of(sample->page_bytes));
    }
    if (sample->plain_bytes < PAGE_BYTES)
        return;
    weight = weight_of(sample->plain_bytes);
    if (!cost->measured)
        weight *= SMOOTHING / 2;
    else if (sample->way != policy->way)
        weight *= PROBE_WEIGHT;
    blend_time(&cost->pack_s, sample->pack_s / sample->plain_bytes, weight);
    blend(&cost->ratio, (double)sample->payload_bytes / sample->plain_bytes, weight);
    cost->measured = TRUE;
}

/* Something waited: the rate is known. */
static void
saturated(Policy *policy, double rate)
{
    if (policy->confirmed_bps > 0 && rate < policy->link_bps * 0.97)
        policy->patience_s = MIN(policy->patience_s * 2, PATIENCE_MAX_S);
    policy->hold_s = policy->patience_s;
    policy->confirmed_bps = policy->seen_bps = rate;
    /* Down at once: a belief too high makes the link the bottleneck. */
    blend(&policy->link_bps, rate, rate < policy->link_bps ? 0.7 : 0.3);
}

/* Nothing waited: it may be faster than believed. */
static void
grow(Policy *policy, double seconds, double raw_bps)
{
    double most = REACH * MAX(policy->seen_bps, raw_bps), grown;

    policy->hold_s -= seconds;
    grown = policy->link_bps * (1 + GROWTH * (1 - 2 * policy->hold_s) * seconds);
    if (policy->hold_s <= 0)
        policy->link_bps = MAX(policy->link_bps, MIN(grown, most));
}

/* QEMU is the bottleneck where it keeps us waiting; else nobody knows what it could do, save that
 * it isn't a multiple of what it did. */
static void
learn_demand(Policy *policy, const PolicyInterval *interval, double raw_bps)
{
    policy->peak_bps = MAX(policy->peak_bps * PEAK_FADES, raw_bps);
    if (interval->starved < STARVED)
        policy->demand_bps = MIN(policy->demand_bps * 2, MORE * policy->peak_bps);
    else if (policy->demand_bps > raw_bps * 10)
        policy->demand_bps = raw_bps * DEMAND_MORE;
    else
        blend(&policy->demand_bps, raw_bps * DEMAND_MORE,
              interval->starved > SATURATED ? 0.7 : 0.3);
    policy->demand_bps = MAX(policy->demand_bps, LINK_MIN_BPS);
}

void
policy_interval(Policy *policy, const PolicyInterval *interval)
{
    double rate, raw_bps;

    if (!(interval->seconds > 0))
        return;
    policy->intervals++;
    rate = (double)interval->sent_bytes / interval->seconds;
    raw_bps = (double)interval->raw_bytes / interval->seconds;
    policy->seen_bps = MAX(policy->seen_bps, rate);
    learn_demand(policy, interval, raw_bps);
    if (policy->confirmed_bps > 0 && rate > policy->confirmed_bps * 1.2) {
        /* Faster than when it was last the bottleneck: it has changed. */
        policy->patience_s = PATIENCE_S;
        policy->hold_s = 0;
    }
    if (interval->blocked >= SATURATED) {
        saturated(policy, rate);
    } else {
        if (interval->starved < STARVED || policy->confirmed_bps == 0)
            grow(policy, interval->seconds, raw_bps);
        policy->link_bps = MAX(policy->link_bps, rate);
    }
    policy->link_bps = CLAMP(policy->link_bps, LINK_MIN_BPS, LINK_MAX_BPS);
}

/* Seconds of one thread per raw byte. */
static double
cpu_of(const Policy *policy, PolicyWay way)
{
    double pack_s = policy->costs[ways[way].level].pack_s;

    if (!ways[way].hashes)
        return policy->pages * pack_s;
    return policy->pages * policy->hash_s + policy->plain * pack_s;
}

/* Payload bytes per raw byte. */
static double
wire_of(const Policy *policy, PolicyWay way)
{
    double ratio = policy->costs[ways[way].level].ratio;

    return MAX((ways[way].hashes ? policy->plain : policy->pages) * ratio, WIRE_MIN);
}

double
policy_speed(const Policy *policy, PolicyWay way)
{
    double codec_s = cpu_of(policy, way) / policy->threads;
    double link_s = wire_of(policy, way) / policy->link_bps;

    return 1 / MAX(MAX(codec_s, link_s), 1e-15);
}

/* What of it is of use: no more than QEMU has. */
static double
useful(const Policy *policy, PolicyWay way)
{
    return MIN(policy_speed(policy, way), policy->demand_bps);
}

/* Would all of it, passed on, take a good part of the link, and LZ4 be faster? A clear answer is
 * needed to change the verdict. */
static gboolean
link_is_slow(const Policy *policy)
{
    double lz4_bps = policy->threads / MAX(cpu_of(policy, POLICY_LZ4), 1e-15);
    double enough_bps = policy->pages * MIN(lz4_bps, MANY * policy->demand_bps);

    if (policy->seen_bps < SPARED_BPS && lz4_bps > policy->demand_bps)
        return TRUE;
    return policy->link_bps < enough_bps * (policy->slow ? 1.25 : 0.8);
}

static void
judge(const Policy *policy, double scores[POLICY_WAYS])
{
    double pass = useful(policy, POLICY_PASS), fastest = 0, bend;

    for (guint way = 0; way < POLICY_WAYS; way++)
        fastest = MAX(fastest, useful(policy, way));
    for (guint way = 0; way < POLICY_WAYS; way++) {
        double speed = useful(policy, way);

        scores[way] = speed * (ways[way].hashes ? 1 : PASS_WORTH);
        /* Who is in may stay a little longer. */
        bend = way == policy->way ? 1 - SLACK : 1 + SLACK;
        if (speed < pass * PASS_WORTH * bend || speed < fastest * FLOOR * bend)
            scores[way] *= UNFIT;
        else if (policy->slow)
            scores[way] *= pow(wire_of(policy, way), -THRIFT);
    }
}

static PolicyWay
best(const double scores[POLICY_WAYS])
{
    double most = 0;

    for (guint way = 0; way < POLICY_WAYS; way++)
        most = MAX(most, scores[way]);
    /* PASS last: it is the cheapest, yet what is hashed is worth more. */
    for (guint way = POLICY_RAW; way < POLICY_WAYS; way++) {
        if (scores[way] >= most * TIE)
            return way;
    }
    return POLICY_PASS;
}

static void
look(Policy *policy)
{
    double scores[POLICY_WAYS], gain;
    gboolean cheaper;
    PolicyWay target;

    policy->slow = link_is_slow(policy);
    judge(policy, scores);
    target = best(scores);
    gain = scores[target] / scores[policy->way];
    cheaper = cpu_of(policy, target) < cpu_of(policy, policy->way);
    policy->since_look = 0;
    if (target == policy->way || policy->since_change < MIN_STAY ||
        policy->intervals < MIN_INTERVALS)
        return;
    if (gain > GAIN || cheaper) {
        policy->way = target;
        policy->since_change = policy->intervals = 0;
        policy->changes++;
    }
}

/* Batches until the next probe: at least as many as keep its cost down. */
static gboolean
probe_is_due(const Policy *policy, PolicyWay way)
{
    double times = cpu_of(policy, way) / MAX(cpu_of(policy, policy->way), 1e-15);

    return policy->since_probe >= MAX(PROBE_EVERY, PROBE_SHARE * times);
}

PolicyWay
policy_choose(Policy *policy)
{
    /* Each way but PASS, of which all is known, in turn. */
    PolicyWay least = policy->slow ? POLICY_LZ4 : POLICY_RAW;
    PolicyWay probe = least + policy->probes % (POLICY_WAYS - least);

    policy->since_change++;
    policy->since_probe++;
    if (++policy->since_look >= LOOK_EVERY)
        look(policy);
    if (!probe_is_due(policy, probe))
        return policy->way;
    policy->probes++;
    policy->since_probe = 0;
    return probe;
}

gboolean
policy_hashes(PolicyWay way)
{
    return ways[way].hashes;
}

PagePackLevel
policy_level(PolicyWay way)
{
    return ways[way].level;
}

const char *
policy_name(PolicyWay way)
{
    return ways[way].name;
}
