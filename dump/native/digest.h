/* MD5 of many memories at once. */
#ifndef ACC_DIGEST_H
#define ACC_DIGEST_H

#include "build.h"

#define MD5_BYTES 16

struct message {
    const uint8_t *start;
    size_t count;
    uint8_t digest[MD5_BYTES];
};

/* Once, before the first digest. */
void digest_prepare(void);

/* Fills in the digests.  They begin in the order given: the longest first end soonest. */
void digest_md5(struct message *messages, size_t count);

#endif
