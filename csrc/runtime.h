// What the Cython modules get from fastnn._kernels, once at import, in the capsule `_kernels._runtime`: the chosen table of
// kernels and the few functions that need threads or memory.
#pragma once
#include "arena.h"
#include "kernels.h"
#include "parallel.h"

namespace fastnn {

// Attention of the next positions of a sequence to those before them and themselves, whose keys and values are kept.
struct StepAttention {
    void* out;            // (batch, length, heads * depth)
    const void* qkv;      // (batch, length, 3, heads, depth)
    void *keys, *values;  // (batch, heads, room, depth): `seen` positions stand there, the next are written behind them
    i64 batch, length, seen, room, heads, depth;
};

// The next positions through one layer of a transformer's encoder: what its parts do one by one. Weights push everything else
// out of the caches at every step, and parts called from Python need much else.
struct EncoderStep {
    void* y;  // (batch, length, heads * depth), as x
    const void* x;
    StepAttention at;                 // all but qkv and out
    const void *weight[4], *bias[4];  // in_proj, out_proj, linear1 (hidden, ...), linear2; a bias may be null
    void* packed[4];                  // of the weights, as matmul_keeping has it, and whether they serve later calls
    bool kept[4];
    const void *norm_weight[3], *norm_bias[3];  // of norm1, norm2 and, behind the `last` layer, the encoder's own; may be null
    double eps[3];
    i64 hidden;
    int activation;  // a Unary
    bool norm_first, last;
};

struct Runtime {
    const Kernels* table[DTYPES];  // the chosen instruction set's; use_isa() changes it in place
    void (*launch)(RangeFunction kernel, const void* job, i64 items, double cost);  // parallel.h
    bool (*matmul)(int dtype, Matmul& job);   // plans, packs, computes; false: no memory
    bool (*reduce)(int dtype, int op, const Reduce& job);  // splits long sums in a fixed order; false: no memory
    void* (*allocate)(size_t bytes);          // arena.h
    void (*release)(void* block);
    // matmul that keeps b packed for the next time, where it needs it so: for one b, one n and k, dense or transposed a and one
    // table of kernels. `packed` is null at first; afterwards it is null still, or a block for the caller to release.
    bool (*matmul_keeping)(int dtype, Matmul& job, void*& packed);
    // A convolution; false: no memory. `kept` is null, or has for each ConvWay null or the weight prepared for it; where that
    // is missing, it is made and handed to the caller in `made` (null before), to keep for job.way or release.
    bool (*conv)(int dtype, Conv& job, void* const* kept, void*& made);
    // Normalisation in its several steps (launch_norm.cpp); every size > 0. false: no memory.
    bool (*group_norm)(int dtype, GroupNorm& job);
    bool (*group_norm_backward)(int dtype, GroupNorm& job);
    bool (*row_norm_backward)(int dtype, RowNorm& job);
    // Recurrent layers (launch_recurrent.cpp). `packed` is null at first, afterwards the weights as the kernels want them, for
    // the caller to hand in again or to release. false: no memory.
    bool (*recurrent)(int dtype, Recurrent& job, void*& packed);
    bool (*recurrent_backward)(int dtype, Recurrent& job);
    // Attention: plans, computes, joins (launch_attention.cpp). false: no memory.
    bool (*attention)(int dtype, Attention& job);
    bool (*attention_backward)(int dtype, Attention& job);
    bool (*step_attention)(int dtype, const StepAttention& job);
    bool (*encoder_step)(int dtype, EncoderStep& job);
};

// Recurrent::row, by which who calls makes room for `kept`.
inline i64 recurrent_row(int cell, i64 units, i64 item_size) {
    const i64 width = cell == LSTM || cell == GRU ? 4 * units : units, line = 64 / item_size;
    return ((width + line - 1) / line | 1) * line;
}

// Fills a job's shape and strides for the result of shape `shape`: sorts the dimensions by out's strides, merges those that
// walk together, and returns false where more than MAX_DIMS are left (then the caller uses NumPy). Strides are in elements;
// b_stride is null for unary. out must be dense (any order of dimensions).
inline bool plan_elementwise(Elementwise& job, int ndim, const i64* shape, const i64* out_stride, const i64* a_stride,
                             const i64* b_stride) {
    constexpr int MOST = 64;  // NumPy's own limit
    int order[MOST], dims = 0;
    for (int d = 0; d < ndim; d++) {
        if (shape[d] == 1) continue;
        int at = dims++;
        while (at > 0 && out_stride[order[at - 1]] < out_stride[d]) { order[at] = order[at - 1]; at--; }
        order[at] = d;
    }
    job.ndim = 0;
    for (int i = 0; i < dims; i++) {
        const i64 n = shape[order[i]], a = a_stride[order[i]], b = b_stride ? b_stride[order[i]] : 0;
        const int last = job.ndim - 1;
        if (last >= 0 && job.a_stride[last] == a * n && job.b_stride[last] == b * n) {
            job.shape[last] *= n;
            job.a_stride[last] = a;
            job.b_stride[last] = b;
            continue;
        }
        if (job.ndim == MAX_DIMS) return false;
        job.shape[job.ndim] = n;
        job.a_stride[job.ndim] = a;
        job.b_stride[job.ndim++] = b;
    }
    if (job.ndim == 0) {
        job.ndim = 1;
        job.shape[0] = 1;
        job.a_stride[0] = job.b_stride[0] = 0;
    }
    return true;
}

}  // namespace fastnn
