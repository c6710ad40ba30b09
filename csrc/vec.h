// The only file that knows what a register is. Kernels are written on Vec<T>, LANES<T> elements of T, with the operators of
// the GCC/Clang vector extensions (+ - * /, comparisons, ?:) and the functions here. Compiled once per instruction set.
#pragma once
#include <math.h>
#include <stdint.h>
#include <string.h>

#include "kernels.h"

#if defined(__AVX512F__) || defined(__AVX2__)
#include <immintrin.h>
#elif defined(__ARM_NEON)
#include <arm_neon.h>
#endif

#define INLINE inline __attribute__((always_inline))

namespace fastnn {
namespace FASTNN_ISA {

#if defined(__AVX512F__)
constexpr int BYTES = 64, REGISTERS = 32;
#elif defined(__AVX2__)
constexpr int BYTES = 32, REGISTERS = 16;
#elif defined(FASTNN_BYTES)  // the row emulated_512: AVX-512's ways through the kernels, tested where there is no AVX-512
constexpr int BYTES = FASTNN_BYTES, REGISTERS = 32;
#else
constexpr int BYTES = 16, REGISTERS = 32;
#endif

template <class T> struct VecOf {
    typedef T type __attribute__((vector_size(BYTES)));
    typedef T loose __attribute__((vector_size(BYTES), aligned(alignof(T)), may_alias));
};
template <class T> using Vec = typename VecOf<T>::type;
template <class T> constexpr int LANES = BYTES / int(sizeof(T));

template <class T> struct IntOf;
template <> struct IntOf<float> { typedef int32_t type; };
template <> struct IntOf<double> { typedef int64_t type; };
template <class T> using Int = typename IntOf<T>::type;
template <class T> using IVec = Vec<Int<T>>;  // what a comparison of two Vec<T> gives: all ones or zero

template <class T> INLINE Vec<T> load(const T* p) { return *reinterpret_cast<const typename VecOf<T>::loose*>(p); }
template <class T> INLINE void store(T* p, Vec<T> v) { *reinterpret_cast<typename VecOf<T>::loose*>(p) = v; }
// v, which was loaded once: the compiler would read it from memory again for each operation that takes it from there.
template <class T> INLINE Vec<T> in_register(Vec<T> v) {
#if defined(__AVX2__)
    asm volatile("" : "+x"(v));
#endif
    return v;
}
// p, of which the compiler knows nothing before: what is read by it is not read, and does not fill registers, earlier.
template <class T> INLINE const T* from_here(const T* p) {
    asm volatile("" : "+r"(p));
    return p;
}
template <class T> INLINE Vec<T> splat(T x) { return x - Vec<T>{}; }  // x - 0 keeps the sign of -0
template <class T> INLINE IVec<T> bits(Vec<T> v) { return reinterpret_cast<IVec<T>>(v); }
template <class T> INLINE Vec<T> from_bits(IVec<T> v) { return reinterpret_cast<Vec<T>>(v); }
template <class T> INLINE Vec<T> select(IVec<T> mask, Vec<T> yes, Vec<T> no) {
    return from_bits<T>((bits<T>(yes) & mask) | (bits<T>(no) & ~mask));
}

// x 2^n for whole n with |n| < 250: exact, also where the result is denormal, 0 or inf.
INLINE Vec<float> scale_by_power_of_two(Vec<float> x, Vec<float> n);

// The first n lanes (0 < n <= LANES), zero beyond; memory beyond is not touched.
template <class T> INLINE Vec<T> load_first(const T* p, int n);
template <class T> INLINE void store_first(T* p, Vec<T> v, int n);
// a b + c with one rounding. Written out, and never left to the compiler (-ffp-contract=off): of a b + c d it would fuse either
// product, in the whole vectors this one and in the last short one that, and the bits would depend on where an element lies.
template <class T> INLINE Vec<T> fma(Vec<T> a, Vec<T> b, Vec<T> c);
// max(a, b), min(a, b) as x86 has them: b where either is NaN.
template <class T> INLINE Vec<T> max(Vec<T> a, Vec<T> b);
template <class T> INLINE Vec<T> min(Vec<T> a, Vec<T> b);
template <class T> INLINE Vec<T> sqrt(Vec<T> a);

#if defined(__AVX512F__)
template <> INLINE Vec<float> load_first(const float* p, int n) { return _mm512_maskz_loadu_ps(_bzhi_u32(~0u, n), p); }
template <> INLINE Vec<double> load_first(const double* p, int n) { return _mm512_maskz_loadu_pd(_bzhi_u32(~0u, n), p); }
template <> INLINE void store_first(float* p, Vec<float> v, int n) { _mm512_mask_storeu_ps(p, _bzhi_u32(~0u, n), v); }
template <> INLINE void store_first(double* p, Vec<double> v, int n) { _mm512_mask_storeu_pd(p, _bzhi_u32(~0u, n), v); }
template <> INLINE Vec<float> fma<float>(Vec<float> a, Vec<float> b, Vec<float> c) { return _mm512_fmadd_ps(a, b, c); }
template <> INLINE Vec<double> fma<double>(Vec<double> a, Vec<double> b, Vec<double> c) { return _mm512_fmadd_pd(a, b, c); }
template <> INLINE Vec<float> max<float>(Vec<float> a, Vec<float> b) { return _mm512_max_ps(a, b); }
template <> INLINE Vec<double> max<double>(Vec<double> a, Vec<double> b) { return _mm512_max_pd(a, b); }
template <> INLINE Vec<float> min<float>(Vec<float> a, Vec<float> b) { return _mm512_min_ps(a, b); }
template <> INLINE Vec<double> min<double>(Vec<double> a, Vec<double> b) { return _mm512_min_pd(a, b); }
template <> INLINE Vec<float> sqrt<float>(Vec<float> a) { return _mm512_sqrt_ps(a); }
template <> INLINE Vec<double> sqrt<double>(Vec<double> a) { return _mm512_sqrt_pd(a); }
#elif defined(__AVX2__)
INLINE __m256i first_lanes32(int n) {
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(n), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}
INLINE __m256i first_lanes64(int n) { return _mm256_cmpgt_epi64(_mm256_set1_epi64x(n), _mm256_setr_epi64x(0, 1, 2, 3)); }
template <> INLINE Vec<float> load_first(const float* p, int n) { return _mm256_maskload_ps(p, first_lanes32(n)); }
template <> INLINE Vec<double> load_first(const double* p, int n) { return _mm256_maskload_pd(p, first_lanes64(n)); }
// Not vmaskmov, whose stores are 20-40 operations on AMD.
template <> INLINE void store_first(float* p, Vec<float> v, int n) {
    if (n == 8) return store(p, v);
    __m128 left = _mm256_castps256_ps128(v);
    if (n & 4) {
        _mm_storeu_ps(p, left);
        left = _mm256_extractf128_ps(v, 1);
        p += 4;
    }
    if (n & 2) {
        _mm_storel_pi(reinterpret_cast<__m64*>(p), left);
        left = _mm_movehl_ps(left, left);
        p += 2;
    }
    if (n & 1) _mm_store_ss(p, left);
}
template <> INLINE void store_first(double* p, Vec<double> v, int n) {
    if (n == 4) return store(p, v);
    __m128d left = _mm256_castpd256_pd128(v);
    if (n & 2) {
        _mm_storeu_pd(p, left);
        left = _mm256_extractf128_pd(v, 1);
        p += 2;
    }
    if (n & 1) _mm_store_sd(p, left);
}
template <> INLINE Vec<float> fma<float>(Vec<float> a, Vec<float> b, Vec<float> c) { return _mm256_fmadd_ps(a, b, c); }
template <> INLINE Vec<double> fma<double>(Vec<double> a, Vec<double> b, Vec<double> c) { return _mm256_fmadd_pd(a, b, c); }
template <> INLINE Vec<float> max<float>(Vec<float> a, Vec<float> b) { return _mm256_max_ps(a, b); }
template <> INLINE Vec<double> max<double>(Vec<double> a, Vec<double> b) { return _mm256_max_pd(a, b); }
template <> INLINE Vec<float> min<float>(Vec<float> a, Vec<float> b) { return _mm256_min_ps(a, b); }
template <> INLINE Vec<double> min<double>(Vec<double> a, Vec<double> b) { return _mm256_min_pd(a, b); }
template <> INLINE Vec<float> sqrt<float>(Vec<float> a) { return _mm256_sqrt_ps(a); }
template <> INLINE Vec<double> sqrt<double>(Vec<double> a) { return _mm256_sqrt_pd(a); }
#else
template <class T> INLINE Vec<T> load_first(const T* p, int n) {
    Vec<T> v = {};
    for (int i = 0; i < n; i++) v[i] = p[i];
    return v;
}
template <class T> INLINE void store_first(T* p, Vec<T> v, int n) {
    for (int i = 0; i < n; i++) p[i] = v[i];
}
template <class T> INLINE Vec<T> max(Vec<T> a, Vec<T> b) { return select<T>(a > b, a, b); }
template <class T> INLINE Vec<T> min(Vec<T> a, Vec<T> b) { return select<T>(a < b, a, b); }
#if defined(__ARM_NEON)
template <> INLINE Vec<float> fma<float>(Vec<float> a, Vec<float> b, Vec<float> c) {
    return (Vec<float>)vfmaq_f32((float32x4_t)c, (float32x4_t)a, (float32x4_t)b);
}
template <> INLINE Vec<double> fma<double>(Vec<double> a, Vec<double> b, Vec<double> c) {
    return (Vec<double>)vfmaq_f64((float64x2_t)c, (float64x2_t)a, (float64x2_t)b);
}
template <> INLINE Vec<float> sqrt<float>(Vec<float> a) { return (Vec<float>)vsqrtq_f32((float32x4_t)a); }
template <> INLINE Vec<double> sqrt<double>(Vec<double> a) { return (Vec<double>)vsqrtq_f64((float64x2_t)a); }
#else
template <class T> INLINE Vec<T> fma(Vec<T> a, Vec<T> b, Vec<T> c) {
    for (int i = 0; i < LANES<T>; i++)
        c[i] = sizeof(T) == 4 ? fmaf(float(a[i]), float(b[i]), float(c[i])) : ::fma(a[i], b[i], c[i]);
    return c;
}
template <class T> INLINE Vec<T> sqrt(Vec<T> a) {
    for (int i = 0; i < LANES<T>; i++) a[i] = T(::sqrt(a[i]));  // exact in double, so rounded once
    return a;
}
#endif
#endif

// 2^n from n + 1.5 * 2^23, for whole n in [-126, 127]. Unsigned: other numbers, NaN among them, give anything, but nothing
// undefined.
INLINE Vec<float> power_in_bits(Vec<float> shifted) {
    typedef uint32_t Unsigned __attribute__((vector_size(BYTES)));
    return reinterpret_cast<Vec<float>>((reinterpret_cast<Unsigned>(shifted) + (127u - 0x4b400000u)) << 23);
}

// above_floor: what x is above the whole number below it, and 0 where it is infinite; `nearest` is the whole number nearest to
// x, from_nearest what x is above that, and 0 where it is infinite: with SCALES only. There they are one instruction each, and
// scale_by_power_of_two another, which takes the floor of n.
#if defined(__AVX512F__)
constexpr bool SCALES = true;
INLINE Vec<float> scale_by_power_of_two(Vec<float> x, Vec<float> n) { return _mm512_scalef_ps(x, n); }
INLINE Vec<float> above_floor(Vec<float> x) { return _mm512_reduce_ps(x, _MM_FROUND_TO_NEG_INF); }
INLINE Vec<float> nearest(Vec<float> x) { return _mm512_roundscale_ps(x, _MM_FROUND_TO_NEAREST_INT); }
INLINE Vec<float> from_nearest(Vec<float> x) { return _mm512_reduce_ps(x, _MM_FROUND_TO_NEAREST_INT); }
#else
constexpr bool SCALES = false;
INLINE Vec<float> above_floor(Vec<float> x);
INLINE Vec<float> nearest(Vec<float> x);
INLINE Vec<float> from_nearest(Vec<float> x);
INLINE Vec<float> scale_by_power_of_two(Vec<float> x, Vec<float> n) {  // in two factors that are normal numbers
    const Vec<float> magic = splat(12582912.0f);  // 1.5 * 2^23: adding it rounds to a whole number, in the low bits
    const Vec<float> half = (n * splat(0.5f) + magic) - magic;
    return x * power_in_bits(half + magic) * power_in_bits((n - half) + magic);
}
#endif

// To where no cache holds it, past the caches: what lies at p is not read first. p on a whole vector; other threads see it after
// `stored_past`.
template <class T> INLINE void store_past(T* p, Vec<T> v) {
#if defined(__AVX512F__)
    _mm512_stream_si512(reinterpret_cast<__m512i*>(p), reinterpret_cast<__m512i>(v));
#elif defined(__AVX2__)
    _mm256_stream_si256(reinterpret_cast<__m256i*>(p), reinterpret_cast<__m256i>(v));
#else
    store(p, v);
#endif
}
INLINE void stored_past() {
#if defined(__AVX2__)
    _mm_sfence();
#endif
}

// Whether a comparison holds in every lane; asked only where the answer saves more than it costs.
INLINE bool all_lanes(IVec<float> mask) {
#if defined(__AVX512F__)
    return _mm512_movepi32_mask((__m512i)mask) == 0xffff;
#elif defined(__AVX2__)
    return _mm256_movemask_ps((__m256)mask) == 0xff;
#else
    for (int i = 0; i < LANES<float>; i++)
        if (!mask[i]) return false;
    return true;
#endif
}

template <class T> INLINE Vec<T> abs(Vec<T> v) { return from_bits<T>(bits<T>(v) & ~bits<T>(splat<T>(T(-0.0)))); }
template <class T> INLINE Vec<T> copysign(Vec<T> size, Vec<T> sign) {
    const IVec<T> top = bits<T>(splat<T>(T(-0.0)));
    return from_bits<T>((bits<T>(size) & ~top) | (bits<T>(sign) & top));
}

// f(p, lanes) for each vector of n elements at p; the last may be short. `body` gets (offset, first) with first == LANES for
// whole vectors: load_n and store_n choose by it, and the compiler drops the mask where it is whole.
template <class T> INLINE Vec<T> load_n(const T* p, int n) { return n == LANES<T> ? load(p) : load_first(p, n); }
template <class T> INLINE void store_n(T* p, Vec<T> v, int n) { n == LANES<T> ? store(p, v) : store_first(p, v, n); }
template <class T, class Body> INLINE void for_vectors(i64 n, Body body) {
    i64 i = 0;
    for (; i + LANES<T> <= n; i += LANES<T>) body(i, LANES<T>);
    if (i < n) body(i, int(n - i));
}

// LANES numbers below 256 from and to as many bytes. On x86 not by __builtin_convertvector: GCC 12 takes lane by lane, in 40
// steps.
template <class T> INLINE IVec<T> load_bytes(const uint8_t* p) {
    typedef uint8_t Bytes __attribute__((vector_size(LANES<T>)));
    Bytes v;
    memcpy(&v, p, sizeof v);
    return __builtin_convertvector(v, IVec<T>);
}
template <class T> INLINE void store_bytes(uint8_t* p, IVec<T> v) {
    typedef uint8_t Bytes __attribute__((vector_size(LANES<T>)));
    const Bytes narrow = __builtin_convertvector(v, Bytes);
    memcpy(p, &narrow, sizeof narrow);
}
#if defined(__AVX512F__)
template <> INLINE IVec<float> load_bytes<float>(const uint8_t* p) {
    return (IVec<float>)_mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i*)p));
}
template <> INLINE void store_bytes<float>(uint8_t* p, IVec<float> v) {
    _mm_storeu_si128((__m128i*)p, _mm512_cvtepi32_epi8((__m512i)v));
}
#elif defined(__AVX2__)
template <> INLINE IVec<float> load_bytes<float>(const uint8_t* p) {
    return (IVec<float>)_mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i*)p));
}
template <> INLINE IVec<double> load_bytes<double>(const uint8_t* p) {
    int32_t v;
    memcpy(&v, p, sizeof v);
    return (IVec<double>)_mm256_cvtepu8_epi64(_mm_cvtsi32_si128(v));
}
template <> INLINE void store_bytes<float>(uint8_t* p, IVec<float> v) {
    const __m128i low = _mm_packus_epi32(_mm256_castsi256_si128((__m256i)v), _mm256_extracti128_si256((__m256i)v, 1));
    _mm_storel_epi64((__m128i*)p, _mm_packus_epi16(low, low));
}
template <> INLINE void store_bytes<double>(uint8_t* p, IVec<double> v) {
    const __m128i low = _mm_packus_epi32(_mm256_castsi256_si128((__m256i)v), _mm256_extracti128_si256((__m256i)v, 1));
    const __m128i half = _mm_packus_epi32(low, low);  // of 64 bits the upper halves are 0
    const int32_t bytes = _mm_cvtsi128_si32(_mm_packus_epi16(half, half));
    memcpy(p, &bytes, sizeof bytes);
}
#endif

