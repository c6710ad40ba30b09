// reference_pool.cpp's kernels, for the tables of reference.cpp.
#pragma once
#include "kernels.h"

namespace fastnn {
namespace reference {

template <class T> void max_pool(const Pooling& job, i64 begin, i64 end);
template <class T> void max_pool_pick(const Pooling& job, i64 begin, i64 end);
template <class T> void max_pool_backward(const Pooling& job, i64 begin, i64 end);
template <class T> void avg_pool(const Pooling& job, i64 begin, i64 end);
template <class T> void avg_pool_backward(const Pooling& job, i64 begin, i64 end);
template <class T> void resize(const Resize& job, i64 begin, i64 end);
template <class T> void resize_backward(const Resize& job, i64 begin, i64 end);

}  // namespace reference
}  // namespace fastnn
