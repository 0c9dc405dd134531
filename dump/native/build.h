/* What the compiler and the machine are asked for. */
#ifndef ACC_BUILD_H
#define ACC_BUILD_H

#include <stddef.h>
#include <stdint.h>

/* A function compiled twice, the better one taken when the library is loaded.  Only where the linker can do so. */
#if defined(__x86_64__) && defined(__linux__) && defined(__GNUC__)
#include <features.h>
#endif
#if defined(__x86_64__) && defined(__GLIBC__) && defined(__GNUC__)
#define FOR_EACH_CPU __attribute__((target_clones("avx2", "default")))
#else
#define FOR_EACH_CPU
#endif

#if defined(__GNUC__)
#define ALWAYS_INLINE static inline __attribute__((always_inline))
#else
#define ALWAYS_INLINE static inline
#endif

/* Ask for memory that is read AHEAD bytes further on.  A processor foresees by itself what comes next in a page, and no
   further: a pass over memory that lies in no cache took half as long again.  Beyond the end it does nothing. */
#define AHEAD 2048
#define LINE 64
ALWAYS_INLINE void fetch_ahead(const void *from, size_t count)
{
#if defined(__GNUC__)
    for (size_t i = 0; i < count; i += LINE)
        __builtin_prefetch((const void *)((uintptr_t)from + AHEAD + i));
#else
    (void)from;
    (void)count;
#endif
}

#endif
