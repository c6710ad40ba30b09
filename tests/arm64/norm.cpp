// Batch, group and instance norm on channels-last memory; layer and RMS norm along rows.
#include "driver.h"

namespace fastnn {
namespace driver {

// Numbers on both sides of 0 and away from it: whether ReLU cuts one off does not hang on a rounding.
template <class T> static Values<T> two_sided(i64 n) {
    Values<T> x = numbers<T>(n, 0.5, 1.5);
    for (T& v : x)
        if (whole_number(0, 1)) v = -v;
    return x;
}

// Where a mean is of one number alone, x - mean is 0 and 1 / sqrt(eps) the factor before it; of two, the gradient is nearly 0.
static double terms_of(i64 n) { return n == 1 ? 400 : n == 2 ? 4 : 0; }

// ---- batch, group and instance norm -----------------------------------------------------------------------------

struct Columns {
    i64 batch, rows, cols, groups;
    i64 size() const { return batch * rows * cols; }
};
static const Columns COLUMNS[] = {
    {1, 1, 1, 1},   {1, 7, 3, 3},    {1, 33, 17, 17}, {1, 300, 5, 5},  {1, 130, 64, 64},  {1, 5000, 2, 2},
    {1, 64, 67, 67}, {2, 9, 4, 4},   {3, 16, 33, 33}, {2, 9, 4, 2},    {2, 25, 12, 3},    {1, 6, 35, 5},
    {3, 49, 24, 1}, {2, 200, 66, 6}, {1, 257, 9, 1},  {1, 20, 200, 8}, {2, 1, 30, 5},     {1, 9, 1030, 10},
};

template <class T> struct ColumnArrays {
    Values<T> x, dy, weight, bias, mean, var;
    explicit ColumnArrays(const Columns& s)
        : x(two_sided<T>(s.size())),
          dy(numbers<T>(s.size())),
          weight(numbers<T>(s.cols, 0.5, 1.5)),
          bias(numbers<T>(s.cols, -0.01, 0.01)),
          mean(numbers<T>(s.batch * s.groups, -0.1, 0.1)),
          var(numbers<T>(s.batch * s.groups, 0.5, 2)) {}
};

template <class T>
static Outputs<T> normed(const Columns& s, const ColumnArrays<T>& from, bool affine, bool relu, bool constant) {
    Values<T> mean = constant ? from.mean : unwritten<T>(s.batch * s.groups), rstd = unwritten<T>(s.batch * s.groups);
    Values<T> var = constant ? from.var : rstd, y = unwritten<T>(s.size()), dx = y, dx_alone = y;
    Values<T> dweight = unwritten<T>(s.cols), dbias = dweight;
    GroupNorm job = {};
    job.batch = s.batch, job.rows = s.rows, job.cols = s.cols, job.groups = s.groups;
    job.eps = 1e-5, job.relu = relu, job.constant = constant;
    job.x = from.x.data(), job.weight = given(affine, from.weight), job.bias = given(affine, from.bias);
    job.y = y.data(), job.mean = mean.data(), job.var = var.data(), job.rstd = rstd.data();
    expect(run_group_norm(DTYPE<T>, job), "group_norm");
    job.var = nullptr;
    job.dy = from.dy.data(), job.dx = dx.data(), job.dweight = dweight.data(), job.dbias = dbias.data();
    expect(run_group_norm_backward(DTYPE<T>, job), "group_norm_backward");
    job.dx = dx_alone.data(), job.dweight = job.dbias = nullptr;
    expect(run_group_norm_backward(DTYPE<T>, job), "group_norm_backward");
    const double terms = terms_of(s.rows * s.cols / s.groups);
    return {{"y", y, 64, terms},          {"mean", mean, 64},   {"var", var, 64, terms},        {"rstd", rstd, 64},
            {"dweight", dweight, 64, terms}, {"dbias", dbias, 64}, {"dx", dx, 64, terms}, {"dx alone", dx_alone, 64, terms}};
}

template <class T> void group_norm() {
    for (const Columns& s : COLUMNS) {
        const ColumnArrays<T> from(s);
        for (bool affine : {false, true})
            for (bool relu : {false, true})
                for (bool constant : {false, true}) {
                    if (relu && !constant && s.rows * s.cols / s.groups == 1) continue;  // x - mean is 0
                    const std::string options =
                        std::string(affine ? ", affine" : "") + (relu ? ", relu" : "") + (constant ? ", constant" : "");
                    check<T>("norm of " + by(s.batch, s.rows, s.cols) + " in groups " + by(s.groups) + options,
                             [&] { return normed(s, from, affine, relu, constant); });
                }
    }
}

// ---- layer and RMS norm -----------------------------------------------------------------------------------------

template <class T> struct RowArrays {
    Values<T> x, residual, dy, dsum, weight, bias;
    RowArrays(i64 rows, i64 cols)
        : x(numbers<T>(rows * cols)),
          residual(numbers<T>(rows * cols)),
          dy(numbers<T>(rows * cols)),
          dsum(numbers<T>(rows * cols)),
          weight(numbers<T>(cols, 0.5, 1.5)),
          bias(numbers<T>(cols)) {}
};

template <class T>
static Outputs<T> row_normed(i64 rows, i64 cols, const RowArrays<T>& from, bool affine, bool residual, bool rms) {
    Values<T> y = unwritten<T>(rows * cols), sum = y, dx = y, mean = unwritten<T>(rows), rstd = mean;
    Values<T> dweight = unwritten<T>(cols), dbias = dweight;
    RowNorm job = {};
    job.rows = rows, job.cols = cols, job.eps = 1e-5, job.rms = rms;
    job.x = from.x.data(), job.residual = given(residual, from.residual);
    job.weight = given(affine, from.weight), job.bias = given(affine && !rms, from.bias);
    job.y = y.data(), job.sum = given(residual, sum), job.mean = given(!rms, mean), job.rstd = rstd.data();
    run_items(kernels<T>().row_norm, job, rows);
    if (residual) job.x = sum.data();
    job.residual = nullptr;
    job.dy = from.dy.data(), job.dsum = given(residual, from.dsum);
    job.dx = dx.data(), job.dweight = dweight.data(), job.dbias = given(!rms, dbias);
    expect(run_row_norm_backward(DTYPE<T>, job), "row_norm_backward");
    const double terms = terms_of(cols);
    return {{"y", y, 64, terms},   {"sum", sum, 2},                 {"mean", mean, 64},  {"rstd", rstd, 64},
            {"dx", dx, 64, terms}, {"dweight", dweight, 64, terms}, {"dbias", dbias, 64}};
}

template <class T> void row_norm() {
    const i64 sizes[][2] = {{1, 1},  {3, 2},  {5, 3},    {2, 4},   {70, 5},  {3, 7},    {4, 8},    {9, 9},   {33, 15},
                            {2, 16}, {7, 17}, {130, 31}, {1, 33},  {5, 64},  {40, 67},  {3, 130},  {2, 513}, {600, 70},
                            {2, 4099}, {3, 9001}};
    for (const auto& s : sizes) {
        const RowArrays<T> from(s[0], s[1]);
        for (bool affine : {false, true})
            for (bool residual : {false, true})
                for (bool rms : {false, true})
                    check<T>(std::string(rms ? "rms" : "layer") + " norm of " + by(s[0], s[1]) + (affine ? ", affine" : "") +
                                 (residual ? ", residual" : ""),
                             [&] { return row_normed(s[0], s[1], from, affine, residual, rms); });
    }
}

template void group_norm<float>();
template void group_norm<double>();
template void row_norm<float>();
template void row_norm<double>();

}  // namespace driver
}  // namespace fastnn
