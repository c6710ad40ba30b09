// Rows of a table and their gradient in plain loops.
#include "reference.h"

namespace fastnn {
namespace reference {

template <class T> void embedding(const Embedding& job, i64 begin, i64 end) {
    for (i64 i = begin; i < end; i++)
        for (i64 c = 0; c < job.cols; c++) ((T*)job.out)[i * job.cols + c] = ((const T*)job.in)[job.index[i] * job.cols + c];
}

template <class T> void embedding_backward(const Embedding& job, i64 begin, i64 end) {
    for (i64 v = begin; v < end; v++)
        for (i64 c = 0; c < job.cols; c++) {
            double sum = 0;
            for (i64 i = job.first[v]; i < job.first[v + 1] && v != job.padding; i++)
                sum += ((const T*)job.in)[job.readers[i] * job.cols + c];
            ((T*)job.out)[v * job.cols + c] = T(sum);
        }
}

template void embedding<float>(const Embedding&, i64, i64);
template void embedding<double>(const Embedding&, i64, i64);
template void embedding_backward<float>(const Embedding&, i64, i64);
template void embedding_backward<double>(const Embedding&, i64, i64);

}  // namespace reference
}  // namespace fastnn
