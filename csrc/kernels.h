// The contract between the kernels and everything above them.
//
// A kernel is handed a job (what to compute) and a range (its share of the job's items): it computes items
// [begin, end), knows no Python, starts no thread, allocates nothing and throws nothing. There is one table of
// kernels per instruction set and element type; T below is that type, float or double.
//
// Letters, the same everywhere: B batch, T time, C channels in, F filters out, H W image, D features, N heads;
// m k n for matmul: c (m, n) = a (m, k) b (k, n); rows x cols for row kernels. Strides count elements, not bytes, and may be
// negative in inputs. matmul has k > 0, row kernels cols > 0: the callers deal with the rest.
#pragma once
#include <stdint.h>

namespace fastnn {

typedef int64_t i64;
constexpr int MAX_DIMS = 8;  // after dimensions that walk together have been merged

enum DType { F32, F64, DTYPES };

// y = f(x), those of a few operations before EXP. GELU_TANH is the tanh approximation. LEAKY_RELU, ELU: slope or scale in
// `alpha`.
enum Unary {
    COPY, NEG, ABS, SIGN, SQUARE, SQRT, RECIPROCAL, RELU, RELU6, LEAKY_RELU, HARDSWISH,
    EXP, LOG, TANH, SIGMOID, ERF, ELU, SOFTPLUS, GELU, GELU_TANH, SILU, UNARY_OPS
};

// out = f(a, b). A gradient is a binary function too: the *_GRAD take a = dy and b = what the comment says was
// saved, the forward's input x or its output y.
enum Binary {
    ADD, SUB, MUL, DIV, MAXIMUM, MINIMUM,
    CLAMP,            // a limited to [b, alpha]; alpha where b is above it
    RELU_GRAD,        // x or y
    RELU6_GRAD,       // x or y
    LEAKY_RELU_GRAD,  // x
    HARDSWISH_GRAD,   // x
    TANH_GRAD,        // y; from here on more than a few operations
    SIGMOID_GRAD,     // y
    ERF_GRAD,         // x
    ELU_GRAD,         // x
    SOFTPLUS_GRAD,    // x
    GELU_GRAD,        // x
    GELU_TANH_GRAD,   // x
    SILU_GRAD,        // x
    ABS_GRAD,         // x
    BINARY_OPS
};

// out[i] = f(a[i]) or f(a[i], b[i]) over `shape`, outermost dimension first; a stride 0 broadcasts.
// out is dense in this order (the planner, plan_elementwise, sorts the dimensions so). Items: flat elements.
struct Elementwise {
    void* out;
    const void* a;
    const void* b;  // null for Unary
    double alpha;
    int ndim;
    i64 shape[MAX_DIMS];
    i64 a_stride[MAX_DIMS];
    i64 b_stride[MAX_DIMS];
};

// y = f(x) and slope = f'(x) in one pass, of n elements that lie dense: most of the work is the same for both, and a backward
// that finds the slope only multiplies by it. slope may be x itself. Items: elements.
struct Sloped {
    void* y;
    void* slope;
    const void* x;
};

// A slope for each channel below 0, of x (outer, channels, inner), dense, with inner = 1 where channels lie side by side.
//   prelu:          out = x where x > 0, else weight * x
//   prelu_backward: out = dy where x > 0, else weight * dy;  sums (prelu_items, prelu_cols): dy * x where x is not above 0,
//                   added up within an item, so that as rows of `channels` they sum up to dweight
// Items: prelu_items, whose size the shape alone decides.
struct Prelu {
    void* out;   // null: not wanted
    void* sums;  // backward only; null: not wanted
    const void* x;
    const void* dy;      // backward only
    const void* weight;  // (channels)
    i64 size, channels, inner;
};
// The columns of what an item walks: few channels many times over, to fill vectors.
inline i64 prelu_cols(const Prelu& job) {
    if (job.inner > 1) return 1;
    i64 cols = job.channels;
    while (cols < 64 || (cols % 16 && cols <= 256)) cols += job.channels;
    return cols;
}
inline i64 prelu_item(const Prelu& job) {  // elements
    const i64 cols = prelu_cols(job);
    return job.inner > 1 ? job.inner : cols < 8192 ? 8192 / cols * cols : cols;
}
inline i64 prelu_items(const Prelu& job) { return (job.size + prelu_item(job) - 1) / prelu_item(job); }

// Reductions of x (outer, n, inner) over the middle to out (outer, inner), times `scale`. Items: elements of out.
// n = 0 gives the neutral element (0, 1, -inf, inf). NaN in, NaN out. The order of summation is fixed by n alone.
enum Reduction { SUM, SUM_SQUARES, MAX, MIN, PROD, REDUCTIONS };
struct Reduce {
    void* out;
    const void* x;
    i64 outer, n, inner;
    double scale;
};

// Row kernels. y, x, dy, dx: (rows, cols), dense. Items: rows.
//   softmax:              y = exp(x - max) / sum;  a row of -inf gives NaN, as in PyTorch
//   softmax_backward:     dx = y * (dy - sum(dy * y))
//   log_softmax:          y = x - max - log(sum(exp(x - max)))
//   log_softmax_backward: dx = dy - exp(y) * sum(dy)
struct Rows {
    void* y;         // the output; in a backward it holds dx
    const void* x;   // the input; in a backward the saved y
    const void* dy;  // backward only
    i64 cols;
};

// Softmax + cross-entropy against class indices, with label smoothing s and class weights w (null: ones).
//   loss[r] = (1 - s) * w[t] * (lse - x[t]) + s / cols * sum_c w[c] * (lse - x[c]),  lse = log(sum(exp(x)))
// and 0 where t = target[r] is ignore_index. Every other target is in [0, cols): the caller has checked.
// Backward: dx[r] = dloss[r] * d loss[r] / d x[r]; dloss has stride dloss_stride (0: one value for all rows). Items: rows.
struct CrossEntropy {
    void* loss;         // (rows), forward only
    void* lse;          // (rows), written by forward, read by backward
    void* dx;           // (rows, cols), backward only
    const void* dloss;  // (rows) or (1), backward only
    i64 dloss_stride;
    const void* x;      // (rows, cols)
    const i64* target;  // (rows)
    const void* weight;  // (cols) or null
    i64 cols;
    i64 ignore_index;
    double label_smoothing;
};

// CTC loss (Graves et al., 2006): minus the log of the probability of a text, over all its alignments with the frames, where an
// alignment says each letter in one or more frames, and a blank in none or more between them (at least one between equal ones).
//   loss[n] = -log(sum over alignments of exp(sum over t < lengths[n] of x[t, n, said at t])); inf where there is none
//   dx[t, n, c] = dloss[n] * (exp(x[t, n, c]) - the share of the alignments that say c at t), which is PyTorch's: the gradient
//   to what a log-softmax made x of, and 0 for t >= lengths[n]. NaN where the loss is inf or NaN; inf and zero_infinity: 0.
// x, dx: (frames, batch, classes), dense. Text n is targets[starts[n]] to [starts[n + 1]), in [0, classes) and never blank; the
// lengths are in [0, frames]: the caller has checked. Items: n.
struct Ctc {
    void* loss;           // (batch), written by forward, read by backward (before zero_infinity)
    void* alpha;          // (batch, frames, 2 (longest + 1)), kept from forward to backward of the same table
    void* dx;             // backward only
    const void* dloss;    // (batch) or (1), backward only
    i64 dloss_stride;
    const void* x;
    const i64* targets;
    const i64* starts;    // (batch + 1)
    const i64* lengths;   // (batch)
    i64 frames, batch, classes, blank;
    i64 longest;          // letters of the longest text
    bool zero_infinity;
    void* scratch;        // (batch, ctc_scratch(longest))
};
inline i64 ctc_scratch(i64 longest) { return 6 * (longest + 1); }

// Rows of a table by number, and the gradient of the table. All dense.
//   embedding:          out (items, cols) = in[index[i]], in (V, cols).                     Items: i
//   embedding_backward: out (V, cols) = the sum of in[readers[i]] for i in [first[v], first[v + 1]), in (n, cols); zero for
//                       v = padding.                                                         Items: v
struct Embedding {
    void* out;
    const void* in;
    const i64* index;    // forward
    const i64* first;    // (V + 1), backward
    const i64* readers;  // (n), backward: who read row 0, who read row 1, ..., each in order
    i64 cols, padding;   // padding -1: none
};

// c = act(a b + bias + residual), or c += a b with `accumulate` (none of these then). Any strides in a and b (a transposed
// matrix is one with its strides swapped); c has unit column stride. bias is (n) or null. `batch` products, whose
// offsets come from `batch_shape` and the three stride lists (0 broadcasts). Use run_matmul (launch.cpp).
struct Matmul {
    void* c;
    const void* a;
    const void* b;
    const void* bias;
    const void* residual;  // null, or as c
    i64 m, n, k;
    i64 c_row;
    i64 a_row, a_col;
    i64 b_row, b_col;
    int batch_ndim;
    i64 batch_shape[MAX_DIMS];
    i64 c_batch[MAX_DIMS], a_batch[MAX_DIMS], b_batch[MAX_DIMS];
    int activation;  // a Unary; COPY for none
    double alpha;    // of the activation
    bool accumulate;
    bool kept;  // what is packed serves later products with this b: nothing of a may be in it

