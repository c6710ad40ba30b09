// The normalisation's kernels in plain loops, in double: the definition of correct (see reference.cpp). They read x and
// dy for every statistic themselves, without partial results.
#include "reference_norm.h"

#include <math.h>

namespace fastnn {
namespace reference {

template <class T> static double at(const void* p, i64 i, double otherwise = 0) {
    return p ? double(((const T*)p)[i]) : otherwise;
}

static i64 width(const GroupNorm& job) { return job.cols / job.groups; }
static i64 group_of(const GroupNorm& job, i64 batch, i64 c) { return batch * job.groups + c / width(job); }
static i64 index_of(const GroupNorm& job, i64 batch, i64 r, i64 c) { return (batch * job.rows + r) * job.cols + c; }

template <class T> static double xhat(const GroupNorm& job, i64 batch, i64 r, i64 c) {
    const i64 g = group_of(job, batch, c);
    return (at<T>(job.x, index_of(job, batch, r, c)) - at<T>(job.mean, g)) * at<T>(job.rstd, g);
}
template <class T> static double before_relu(const GroupNorm& job, i64 batch, i64 r, i64 c) {
    return xhat<T>(job, batch, r, c) * at<T>(job.weight, c, 1) + at<T>(job.bias, c);
}
template <class T> static double dz(const GroupNorm& job, i64 batch, i64 r, i64 c) {
    return job.relu && !(before_relu<T>(job, batch, r, c) > 0) ? 0 : at<T>(job.dy, index_of(job, batch, r, c));
}

// Partial results serve speed alone: these steps have nothing to do here.
template <class T> void norm_moments(const GroupNorm&, i64, i64) {}
template <class T> void norm_sums(const GroupNorm&, i64, i64) {}

template <class T> void norm_statistics(const GroupNorm& job, i64 begin, i64 end) {
    for (i64 g = begin; g < end; g++) {
        const i64 batch = g / job.groups, c0 = g % job.groups * width(job);
        const double n = double(job.rows) * double(width(job));
        double mean = 0, squares = 0;
        for (i64 r = 0; r < job.rows; r++)
            for (i64 c = c0; c < c0 + width(job); c++) mean += at<T>(job.x, index_of(job, batch, r, c)) / n;
        for (i64 r = 0; r < job.rows; r++)
            for (i64 c = c0; c < c0 + width(job); c++)
                squares += pow(at<T>(job.x, index_of(job, batch, r, c)) - mean, 2);
        ((T*)job.mean)[g] = T(mean);
        ((T*)job.var)[g] = T(squares / n);
    }
}

template <class T> void norm_scales(const GroupNorm& job, i64 begin, i64 end) {
    if (!job.var) return;
    for (i64 g = begin; g < end; g++) ((T*)job.rstd)[g] = T(1 / sqrt(at<T>(job.var, g) + job.eps));
}

template <class T> void norm_apply(const GroupNorm& job, i64 begin, i64 end) {
    for (i64 item = begin; item < end; item++)
        for (i64 r = item % job.parts * job.part_rows; r < job.rows && r < (item % job.parts + 1) * job.part_rows; r++)
            for (i64 c = 0; c < job.cols; c++) {
                const double y = before_relu<T>(job, item / job.parts, r, c);
                ((T*)job.y)[index_of(job, item / job.parts, r, c)] = T(job.relu && y <= 0 ? 0 : y);  // keeps NaN
            }
}

template <class T> void norm_column_sums(const GroupNorm& job, i64 begin, i64 end) {
    for (i64 item = begin; item < end; item++) {
        const i64 batch = item / job.cols, c = item % job.cols;
        double* sum = job.sums + batch * 2 * job.cols + c;
        sum[0] = sum[job.cols] = 0;
        for (i64 r = 0; r < job.rows; r++) {
            const double d = dz<T>(job, batch, r, c);
            sum[0] += d;
            sum[job.cols] += d * (at<T>(job.x, index_of(job, batch, r, c)) - at<T>(job.mean, group_of(job, batch, c)));
        }
    }
}

template <class T> void norm_weights(const GroupNorm& job, i64 begin, i64 end) {
    for (i64 c = begin; c < end; c++) {
        double sum = 0, products = 0;
        for (i64 b = 0; b < job.batch; b++) {
            sum += job.sums[b * 2 * job.cols + c];
            products += job.sums[(b * 2 + 1) * job.cols + c] * at<T>(job.rstd, group_of(job, b, c));
        }
        if (job.dbias) ((T*)job.dbias)[c] = T(sum);
        if (job.dweight) ((T*)job.dweight)[c] = T(products);
    }
}

// slope and offset of dx = dz * scale + x * slope + offset: rows 3 and 4 of the factors.
template <class T> void norm_slopes(const GroupNorm& job, i64 begin, i64 end) {
    for (i64 g = begin; g < end; g++) {
        const i64 batch = g / job.groups, c0 = g % job.groups * width(job);
        const double n = double(job.rows) * double(width(job)), rstd = at<T>(job.rstd, g);
        double sum = 0, products = 0;
        for (i64 c = c0; c < c0 + width(job); c++) {
            sum += at<T>(job.weight, c, 1) * job.sums[batch * 2 * job.cols + c] / n;
            products += at<T>(job.weight, c, 1) * job.sums[(batch * 2 + 1) * job.cols + c] / n;
        }
        for (i64 c = c0; c < c0 + width(job); c++) {
            T* slope = (T*)job.factors + (batch * 5 + 3) * job.cols + c;
            slope[0] = T(-rstd * rstd * rstd * products);
            slope[job.cols] = T(-rstd * sum - at<T>(job.mean, g) * double(slope[0]));
        }
    }
}

template <class T> void norm_backward(const GroupNorm& job, i64 begin, i64 end) {
    for (i64 item = begin; item < end; item++) {
        const i64 batch = item / job.parts;
        for (i64 r = item % job.parts * job.part_rows; r < job.rows && r < (item % job.parts + 1) * job.part_rows; r++)
            for (i64 c = 0; c < job.cols; c++) {
                const T* slope = (const T*)job.factors + (batch * 5 + 3) * job.cols + c;
                const i64 i = index_of(job, batch, r, c);
                const double rstd = at<T>(job.rstd, group_of(job, batch, c));
                double dx = dz<T>(job, batch, r, c) * at<T>(job.weight, c, 1) * rstd;
                if (!job.constant) dx += at<T>(job.x, i) * double(slope[0]) + double(slope[job.cols]);
                ((T*)job.dx)[i] = T(dx);
            }
    }
}

// ---- along rows ----

template <class T> void row_norm(const RowNorm& job, i64 begin, i64 end) {
    for (i64 r = begin; r < end; r++) {
        const i64 row = r * job.cols;
        const double n = double(job.cols);
        for (i64 c = 0; c < job.cols && job.residual; c++)
            ((T*)job.sum)[row + c] = ((const T*)job.x)[row + c] + ((const T*)job.residual)[row + c];
        const void* s = job.residual ? job.sum : job.x;
        double mean = 0, squares = 0;
        for (i64 c = 0; c < job.cols && !job.rms; c++) mean += at<T>(s, row + c) / n;
        for (i64 c = 0; c < job.cols; c++) squares += pow(at<T>(s, row + c) - mean, 2) / n;
        const double rstd = 1 / sqrt(squares + job.eps);
        if (job.mean) ((T*)job.mean)[r] = T(mean);
        ((T*)job.rstd)[r] = T(rstd);
        for (i64 c = 0; c < job.cols; c++)
            ((T*)job.y)[row + c] = T((at<T>(s, row + c) - mean) * rstd * at<T>(job.weight, c, 1) + at<T>(job.bias, c));
    }
}

template <class T> static double row_xhat(const RowNorm& job, i64 r, i64 c) {
    return (at<T>(job.x, r * job.cols + c) - at<T>(job.mean, r)) * at<T>(job.rstd, r);
}

template <class T> static void dx_of_row(const RowNorm& job, i64 r) {
    double g = 0, gx = 0;
    for (i64 c = 0; c < job.cols; c++) {
        const double d = at<T>(job.dy, r * job.cols + c) * at<T>(job.weight, c, 1) / double(job.cols);
        g += job.rms ? 0 : d;
        gx += d * row_xhat<T>(job, r, c);
    }
    for (i64 c = 0; c < job.cols; c++) {
        const i64 i = r * job.cols + c;
        const double inner = at<T>(job.dy, i) * at<T>(job.weight, c, 1) - g - row_xhat<T>(job, r, c) * gx;
        ((T*)job.dx)[i] = T(at<T>(job.rstd, r) * inner + at<T>(job.dsum, i));
    }
}

template <class T> void row_norm_backward(const RowNorm& job, i64 begin, i64 end) {
    for (i64 r = begin * job.block_rows; r < job.rows && r < end * job.block_rows && job.dx; r++) dx_of_row<T>(job, r);
}

template <class T> void row_norm_weights(const RowNorm& job, i64 begin, i64 end) {
    for (i64 c = begin; c < end; c++) {
        double dweight = 0, dbias = 0;
        for (i64 r = 0; r < job.rows; r++) {
            dweight += at<T>(job.dy, r * job.cols + c) * row_xhat<T>(job, r, c);
            dbias += at<T>(job.dy, r * job.cols + c);
        }
        if (job.dweight) ((T*)job.dweight)[c] = T(dweight);
        if (job.dbias) ((T*)job.dbias)[c] = T(dbias);
    }
}

#define INSTANTIATE(kernel, Job)                        \
    template void kernel<float>(const Job&, i64, i64); \
    template void kernel<double>(const Job&, i64, i64);
INSTANTIATE(norm_moments, GroupNorm)
INSTANTIATE(norm_apply, GroupNorm)
INSTANTIATE(norm_statistics, GroupNorm)
INSTANTIATE(norm_scales, GroupNorm)
INSTANTIATE(norm_slopes, GroupNorm)
INSTANTIATE(norm_sums, GroupNorm)
INSTANTIATE(norm_backward, GroupNorm)
INSTANTIATE(norm_column_sums, GroupNorm)
INSTANTIATE(norm_weights, GroupNorm)
INSTANTIATE(row_norm, RowNorm)
INSTANTIATE(row_norm_backward, RowNorm)
INSTANTIATE(row_norm_weights, RowNorm)

}  // namespace reference
}  // namespace fastnn
