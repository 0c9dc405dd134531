/* Several numbers at a time, as GCC and Clang write them for any machine. */
#ifndef ACC_VECTORS_H
#define ACC_VECTORS_H

#include "build.h"

/* Four doubles side by side, and what comparing them gives: all bits of a lane, or none. */
typedef double doubles __attribute__((vector_size(32)));
typedef int64_t wholes __attribute__((vector_size(32)));
#define WIDTH 4

/* From memory of any alignment. */
ALWAYS_INLINE doubles load(const double *from)
{
    doubles value;
    __builtin_memcpy(&value, from, sizeof value);
    return value;
}

ALWAYS_INLINE doubles same(double value) { return (doubles){value, value, value, value}; }
ALWAYS_INLINE doubles choose(wholes mask, doubles yes, doubles no)
{
    return (doubles)(((wholes)yes & mask) | ((wholes)no & ~mask));
}
ALWAYS_INLINE doubles absolute(doubles x) { return (doubles)((wholes)x & ((wholes){0} + INT64_MAX)); }
ALWAYS_INLINE doubles larger(doubles x, doubles y) { return choose(x > y, x, y); }
ALWAYS_INLINE doubles smaller(doubles x, doubles y) { return choose(x < y, x, y); }
ALWAYS_INLINE double sum_of_four(doubles x) { return (x[0] + x[1]) + (x[2] + x[3]); }
ALWAYS_INLINE double most_of_four(doubles x)
{
    double a = x[0] > x[1] ? x[0] : x[1], b = x[2] > x[3] ? x[2] : x[3];
    return a > b ? a : b;
}
ALWAYS_INLINE int64_t count_of_four(wholes x) { return -(x[0] + x[1] + x[2] + x[3]); }

#endif
