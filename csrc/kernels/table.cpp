// The two tables of this instruction set, filled at compile time: nothing runs when the library is loaded.
#include "kernels.h"

#include "../vec.h"

namespace fastnn {
namespace FASTNN_ISA {

template <class T, int... U, int... B, int... R> constexpr Kernels table_of(Indices<U...>, Indices<B...>, Indices<R...>) {
    return {
        {unary<T, U>...},
        {binary<T, B>...},
        sloped<T, GELU>,
        sloped<T, SILU>,
        prelu<T>,
        prelu_backward<T>,
        {reduce<T, R>...},
        softmax<T>,
        softmax_backward<T>,
        log_softmax<T>,
        log_softmax_backward<T>,
        cross_entropy<T>,
        cross_entropy_backward<T>,
        ctc<T>,
        ctc_backward<T>,
        embedding<T>,
        embedding_backward<T>,
        matmul_plan<T>,
        matmul_pack<T>,
        matmul<T>,
        conv_plan<T>,
        conv_stage<T>,
        conv<T>,
        sgd<T>,
        adam<T>,
        rmsprop<T>,
        dropout<T>,
        max_pool<T>,
        max_pool_pick<T>,
        max_pool_backward<T>,
        avg_pool<T>,
        avg_pool_backward<T>,
        resize<T>,
        resize_backward<T>,
        norm_moments<T>,
        norm_apply<T>,
        norm_statistics<T>,
        norm_scales<T>,
        norm_slopes<T>,
        norm_sums<T>,
        norm_backward<T>,
        norm_column_sums<T>,
        norm_weights<T>,
        row_norm<T>,
        row_norm_backward<T>,
        row_norm_weights<T>,
        recurrent_plan<T>,
        recurrent_pack<T>,
        recurrent<T>,
        recurrent_backward<T>,
        recurrent_inputs<T>,
        recurrent_weights<T>,
        attention_plan<T>,
        attention_backward_plan<T>,
        attention<T>,
        attention_combine<T>,
        attention_backward<T>,
        attention_backward_combine<T>,
    };
}

template <int N> using Count = typename MakeIndices<N>::type;
extern constexpr Kernels kernels_f32 = table_of<float>(Count<UNARY_OPS>{}, Count<BINARY_OPS>{}, Count<REDUCTIONS>{});
extern constexpr Kernels kernels_f64 = table_of<double>(Count<UNARY_OPS>{}, Count<BINARY_OPS>{}, Count<REDUCTIONS>{});

}  // namespace FASTNN_ISA
}  // namespace fastnn
