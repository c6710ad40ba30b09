// What the machine can do at most: float32 multiply-adds in registers, and memory traffic.
// peak THREADS -> GFLOP/s of all threads together, then GB/s read from 512 KiB, 4 MiB and 512 MiB a
// thread, and GB/s of reads and writes together in place in 512 MiB.
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <sys/mman.h>
#include <thread>
#include <vector>

#if defined(__AVX512F__)
constexpr int BYTES = 64;
#elif defined(__AVX__)
constexpr int BYTES = 32;
#else
constexpr int BYTES = 16;
#endif
constexpr int LANES = BYTES / 4;
typedef float Vec __attribute__((vector_size(BYTES)));
using Clock = std::chrono::steady_clock;

static double seconds(const std::function<void(int)>& work, int threads) {
    double best = 1e30;
    for (int repeat = 0; repeat < 8; repeat++) {
        std::vector<std::thread> pool;
        auto start = Clock::now();
        for (int t = 1; t < threads; t++) pool.emplace_back(work, t);
        work(0);
        for (auto& t : pool) t.join();
        double took = std::chrono::duration<double>(Clock::now() - start).count();
        if (took < best) best = took;
    }
    return best;
}

static volatile float sink;
constexpr long STEPS = 8 * 1000 * 1000;

// Twelve chains of multiply-adds: more than latency x units of any present core, fewer than its registers.
static void multiply_add(int) {
    Vec a0{}, a1{}, a2{}, a3{}, a4{}, a5{}, a6{}, a7{}, a8{}, a9{}, a10{}, a11{}, x = a0 + 0.999f, y = a0 + 1e-3f;
    for (long i = 0; i < STEPS; i++) {
        a0 = a0 * x + y; a1 = a1 * x + y; a2 = a2 * x + y; a3 = a3 * x + y;
        a4 = a4 * x + y; a5 = a5 * x + y; a6 = a6 * x + y; a7 = a7 * x + y;
        a8 = a8 * x + y; a9 = a9 * x + y; a10 = a10 * x + y; a11 = a11 * x + y;
        // opaque to the compiler: the chains are equal, and it would compute one of them
        __asm__ volatile("" : "+x"(a0), "+x"(a1), "+x"(a2), "+x"(a3), "+x"(a4), "+x"(a5));
        __asm__ volatile("" : "+x"(a6), "+x"(a7), "+x"(a8), "+x"(a9), "+x"(a10), "+x"(a11));
    }
    Vec sum = a0 + a1 + a2 + a3 + a4 + a5 + a6 + a7 + a8 + a9 + a10 + a11;
    sink = sum[0];
}

// GB/s over `bytes` a thread: reads, or with `update` reads and writes of the same numbers, both counted.
static double rate(size_t bytes, int threads, bool update) {
    size_t count = bytes / BYTES / 8 * 8;
    std::vector<Vec*> data;
    for (int t = 0; t < threads; t++) {
        void* block = aligned_alloc(2 << 20, (bytes + (2 << 20) - 1) >> 21 << 21);
        madvise(block, bytes, MADV_HUGEPAGE);
        data.push_back(static_cast<Vec*>(block));
        for (size_t i = 0; i < count; i++) data[t][i] = Vec{} + 1.0f;
    }
    long passes = 1 + long((size_t(1) << 29) / bytes);
    auto work = [&](int t) {
        Vec s[8] = {};
        for (long p = 0; p < passes; p++)
            for (size_t i = 0; i < count; i += 8)
                for (int j = 0; j < 8; j++)
                    if (update) data[t][i + j] += 1.0f;
                    else s[j] += data[t][i + j];
        for (int j = 1; j < 8; j++) s[0] += s[j];
        sink = s[0][0];
    };
    double took = seconds(work, threads);
    for (Vec* d : data) free(d);
    return (update ? 2.0 : 1.0) * double(passes) * count * BYTES * threads / took / 1e9;
}

int main(int, char** argv) {
    int threads = atoi(argv[1]);
    double took = seconds(multiply_add, threads);
    printf("%.1f", 12.0 * 2 * LANES * STEPS * threads / took / 1e9);
    for (size_t bytes : {size_t(1) << 19, size_t(1) << 22, size_t(1) << 29}) printf(" %.1f", rate(bytes, threads, false));
    printf(" %.1f\n", rate(size_t(1) << 29, threads, true));
}
