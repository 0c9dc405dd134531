#include "memory.h"

#include <string.h>

#define GATHER(BYTES, TYPE)                                                                                            \
    case BYTES: {                                                                                                      \
        const TYPE *from = (const TYPE *)source;                                                                       \
        TYPE *to = (TYPE *)target;                                                                                     \
        for (size_t i = 0; i < count; i++)                                                                             \
            to[i] = from[(ptrdiff_t)i * stride];                                                                       \
        break;                                                                                                         \
    }

static void gather(const char *source, size_t bytes, ptrdiff_t stride, size_t count, char *target)
{
    if (stride == 1) {
        memcpy(target, source, count * bytes);
        return;
    }
    switch (bytes) {
        GATHER(1, uint8_t)
        GATHER(2, uint16_t)
        GATHER(4, uint32_t)
        GATHER(8, uint64_t)
    }
}

const void *memory_chunk(const struct memory *memory, size_t at, size_t length, void *buffer)
{
    size_t bytes = element_size[memory->dtype];
    if (!memory->dimensions)
        return memory->start + at * bytes;
    int last = memory->dimensions - 1;
    size_t place[MOST_DIMENSIONS], rest = at;
    ptrdiff_t offset = 0;
    for (int d = last; d >= 0; d--) {
        place[d] = rest % memory->sizes[d];
        rest /= memory->sizes[d];
        offset += (ptrdiff_t)place[d] * memory->strides[d];
    }
    char *target = buffer;
    while (length) {
        size_t run = memory->sizes[last] - place[last];
        if (run > length)
            run = length;
        gather(memory->start + offset * (ptrdiff_t)bytes, bytes, memory->strides[last], run, target);
        target += run * bytes;
        length -= run;
        place[last] += run;
        offset += (ptrdiff_t)run * memory->strides[last];
        for (int d = last; d > 0 && place[d] == memory->sizes[d]; d--) {
            offset += memory->strides[d - 1] - (ptrdiff_t)memory->sizes[d] * memory->strides[d];
            place[d] = 0;
            place[d - 1]++;
        }
    }
    return buffer;
}
