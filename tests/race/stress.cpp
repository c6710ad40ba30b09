// The thread pool under ThreadSanitizer: works of many sizes in a row, several callers at once, changing thread counts, nested
// calls, the arena from all threads, and pauses that let the workers park. `.ci/sanitize` builds it with -fsanitize=thread and
// runs it for some seconds; it ends with 1 where a sum is wrong, and the sanitizer with 66 where it saw a race.
#include "arena.h"
#include "parallel.h"

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <thread>
#include <vector>

using namespace fastnn;

struct Square {
    i64* out;
    const i64* in;
};

static void square(const Square& job, i64 begin, i64 end) {
    for (i64 i = begin; i < end; i++) job.out[i] = job.in[i] * job.in[i];
}

static void square_with_scratch(const Square& job, i64 begin, i64 end) {
    i64* scratch = static_cast<i64*>(allocate(size_t(end - begin) * sizeof(i64)));
    for (i64 i = begin; i < end; i++) scratch[i - begin] = job.in[i];
    launch(square, Square{job.out + begin, scratch}, end - begin, 1e3);  // nested: runs here
    release(scratch);
}

// One caller: each work reads what the last one wrote, in plain memory, so that a missing ordering is a race.
static int caller(int number, double seconds) {
    const auto end = std::chrono::steady_clock::now() + std::chrono::duration<double>(seconds);
    std::vector<i64> a(5000), b(5000);
    unsigned seed = unsigned(number) + 1;
    int wrong = 0;
    while (std::chrono::steady_clock::now() < end) {
        const i64 n = 1 + rand_r(&seed) % i64(a.size());
        for (i64 i = 0; i < n; i++) a[i] = i % 7;
        const auto kernel = rand_r(&seed) % 4 ? square : square_with_scratch;
        launch(kernel, Square{b.data(), a.data()}, n, 100);
        launch(kernel, Square{a.data(), b.data()}, n, 100);
        for (i64 i = 0; i < n; i++) wrong += a[i] != (i % 7) * (i % 7) * (i % 7) * (i % 7);
        if (rand_r(&seed) % 64 == 0) std::this_thread::sleep_for(std::chrono::microseconds(200));  // the workers park
        if (rand_r(&seed) % 16 == 0) set_num_threads(1 + rand_r(&seed) % 5);
    }
    return wrong;
}

int main(int argc, char** argv) {
    const double seconds = argc > 1 ? atof(argv[1]) : 3;
    set_num_threads(4);
    int wrong = caller(0, seconds);
    std::vector<std::thread> callers;
    std::vector<int> found(3);
    for (int i = 0; i < 3; i++) callers.emplace_back([&found, i, seconds] { found[i] = caller(i, seconds); });
    for (std::thread& t : callers) t.join();
    for (int w : found) wrong += w;
    printf("race/stress: %d wrong\n", wrong);
    return wrong ? 1 : 0;
}
