// A recurrent layer takes several launches: weights packed, the walk through time, and on the way back the large
// products that need no order of steps.
#include <sched.h>
#include <string.h>

#include "launch.h"

namespace fastnn {

constexpr double PRODUCT_FLOPS_PER_NS = 80;
constexpr i64 ROW_BLOCK = 64;  // of dx
constexpr i64 PART_ROWS = 4;   // sequences that are worth a thread: fewer leave a tile's sums too few to hide their latency
constexpr i64 MOST_ROWS = 64;  // of a part: what a step reads and writes of more leaves L2
constexpr double WEIGHT_BYTES_PER_NS = 50;  // of a single step, whose weights come from L3
constexpr double STEP_NS = 3e3;  // of one thread, from which on two are faster: they wait 0.3 us for each other
constexpr i64 LOST_NS = 2'000'000;  // what a thread that lost its core cost, at least

// How long a step reads weights that x or h go through.
static double reading_ns(int dtype, const Recurrent& job, i64 width) {
    return double(job.gates * job.units * width * item_size(dtype)) / WEIGHT_BYTES_PER_NS;
}

// Whether threads share the units of each step: of few sequences, all as long, where a step takes longer than waiting for each
// other. A step alone reads the weights of x in it, too; each part costs it 0.1 us.
static bool shares_units(int dtype, const Recurrent& job) {
    if (job.steps == 1) return job.batch <= MOST_ROWS && reading_ns(dtype, job, job.inputs + job.outputs) > STEP_NS;
    return job.parts == 1 && job.steps > 1 && job.start[job.steps] == job.steps * job.batch && job.batch > 0 &&
           reading_ns(dtype, job, job.outputs) > STEP_NS;
}

// Every sequence goes its own way, so parts may depend on the number of threads: the bits do not.
static void plan(const Kernels& k, int dtype, Recurrent& job) {
    job.gates = job.cell == LSTM ? 4 : job.cell == GRU ? 3 : 1;
    job.slots = job.cell == LSTM || job.cell == GRU ? 4 : 1;
    job.row = recurrent_row(job.cell, job.units, item_size(dtype));
    const i64 threads = num_threads(), wanted = (job.batch + MOST_ROWS - 1) / MOST_ROWS;
    i64 parts = (wanted + threads - 1) / threads * threads;
    if (parts > job.batch / PART_ROWS) parts = job.batch / PART_ROWS;
    job.parts = parts < 1 ? 1 : parts;
    job.unit_parts = 1;
    job.team = nullptr;
    if (!job.w_hr[0] && (job.steps > 1 || (!job.backward && !job.kept))) {
        const i64 most = job.steps == 1 ? threads : threads / job.directions;
        if (most > 1 && shares_units(dtype, job)) job.unit_parts = most, job.parts = 1;  // each weight is read once a step
    }
    k.recurrent_plan(job);
}

static void pack(const Kernels& k, int dtype, Recurrent& job) {
    const double weights = double(job.packed_size * item_size(dtype)) / 3;
    launch(k.recurrent_pack, job, job.directions * 3, weights / 8);  // ~8 bytes a ns
}

// The memory of threads that share the units, for the time of a walk; says afterwards if one has lost its core.
struct TeamMemory {
    const Recurrent& job;
    Scratch lines;
    ~TeamMemory() {
        for (i64 d = 0; d < job.directions && lines.memory; d++)
            if (job.team[d * team_lines(job.unit_parts) + TEAM_LOST].n) lost_core(LOST_NS);
    }
    bool take(Recurrent& job) {
        const i64 bytes = job.directions * team_lines(job.unit_parts) * i64(sizeof(TeamLine));
        if (job.unit_parts == 1 || job.steps == 1) return true;
        if (!lines.take(bytes)) return false;
        job.team = static_cast<TeamLine*>(memset(lines.memory, 0, size_t(bytes)));
        job.yield = [] { sched_yield(); };
        return true;
    }
};

bool run_recurrent(int dtype, Recurrent& job, void*& packed) {
    const Kernels& k = *runtime().table[dtype];
    job.backward = false;
    plan(k, dtype, job);
    const i64 item = item_size(dtype), items = job.directions * job.parts * job.unit_parts;
    const i64 bytes = items * job.scratch_size * item;
    alignas(64) char little[2048];  // for a step of a small cell: the arena takes a lock twice
    Scratch scratch;
    if (bytes > i64(sizeof little) && !scratch.take(bytes)) return false;
    job.scratch = scratch.memory ? scratch.memory : little;
    job.packed = packed;
    if (!packed) {
        job.packed = packed = allocate(size_t(job.directions * job.packed_size * item));
        if (!packed) return false;
        pack(k, dtype, job);
    }
    double ns = job.item_flops / FLOPS_PER_NS;
    const double read = double(job.packed_size * item) / double(job.unit_parts) / WEIGHT_BYTES_PER_NS;
    if (job.steps == 1 && read > ns) ns = read;
    TeamMemory team = {job, {}};
    if (!team.take(job)) return false;
    launch(k.recurrent, job, items, ns);
    return true;
}

// ---- backward ---------------------------------------------------------------------------------------------------

static void* at(const void* p, i64 elements, int dtype) {
    return static_cast<char*>(const_cast<void*>(p)) + elements * item_size(dtype);
}

// dw_hr = dprojected^T hidden: a product like any other.
static bool projection_gradient(int dtype, const Recurrent& job, i64 d) {
    const i64 H = job.units, P = job.outputs, rows = job.start[job.steps];
    if (!job.dw_hr[d]) return true;
    Matmul product = {};
    product.activation = COPY;
    product.c = job.dw_hr[d];
    product.a = at(job.dprojected, d * rows * P, dtype), product.b = at(job.hidden, d * rows * H, dtype);
    product.m = P, product.n = H, product.k = rows, product.c_row = H;
    product.a_row = 1, product.a_col = P, product.b_row = H, product.b_col = 1;
    return run_matmul(dtype, product);
}

// Two parts a thread: every part copies x once more.
static void input_and_weight_gradients(int dtype, Recurrent& job) {
    const Kernels& k = *runtime().table[dtype];
    const i64 threads = num_threads(), rows = job.start[job.steps];
    const double weights = double(job.gates * job.units), ns = 2.0 * double(rows) * weights / PRODUCT_FLOPS_PER_NS;
    job.row_blocks = (rows + ROW_BLOCK - 1) / ROW_BLOCK;
    job.weight_parts = threads > 1 ? 2 * threads : 1;
    if (job.dx)
        launch(k.recurrent_inputs, job, job.row_blocks, ns * double(job.inputs * job.directions) / double(job.row_blocks));
    if (job.dw_ih[0] || job.dw_hh[0] || job.dw_ih[1] || job.dw_hh[1])
        launch(k.recurrent_weights, job, job.directions * job.weight_parts,
               ns * double(job.inputs + job.outputs) / double(job.weight_parts));
}

// db = the sums of dgates over all rows.
static bool bias_gradients(int dtype, const Recurrent& job, i64 d, void* sums) {
    if (!job.db_ih[d] && !job.db_hh[d]) return true;
    const i64 H = job.units, rows = job.start[job.steps], width = job.row;
    // The gaps between rows are summed with the rest; nobody looks there.
    const Reduce sum = {sums, at(job.dgates, d * rows * width, dtype), 1, rows, width, 1.0};
    if (!runtime().reduce(dtype, SUM, sum)) return false;
    const size_t bytes = size_t(job.gates * H * item_size(dtype)), block = size_t(H * item_size(dtype));
    if (job.db_ih[d]) memcpy(job.db_ih[d], sums, bytes);
    if (job.db_hh[d]) memcpy(job.db_hh[d], sums, bytes);
    if (job.db_ih[d] && job.slots != job.gates) memcpy(at(job.db_ih[d], 2 * H, dtype), at(sums, 3 * H, dtype), block);
    return true;
}

// Without any row all gradients of weights are 0.
static void clear_weights(int dtype, const Recurrent& job) {
    const i64 rows = job.gates * job.units * item_size(dtype);
    const auto clear = [](void* p, i64 bytes) {
        if (p) memset(p, 0, size_t(bytes));
    };
    for (i64 d = 0; d < job.directions; d++) {
        clear(job.dw_ih[d], rows * job.inputs);
        clear(job.dw_hh[d], rows * job.outputs);
        clear(job.db_ih[d], rows);
        clear(job.db_hh[d], rows);
        clear(job.dw_hr[d], job.outputs * job.units * item_size(dtype));
    }
}

bool run_recurrent_backward(int dtype, Recurrent& job) {
    const Kernels& k = *runtime().table[dtype];
    job.backward = true;
    plan(k, dtype, job);
    const i64 item = item_size(dtype), rows = job.start[job.steps], width = job.row;
    const i64 items = job.directions * job.parts * job.unit_parts;
    const bool projection = job.w_hr[0];
    Scratch scratch, packed, dgates, dprojected, sums;
    TeamMemory team = {job, {}};
    if (!team.take(job) || !scratch.take(items * job.scratch_size * item) ||
        !packed.take(job.directions * job.packed_size * item) ||
        (!job.dgates && !dgates.take(job.directions * rows * width * item)) ||
        !dprojected.take(projection ? job.directions * rows * job.outputs * item : 0) || !sums.take(width * item))
        return false;
    job.scratch = scratch.memory, job.packed = packed.memory;
    job.dprojected = dprojected.memory;
    if (!job.dgates) job.dgates = dgates.memory;
    pack(k, dtype, job);
    launch(k.recurrent_backward, job, items, job.item_flops / FLOPS_PER_NS);
    if (rows == 0 || job.units == 0) {
        if (job.dx) memset(job.dx, 0, size_t(rows * job.inputs * item));
        return clear_weights(dtype, job), true;
    }
    input_and_weight_gradients(dtype, job);
    for (i64 d = 0; d < job.directions; d++)
        if (!projection_gradient(dtype, job, d) || !bias_gradients(dtype, job, d, sums.memory)) return false;
    return true;
}

}  // namespace fastnn