    int slots;      // threads at once, handed in by run_matmul, as slot and packed
    int (*slot)();  // which of the slots is the calling thread's
    void* packed;

    // Filled by matmul_plan from the shapes and `slots`. Two phases: pack (items: `pack_items`), then compute (`items`).
    i64 batch;
    int way;               // one of the kernels' own
    i64 m_block, n_block;  // an item is one such block of one product
    i64 items, pack_items;
    i64 packed_size;       // elements of `packed`, for b of all `batch_packed` matrices or (slots, slot_size), and for a
    i64 slot_size;
    i64 pack_size;         // elements that an item of the first phase copies, about
    i64 batch_packed;      // 1 where one b serves all products
    double item_flops;     // of an item at 150 a ns (narrow vectors: as many as take as long), or reading b if that is longer
};

// Convolution of images, channels last, with weight (f, c / groups, kh, kw), its output (oh, ow), and zeros outside the image:
//   y[b, p, q, j] = bias[j] + sum over ky, kx, i of
//                   x[b, p stride_h - pad_h + ky dilation_h, q stride_w - pad_w + kx dilation_w, i] weight[j, i, ky, kx]
// One geometry, three passes; each is linear in both of what it reads, and their derivatives are one another:
//   CONV_FORWARD  out = y (batch, oh, ow, f)               of x (batch, h, w, c) and weight
//   CONV_INPUT    out = dx (batch, h, w, c)                of dy (batch, oh, ow, f) and weight; also the transposed convolution
//   CONV_WEIGHT   out = dw (f, c / groups, kh, kw)         of x and dy
// All arrays are dense; pads may be negative (the image is cut). A pass runs in stages, one after the other: conv_plan says how
// many, conv_stage how many items the next one has. Use run_conv (launch.cpp).
enum ConvPass { CONV_FORWARD, CONV_INPUT, CONV_WEIGHT };
enum ConvWay { CONV_MATMUL, CONV_DIRECT, CONV_DEPTHWISE, CONV_WINOGRAD2, CONV_WINOGRAD4, CONV_WINOGRAD5X5,
               CONV_WINOGRAD_STRIDED, CONV_WINOGRAD_PAIRS, CONV_WINOGRAD_RGB, CONV_WINOGRAD_ROWS, CONV_WAYS };
struct Conv {
    void* out;
    const void* x;
    const void* dy;
    const void* weight;
    const void* bias;  // null, or as long as out's last dimension; not in CONV_WEIGHT
    const void* residual;  // null, or as out: added before the activation; CONV_FORWARD without pool, not depthwise
    int pass;
    i64 batch, h, w, c, oh, ow, f, groups;
    i64 kh, kw, stride_h, stride_w, pad_h, pad_w, dilation_h, dilation_w;
    int activation;  // COPY for none, RELU or RELU6; not in CONV_WEIGHT
    bool pool;    // CONV_FORWARD: out (batch, oh / 2, ow / 2, f) is the greatest of each 2 x 2. conv_plan clears it where the
                  // way it goes cannot
    bool strict;  // no Winograd: every product of the definition is made, and summed in an order of this machine's
    bool kept;    // the caller keeps `prepared` for later calls, so that what it costs does not count

