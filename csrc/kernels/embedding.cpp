// Rows of a table by number, and their gradient: each row of the table sums its own readers in the order they came, so that no
// two threads write to one row, every row is written once, and the bits do not depend on who does it.
#include "kernels.h"
#include "rows.h"

namespace fastnn {
namespace FASTNN_ISA {

template <class T> void embedding(const Embedding& job, i64 begin, i64 end) {
    for (i64 i = begin; i < end; i++) {
        const T* from = static_cast<const T*>(job.in) + job.index[i] * job.cols;
        T* to = static_cast<T*>(job.out) + i * job.cols;
        for_vectors<T>(job.cols, [&](i64 c, int n) { store_n(to + c, load_n(from + c, n), n); });
    }
}

template <class T> void embedding_backward(const Embedding& job, i64 begin, i64 end) {
    const T* dy = static_cast<const T*>(job.in);
    for (i64 v = begin; v < end; v++) {
        T* to = static_cast<T*>(job.out) + v * job.cols;
        const i64 first = job.first[v], last = v == job.padding ? first : job.first[v + 1];
        for_vectors<T>(job.cols, [&](i64 c, int n) {
            Vec<T> sum = {};
            for (i64 i = first; i < last; i++) sum += load_n(dy + job.readers[i] * job.cols + c, n);
            store_n(to + c, sum, n);
        });
    }
}

#define INSTANTIATE(kernel)                                   \
    template void kernel<float>(const Embedding&, i64, i64); \
    template void kernel<double>(const Embedding&, i64, i64);
INSTANTIATE(embedding)
INSTANTIATE(embedding_backward)

}  // namespace FASTNN_ISA
}  // namespace fastnn
