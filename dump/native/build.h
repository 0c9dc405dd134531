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

#endif
