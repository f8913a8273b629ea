// Factorised normal weights: their noise, their draws, their divergence and its derivatives, each in one pass.
//
// The numbers are those of posterity.kernels.random: Threefry-2x32 of 13 rounds (Salmon et al. 2011), and Box and
// Muller's (1958) pairs half the tensor apart. Everything is elementwise in float32. Blocks fit the first cache, loops
// are written for the compiler to vectorise, and threads share out the blocks; no result depends on their number.
#include <cmath>
#include <cstdint>
#include <cstring>
#include <vector>

namespace {

constexpr float LEAST = -87.0f;  // exp of it is a normal number

constexpr int64_t BLOCK = 512;  // counters at a time
constexpr int64_t CHUNK = 8192;  // elements of one partial sum

inline uint32_t rotated(uint32_t word, int bits) { return (word << bits) | (word >> (32 - bits)); }

// The polynomials interpolate at Chebyshev's nodes, each within a rounding or two of float32.

// exp(x) for x <= 0, not below the least normal number.
inline float exponential(float x) {
    x = x < LEAST ? LEAST : x;
    float whole = std::nearbyintf(x * 1.44269504f);
    float r = (x - whole * 0.693359375f) + whole * 2.12194440e-4f;
    float p = 0.001392617611993558f * r + 0.008363173074513711f;
    p = p * r + 0.041666554662050534f;
    p = p * r + 0.1666657702559799f;
    p = p * r + 0.5f;
    p = (p * r * r + r) + 1.0f;
    int32_t bits;
    std::memcpy(&bits, &p, 4);
    bits += (int32_t)whole << 23;
    std::memcpy(&p, &bits, 4);
    return p;
}

// log(1 + e) for 0 <= e <= 1, as 2 artanh(e / (2 + e)).
inline float logarithm_above_one(float e) {
    float s = e / (2.0f + e), z = s * s;
    float p = 0.13425749011418575f * z + 0.1411830990265524f;
    p = p * z + 0.20003780322455603f;
    p = p * z + 0.33333320168349617f;
    return 2.0f * (s + s * z * p);
}

// log(x) for normal numbers x > 0.
inline float logarithm(float x) {
    int32_t bits, exponent;
    std::memcpy(&bits, &x, 4);
    // Significands from sqrt(1/2) to sqrt(2).
    bits -= 0x3f3504f3;
    exponent = bits >> 23;
    bits = (bits & 0x007fffff) + 0x3f3504f3;
    float m;
    std::memcpy(&m, &bits, 4);
    float t = m - 1.0f, k = (float)exponent;
    float p = 0.09048784427322608f * t - 0.14030892198395475f;
    p = p * t + 0.14703899165718667f;
    p = p * t - 0.16602718852981876f;
    p = p * t + 0.19984223247260396f;
    p = p * t - 0.25000702550677173f;
    p = p * t + 0.3333341539881215f;
    float square = t * t;
    float low = p * t * square - 0.5f * square + k * -2.12194440e-4f;
    return (t + low) + k * 0.693359375f;
}

struct Scale {
    float value, slope;
};

// softplus(rho) and its derivative, the logistic function.
inline Scale softplus(float rho) {
    float e = exponential(-std::fabs(rho)), reciprocal = 1.0f / (1.0f + e);
    bool negative = rho < 0.0f;
    return {(negative ? 0.0f : rho) + logarithm_above_one(e), negative ? e * reciprocal : reciprocal};
}

struct Key {
    uint32_t first, second, stream;
};

// The words of `size` counters from `start`.
inline void words(Key key, uint32_t start, int64_t size, uint32_t* first, uint32_t* second) {
    const uint32_t third = key.first ^ key.second ^ 0x1BD11BDAu;
    const uint32_t begin = start + key.first, column = key.stream + key.second;
    const uint32_t key0 = key.first, key1 = key.second;
#pragma omp simd
    for (int64_t i = 0; i < size; ++i) {
        uint32_t x = begin + (uint32_t)i, y = column;
        x += y; y = rotated(y, 13) ^ x;
        x += y; y = rotated(y, 15) ^ x;
        x += y; y = rotated(y, 26) ^ x;
        x += y; y = rotated(y, 6) ^ x;
        x += key1; y += third + 1;
        x += y; y = rotated(y, 17) ^ x;
        x += y; y = rotated(y, 29) ^ x;
        x += y; y = rotated(y, 16) ^ x;
        x += y; y = rotated(y, 24) ^ x;
        x += third; y += key0 + 2;
        x += y; y = rotated(y, 13) ^ x;
        x += y; y = rotated(y, 15) ^ x;
        x += y; y = rotated(y, 26) ^ x;
        x += y; y = rotated(y, 6) ^ x;
        x += key0; y += key1 + 3;
        x += y; y = rotated(y, 17) ^ x;
        first[i] = x;
        second[i] = y;
    }
}

// Two standard normal numbers from every counter.
inline void normals(Key key, uint32_t start, int64_t size, float* cosines, float* sines) {
    uint32_t first[BLOCK], second[BLOCK];
    words(key, start, size, first, second);
#pragma omp simd
    for (int64_t i = 0; i < size; ++i) {
        float u = ((float)(int32_t)(first[i] & 0x7fffffffu) + 0.5f) * 0x1p-31f;
        float length = std::sqrt(-2.0f * logarithm(u));
        float x = (float)(int32_t)second[i] * 0x1p-31f, z = x * x;
        float c = -2.3824152439014107e-05f * z + 0.0009177229241995567f;
        c = c * z - 0.02086268670922735f;
        c = c * z + 0.2536693221726959f;
        c = c * z - 1.2337005342322365f;
        c = c * z + 0.999999999779154f;
        float s = 0.0001516717036640896f * z - 0.0046741438381517775f;
        s = s * z + 0.0796899183290285f;
        s = s * z - 0.6459637595835394f;
        s = s * z + 1.5707963200386017f;
        s *= x;
        cosines[i] = length * (1.0f - 2.0f * s * s);
        sines[i] = length * (2.0f * s * c);
    }
}

template <class Body>
void in_blocks(int64_t size, int64_t block, int32_t threads, Body body) {
    const int64_t number = (size + block - 1) / block;
#pragma omp parallel for num_threads(threads) if (threads > 1)
    for (int64_t b = 0; b < number; ++b) {
        const int64_t start = b * block, end = start + block;
        body(b, start, end < size ? block : size - start);
    }
}

template <class Body>
double total(int64_t size, int32_t threads, Body body) {
    std::vector<double> sums((size + CHUNK - 1) / CHUNK);
    in_blocks(size, CHUNK, threads, [&](int64_t b, int64_t start, int64_t count) { sums[b] = body(start, count); });
    double sum = 0;
    for (double s : sums) sum += s;
    return sum;
}

inline Key key_of(const int32_t* key, int32_t stream) {
    return {(uint32_t)key[0], (uint32_t)key[1], (uint32_t)stream};
}

// The two halves of a block's elements, in a tensor whose second half may be one element shorter.
template <class Body>
void in_halves(int64_t size, const int32_t* words_of_key, int32_t stream, int32_t threads, Body body) {
    const Key key = key_of(words_of_key, stream);
    const int64_t half = (size + 1) / 2;
    in_blocks(half, BLOCK, threads, [=](int64_t, int64_t start, int64_t count) {
        float cosines[BLOCK], sines[BLOCK];
        normals(key, (uint32_t)start, count, cosines, sines);
        body(start, count, cosines);
        const int64_t second = half + start;
        body(second, second + count <= size ? count : size - second, sines);
    });
}

template <bool WITH_LOC, bool WITH_SLOPE>
void draw(const float* loc, const float* rho, float* out, float* slope, int64_t size, const int32_t* key,
          int32_t stream, int32_t threads) {
    in_halves(size, key, stream, threads, [=](int64_t start, int64_t count, const float* noise) {
        const float* r = rho + start;
        const float* l = WITH_LOC ? loc + start : nullptr;
        float* o = out + start;
        float* d = WITH_SLOPE ? slope + start : nullptr;
#pragma omp simd
        for (int64_t i = 0; i < count; ++i) {
            Scale scale = softplus(r[i]);
            o[i] = WITH_LOC ? l[i] + scale.value * noise[i] : scale.value * noise[i];
            if (WITH_SLOPE) d[i] = scale.slope * noise[i];
        }
    });
}

// A scale of which two can be multiplied; what its logarithm then is too large by, and its square.
struct Spread {
    float scale, excess, square;
};

inline Spread spread(float rho) {
    constexpr float FLOOR = -41.0f;  // below it a scale's logarithm is rho, and its square nothing
    float scale = softplus(rho < FLOOR ? FLOOR : rho).value, excess = FLOOR - rho;
    return {scale, excess < 0.0f ? 0.0f : excess, scale * scale};
}

// Parts of the divergence: of one element, and of two.
inline float term(float shift, Spread s, float squares) {
    return squares * (s.square + shift * shift) + s.excess - logarithm(s.scale);
}

inline float pair_term(float shift, float rho, float other_shift, float other_rho, float squares) {
    Spread s = spread(rho), t = spread(other_rho);
    float both = s.square + t.square + shift * shift + other_shift * other_shift;
    return squares * both + (s.excess + t.excess) - logarithm(s.scale * t.scale);
}

}  // namespace

