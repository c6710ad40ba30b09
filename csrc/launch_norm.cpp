// Normalisation takes several launches: partial results of parts, their combination, the second walk. How the rows are
// cut depends on the shape alone, so the bits are the same for every number of threads.
#include "launch.h"

namespace fastnn {

constexpr i64 PART_ELEMENTS = 8192, PART_ROWS = 128;  // of a part, at least: 32 KiB of float, scratch at most 1/64 of x
constexpr i64 BLOCK_ELEMENTS = 16384, BLOCK_ROWS = 32;
constexpr double READ_NS = 0.12, PASS_NS = 0.25, COMBINE_NS = 1.0;  // an element, about

static i64 most(i64 a, i64 b) { return a > b ? a : b; }
static i64 pieces(i64 n, i64 size) { return (n + size - 1) / size; }

// Cuts the rows and gives the job its scratch: sums first, because they are double.
static i64 plan(GroupNorm& job) {
    job.part_rows = most(PART_ROWS, PART_ELEMENTS / job.cols);
    job.parts = pieces(job.rows, job.part_rows);
    return job.batch * job.cols;  // the unit that scratch is counted in
}

static void place(GroupNorm& job, void* memory, i64 unit, i64 item) {
    job.sums = static_cast<double*>(memory);
    job.factors = job.sums + 2 * unit;
    job.partial = static_cast<char*>(job.factors) + 5 * unit * item;
}

bool run_group_norm(int dtype, GroupNorm& job) {
    const Kernels& k = *runtime().table[dtype];
    const i64 unit = plan(job), item = item_size(dtype);
    const i64 width = job.cols / job.groups, items = job.batch * job.parts;
    const Scratch scratch(unit * (2 * 8 + 5 * item + 2 * job.parts * item));
    if (!scratch.memory) return false;
    place(job, scratch.memory, unit, item);
    const double elements = double(job.rows) * double(unit) / double(items);  // of an item
    if (!job.constant) {
        launch(k.norm_moments, job, items, READ_NS * elements);
        launch(k.norm_statistics, job, job.batch * job.groups, COMBINE_NS * double(width) * double(job.parts));
    }
    launch(k.norm_scales, job, job.batch * job.groups, COMBINE_NS * double(width));
    launch(k.norm_apply, job, items, PASS_NS * elements);
    return true;
}

bool run_group_norm_backward(int dtype, GroupNorm& job) {
    const Kernels& k = *runtime().table[dtype];
    const i64 unit = plan(job), item = item_size(dtype);
    const i64 width = job.cols / job.groups, items = job.batch * job.parts;
    const Scratch scratch(unit * (2 * 8 + 5 * item + 2 * job.parts * item));
    if (!scratch.memory) return false;
    place(job, scratch.memory, unit, item);
    const double elements = double(job.rows) * double(unit) / double(items);
    const bool sums = job.dweight || job.dbias || (job.dx && !job.constant);
    launch(k.norm_scales, job, job.batch * job.groups, COMBINE_NS * double(width));
    if (sums) {
        launch(k.norm_sums, job, items, 2 * READ_NS * elements);
        launch(k.norm_column_sums, job, unit, 2 * COMBINE_NS * double(job.parts));
    }
    if (job.dweight || job.dbias) launch(k.norm_weights, job, job.cols, COMBINE_NS * double(job.batch));
    if (!job.dx) return true;
    if (!job.constant) launch(k.norm_slopes, job, job.batch * job.groups, COMBINE_NS * double(width));
    launch(k.norm_backward, job, items, 1.5 * PASS_NS * elements);
    return true;
}

bool run_row_norm_backward(int dtype, RowNorm& job) {
    const Kernels& k = *runtime().table[dtype];
    const bool partial = job.dweight || job.dbias;
    job.block_rows = most(BLOCK_ROWS, BLOCK_ELEMENTS / job.cols);
    job.blocks = pieces(job.rows, job.block_rows);
    const Scratch scratch(partial ? job.blocks * 2 * job.cols * item_size(dtype) : 0);
    if (!scratch.memory) return false;
    job.partial = partial ? scratch.memory : nullptr;
    const i64 rows = job.block_rows < job.rows ? job.block_rows : job.rows;
    launch(k.row_norm_backward, job, job.blocks, 1.5 * PASS_NS * double(rows) * double(job.cols));
    if (partial) launch(k.row_norm_weights, job, job.cols, COMBINE_NS * double(job.blocks));
    return true;
}

}  // namespace fastnn
