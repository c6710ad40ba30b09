#include "arena.h"

#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>

#include <atomic>

namespace fastnn {

// Four classes per power of two, from 64 bytes to 2^46: at most 25 % of a block is unused. A header of one cache line
// before each block holds its class. One spin lock guards the lists; it is held for a few instructions.
constexpr int CLASSES = 4 * 41;
constexpr size_t HEADER = 64, HUGE_PAGE = size_t(2) << 20;

struct Block {
    int size_class;
    Block* next;
};

static Block* free_list[CLASSES];
static ArenaStats stats;
static std::atomic_flag lock = ATOMIC_FLAG_INIT;

static void acquire() {
    while (lock.test_and_set(std::memory_order_acquire)) {}
}
static void let_go() { lock.clear(std::memory_order_release); }

// A fork while another thread holds the lock would leave it held for ever in the child: hold it across the fork.
__attribute__((constructor)) static void survive_fork() { pthread_atfork(acquire, let_go, let_go); }

static size_t class_size(int c) { return (size_t(4 + c % 4) << (c / 4)) * 16; }

static int class_of(size_t bytes) {
    if (bytes <= 64) return 0;
    const int top = 63 - __builtin_clzll(bytes - 1);  // 2^top < bytes <= 2^(top+1)
    const int quarter = int(((bytes - 1) >> (top - 2)) & 3);
    return 4 * (top - 6) + quarter + 1;
}

static Block* from_system(size_t bytes) {
    // Large blocks start on a huge-page border, so that the kernel can back them with 2 MiB pages.
    void* p = nullptr;
    const bool large = bytes >= 2 * HUGE_PAGE;
    if (posix_memalign(&p, large ? HUGE_PAGE : HEADER, bytes) != 0) return nullptr;
#ifdef MADV_HUGEPAGE
    if (large) madvise(p, bytes, MADV_HUGEPAGE);
#endif
    return static_cast<Block*>(p);
}

void* allocate(size_t bytes) {
    if (bytes > size_t(1) << 46) return nullptr;
    const int c = class_of(bytes);
    const size_t size = class_size(c);
    acquire();
    Block* block = free_list[c];
    if (block) {
        free_list[c] = block->next;
        stats.cached -= size;
    }
    stats.allocations++;
    stats.in_use += size;
    if (stats.in_use > stats.peak) stats.peak = stats.in_use;
    let_go();
    if (!block) {
        block = from_system(HEADER + size);
        if (!block && stats.cached) {  // perhaps what we keep is what is missing
            arena_trim();
            block = from_system(HEADER + size);
        }
        acquire();
        stats.from_system++;
        if (!block) stats.in_use -= size;
        let_go();
        if (!block) return nullptr;
        block->size_class = c;
    }
    return reinterpret_cast<char*>(block) + HEADER;
}

void release(void* memory) {
    if (!memory) return;
    Block* block = reinterpret_cast<Block*>(static_cast<char*>(memory) - HEADER);
    const size_t size = class_size(block->size_class);
    acquire();
    block->next = free_list[block->size_class];
    free_list[block->size_class] = block;
    stats.in_use -= size;
    stats.cached += size;
    let_go();
}

ArenaStats arena_stats() {
    acquire();
    const ArenaStats s = stats;
    let_go();
    return s;
}

void arena_trim() {
    acquire();
    Block* all = nullptr;
    for (Block*& list : free_list) {
        while (list) {
            Block* block = list;
            list = block->next;
            block->next = all;
            all = block;
        }
    }
    stats.cached = 0;
    let_go();
    while (all) {
        Block* next = all->next;
        free(all);
        all = next;
    }
}

}  // namespace fastnn
