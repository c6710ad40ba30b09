// Dropout by a counter: masks are made from the number of an element, and never stored.
#include "kernels.h"
#include "philox.h"

namespace fastnn {
namespace FASTNN_ISA {

template <class T> void dropout(const Dropout& job, i64 begin, i64 end) {
    T* y = static_cast<T*>(job.y);
    const T* x = static_cast<const T*>(job.x);
    const uint64_t threshold = uint64_t(job.p * 4294967296.0);  // a word below it drops
    const T scale = job.p < 1 ? T(1 / (1 - job.p)) : T(0);
    constexpr i64 BLOCK = 4 * COUNTERS;
    uint32_t words[BLOCK];
    for (i64 block = begin / BLOCK; block * BLOCK < end; block++) {
        philox(words, job.offset + uint64_t(block * COUNTERS), job.seed);
        const i64 first = block * BLOCK, from = first < begin ? begin : first, to = first + BLOCK < end ? first + BLOCK : end;
        for (i64 i = from; i < to; i++) {
            const T kept = x ? x[i] * scale : scale;
            y[i] = words[i - first] >= threshold ? kept : T(0);
        }
    }
}

template void dropout<float>(const Dropout&, i64, i64);
template void dropout<double>(const Dropout&, i64, i64);

}  // namespace FASTNN_ISA
}  // namespace fastnn