    // Filled by conv_plan from the geometry and `slots`, the threads at once; what these need is handed in by run_conv.
    int way;                        // a ConvWay
    i64 stages, stage;
    i64 items;                      // of this stage
    double item_flops;
    i64 prepared_size;              // elements of the weight in the form this way wants it; stage 0 fills it, if it is not kept
    i64 scratch_size, slot_size;    // elements all threads share, and of each thread for itself
    i64 block, chunk, parts;        // how the work is cut: the way's own affair
    int slots;                      // handed in, as all below
    int (*slot)();                  // which of the slots is the calling thread's
    void* prepared;
    void* scratch;                  // (scratch_size), then (slots, slot_size)
};

// One step for all parameters of an optimizer in one call. The tensors count as one array of n elements:
// tensor t is elements [start[t], start[t+1]). Items: flat elements.
//   g = grad_scale * grad + weight_decay * p, then, as PyTorch computes them:
//   sgd:     m = momentum * m + (1 - dampening) * g (m = g when step is 1);  p -= lr * (nesterov ? g + momentum * m : m)
//   adam:    m = lerp(g, m, beta1), v = lerp(g*g, v, beta2); p -= lr / bias1 * m / (sqrt(v) / sqrt(bias2) + eps)
//            with bias_i = 1 - beta_i^step; decoupled (AdamW): g without the decay, p *= 1 - lr * weight_decay first;
//            amsgrad: most = max(most, v) and sqrt(most) in place of sqrt(v)
//   rmsprop: v = lerp(g*g, v, alpha); a = centered ? lerp(g, a, alpha) : 0; d = g / (sqrt(v - a*a) + eps);
//            p -= lr * (momentum ? m = momentum * m + d : d)
struct Optimize {
    i64 tensors;
    const i64* start;   // (tensors + 1)
    void** p;
    void** grad;
    void** m;           // sgd, rmsprop: null without momentum
    void** v;           // null for sgd
    void** mean;        // rmsprop, centered: a; else null
    void** most;        // adam, amsgrad; else null
    i64 step;           // 1, 2, ...
    double lr, momentum, dampening, beta1, beta2, eps, weight_decay, grad_scale;  // rmsprop: alpha is beta2
    bool nesterov, decoupled, zero_grad;  // zero_grad: grad = 0 in the same pass
};

// y[i] = x[i] * keep(i) / (1 - p), keep(i) drawn by Philox-4x32-10 at counter (offset + i / 4) under `seed`: any part of the
// mask can be made again, so none is stored, and it is the same for every thread count and instruction set.
// x null: y = keep(i) / (1 - p), the mask itself. Items: flat elements.
struct Dropout {
    void* y;
    const void* x;
    double p;
    uint64_t seed, offset;
};

// Pooling of images, channels-last: x and dx are (N, H, W, C), y, dy and tap (N, OH, OW, C). Along an axis window q holds the
// pixels q * stride - padding + t * dilation for t in [0, kernel), as far as they lie in the image; `adaptive`: those from
// floor(q size / out) up to ceil((q + 1) size / out), and kernel is above the most of them. No window is empty (plan_pool,
// windows.h). Tap (i, j) of a window has the number i * cols.kernel + j.
//   max_pool:          y = the greatest of the window, NaN if one is; tap = its number: the first greatest's, the last NaN's
//   max_pool_pick:     y = x at tap
//   max_pool_backward: dx = the sum of dy over the windows whose tap lies there
//   avg_pool:          y = sum / divisor
//   avg_pool_backward: dx = the sum of dy / divisor over the windows that hold it
// Items: rows of y (N * OH); in a backward rows of dx (N * H).
struct PoolAxis {
    i64 size, out, kernel, stride, padding, dilation;
};
struct Pooling {
    void* out;       // y, or dx in a backward
    const void* in;  // x, or dy in a backward
    void* tap;       // uint8_t where rows.kernel * cols.kernel <= 256, else int32_t; null: max_pool keeps none
    i64 images, channels;
    PoolAxis rows, cols;
    bool adaptive;
    bool count_include_pad;  // the divisor counts the padding
    i64 divisor;             // 0: the number of pixels of the window
};

// Resampling of images, channels-last: x and dx are (N, H, W, C), y and dy (N, OH, OW, C). Along an axis output q is
// (1 - weight[q]) x[index[q]] + weight[q] x[min(index[q] + 1, size - 1)], or x[index[q]] where weight is null. index never
// falls; first[i] is the first q with index[q] >= i, for i in [0, size]. plan_resize (windows.h) makes the tables.
// Items: rows of y (N * OH); in resize_backward, the adjoint, rows of dx (N * H).
struct ResizeAxis {
    i64 size, out;
    const i64* index;      // (out)
    const i64* first;      // (size + 1)
    const double* weight;  // (out) or null
};
struct Resize {
    void* out;       // y, or dx in the backward
    const void* in;  // x, or dy in the backward
    i64 images, channels;
    ResizeAxis rows, cols;
};

// Batch, group and instance norm on channels-last memory. x, y, dy, dx: (batch, rows, cols), dense. The cols fall into
// `groups` runs of `width` = cols / groups neighbours; every (batch, group) has one mean and variance over rows * width
// elements.
// Batch norm: batch 1, groups = cols. Instance norm: groups = cols. Group norm: a batch is an image, rows its H W.
//   y = act((x - mean) * rstd * weight + bias),  rstd = 1 / sqrt(var + eps),  act is ReLU or nothing
// With dz = dy, 0 where act cut off, g = dz * weight and n = rows * width:
//   dbias = sum(dz), dweight = sum(dz * (x - mean) * rstd),
//   dx = rstd * (g - sum(g) / n - (x - mean) * rstd^2 * sum(g * (x - mean)) / n), and with `constant` statistics rstd * g.
// The work is done in steps. The rows of a batch are cut into `parts` of part_rows by the shape alone; partial results of
// the parts are combined in fixed order, in double. Use run_group_norm and run_group_norm_backward (launch_norm.cpp).
struct GroupNorm {
    void* y;
    void* mean;          // (batch, groups), written by forward unless `constant`
    void* var;           // the same, biased; null: rstd is given
    void* rstd;          // the same, written where var is given
    void* dx;            // backward only, null where not wanted, as dweight and dbias (cols)
    void* dweight;
    void* dbias;
    const void* x;
    const void* weight;  // (cols), null: 1
    const void* bias;    // (cols), null: 0
    const void* dy;
    i64 batch, rows, cols, groups;
    double eps;
    bool relu, constant;