// Shuffles of two vectors by a constexpr rule: lane i of the result is lane Rule::at(i) of the 2 * LANES lanes of a, b.
template <int... I> struct Indices {};
template <int N, int... I> struct MakeIndices : MakeIndices<N - 1, N - 1, I...> {};
template <int... I> struct MakeIndices<0, I...> { typedef Indices<I...> type; };
template <class T, class Rule, int... I> INLINE Vec<T> shuffle_by(Vec<T> a, Vec<T> b, Indices<I...>) {
    return __builtin_shufflevector(a, b, Rule::at(I)...);
}
template <class T, class Rule> INLINE Vec<T> shuffle(Vec<T> a, Vec<T> b) {
    return shuffle_by<T, Rule>(a, b, typename MakeIndices<LANES<T>>::type{});
}

// Blocks of S lanes, taken alternately from a and b: Low takes the even blocks of both, High the odd ones.
template <int S, int L> struct Low {
    static constexpr int at(int i) { return (i / S % 2 == 0) ? i : i - S + L; }
};
template <int S, int L> struct High {
    static constexpr int at(int i) { return (i / S % 2 == 0) ? i + S : i + L; }
};

// Lanes of a and b in turn, of the lower or the upper half of each 16 bytes: one instruction, where Low<1> of floats is two.
template <int UPPER, int L> struct Zip {
    static constexpr int at(int i) { return i / 4 * 4 + UPPER * 2 + i % 4 / 2 + i % 2 * L; }
};

