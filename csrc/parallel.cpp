#include "parallel.h"

#include "pause.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <exception>
#include <mutex>
#include <new>
#include <thread>

namespace fastnn {

constexpr double SERIAL_NS = 20e3;  // waking a parked worker costs 5-50 us: less work than this stays where it is,
constexpr double AWAKE_NS = 2e3;    // unless the workers still spin after the last one: then two threads cost 0.2 us
constexpr double CHUNK_NS = 10e3;   // claiming a chunk costs ~0.1 us
constexpr i64 MOST_CHUNKS = 64;     // enough that a late thread costs 1/64 of the work
constexpr auto SPIN = std::chrono::microseconds(100);  // Python takes 10-80 us from one kernel to the next
constexpr auto PATIENCE = std::chrono::microseconds(30);  // for a worker's last chunk
constexpr double SLICE_NS = 4e6;    // for so long a worker that loses its core to another process can be away
// A worker that keeps us waiting longer than LATE_NS, and twice as long as our chunks took, has lost its core: shorter work
// than a slice then stays in the caller for as many times as long as we waited: twice (FIRST), and doubled up to 16 (ALONE)
// when it happens again within AGAIN_NS.
constexpr i64 LATE_NS = 200'000, FIRST = 2, ALONE = 16, AGAIN_NS = 100'000'000;

static i64 now_ns() {
    const auto now = std::chrono::steady_clock::now().time_since_epoch();
    return std::chrono::duration_cast<std::chrono::nanoseconds>(now).count();
}

// Polls for so long, then gives up: true when the condition came true. The clock is read every 64 polls.
template <class Condition> static bool spin_until(std::chrono::microseconds time, Condition ready) {
    const auto end = std::chrono::steady_clock::now() + time;
    do {
        for (int i = 0; i < 64; i++) {
            if (ready()) return true;
            pause();
        }
    } while (std::chrono::steady_clock::now() < end);
    return false;
}

// Chunks of a work that one thread takes first, from `next` on. It packs the work's number (high half) and a chunk (low half), so
// that a worker that wakes late cannot take a chunk of a work it has not seen: its compare-and-swap fails.
struct alignas(64) Share {
    std::atomic<uint64_t> next{0};
};
constexpr uint64_t CLOSED = 0xffffffffu;  // no chunk

// A worker that sleeps, and may wake on the caller's processor, where they would take turns: Linux takes an idle virtual
// processor for one that its host has put aside, wakes a thread on the waker's then, and balances milliseconds later. After
// each pause of 2 ms a convolution of 53 us took 207, and 98 in the calls after it; led away, 110 and 80.
struct Sleeper {
    bool parked = false;
#if defined(__linux__)
    pthread_t thread;
    bool led = false;
    cpu_set_t allowed;  // before it was

    void hired(std::thread& made) {
        thread = made.native_handle(), parked = true;
        lead();
    }
    void lead() {
        if (!parked || led || pthread_getaffinity_np(thread, sizeof allowed, &allowed)) return;
        cpu_set_t others = allowed;
        CPU_CLR(sched_getcpu(), &others);
        led = CPU_COUNT(&others) > 0 && pthread_setaffinity_np(thread, sizeof others, &others) == 0;
    }
    void woken() {
        if (led) pthread_setaffinity_np(thread, sizeof allowed, &allowed);
        parked = led = false;
    }
    static int processor() { return sched_getcpu(); }
#else
    void hired(std::thread&) {}
    void lead() {}
    void woken() { parked = false; }
    static int processor() { return -1; }
#endif
};
constexpr int WAKES = 64;  // after one on the caller's processor so many are led; the system calls cost some microseconds

// One piece of work at a time. Each thread has a share of it, and the same one every time: what it wrote for one layer of a
// network is in its cache for the next. Who is done with his own helps with the others'.
struct Pool {
    Share shares[MOST_THREADS];
    std::atomic<uint32_t> posted{0};  // number of the last work
    std::atomic<i64> finished{0};
    std::atomic<RangeFunction> function{nullptr};
    std::atomic<const void*> job{nullptr};
    std::atomic<i64> items{0}, chunk{1}, chunks{0};
    std::atomic<int> team{1};  // threads that may do this work: the caller and the first workers
    std::atomic<int> parked{0};
    std::atomic_flag busy = ATOMIC_FLAG_INIT;
    std::mutex mutex;
    std::condition_variable wake;
    std::atomic<int> workers{0};
    Sleeper sleepers[MOST_THREADS];  // the workers, guarded by the mutex, as the next two
    int processor = -1;              // of the caller who woke them
    int to_lead = WAKES;

