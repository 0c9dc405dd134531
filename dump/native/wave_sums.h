/* One kernel for REAL, float or double: elements under two weights each.  Included once for each, with how many lanes are
   one vector (ACROSS).  As in rows.h, element i is added by lane i % LANES whatever the machine; vectors are written out,
   for compilers vectorise a loop over lanes the wrong way round. */

#define PARTS (LANES / ACROSS)

typedef REAL NAME(lanes) __attribute__((vector_size(ACROSS * sizeof(REAL))));
typedef float NAME(weights) __attribute__((vector_size(ACROSS * sizeof(float))));

ALWAYS_INLINE void NAME(weigh_lanes)(NAME(lanes) even[PARTS], NAME(lanes) odd[PARTS], const REAL *x,
                                     const float *cosines, const float *sines)
{
    for (int part = 0; part < PARTS; part++) {
        NAME(lanes) value;
        NAME(weights) cosine, sine;
        memcpy(&value, x + part * ACROSS, sizeof value);
        memcpy(&cosine, cosines + part * ACROSS, sizeof cosine);
        memcpy(&sine, sines + part * ACROSS, sizeof sine);
        even[part] += value * __builtin_convertvector(cosine, NAME(lanes));
        odd[part] += value * __builtin_convertvector(sine, NAME(lanes));
    }
}

ALWAYS_INLINE double NAME(sum_of_lanes)(const NAME(lanes) parts[PARTS])
{
    doubles total = same(0.0);
    for (int part = 0; part < PARTS; part++) {
        REAL lanes[ACROSS];
        memcpy(lanes, &parts[part], sizeof lanes);
        for (int l = 0; l < ACROSS; l += WIDTH)
            total += (doubles){(double)lanes[l], (double)lanes[l + 1], (double)lanes[l + 2], (double)lanes[l + 3]};
    }
    return sum_of_four(total);
}

FOR_EACH_CPU static void NAME(weigh)(const REAL *x, const float *cosines, const float *sines, size_t count, double *found)
{
    NAME(lanes) even[PARTS], odd[PARTS];
    size_t whole = count - count % LANES, rest = count - whole;
    for (int part = 0; part < PARTS; part++)
        even[part] = odd[part] = (NAME(lanes)){0};
    for (size_t i = 0; i < whole; i += LANES)
        NAME(weigh_lanes)(even, odd, x + i, cosines + i, sines + i);
    if (rest) {
        REAL values[LANES];
        float last[2][LANES];
        for (size_t l = 0; l < LANES; l++) {
            size_t i = l < rest ? whole + l : 0;
            values[l] = l < rest ? x[i] : 0;
            last[0][l] = cosines[i];
            last[1][l] = sines[i];
        }
        NAME(weigh_lanes)(even, odd, values, last[0], last[1]);
    }
    found[0] = NAME(sum_of_lanes)(even);
    found[1] = NAME(sum_of_lanes)(odd);
}

#undef PARTS
