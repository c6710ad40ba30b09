// Philox-4x32-10 (Salmon, Moraes, Dror and Shaw: Parallel random numbers, as easy as 1, 2, 3; 2011): ten rounds of multiply and
// xor on a counter, so that word i of a stream is had without the words before it. Rounds run on blocks of 16 counters at once.
#pragma once
#include "../vec.h"

namespace fastnn {
namespace FASTNN_ISA {

constexpr int COUNTERS = 16;
typedef uint32_t Words __attribute__((vector_size(4 * COUNTERS)));
typedef uint64_t Wide __attribute__((vector_size(8 * COUNTERS)));

// words[w][j]: word w of counter `first + j`.
static inline void philox(uint32_t (&out)[4 * COUNTERS], uint64_t first, uint64_t seed) {
    Words c0, c1, c2 = {}, c3 = {};
    for (int j = 0; j < COUNTERS; j++) {
        c0[j] = uint32_t(first + j);
        c1[j] = uint32_t((first + j) >> 32);
    }
    uint32_t key0 = uint32_t(seed), key1 = uint32_t(seed >> 32);
    for (int round = 0; round < 10; round++) {
        const Wide p0 = __builtin_convertvector(c0, Wide) * uint64_t(0xD2511F53);
        const Wide p1 = __builtin_convertvector(c2, Wide) * uint64_t(0xCD9E8D57);
        const Words next0 = __builtin_convertvector(p1 >> 32, Words) ^ c1 ^ key0;
        const Words next2 = __builtin_convertvector(p0 >> 32, Words) ^ c3 ^ key1;
        c1 = __builtin_convertvector(p1, Words);
        c3 = __builtin_convertvector(p0, Words);
        c0 = next0;
        c2 = next2;
        key0 += 0x9E3779B9;
        key1 += 0xBB67AE85;
    }
    for (int j = 0; j < COUNTERS; j++) {
        out[4 * j] = c0[j];
        out[4 * j + 1] = c1[j];
        out[4 * j + 2] = c2[j];
        out[4 * j + 3] = c3[j];
    }
}

}  // namespace FASTNN_ISA
}  // namespace fastnn
