/* Statistics in one pass where the sum of squares shows that nothing was lost, else in two more, in double.

   The definition is dump/record/statistics.py and dump/format/sketch.py; what differs is the order of additions. */

#include "statistics.h"

#include <math.h>
#include <string.h>

#include "crew.h"

#define LANES 16
#define ROW_PERIOD 65536
#define MAX_WIDTH 256

#define LARGEST_SQUARES 1e60
#define SENTINEL_FLOOR -5e3
#define SENTINEL_RATIO 100.0
#define EXACT_IN_DOUBLE 9007199254740992.0

struct sums {
    double high, low;
    double total[LANES], squares[LANES], buckets[BUCKETS][LANES];
    struct waves *waves; /* or NULL */
};

/* A tensor is summed in parts, whoever does them: sums round alike on any number of threads. */
#define PART 65536
#define MOST_PARTS 256
#define SHARED_FROM 8 /* parts: below, others would come too late */

static float column_signs[CHUNK], row_signs[ROW_PERIOD];

static uint64_t splitmix64(uint64_t index)
{
    uint64_t z = index * 0x9E3779B97F4A7C15u;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
}

void statistics_prepare(void)
{
    for (uint64_t i = 0; i < CHUNK; i++)
        column_signs[i] = splitmix64(1 + i) >> 63 ? -1.0f : 1.0f;
    for (uint64_t i = 0; i < ROW_PERIOD; i++)
        row_signs[i] = splitmix64(((uint64_t)1 << 32) + i) >> 63 ? -1.0f : 1.0f;
}

const float *statistics_column_signs(void) { return column_signs; }
const float *statistics_row_signs(void) { return row_signs; }

static size_t width(size_t count)
{
    size_t share = count / (BUCKETS * 16), span = 1;
    while (span * 2 <= share && span < MAX_WIDTH)
        span *= 2;
    return span;
}

static unsigned bucket_of(size_t row)
{
    row %= ROW_PERIOD;
    return (row + (row >> 4) + (row >> 8) + (row >> 12)) % BUCKETS;
}

#define REAL float
#define NAME(name) name##_float
#include "rows.h"
#undef REAL
#undef NAME
#define REAL double
#define NAME(name) name##_double
#include "rows.h"

static double sum_of(const double *lanes)
{
    double total = 0;
    for (int l = 0; l < LANES; l++)
        total += lanes[l];
    return total;
}

static void start_sums(struct sums *sums, struct waves *waves)
{
    memset(sums, 0, sizeof *sums);
    sums->waves = waves;
    if (waves)
        waves_start(waves);
    sums->high = -INFINITY;
    sums->low = INFINITY;
}

static void add_floats(struct sums *sums, const float *chunk, size_t at, size_t length, size_t span)
{
    add_rows_float(sums, chunk, at, length, span);
    if (sums->waves)
        waves_add_floats(sums->waves, chunk, length);
}

static void add_doubles(struct sums *sums, const double *chunk, size_t at, size_t length, size_t span)
{
    add_rows_double(sums, chunk, at, length, span);
    if (sums->waves)
        waves_add_doubles(sums->waves, chunk, length);
}

static size_t length_at(const struct memory *memory, size_t at)
{
    return memory->count - at < CHUNK ? memory->count - at : CHUNK;
}

static void sum_elements(const struct memory *memory, size_t from, size_t below, size_t span, struct sums *sums)
{
    double raw[CHUNK], wide[CHUNK];
    for (size_t at = from; at < below; at += CHUNK) {
        size_t length = length_at(memory, at);
        const void *chunk = memory_chunk(memory, at, length, raw);
        if (memory->dtype == FLOAT32) {
            add_floats(sums, chunk, at, length, span);
        } else if (memory->dtype == FLOAT64) {
            add_doubles(sums, chunk, at, length, span);
        } else if (is_short(memory->dtype)) {
            widen_to_float(chunk, memory->dtype, length, (float *)wide);
            add_floats(sums, (float *)wide, at, length, span);
        } else {
            widen_to_double(chunk, memory->dtype, length, wide);
            add_doubles(sums, wide, at, length, span);
        }
    }
}

struct pass {
    const struct memory *memory;
    size_t span, part;
    struct sums *sums; /* of each part */
};

static void sum_part(const struct pass *pass, size_t number, struct sums *sums)
{
    size_t from = number * pass->part, left = pass->memory->count - from;
    sum_elements(pass->memory, from, from + (left < pass->part ? left : pass->part), pass->span, sums);
}

static void sum_part_aside(void *task, size_t number)
{
    const struct pass *pass = task;
    start_sums(&pass->sums[number], NULL);
    sum_part(pass, number, &pass->sums[number]);
}

