/* All that is measured of a pair of tensors, in double.

   The definition is acc_compare/metrics/distance.py; what differs is the order of additions. */

#include "distance.h"

#include <math.h>
#include <string.h>

#include "vectors.h"

#define PAIR 1024 /* elements of either side at a time: they stay in the nearest cache */

static const double ratio_limits[2] = {0.001, 0.005};
static const double sentinel_modulus[CLASSES] = {5e3, 1e8};

/* Filled up with 0 against 0 to a multiple of WIDTH, which adds nothing to any sum. */
struct chunk {
    double n[PAIR], b[PAIR];
    size_t length, padded;
};

struct sums {
    double npu, bench, product, apart, most, share;
    size_t within[2];
};

/* A difference over a modulus; 1 beside a difference of 0, since 0 against 0 would be 0 / 0. */
static double share_of(double apart, double modulus) { return apart / (modulus + (apart == 0 ? 1.0 : 0.0)); }

FOR_EACH_CPU static void sum_chunk(const struct chunk *chunk, struct sums *sums)
{
    doubles npu = {0}, bench = {0}, product = {0}, squares = {0}, most = {0}, largest = {0};
    wholes first = {0}, second = {0};
    const doubles zero = {0}, one = same(1.0), lower = same(ratio_limits[0]), upper = same(ratio_limits[1]);
    for (size_t i = 0; i < chunk->padded; i += WIDTH) {
        doubles n = load(chunk->n + i), b = load(chunk->b + i), apart = absolute(n - b);
        doubles share = apart / (absolute(b) + (doubles)((wholes)one & (apart == zero)));
        npu += n * n;
        bench += b * b;
        product += n * b;
        squares += apart * apart;
        most = larger(apart, most);
        largest = larger(share, largest);
        first += share < lower;
        second += share < upper;
    }
    size_t filled = chunk->padded - chunk->length;
    *sums = (struct sums){sum_of_four(npu),
                          sum_of_four(bench),
                          sum_of_four(product),
                          sum_of_four(squares),
                          most_of_four(most),
                          most_of_four(largest),
                          {(size_t)count_of_four(first) - filled, (size_t)count_of_four(second) - filled}};
}

static ptrdiff_t first_apart(const struct chunk *chunk, double most)
{
    size_t i = 0;
    while (i + 1 < chunk->length && fabs(chunk->n[i] - chunk->b[i]) != most)
        i++;
    return (ptrdiff_t)i;
}

static ptrdiff_t first_share(const struct chunk *chunk, double share)
{
    size_t i = 0;
    while (i + 1 < chunk->length && share_of(fabs(chunk->n[i] - chunk->b[i]), fabs(chunk->b[i])) != share)
        i++;
    return (ptrdiff_t)i;
}

/* 0 against 0 wherever a side is not finite, with those places counted. */
static size_t without_nonfinite(struct chunk *chunk, size_t start, struct distance *found)
{
    size_t left_out = 0;
    for (size_t i = 0; i < chunk->length; i++) {
        double n = chunk->n[i], b = chunk->b[i];
        int n_bad = !isfinite(n), b_bad = !isfinite(b);
        if (!n_bad && !b_bad)
            continue;
        found->npu_nan += isnan(n) != 0;
        found->npu_inf += isinf(n) != 0;
        found->bench_nan += isnan(b) != 0;
        found->bench_inf += isinf(b) != 0;
        if (n_bad != b_bad) {
            *(n_bad ? &found->npu_only : &found->bench_only) += 1;
            if (found->first_one_sided < 0)
                found->first_one_sided = (ptrdiff_t)(start + i);
        } else if (!(isnan(n) && isnan(b)) && n != b) {
            found->conflicting++;
        }
        chunk->n[i] = chunk->b[i] = 0;
        left_out++;
    }
    found->positions += left_out;
    return left_out;
}

