#include "widen.h"

#include <math.h>
#include <string.h>

const unsigned char element_size[DTYPES] = {8, 4, 2, 2, 1, 1, 1, 1, 1, 1, 1, 2, 2, 4, 4, 8, 8};

#define EIGHT_BITS (FLOAT8_E5M2FNUZ - FLOAT8_E4M3FN + 1)

static float eight_bits[EIGHT_BITS][256];

/* One 8-bit float: IEEE's (`ieee`, with infinities), `fn` (one NaN of either sign) or `fnuz` (0x80 is the only NaN). */
enum kind { IEEE, FN, FNUZ };

static float decode(unsigned code, int mantissa_bits, int bias, enum kind kind)
{
    int exponent_bits = 7 - mantissa_bits;
    unsigned top = (1u << exponent_bits) - 1, exponent = (code >> mantissa_bits) & top;
    unsigned mantissa = code & ((1u << mantissa_bits) - 1);
    float sign = code & 0x80 ? -1.0f : 1.0f;
    if (kind == FNUZ && code == 0x80)
        return NAN;
    if (kind == FN && (code & 0x7f) == 0x7f)
        return NAN;
    if (kind == IEEE && exponent == top)
        return mantissa ? NAN : sign * INFINITY;
    if (!exponent)
        return sign * ldexpf((float)mantissa, 1 - bias - mantissa_bits);
    return sign * ldexpf((float)(mantissa | 1u << mantissa_bits), (int)exponent - bias - mantissa_bits);
}

void widen_prepare(void)
{
    for (unsigned code = 0; code < 256; code++) {
        eight_bits[FLOAT8_E4M3FN - FLOAT8_E4M3FN][code] = decode(code, 3, 7, FN);
        eight_bits[FLOAT8_E5M2 - FLOAT8_E4M3FN][code] = decode(code, 2, 15, IEEE);
        eight_bits[FLOAT8_E4M3FNUZ - FLOAT8_E4M3FN][code] = decode(code, 3, 8, FNUZ);
        eight_bits[FLOAT8_E5M2FNUZ - FLOAT8_E4M3FN][code] = decode(code, 2, 16, FNUZ);
    }
}

/* `count` elements, STRIP of them at a time, and memory asked for ahead. */
#define STRIP 64
#define IN_STRIPS(EACH)                                                                                                \
    size_t i = 0;                                                                                                      \
    for (; i + STRIP <= count; i += STRIP) {                                                                           \
        fetch_ahead(source + i, STRIP * sizeof *source);                                                               \
        for (size_t j = i; j < i + STRIP; j++)                                                                         \
            EACH(j)                                                                                                    \
    }                                                                                                                  \
    for (; i < count; i++)                                                                                             \
        EACH(i)

FOR_EACH_CPU static void from_bfloat16(const uint16_t *source, size_t count, float *out)
{
#define EACH(i)                                                                                                        \
    {                                                                                                                  \
        uint32_t bits = (uint32_t)source[i] << 16;                                                                     \
        memcpy(&out[i], &bits, sizeof bits);                                                                           \
    }
    IN_STRIPS(EACH)
#undef EACH
}

/* By the exponent's offset: a product with 2**112 moves it, subnormals included, and infinities are put right. */
FOR_EACH_CPU static void from_float16(const uint16_t *source, size_t count, float *out)
{
#define EACH(i)                                                                                                        \
    {                                                                                                                  \
        uint32_t half = source[i], magnitude = half & 0x7fff, bits = magnitude << 13;                                  \
        float value;                                                                                                   \
        memcpy(&value, &bits, sizeof value);                                                                           \
        value *= 0x1p112f;                                                                                             \
        memcpy(&bits, &value, sizeof bits);                                                                            \
        bits |= magnitude >= 0x7c00 ? 0x7f800000u : 0u;                                                                \
        bits |= (half & 0x8000) << 16;                                                                                 \
        memcpy(&out[i], &bits, sizeof bits);                                                                           \
    }
    IN_STRIPS(EACH)
#undef EACH
}

#define CAST(i) out[i] = (__typeof__(*out))source[i];
#define CONVERT(NAME, FROM, TO)                                                                                        \
    FOR_EACH_CPU static void NAME(const FROM *source, size_t count, TO *out) { IN_STRIPS(CAST) }

CONVERT(float_from_uint8, uint8_t, float)
CONVERT(float_from_int8, int8_t, float)
CONVERT(float_from_uint16, uint16_t, float)
CONVERT(float_from_int16, int16_t, float)
CONVERT(double_from_float, float, double)
CONVERT(double_from_uint32, uint32_t, double)
CONVERT(double_from_int32, int32_t, double)
CONVERT(double_from_uint64, uint64_t, double)
CONVERT(double_from_int64, int64_t, double)

FOR_EACH_CPU static void from_bool(const uint8_t *source, size_t count, float *out)
{
    for (size_t i = 0; i < count; i++)
        out[i] = source[i] ? 1.0f : 0.0f;
}

void widen_to_float(const void *source, int dtype, size_t count, float *out)
{
    const unsigned char *from = source;
    switch (dtype) {
    case FLOAT32:
        memcpy(out, from, count * sizeof *out);
        return;
    case FLOAT16:
        from_float16((const uint16_t *)from, count, out);
        return;
    case BFLOAT16:
        from_bfloat16((const uint16_t *)from, count, out);
        return;
    case BOOL:
        from_bool((const uint8_t *)from, count, out);
        return;
    case UINT8:
        float_from_uint8((const uint8_t *)from, count, out);
        return;
    case INT8:
        float_from_int8((const int8_t *)from, count, out);
        return;
    case UINT16:
        float_from_uint16((const uint16_t *)from, count, out);
        return;
    case INT16:
        float_from_int16((const int16_t *)from, count, out);
        return;
    default: {
        const float *table = eight_bits[dtype - FLOAT8_E4M3FN];
        for (size_t i = 0; i < count; i++)
            out[i] = table[from[i]];
    }
    }
}

#define PIECE 1024

void widen_to_double(const void *source, int dtype, size_t count, double *out)
{
    const unsigned char *from = source;
    float piece[PIECE];
    switch (dtype) {
    case FLOAT64:
        memcpy(out, from, count * sizeof *out);
        return;
    case FLOAT32:
        double_from_float((const float *)from, count, out);
        return;
    case UINT32:
        double_from_uint32((const uint32_t *)from, count, out);
        return;
    case INT32:
        double_from_int32((const int32_t *)from, count, out);
        return;
    case UINT64:
        double_from_uint64((const uint64_t *)from, count, out);
        return;
    case INT64:
        double_from_int64((const int64_t *)from, count, out);
        return;
    default:
        for (size_t at = 0; at < count; at += PIECE) {
            size_t length = count - at < PIECE ? count - at : PIECE;
            widen_to_float(from + at * element_size[dtype], dtype, length, piece);
            double_from_float(piece, length, out + at);
        }
    }
}
