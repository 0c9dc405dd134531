/* After an operator torch's threads spin for some milliseconds, each on its core, in wait of the next.  Others of ours
   would have to take turns with them (measured: nothing is won); a region of the same runtime is what they wait for. */

#define _POSIX_C_SOURCE 200809L

#include "crew.h"

#include <stdatomic.h>
#include <string.h>
#if defined(__unix__) || defined(__APPLE__)
#include <unistd.h>
#define PROCESS ((long)getpid())
#else
#define PROCESS 0L
#endif

static long process; /* in a child that was forked from it, none of its threads is there */
static crew_region region;
static unsigned number;
static atomic_flag claimed = ATOMIC_FLAG_INIT;

struct shared {
    void (*work)(void *task, size_t part);
    void *task;
    size_t parts;
    atomic_size_t next;
};

static void take_parts(void *data)
{
    struct shared *shared = data;
    for (;;) {
        size_t part = atomic_fetch_add(&shared->next, 1);
        if (part >= shared->parts)
            return;
        shared->work(shared->task, part);
    }
}

void crew_prepare(void) { process = PROCESS; }

void crew_employ(crew_region with, unsigned threads)
{
    region = with;
    number = with ? threads : 0;
}

int crew_claim(void) { return number > 1 && PROCESS == process && !atomic_flag_test_and_set(&claimed); }

void crew_let_go(void) { atomic_flag_clear(&claimed); }

void crew_share(void (*work)(void *task, size_t part), void *task, size_t parts)
{
    struct shared shared = {work, task, parts, 0};
    region(take_parts, &shared, number, 0);
}

#define PART ((size_t)1 << 18)
#define SHARED_FROM (8 * PART)

struct copying {
    char *to;
    const char *from;
    size_t count;
};

static void copy_part(void *task, size_t part)
{
    const struct copying *copying = task;
    size_t at = part * PART, left = copying->count - at;
    memcpy(copying->to + at, copying->from + at, left < PART ? left : PART);
}

void crew_copy(void *to, const void *from, size_t count)
{
    struct copying copying = {to, from, count};
    if (count < SHARED_FROM || !crew_claim()) {
        memcpy(to, from, count);
        return;
    }
    crew_share(copy_part, &copying, (count + PART - 1) / PART);
    crew_let_go();
}
