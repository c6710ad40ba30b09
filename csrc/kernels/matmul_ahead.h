// Slivers of b that a thread packs for itself, each while its tiles multiply with the one before:
//
//   half 0   sliver s      read by the tiles: | tile 0 | tile 1 | tile 2 | ...
//   half 1   sliver s + 1  packed meanwhile:    rows     rows     rows         some rows of k in each tile, evenly
//
// Rows of a wide b lie on pages of their own, for which the machine fetches nothing ahead, and all of a sliver's lines fall on
// few sets of a cache: packing waits for L3 line by line, and no prefetch reaches farther than some rows. Beside
// multiplications that waiting is free, and no packed b goes to L3 and back: 1024^3 takes 0.97 of the time of packing first.
#pragma once
#include "matmul.h"

namespace fastnn {
namespace FASTNN_ISA {

constexpr i64 PACK_AHEAD = 16;  // rows fetched to L2 before they are copied, none beyond the sliver: c may be written there
// A tile copies some rows at least so many steps of k apart: 16 x 1024 x 1024 (AVX2) takes 1.1 of the time row by row.
constexpr i64 LEAST_STEP = 16;

// What is still to be copied of one sliver.
template <class T> struct Ahead {
    const T* from;
    i64 from_row;
    T* to;
    i64 columns, width, rows;  // zeros beyond the columns
    i64 step, each;            // of k, after which a tile copies so many rows

    INLINE void copy_row() {
        if (rows <= 0) return;
        constexpr int L = LANES<T>;
        if (rows > PACK_AHEAD) fetch(from + PACK_AHEAD * from_row);
        for (i64 j = 0; j < width; j += L) {
            const i64 left = columns - j;
            store(to + j, left >= L ? load(from + j) : load_first(from + j, int(left)));
        }
        from += from_row, to += width, rows--;
    }
    INLINE void fetch(const T* row) const {
        for (i64 j = 0; j < columns; j += 64 / i64(sizeof(T))) __builtin_prefetch(row + j, 0, 2);
        __builtin_prefetch(row + columns - 1, 0, 2);
    }
    INLINE void copy_some() {
        for (i64 i = 0; i < each; i++) copy_row();
    }
    void copy_rest() {
        while (rows > 0) copy_row();
    }
    // Evenly over so many tiles of k steps.
    void spread(i64 tiles, i64 k) {
        const i64 every = rows ? k * tiles / rows : k;
        step = every < LEAST_STEP ? LEAST_STEP : every < k ? every : k;
        each = rows > 0 && k > 0 && tiles > 0 ? (step * rows + k * tiles - 1) / (k * tiles) : 0;
    }
};

// The two halves of a thread's slot, and which slivers lie there; what is in them serves the next item too.
template <class T> class Slivers {
    i64* held;  // the numbers of the slivers in both halves, and the half that was taken last
    T* half[2];

   public:
    static constexpr i64 NONE = -1;
    static i64 half_size(i64 k) { return k * TILE_VECS * LANES<T>; }
    // A page more than it takes: what the machine fetches beyond the end is not another thread's.
    static i64 size(i64 k) { return (64 + 4096) / i64(sizeof(T)) + 2 * half_size(k); }
    Slivers(T* slot, i64 k) : held(reinterpret_cast<i64*>(slot)) {
        half[0] = slot + 64 / sizeof(T);
        half[1] = half[0] + half_size(k);
    }
    void clear() { held[0] = held[1] = NONE, held[2] = 0; }

    // Sliver number `which` to read; it is packed now unless it has been.
    const T* take(i64 which, Ahead<T> rows) {
        i64& last = held[2];
        if (held[last] != which) last = 1 - last;
        if (held[last] != which) {
            rows.to = half[last];
            rows.copy_rest();
            held[last] = which;
        }
        return half[last];
    }
    // What is to be copied of sliver number `which` while the one taken last is read: whoever asks copies it all.
    Ahead<T> begin(i64 which, Ahead<T> rows) {
        const i64 other = 1 - held[2];
        if (held[0] == which || held[1] == which) rows.rows = 0;
        else held[other] = which, rows.to = half[other];
        return rows;
    }
};

}  // namespace FASTNN_ISA
}  // namespace fastnn
