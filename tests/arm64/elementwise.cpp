// Functions of one and two arrays, and dropout.
#include "driver.h"

namespace fastnn {
namespace driver {

static const i64 SIZES[] = {1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 33, 64, 67, 130};

// All elements in two shares, the first of which ends anywhere.
template <class T> static Output<T> in_two(const char* name, KernelOf<Elementwise> kernel, Elementwise job) {
    const i64 size = job.ndim == 1 ? job.shape[0] : job.shape[0] * job.shape[1];
    Output<T> out = {name, unwritten<T>(size), 64};
    job.out = out.values.data();
    kernel(job, 0, size / 2);
    kernel(job, size / 2, size);
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
            check<T>("functions of " + by(n), [&] {
                static const std::vector<std::string> names = [] {
                    std::vector<std::string> made;
                    for (int op = 0; op < UNARY_OPS; op++) made.push_back("unary " + std::to_string(op));
                    for (int op = 0; op < BINARY_OPS; op++) made.push_back("binary " + std::to_string(op));
                    return made;
                }();
                Outputs<T> out;
                for (int op = 0; op < UNARY_OPS; op++) out.push_back(in_two<T>(names[op].c_str(), kernels<T>().unary[op], job));
                for (int op = 0; op < BINARY_OPS; op++)
                    out.push_back(in_two<T>(names[UNARY_OPS + op].c_str(), kernels<T>().binary[op], job));
                return out;
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
template void dropout<float>();
template void dropout<double>();

}  // namespace driver
}  // namespace fastnn
