// Attention of a few queries, as in generation: bound by reading k and v, which are read once, where they are. The keys are cut
// into parts by their number alone; each gives its maximum, its sum and its sums of v, which are joined in their order.
#pragma once
#include "../kernels.h"

namespace fastnn {
namespace FASTNN_ISA {

template <class T> void plan_few(Attention& job);
template <class T> void attention_few(const Attention& job, i64 begin, i64 end);

}  // namespace FASTNN_ISA
}  // namespace fastnn