extern "C" void fill_words(int32_t* first, int32_t* second, int64_t size, const int32_t* key, int32_t stream) {
    for (int64_t i = 0; i < size; i += BLOCK)
        words(key_of(key, stream), (uint32_t)i, size - i < BLOCK ? size - i : BLOCK, (uint32_t*)first + i,
              (uint32_t*)second + i);
}

extern "C" void fill_normal(float* out, int64_t size, const int32_t* key, int32_t stream, int32_t threads) {
    in_halves(size, key, stream, threads, [=](int64_t start, int64_t count, const float* noise) {
        std::memcpy(out + start, noise, count * sizeof(float));
    });
}

// loc + softplus(rho) noise, without loc where that is null; `slope` receives the derivative by rho where not null.
extern "C" void draw_weights(const float* loc, const float* rho, float* out, float* slope, int64_t size,
                             const int32_t* key, int32_t stream, int32_t threads) {
    auto variant = loc ? (slope ? draw<true, true> : draw<true, false>) : (slope ? draw<false, true> : draw<false, false>);
    variant(loc, rho, out, slope, size, key, stream, threads);
}

// KL(Normal(loc, softplus(rho)) || Normal(prior_loc, prior_scale)), summed, with one prior scale; prior_loc null: zero.
extern "C" double normal_kl(const float* loc, const float* rho, const float* prior_loc, float prior_scale, int64_t size,
                            int32_t threads) {
    const float squares = (float)(0.5 / ((double)prior_scale * prior_scale));
    return total(size, threads, [=](int64_t start, int64_t count) {
        double sum = 0;
        float terms[BLOCK / 2];
        for (int64_t from = 0; from < count; from += BLOCK) {
            const int64_t number = count - from < BLOCK ? count - from : BLOCK, half = number / 2;
            const float *l = loc + start + from, *r = rho + start + from, *p = prior_loc + start + from;
            // Two scales share one logarithm.
            if (prior_loc) {
#pragma omp simd
                for (int64_t i = 0; i < half; ++i)
                    terms[i] = pair_term(l[i] - p[i], r[i], l[half + i] - p[half + i], r[half + i], squares);
            } else {
#pragma omp simd
                for (int64_t i = 0; i < half; ++i)
                    terms[i] = pair_term(l[i], r[i], l[half + i], r[half + i], squares);
            }
            float part = 0;
#pragma omp simd reduction(+ : part)
            for (int64_t i = 0; i < half; ++i) part += terms[i];
            if (number % 2) {
                const int64_t last = number - 1;
                part += term(prior_loc ? l[last] - p[last] : l[last], spread(r[last]), squares);
            }
            sum += part;
        }
        return sum;
    }) + size * (std::log((double)prior_scale) - 0.5);
}