    // Filled by the runners.
    i64 part_rows, parts;
    void* partial;  // (batch, parts, 2, cols): mean and sum of squares about it; backward sum(dz) and sum(dz * (x - mean))
    void* factors;  // (batch, 5, cols) of y = x * scale + shift, mean, dx = dz * scale + x * slope + offset, in this order
    double* sums;   // (batch, 2, cols): the backward's partial sums, summed
};

// Layer norm and RMS norm along rows: all (rows, cols), dense. s = x + residual, or x.
//   y = (s - mean) * rstd * weight + bias, rstd = 1 / sqrt(mean((s - mean)^2) + eps); for rms the mean is 0
//   dx = rstd * (g - mean(g) - xhat * mean(g * xhat)) + dsum, g = dy * weight, xhat = (s - mean) * rstd; rms: no mean(g)
// Items: rows; backward: blocks of block_rows, a number that depends on the shape alone. Use run_row_norm_backward.
struct RowNorm {
    void* y;
    void* sum;             // s, null without residual
    void* mean;            // (rows), null for rms
    void* rstd;            // (rows)
    void* dx;              // backward only
    void* dweight;         // (cols), null where not wanted, as dbias
    void* dbias;
    const void* x;         // in a backward s
    const void* residual;  // null: none
    const void* weight;    // (cols), null: 1
    const void* bias;      // (cols), null: 0
    const void* dy;
    const void* dsum;      // the gradient that reaches s by other ways, null: none
    i64 rows, cols;
    double eps;
    bool rms;

