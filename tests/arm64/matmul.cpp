// Products of matrices: whole numbers, whose sums are exact.
#include "driver.h"

namespace fastnn {
namespace driver {

struct Shape {
    i64 m, k, n;
};
static const Shape SHAPES[] = {{1, 1, 1},      {1, 33, 100}, {2, 3, 5},      {5, 17, 9},    {6, 16, 16},
                               {7, 5, 33},     {8, 64, 63},  {13, 17, 48},   {1, 513, 65},  {16, 16, 16},
                               {31, 130, 129}, {65, 66, 67}, {4, 0, 9},      {70, 520, 40}, {3, 40, 600},
                               {1, 64, 300},   {130, 9, 1},  {300, 30, 300}, {12, 1100, 24}, {20, 300, 1024}};

// Two products with one b; where it is kept, again with the packed b that the first call left, if it did.
template <class T> static Outputs<T> products(Matmul job) {
    const i64 size = 2 * job.m * job.n;
    Values<T> c(size, T(3)), again = c;
    void* packed = nullptr;
    job.c = c.data();
    expect(run_matmul_keeping(DTYPE<T>, job, packed), "matmul");
    if (packed && job.kept) {
        job.c = again.data();
        expect(run_matmul_keeping(DTYPE<T>, job, packed), "matmul");
    } else {
        again = c;
    }
    release(packed);
    return {{"c", c, 0}, {"c of a packed b", again, 0}};
}

// All ways in which a and b may lie in memory.
template <class T> void matmul() {
    for (const Shape& s : SHAPES)
        for (int way = 0; way < 16; way++) {
            const bool a_transposed = way & 1, b_transposed = way & 2, finish = way & 4, kept = way & 8;
            const Values<T> a = integers<T>(2 * s.m * s.k), b = integers<T>(s.k * s.n), bias = integers<T>(s.n);
            const Values<T> residual = integers<T>(2 * s.m * s.n);
            Matmul job = {};
            job.a = a.data(), job.b = b.data(), job.bias = given(finish, bias);
            job.m = s.m, job.n = s.n, job.k = s.k, job.c_row = s.n;
            job.a_row = a_transposed ? 1 : s.k, job.a_col = a_transposed ? s.m : 1;
            job.b_row = b_transposed ? 1 : s.n, job.b_col = b_transposed ? s.k : 1;
            job.batch_ndim = 1, job.batch_shape[0] = 2;
            job.c_batch[0] = s.m * s.n, job.a_batch[0] = s.m * s.k;
            job.activation = !finish ? COPY : kept ? RELU6 : RELU;
            job.residual = given(finish && a_transposed, residual);
            job.accumulate = !finish;
            job.kept = kept;
            check<T>("matmul " + by(s.m, s.k, s.n) + " way " + std::to_string(way), [&] { return products<T>(job); });
        }
}

template void matmul<float>();
template void matmul<double>();

}  // namespace driver
}  // namespace fastnn
