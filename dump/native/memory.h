/* The elements of a tensor in their order, a chunk at a time, wherever they lie. */
#ifndef ACC_MEMORY_H
#define ACC_MEMORY_H

#include "build.h"
#include "widen.h"

#define CHUNK 4096
#define MOST_DIMENSIONS 64

/* `dimensions` is 0 where the elements lie in order.  Else the last of `sizes` (each above 0) and `strides` (in elements)
   is the one that changes first. */
struct memory {
    const char *start;
    int dtype;
    size_t count;
    int dimensions;
    size_t sizes[MOST_DIMENSIONS];
    ptrdiff_t strides[MOST_DIMENSIONS];
};

/* `length` <= CHUNK elements from number `at` on: in place, or gathered into `buffer`, of 8 bytes an element. */
const void *memory_chunk(const struct memory *memory, size_t at, size_t length, void *buffer);

#endif