    // Filled by run_row_norm_backward.
    i64 block_rows, blocks;
    void* partial;  // (blocks, 2, cols): sums over a block of dy * xhat and dy; null where neither gradient is wanted
};

// A recurrent layer over whole sequences, `directions` of them (1, or 2: the second walks from the end), each with its own
// weights. Rows of x, y and all that is kept are the N pairs of a step and a sequence, step by step: step t has the rows
// [start[t], start[t + 1]), one for each of the first sequences: the longest come first, so that fewer are left as time goes
// on. H units, P outputs: P = H but for an LSTM with a projection. With a = w_ih x_t + b_ih + w_hh h_{t-1} + b_hh in blocks of
// H rows:
//   RNN   h = tanh(a) or relu(a)
//   LSTM  i f g o = the blocks;  c_t = sigmoid(f) c_{t-1} + sigmoid(i) tanh(g);  h_t = sigmoid(o) tanh(c_t), then w_hr h_t if
//         that is given
//   GRU   r z n = the blocks, n's two sides apart;  n = tanh(n_x + sigmoid(r) n_h);  h_t = n + sigmoid(z) (h_{t-1} - n)
// An output is summed over x, then over h, in this order and in one chain, however rows are grouped: a step alone gives the
// bits that it gives among others. A part is a part of the sequences. Use run_recurrent and run_recurrent_backward
// (launch_recurrent.cpp).
enum Cell { RNN_TANH, RNN_RELU, LSTM, GRU };
// The memory of threads that go through the steps together (recurrent_team.h): lines for all of them, then one for each part.
enum { TEAM_JOINED, TEAM_FINISHED, TEAM_LOST, TEAM_LINES };
struct TeamLine {
    alignas(64) i64 n;
};
inline i64 team_lines(i64 parts) { return TEAM_LINES + parts; }
struct Recurrent {
    int cell;
    i64 directions, steps, batch, inputs, units, outputs;
    const i64* start;            // (steps + 1)
    const void* x;               // (N, inputs)
    const void* w_ih[2];         // (gates * H, inputs), of each direction
    const void* w_hh[2];         // (gates * H, P)
    const void* b_ih[2];         // (gates * H) or null, as b_hh
    const void* b_hh[2];
    const void* w_hr[2];         // (P, H) or null
    const void* h0;              // (directions, batch, P)
    const void* c0;              // (directions, batch, H), LSTM
    void* y;                     // (N, directions * P)
    void* h_n;                   // as h0: the state after each sequence's last step
    void* c_n;
    void* kept;                  // (directions, N, row) of slots * H: LSTM i f g o, GRU r z n_h n; null: no backward follows
    void* c;                     // (directions, N, H), LSTM, as `kept`
    void* hidden;                // (directions, N, H): h before the projection, as `kept`

