// The thread pool under ThreadSanitizer: works of many sizes in a row, several callers at once, changing thread counts, nested
// calls, the arena from all threads, pauses that let the workers park, and teams that go through steps together. `.ci/sanitize`
// builds it with -fsanitize=thread and runs it for some seconds; it ends with 1 where a sum is wrong, and the sanitizer with 66
// where it saw a race.
#define FASTNN_ISA stress
#include "arena.h"
#include "kernels/recurrent_team.h"
#include "parallel.h"

#include <sched.h>

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

// Every part of a step adds up what all parts of the step before left, in plain memory.
struct Walk {
    i64* numbers;  // two steps of `parts`
    TeamLine* team;
    i64 parts, steps;
};
static void walk(const Walk& job, i64 begin, i64 end) {
    for (i64 part = begin; part < end; part++) {
        stress::Team team(job.team, job.parts);
        for (i64 s = team.step(); s < job.steps; s++) {
            const auto work = [&](i64 p) {
                const i64 *before = job.numbers + s % 2 * job.parts, all = job.parts;
                i64 sum = 0;
                for (i64 i = 0; i < all; i++) sum += before[i];
                job.numbers[(s + 1) % 2 * all + p] = (sum + p) % 1000;
                team.finish();
            };
            if (team.take(part, s)) work(part);
            team.wait(s, [] { sched_yield(); }, work);
        }
    }
}
static int walked(i64 parts, i64 steps) {
    std::vector<i64> numbers(size_t(2 * parts), 1), want = numbers;
    for (i64 s = 0; s < steps; s++) {
        i64 sum = 0;
        for (i64 i = 0; i < parts; i++) sum += want[s % 2 * parts + i];
        for (i64 p = 0; p < parts; p++) want[(s + 1) % 2 * parts + p] = (sum + p) % 1000;
    }
    TeamLine* team = static_cast<TeamLine*>(allocate(size_t(team_lines(parts)) * sizeof(TeamLine)));
    for (i64 i = 0; i < team_lines(parts); i++) team[i].n = 0;
    launch(walk, Walk{numbers.data(), team, parts, steps}, parts, 1e5);
    release(team);
    return numbers != want;
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
        wrong += walked(1 + rand_r(&seed) % 5, 1 + rand_r(&seed) % 50);
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
