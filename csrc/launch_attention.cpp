// Attention: its parts, then their joining where there is more than one.
#include "dispatch.h"

namespace fastnn {

constexpr double COMBINE_NS = 50;  // of a row, about

static bool run_planned(int dtype, Attention& job, KernelOf<Attention> kernel, KernelOf<Attention> combine) {
    const i64 elements = job.scratch_size + job.slots * job.slot_size;
    job.scratch = elements ? allocate(size_t(elements) * (dtype == F32 ? 4 : 8)) : nullptr;
    if (elements && !job.scratch) return false;
    launch(kernel, job, job.items, job.item_ns);
    if (job.combine_items) launch(combine, job, job.combine_items, COMBINE_NS * double(job.parts));
    release(job.scratch);
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

}  // namespace fastnn