    // The backward reads x, weights, states, y and what was kept, and fills what is not null; dbias is that of b_ih and b_hh
    // both but for GRU's n. dgates are the gradients of a, in the places of `kept`: LSTM i f g o, GRU r z n_h n_x; where nobody
    // wants what was kept again, they are put in that very memory.
    const void *dy, *dh_n, *dc_n;  // as y, h_n, c_n; null: zeros
    void *dx, *dh0, *dc0;
    void *dw_ih[2], *dw_hh[2], *db_ih[2], *db_hh[2], *dw_hr[2];
    void* dgates;                // (directions, N, row); null: memory of the runner's
    void* dprojected;            // (directions, N, P): the gradient of w_hr h_t; null without a projection

    // Filled by the runners and recurrent_plan.
    i64 gates, slots;            // blocks of the weights; of `kept`: 1 1, LSTM 4 4, GRU 3 4
    i64 row;                     // >= slots * H, an odd number of cache lines: else a unit's rows share a few sets of L1
    i64 parts;                   // of the sequences
    i64 unit_parts;              // of the units, of few sequences: each of several steps waits for all parts of the one before
    TeamLine* team;              // (directions, team_lines(unit_parts)), zeros, where that is so; else null
    void (*yield)();             // how it waits long
    i64 row_blocks;              // of dx
    i64 weight_parts;            // of the rows of dw_ih and dw_hh
    i64 block;                   // steps whose input product is made at once
    bool backward;
    i64 packed_size;             // elements of one direction's weights as the tiles want them
    void* packed;                // (directions, packed_size); recurrent_pack's items: (directions, 3)
    i64 scratch_size;            // elements of an item
    void* scratch;               // (directions, parts, unit_parts, scratch_size)
    double item_flops;
};

// Scaled dot-product attention. q (B, N, queries, depth), k (B, N / group, keys, depth), v (B, N / group, keys, width), out
// like q with the width of v; last strides are 1, the others the views'. A group of neighbouring heads shares a head of k and
// v.
//   s = scale * q k^T + mask;  p = softmax(s) along keys;  out = (p * m) v
// A boolean mask keeps where it is not 0. With `causal` query i sees the keys j <= i + diagonal. A query that sees no key has
// out 0, a peak of -inf and a sum of 0, and sends no gradient. m is dropout's mask: element j of row r = (b N + n) queries + i
// is number r row_words + j of the stream that Dropout describes, row_words being `keys` rounded up to 64; with dropout = 0 it
// is 1.
// Backward, of dout: with dp = (dout v^T) * m and ds = p * (dp - sum(dout * out))
//   dv = (p * m)^T dout,  dq = scale * ds k,  dk = scale * ds^T q, where dk and dv are sums over the group
// Items: the plan's affair; attention_combine and attention_backward_combine join what parts of the keys gave, in fixed order.
// Use run_attention and run_attention_backward (launch_attention.cpp).
struct AttentionView {
    i64 batch, head, row;
};
struct Attention {
    void* out;
    void* stats;  // (B, N, queries, 2), dense: peak = max(s) * log2(e), sum(2^(s * log2(e) - peak)); forward: or null
    const void *q, *k, *v;
    const void* mask;  // T, or bytes where mask_boolean; null: none
    const void* dout;  // backward only, as these
    void *dq, *dk, *dv;
    AttentionView q_at, k_at, v_at, out_at, dout_at, dq_at, dk_at, dv_at;
    i64 mask_batch, mask_head, mask_row, mask_col;  // strides, 0 broadcasts
    bool mask_boolean, causal;
    i64 diagonal;
    i64 batch, heads, group, queries, keys, depth, width;
    double scale, dropout;
    uint64_t seed, offset;