// Its derivatives, times `factor`.
extern "C" void normal_kl_slopes(const float* loc, const float* rho, const float* prior_loc, float prior_scale,
                                 float factor, float* loc_slope, float* rho_slope, int64_t size, int32_t threads) {
    const float precision = factor / (prior_scale * prior_scale);
    in_blocks(size, CHUNK, threads, [=](int64_t, int64_t start, int64_t count) {
        const float *l = loc + start, *r = rho + start, *p = prior_loc + start;
        float *dl = loc_slope + start, *dr = rho_slope + start;
        if (prior_loc) {
#pragma omp simd
            for (int64_t i = 0; i < count; ++i) {
                Scale scale = softplus(r[i]);
                dl[i] = precision * (l[i] - p[i]);
                dr[i] = scale.slope * (precision * scale.value - factor / scale.value);
            }
        } else {
#pragma omp simd
            for (int64_t i = 0; i < count; ++i) {
                Scale scale = softplus(r[i]);
                dl[i] = precision * l[i];
                dr[i] = scale.slope * (precision * scale.value - factor / scale.value);
            }
        }
    });
}

// softplus(rho); `slope` receives its derivative where not null.
extern "C" void fill_softplus(const float* rho, float* out, float* slope, int64_t size, int32_t threads) {
    in_blocks(size, CHUNK, threads, [=](int64_t, int64_t start, int64_t count) {
        const float* r = rho + start;
        float* o = out + start;
        if (slope) {
            float* d = slope + start;
#pragma omp simd
            for (int64_t i = 0; i < count; ++i) {
                Scale scale = softplus(r[i]);
                o[i] = scale.value;
                d[i] = scale.slope;
            }
        } else {
#pragma omp simd
            for (int64_t i = 0; i < count; ++i) o[i] = softplus(r[i]).value;
        }
    });
}