static void merge(struct sums *sums, const struct sums *part)
{
    sums->high = part->high > sums->high ? part->high : sums->high;
    sums->low = part->low < sums->low ? part->low : sums->low;
    for (int l = 0; l < LANES; l++) {
        sums->total[l] += part->total[l];
        sums->squares[l] += part->squares[l];
        for (int b = 0; b < BUCKETS; b++)
            sums->buckets[b][l] += part->buckets[b][l];
    }
}

static void one_pass(const struct memory *memory, size_t span, struct waves *waves, struct sums *sums)
{
    static struct sums aside[MOST_PARTS]; /* his who has claimed the crew */
    size_t share = (memory->count + MOST_PARTS - 1) / MOST_PARTS;
    struct pass pass = {memory, span, share > PART ? (share + CHUNK - 1) / CHUNK * CHUNK : PART, aside};
    size_t parts = (memory->count + pass.part - 1) / pass.part;
    start_sums(sums, waves);
    if (!waves && parts >= SHARED_FROM && crew_claim()) {
        crew_share(sum_part_aside, &pass, parts);
        for (size_t number = 0; number < parts; number++)
            merge(sums, &aside[number]);
        crew_let_go();
        return;
    }
    for (size_t number = 0; number < parts; number++) {
        struct sums one;
        start_sums(&one, NULL);
        one.waves = waves;
        sum_part(&pass, number, &one);
        merge(sums, &one);
    }
}

static void wide_chunk(const struct memory *memory, size_t at, size_t length, double *out)
{
    double raw[CHUNK];
    widen_to_double(memory_chunk(memory, at, length, raw), memory->dtype, length, out);
}

static int has_sentinel(double low, double high)
{
    return low <= SENTINEL_FLOOR && -low >= SENTINEL_RATIO * fmax(1.0, fabs(high));
}

/* Extremes of all elements and of the finite ones, with 0 in place of each other one, and how many are not finite. */
struct survey {
    double high, low, live_high, live_low;
    size_t nan, inf;
};

ALWAYS_INLINE void look_at_lanes(const double *chunk, size_t lanes, double numbers[4][LANES], double counts[2][LANES])
{
    for (size_t l = 0; l < lanes; l++) {
        double value = chunk[l], live = value - value == 0 ? value : 0.0;
        counts[0][l] += value != value ? 1.0 : 0.0;
        counts[1][l] += value - value == 0 ? 0.0 : 1.0;
        numbers[0][l] = value > numbers[0][l] ? value : numbers[0][l];
        numbers[1][l] = value < numbers[1][l] ? value : numbers[1][l];
        numbers[2][l] = live > numbers[2][l] ? live : numbers[2][l];
        numbers[3][l] = live < numbers[3][l] ? live : numbers[3][l];
    }
}

FOR_EACH_CPU static void look_at(const double *chunk, size_t count, struct survey *survey)
{
    double numbers[4][LANES], counts[2][LANES] = {{0}};
    for (int l = 0; l < LANES; l++) {
        numbers[0][l] = survey->high;
        numbers[1][l] = survey->low;
        numbers[2][l] = survey->live_high;
        numbers[3][l] = survey->live_low;
    }
    size_t whole = count - count % LANES;
    for (size_t i = 0; i < whole; i += LANES)
        look_at_lanes(chunk + i, LANES, numbers, counts);
    look_at_lanes(chunk + whole, count - whole, numbers, counts);
    for (int l = 0; l < LANES; l++) {
        survey->high = fmax(survey->high, numbers[0][l]);
        survey->low = fmin(survey->low, numbers[1][l]);
        survey->live_high = fmax(survey->live_high, numbers[2][l]);
        survey->live_low = fmin(survey->live_low, numbers[3][l]);
        survey->nan += (size_t)counts[0][l];
        survey->inf += (size_t)(counts[1][l] - counts[0][l]);
    }
}

/* In place: what is not finite becomes 0, the rest a share of `scale`. */
FOR_EACH_CPU static void scale_chunk(double *chunk, size_t count, double scale)
{
    for (size_t i = 0; i < count; i++) {
        double value = chunk[i];
        chunk[i] = value - value == 0 ? value / scale : 0.0;
    }
}

FOR_EACH_CPU static void without_sentinels(double *chunk, size_t count, double limit)
{
    for (size_t i = 0; i < count; i++)
        chunk[i] = chunk[i] <= limit ? 0.0 : chunk[i];
}

static void fold(const struct sums *sums, double scale, struct statistics *found)
{
    for (int b = 0; b < BUCKETS; b++)
        found->sketch[b] = (float)(sum_of(sums->buckets[b]) * scale);
    if (sums->waves)
        waves_fold(sums->waves, scale, found->waves);
}

