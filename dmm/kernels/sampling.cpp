// Sampling of a batch: its windows, and the masks of dropout. sampling.py calls both. The bits are those of PyTorch.

#include <algorithm>
#include <cstdint>

namespace {

constexpr int N = 624, M = 397;

// PyTorch's Mersenne twister, as it is stored in the state of a generator.
struct Generator {
    uint64_t seed;
    int32_t left, seeded;
    uint64_t next, state[N];
};

inline uint32_t twisted(uint32_t u, uint32_t v) {
    return (((u & 0x80000000u) | (v & 0x7fffffffu)) >> 1) ^ (-(v & 1u) & 0x9908b0dfu);
}

struct Twister {
    Generator& generator;
    uint32_t state[N], words[N];  // words: the state tempered
    int at;

    explicit Twister(Generator& of) : generator(of), at(of.left == 1 ? N : int(of.next)) {
        std::copy(of.state, of.state + N, state);
        temper();
    }
    void temper() {
        for (int i = 0; i < N; i++) {
            uint32_t y = state[i];
            y ^= y >> 11;
            y ^= (y << 7) & 0x9d2c5680u;
            y ^= (y << 15) & 0xefc60000u;
            words[i] = y ^ (y >> 18);
        }
    }
    void advance() {
        for (int i = 0; i < N - M; i++) state[i] = state[i + M] ^ twisted(state[i], state[i + 1]);
        for (int i = N - M; i < N - 1; i++) state[i] = state[i + M - N] ^ twisted(state[i], state[i + 1]);
        state[N - 1] = state[M - 1] ^ twisted(state[N - 1], state[0]);
        temper();
        at = 0;
    }
    uint32_t word() {
        if (at == N) advance();
        return words[at++];
    }
    ~Twister() {
        std::copy(state, state + N, generator.state);
        generator.next = at;
        generator.left = N - at + 1;
    }
};

}  // namespace

// noise is `value` where a number in [0, 1) of 53 random bits is below keep, else 0. A number takes two words, the high one first.
extern "C" void dmm_dropout_mask(void* generator, double keep, float value, int64_t count, float* noise) {
    Twister twister(*static_cast<Generator*>(generator));
    const uint64_t limit = uint64_t(keep * 9007199254740992.0);  // 2^53 keep: an integer for every double in [1/2, 1]
    int64_t i = 0;
    while (i < count) {
        const int64_t pairs = std::min<int64_t>(count - i, (N - twister.at) / 2);
        const uint32_t* words = twister.words + twister.at;
        for (int64_t j = 0; j < pairs; j++) {
            const uint64_t bits = (uint64_t(words[2 * j]) << 32 | words[2 * j + 1]) & ((uint64_t(1) << 53) - 1);
            noise[i + j] = bits < limit ? value : 0.0f;
        }
        i += pairs, twister.at += 2 * pairs;
        if (i < count) {  // this number takes one word from each of two states
            const uint64_t high = twister.word(), low = twister.word();
            noise[i++] = ((high << 32 | low) & ((uint64_t(1) << 53) - 1)) < limit ? value : 0.0f;
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