/* Move the candidates for sentinels of a modulus in [from, below) out of the chunk; how many there were. */
FOR_EACH_CPU static size_t hold_candidates(struct chunk *chunk, const struct edges *edges, double from, double below,
                                           struct pair_sums *sums)
{
    doubles npu = {0}, bench = {0}, product = {0}, squares = {0}, least = same(INFINITY);
    wholes held = {0};
    const doubles zero = {0};
    for (size_t i = 0; i < chunk->padded; i += WIDTH) {
        doubles n = load(chunk->n + i), b = load(chunk->b + i), modulus = absolute(b), apart;
        wholes mask = (n == b) | ((n == same(edges->npu[0])) & (b == same(edges->bench[0]))) |
                      ((n == same(edges->npu[1])) & (b == same(edges->bench[1])));
        mask &= (modulus >= same(from)) & (modulus < same(below));
        least = choose(mask, smaller(smaller(absolute(n), modulus), least), least);
        doubles rest_n = choose(mask, zero, n), rest_b = choose(mask, zero, b);
        __builtin_memcpy(chunk->n + i, &rest_n, sizeof rest_n);
        __builtin_memcpy(chunk->b + i, &rest_b, sizeof rest_b);
        n = choose(mask, n, zero);
        b = choose(mask, b, zero);
        apart = n - b;
        npu += n * n;
        bench += b * b;
        product += n * b;
        squares += apart * apart;
        held += mask;
    }
    size_t count = (size_t)count_of_four(held);
    sums->count += count;
    sums->npu += sum_of_four(npu);
    sums->bench += sum_of_four(bench);
    sums->product += sum_of_four(product);
    sums->apart += sum_of_four(squares);
    for (int l = 0; l < WIDTH; l++)
        sums->least = fmin(sums->least, least[l]);
    return count;
}

static int has_large(const struct chunk *chunk, double modulus)
{
    for (size_t i = 0; i < chunk->length; i++)
        if (fabs(chunk->b[i]) >= modulus)
            return 1;
    return 0;
}

static void add_chunk(struct chunk *chunk, size_t start, const struct edges *edges, struct distance *found)
{
    struct sums sums;
    size_t count = chunk->length;
    sum_chunk(chunk, &sums);
    if (!isfinite(sums.npu + sums.bench)) {
        count -= without_nonfinite(chunk, start, found);
        sum_chunk(chunk, &sums);
    }
    if (sums.most > found->max_abs) {
        found->max_abs = sums.most;
        found->max_abs_index = (ptrdiff_t)start + first_apart(chunk, sums.most);
    }
    if (sums.share > found->max_relative) {
        found->max_relative = sums.share;
        found->max_relative_index = (ptrdiff_t)start + first_share(chunk, sums.share);
    }
    found->within[0] += sums.within[0];
    found->within[1] += sums.within[1];
    double lowest = sentinel_modulus[0];
    if (edges->any && sums.bench >= lowest * lowest && has_large(chunk, lowest)) {
        size_t moved = hold_candidates(chunk, edges, lowest, sentinel_modulus[1], &found->held[0]);
        moved += hold_candidates(chunk, edges, sentinel_modulus[1], INFINITY, &found->held[1]);
        if (moved)
            sum_chunk(chunk, &sums);
        count -= moved;
    }
    found->live.count += count;
    found->live.npu += sums.npu;
    found->live.bench += sums.bench;
    found->live.product += sums.product;
    found->live.apart += sums.apart;
}

void distance_measure(const struct memory *npu, const struct memory *bench, const struct edges *edges,
                      struct distance *found)
{
    struct chunk chunk;
    double raw[PAIR];
    memset(found, 0, sizeof *found);
    found->live.least = found->held[0].least = found->held[1].least = INFINITY;
    found->first_one_sided = found->max_abs_index = found->max_relative_index = -1;
    for (size_t at = 0; at < npu->count; at += PAIR) {
        chunk.length = npu->count - at < PAIR ? npu->count - at : PAIR;
        chunk.padded = (chunk.length + WIDTH - 1) / WIDTH * WIDTH;
        memset(chunk.n + chunk.length, 0, (chunk.padded - chunk.length) * sizeof *chunk.n);
        memset(chunk.b + chunk.length, 0, (chunk.padded - chunk.length) * sizeof *chunk.b);
        widen_to_double(memory_chunk(npu, at, chunk.length, raw), npu->dtype, chunk.length, chunk.n);
        widen_to_double(memory_chunk(bench, at, chunk.length, raw), bench->dtype, chunk.length, chunk.b);
        add_chunk(&chunk, at, edges, found);
    }
}
