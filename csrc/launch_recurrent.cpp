// A recurrent layer takes several launches: weights packed, the walk through time, and on the way back the large products that need
// no order of steps.
#include "dispatch.h"

#include <string.h>

namespace fastnn {

constexpr double FLOPS_PER_NS = 150;
constexpr i64 PART_ROWS = 4;   // sequences that are worth a thread: fewer leave a tile's sums too few to hide their latency
constexpr i64 MOST_ROWS = 64;  // of a part: what a step reads and writes of more leaves L2

struct RecurrentScratch {
    void* memory = nullptr;
    bool take(i64 bytes) { return (memory = allocate(size_t(bytes))) != nullptr; }
    ~RecurrentScratch() { release(memory); }
};

static i64 item_size(int dtype) { return dtype == F32 ? 4 : 8; }

// Every sequence goes its own way, so parts may depend on the number of threads: the bits do not.
static void plan(int dtype, Recurrent& job) {
    job.gates = job.cell == LSTM ? 4 : job.cell == GRU ? 3 : 1;
    job.slots = job.cell == LSTM || job.cell == GRU ? 4 : 1;
    const i64 threads = num_threads(), wanted = (job.batch + MOST_ROWS - 1) / MOST_ROWS;
    i64 parts = (wanted + threads - 1) / threads * threads;
    if (parts > job.batch / PART_ROWS) parts = job.batch / PART_ROWS;
    job.parts = parts < 1 ? 1 : parts;
    runtime().table[dtype]->recurrent_plan(job);
}

static void pack(int dtype, Recurrent& job) {
    const double weights = double(job.packed_size * item_size(dtype)) / 3;
    launch(runtime().table[dtype]->recurrent_pack, job, job.directions * 3, weights / 8);  // ~8 bytes a ns
}

bool run_recurrent(int dtype, Recurrent& job, void*& packed) {
    const Kernels& k = *runtime().table[dtype];
    job.backward = false;
    plan(dtype, job);
    const i64 item = item_size(dtype);
    RecurrentScratch scratch;
    if (!scratch.take(job.directions * job.parts * job.scratch_size * item)) return false;
    job.scratch = scratch.memory;
    job.packed = packed;
    if (!packed) {
        job.packed = packed = allocate(size_t(job.directions * job.packed_size * item));
        if (!packed) return false;
        pack(dtype, job);
    }
    launch(k.recurrent, job, job.directions * job.parts, job.item_flops / FLOPS_PER_NS);
    return true;
}

// ---- backward ---------------------------------------------------------------------------------------------------

static void* at(const void* p, i64 elements, int dtype) {
    return static_cast<char*>(const_cast<void*>(p)) + elements * item_size(dtype);
}

// c (m, n) = a^T b for a (rows, m) and b (rows, n): the gradient of a weight.
static bool transposed_product(int dtype, void* c, i64 m, i64 n, i64 rows, const void* a, i64 a_row, const void* b, i64 b_row) {
    if (!c || m * n == 0) return true;
    if (rows == 0) return memset(c, 0, size_t(m * n * item_size(dtype))), true;
    Matmul job = {};
    job.activation = COPY;
    job.c = c, job.a = a, job.b = b;
    job.m = m, job.n = n, job.k = rows, job.c_row = n;
    job.a_row = 1, job.a_col = a_row, job.b_row = b_row, job.b_col = 1;
    return run_matmul(dtype, job);
}

// c (rows, n) (+)= a (rows, k) b.
static bool plain_product(int dtype, void* c, i64 rows, i64 n, i64 k, const void* a, i64 a_row, const void* b, bool accumulate) {
    if (rows * n * k == 0) return true;
    Matmul job = {};
    job.activation = COPY;
    job.c = c, job.a = a, job.b = b;
    job.m = rows, job.n = n, job.k = k, job.c_row = n;
    job.a_row = a_row, job.a_col = 1, job.b_row = n, job.b_col = 1;
    job.accumulate = accumulate;
    return run_matmul(dtype, job);
}

// The gradients of x and of the weights of one direction. In dgates a GRU's n_x stands behind n_h: what belongs to x is its first
// two blocks and the last.
static bool weight_gradients(int dtype, const Recurrent& job, i64 d) {
    const i64 H = job.units, I = job.inputs, P = job.outputs, rows = job.start[job.steps], width = job.slots * H;
    const void* dgates = at(job.dgates, d * rows * width, dtype);
    const bool apart = job.slots != job.gates;
    const i64 together = (apart ? 2 : job.gates) * H, behind = 3 * H;
    bool done = transposed_product(dtype, job.dw_hh[d], job.gates * H, P, rows, dgates, width, at(job.before, d * rows * P, dtype), P);
    done = done && transposed_product(dtype, job.dw_ih[d], together, I, rows, dgates, width, job.x, I);
    if (job.dx) done = done && plain_product(dtype, job.dx, rows, I, together, dgates, width, job.w_ih[d], d > 0);
    if (apart) {
        const void* last = at(dgates, behind, dtype);
        if (job.dw_ih[d])
            done = done && transposed_product(dtype, at(job.dw_ih[d], together * I, dtype), H, I, rows, last, width, job.x, I);
        if (job.dx) done = done && plain_product(dtype, job.dx, rows, I, H, last, width, at(job.w_ih[d], together * I, dtype), true);
    }
    if (job.dw_hr[d])
        done = done && transposed_product(dtype, job.dw_hr[d], P, H, rows, at(job.dprojected, d * rows * P, dtype), P,
                                          at(job.hidden, d * rows * H, dtype), H);
    return done;
}

// db = the sums of dgates over all rows.
static bool bias_gradients(int dtype, const Recurrent& job, i64 d, void* sums) {
    if (!job.db_ih[d] && !job.db_hh[d]) return true;
    const i64 H = job.units, rows = job.start[job.steps], width = job.slots * H;
    const Reduce sum = {sums, at(job.dgates, d * rows * width, dtype), 1, rows, width, 1.0};
    if (!runtime().reduce(dtype, SUM, sum)) return false;
    const size_t bytes = size_t(job.gates * H * item_size(dtype)), block = size_t(H * item_size(dtype));
    if (job.db_ih[d]) memcpy(job.db_ih[d], sums, bytes);
    if (job.db_hh[d]) memcpy(job.db_hh[d], sums, bytes);
    if (job.db_ih[d] && job.slots != job.gates) memcpy(at(job.db_ih[d], 2 * H, dtype), at(sums, 3 * H, dtype), block);
    return true;
}

bool run_recurrent_backward(int dtype, Recurrent& job) {
    const Kernels& k = *runtime().table[dtype];
    job.backward = true;
    plan(dtype, job);
    const i64 item = item_size(dtype), rows = job.start[job.steps], width = job.slots * job.units;
    const bool projection = job.w_hr[0];
    RecurrentScratch scratch, packed, dgates, before, dprojected, sums;
    if (!scratch.take(job.directions * job.parts * job.scratch_size * item) || !packed.take(job.directions * job.packed_size * item) ||
        !dgates.take(job.directions * rows * width * item) || !before.take(job.directions * rows * job.outputs * item) ||
        !dprojected.take(projection ? job.directions * rows * job.outputs * item : 0) || !sums.take(width * item))
        return false;
    job.scratch = scratch.memory, job.packed = packed.memory;
    job.dgates = dgates.memory, job.before = before.memory, job.dprojected = dprojected.memory;
    pack(dtype, job);
    launch(k.recurrent_backward, job, job.directions * job.parts, job.item_flops / FLOPS_PER_NS);
    if (job.dx && rows * job.inputs && job.gates * job.units == 0) memset(job.dx, 0, size_t(rows * job.inputs * item));
    for (i64 d = 0; d < job.directions; d++)
        if (!weight_gradients(dtype, job, d) || !bias_gradients(dtype, job, d, sums.memory)) return false;
    return true;
}

}  // namespace fastnn
