#include "arena.h"

#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include <atomic>

#include "pause.h"

namespace fastnn {

// Four classes per power of two, from 64 bytes to 2^46: at most 25 % of a block is unused. A header of one cache line
// before each block holds its class. One spin lock guards the lists; it is held for a few instructions.
constexpr int CLASSES = 4 * 41;
constexpr size_t HEADER = 64, HUGE_PAGE = size_t(2) << 20;

// Blocks of less than two huge pages lie side by side in spans that the kernel backs with 2 MiB pages. Of 4 KiB pages a core
// finds 2,048 at a glance, 8 MB, and what a network passes through is more: generation takes 0.9 of the time, ResNet-10
// 0.97, BERT 0.98. A span goes back to the system as a whole.
constexpr size_t SPAN = size_t(32) << 20;
struct Span {
    size_t used;     // bytes, this header included
    int cut, kept;   // blocks there are; of them in free lists, while that is counted
    Span* next;
};

struct Block {
    int size_class;
    Block* next;
    Span* span;       // null: a piece of its own
    bool given_back;  // its pages, while it is kept
};

static Block* free_list[CLASSES];
static Span* span;  // the one that is being cut
static ArenaStats stats;
static std::atomic_flag lock = ATOMIC_FLAG_INIT;

static void acquire() {
    while (lock.test_and_set(std::memory_order_acquire)) pause();
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

static void* from_system(size_t bytes) {
    // Large blocks start on a huge-page border, so that the kernel can back them with 2 MiB pages.
    void* p = nullptr;
    const bool large = bytes >= 2 * HUGE_PAGE;
    if (posix_memalign(&p, large ? HUGE_PAGE : HEADER, bytes) != 0) return nullptr;
#ifdef MADV_HUGEPAGE
    if (large) madvise(p, bytes, MADV_HUGEPAGE);
#endif
    return p;
}

static bool in_spans([[maybe_unused]] size_t bytes) {
#ifdef __SANITIZE_ADDRESS__
    return false;  // so that what reads beyond a block is found
#else
    return bytes < 2 * HUGE_PAGE;
#endif
}

// The next block of the span, null where there is no room. The lock is held.
static Block* cut(size_t bytes) {
    bytes = (bytes + HEADER - 1) / HEADER * HEADER;
    if (!span || span->used + bytes > SPAN) return nullptr;
    Block* block = reinterpret_cast<Block*>(reinterpret_cast<char*>(span) + span->used);
    span->used += bytes;
    span->cut++;
    block->span = span;
    return block;
}

static Block* fresh_block(size_t bytes) {
    Span* fresh = in_spans(bytes) ? static_cast<Span*>(from_system(SPAN)) : nullptr;
    if (!fresh) {  // a large one, or a whole span is more than there is (RLIMIT_AS)
        Block* block = static_cast<Block*>(from_system(bytes));
        if (block) block->span = nullptr;
        return block;
    }
    *fresh = {HEADER, 0, 0, nullptr};
    acquire();
    Block* block = cut(bytes);  // where another thread has brought a span meanwhile
    if (!block) {
        span = fresh;
        fresh = nullptr;
        block = cut(bytes);
    }
    let_go();
    free(fresh);
    return block;
}

// The lock is held.
static void hand_out(size_t size, bool again) {
    stats.allocations++;
    stats.from_system += !again;
    stats.in_use += size;
    if (stats.in_use > stats.peak) stats.peak = stats.in_use;
}

static Block* block_from_system(size_t size, bool kept) {
    Block* block = fresh_block(HEADER + size);
    if (!block && kept) {  // perhaps what we keep is what is missing
        arena_trim();
        block = fresh_block(HEADER + size);
    }
    if (!block) return nullptr;
    acquire();
    hand_out(size, false);
    let_go();
    return block;
}

void* allocate(size_t bytes) {
    if (bytes > size_t(1) << 46) return nullptr;
    const int c = class_of(bytes);
    const size_t size = class_size(c);
    acquire();
    const bool kept = stats.cached != 0;
    Block* block = free_list[c];
    const bool again = block;
    if (again) {
        free_list[c] = block->next;
        if (!block->given_back) stats.cached -= size;
    } else if (in_spans(HEADER + size)) {
        block = cut(HEADER + size);
    }
    if (block) hand_out(size, again);
    let_go();
    if (!block) block = block_from_system(size, kept);
    if (!block) return nullptr;
    block->size_class = c;
    return reinterpret_cast<char*>(block) + HEADER;
}

void release(void* memory) {
    if (!memory) return;
    Block* block = reinterpret_cast<Block*>(static_cast<char*>(memory) - HEADER);
    const size_t size = class_size(block->size_class);
    acquire();
    block->next = free_list[block->size_class];
    block->given_back = false;
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

// Whether all of its span is kept, which can go then.
static bool goes(const Block* block) { return block->span->kept == block->span->cut; }

// What a block that stays has of whole pages beyond its header: they come again as zeros when they are written.
static void give_pages_back(Block* block, uintptr_t page) {
    const uintptr_t begin = reinterpret_cast<uintptr_t>(block) + HEADER, end = begin + class_size(block->size_class);
    const uintptr_t first = (begin + page - 1) / page * page, last = end / page * page;
    if (first < last) madvise(reinterpret_cast<void*>(first), last - first, MADV_DONTNEED);
    block->given_back = true;
}

// The lists of what arena_trim takes out.
struct Trimmed {
    Block *going, *staying;
    Span* spans;
};

static void push(Block*& list, Block* block) { block->next = list, list = block; }

// Takes out all that is kept, but for blocks whose pages were given back before and whose span is in use. The lock is held.
static Trimmed take_out() {
    Trimmed out = {};
    for (Block* list : free_list)
        for (; list; list = list->next)
            if (list->span) list->span->kept++;
    Block* of_whole_spans = nullptr;
    for (Block*& list : free_list) {
        Block* all = list;
        list = nullptr;
        for (Block* next; all; all = next) {
            next = all->next;
            push(!all->span ? out.going : goes(all) ? of_whole_spans : all->given_back ? list : out.staying, all);
        }
    }
    const auto clear = [](Block* list) {
        for (; list; list = list->next) list->span->kept = 0;
    };
    clear(out.staying);
    for (Block* list : free_list) clear(list);
    for (; of_whole_spans; of_whole_spans = of_whole_spans->next) {
        Span* const whole = of_whole_spans->span;
        if (--whole->cut) continue;
        if (whole == span) span = nullptr;
        whole->next = out.spans;
        out.spans = whole;
    }
    stats.cached = 0;
    return out;
}

void arena_trim() {
    acquire();
    Trimmed out = take_out();
    let_go();
    const uintptr_t page = uintptr_t(sysconf(_SC_PAGESIZE));
    for (Block* next; out.going; out.going = next) next = out.going->next, free(out.going);
    for (Span* next; out.spans; out.spans = next) next = out.spans->next, free(out.spans);
    for (Block* block = out.staying; block; block = block->next) give_pages_back(block, page);
    acquire();
    for (Block* next; out.staying; out.staying = next) {
        next = out.staying->next;
        push(free_list[out.staying->size_class], out.staying);
    }
    let_go();
}

}  // namespace fastnn