// v[i] lane j  <->  v[j] lane i, in log2(LANES) rounds of exchanging off-diagonal blocks; of 4 x 4 floats in a way of their own.
template <class T, int S = LANES<T> / 2> INLINE void transpose(Vec<T> (&v)[LANES<T>]) {
    constexpr int L = LANES<T>;
    if constexpr (sizeof(T) == 4 && S == 2) {
#pragma GCC unroll 16
        for (int i = 0; i < L; i += 4) {
            const Vec<T> p = shuffle<T, Zip<0, L>>(v[i], v[i + 1]), q = shuffle<T, Zip<0, L>>(v[i + 2], v[i + 3]);
            const Vec<T> r = shuffle<T, Zip<1, L>>(v[i], v[i + 1]), s = shuffle<T, Zip<1, L>>(v[i + 2], v[i + 3]);
            v[i] = shuffle<T, Low<2, L>>(p, q);
            v[i + 1] = shuffle<T, High<2, L>>(p, q);
            v[i + 2] = shuffle<T, Low<2, L>>(r, s);
            v[i + 3] = shuffle<T, High<2, L>>(r, s);
        }
        return;
    }
#pragma GCC unroll 16
    for (int i = 0; i < L; i++) {
        if (i & S) continue;
        const Vec<T> a = v[i], b = v[i + S];
        v[i] = shuffle<T, Low<S, L>>(a, b);
        v[i + S] = shuffle<T, High<S, L>>(a, b);
    }
    if constexpr (S > 1) transpose<T, S / 2>(v);
}

