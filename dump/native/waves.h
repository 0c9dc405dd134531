/* Sums under waves that follow from those of parts: dump/format/waves.py says what they are. */
#ifndef ACC_WAVES_H
#define ACC_WAVES_H

#include "build.h"
#include "memory.h"

#define WAVE_BLOCK 256
#define WAVE_FREQUENCIES 8
#define WAVE_NUMBERS 4

/* A complex number. */
struct phase {
    double re, im;
};

/* The sums, and how far along the tensor they are.

   Elements are taken a block at a time: `rows` indices of dimension `level`, with all that lies below.  Their weights are
   in `tables`: cosines and sines along the last dimension, times cosines and (where `level` is not the last) times sines
   along the others.  `around` is what the indices of a dimension and of those before it multiply a block by, but for the
   last, whose waves go two ways: that is `along`. */
struct waves {
    int dimensions, level;
    size_t sizes[MOST_DIMENSIONS], at[MOST_DIMENSIONS];
    struct phase steps[MOST_DIMENSIONS], around[MOST_DIMENSIONS + 1], along;
    size_t rows, inner, length, filled;
    double sums[WAVE_NUMBERS];
    float tables[4][WAVE_BLOCK];
};

/* Fill the tables of waves; once, before anything else. */
void waves_prepare(void);

/* `waves` for a tensor of these sizes, of one dimension at least, none of them empty. */
void waves_plan(struct waves *waves, const size_t *sizes, int dimensions);

/* Begin at the tensor's first element; then add all, in order. */
void waves_start(struct waves *waves);
void waves_add_floats(struct waves *waves, const float *values, size_t count);
void waves_add_doubles(struct waves *waves, const double *values, size_t count);

/* The four numbers, times `scale`. */
void waves_fold(const struct waves *waves, double scale, float *out);

#endif
