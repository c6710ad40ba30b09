// The kernels that need more than one launch: matmul (pack, then compute), convolution (stages), and long sums (parts, then
// their sum).
#include <string.h>

#include "launch.h"
#include "launch_fold.h"

namespace fastnn {

constexpr double BYTES_PER_NS = 16;  // about what a core copies

bool run_matmul(int dtype, Matmul& job) {
    void* packed = nullptr;
    const bool done = run_matmul_keeping(dtype, job, packed);
    release(packed);
    return done;
}

bool run_matmul_keeping(int dtype, Matmul& job, void*& packed) {
    const Kernels& k = *runtime().table[dtype];
    job.slots = num_threads();
    job.slot = thread_index;
    k.matmul_plan(job);
    job.packed = job.packed_size ? packed : nullptr;
    if (job.packed_size && !packed) {
        job.packed = packed = allocate(size_t(job.packed_size * item_size(dtype)));
        if (!packed) return false;
        const double bytes = double(job.pack_size * item_size(dtype));
        launch(k.matmul_pack, job, job.pack_items, bytes / BYTES_PER_NS, job.slots);
    }
    launch(k.matmul, job, job.items, job.item_flops / FLOPS_PER_NS, job.slots);
    return true;
}

// A convolution by one pixel is a product: rows are the pixels of all images.
static bool is_matmul(const Conv& job) {
    return job.kh == 1 && job.kw == 1 && job.stride_h == 1 && job.stride_w == 1 && job.pad_h == 0 && job.pad_w == 0 &&
           job.groups == 1 && job.oh == job.h && job.ow == job.w;
}

static bool run_conv_as_matmul(int dtype, Conv& job, void* const* kept, void*& made) {
    const i64 pixels = job.batch * job.oh * job.ow;
    Matmul product = {};
    product.activation = job.activation;
    product.bias = job.bias, product.residual = job.residual;
    product.c = job.out;
    if (job.pass == CONV_WEIGHT) {  // dw (f, c) = dy^T x
        product.a = job.dy, product.a_row = 1, product.a_col = job.f;
        product.b = job.x, product.b_row = job.c, product.b_col = 1;
        product.m = job.f, product.k = pixels, product.n = product.c_row = job.c;
        return run_matmul(dtype, product);
    }
    const bool forward = job.pass == CONV_FORWARD;  // y = x w^T, dx = dy w
    product.a = forward ? job.x : job.dy;
    product.b = job.weight;
    product.m = pixels, product.k = forward ? job.c : job.f, product.n = product.c_row = forward ? job.f : job.c;
    product.a_row = product.k, product.a_col = 1;
    product.b_row = forward ? 1 : job.c, product.b_col = forward ? job.c : 1;
    product.kept = kept != nullptr;
    void* packed = kept ? kept[CONV_MATMUL] : nullptr;
    const bool had = packed != nullptr;
    const bool done = run_matmul_keeping(dtype, product, packed);
    if (!had) made = packed;
    return done;
}

// With a stride it is one of some of the pixels, which are copied together first: the tile is full then, and the weight is
// read once. C128 H16 F256 with stride 2 takes 0.75 of the time, on two threads 0.85.
static bool is_thinned(const Conv& job) {
    return job.kh == 1 && job.kw == 1 && (job.stride_h > 1 || job.stride_w > 1) && job.pad_h == 0 && job.pad_w == 0 &&
           (job.oh - 1) * job.stride_h < job.h && (job.ow - 1) * job.stride_w < job.w && job.groups == 1 &&
           job.pass != CONV_INPUT;
}

struct Thinned {
    const Conv& conv;
    char* out;
    size_t size;  // of an element
};
static void thin(const Thinned& job, i64 begin, i64 end) {  // items: rows of pixels that are read
    const Conv& conv = job.conv;
    const size_t pixel = size_t(conv.c) * job.size;
    for (i64 item = begin; item < end; item++) {
        const i64 row = item / conv.oh * conv.h + item % conv.oh * conv.stride_h;
        const char* from = static_cast<const char*>(conv.x) + size_t(row * conv.w) * pixel;
        char* to = job.out + size_t(item * conv.ow) * pixel;
        for (i64 i = 0; i < conv.ow; i++) memcpy(to + size_t(i) * pixel, from + size_t(i * conv.stride_w) * pixel, pixel);
    }
}

static bool run_conv_thinned(int dtype, Conv& job, void* const* kept, void*& made) {
    const i64 size = item_size(dtype), row = job.ow * job.c * size;
    const Scratch x(job.batch * job.oh * row);
    if (!x.memory) return false;
    launch(thin, Thinned{job, static_cast<char*>(x.memory), size_t(size)}, job.batch * job.oh, double(row) / BYTES_PER_NS);
    Conv dense = job;
    dense.x = x.memory;
    return run_conv_as_matmul(dtype, dense, kept, made);
}

// A sequence as an image one pixel wide, not high: its memory is the same, and rows are what items are cut of. A depthwise one
// slides along rows.
static bool is_row(const Conv& job) {
    return job.h == 1 && job.oh == 1 && job.kh == 1 && job.pad_h == 0 && job.w > 1 && (job.groups == 1 || job.groups < job.c) &&
           !is_folded(job);
}
static Conv turned(const Conv& job) {
    Conv column = job;
    column.h = job.w, column.oh = job.ow, column.kh = job.kw, column.stride_h = job.stride_w, column.pad_h = job.pad_w;
    column.w = job.h, column.ow = job.oh, column.kw = job.kh, column.stride_w = job.stride_h, column.pad_w = job.pad_h;
    column.dilation_h = job.dilation_w, column.dilation_w = job.dilation_h;
    return column;
}

bool run_conv(int dtype, Conv& job, void* const* kept, void*& made) {
    if (is_row(job)) {
        Conv column = turned(job);
        const bool done = run_conv(dtype, column, kept, made);
        job.way = column.way;
        return done;
    }
    const Kernels& k = *runtime().table[dtype];
    job.way = CONV_MATMUL;
    if (is_matmul(job)) return run_conv_as_matmul(dtype, job, kept, made);
    if (is_thinned(job)) return run_conv_thinned(dtype, job, kept, made);
    const bool loops = &k == ISAS[ISA_COUNT - 1].table[dtype];  // the reference's stay what they are
    if (is_folded(job) && !loops) return run_conv_folded(dtype, job, kept, made);
    job.slots = num_threads();
    job.slot = thread_index;
    k.conv_plan(job);
    job.prepared = kept ? kept[job.way] : nullptr;
    const bool ready = job.prepared;
    const i64 size = item_size(dtype);
    if (job.prepared_size && !ready && !(job.prepared = made = allocate(size_t(job.prepared_size * size)))) return false;
    const Scratch scratch((job.scratch_size + job.slots * job.slot_size) * size);
    if (!scratch.memory) return false;
    job.scratch = scratch.memory;
    for (job.stage = ready ? 1 : 0; job.stage < job.stages; job.stage++) {
        k.conv_stage(job);
        launch(k.conv, job, job.items, job.item_flops / FLOPS_PER_NS, job.slots);
    }
    return true;
}

constexpr i64 PART = 1 << 15;       // elements a thread sums alone: fixed, so that the order of summation is
constexpr i64 MANY_COLUMNS = 4096;  // so many can be shared out themselves: 64 at a time, four cache lines of each row

// Blocks (n, inner) of x by whole blocks: a thread that took single columns would read a cache line for each of their numbers.
struct Blocks {
    KernelOf<Reduce> kernel;
    const Reduce& job;
};
static void reduce_blocks(const Blocks& b, i64 begin, i64 end) { b.kernel(b.job, begin * b.job.inner, end * b.job.inner); }

bool run_reduce(int dtype, int op, const Reduce& job) {
    const KernelOf<Reduce>* const kernels = runtime().table[dtype]->reduce;
    const KernelOf<Reduce> kernel = kernels[op], last = kernels[op == SUM_SQUARES ? SUM : op];
    const double ns = 0.1;  // an element, from L2
    const i64 inner = job.inner, rows = inner < PART ? PART / (inner + (inner == 0)) : 1;
    if (inner >= MANY_COLUMNS) {
        launch(kernel, job, job.outer * inner, ns * double(job.n));
        return true;
    }
    if (job.outer >= 16 || job.n < 2 * rows) {
        launch(reduce_blocks, Blocks{kernel, job}, job.outer, ns * double(job.n) * double(inner));
        return true;
    }
    // (outer, n, inner) -> (outer, parts, inner) -> (outer, inner)
    const i64 parts = job.n / rows, rest = job.n - parts * rows, row = inner * item_size(dtype);
    const Scratch scratch((parts + 1) * row);
    char* const sums = static_cast<char*>(scratch.memory);
    if (!sums) return false;
    for (i64 o = 0; o < job.outer; o++) {
        const char* x = static_cast<const char*>(job.x) + o * job.n * row;
        const Reduce whole = {sums, x, parts, rows, inner, 1.0};
        const Reduce tail = {sums + parts * row, x + parts * rows * row, 1, rest, inner, 1.0};
        const Reduce total = {static_cast<char*>(job.out) + o * row, sums, 1, parts + (rest > 0), inner, job.scale};
        launch(reduce_blocks, Blocks{kernel, whole}, parts, ns * PART);
        if (rest) kernel(tail, 0, inner);
        last(total, 0, inner);
    }
    return true;
}

}  // namespace fastnn
