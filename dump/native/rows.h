/* One kernel for REAL, float or double: rows of the sketch and all other sums, in one pass over a chunk that begins at a
   multiple of CHUNK elements.  Included once for each.

   Whatever the machine, element i of a row is added by lane i % LANES, a row's lanes are widened to double and added to
   those of its bucket: sums round alike everywhere. */

FOR_EACH_CPU static void NAME(add_wide_rows)(struct sums *sums, const REAL *x, size_t start, size_t count, size_t span)
{
    REAL high[LANES], low[LANES];
    for (int l = 0; l < LANES; l++) {
        high[l] = (REAL)-INFINITY;
        low[l] = (REAL)INFINITY;
    }
    size_t first = start / span;
    for (size_t at = 0; at < count; at += span) {
        size_t row = first + at / span;
        const float *column = column_signs + (row % BUCKETS) * span;
        REAL total[LANES] = {0}, squares[LANES] = {0}, signed_sum[LANES] = {0};
        size_t length = count - at < span ? count - at : span;
        size_t whole = length - length % LANES;
        const REAL *values = x + at;
        for (size_t i = 0; i < whole; i += LANES) {
            fetch_ahead(values + i, LANES * sizeof(REAL));
            for (int l = 0; l < LANES; l++) {
                REAL value = values[i + l];
                total[l] += value;
                squares[l] += value * value;
                signed_sum[l] += value * (REAL)column[i + l];
                high[l] = value > high[l] ? value : high[l];
                low[l] = value < low[l] ? value : low[l];
            }
        }
        for (size_t i = whole; i < length; i++) {
            size_t l = i - whole;
            REAL value = values[i];
            total[l] += value;
            squares[l] += value * value;
            signed_sum[l] += value * (REAL)column[i];
            high[l] = value > high[l] ? value : high[l];
            low[l] = value < low[l] ? value : low[l];
        }
        double sign = row_signs[row % ROW_PERIOD], *bucket = sums->buckets[bucket_of(row)];
        for (int l = 0; l < LANES; l++) {
            sums->total[l] += (double)total[l];
            sums->squares[l] += (double)squares[l];
            bucket[l] += sign * (double)signed_sum[l];
        }
    }
    for (int l = 0; l < LANES; l++) {
        sums->high = high[l] > sums->high ? high[l] : sums->high;
        sums->low = low[l] < sums->low ? low[l] : sums->low;
    }
}

/* The same for rows shorter than LANES, of which only a tensor below CHUNK elements has any.  BUCKETS rows are a group,
   and the group's rows go to the buckets in turn, from a place of its own. */
ALWAYS_INLINE void NAME(add_groups)(struct sums *sums, const REAL *x, size_t count, size_t span)
{
    size_t whole = count - count % (BUCKETS * span), row = 0;
    for (size_t at = 0; at < whole; at += BUCKETS * span, row += BUCKETS) {
        REAL signed_values[BUCKETS * LANES];
        double group[BUCKETS];
        for (size_t i = 0; i < BUCKETS * span; i++)
            signed_values[i] = x[at + i] * (REAL)column_signs[i];
        for (size_t r = 0; r < BUCKETS; r++) {
            double sum = 0;
            for (size_t i = 0; i < span; i++)
                sum += (double)signed_values[r * span + i];
            group[r] = row_signs[row + r] * sum;
        }
        unsigned first = bucket_of(row);
        for (unsigned r = 0; r < BUCKETS; r++)
            sums->buckets[(first + r) % BUCKETS][0] += group[r];
    }
    for (size_t i = whole; i < count; i++) {
        row = i / span;
        sums->buckets[bucket_of(row)][0] += row_signs[row] * (double)x[i] * column_signs[i - whole];
    }
}

FOR_EACH_CPU static void NAME(add_narrow_rows)(struct sums *sums, const REAL *x, size_t count, size_t span)
{
    REAL high[LANES], low[LANES];
    for (int l = 0; l < LANES; l++)
        high[l] = low[l] = x[0];
    switch (span) {
    case 1:
        NAME(add_groups)(sums, x, count, 1);
        break;
    case 2:
        NAME(add_groups)(sums, x, count, 2);
        break;
    case 4:
        NAME(add_groups)(sums, x, count, 4);
        break;
    default:
        NAME(add_groups)(sums, x, count, 8);
    }
    size_t whole = count - count % LANES;
    for (size_t i = 0; i < whole; i += LANES)
        for (int l = 0; l < LANES; l++) {
            REAL value = x[i + l], square = value * value;
            sums->total[l] += (double)value;
            sums->squares[l] += (double)square;
            high[l] = value > high[l] ? value : high[l];
            low[l] = value < low[l] ? value : low[l];
        }
    for (size_t i = whole; i < count; i++) {
        size_t l = i - whole;
        REAL value = x[i], square = value * value;
        sums->total[l] += (double)value;
        sums->squares[l] += (double)square;
        high[l] = value > high[l] ? value : high[l];
        low[l] = value < low[l] ? value : low[l];
    }
    for (int l = 0; l < LANES; l++) {
        sums->high = high[l] > sums->high ? high[l] : sums->high;
        sums->low = low[l] < sums->low ? low[l] : sums->low;
    }
}

static void NAME(add_rows)(struct sums *sums, const REAL *x, size_t start, size_t count, size_t span)
{
    if (span < LANES)
        NAME(add_narrow_rows)(sums, x, count, span);
    else
        NAME(add_wide_rows)(sums, x, start, count, span);
}