/* Clean data with a mask in it: the sketch without the masked elements. */
static void sketch_beside_mask(const struct memory *memory, size_t span, double low, struct waves *waves,
                               struct statistics *found)
{
    struct sums sums;
    double chunk[CHUNK];
    start_sums(&sums, waves);
    for (size_t at = 0; at < memory->count; at += CHUNK) {
        size_t length = length_at(memory, at);
        wide_chunk(memory, at, length, chunk);
        without_sentinels(chunk, length, low / 2);
        add_doubles(&sums, chunk, at, length, span);
    }
    fold(&sums, 1.0, found);
}

/* Sums over elements divided by the largest finite magnitude, so that no square over- or underflows. */
static void measure_carefully(const struct memory *memory, size_t span, struct waves *waves, struct statistics *found)
{
    struct survey survey = {-INFINITY, INFINITY, -INFINITY, INFINITY, 0, 0};
    struct sums sums, live;
    double chunk[CHUNK];
    for (size_t at = 0; at < memory->count; at += CHUNK) {
        size_t length = length_at(memory, at);
        wide_chunk(memory, at, length, chunk);
        look_at(chunk, length, &survey);
    }
    double scale = fmax(survey.live_high, -survey.live_low);
    if (scale == 0)
        scale = 1;
    int masked = has_sentinel(survey.live_low, survey.live_high);
    start_sums(&sums, masked ? NULL : waves);
    start_sums(&live, masked ? waves : NULL);
    for (size_t at = 0; at < memory->count; at += CHUNK) {
        size_t length = length_at(memory, at);
        wide_chunk(memory, at, length, chunk);
        scale_chunk(chunk, length, scale);
        add_doubles(&sums, chunk, at, length, span);
        if (masked) {
            wide_chunk(memory, at, length, chunk);
            without_sentinels(chunk, length, survey.live_low / 2);
            scale_chunk(chunk, length, scale);
            add_doubles(&live, chunk, at, length, span);
        }
    }
    found->nan = survey.nan;
    found->inf = survey.inf;
    found->high = survey.high;
    found->low = survey.low;
    if (survey.nan) {
        found->high = found->low = found->mean = found->norm = NAN;
    } else if (survey.inf) {
        found->mean = (isinf(survey.high) ? survey.high : 0.0) + (isinf(survey.low) ? survey.low : 0.0);
        found->norm = INFINITY;
    } else {
        found->mean = sum_of(sums.total) / (double)memory->count * scale;
        found->norm = sqrt(sum_of(sums.squares)) * scale;
    }
    fold(masked ? &live : &sums, scale, found);
}

#define EXTREMES(FROM)                                                                                                 \
    {                                                                                                                  \
        const FROM *values = (const FROM *)chunk;                                                                      \
        FROM high = at ? (FROM)*most : values[0], low = at ? (FROM)*least : values[0];                                 \
        for (size_t i = 0; i < length; i++) {                                                                          \
            high = values[i] > high ? values[i] : high;                                                                \
            low = values[i] < low ? values[i] : low;                                                                   \
        }                                                                                                              \
        *most = (int64_t)high;                                                                                         \
        *least = (int64_t)low;                                                                                         \
    }

/* Extremes of 64-bit integers, exactly. */
static void whole_extremes(const struct memory *memory, int64_t *most, int64_t *least)
{
    double raw[CHUNK];
    for (size_t at = 0; at < memory->count; at += CHUNK) {
        size_t length = length_at(memory, at);
        const void *chunk = memory_chunk(memory, at, length, raw);
        if (memory->dtype == UINT64)
            EXTREMES(uint64_t)
        else
            EXTREMES(int64_t)
    }
}

static int is_clean(double squares, size_t count, int dtype)
{
    double least = is_short(dtype) ? 1e-30 : 1e-300;
    return least * (double)count <= squares && squares <= LARGEST_SQUARES;
}

void statistics_measure(const struct memory *memory, struct waves *waves, struct statistics *found)
{
    struct sums sums;
    int dtype = memory->dtype;
    size_t span = width(memory->count);
    memset(found, 0, sizeof *found);
    one_pass(memory, span, waves, &sums);
    double squares = sum_of(sums.squares);
    if (!is_clean(squares, memory->count, dtype) && !(squares == 0 && sums.high == 0 && sums.low == 0)) {
        measure_carefully(memory, span, waves, found);
        return;
    }
    found->high = sums.high;
    found->low = sums.low;
    found->mean = sum_of(sums.total) / (double)memory->count;
    found->norm = sqrt(squares);
    if (is_integral(dtype) && fmax(-sums.low, sums.high) >= EXACT_IN_DOUBLE) {
        whole_extremes(memory, &found->whole_high, &found->whole_low);
    } else if (is_integral(dtype)) {
        found->whole_high = (int64_t)sums.high;
        found->whole_low = (int64_t)sums.low;
    } else if (has_sentinel(sums.low, sums.high)) {
        sketch_beside_mask(memory, span, sums.low, waves, found);
        return;
    }
    fold(&sums, 1.0, found);
}
