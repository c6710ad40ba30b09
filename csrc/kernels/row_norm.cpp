// Layer norm and RMS norm along rows. A row of up to ~8 K elements stays in L1 between its passes: sum, squares about
// the mean, write; backward two sums, then dx. The sums for dweight and dbias go down a block of rows in L1 and are
// joined in fixed order.
#include "rows.h"

#include "kernels.h"

namespace fastnn {
namespace FASTNN_ISA {

constexpr i64 CHUNK = 4096;  // elements summed in T before the sum goes to a double

// The sum of body(offset, first) over a row, four chains side by side.
template <class T, class Body> INLINE double row_total(i64 cols, Body body) {
    constexpr int L = LANES<T>, WAYS = 4;
    double total = 0;
    for (i64 c = 0; c < cols; c += CHUNK) {
        const i64 end = cols - c < CHUNK ? cols : c + CHUNK;
        Vec<T> acc[WAYS] = {};
        i64 i = c;
        for (; i + WAYS * L <= end; i += WAYS * L)
#pragma GCC unroll 4
            for (int w = 0; w < WAYS; w++) acc[w] += body(i + w * L, L);
        for (; i + L <= end; i += L) acc[0] += body(i, L);
        if (i < end) acc[1] += keep_first<T>(body(i, int(end - i)), int(end - i), Vec<T>{});
        total += double(sum_lanes<T>((acc[0] + acc[1]) + (acc[2] + acc[3])));
    }
    return total;
}

// y = (x - middle - beyond) * rstd, times weight, plus bias. Not x * rstd - mean * rstd, which rounds what cancels: a row of
// 12345.678 became -0.07, not 0.
template <class T, bool WEIGHT, bool BIAS>
INLINE void write_row(const RowNorm& job, T* y, const T* x, Vec<T> middle, Vec<T> beyond, Vec<T> rstd) {
    const T *weight = static_cast<const T*>(job.weight), *bias = static_cast<const T*>(job.bias);
    for_vectors<T>(job.cols, [&](i64 i, int n) __attribute__((always_inline)) {
        Vec<T> v = ((load_n(x + i, n) - middle) - beyond) * rstd;
        if constexpr (WEIGHT && BIAS) v = fma<T>(v, load_n(weight + i, n), load_n(bias + i, n));
        if constexpr (WEIGHT && !BIAS) v *= load_n(weight + i, n);
        if constexpr (!WEIGHT && BIAS) v += load_n(bias + i, n);
        store_n(y + i, v, n);
    });
}

// What the mean of a row is beyond `middle`, its sum rounded in T: asked where the row's width is small beside its mean.
constexpr double FAR_OFF = 1e4;  // mean^2 over the variance
template <class T> static double mean_beyond(i64 cols, const T* x, Vec<T> middle) {
    return row_total<T>(cols, [&](i64 i, int n) __attribute__((always_inline)) { return load_n(x + i, n) - middle; }) / double(cols);
}

template <class T> void row_norm(const RowNorm& job, i64 begin, i64 end) {
    const double share = 1 / double(job.cols);
    for (i64 r = begin; r < end; r++) {
        const T* x = static_cast<const T*>(job.x) + r * job.cols;
        double mean = 0;
        if (job.residual) {
            const T* residual = static_cast<const T*>(job.residual) + r * job.cols;
            T* s = static_cast<T*>(job.sum) + r * job.cols;
            mean = share * row_total<T>(job.cols, [&](i64 i, int n) __attribute__((always_inline)) {
                const Vec<T> v = load_n(x + i, n) + load_n(residual + i, n);
                store_n(s + i, v, n);
                return v;
            });
            x = s;
        } else if (!job.rms) {
            mean = share * row_total<T>(job.cols, [&](i64 i, int n) __attribute__((always_inline)) {
                return load_n(x + i, n);
            });
        }
        if (job.rms) mean = 0;
        const Vec<T> middle = splat<T>(T(mean));
        const double squares = row_total<T>(job.cols, [&](i64 i, int n) __attribute__((always_inline)) {
            const Vec<T> d = load_n(x + i, n) - middle;
            return d * d;
        });
        const bool far = mean * mean > FAR_OFF * squares * share;
        const double beyond = far ? mean_beyond<T>(job.cols, x, middle) : 0;
        const double variance = squares * share - beyond * beyond;
        const T rstd = T(1 / __builtin_sqrt((variance < 0 ? 0 : variance) + job.eps));
        if (job.mean) static_cast<T*>(job.mean)[r] = T(double(T(mean)) + beyond);
        static_cast<T*>(job.rstd)[r] = rstd;
        T* y = static_cast<T*>(job.y) + r * job.cols;
        const Vec<T> off = splat<T>(T(beyond)), scale = splat<T>(rstd);
        // Inlined: by a pointer, who called would come back to registers whose upper parts are in use, 0.4 us a call (AVX-512).
        if (job.weight)
            job.bias ? write_row<T, true, true>(job, y, x, middle, off, scale)
                     : write_row<T, true, false>(job, y, x, middle, off, scale);
        else
            job.bias ? write_row<T, false, true>(job, y, x, middle, off, scale)
                     : write_row<T, false, false>(job, y, x, middle, off, scale);
    }
}

// ROWS rows at once share the loads and stores of the sums over rows, dweight and dbias (PARTIAL).
template <class T, int ROWS, bool PARTIAL>
INLINE void backward_rows(const RowNorm& job, i64 row, T* dweight, T* dbias) {
    const i64 cols = job.cols;
    const T *x = static_cast<const T*>(job.x) + row * cols, *dy = static_cast<const T*>(job.dy) + row * cols;
    const T* weight = static_cast<const T*>(job.weight);
    Vec<T> scale[ROWS], middle[ROWS];  // xhat = (x - middle) * scale
    double g_total[ROWS] = {}, gx_total[ROWS] = {};
    for (int r = 0; r < ROWS; r++) {
        scale[r] = splat<T>(static_cast<const T*>(job.rstd)[row + r]);
        middle[r] = splat<T>(job.mean ? static_cast<const T*>(job.mean)[row + r] : T(0));
    }
    for (i64 c = 0; c < cols; c += CHUNK) {
        Vec<T> g[ROWS] = {}, gx[ROWS] = {};
        for_vectors<T>(cols - c < CHUNK ? cols - c : CHUNK, [&](i64 i, int n) __attribute__((always_inline)) {
            const i64 at = c + i;
            const Vec<T> w = weight ? load_n(weight + at, n) : splat<T>(1);
            Vec<T> sum = PARTIAL ? load_n(dbias + at, n) : Vec<T>{};
            Vec<T> products = PARTIAL ? load_n(dweight + at, n) : Vec<T>{};
#pragma GCC unroll 4
            for (int r = 0; r < ROWS; r++) {
                const Vec<T> d = load_n(dy + r * cols + at, n), dw = d * w;
                const Vec<T> xhat = (load_n(x + r * cols + at, n) - middle[r]) * scale[r];
                g[r] += dw;
                gx[r] = fma<T>(dw, xhat, gx[r]);
                sum += d;
                products = fma<T>(d, xhat, products);
            }
            if constexpr (PARTIAL) {
                store_n(dbias + at, sum, n);
                store_n(dweight + at, products, n);
            }
        });
        for (int r = 0; r < ROWS; r++) {
            g_total[r] += double(sum_lanes<T>(g[r]));
            gx_total[r] += double(sum_lanes<T>(gx[r]));
        }
    }
    if (!job.dx) return;
    const T* dsum = static_cast<const T*>(job.dsum);
    for (int r = 0; r < ROWS; r++) {
        const i64 start = (row + r) * cols;
        T* dx = static_cast<T*>(job.dx) + start;
        const Vec<T> mean = splat<T>(job.rms ? T(0) : T(g_total[r] / double(cols)));
        const Vec<T> slope = splat<T>(T(-gx_total[r] / double(cols)));
        for_vectors<T>(cols, [&](i64 i, int n) __attribute__((always_inline)) {
            const Vec<T> d = load_n(dy + r * cols + i, n);
            const Vec<T> xhat = (load_n(x + r * cols + i, n) - middle[r]) * scale[r];
            const Vec<T> dw = (weight ? d * load_n(weight + i, n) : d) - mean;
            const Vec<T> v = fma<T>(xhat, slope, dw);
            store_n(dx + i, dsum ? fma<T>(v, scale[r], load_n(dsum + start + i, n)) : v * scale[r], n);
        });
    }
}

template <class T> void row_norm_backward(const RowNorm& job, i64 begin, i64 end) {
    constexpr int ROWS = 2;
    for (i64 block = begin; block < end; block++) {
        i64 row = block * job.block_rows;
        const i64 last = row + job.block_rows < job.rows ? row + job.block_rows : job.rows;
        if (!job.partial) {
            for (; row + ROWS <= last; row += ROWS) backward_rows<T, ROWS, false>(job, row, nullptr, nullptr);
            for (; row < last; row++) backward_rows<T, 1, false>(job, row, nullptr, nullptr);
            continue;
        }
        T *dweight = static_cast<T*>(job.partial) + block * 2 * job.cols, *dbias = dweight + job.cols;
        for_vectors<T>(2 * job.cols, [&](i64 i, int n) { store_n(dweight + i, Vec<T>{}, n); });
        for (; row + ROWS <= last; row += ROWS) backward_rows<T, ROWS, true>(job, row, dweight, dbias);
        for (; row < last; row++) backward_rows<T, 1, true>(job, row, dweight, dbias);
    }
}

template <class T> void row_norm_weights(const RowNorm& job, i64 begin, i64 end) {
    constexpr i64 MOST = 64;
    double sum[MOST];
    for (i64 c = begin; c < end; c += MOST) {
        const i64 n = end - c < MOST ? end - c : MOST;
        for (int which = 0; which < 2; which++) {
            T* out = static_cast<T*>(which ? job.dbias : job.dweight);
            if (!out) continue;
            for (i64 i = 0; i < n; i++) sum[i] = 0;
            for (i64 block = 0; block < job.blocks; block++) {
                const T* from = static_cast<const T*>(job.partial) + (block * 2 + which) * job.cols + c;
                for (i64 i = 0; i < n; i++) sum[i] += double(from[i]);
            }
            for (i64 i = 0; i < n; i++) out[c + i] = T(sum[i]);
        }
    }
}

#define INSTANTIATE(kernel)                                 \
    template void kernel<float>(const RowNorm&, i64, i64); \
    template void kernel<double>(const RowNorm&, i64, i64);
INSTANTIATE(row_norm)
INSTANTIATE(row_norm_backward)
INSTANTIATE(row_norm_weights)

}  // namespace FASTNN_ISA
}  // namespace fastnn
