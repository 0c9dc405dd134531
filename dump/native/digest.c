/* MD5 (RFC 1321) of as many messages at once as there are lanes.

   Each of its 64 steps waits for the one before, so that one message leaves most of a processor idle: 16 messages side
   by side take the time of four.  A lane whose message has ended takes the next; the last few go one by one. */

#include "digest.h"

#include <math.h>
#include <string.h>

#define LANES 16
#define BLOCK 64
#define WORDS (BLOCK / 4)
#define LENGTH_BYTES 8
#define STATE 4
#define FEWEST 4 /* messages that are slower one by one */

typedef uint32_t lanes __attribute__((vector_size(4 * LANES)));

static const uint32_t initial[STATE] = {0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476};
static uint32_t sines[BLOCK];

void digest_prepare(void)
{
    for (int i = 0; i < BLOCK; i++)
        sines[i] = (uint32_t)(fabs(sin(i + 1)) * 4294967296.0);
}

#define F(x, y, z) ((z) ^ ((x) & ((y) ^ (z))))
#define G(x, y, z) ((y) ^ ((z) & ((x) ^ (y))))
#define H(x, y, z) ((x) ^ (y) ^ (z))
#define I(x, y, z) ((y) ^ ((x) | ~(z)))

#define STEP(f, a, b, c, d, place, turn, i)                                                                            \
    a += f(b, c, d) + words[(place) % WORDS] + sines[i];                                                               \
    a = b + ((a << (turn)) | (a >> (32 - (turn))));
#define FOUR(f, i, by, off, s0, s1, s2, s3)                                                                            \
    STEP(f, a, b, c, d, (by) * (i) + (off), s0, i)                                                                     \
    STEP(f, d, a, b, c, (by) * ((i) + 1) + (off), s1, (i) + 1)                                                         \
    STEP(f, c, d, a, b, (by) * ((i) + 2) + (off), s2, (i) + 2)                                                         \
    STEP(f, b, c, d, a, (by) * ((i) + 3) + (off), s3, (i) + 3)
#define ROUND(f, i, by, off, s0, s1, s2, s3)                                                                           \
    FOUR(f, i, by, off, s0, s1, s2, s3)                                                                                \
    FOUR(f, (i) + 4, by, off, s0, s1, s2, s3)                                                                          \
    FOUR(f, (i) + 8, by, off, s0, s1, s2, s3)                                                                          \
    FOUR(f, (i) + 12, by, off, s0, s1, s2, s3)

/* A block of words into the state, for one message or for all lanes. */
#define DEFINE_ADD_BLOCK(NAME, TYPE)                                                                                   \
    ALWAYS_INLINE void NAME(TYPE state[STATE], const TYPE words[WORDS])                                                \
    {                                                                                                                  \
        TYPE a = state[0], b = state[1], c = state[2], d = state[3];                                                   \
        ROUND(F, 0, 1, 0, 7, 12, 17, 22)                                                                               \
        ROUND(G, 16, 5, 1, 5, 9, 14, 20)                                                                               \
        ROUND(H, 32, 3, 5, 4, 11, 16, 23)                                                                              \
        ROUND(I, 48, 7, 0, 6, 10, 15, 21)                                                                              \
        state[0] += a;                                                                                                 \
        state[1] += b;                                                                                                 \
        state[2] += c;                                                                                                 \
        state[3] += d;                                                                                                 \
    }

DEFINE_ADD_BLOCK(add_block, uint32_t)
DEFINE_ADD_BLOCK(add_block_to_lanes, lanes)

static void add_blocks(uint32_t state[STATE], const uint8_t *from, size_t blocks)
{
    for (; blocks; blocks--, from += BLOCK) {
        uint32_t words[WORDS];
        memcpy(words, from, BLOCK);
        add_block(state, words);
    }
}

