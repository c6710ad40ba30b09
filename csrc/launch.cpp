// The two kernels that need more than one launch: matmul (pack, then compute) and long sums (parts, then their sum).
#include "dispatch.h"

namespace fastnn {

constexpr double FLOPS_PER_NS = 150;  // about what a core does in a good kernel; only decides what is worth a thread

bool run_matmul(int dtype, Matmul& job) {
    void* packed = nullptr;
    const bool done = run_matmul_keeping(dtype, job, packed);
    release(packed);
    return done;
}

bool run_matmul_keeping(int dtype, Matmul& job, void*& packed) {
    const Kernels& k = *runtime().table[dtype];
    k.matmul_plan(job);
    job.packed = nullptr;
    if (job.packed_size) {
        job.packed = packed;
        const i64 bytes = job.packed_size * (dtype == F32 ? 4 : 8);
        if (!packed) {
            job.packed = packed = allocate(size_t(bytes));
            if (!packed) return false;
            launch(k.matmul_pack, job, job.pack_items, double(bytes) / double(job.pack_items) / 16);  // ~16 bytes a ns
        }
    }
    launch(k.matmul, job, job.items, job.item_flops / FLOPS_PER_NS);
    return true;
}

constexpr i64 PART = 1 << 15;  // elements a thread sums alone: fixed, so that the order of summation is

bool run_reduce(int dtype, int op, const Reduce& job) {
    const Kernels& k = *runtime().table[dtype];
    const double ns = 0.1;  // an element, from L2
    if (job.inner != 1 || job.outer >= 16 || job.n < 2 * PART) {
        launch(k.reduce[op], job, job.outer * job.inner, ns * double(job.n));
        return true;
    }
    // (outer, n) -> (outer, parts) -> (outer)
    const i64 parts = job.n / PART, rest = job.n - parts * PART, size = dtype == F32 ? 4 : 8;
    char* sums = static_cast<char*>(allocate(size_t((parts + 1) * size)));
    if (!sums) return false;
    for (i64 o = 0; o < job.outer; o++) {
        const char* x = static_cast<const char*>(job.x) + o * job.n * size;
        const Reduce whole = {sums, x, parts, PART, 1, 1.0};
        const Reduce tail = {sums + parts * size, x + parts * PART * size, 1, rest, 1, 1.0};
        const Reduce total = {static_cast<char*>(job.out) + o * size, sums, 1, parts + (rest > 0), 1, job.scale};
        launch(k.reduce[op], whole, parts, ns * PART);
        if (rest) k.reduce[op](tail, 0, 1);
        k.reduce[op == SUM_SQUARES ? SUM : op](total, 0, 1);
    }
    release(sums);
    return true;
}

}  // namespace fastnn