    void run(RangeFunction f, const void* j, i64 n, i64 chunk_items, int threads);
    i64 work(uint32_t number, int self);  // returns the chunks it did
    i64 work_share(uint32_t number, int owner);
    void hire(int count);
    void worker(int index);
};

static std::atomic<Pool*> pool{nullptr};
static std::atomic<int> threads_wanted{0};  // 0: not asked yet
static thread_local bool inside = false;    // a chunk of this thread's is running
static std::atomic<i64> alone_until{0};     // when threads are worth trying again after one was late; 0: now
static std::atomic<i64> late_at{0}, patience{FIRST};
static thread_local int index_of_thread = 0;

int thread_index() { return index_of_thread; }

// Beside a busy process our threads are put off their cores, and every small work would wait for a slice of the scheduler's:
// after such a wait the caller works alone for a while, so that two threads are at most 1/16 slower than one. A core that is
// lost once in a while, as virtual machines lose theirs, costs twice the wait only.
static void stay_alone(i64 now, i64 waited) {
    const bool again = now - late_at.exchange(now, std::memory_order_relaxed) < AGAIN_NS;
    const i64 times = again ? std::min(ALONE, 2 * patience.load(std::memory_order_relaxed)) : FIRST;
    patience.store(times, std::memory_order_relaxed);
    alone_until.store(now + times * waited, std::memory_order_relaxed);
}

void lost_core(i64 waited) { stay_alone(now_ns(), waited); }

static bool alone() {
    const i64 until = alone_until.load(std::memory_order_relaxed);
    if (until == 0) return false;
    if (now_ns() < until) return true;
    alone_until.store(0, std::memory_order_relaxed);
    return false;
}

i64 Pool::work_share(uint32_t number, int owner) {
    std::atomic<uint64_t>& next = shares[owner].next;
    for (i64 done = 0;;) {
        uint64_t seen = next.load(std::memory_order_acquire);
        const i64 i = seen & CLOSED;
        const RangeFunction f = function.load(std::memory_order_relaxed);
        const void* const j = job.load(std::memory_order_relaxed);
        const i64 n = items.load(std::memory_order_relaxed), size = chunk.load(std::memory_order_relaxed);
        const i64 end = chunks.load(std::memory_order_relaxed) * (owner + 1) / team.load(std::memory_order_relaxed);
        if (seen >> 32 != number || i >= end) return done;
        if (!next.compare_exchange_weak(seen, seen + 1, std::memory_order_acq_rel)) continue;
        f(j, i * size, std::min(n, (i + 1) * size));
        finished.fetch_add(1, std::memory_order_release);
        done++;
    }
}

i64 Pool::work(uint32_t number, int self) {
    const int count = team.load(std::memory_order_relaxed);
    i64 done = 0;
    for (int i = 0; i < count; i++) done += work_share(number, (self + i) % count);
    return done;
}

void Pool::worker(int index) {
    inside = true;
    index_of_thread = index + 1;
    uint32_t seen = 0;
    {
        const std::lock_guard<std::mutex> hold(mutex);  // `hire` has led it away
        sleepers[index].woken();
    }
    for (;;) {
        // Sequentially consistent, as what `run` does: either it sees this one parked, or this one sees its work.
        const auto fresh = [&] { return posted.load(std::memory_order_seq_cst) != seen; };
        if (!spin_until(SPIN, fresh)) {
            std::unique_lock<std::mutex> hold(mutex);
            parked.fetch_add(1);
            sleepers[index].parked = true;
            wake.wait(hold, fresh);
            if (!sleepers[index].led && processor >= 0 && processor == Sleeper::processor()) to_lead = WAKES;
            sleepers[index].woken();
            parked.fetch_sub(1);
        }
        seen = posted.load(std::memory_order_acquire);
        if (index + 1 < team.load(std::memory_order_relaxed)) work(seen, index + 1);
    }
}

void Pool::hire(int count) {
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);  // signals belong to the caller's threads
    try {
        while (workers < count) {
            const std::lock_guard<std::mutex> hold(mutex);
            std::thread made(&Pool::worker, this, workers.load());
            sleepers[workers].hired(made);
            made.detach();
            workers++;
        }
    } catch (const std::exception&) {
        // no more threads to be had (RLIMIT_NPROC), or no memory for one: those that are there do the work
    }
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

void Pool::run(RangeFunction f, const void* j, i64 n, i64 chunk_items, int threads) {
    if (workers.load(std::memory_order_relaxed) < threads - 1) hire(threads - 1);  // its system calls: 0.3 us
    const i64 count = (n + chunk_items - 1) / chunk_items;
    const uint32_t number = posted.load(std::memory_order_relaxed) + 1;
    const uint64_t work_of = uint64_t(number) << 32;
    for (int i = 0; i < team; i++) shares[i].next.store(work_of | CLOSED, std::memory_order_relaxed);  // while fields change
    std::atomic_thread_fence(std::memory_order_release);  // who sees a new field sees them closed
    function.store(f, std::memory_order_relaxed);
    job.store(j, std::memory_order_relaxed);
    items.store(n, std::memory_order_relaxed);
    chunk.store(chunk_items, std::memory_order_relaxed);
    chunks.store(count, std::memory_order_relaxed);
    team.store(threads, std::memory_order_relaxed);
    finished.store(0, std::memory_order_relaxed);
    for (i64 i = 0; i < threads; i++) shares[i].next.store(work_of | uint64_t(count * i / threads), std::memory_order_release);
    posted.store(number, std::memory_order_seq_cst);
    if (parked.load(std::memory_order_seq_cst) > 0) {
        {
            std::lock_guard<std::mutex> hold(mutex);
            processor = Sleeper::processor();
            for (int i = 0; i < threads - 1 && to_lead > 0; i++) sleepers[i].lead();
            to_lead -= to_lead > 0;
        }
        wake.notify_all();
    }
    inside = true;
    const i64 begin = now_ns(), ours = work(number, 0);
    inside = false;
    // A worker may still be in its last chunk; if it lost its core, ours is better given to it than spun on.
    const auto done = [&] { return finished.load(std::memory_order_acquire) == count; };
    if (spin_until(PATIENCE, done)) return;
    const i64 start = now_ns();
    while (!spin_until(PATIENCE, done)) sched_yield();
    const i64 end = now_ns(), chunk_ns = (start - begin) / std::max(i64(1), ours);
    if (end - start > std::max(LATE_NS, 2 * chunk_ns)) stay_alone(end, end - start);
}

// A child of fork has no workers: it gets a fresh pool when it needs one. The old one is left alone: its mutex may be held.
__attribute__((constructor)) static void survive_fork() {
    pthread_atfork(nullptr, nullptr, [] {
        pool.store(nullptr);
        inside = false;
    });
}

static Pool* the_pool() {
    Pool* p = pool.load(std::memory_order_acquire);
    if (p) return p;
    Pool* fresh = new (std::nothrow) Pool;  // never deleted: its workers live as long as the process
    if (fresh && pool.compare_exchange_strong(p, fresh)) return fresh;
    delete fresh;
    return p;
}

static bool awake() {
    const Pool* p = pool.load(std::memory_order_acquire);
    return p && p->workers > 0 && p->parked.load(std::memory_order_relaxed) == 0;
}

// Work too small to wake a worker for, but the STREAM-th that begins within NEXT_NS of the one before: woken once, the worker
// spins from one to the next. A stream of products of 8 us takes 0.78 of the time, beside a busy neighbour 1.03.
constexpr i64 NEXT_NS = 40'000;
constexpr int STREAM = 32;
static std::atomic<i64> last_small{0};
static std::atomic<int> small_works{0};

static bool streaming() {
    const i64 now = now_ns();
    const bool dense = now - last_small.exchange(now, std::memory_order_relaxed) < NEXT_NS;
    const int works = dense ? small_works.load(std::memory_order_relaxed) + 1 : 0;
    small_works.store(works % STREAM, std::memory_order_relaxed);
    return works == STREAM;
}

void launch(RangeFunction f, const void* job, i64 items, double cost) { launch(f, job, items, cost, MOST_THREADS); }

void launch(RangeFunction f, const void* job, i64 items, double cost, int most) {
    if (items <= 0) return;
    const double total = double(items) * cost;
    if (total < AWAKE_NS || items < 2 || inside) return f(job, 0, items);
    const int threads = std::min(num_threads(), most);
    if (threads == 1 || (total < SLICE_NS && alone())) return f(job, 0, items);
    if (total < SERIAL_NS && !awake() && !streaming()) return f(job, 0, items);

    const double chunk_ns = std::min(CHUNK_NS, total / 4);
    i64 chunk = std::max(i64(chunk_ns / cost), (items + MOST_CHUNKS - 1) / MOST_CHUNKS);
    if (chunk >= 64) chunk = (chunk + 63) / 64 * 64;  // borders on cache lines, and full vectors inside
    if (chunk < 1) chunk = 1;
    Pool* p = the_pool();
    if (chunk >= items || !p || p->busy.test_and_set(std::memory_order_acquire)) return f(job, 0, items);
    p->run(f, job, items, chunk, threads);
    p->busy.clear(std::memory_order_release);
}

// The two numbers that begin a file of a control group; 0 for each that is not there.
static void read_numbers(double* x, const char* hierarchy, const char* group, const char* name) {
    char path[640];
    snprintf(path, sizeof path, "/sys/fs/cgroup%s%s/%s", hierarchy, group, name);
    x[0] = x[1] = 0;
    if (FILE* file = fopen(path, "r")) {
        if (fscanf(file, "%lf %lf", &x[0], &x[1]) < 1) x[0] = 0;  // "max"
        fclose(file);
    }
}

// The CPUs that a control group's quota pays for, rounded up; MOST_THREADS without one. Version 2 has "150000 100000" or
// "max 100000" in one file, version 1 has two files, and -1 for no limit.
static int quota_of(int version, const char* group) {
    double quota[2], period[2];
    if (version == 2) {
        read_numbers(quota, "", group, "cpu.max");
        period[0] = quota[1];
    } else {
        read_numbers(quota, "/cpu", group, "cpu.cfs_quota_us");
        read_numbers(period, "/cpu", group, "cpu.cfs_period_us");
    }
    if (!(quota[0] > 0 && period[0] > 0)) return MOST_THREADS;
    return int(std::clamp((quota[0] + period[0] - 1) / period[0], 1.0, double(MOST_THREADS)));
}

// The version of control groups that limits processors in a line of /proc/self/cgroup, whose path is put into `group`:
// "0::/a/b" is 2, "4:cpu,cpuacct:/a/b" is 1, lines of other controllers are 0.
static int read_group(char* line, char** group) {
    char* const names = strchr(line, ':');
    char* const path = names ? strchr(names + 1, ':') : nullptr;
    if (!path) return 0;
    line[strcspn(line, "\n")] = *path = 0;
    *group = path + 1;
    if (strcmp(line, "0:") == 0) return 2;
    char* rest = nullptr;
    for (char* name = strtok_r(names + 1, ",", &rest); name; name = strtok_r(nullptr, ",", &rest)) {
        if (strcmp(name, "cpu") == 0) return 1;
    }
    return 0;
}

static int cgroup_quota() {
    int cpus = std::min(quota_of(2, ""), quota_of(1, ""));  // a container sees its own group there
    char line[512], *group;
    if (FILE* file = fopen("/proc/self/cgroup", "r")) {
        while (fgets(line, sizeof line, file)) {
            const int version = read_group(line, &group);
            if (version == 0) continue;
            // The limits of all groups on the way up hold.
            for (char* end = group + strlen(group); end && end > group; end = strrchr(group, '/')) {
                *end = 0;
                cpus = std::min(cpus, quota_of(version, group));
            }
        }
        fclose(file);
    }
    return cpus;
}

int available_cpus() {
    int cpus = int(std::max(1u, std::thread::hardware_concurrency()));
#if defined(__linux__)
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) == 0) cpus = std::max(1, CPU_COUNT(&set));
#endif
    return std::min({cpus, cgroup_quota(), MOST_THREADS});
}

int num_threads() {
    int n = threads_wanted.load(std::memory_order_relaxed);
    if (n > 0) return n;
    const char* text = getenv("FASTNN_NUM_THREADS");
    n = text ? atoi(text) : 0;  // checked with an error message at import, in bind.cpp
    if (n < 1) n = available_cpus();
    set_num_threads(n);
    return n;
}

void set_num_threads(int n) { threads_wanted.store(std::clamp(n, 1, MOST_THREADS), std::memory_order_relaxed); }

}  // namespace fastnn