FOR_EACH_CPU
static void add_blocks_to_lanes(lanes states[STATE], const uint8_t *from[LANES], size_t blocks)
{
    for (size_t n = 0; n < blocks; n++) {
        union {
            uint32_t of_lane[WORDS][LANES];
            lanes all[WORDS];
        } words;
        for (int lane = 0; lane < LANES; lane++) {
            uint32_t block[WORDS];
            memcpy(block, from[lane] + n * BLOCK, BLOCK);
            for (int i = 0; i < WORDS; i++)
                words.of_lane[i][lane] = block[i];
        }
        add_block_to_lanes(states, words.all);
    }
}

/* A message on its way: whole blocks of it, then those with its end, its length and what fills them up. */
struct course {
    struct message *message;
    const uint8_t *at;
    size_t blocks;
    size_t last_blocks;
    uint8_t last[2 * BLOCK];
};

/* The next blocks; 0 where there are none. */
static int has_blocks(struct course *course)
{
    if (course->blocks)
        return 1;
    course->at = course->last;
    course->blocks = course->last_blocks;
    course->last_blocks = 0;
    return course->blocks != 0;
}

static void begin(struct course *course, struct message *message)
{
    size_t rest = message->count % BLOCK, whole = message->count - rest;
    uint64_t bits = (uint64_t)message->count * 8;
    course->message = message;
    course->at = message->start;
    course->blocks = whole / BLOCK;
    course->last_blocks = rest + 1 + LENGTH_BYTES > BLOCK ? 2 : 1;
    memset(course->last, 0, sizeof course->last);
    if (rest)
        memcpy(course->last, message->start + whole, rest);
    course->last[rest] = 0x80;
    memcpy(course->last + course->last_blocks * BLOCK - LENGTH_BYTES, &bits, LENGTH_BYTES);
    has_blocks(course);
}

/* A course in each lane, without a message where none is left, and the messages that wait. */
struct team {
    union {
        uint32_t of_lane[STATE][LANES];
        lanes all[STATE];
    } states;
    struct course courses[LANES];
    struct message *next, *end;
    int active;
};

static void take_next(struct team *team, int lane)
{
    struct course *course = &team->courses[lane];
    course->message = NULL;
    if (team->next == team->end)
        return;
    begin(course, team->next++);
    for (int i = 0; i < STATE; i++)
        team->states.of_lane[i][lane] = initial[i];
    team->active++;
}

static void get_state(const struct team *team, int lane, uint32_t state[STATE])
{
    for (int i = 0; i < STATE; i++)
        state[i] = team->states.of_lane[i][lane];
}

/* Until the shortest course has no block left. */
static void go_on(struct team *team)
{
    const uint8_t *from[LANES];
    const struct course *shortest = NULL;
    for (int lane = 0; lane < LANES; lane++) {
        const struct course *course = &team->courses[lane];
        if (course->message && (!shortest || course->blocks < shortest->blocks))
            shortest = course;
    }
    size_t blocks = shortest->blocks;
    for (int lane = 0; lane < LANES; lane++)
        from[lane] = team->courses[lane].message ? team->courses[lane].at : shortest->at;
    add_blocks_to_lanes(team->states.all, from, blocks);
    for (int lane = 0; lane < LANES; lane++) {
        struct course *course = &team->courses[lane];
        if (!course->message)
            continue;
        course->at += blocks * BLOCK;
        course->blocks -= blocks;
        if (has_blocks(course))
            continue;
        uint32_t state[STATE];
        get_state(team, lane, state);
        memcpy(course->message->digest, state, MD5_BYTES);
        team->active--;
        take_next(team, lane);
    }
}

static void finish_alone(struct team *team, int lane)
{
    struct course *course = &team->courses[lane];
    uint32_t state[STATE];
    get_state(team, lane, state);
    while (has_blocks(course)) {
        add_blocks(state, course->at, course->blocks);
        course->blocks = 0;
    }
    memcpy(course->message->digest, state, MD5_BYTES);
}

void digest_md5(struct message *messages, size_t count)
{
    struct team team;
    memset(&team, 0, sizeof team);
    team.next = messages;
    team.end = messages + count;
    for (int lane = 0; lane < LANES; lane++)
        take_next(&team, lane);
    while (team.active >= FEWEST)
        go_on(&team);
    for (int lane = 0; lane < LANES; lane++)
        if (team.courses[lane].message)
            finish_alone(&team, lane);
}
