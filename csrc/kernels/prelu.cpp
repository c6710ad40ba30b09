// PReLU, forward, and both gradients in one walk. Where channels lie side by side the slopes are repeated to whole vectors, and
// an item adds up dweight in as many columns: both lie in L1.
#include "kernels.h"

#include "../vec.h"

namespace fastnn {
namespace FASTNN_ISA {

// n elements from `at` on. ONE: their slope is *weight and their sum goes to *sums; else both lie column by column.
template <class T, bool ONE, bool BACK>
static void stretch(const Prelu& job, i64 at, i64 n, const T* weight, [[maybe_unused]] T* sums) {
    const T *x = static_cast<const T*>(job.x) + at, *dy = BACK ? static_cast<const T*>(job.dy) + at : x;
    T* out = job.out ? static_cast<T*>(job.out) + at : nullptr;
    Vec<T> total = {};
    for_vectors<T>(n, [&](i64 i, int count) __attribute__((always_inline)) {
        const Vec<T> v = load_n(x + i, count), d = BACK ? load_n(dy + i, count) : v;
        const IVec<T> above = v > Vec<T>{};
        const Vec<T> slope = ONE ? splat<T>(*weight) : load_n(weight + i, count);
        if (!BACK || out) store_n(out + i, select<T>(above, d, slope * d), count);
        if (!BACK || !sums) return;
        const Vec<T> product = from_bits<T>(bits<T>(d * v) & ~above);
        if (ONE)
            total += product;
        else
            store_n(sums + i, load_n(sums + i, count) + product, count);
    });
    if (ONE && BACK && sums) *sums += sum_lanes<T>(total);
}

template <class T, bool BACK> static void rows_of_channels(const Prelu& job, i64 begin, i64 end) {
    constexpr i64 PIECE = 4096;  // elements that are added up in one vector: their sums are added in turn
    for (i64 row = begin; row < end; row++) {
        T* sums = BACK && job.sums ? static_cast<T*>(job.sums) + row : nullptr;
        if (sums) *sums = 0;
        for (i64 i = 0; i < job.inner; i += PIECE)
            stretch<T, true, BACK>(job, row * job.inner + i, job.inner - i < PIECE ? job.inner - i : PIECE,
                                   static_cast<const T*>(job.weight) + row % job.channels, sums);
    }
}

template <class T, bool BACK> static void channels_last(const Prelu& job, i64 begin, i64 end) {
    constexpr i64 MOST = 512;
    const i64 cols = prelu_cols(job), item_size = prelu_item(job);
    const i64 stop = end * item_size < job.size ? end * item_size : job.size;
    const T* weight = static_cast<const T*>(job.weight);
    T repeated[MOST];
    if (cols > job.channels && cols <= MOST) {
        for (i64 j = 0; j < cols; j++) repeated[j] = weight[j % job.channels];
        weight = repeated;
    }
    for (i64 at = begin * item_size; at < stop; at += cols) {
        T* sums = BACK && job.sums ? static_cast<T*>(job.sums) + at / item_size * cols : nullptr;
        if (sums && at % item_size == 0) memset(sums, 0, size_t(cols) * sizeof(T));
        stretch<T, false, BACK>(job, at, stop - at < cols ? stop - at : cols, weight, sums);
    }
}

template <class T, bool BACK> static void run(const Prelu& job, i64 begin, i64 end) {
    job.inner > 1 ? rows_of_channels<T, BACK>(job, begin, end) : channels_last<T, BACK>(job, begin, end);
}

template <class T> void prelu(const Prelu& job, i64 begin, i64 end) { run<T, false>(job, begin, end); }
template <class T> void prelu_backward(const Prelu& job, i64 begin, i64 end) { run<T, true>(job, begin, end); }

#define INSTANTIATE(kernel)                                \
    template void kernel<float>(const Prelu&, i64, i64); \
    template void kernel<double>(const Prelu&, i64, i64);
INSTANTIATE(prelu)
INSTANTIATE(prelu_backward)

}  // namespace FASTNN_ISA
}  // namespace fastnn
