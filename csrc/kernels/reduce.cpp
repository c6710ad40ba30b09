// Sums and the like over the middle of (outer, n, inner). inner == 1: each row is one result, four vectors of partial results
// run side by side. inner > 1: each vector of columns runs down the n rows. Either way the order is fixed by n alone.
#include "kernels.h"

#include "../vec.h"

namespace fastnn {
namespace FASTNN_ISA {

template <class T, int OP> INLINE Vec<T> neutral() {
    if constexpr (OP == PROD) return splat<T>(1);
    if constexpr (OP == MAX) return splat<T>(-T(__builtin_inf()));
    if constexpr (OP == MIN) return splat<T>(T(__builtin_inf()));
    return Vec<T>{};
}
template <class T, int OP> INLINE Vec<T> take(Vec<T> acc, Vec<T> x) {
    if constexpr (OP == SUM) return acc + x;
    if constexpr (OP == SUM_SQUARES) return fma<T>(x, x, acc);
    if constexpr (OP == PROD) return acc * x;
    if constexpr (OP == MAX) return select<T>(acc != acc, acc, max<T>(acc, x));  // a NaN once met stays
    if constexpr (OP == MIN) return select<T>(acc != acc, acc, min<T>(acc, x));
}
template <class T, int OP> INLINE Vec<T> join(Vec<T> a, Vec<T> b) { return take<T, OP == SUM_SQUARES ? int(SUM) : OP>(a, b); }

template <class T, int OP, int S = LANES<T> / 2> INLINE T join_lanes(Vec<T> v) {  // by halves
    v = join<T, OP>(v, shuffle<T, High<S, LANES<T>>>(v, v));
    if constexpr (S > 1) return join_lanes<T, OP, S / 2>(v);
    return v[0];
}

template <class T, int OP> static inline T reduce_row(const T* x, i64 n) {
    constexpr int L = LANES<T>, WAYS = 4;
    Vec<T> acc[WAYS];
#pragma GCC unroll 4
    for (int w = 0; w < WAYS; w++) acc[w] = neutral<T, OP>();
    i64 i = 0;
    for (; i + WAYS * L <= n; i += WAYS * L)
#pragma GCC unroll 4
        for (int w = 0; w < WAYS; w++) acc[w] = take<T, OP>(acc[w], load(x + i + w * L));
    for (; i + L <= n; i += L) acc[0] = take<T, OP>(acc[0], load(x + i));
    if (i < n) {
        const IVec<T> inside = lane_numbers<T>() < splat<T>(T(n - i));
        const Vec<T> rest = select<T>(inside, load_first(x + i, int(n - i)), neutral<T, OP>());
        acc[1] = take<T, OP>(acc[1], rest);
    }
    return join_lanes<T, OP>(join<T, OP>(join<T, OP>(acc[0], acc[1]), join<T, OP>(acc[2], acc[3])));
}

// WAYS vectors of columns at x run down n rows, `inner` apart.
template <class T, int OP, int WAYS> INLINE void reduce_columns(T* out, const T* x, i64 n, i64 inner, int first, T scale) {
    Vec<T> acc[WAYS];
#pragma GCC unroll 8
    for (int w = 0; w < WAYS; w++) acc[w] = neutral<T, OP>();
    for (i64 r = 0; r < n; r++)
#pragma GCC unroll 8
        for (int w = 0; w < WAYS; w++) acc[w] = take<T, OP>(acc[w], load_n(x + r * inner + w * LANES<T>, first));
#pragma GCC unroll 8
    for (int w = 0; w < WAYS; w++) store_n(out + w * LANES<T>, acc[w] * splat<T>(scale), first);
}

template <class T, int OP> void reduce(const Reduce& job, i64 begin, i64 end) {
    constexpr int L = LANES<T>;
    T* out = static_cast<T*>(job.out);
    const T* x = static_cast<const T*>(job.x);
    const T scale = T(job.scale);
    if (job.inner == 1) {
        for (i64 o = begin; o < end; o++) out[o] = reduce_row<T, OP>(x + o * job.n, job.n) * scale;
        return;
    }
    while (begin < end) {
        const i64 o = begin / job.inner, c = begin % job.inner;
        const i64 left = job.inner - c < end - begin ? job.inner - c : end - begin;
        const T* column = x + o * job.n * job.inner + c;
        i64 i = 0;
        for (; i + 8 * L <= left; i += 8 * L) reduce_columns<T, OP, 8>(out + begin + i, column + i, job.n, job.inner, L, scale);
        for (; i + 4 * L <= left; i += 4 * L) reduce_columns<T, OP, 4>(out + begin + i, column + i, job.n, job.inner, L, scale);
        for (; i < left; i += L) {
            const int first = left - i < L ? int(left - i) : L;
            reduce_columns<T, OP, 1>(out + begin + i, column + i, job.n, job.inner, first, scale);
        }
        begin += left;
    }
}

template <class T, int... OP> struct Every { static constexpr KernelOf<Reduce> kernels[] = {reduce<T, OP>...}; };
template <class T, int... OP> Every<T, OP...> every(Indices<OP...>);
__attribute__((used)) static constexpr auto& every_float = decltype(every<float>(MakeIndices<REDUCTIONS>::type{}))::kernels;
__attribute__((used)) static constexpr auto& every_double = decltype(every<double>(MakeIndices<REDUCTIONS>::type{}))::kernels;

}  // namespace FASTNN_ISA
}  // namespace fastnn
