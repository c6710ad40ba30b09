// What the launch files share: memory for the time of a run, and what a core is counted on to do.
#pragma once
#include "dispatch.h"

namespace fastnn {

constexpr double FLOPS_PER_NS = 150;  // about what a core does in a good kernel; only decides what is worth a thread

inline i64 item_size(int dtype) { return dtype == F32 ? 4 : 8; }

// Memory of the arena, released when it goes out of scope.
struct Scratch {
    void* memory = nullptr;
    Scratch() = default;
    explicit Scratch(i64 bytes) { take(bytes); }
    ~Scratch() { release(memory); }
    Scratch(const Scratch&) = delete;
    Scratch& operator=(const Scratch&) = delete;
    bool take(i64 bytes) { return (memory = allocate(size_t(bytes))) != nullptr; }  // false: no memory
};

}  // namespace fastnn
