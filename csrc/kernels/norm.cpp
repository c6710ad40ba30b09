// Batch, group and instance norm over (batch, rows, cols), the columns neighbours in memory. Memory bandwidth is all:
// forward reads x twice and writes y, backward reads x and dy twice and writes dx.
//
//   rows of a batch   | part 0 | part 1 | ...   a part stays in L1 or L2 between its sum and its squares about its own
//                                               mean: no variance comes from the difference of two large numbers
// The second walk over the parts goes backwards: what the first read last is still in the cache.
#include "kernels.h"

#include "../vec.h"

namespace fastnn {
namespace FASTNN_ISA {

// ---- where things are ----

struct Part {
    i64 batch, offset, rows;  // offset of its first element in x
};
INLINE Part part_of(const GroupNorm& job, i64 item) {
    const i64 batch = item / job.parts, first = item % job.parts * job.part_rows, left = job.rows - first;
    return {batch, (batch * job.rows + first) * job.cols, left < job.part_rows ? left : job.part_rows};
}

// Rows of `factors`.
enum { SCALE, SHIFT, MEAN, SLOPE, OFFSET, FACTORS };
template <class T> INLINE T* factor(const GroupNorm& job, i64 batch, int which) {
    return static_cast<T*>(job.factors) + (batch * FACTORS + which) * job.cols;
}
template <class T> INLINE T* partial(const GroupNorm& job, i64 item, int which) {
    return static_cast<T*>(job.partial) + (item * 2 + which) * job.cols;
}

// ---- sums down the rows ----

template <int N> struct Number { static constexpr int value = N; };

// body(Number<W>, column, first): strips of MOST vectors of columns, then fewer, the last perhaps short: `first` lanes.
template <class T, int MOST, class Body> INLINE void for_strips(i64 cols, Body body) {
    constexpr int L = LANES<T>;
    i64 c = 0;
    for (; c + MOST * L <= cols; c += MOST * L) body(Number<MOST>{}, c, L);
    if constexpr (MOST > 4) {
        if (c + 4 * L <= cols) {
            body(Number<4>{}, c, L);
            c += 4 * L;
        }
    }
    if (c + 2 * L <= cols) {
        body(Number<2>{}, c, L);
        c += 2 * L;
    }
    if (c + L <= cols) {
        body(Number<1>{}, c, L);
        c += L;
    }
    if (c < cols) body(Number<1>{}, c, int(cols - c));
}

// total[w] = take(...take(0, row 0, w)..., row n - 1, w); narrow strips run several rows side by side, for the latency.
template <class T, int W, class Take> INLINE void down_rows(Vec<T> (&total)[W], i64 n, Take take) {
    constexpr int WAYS = W >= 8 ? 1 : 8 / W;
    Vec<T> acc[WAYS][W] = {};
    i64 r = 0;
    for (; r + WAYS <= n; r += WAYS)
#pragma GCC unroll 8
        for (int k = 0; k < WAYS; k++)
#pragma GCC unroll 8
            for (int w = 0; w < W; w++) acc[k][w] = take(acc[k][w], r + k, w);
    for (; r < n; r++)
#pragma GCC unroll 8
        for (int w = 0; w < W; w++) acc[0][w] = take(acc[0][w], r, w);
#pragma GCC unroll 8
    for (int step = 1; step < WAYS; step *= 2)
#pragma GCC unroll 8
        for (int k = 0; k + step < WAYS; k += 2 * step)
#pragma GCC unroll 8
            for (int w = 0; w < W; w++) acc[k][w] += acc[k + step][w];
#pragma GCC unroll 8
    for (int w = 0; w < W; w++) total[w] = acc[0][w];
}

template <class T> void norm_moments(const GroupNorm& job, i64 begin, i64 end) {
    constexpr int L = LANES<T>;
    for (i64 item = begin; item < end; item++) {
        const Part part = part_of(job, item);
        const T* x = static_cast<const T*>(job.x) + part.offset;
        T *mean = partial<T>(job, item, 0), *squares = partial<T>(job, item, 1);
        const Vec<T> share = splat<T>(T(1) / T(part.rows));
        for_strips<T, 8>(job.cols, [&](auto width, i64 c, int first) __attribute__((always_inline)) {
            constexpr int W = decltype(width)::value;
            const T* column = x + c;
            Vec<T> sum[W];
            down_rows<T, W>(sum, part.rows, [&](Vec<T> acc, i64 r, int w) __attribute__((always_inline)) {
                return acc + load_n(column + r * job.cols + w * L, first);
            });
#pragma GCC unroll 8
            for (int w = 0; w < W; w++) store_n(mean + c + w * L, sum[w] * share, first);
        });
        for_strips<T, 8>(job.cols, [&](auto width, i64 c, int first) __attribute__((always_inline)) {
            constexpr int W = decltype(width)::value;
            const T* column = x + c;
            Vec<T> sum[W];
            down_rows<T, W>(sum, part.rows, [&](Vec<T> acc, i64 r, int w) __attribute__((always_inline)) {
                const Vec<T> d = load_n(column + r * job.cols + w * L, first) - load_n(mean + c + w * L, first);
                return fma<T>(d, d, acc);
            });
#pragma GCC unroll 8
            for (int w = 0; w < W; w++) store_n(squares + c + w * L, sum[w], first);
        });
    }
}

// What ReLU let through: the same x * scale + shift as forward computed, so the same bits decide.
template <class T, bool RELU> INLINE Vec<T> passed(Vec<T> dy, Vec<T> x, const T* scale, const T* shift, int first) {
    if constexpr (!RELU) return dy;
    const Vec<T> z = fma<T>(x, load_n(scale, first), load_n(shift, first));
    return select<T>(z > Vec<T>{}, dy, Vec<T>{});
}

template <class T, bool RELU> INLINE void sums_of_part(const GroupNorm& job, i64 item) {
    constexpr int L = LANES<T>;
    const Part part = part_of(job, item);
    const T* x = static_cast<const T*>(job.x) + part.offset;
    const T* dy = static_cast<const T*>(job.dy) + part.offset;
    const T *mean = factor<T>(job, part.batch, MEAN), *scale = factor<T>(job, part.batch, SCALE);
    const T* shift = factor<T>(job, part.batch, SHIFT);
    T *sum = partial<T>(job, item, 0), *products = partial<T>(job, item, 1);
    for_strips<T, 4>(job.cols, [&](auto width, i64 c, int first) __attribute__((always_inline)) {
        constexpr int W = decltype(width)::value;
        Vec<T> acc[2 * W];  // W sums, then W sums of products
        down_rows<T, 2 * W>(acc, part.rows, [&](Vec<T> total, i64 r, int w) __attribute__((always_inline)) {
            const i64 lane = c + (w % W) * L, at = r * job.cols + lane;
            const Vec<T> v = load_n(x + at, first);
            const Vec<T> dz = passed<T, RELU>(load_n(dy + at, first), v, scale + lane, shift + lane, first);
            return w < W ? total + dz : fma<T>(dz, v - load_n(mean + lane, first), total);
        });
#pragma GCC unroll 8
        for (int w = 0; w < W; w++) {
            store_n(sum + c + w * L, acc[w], first);
            store_n(products + c + w * L, acc[W + w], first);
        }
    });
}

template <class T> void norm_sums(const GroupNorm& job, i64 begin, i64 end) {
    for (i64 item = begin; item < end; item++)
        job.relu ? sums_of_part<T, true>(job, item) : sums_of_part<T, false>(job, item);
}

// ---- from parts to statistics, in double ----

constexpr i64 BLOCK = 64;  // columns whose doubles live on the stack

// body(batch, first column, columns) over the flat (batch, cols) range in blocks.
template <class Body> INLINE void for_column_blocks(i64 cols, i64 begin, i64 end, Body body) {
    while (begin < end) {
        const i64 batch = begin / cols, c = begin % cols;
        i64 n = end - begin < BLOCK ? end - begin : BLOCK;
        n = n < cols - c ? n : cols - c;
        body(batch, c, n);
        begin += n;
    }
}

// Mean and sum of squares about it, of n columns each, from those of the parts.
template <class T>
static void join_parts(const GroupNorm& job, i64 batch, i64 c, i64 n, double* mean, double* squares) {
    for (i64 i = 0; i < n; i++) mean[i] = squares[i] = 0;
    for (i64 p = 0; p < job.parts; p++) {
        const double rows = double(part_of(job, p).rows);
        const T* from = partial<T>(job, batch * job.parts + p, 0) + c;
        for (i64 i = 0; i < n; i++) mean[i] += rows * double(from[i]);
    }
    for (i64 i = 0; i < n; i++) mean[i] /= double(job.rows);
    for (i64 p = 0; p < job.parts; p++) {
        const double rows = double(part_of(job, p).rows);
        const T* from = partial<T>(job, batch * job.parts + p, 0) + c;
        const T* more = partial<T>(job, batch * job.parts + p, 1) + c;
        for (i64 i = 0; i < n; i++) {
            const double d = double(from[i]) - mean[i];
            squares[i] += double(more[i]) + rows * d * d;
        }
    }
}

template <class T> void norm_statistics(const GroupNorm& job, i64 begin, i64 end) {
    const i64 width = job.cols / job.groups;
    const double rows = double(job.rows);
    double mean[BLOCK], squares[BLOCK];
    double count = 0, group_mean = 0, group_squares = 0;  // of the group that is being gathered
    i64 group = begin;
    for_column_blocks(job.cols, begin * width, end * width, [&](i64 batch, i64 c, i64 n) {
        join_parts<T>(job, batch, c, n, mean, squares);
        for (i64 i = 0; i < n; i++) {  // Chan, Golub and LeVeque, 1983
            const double d = mean[i] - group_mean, total = count + rows;
            group_squares += squares[i] + d * d * (count * rows / total);
            group_mean += d * (rows / total);
            count = total;
            if ((c + i + 1) % width) continue;
            static_cast<T*>(job.mean)[group] = T(group_mean);
            static_cast<T*>(job.var)[group] = T(group_squares / count);
            group++;
            count = group_mean = group_squares = 0;
        }
    });
}

template <class T> void norm_scales(const GroupNorm& job, i64 begin, i64 end) {
    const i64 width = job.cols / job.groups;
    const T *weight = static_cast<const T*>(job.weight), *bias = static_cast<const T*>(job.bias);
    for (i64 item = begin; item < end; item++) {
        const i64 batch = item / job.groups, c0 = item % job.groups * width;
        T* rstd = static_cast<T*>(job.rstd) + item;
        const T mean = static_cast<const T*>(job.mean)[item];
        if (job.var) *rstd = T(1 / __builtin_sqrt(double(static_cast<const T*>(job.var)[item]) + job.eps));
        T *scale = factor<T>(job, batch, SCALE), *shift = factor<T>(job, batch, SHIFT);
        T* means = factor<T>(job, batch, MEAN);
        for (i64 c = c0; c < c0 + width; c++) {
            scale[c] = weight ? *rstd * weight[c] : *rstd;
            shift[c] = T((bias ? double(bias[c]) : 0.0) - double(mean) * double(scale[c]));  // of the rounded scale
            means[c] = mean;
        }
    }
}

template <class T> void norm_column_sums(const GroupNorm& job, i64 begin, i64 end) {
    for_column_blocks(job.cols, begin, end, [&](i64 batch, i64 c, i64 n) {
        for (int which = 0; which < 2; which++) {
            double* sum = job.sums + (batch * 2 + which) * job.cols + c;
            for (i64 i = 0; i < n; i++) sum[i] = 0;
            for (i64 p = 0; p < job.parts; p++) {
                const T* from = partial<T>(job, batch * job.parts + p, which) + c;
                for (i64 i = 0; i < n; i++) sum[i] += double(from[i]);
            }
        }
    });
}

template <class T> void norm_slopes(const GroupNorm& job, i64 begin, i64 end) {
    const i64 width = job.cols / job.groups;
    const double n = double(job.rows) * double(width);
    const T* weight = static_cast<const T*>(job.weight);
    for (i64 item = begin; item < end; item++) {
        const i64 batch = item / job.groups, c0 = item % job.groups * width;
        const double rstd = double(static_cast<const T*>(job.rstd)[item]);
        const double mean = double(static_cast<const T*>(job.mean)[item]);
        const double *sum = job.sums + batch * 2 * job.cols, *products = sum + job.cols;
        double g = 0, gx = 0;  // sum(g), sum(g * (x - mean))
        for (i64 c = c0; c < c0 + width; c++) {
            const double w = weight ? double(weight[c]) : 1.0;
            g += w * sum[c];
            gx += w * products[c];
        }
        const T slope = T(-rstd * rstd * rstd * gx / n);
        const T offset = T(-rstd * g / n - mean * double(slope));
        T *slopes = factor<T>(job, batch, SLOPE), *offsets = factor<T>(job, batch, OFFSET);
        for (i64 c = c0; c < c0 + width; c++) slopes[c] = slope, offsets[c] = offset;
    }
}

template <class T> void norm_weights(const GroupNorm& job, i64 begin, i64 end) {
    const i64 width = job.cols / job.groups;
    T *dweight = static_cast<T*>(job.dweight), *dbias = static_cast<T*>(job.dbias);
    for (i64 c = begin; c < end; c++) {
        double sum = 0, products = 0;
        for (i64 b = 0; b < job.batch; b++) {
            const double* of = job.sums + b * 2 * job.cols + c;
            sum += of[0];
            products += double(static_cast<const T*>(job.rstd)[b * job.groups + c / width]) * of[job.cols];
        }
        if (dbias) dbias[c] = T(sum);
        if (dweight) dweight[c] = T(products);
    }
}

// ---- the second walk ----

template <class T, bool RELU> INLINE void apply_to_part(const GroupNorm& job, i64 item) {
    const Part part = part_of(job, item);
    const T* x = static_cast<const T*>(job.x) + part.offset;
    T* y = static_cast<T*>(job.y) + part.offset;
    const T *scale = factor<T>(job, part.batch, SCALE), *shift = factor<T>(job, part.batch, SHIFT);
    for (i64 r = 0; r < part.rows; r++, x += job.cols, y += job.cols)
        for_vectors<T>(job.cols, [&](i64 c, int n) __attribute__((always_inline)) {
            const Vec<T> z = fma<T>(load_n(x + c, n), load_n(scale + c, n), load_n(shift + c, n));
            store_n(y + c, RELU ? max<T>(Vec<T>{}, z) : z, n);  // max gives z where z is NaN
        });
}

template <class T> void norm_apply(const GroupNorm& job, i64 begin, i64 end) {
    const i64 last = job.batch * job.parts - 1;
    for (i64 item = begin; item < end; item++)
        job.relu ? apply_to_part<T, true>(job, last - item) : apply_to_part<T, false>(job, last - item);
}

template <class T, bool RELU, bool CONSTANT> INLINE void backward_of_part(const GroupNorm& job, i64 item) {
    const Part part = part_of(job, item);
    const T* x = static_cast<const T*>(job.x) + part.offset;
    const T* dy = static_cast<const T*>(job.dy) + part.offset;
    T* dx = static_cast<T*>(job.dx) + part.offset;
    const T *scale = factor<T>(job, part.batch, SCALE), *shift = factor<T>(job, part.batch, SHIFT);
    const T *slope = factor<T>(job, part.batch, SLOPE), *offset = factor<T>(job, part.batch, OFFSET);
    for (i64 r = 0; r < part.rows; r++, x += job.cols, dy += job.cols, dx += job.cols)
        for_vectors<T>(job.cols, [&](i64 c, int n) __attribute__((always_inline)) {
            const Vec<T> v = RELU || !CONSTANT ? load_n(x + c, n) : Vec<T>{};
            const Vec<T> dz = passed<T, RELU>(load_n(dy + c, n), v, scale + c, shift + c, n), a = load_n(scale + c, n);
            const Vec<T> rest = CONSTANT ? Vec<T>{} : fma<T>(v, load_n(slope + c, n), load_n(offset + c, n));
            store_n(dx + c, CONSTANT ? dz * a : fma<T>(dz, a, rest), n);
        });
}

template <class T> void norm_backward(const GroupNorm& job, i64 begin, i64 end) {
    const i64 last = job.batch * job.parts - 1;
    for (i64 item = begin; item < end; item++) {
        const i64 at = last - item;
        if (job.relu)
            job.constant ? backward_of_part<T, true, true>(job, at) : backward_of_part<T, true, false>(job, at);
        else
            job.constant ? backward_of_part<T, false, true>(job, at) : backward_of_part<T, false, false>(job, at);
    }
}

#define INSTANTIATE(kernel)                                   \
    template void kernel<float>(const GroupNorm&, i64, i64); \
    template void kernel<double>(const GroupNorm&, i64, i64);
INSTANTIATE(norm_moments)
INSTANTIATE(norm_apply)
INSTANTIATE(norm_statistics)
INSTANTIATE(norm_scales)
INSTANTIATE(norm_slopes)
INSTANTIATE(norm_sums)
INSTANTIATE(norm_backward)
INSTANTIATE(norm_column_sums)
INSTANTIATE(norm_weights)

}  // namespace FASTNN_ISA
}  // namespace fastnn