// LANES<double> numbers as doubles, and back, rounded once.
INLINE Vec<double> load_doubles(const double* p) { return load(p); }
INLINE void store_doubles(double* p, Vec<double> v) { store(p, v); }
#if defined(__AVX512F__)
INLINE Vec<double> load_doubles(const float* p) { return _mm512_cvtps_pd(_mm256_loadu_ps(p)); }
INLINE void store_doubles(float* p, Vec<double> v) { _mm256_storeu_ps(p, _mm512_cvtpd_ps(v)); }
#elif defined(__AVX2__)
INLINE Vec<double> load_doubles(const float* p) { return _mm256_cvtps_pd(_mm_loadu_ps(p)); }
INLINE void store_doubles(float* p, Vec<double> v) { _mm_storeu_ps(p, _mm256_cvtpd_ps(v)); }
#else
INLINE Vec<double> load_doubles(const float* p) {
    Vec<double> v = {};
    for (int i = 0; i < LANES<double>; i++) v[i] = p[i];
    return v;
}
INLINE void store_doubles(float* p, Vec<double> v) {
    for (int i = 0; i < LANES<double>; i++) p[i] = float(v[i]);
}
#endif

// Lanes `step` apart.
template <class T, int... I> INLINE Vec<T> load_apart(const T* p, i64 step, Indices<I...>) { return Vec<T>{p[I * step]...}; }

