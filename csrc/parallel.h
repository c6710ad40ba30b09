// The thread pool. n - 1 workers, made when first needed; work is cut into chunks that depend on its size alone. Threads
// claim chunks of their own share first and then of the others', so a late thread stalls nobody, and results are the same bits
// for every thread count. Workers spin briefly after work, then park: idle costs no CPU. A child of fork starts afresh.
#pragma once
#include "kernels.h"

namespace fastnn {

typedef void (*RangeFunction)(const void* job, i64 begin, i64 end);

// Runs f(job, begin, end) over [0, items). `cost` is the estimated time of one item in nanoseconds: work below ~20 us stays in
// the caller (below ~2 while the workers still spin, which a dense stream of such works wakes them to), larger work is cut into
// chunks of about 10 us. A call inside a chunk runs serially, and so does one that finds the pool busy with another Python
// thread's work, and for some milliseconds after a worker lost its core to another process every one of less than 4 ms.
void launch(RangeFunction f, const void* job, i64 items, double cost);

// The same with at most so many threads: a job has scratch for those there were, and set_num_threads may be called meanwhile.
constexpr int MOST_THREADS = 256;
void launch(RangeFunction f, const void* job, i64 items, double cost, int most);

template <class Job>
inline void launch(void (*kernel)(const Job&, i64, i64), const Job& job, i64 items, double cost, int most = MOST_THREADS) {
    struct Call {
        void (*kernel)(const Job&, i64, i64);
        const Job& job;
    };
    const Call call = {kernel, job};
    const auto run = [](const void* c, i64 begin, i64 end) {
        const Call& call = *static_cast<const Call*>(c);
        call.kernel(call.job, begin, end);
    };
    launch(RangeFunction(run), static_cast<const void*>(&call), items, cost, most);
}

void lost_core(i64 waited);   // nanoseconds: says so where a kernel's own threads wait for each other
int thread_index();           // of the calling thread: 0 for one that called, else its number in the pool, below num_threads()
int num_threads();            // as set, else FASTNN_NUM_THREADS, else the CPUs of the affinity mask and the cgroup quota
void set_num_threads(int n);  // n >= 1
int available_cpus();         // the affinity mask, cut to the cgroup quota

}  // namespace fastnn
