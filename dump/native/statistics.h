/* All that is recorded of a tensor's contents. */
#ifndef ACC_STATISTICS_H
#define ACC_STATISTICS_H

#include "memory.h"
#include "waves.h"

#define BUCKETS 16

/* What Statistics holds (dump/record/statistics.py).  `whole_high` and `whole_low` are an integer dtype's extremes, the
   bits of a uint64 where that is the dtype. */
struct statistics {
    double high, low, mean, norm;
    int64_t whole_high, whole_low;
    size_t nan, inf;
    float sketch[BUCKETS], waves[WAVE_NUMBERS];
};

/* Fill the tables of signs; once, before anything else. */
void statistics_prepare(void);

/* The tables, for a test to hold against dump/format/sketch.py. */
const float *statistics_column_signs(void);
const float *statistics_row_signs(void);

/* Of at least one element; with `waves`, which are planned for it, unless that is NULL.  Needs no lock, allocates
   nothing; a long one is shared with the crew. */
void statistics_measure(const struct memory *memory, struct waves *waves, struct statistics *found);

#endif
