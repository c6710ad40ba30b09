// What the files of this folder give to table.cpp: one template a kernel, instantiated for float and double in its own file.
#pragma once
#include "../kernels.h"

namespace fastnn {
namespace FASTNN_ISA {

extern const Kernels kernels_f32, kernels_f64;

// elementwise.cpp
template <class T, int OP> void unary(const Elementwise& job, i64 begin, i64 end);
template <class T, int OP> void binary(const Elementwise& job, i64 begin, i64 end);
template <class T, int OP> void sloped(const Sloped& job, i64 begin, i64 end);
// reduce.cpp
template <class T, int OP> void reduce(const Reduce& job, i64 begin, i64 end);
// rows.cpp
template <class T> void softmax(const Rows& job, i64 begin, i64 end);
template <class T> void softmax_backward(const Rows& job, i64 begin, i64 end);
template <class T> void log_softmax(const Rows& job, i64 begin, i64 end);
template <class T> void log_softmax_backward(const Rows& job, i64 begin, i64 end);
// loss.cpp
template <class T> void cross_entropy(const CrossEntropy& job, i64 begin, i64 end);
template <class T> void cross_entropy_backward(const CrossEntropy& job, i64 begin, i64 end);
// ctc.cpp
template <class T> void ctc(const Ctc& job, i64 begin, i64 end);
template <class T> void ctc_backward(const Ctc& job, i64 begin, i64 end);
// embedding.cpp
template <class T> void embedding(const Embedding& job, i64 begin, i64 end);
template <class T> void embedding_backward(const Embedding& job, i64 begin, i64 end);
// matmul.cpp, matmul_pack.cpp
template <class T> void matmul_plan(Matmul& job);
template <class T> void matmul_pack(const Matmul& job, i64 begin, i64 end);
template <class T> void matmul(const Matmul& job, i64 begin, i64 end);
// optimizer.cpp
template <class T> void sgd(const Optimize& job, i64 begin, i64 end);
template <class T> void adam(const Optimize& job, i64 begin, i64 end);
template <class T> void rmsprop(const Optimize& job, i64 begin, i64 end);
// random.cpp
template <class T> void dropout(const Dropout& job, i64 begin, i64 end);
// resize.cpp
template <class T> void resize(const Resize& job, i64 begin, i64 end);
template <class T> void resize_backward(const Resize& job, i64 begin, i64 end);
// norm.cpp
template <class T> void norm_moments(const GroupNorm& job, i64 begin, i64 end);
template <class T> void norm_apply(const GroupNorm& job, i64 begin, i64 end);
template <class T> void norm_statistics(const GroupNorm& job, i64 begin, i64 end);
template <class T> void norm_scales(const GroupNorm& job, i64 begin, i64 end);
template <class T> void norm_slopes(const GroupNorm& job, i64 begin, i64 end);
template <class T> void norm_sums(const GroupNorm& job, i64 begin, i64 end);
template <class T> void norm_backward(const GroupNorm& job, i64 begin, i64 end);
template <class T> void norm_column_sums(const GroupNorm& job, i64 begin, i64 end);
template <class T> void norm_weights(const GroupNorm& job, i64 begin, i64 end);
// row_norm.cpp
template <class T> void row_norm(const RowNorm& job, i64 begin, i64 end);
template <class T> void row_norm_backward(const RowNorm& job, i64 begin, i64 end);
template <class T> void row_norm_weights(const RowNorm& job, i64 begin, i64 end);
// conv.cpp
template <class T> void conv_plan(Conv& job);
template <class T> void conv_stage(Conv& job);
template <class T> void conv(const Conv& job, i64 begin, i64 end);
// pool.cpp
template <class T> void max_pool(const Pooling& job, i64 begin, i64 end);
template <class T> void max_pool_pick(const Pooling& job, i64 begin, i64 end);
template <class T> void avg_pool(const Pooling& job, i64 begin, i64 end);
// pool_backward.cpp
template <class T> void max_pool_backward(const Pooling& job, i64 begin, i64 end);
template <class T> void avg_pool_backward(const Pooling& job, i64 begin, i64 end);
// prelu.cpp
template <class T> void prelu(const Prelu& job, i64 begin, i64 end);
template <class T> void prelu_backward(const Prelu& job, i64 begin, i64 end);
// recurrent.cpp
template <class T> void recurrent_plan(Recurrent& job);
template <class T> void recurrent_pack(const Recurrent& job, i64 begin, i64 end);
template <class T> void recurrent(const Recurrent& job, i64 begin, i64 end);
// recurrent_backward.cpp
template <class T> void recurrent_backward(const Recurrent& job, i64 begin, i64 end);
// recurrent_weights.cpp
template <class T> void recurrent_inputs(const Recurrent& job, i64 begin, i64 end);
template <class T> void recurrent_weights(const Recurrent& job, i64 begin, i64 end);
// attention.cpp
template <class T> void attention_plan(Attention& job);
template <class T> void attention(const Attention& job, i64 begin, i64 end);
// attention_few.cpp
template <class T> void attention_combine(const Attention& job, i64 begin, i64 end);
// attention_backward.cpp
template <class T> void attention_backward_plan(Attention& job);
template <class T> void attention_backward(const Attention& job, i64 begin, i64 end);
template <class T> void attention_backward_combine(const Attention& job, i64 begin, i64 end);

}  // namespace FASTNN_ISA
}  // namespace fastnn
