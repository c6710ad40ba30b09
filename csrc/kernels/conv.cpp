// Which way a convolution goes.
#include "conv.h"

#include "kernels.h"

namespace fastnn {
namespace FASTNN_ISA {

template <class T> void conv_plan(Conv& job) { job.pass == CONV_WEIGHT ? weight_plan<T>(job) : direct_plan<T>(job); }

template <class T> void conv_stage(Conv& job) { job.pass == CONV_WEIGHT ? weight_stage<T>(job) : direct_stage<T>(job); }

template <class T> void conv(const Conv& job, i64 begin, i64 end) {
    job.pass == CONV_WEIGHT ? weight<T>(job, begin, end) : direct<T>(job, begin, end);
}

template void conv_plan<float>(Conv&);
template void conv_plan<double>(Conv&);
template void conv_stage<float>(Conv&);
template void conv_stage<double>(Conv&);
template void conv<float>(const Conv&, i64, i64);
template void conv<double>(const Conv&, i64, i64);

}  // namespace FASTNN_ISA
}  // namespace fastnn