    // Filled by the plans; what `slots` threads at once need is handed in by the runners. The cut into parts of queries heeds the
    // number of threads, as no bit depends on it; that into parts of keys the sizes alone.
    i64 parts, part;                // items are (B, N / group, parts); a part is so many queries, or keys
    i64 items, combine_items;       // combine_items 0: nothing to join
    double item_ns;                 // of an item, about
    i64 scratch_size, slot_size;    // elements all threads share, and of each thread for itself
    int slots;
    int (*slot)();                  // which of the slots is the calling thread's
    void* scratch;                  // (scratch_size), then (slots, slot_size)
};

template <class Job> using KernelOf = void (*)(const Job& job, i64 begin, i64 end);

struct Kernels {
    KernelOf<Elementwise> unary[UNARY_OPS];
    KernelOf<Elementwise> binary[BINARY_OPS];
    KernelOf<Sloped> gelu_sloped, silu_sloped;
    KernelOf<Prelu> prelu, prelu_backward;
    KernelOf<Reduce> reduce[REDUCTIONS];
    KernelOf<Rows> softmax, softmax_backward, log_softmax, log_softmax_backward;
    KernelOf<CrossEntropy> cross_entropy, cross_entropy_backward;
    KernelOf<Ctc> ctc, ctc_backward;
    KernelOf<Embedding> embedding, embedding_backward;
    void (*matmul_plan)(Matmul& job);
    KernelOf<Matmul> matmul_pack, matmul;
    void (*conv_plan)(Conv& job);
    void (*conv_stage)(Conv& job);
    KernelOf<Conv> conv;
    KernelOf<Optimize> sgd, adam, rmsprop;
    KernelOf<Dropout> dropout;
    KernelOf<Pooling> max_pool, max_pool_pick, max_pool_backward, avg_pool, avg_pool_backward;
    KernelOf<Resize> resize, resize_backward;
    KernelOf<GroupNorm> norm_moments, norm_apply;                      // items: (batch, parts)
    KernelOf<GroupNorm> norm_statistics, norm_scales, norm_slopes;     // items: (batch, groups)
    KernelOf<GroupNorm> norm_sums, norm_backward;                      // items: (batch, parts)
    KernelOf<GroupNorm> norm_column_sums, norm_weights;                // items: (batch, cols); cols
    KernelOf<RowNorm> row_norm, row_norm_backward, row_norm_weights;   // items: rows; blocks; cols
    void (*recurrent_plan)(Recurrent& job);
    KernelOf<Recurrent> recurrent_pack, recurrent;            // items: (directions, 3); (directions, parts, unit_parts)
    KernelOf<Recurrent> recurrent_backward;                   // items: (directions, parts, unit_parts)
    KernelOf<Recurrent> recurrent_inputs, recurrent_weights;  // items: row_blocks; (directions, weight_parts)
    void (*attention_plan)(Attention& job);
    void (*attention_backward_plan)(Attention& job);
    KernelOf<Attention> attention, attention_combine, attention_backward, attention_backward_combine;
};

}  // namespace fastnn
