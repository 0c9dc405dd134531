/* Elements of every dtype as float or double, a chunk at a time. */
#ifndef ACC_WIDEN_H
#define ACC_WIDEN_H

#include "build.h"

/* In the order of DTYPES in __init__.py. */
enum dtype {
    FLOAT64, FLOAT32, FLOAT16, BFLOAT16, FLOAT8_E4M3FN, FLOAT8_E5M2, FLOAT8_E4M3FNUZ, FLOAT8_E5M2FNUZ,
    BOOL, UINT8, INT8, UINT16, INT16, UINT32, INT32, UINT64, INT64,
    DTYPES
};

extern const unsigned char element_size[DTYPES];

static inline int is_integral(int dtype) { return dtype >= BOOL; }

/* Does float32 hold every element, so that sums run in it? */
static inline int is_short(int dtype) { return dtype != FLOAT64 && dtype < UINT32; }

/* Fill the tables of 8-bit floats; once, before anything else. */
void widen_prepare(void);

/* `count` elements; to_float for dtypes that are short, to_double for all. */
void widen_to_float(const void *source, int dtype, size_t count, float *out);
void widen_to_double(const void *source, int dtype, size_t count, double *out);

#endif
