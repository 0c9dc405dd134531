/* Two tensors, element by element, in one pass. */
#ifndef ACC_DISTANCE_H
#define ACC_DISTANCE_H

#include "memory.h"

#define CLASSES 2 /* of candidates for sentinels, by modulus */

/* Sums (acc_compare/metrics/sums.py) over some of the elements. */
struct pair_sums {
    size_t count;
    double npu, bench, product, apart, least;
};

/* _Totals (acc_compare/metrics/distance.py).  An index that there is not is -1. */
struct distance {
    struct pair_sums live, held[CLASSES];
    size_t positions, npu_nan, npu_inf, bench_nan, bench_inf, npu_only, bench_only, conflicting;
    ptrdiff_t first_one_sided, max_abs_index, max_relative_index;
    double max_abs, max_relative;
    size_t within[2];
};

/* Pairs of values that mean the same, least and greatest of either dtype; `any` is 0 where there are no sentinels. */
struct edges {
    int any;
    double npu[2], bench[2];
};

/* As many elements on either side.  Needs no lock, allocates nothing. */
void distance_measure(const struct memory *npu, const struct memory *bench, const struct edges *edges,
                      struct distance *found);

#endif
