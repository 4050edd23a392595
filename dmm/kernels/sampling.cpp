// Sampling of a batch: its windows, and the masks of dropout. sampling.py calls both. The bits are those of PyTorch.

#include <algorithm>
#include <cstdint>

namespace {

constexpr uint32_t GOLDEN = 0x9e3779b9, FACTOR_1 = 0x7feb352d, FACTOR_2 = 0x846ca68b, FACTOR_3 = 0x31848bab;

// Chris Wellons' lowbias32
inline uint32_t mixed(uint32_t x) {
    x = (x ^ x >> 16) * FACTOR_1;
    x = (x ^ x >> 15) * FACTOR_2;
    return x ^ x >> 16;
}

}  // namespace

extern "C" void dmm_row_keys(uint64_t key, int64_t first_row, int64_t rows, uint32_t* keys) {
    for (uint32_t word = 1; word <= 2; word++) {
        const uint32_t of_key = mixed(mixed(word ^ uint32_t(key)) ^ uint32_t(key >> 32));
        for (int64_t row = first_row; row < first_row + rows; row++) *keys++ = mixed(of_key ^ uint32_t(row));
    }
}

struct Mask {
    int64_t rows, outer, tokens, inner;  // the whole sequence
    int64_t start, step, count;          // the tokens that are read
    int64_t call;
    int32_t limit;
    float value;
    const uint32_t* keys;  // 2 rows
    float* found;          // rows outer count inner
};

extern "C" void dmm_dropout_mask(const Mask* of) {
    const bool together = of->step == 1;
    const int64_t runs = together ? 1 : of->count, length = together ? of->count * of->inner : of->inner;
    const int32_t limit = of->limit;
    const float value = of->value;
    float* to = of->found;
    for (int64_t row = 0; row < of->rows; row++) {
        const uint32_t first = mixed(of->keys[row] ^ uint32_t(of->call));
        const uint32_t second = mixed(of->keys[of->rows + row] ^ uint32_t(of->call));
        for (int64_t o = 0; o < of->outer; o++) {
            for (int64_t run = 0; run < runs; run++, to += length) {
                const uint32_t place = uint32_t((o * of->tokens + of->start + run * of->step) * of->inner);
                for (int64_t i = 0; i < length; i++) {
                    uint32_t x = (place + uint32_t(i)) * GOLDEN + first;
                    x = (x ^ x >> 16) * FACTOR_1 ^ second;
                    x = (x ^ x >> 15) * FACTOR_2;
                    x = (x ^ x >> 16) * FACTOR_3;
                    to[i] = int32_t(x) < limit ? value : 0.0f;
                }
            }
        }
    }
}

struct Windows {
    int64_t batch, K, columns, left;
    const int64_t *start, *end;  // rows of the table, by window
    const float *table, *shift, *divisor, *pad;
    float* found;  // batch K columns
    bool* mask;    // batch K
};

extern "C" void dmm_gather_windows(const Windows* of) {
    const int64_t C = of->columns;
    float* to = of->found;
    for (int64_t b = 0; b < of->batch; b++) {
        const int64_t count = std::min(of->end[b] - of->start[b], of->K), first = of->left ? of->K - count : 0;
        const float* from = of->table + of->start[b] * C;
        for (int64_t k = 0; k < of->K; k++, to += C) {
            const bool real = of->mask[b * of->K + k] = k >= first && k < first + count;
            if (real) {
                for (int64_t c = 0; c < C; c++) to[c] = (from[c] - of->shift[c]) / of->divisor[c];
                from += C;
            } else {
                for (int64_t c = 0; c < C; c++) to[c] = (0.0f - of->shift[c]) / of->divisor[c] + of->pad[c];
            }
        }
    }
}
