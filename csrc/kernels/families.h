// Part of kernels.h, inside a namespace: the families whose doubles one instruction set can take from another (table.cpp).
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
