/* Sums under waves, a block of elements at a time.  The definition is dump/format/waves.py. */

#include "waves.h"

#include <math.h>
#include <string.h>

#include "vectors.h"

#define LANES 16
#define NARROW 64 /* rows below this are taken several at a time */

static const uint32_t frequencies[WAVE_FREQUENCIES] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                                                       0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};

static struct phase phases[WAVE_FREQUENCIES][WAVE_BLOCK];
static const struct phase one = {1.0, 0.0};

/* The phase of the wave along a dimension at one index. */
static struct phase phase_at(int dimension, size_t index)
{
    uint32_t turns = frequencies[dimension % WAVE_FREQUENCIES] * (uint32_t)index;
    double angle = (double)turns * (6.283185307179586476925 / 4294967296.0);
    return (struct phase){cos(angle), sin(angle)};
}

static struct phase times(struct phase a, struct phase b)
{
    return (struct phase){a.re * b.re - a.im * b.im, a.re * b.im + a.im * b.re};
}

void waves_prepare(void)
{
    for (int d = 0; d < WAVE_FREQUENCIES; d++)
        for (size_t i = 0; i < WAVE_BLOCK; i++)
            phases[d][i] = phase_at(d, i);
}

/* The weights of a block, a row of the last dimension at a time. */
static void fill_tables(struct waves *waves, const int *numbers)
{
    int last = waves->dimensions - 1;
    const struct phase *along = phases[numbers[last] % WAVE_FREQUENCIES];
    size_t width = waves->level == last ? waves->rows : waves->sizes[last];
    for (size_t start = 0; start < waves->rows * waves->inner; start += width) {
        struct phase over = one;
        size_t number = start / width;
        for (int d = last - 1; d >= waves->level; d--) {
            size_t size = d == waves->level ? waves->rows : waves->sizes[d];
            over = times(over, phases[numbers[d] % WAVE_FREQUENCIES][number % size]);
            number /= size;
        }
        for (size_t i = 0; i < width; i++) {
            waves->tables[0][start + i] = (float)(over.re * along[i].re);
            waves->tables[1][start + i] = (float)(over.re * along[i].im);
            waves->tables[2][start + i] = (float)(over.im * along[i].re);
            waves->tables[3][start + i] = (float)(over.im * along[i].im);
        }
    }
}

void waves_plan(struct waves *waves, const size_t *sizes, int dimensions)
{
    int numbers[MOST_DIMENSIONS], last = 0, level;
    for (int d = 0; d < dimensions; d++)
        if (sizes[d] > 1 || d == dimensions - 1) { /* nothing lies along one of a single index but the last */
            numbers[last] = d;
            waves->sizes[last++] = sizes[d];
        }
    waves->dimensions = last--;
    level = last;
    waves->inner = 1;
    if (waves->sizes[last] < NARROW)
        for (; level && waves->inner * waves->sizes[level] <= WAVE_BLOCK / 2; level--)
            waves->inner *= waves->sizes[level];
    waves->level = level;
    waves->rows = WAVE_BLOCK / waves->inner;
    if (waves->rows > waves->sizes[level])
        waves->rows = waves->sizes[level];
    for (int d = 0; d <= level; d++)
        waves->steps[d] = phase_at(numbers[d], d == level ? waves->rows : 1);
    fill_tables(waves, numbers);
}

/* How many elements the block has that is begun. */
static size_t length_of_block(const struct waves *waves)
{
    size_t left = waves->sizes[waves->level] - waves->at[waves->level];
    return (left < waves->rows ? left : waves->rows) * waves->inner;
}

void waves_start(struct waves *waves)
{
    memset(waves->at, 0, sizeof waves->at);
    memset(waves->sums, 0, sizeof waves->sums);
    for (int d = 0; d <= waves->dimensions; d++)
        waves->around[d] = one;
    waves->along = one;
    waves->filled = 0;
    waves->length = length_of_block(waves);
}

static void begin_next_block(struct waves *waves)
{
    int level = waves->level, is_last = level == waves->dimensions - 1, d = level;
    waves->filled = 0;
    waves->at[level] += waves->rows;
    if (waves->at[level] < waves->sizes[level]) {
        struct phase *moved = is_last ? &waves->along : &waves->around[level + 1];
        *moved = times(*moved, waves->steps[level]);
        waves->length = length_of_block(waves);
        return;
    }
    do {
        waves->at[d] = 0;
        if (--d < 0)
            return; /* that was the last */
    } while (++waves->at[d] == waves->sizes[d]);
    struct phase around = times(waves->around[d + 1], waves->steps[d]);
    for (d++; d <= level + !is_last; d++)
        waves->around[d] = around;
    waves->along = one;
    waves->length = length_of_block(waves);
}

#define REAL float
#define ACROSS 8
#define NAME(name) name##_float
#include "wave_sums.h"
#undef REAL
#undef ACROSS
#undef NAME
#define REAL double
#define ACROSS 4
#define NAME(name) name##_double
#include "wave_sums.h"

/* What a block's sums add: those under cosines and under sines of the last dimension, each complex by the others. */
static void add_block(struct waves *waves, const double found[4])
{
    int is_last = waves->level == waves->dimensions - 1;
    struct phase around = waves->around[waves->level + !is_last], under[2];
    if (is_last) {
        struct phase turned = times((struct phase){found[0], found[1]}, waves->along);
        under[0] = (struct phase){turned.re * around.re, turned.re * around.im};
        under[1] = (struct phase){turned.im * around.re, turned.im * around.im};
    } else {
        under[0] = times((struct phase){found[0], found[2]}, around);
        under[1] = times((struct phase){found[1], found[3]}, around);
    }
    waves->sums[0] += under[0].re - under[1].im;
    waves->sums[1] += under[0].im + under[1].re;
    waves->sums[2] += under[0].re + under[1].im;
    waves->sums[3] += under[0].im - under[1].re;
}

#define ADD(WEIGH)                                                                                                     \
    int pairs = waves->level == waves->dimensions - 1 ? 1 : 2;                                                         \
    while (count) {                                                                                                    \
        double found[4];                                                                                               \
        size_t length = waves->length - waves->filled;                                                                 \
        length = length < count ? length : count;                                                                      \
        for (int t = 0; t < 2 * pairs; t += 2)                                                                         \
            WEIGH(values, waves->tables[t] + waves->filled, waves->tables[t + 1] + waves->filled, length, found + t);  \
        add_block(waves, found);                                                                                       \
        waves->filled += length;                                                                                       \
        values += length;                                                                                              \
        count -= length;                                                                                               \
        if (waves->filled == waves->length)                                                                            \
            begin_next_block(waves);                                                                                   \
    }

void waves_add_floats(struct waves *waves, const float *values, size_t count) { ADD(weigh_float) }
void waves_add_doubles(struct waves *waves, const double *values, size_t count) { ADD(weigh_double) }

void waves_fold(const struct waves *waves, double scale, float *out)
{
    for (int k = 0; k < WAVE_NUMBERS; k++)
        out[k] = (float)(waves->sums[k] * scale);
}
