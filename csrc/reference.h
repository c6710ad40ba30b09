// The families of the reference row that stand in files of their own.
#pragma once
#include "kernels.h"

namespace fastnn {
namespace reference {

// reference_conv.cpp
void conv_plan(Conv& job);
void conv_stage(Conv& job);
template <class T> void conv(const Conv& job, i64 begin, i64 end);
// reference_attention.cpp
void attention_plan(Attention& job);
template <class T> void attention(const Attention& job, i64 begin, i64 end);
template <class T> void attention_backward(const Attention& job, i64 begin, i64 end);
void attention_combine(const Attention& job, i64 begin, i64 end);

// reference.cpp: word `i % 4` of Philox-4x32-10 at counter (offset + i / 4)
uint32_t philox(uint64_t seed, uint64_t offset, i64 i);

// reference_embedding.cpp
template <class T> void embedding(const Embedding& job, i64 begin, i64 end);
template <class T> void embedding_backward(const Embedding& job, i64 begin, i64 end);
// reference_prelu.cpp
template <class T> void prelu(const Prelu& job, i64 begin, i64 end);
template <class T> void prelu_backward(const Prelu& job, i64 begin, i64 end);
// reference_ctc.cpp
template <class T> void ctc(const Ctc& job, i64 begin, i64 end);
template <class T> void ctc_backward(const Ctc& job, i64 begin, i64 end);

}  // namespace reference
}  // namespace fastnn
