// The normalisation's kernels in plain loops, for the tables of reference.cpp.
#pragma once
#include "kernels.h"

namespace fastnn {
namespace reference {

template <class T> void norm_moments(const GroupNorm& job, i64 begin, i64 end);
template <class T> void norm_apply(const GroupNorm& job, i64 begin, i64 end);
template <class T> void norm_statistics(const GroupNorm& job, i64 begin, i64 end);
template <class T> void norm_scales(const GroupNorm& job, i64 begin, i64 end);
template <class T> void norm_slopes(const GroupNorm& job, i64 begin, i64 end);
template <class T> void norm_sums(const GroupNorm& job, i64 begin, i64 end);
template <class T> void norm_backward(const GroupNorm& job, i64 begin, i64 end);
template <class T> void norm_column_sums(const GroupNorm& job, i64 begin, i64 end);
template <class T> void norm_weights(const GroupNorm& job, i64 begin, i64 end);
template <class T> void row_norm(const RowNorm& job, i64 begin, i64 end);
template <class T> void row_norm_backward(const RowNorm& job, i64 begin, i64 end);
template <class T> void row_norm_weights(const RowNorm& job, i64 begin, i64 end);

}  // namespace reference
}  // namespace fastnn
