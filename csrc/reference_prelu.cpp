// PReLU in plain loops.
#include "reference.h"

namespace fastnn {
namespace reference {

// visit(element, channel) for those of an item.
template <class Visit> static void for_elements(const Prelu& job, i64 item, Visit visit) {
    const i64 size = prelu_item(job);
    for (i64 e = item * size; e < (item + 1) * size && e < job.size; e++) visit(e, e / job.inner % job.channels);
}

template <class T> void prelu(const Prelu& job, i64 begin, i64 end) {
    const T* x = (const T*)job.x;
    for (i64 item = begin; item < end; item++)
        for_elements(job, item, [&](i64 e, i64 c) { ((T*)job.out)[e] = x[e] > 0 ? x[e] : ((const T*)job.weight)[c] * x[e]; });
}

template <class T> void prelu_backward(const Prelu& job, i64 begin, i64 end) {
    const T *x = (const T*)job.x, *dy = (const T*)job.dy, *weight = (const T*)job.weight;
    const i64 cols = prelu_cols(job);
    for (i64 item = begin; item < end; item++) {
        for_elements(job, item, [&](i64 e, i64 c) {
            if (job.out) ((T*)job.out)[e] = x[e] > 0 ? dy[e] : weight[c] * dy[e];
        });
        for (i64 j = 0; job.sums && j < cols; j++) {
            double sum = 0;
            for_elements(job, item, [&](i64 e, i64) {
                if (e % cols == j && !(x[e] > 0)) sum += double(dy[e]) * double(x[e]);
            });
            ((T*)job.sums)[item * cols + j] = T(sum);
        }
    }
}

template void prelu<float>(const Prelu&, i64, i64);
template void prelu<double>(const Prelu&, i64, i64);
template void prelu_backward<float>(const Prelu&, i64, i64);
template void prelu_backward<double>(const Prelu&, i64, i64);

}  // namespace reference
}  // namespace fastnn
