// Functions of one and two arrays, and dropout.
#include "driver.h"

namespace fastnn {
namespace driver {

static const i64 SIZES[] = {1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 33, 64, 67, 130};

// "unary 3", "binary 7": what kernels.h counts them as.
static const char* name_of(bool unary, int op) {
    static const std::vector<std::string> names = [] {
        std::vector<std::string> made;
        for (int i = 0; i < UNARY_OPS; i++) made.push_back("unary " + std::to_string(i));
        for (int i = 0; i < BINARY_OPS; i++) made.push_back("binary " + std::to_string(i));
        return made;
    }();
    return names[unary ? op : UNARY_OPS + op].c_str();
}

// All elements in two shares, the first of which ends anywhere.
template <class T> static Values<T> in_two(KernelOf<Elementwise> kernel, Elementwise job) {
    const i64 size = job.ndim == 1 ? job.shape[0] : job.shape[0] * job.shape[1];
    Values<T> out = unwritten<T>(size);
    job.out = out.data();
    kernel(job, 0, size / 2);
    kernel(job, size / 2, size);
    return out;
}

template <class T> static Outputs<T> functions(const Elementwise& job, int unary_ops, int binary_ops, double terms) {
    Outputs<T> out;
    for (int op = 0; op < unary_ops; op++)
        out.push_back({name_of(true, op), in_two<T>(kernels<T>().unary[op], job), 64, terms});
    for (int op = 0; op < binary_ops; op++)
        out.push_back({name_of(false, op), in_two<T>(kernels<T>().binary[op], job), 64, terms});
    return out;
}

// GELU, SiLU and their slopes in one pass; the slopes take the place of x, as where a layer's product is recorded.
template <class T> static Outputs<T> with_slopes(const Values<T>& x, double terms) {
    const i64 n = i64(x.size());
    Outputs<T> out;
    const auto add = [&](KernelOf<Sloped> kernel, const char* name, const char* name_of_slope) {
        Values<T> y = unwritten<T>(n), slope = x;
        const Sloped job = {y.data(), slope.data(), slope.data()};
        kernel(job, 0, n / 2);
        kernel(job, n / 2, n);
        out.push_back({name, y, 64, terms});
        out.push_back({name_of_slope, slope, 64, terms});
    };
    add(kernels<T>().gelu_sloped, "gelu", "gelu'");
    add(kernels<T>().silu_sloped, "silu", "silu'");
    return out;
}

template <class T> void elementwise() {
    for (i64 n : SIZES) {
        const Values<T> a = numbers<T>(3 * n * 3, 0.01, 3), b = numbers<T>(3 * n * 3);
        // dense; a column broadcast; strided and reversed
        const Elementwise jobs[] = {
            {nullptr, a.data(), b.data(), 0.3, 1, {3 * n}, {1}, {1}},
            {nullptr, a.data(), b.data(), 0.3, 2, {3, n}, {n, 1}, {1, 0}},
            {nullptr, a.data() + 3 * n, b.data() + 3 * n - 1, 0.3, 2, {3, n}, {n, 2}, {n, -1}},
        };
        for (const Elementwise& job : jobs)
            check<T>("functions of " + by(n), [&] { return functions<T>(job, UNARY_OPS, BINARY_OPS, 0); });
        check<T>("functions with slopes of " + by(3 * n),
                 [&] { return with_slopes<T>(Values<T>(a.begin(), a.begin() + 3 * n), 0); });
    }
}

// Where functions turn, overflow or vanish, each number by itself: among others an error would be measured by their size. Of
// two arguments only the functions up to CLAMP, which are exact: gradients are made of products that may overflow on the way.
template <class T> void extremes() {
    constexpr bool SINGLE = sizeof(T) == 4;
    constexpr double LEAST = SINGLE ? 1e-30 : 1e-290;
    constexpr double DENORMAL = SINGLE ? 1e-40 : 1e-310, MOST = SINGLE ? 3e38 : 1e308;
    const double sizes[] = {0, DENORMAL, LEAST, 1e-9, 0.5, 1, 9, 20, 88, 104, 710, 750, 1e10, MOST, INFINITY, NAN};
    for (double first : sizes)
        for (double second : sizes)
            for (int signs = 0; signs < 4; signs++) {
                const Values<T> a(17, T(signs & 1 ? -first : first)), b(17, T(signs & 2 ? -second : second));
                check<T>("functions of " + std::to_string(a[0]) + ", " + std::to_string(b[0]), [&] {
                    const Elementwise job = {nullptr, a.data(), b.data(), 0.3, 1, {17}, {1}, {1}};
                    return functions<T>(job, second == 0 ? UNARY_OPS : 0, CLAMP + 1, LEAST);
                });
            }
}

// Channels side by side, and rows of one channel; both gradients.
template <class T> void prelus() {
    for (i64 channels : SIZES)
        for (i64 inner : {1, 5, 37}) {
            const i64 size = 3 * channels * inner;
            const Values<T> x = integers<T>(size), dy = integers<T>(size), weight = integers<T>(channels);
            check<T>("prelu of " + by(channels, inner), [&] {
                Values<T> y = unwritten<T>(size), dx = unwritten<T>(size);
                Prelu job = {y.data(), nullptr, x.data(), dy.data(), weight.data(), size, channels, inner};
                Values<T> sums = unwritten<T>(prelu_items(job) * prelu_cols(job));
                run_items(kernels<T>().prelu, job, prelu_items(job));
                job.out = dx.data(), job.sums = sums.data();
                run_items(kernels<T>().prelu_backward, job, prelu_items(job));
                return Outputs<T>{{"y", y, 0}, {"dx", dx, 0}, {"sums", sums, 0}};
            });
        }
}

template <class T> void dropout() {
    const uint64_t seed = 0x123456789abcdef, offset = ~uint64_t(0) - 5;
    for (i64 n : SIZES)
        for (bool mask : {false, true}) {
            const Values<T> x = numbers<T>(n);
            check<T>("dropout of " + by(n), [&] {
                Values<T> y = unwritten<T>(n);
                const Dropout job = {y.data(), given(!mask, x), 0.4, seed, offset};
                kernels<T>().dropout(job, 0, n / 3);
                kernels<T>().dropout(job, n / 3, n);
                return Outputs<T>{{"y", y, 0}};
            });
        }
}

template void elementwise<float>();
template void elementwise<double>();
template void extremes<float>();
template void extremes<double>();
template void prelus<float>();
template void prelus<double>();
template void dropout<float>();
template void dropout<double>();

}  // namespace driver
}  // namespace fastnn
