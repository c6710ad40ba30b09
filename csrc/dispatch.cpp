// Compiled with baseline flags: this file runs on any CPU, before anything is known about it.
#include "dispatch.h"

#include <string.h>
#if defined(__x86_64__)
#include <cpuid.h>
#endif

#define FASTNN_ROW(name) \
    namespace fastnn { namespace name { extern const Kernels kernels_f32, kernels_f64; } }
FASTNN_ROW(x86_64_v4)
FASTNN_ROW(x86_64_v3)
FASTNN_ROW(emulated_512)
FASTNN_ROW(arm64_neon)
FASTNN_ROW(reference)

namespace fastnn {

static bool always() { return true; }

#if defined(__x86_64__)
// All that CMakeLists.txt lets the compiler use: processors have it together, but virtual machines may leave single ones out.
// __builtin_cpu_supports asks CPUID and, for AVX and later, XGETBV: the OS must save the wide registers too. Not every compiler
// knows the rest by name.
static bool has_v3() {
    unsigned a, b, c, d;
    const bool rest = __get_cpuid(1, &a, &b, &c, &d) && (c & bit_F16C) && (c & bit_MOVBE) &&
                      __get_cpuid(0x80000001, &a, &b, &c, &d) && (c & bit_LZCNT);
    return rest && __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi") &&
           __builtin_cpu_supports("bmi2");
}
[[maybe_unused]] static bool has_v4() {
    return has_v3() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
}
[[maybe_unused]] static bool has_bf16() {
    return has_v4() && __builtin_cpu_supports("avx512bf16") && __builtin_cpu_supports("avx512vnni");
}
#endif

// Doubles are for being right: AVX-512's are AVX2's, and the linker drops its own, which were 0.26 MB of the wheel.
#ifdef FASTNN_HAS_x86_64_v3
#define V4 {&x86_64_v4::kernels_f32, &x86_64_v3::kernels_f64}
#else
#define V4 {&x86_64_v4::kernels_f32, &x86_64_v4::kernels_f64}
#endif
#define ROW(name, runs) {#name, {&name::kernels_f32, &name::kernels_f64}, runs}
const Isa ISAS[] = {
#ifdef FASTNN_HAS_x86_64_v4
    // So long as no kernel multiplies in bf16 the row's code is x86_64_v4's: a second copy was 1 MB of the wheel's 4.
    {"avx512_bf16", V4, has_bf16},
    {"x86_64_v4", V4, has_v4},
#endif
#ifdef FASTNN_HAS_x86_64_v3
    ROW(x86_64_v3, has_v3),
#endif
#ifdef FASTNN_HAS_emulated_512
    ROW(emulated_512, has_v3),
#endif
#ifdef FASTNN_HAS_arm64_neon
    ROW(arm64_neon, always),  // part of every 64-bit ARM
#endif
    ROW(reference, always),
};
const int ISA_COUNT = sizeof(ISAS) / sizeof(ISAS[0]);

static const Isa* current = nullptr;

const Isa* find_isa(const char* name) {
    for (const Isa& isa : ISAS)
        if (strcmp(isa.name, name) == 0) return &isa;
    return nullptr;
}

const Isa* best_isa() {
    for (const Isa& isa : ISAS)
        if (isa.runs_here()) return &isa;
    return &ISAS[ISA_COUNT - 1];
}

Runtime& runtime() {
    static Runtime r = {
        .table = {nullptr, nullptr},
        .launch = launch,
        .matmul = run_matmul,
        .reduce = run_reduce,
        .allocate = allocate,
        .release = release,
        .matmul_keeping = run_matmul_keeping,
        .conv = run_conv,
        .group_norm = run_group_norm,
        .group_norm_backward = run_group_norm_backward,
        .row_norm_backward = run_row_norm_backward,
        .recurrent = run_recurrent,
        .recurrent_backward = run_recurrent_backward,
        .attention = run_attention,
        .attention_backward = run_attention_backward,
        .step_attention = run_step_attention,
        .encoder_step = run_encoder_step,
    };
    if (current == nullptr) {
        current = best_isa();
        r.table[F32] = current->table[F32];
        r.table[F64] = current->table[F64];
    }
    return r;
}

const Isa* current_isa() {
    runtime();
    return current;
}

void use_isa(const Isa& isa) {
    Runtime& r = runtime();
    current = &isa;
    r.table[F32] = isa.table[F32];
    r.table[F64] = isa.table[F64];
}

}  // namespace fastnn
