// Memory for tensors and scratch: 64-byte-aligned blocks from free lists by size class. A fresh page costs 0.25-0.5 us in a
// virtual machine, so a block once had is kept: a steady training step asks the system for nothing.
#pragma once
#include <stddef.h>

namespace fastnn {

struct ArenaStats {
    size_t in_use, cached, peak;      // bytes handed out now, kept in free lists, the most ever handed out
    size_t allocations, from_system;  // blocks handed out, and how many of them were new: none that had been released
};

void* allocate(size_t bytes);  // null when the system has no more; 0 bytes is a valid request
void release(void* block);     // null is allowed
ArenaStats arena_stats();
void arena_trim();             // gives every kept block back to the system: what lies beside blocks in use by its pages

}  // namespace fastnn
