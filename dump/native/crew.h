/* Threads that do parts of a task beside the one that asks for it: those that torch's operators run on. */
#ifndef ACC_CREW_H
#define ACC_CREW_H

#include <stddef.h>

/* GOMP_parallel of an OpenMP runtime (its ABI since GCC 4.9; LLVM's and Intel's have it too). */
typedef void (*crew_region)(void (*work)(void *data), void *data, unsigned threads, unsigned flags);

/* Once, before anything else. */
void crew_prepare(void);

/* From now on a task is shared by so many threads of that runtime, the caller among them; by none but him before this
   is called, with fewer than 2, and in a child that was forked. */
void crew_employ(crew_region region, unsigned threads);

/* Is the crew now at the disposal of the caller alone?  Then it is until it is let go. */
int crew_claim(void);
void crew_let_go(void);

/* Call work(task, part) once for every part below `parts`, on threads of the crew, which is claimed. */
void crew_share(void (*work)(void *task, size_t part), void *task, size_t parts);

/* memcpy, shared where it is long. */
void crew_copy(void *to, const void *from, size_t count);

#endif
