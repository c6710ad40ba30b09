// The families of the reference row that stand in files of their own.
#pragma once
#include "kernels.h"

namespace fastnn {
namespace reference {

// reference_conv.cpp
void conv_plan(Conv& job);
void conv_stage(Conv& job);
template <class T> void conv(const Conv& job, i64 begin, i64 end);

// reference_embedding.cpp
template <class T> void embedding(const Embedding& job, i64 begin, i64 end);
template <class T> void embedding_backward(const Embedding& job, i64 begin, i64 end);
// reference_ctc.cpp
template <class T> void ctc(const Ctc& job, i64 begin, i64 end);
template <class T> void ctc_backward(const Ctc& job, i64 begin, i64 end);

}  // namespace reference
}  // namespace fastnn
