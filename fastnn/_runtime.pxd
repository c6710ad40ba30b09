# csrc/kernels.h and csrc/runtime.h as Cython sees them. Only what the ops use is declared.
from libc.stdint cimport int64_t, uint64_t


cdef extern from "runtime.h" namespace "fastnn" nogil:
    ctypedef int64_t i64
    enum: MAX_DIMS
    enum: F32, F64

    enum:
        COPY, NEG, ABS, SIGN, SQUARE, SQRT, RECIPROCAL, RELU, RELU6, LEAKY_RELU, HARDSWISH
        EXP, LOG, TANH, SIGMOID, ERF, ELU, SOFTPLUS, GELU, GELU_TANH, SILU
    enum:
        ADD, SUB, MUL, DIV, MAXIMUM, MINIMUM, CLAMP
        TANH_GRAD, SIGMOID_GRAD, ERF_GRAD, RELU_GRAD, RELU6_GRAD, LEAKY_RELU_GRAD, ELU_GRAD
        SOFTPLUS_GRAD
        GELU_GRAD, GELU_TANH_GRAD, SILU_GRAD, HARDSWISH_GRAD, ABS_GRAD
    enum: SUM, SUM_SQUARES, MAX, MIN, PROD

    struct Elementwise:
        void* out
        const void* a
        const void* b
        double alpha
        int ndim
        i64 shape[8]
        i64 a_stride[8]
        i64 b_stride[8]

    struct ReduceJob "fastnn::Reduce":
        void* out
        const void* x
        i64 outer, n, inner
        double scale

    struct Rows:
        void* y
        const void* x
        const void* dy
        i64 cols

    struct CrossEntropyJob "fastnn::CrossEntropy":
        void* loss
        void* lse
        void* dx
        const void* dloss
        i64 dloss_stride
        const void* x
        const i64* target
        const void* weight
        i64 cols
        i64 ignore_index
        double label_smoothing

    struct EmbeddingJob "fastnn::Embedding":
        void* out
        const void* in_ "in"
        const i64* index
        const i64* first
        const i64* readers
        i64 cols, padding

    struct MatmulJob "fastnn::Matmul":
        void* c
        const void* a
        const void* b
        const void* bias
        const void* residual
        i64 m, n, k
        i64 c_row
        i64 a_row, a_col
        i64 b_row, b_col
        int batch_ndim
        i64 batch_shape[8]
        i64 c_batch[8]
        i64 a_batch[8]
        i64 b_batch[8]
        int activation
        double alpha
        bint kept

    enum: CONV_FORWARD, CONV_INPUT, CONV_WEIGHT
    enum: CONV_WAYS

    struct ConvJob "fastnn::Conv":
        void* out
        const void* x
        const void* dy
        const void* weight
        const void* bias
        const void* residual
        int pass_ "pass"
        i64 batch, h, w, c, oh, ow, f, groups
        i64 kh, kw, stride_h, stride_w, pad_h, pad_w, dilation_h, dilation_w
        int activation
        bint pool, strict, kept
        int way

    struct Optimize:
        i64 tensors
        const i64* start
        void** p
        void** grad
        void** m
        void** v
        void** mean
        void** most
        i64 step
        double lr, momentum, dampening, beta1, beta2, eps, weight_decay, grad_scale
        bint nesterov, decoupled, zero_grad

    struct DropoutJob "fastnn::Dropout":
        void* y
        const void* x
        double p
        uint64_t seed, offset

    struct SlopedJob "fastnn::Sloped":
        void* y
        void* slope
        const void* x

    struct PreluJob "fastnn::Prelu":
        void* out
        void* sums
        const void* x
        const void* dy
        const void* weight
        i64 size, channels, inner

    i64 prelu_cols(const PreluJob& job) noexcept
    i64 prelu_item(const PreluJob& job) noexcept
    i64 prelu_items(const PreluJob& job) noexcept

    struct PoolAxis:
        i64 size, out, kernel, stride, padding, dilation

    struct PoolJob "fastnn::Pooling":
        void* out
        const void* in_ "in"
        void* tap
        i64 images, channels
        PoolAxis rows, cols
        bint adaptive, count_include_pad
        i64 divisor

    struct ResizeAxis:
        i64 size, out

    struct ResizeJob "fastnn::Resize":
        void* out
        const void* in_ "in"
        i64 images, channels
        ResizeAxis rows, cols
    struct AttentionView:
        i64 batch, head, row

    struct AttentionJob "fastnn::Attention":
        void* out
        void* stats
        const void* q
        const void* k
        const void* v
        const void* mask
        const void* dout
        void* dq
        void* dk
        void* dv
        AttentionView q_at, k_at, v_at, out_at, dout_at, dq_at, dk_at, dv_at
        i64 mask_batch, mask_head, mask_row, mask_col
        bint mask_boolean, causal
        i64 diagonal
        i64 batch, heads, group, queries, keys, depth, width
        double scale, dropout
        uint64_t seed, offset

    struct GroupNormJob "fastnn::GroupNorm":
        void* y
        void* mean
        void* var
        void* rstd
        void* dx
        void* dweight
        void* dbias
        const void* x
        const void* weight
        const void* bias
        const void* dy
        i64 batch, rows, cols, groups
        double eps
        bint relu, constant

    struct RowNormJob "fastnn::RowNorm":
        void* y
        void* sum
        void* mean
        void* rstd
        void* dx
        void* dweight
        void* dbias
        const void* x
        const void* residual
        const void* weight
        const void* bias
        const void* dy
        const void* dsum
        i64 rows, cols
        double eps
        bint rms

    enum: RNN_TANH, RNN_RELU, LSTM, GRU

    struct RecurrentJob "fastnn::Recurrent":
        int cell
        i64 directions, steps, batch, inputs, units, outputs
        const i64* start
        const void* x
        const void* w_ih[2]
        const void* w_hh[2]
        const void* b_ih[2]
        const void* b_hh[2]
        const void* w_hr[2]
        const void* h0
        const void* c0
        void* y
        void* h_n
        void* c_n
        void* kept
        void* c
        void* hidden
        const void* dy
        const void* dh_n
        const void* dc_n
        void* dx
        void* dh0
        void* dc0
        void* dw_ih[2]
        void* dw_hh[2]
        void* db_ih[2]
        void* db_hh[2]
        void* dw_hr[2]
        void* dgates

    ctypedef void (*RangeFunction)(const void* job, i64 begin, i64 end) noexcept nogil
    ctypedef void (*ElementwiseKernel "fastnn::KernelOf<fastnn::Elementwise>")(const Elementwise& job, i64 begin,
                                                                               i64 end) noexcept nogil
    ctypedef void (*SlopedKernel "fastnn::KernelOf<fastnn::Sloped>")(const SlopedJob& job, i64 begin,
                                                                     i64 end) noexcept nogil
    ctypedef void (*PreluKernel "fastnn::KernelOf<fastnn::Prelu>")(const PreluJob& job, i64 begin,
                                                                   i64 end) noexcept nogil
    ctypedef void (*ReduceKernel "fastnn::KernelOf<fastnn::Reduce>")(const ReduceJob& job, i64 begin,
                                                                     i64 end) noexcept nogil
    ctypedef void (*RowsKernel "fastnn::KernelOf<fastnn::Rows>")(const Rows& job, i64 begin, i64 end) noexcept nogil
    ctypedef void (*CrossEntropyKernel "fastnn::KernelOf<fastnn::CrossEntropy>")(const CrossEntropyJob& job,
                                                                                 i64 begin, i64 end) noexcept nogil
    ctypedef void (*OptimizeKernel "fastnn::KernelOf<fastnn::Optimize>")(const Optimize& job, i64 begin,
                                                                         i64 end) noexcept nogil
    ctypedef void (*DropoutKernel "fastnn::KernelOf<fastnn::Dropout>")(const DropoutJob& job, i64 begin,
                                                                       i64 end) noexcept nogil

    ctypedef void (*PoolKernel "fastnn::KernelOf<fastnn::Pooling>")(const PoolJob& job, i64 begin,
                                                                    i64 end) noexcept nogil
    ctypedef void (*ResizeKernel "fastnn::KernelOf<fastnn::Resize>")(const ResizeJob& job, i64 begin,
                                                                     i64 end) noexcept nogil
    ctypedef void (*RowNormKernel "fastnn::KernelOf<fastnn::RowNorm>")(const RowNormJob& job, i64 begin,
                                                                       i64 end) noexcept nogil

    ctypedef void (*EmbeddingKernel "fastnn::KernelOf<fastnn::Embedding>")(const EmbeddingJob& job, i64 begin,
                                                                           i64 end) noexcept nogil

    struct Kernels:
        EmbeddingKernel embedding, embedding_backward
        void (*conv_plan)(ConvJob& job) noexcept nogil
        ElementwiseKernel unary[32]
        ElementwiseKernel binary[32]
        SlopedKernel gelu_sloped, silu_sloped
        PreluKernel prelu, prelu_backward
        ReduceKernel reduce[8]
        RowsKernel softmax, softmax_backward, log_softmax, log_softmax_backward
        CrossEntropyKernel cross_entropy, cross_entropy_backward
        OptimizeKernel sgd, adam, rmsprop
        DropoutKernel dropout
        PoolKernel max_pool, max_pool_pick, max_pool_backward, avg_pool, avg_pool_backward
        ResizeKernel resize, resize_backward
        RowNormKernel row_norm

    struct StepAttention:
        void* out
        const void* qkv
        void* keys
        void* values
        i64 batch, length, seen, room, heads, depth

    struct EncoderStep:
        void* y
        const void* x
        StepAttention at
        const void* weight[4]
        const void* bias[4]
        void* packed[4]
        bint kept[4]
        const void* norm_weight[3]
        const void* norm_bias[3]
        double eps[3]
        i64 hidden
        int activation
        bint norm_first, last

    struct Runtime:
        const Kernels* table[2]
        void (*launch)(RangeFunction kernel, const void* job, i64 items, double cost) noexcept nogil
        bint (*matmul)(int dtype, MatmulJob& job) noexcept nogil
        bint (*reduce)(int dtype, int op, const ReduceJob& job) noexcept nogil
        void* (*allocate)(size_t bytes) noexcept nogil
        void (*release)(void* block) noexcept nogil
        bint (*matmul_keeping)(int dtype, MatmulJob& job, void*& packed) noexcept nogil
        bint (*conv)(int dtype, ConvJob& job, void* const* kept, void*& made) noexcept nogil
        bint (*group_norm)(int dtype, GroupNormJob& job) noexcept nogil
        bint (*group_norm_backward)(int dtype, GroupNormJob& job) noexcept nogil
        bint (*row_norm_backward)(int dtype, RowNormJob& job) noexcept nogil
        bint (*recurrent)(int dtype, RecurrentJob& job, void*& packed) noexcept nogil
        bint (*recurrent_backward)(int dtype, RecurrentJob& job) noexcept nogil
        bint (*attention)(int dtype, AttentionJob& job) noexcept nogil
        bint (*attention_backward)(int dtype, AttentionJob& job) noexcept nogil
        bint (*step_attention)(int dtype, const StepAttention& job) noexcept nogil
        bint (*encoder_step)(int dtype, EncoderStep& job) noexcept nogil

    i64 recurrent_row(int cell, i64 units, i64 item_size) noexcept
    bint plan_elementwise(Elementwise& job, int ndim, const i64* shape, const i64* out_stride,
                          const i64* a_stride, const i64* b_stride) noexcept


cdef extern from "windows.h" namespace "fastnn" nogil:
    enum: MOST_PIXELS
    enum: NEAREST, NEAREST_EXACT, LINEAR, LINEAR_CORNERS
    cppclass ResizeTables:
        pass
    const char* plan_pool(PoolJob& job, bint ceil_mode) noexcept
    const char* plan_adaptive_pool(PoolJob& job) noexcept
    bint byte_taps(const PoolJob& job) noexcept
    bint plan_resize(ResizeAxis& axis, int dtype, int how, double scale_factor, ResizeTables& tables) noexcept
