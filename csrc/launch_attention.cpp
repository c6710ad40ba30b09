// Attention: its parts, then their joining where there is more than one; and a layer's step, all kernels of it in one call.
#include <math.h>
#include <string.h>

#include "launch.h"

namespace fastnn {

constexpr double COMBINE_NS = 50;  // of a row, about

static bool run_planned(int dtype, Attention& job, KernelOf<Attention> kernel, KernelOf<Attention> combine) {
    const Scratch scratch((job.scratch_size + job.slots * job.slot_size) * item_size(dtype));
    if (!scratch.memory) return false;
    job.scratch = scratch.memory;
    launch(kernel, job, job.items, job.item_ns, job.slots);
    if (job.combine_items) launch(combine, job, job.combine_items, COMBINE_NS * double(job.parts));
    return true;
}

bool run_attention(int dtype, Attention& job) {
    const Kernels& k = *runtime().table[dtype];
    job.slots = num_threads();
    job.slot = thread_index;
    k.attention_plan(job);
    return run_planned(dtype, job, k.attention, k.attention_combine);
}

bool run_attention_backward(int dtype, Attention& job) {
    const Kernels& k = *runtime().table[dtype];
    job.slots = num_threads();
    job.slot = thread_index;
    k.attention_backward_plan(job);
    return run_planned(dtype, job, k.attention_backward, k.attention_backward_combine);
}

// Keys (1) or values (2) of qkv (B, t, 3, N, D) into kept (B, N, room, D), behind `seen` others.
static void write_behind(const StepAttention& job, i64 item, int which, void* kept) {
    const i64 size = job.depth * item;
    const char* source = static_cast<const char*>(job.qkv);
    for (i64 b = 0; b < job.batch; b++)
        for (i64 n = 0; n < job.heads; n++)
            for (i64 t = 0; t < job.length; t++)
                memcpy(static_cast<char*>(kept) + ((b * job.heads + n) * job.room + job.seen + t) * size,
                       source + (((b * job.length + t) * 3 + which) * job.heads + n) * size, size_t(size));
}

bool run_step_attention(int dtype, const StepAttention& job) {
    const i64 item = item_size(dtype), width = job.heads * job.depth;
    write_behind(job, item, 1, job.keys);
    write_behind(job, item, 2, job.values);
    Attention a = {};
    a.out = job.out, a.q = job.qkv, a.k = job.keys, a.v = job.values;
    a.batch = job.batch, a.heads = job.heads, a.group = 1, a.queries = job.length, a.keys = job.seen + job.length;
    a.depth = a.width = job.depth;
    a.causal = job.length > 1, a.diagonal = job.seen;
    a.scale = 1 / sqrt(double(job.depth));
    a.out_at = {job.length * width, job.depth, width};
    a.q_at = {3 * job.length * width, job.depth, 3 * width};
    a.k_at = a.v_at = {job.heads * job.room * job.depth, job.room * job.depth, job.depth};
    return run_attention(dtype, a);
}

// y (rows, n) = act(x (rows, k) w^T + b), of one of the layer's four.
static bool step_linear(int dtype, EncoderStep& job, int which, void* y, const void* x, i64 n, i64 k, int activation = COPY) {
    Matmul product = {};
    product.c = y, product.a = x, product.b = job.weight[which], product.bias = job.bias[which];
    product.m = job.at.batch * job.at.length, product.n = product.c_row = n, product.k = product.a_row = product.b_col = k;
    product.a_col = product.b_row = 1;
    product.activation = activation, product.kept = job.kept[which];
    return run_matmul_keeping(dtype, product, job.packed[which]);
}

static void step_norm(int dtype, const EncoderStep& job, int which, void* y, void* sum, const void* x, const void* residual,
                      void* rstd) {
    RowNorm norm = {};
    norm.y = y, norm.sum = sum, norm.rstd = rstd, norm.x = x, norm.residual = residual;
    norm.weight = job.norm_weight[which], norm.bias = job.norm_bias[which], norm.eps = job.eps[which];
    norm.rows = job.at.batch * job.at.length, norm.cols = job.at.heads * job.at.depth;
    launch(runtime().table[dtype]->row_norm, norm, norm.rows, 0.5 * double(norm.cols));
}

static bool run_parts(int dtype, EncoderStep& job, char* memory, i64 piece, i64 width) {
    char *inner = memory, *mixed = memory + piece, *qkv = memory + 2 * piece, *hidden = memory + 5 * piece;
    char* rstd = hidden + piece / width * job.hidden;
    const bool first = job.norm_first;
    if (first) step_norm(dtype, job, 0, inner, nullptr, job.x, nullptr, rstd);
    if (!step_linear(dtype, job, 0, qkv, first ? inner : job.x, 3 * width, width)) return false;
    job.at.qkv = qkv, job.at.out = mixed;
    if (!run_step_attention(dtype, job.at) || !step_linear(dtype, job, 1, inner, mixed, width, width)) return false;
    step_norm(dtype, job, first, mixed, job.y, inner, job.x, rstd);
    if (!step_linear(dtype, job, 2, hidden, mixed, job.hidden, width, job.activation)) return false;
    if (!step_linear(dtype, job, 3, inner, hidden, width, job.hidden)) return false;
    if (first && job.last) {
        step_norm(dtype, job, 2, job.y, qkv, inner, job.y, rstd);
    } else if (first) {
        Elementwise sum = {};
        sum.out = job.y, sum.a = job.y, sum.b = inner;
        sum.ndim = 1, sum.shape[0] = job.at.batch * job.at.length * width, sum.a_stride[0] = sum.b_stride[0] = 1;
        launch(runtime().table[dtype]->binary[ADD], sum, sum.shape[0], 0.1);
    } else {
        step_norm(dtype, job, 1, job.last ? mixed : job.y, qkv, inner, mixed, rstd);
        if (job.last) step_norm(dtype, job, 2, job.y, nullptr, mixed, nullptr, rstd);
    }
    return true;
}

bool run_encoder_step(int dtype, EncoderStep& job) {
    const i64 item = item_size(dtype), rows = job.at.batch * job.at.length, width = job.at.heads * job.at.depth;
    const Scratch scratch(rows * (5 * width + job.hidden + 1) * item);
    return scratch.memory && run_parts(dtype, job, static_cast<char*>(scratch.memory), rows * width * item, width);
}

}  // namespace fastnn
