// The selective scan of scan.py and its gradient, in float32 on one thread. build.py compiles and calls it.
//
// Tensors are contiguous: x z dt y (batch, T, D), B C (batch, T, N), A (D, N), skip (D). A block is one vector of channels,
// and a tile is four states. So the state of a tile stays in registers over all T. The gradient receives only the inputs.
// For each tile it runs the recurrence again, keeps the states of that tile, and goes backward in time. Sums over the
// batch and over channels have a fixed order. So two calls give the same bits.

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <vector>

#if defined(__AVX__)
#include <immintrin.h>
#endif

namespace {

#if defined(__AVX512F__)
constexpr int LANES = 16;
#elif defined(__AVX__)
constexpr int LANES = 8;
#else
constexpr int LANES = 4;
#endif
constexpr int TILE = 4;
constexpr float LOG2E = 1.44269504f, LN2 = 0.69314718f;

typedef float Vec __attribute__((vector_size(4 * LANES)));
typedef int32_t Bits __attribute__((vector_size(4 * LANES)));
struct Tile {
    Vec of[TILE] = {};
};
struct Scalars {
    float of[TILE] = {};
};

// Returns b where either is not a number. Intrinsics, because gcc makes two instructions of the ternary operator.
#if defined(__AVX512F__)
inline Vec larger(Vec a, Vec b) { return _mm512_max_ps(a, b); }
inline Vec smaller(Vec a, Vec b) { return _mm512_min_ps(a, b); }
#elif defined(__AVX__)
inline Vec larger(Vec a, Vec b) { return _mm256_max_ps(a, b); }
inline Vec smaller(Vec a, Vec b) { return _mm256_min_ps(a, b); }
#else
inline Vec larger(Vec a, Vec b) { return a > b ? a : b; }
inline Vec smaller(Vec a, Vec b) { return a < b ? a : b; }
#endif

inline Vec load(const float* from, int count) {
    Vec value = {};
    if (count == LANES)
        std::memcpy(&value, from, sizeof value);
    else
        std::memcpy(&value, from, 4 * count);
    return value;
}

inline void store(float* to, Vec value, int count) {
    if (count == LANES)
        std::memcpy(to, &value, sizeof value);
    else
        std::memcpy(to, &value, 4 * count);
}

inline float sum(Vec value) {
    for (int width = LANES / 2; width; width /= 2)
        for (int i = 0; i < width; i++) value[i] += value[i + width];
    return value[0];
}

// 2^x with a relative error of 1e-7. x is clamped to the range where 2^x is a normal number. Adding 1.5 * 2^23 rounds x and
// leaves the integer in the low bits. A shift moves it into the exponent. A polynomial maps the fraction in [-1/2, 1/2].
inline Vec exp2(Vec x) {
    x = smaller(Vec{} + 127.0f, larger(Vec{} - 126.0f, x));
    const Vec rounded = x + 12582912.0f, r = x - (rounded - 12582912.0f);
    Vec p = Vec{} + 1.32647e-3f;
    p = p * r + 9.67151e-3f;
    p = p * r + 5.550734e-2f;
    p = p * r + 0.24022242f;
    p = p * r + 0.69314698f;
    p = p * r + 1.0f;
    return (Vec)((Bits)p + ((Bits)rounded << 23));
}

inline Vec sigmoid(Vec x) { return 1.0f / (1.0f + exp2(x * -LOG2E)); }

// max(x, 0) + log(1 + e) with e = exp(-|x|). The logarithm is 2 artanh(s) with s = e / (2 + e) <= 1/3, a series in s^2.
inline Vec softplus(Vec x) {
    const Vec e = exp2(smaller(x, -x) * LOG2E), s = e / (2.0f + e), w = s * s;
    Vec q = Vec{} + 0.14089167f;
    q = q * w + 0.13980301f;
    q = q * w + 0.20012455f;
    q = q * w + 0.33333157f;
    q = q * w + 1.0f;
    return larger(x, Vec{}) + 2.0f * s * q;
}

struct Sizes {
    int64_t batch, T, D, N;
    int64_t blocks() const { return (D + LANES - 1) / LANES; }
    int64_t tiles() const { return (N + TILE - 1) / TILE; }
};

struct Tensors {
    const float *x, *z, *dt, *A, *B, *C, *skip, *grad_y;
    float *y, *grad_x, *grad_z, *grad_dt, *grad_A, *grad_B, *grad_C, *grad_skip;
    float* state;  // (batch, D, N) or null. First the initial state, then the final one. Only without a gradient
};

struct Step {
    Vec dt, u, y, grad_y, grad_u, grad_dt;
};

// A log2(e), by block and tile. Channels and states beyond the last are zero, here and in B and C.
std::vector<Tile> pack_A(Sizes is, const float* A) {
    std::vector<Tile> packed(is.blocks() * is.tiles());
    for (int64_t d = 0; d < is.D; d++)
        for (int64_t n = 0; n < is.N; n++)
            packed[d / LANES * is.tiles() + n / TILE].of[n % TILE][d % LANES] = A[d * is.N + n] * LOG2E;
    return packed;
}

// B or C of one sequence, by tile and step.
void pack(Sizes is, const float* from, std::vector<Scalars>& to) {
    for (int64_t t = 0; t < is.T; t++)
        for (int64_t n = 0; n < is.N; n++) to[n / TILE * is.T + t].of[n % TILE] = from[t * is.N + n];
}

// Computes y from the inputs. With GRADIENT it computes the gradients of the inputs from the gradient of y.
template <bool GRADIENT>
void scan(Sizes is, const Tensors& of) {
    const auto As = pack_A(is, of.A);
    std::vector<Scalars> Bs(is.tiles() * is.T), Cs(Bs.size());
    std::vector<Step> steps(is.T);
    const size_t few = GRADIENT ? is.T + 1 : 0, many = GRADIENT ? Bs.size() : 0;
    std::vector<Tile> states(few), decays(few), sum_A(As.size()), sum_B(many), sum_C(many);
    std::vector<Vec> sum_skip(is.blocks(), Vec{});
    for (int64_t b = 0; b < is.batch; b++) {
        pack(is, of.B + b * is.T * is.N, Bs);
        pack(is, of.C + b * is.T * is.N, Cs);
        std::fill(sum_B.begin(), sum_B.end(), Tile());
        std::fill(sum_C.begin(), sum_C.end(), Tile());
        for (int64_t block = 0; block < is.blocks(); block++) {
            const int count = std::min<int64_t>(LANES, is.D - block * LANES);
            const int64_t start = b * is.T * is.D + block * LANES;
            const Vec skip = load(of.skip + block * LANES, count);
            for (int64_t t = 0, at = start; t < is.T; t++, at += is.D) {
                const Vec x = load(of.x + at, count), dt = softplus(load(of.dt + at, count));
                steps[t] = {dt, dt * x, skip * x, Vec{}, Vec{}, Vec{}};
                if constexpr (GRADIENT) {
                    const Vec z = load(of.z + at, count);
                    steps[t].grad_y = load(of.grad_y + at, count) * z * sigmoid(z);
                }
            }
            for (int64_t tile = 0; tile < is.tiles(); tile++) {
                const Tile a = As[block * is.tiles() + tile];
                const Scalars *Bt = &Bs[tile * is.T], *Ct = &Cs[tile * is.T];
                Tile h;
                float* kept = of.state ? of.state + (b * is.D + block * LANES) * is.N + tile * TILE : nullptr;
                const int64_t states_here = std::min<int64_t>(TILE, is.N - tile * TILE);
                if (kept)
                    for (int n = 0; n < states_here; n++)
                        for (int d = 0; d < count; d++) h.of[n][d] = kept[d * is.N + n];
                for (int64_t t = 0; t < is.T; t++) {
                    const Vec dt = steps[t].dt, u = steps[t].u, grad_y = steps[t].grad_y;
                    Vec y = steps[t].y;
                    for (int n = 0; n < TILE; n++) {
                        const Vec decay = exp2(dt * a.of[n]);
                        h.of[n] = decay * h.of[n] + u * Bt[t].of[n];
                        y += h.of[n] * Ct[t].of[n];
                        if constexpr (GRADIENT) {
                            decays[t].of[n] = decay;
                            states[t + 1].of[n] = h.of[n];
                            sum_C[tile * is.T + t].of[n] += h.of[n] * grad_y;
                        }
                    }
                    steps[t].y = y;
                }
                if (kept)
                    for (int n = 0; n < states_here; n++)
                        for (int d = 0; d < count; d++) kept[d * is.N + n] = h.of[n][d];
                if constexpr (!GRADIENT) continue;
                Tile grad_h, sum_a;
                for (int64_t t = is.T - 1; t >= 0; t--) {
                    const Vec dt = steps[t].dt, u = steps[t].u, grad_y = steps[t].grad_y;
                    Vec grad_u = steps[t].grad_u, grad_dt = steps[t].grad_dt;
                    for (int n = 0; n < TILE; n++) {
                        const Vec g = grad_h.of[n] + grad_y * Ct[t].of[n];
                        grad_u += g * Bt[t].of[n];
                        sum_B[tile * is.T + t].of[n] += g * u;
                        grad_h.of[n] = g * decays[t].of[n];
                        const Vec exponent = grad_h.of[n] * states[t].of[n];  // gradient of dt A
                        sum_a.of[n] += exponent * dt;
                        grad_dt += exponent * a.of[n];
                    }
                    steps[t].grad_u = grad_u, steps[t].grad_dt = grad_dt;
                }
                for (int n = 0; n < TILE; n++) sum_A[block * is.tiles() + tile].of[n] += sum_a.of[n];
            }
            Vec sum_d = {};
            for (int64_t t = 0, at = start; t < is.T; t++, at += is.D) {
                const Step& s = steps[t];
                const Vec z = load(of.z + at, count), open = sigmoid(z);
                if constexpr (GRADIENT) {
                    const Vec x = load(of.x + at, count), slope = sigmoid(load(of.dt + at, count));
                    store(of.grad_x + at, s.grad_u * s.dt + s.grad_y * skip, count);
                    const Vec grad = load(of.grad_y + at, count) * s.y;
                    store(of.grad_z + at, grad * open * (1.0f + z * (1.0f - open)), count);
                    store(of.grad_dt + at, (s.grad_dt * LN2 + s.grad_u * x) * slope, count);
                    sum_d += s.grad_y * x;
                } else {
                    store(of.y + at, s.y * z * open, count);
                }
            }
            sum_skip[block] += sum_d;
        }
        for (int64_t t = 0; GRADIENT && t < is.T; t++)
            for (int64_t n = 0; n < is.N; n++) {
                const int64_t to = (b * is.T + t) * is.N + n, at = n / TILE * is.T + t;
                of.grad_B[to] = sum(sum_B[at].of[n % TILE]);
                of.grad_C[to] = sum(sum_C[at].of[n % TILE]);
            }
    }
    for (int64_t d = 0; GRADIENT && d < is.D; d++) {
        of.grad_skip[d] = sum_skip[d / LANES][d % LANES];
        for (int64_t n = 0; n < is.N; n++)
            of.grad_A[d * is.N + n] = sum_A[d / LANES * is.tiles() + n / TILE].of[n % TILE][d % LANES];
    }
}

}  // namespace

extern "C" void dmm_scan(Sizes is, const Tensors* of) { scan<false>(is, *of); }
extern "C" void dmm_scan_gradient(Sizes is, const Tensors* of) { scan<true>(is, *of); }