// `rows` (at most LANES) rows of n elements, `step` apart, to n vectors of LANES: to[e][i] = from[i][e], zero for the rows
// there are not; and back.
template <class T> INLINE void rows_to_vectors(T* to, const T* from, i64 step, i64 n, int rows) {
    constexpr int L = LANES<T>;
    for_vectors<T>(n, [&](i64 e, int count) {
        if (count == 1 && rows == L)  // as the ninth of a 3x3 kernel's weights
            return store(to + e * L, load_apart(from + e, step, typename MakeIndices<L>::type{}));
        Vec<T> v[L];
#pragma GCC unroll 16
        for (int i = 0; i < L; i++) v[i] = i < rows ? load_n(from + i * step + e, count) : Vec<T>{};
        transpose<T>(v);
#pragma GCC unroll 16
        for (int j = 0; j < L; j++)
            if (j < count) store(to + (e + j) * L, v[j]);
    });
}
template <class T> INLINE void vectors_to_rows(T* to, i64 step, const T* from, i64 n, int rows) {
    constexpr int L = LANES<T>;
    for_vectors<T>(n, [&](i64 e, int count) {
        Vec<T> v[L];
#pragma GCC unroll 16
        for (int j = 0; j < L; j++) v[j] = j < count ? load(from + (e + j) * L) : Vec<T>{};
        transpose<T>(v);
#pragma GCC unroll 16
        for (int i = 0; i < L; i++)
            if (i < rows) store_n(to + i * step + e, v[i], count);
    });
}

