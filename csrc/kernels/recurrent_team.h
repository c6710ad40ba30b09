// Threads that walk through the steps of one sequence together, each with some of the units, whose weights then stay near its
// core: part p of the units is done at step s by its own thread, or by another one where that has not come. Nobody waits for a
// thread that has taken nothing, so that one is enough for all.
#pragma once
#include <stdint.h>

#include "../kernels.h"
#include "../pause.h"

namespace fastnn {
namespace FASTNN_ISA {

class Team {
   public:
    Team(TeamLine* memory, i64 parts) : at_(memory), parts_(parts) {
        __atomic_fetch_add(&at_[TEAM_JOINED].n, 1, __ATOMIC_RELAXED);
    }

    // The first step that is not finished.
    i64 step() const { return __atomic_load_n(&at_[TEAM_FINISHED].n, __ATOMIC_ACQUIRE) / parts_; }

    // Whether part p at step s is the caller's to do.
    bool take(i64 p, i64 s) {
        i64 seen = s;
        return __atomic_compare_exchange_n(&at_[TEAM_LINES + p].n, &seen, s + 1, false, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED);
    }
    void finish() { __atomic_fetch_add(&at_[TEAM_FINISHED].n, 1, __ATOMIC_RELEASE); }

    // Waits for the end of step s, with work(p) of parts that nobody has begun. Who keeps others waiting for long has lost its
    // core.
    template <class Work> void wait(i64 s, void (*yield)(), Work work) {
        for (i64 turns = 0; step() <= s; turns++) {
            if (turns >= POLLS || __atomic_load_n(&at_[TEAM_JOINED].n, __ATOMIC_RELAXED) == 1 || lost())
                for (i64 p = 0; p < parts_; p++)
                    if (take(p, s)) work(p);
            if (turns > PATIENCE) __atomic_store_n(&at_[TEAM_LOST].n, 1, __ATOMIC_RELAXED);
            turns > SPINS ? yield() : pause();
        }
    }
    bool lost() const { return __atomic_load_n(&at_[TEAM_LOST].n, __ATOMIC_RELAXED); }

    // The steps in order, each part once: work(p, s). `own` is the caller's part; who has lost his core need not go on, but one
    // must.
    template <class Work> void walk(i64 own, i64 steps, void (*yield)(), Work work) {
        for (i64 s = step(); s < steps && (own == 0 || !lost()); s++) {
            const auto one = [&](i64 p) { work(p, s), finish(); };
            if (take(own, s)) one(own);
            wait(s, yield, one);
        }
    }

   private:
    static constexpr i64 POLLS = 64, SPINS = 1 << 13, PATIENCE = SPINS + (1 << 12);  // about 1 us, 100 us, and 2 ms or more
    TeamLine* at_;
    i64 parts_;
};

}  // namespace FASTNN_ISA
}  // namespace fastnn
