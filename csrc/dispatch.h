// Which instruction set's kernels run. The rows are listed best first in dispatch.cpp; the first that runs here is taken,
// FASTNN_ISA=name or use_isa(name) overrides.
#pragma once
#include "runtime.h"

namespace fastnn {

struct Isa {
    const char* name;
    const Kernels* table[DTYPES];
    bool (*runs_here)();
};

extern const Isa ISAS[];  // best first, the reference last
extern const int ISA_COUNT;

const Isa* find_isa(const char* name);  // null: no such row in this build
const Isa* best_isa();                  // the first row that runs here
const Isa* current_isa();
void use_isa(const Isa& isa);  // it must run here

Runtime& runtime();

bool run_matmul(int dtype, Matmul& job);
bool run_matmul_keeping(int dtype, Matmul& job, void*& packed);
bool run_conv(int dtype, Conv& job, void* const* kept, void*& made);
bool run_reduce(int dtype, int op, const Reduce& job);
bool run_group_norm(int dtype, GroupNorm& job);
bool run_group_norm_backward(int dtype, GroupNorm& job);
bool run_row_norm_backward(int dtype, RowNorm& job);
bool run_recurrent(int dtype, Recurrent& job, void*& packed);
bool run_recurrent_backward(int dtype, Recurrent& job);
bool run_attention(int dtype, Attention& job);
bool run_attention_backward(int dtype, Attention& job);
bool run_step_attention(int dtype, const StepAttention& job);
bool run_encoder_step(int dtype, EncoderStep& job);

}  // namespace fastnn