// The halves of a vector lie at a and at b. Shuffles, because put together in memory the vector would wait for its halves.
template <class T> struct HalfOf {
    typedef T type __attribute__((vector_size(BYTES / 2)));
    typedef T loose __attribute__((vector_size(BYTES / 2), aligned(alignof(T)), may_alias));
};
template <class T, int... I> INLINE Vec<T> load_halves(const T* a, const T* b, Indices<I...>) {
    const typename HalfOf<T>::type low = *reinterpret_cast<const typename HalfOf<T>::loose*>(a);
    const typename HalfOf<T>::type high = *reinterpret_cast<const typename HalfOf<T>::loose*>(b);
    return __builtin_shufflevector(low, high, I...);
}
template <class T, int... I> INLINE void store_halves(T* a, T* b, Vec<T> v, Indices<I...>) {
    *reinterpret_cast<typename HalfOf<T>::loose*>(a) = __builtin_shufflevector(v, v, I...);
    *reinterpret_cast<typename HalfOf<T>::loose*>(b) = __builtin_shufflevector(v, v, (I + LANES<T> / 2)...);
}
template <class T> INLINE Vec<T> load_halves(const T* a, const T* b) {
    return load_halves<T>(a, b, typename MakeIndices<LANES<T>>::type{});
}
template <class T> INLINE void store_halves(T* a, T* b, Vec<T> v) {
    store_halves<T>(a, b, v, typename MakeIndices<LANES<T> / 2>::type{});
}

// Sums over lanes, by halves: the order is the same on every machine of a lane count.
template <class T, int S = LANES<T> / 2> INLINE T sum_lanes(Vec<T> v) {
    v = v + shuffle<T, High<S, LANES<T>>>(v, v);
    if constexpr (S > 1) return sum_lanes<T, S / 2>(v);
    return v[0];
}
template <class T, int S = LANES<T> / 2> INLINE T max_lanes(Vec<T> v) {
    v = max<T>(v, shuffle<T, High<S, LANES<T>>>(v, v));
    if constexpr (S > 1) return max_lanes<T, S / 2>(v);
    return v[0];
}

// LANES vectors to one: lane i of the result is the sum of the lanes of v[i]. 3 operations a lane instead of 2 log2(LANES).
template <class T, int S = LANES<T> / 2> INLINE Vec<T> sum_rows(Vec<T>* v) {
    constexpr int L = LANES<T>;
#pragma GCC unroll 16
    for (int i = 0; i < S; i++) v[i] = shuffle<T, Low<S, L>>(v[i], v[i + S]) + shuffle<T, High<S, L>>(v[i], v[i + S]);
    if constexpr (S > 1) return sum_rows<T, S / 2>(v);
    return v[0];
}

// The lanes 0, 1, 2, ...
template <class T, int... I> INLINE Vec<T> count_by(Indices<I...>) { return Vec<T>{T(I)...}; }
template <class T> INLINE Vec<T> lane_numbers() { return count_by<T>(typename MakeIndices<LANES<T>>::type{}); }

}  // namespace FASTNN_ISA
}  // namespace fastnn
