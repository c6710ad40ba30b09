// Where the outputs of a tile go.
#pragma once
#include "winograd_tiles.h"

namespace fastnn {
namespace FASTNN_ISA {

// The corner of what is left of an image from (y, x) on: h x w pixels. `add` is null or the same corner of what is added to them;
// with `pool` the greatest of each 2 x 2 remain, of which a tile holds whole ones.
template <class T> struct Corner {
    T* to;
    const T* add;
    i64 row, pixel, h, w;
    Limits<T> limit;
    bool pool;

    Corner(const Conv& job, i64 out_h, i64 out_w, i64 out_c, i64 image, i64 y, i64 x)
        : pixel(out_c), h(out_h - y), w(out_w - x), limit(job.activation), pool(job.pool) {
        const int halved = pool;  // shifts: a tile has no time for four divisions
        row = (out_w >> halved) * out_c;
        const i64 at = (image * (out_h >> halved) + (y >> halved)) * row + (x >> halved) * out_c;
        to = static_cast<T*>(job.out) + at;
        add = job.residual ? static_cast<const T*>(job.residual) + at : nullptr;
    }
};

// A row of a tile, the i-th of its image's corner, that is not whole: n lanes from channel c on. Rare, and so one copy.
template <class T>
__attribute__((noinline)) static void put_part(const Corner<T>& corner, const Vec<T>* y, int i, int columns, i64 c, int n) {
    if (i >= corner.h) return;
    for (i64 j = 0, at = i * corner.row + c; j < columns && j < corner.w; j++, at += corner.pixel)
        store_n(corner.to + at, corner.limit(corner.add ? load_n(corner.add + at, n) + y[j] : y[j]), n);
}

// Takes the outputs of one vector of a tile (ROWS, COLUMNS) one by one, n lanes from channel c on, and puts each row. `limit` is
// a copy, which no store can change: C3 H224 takes 0.94 of the time.
template <class T, int ROWS, int COLUMNS> struct PutTile {
    const Corner<T>& corner;
    const Limits<T> limit;
    const i64 c;
    const int n;
    const bool whole;
    Vec<T> y[ROWS][COLUMNS];
    INLINE PutTile(const Corner<T>& corner, i64 c, int n)
        : corner(corner), limit(corner.limit), c(c), n(n), whole(n == LANES<T> && corner.h >= ROWS && corner.w >= COLUMNS) {}
    INLINE void operator()(int i, int j, Vec<T> value) {
        y[i][j] = value;
        if (j == COLUMNS - 1) row(i);
    }
    INLINE void row(int i) {
        if (corner.pool) return pooled(i);
        if (!whole) {
            Vec<T> copy[COLUMNS];  // else all of y is in memory
            for (int j = 0; j < COLUMNS; j++) copy[j] = y[i][j];
            return put_part(corner, copy, i, COLUMNS, c, n);
        }
        T* to = corner.to + i * corner.row + c;
        const i64 pixel = corner.pixel;
        if (corner.add) {
            const T* add = corner.add + i * corner.row + c;
#pragma GCC unroll 4
            for (int j = 0; j < COLUMNS; j++) y[i][j] = load(add + j * pixel) + y[i][j];
        }
#pragma GCC unroll 4
        for (int j = 0; j < COLUMNS; j++) {
            const i64 at = j * pixel;
            // Where the next tile goes: 32 images of 56 x 56 take 0.92 of the time. With AVX2 it was not measured.
            if (!NARROW) __builtin_prefetch(to + at + COLUMNS * pixel, 1);
            store(to + at, limit(y[i][j]));
        }
    }
    INLINE void pooled(int i) {  // once for two rows
        if (i % 2 == 0) return;
        T* to = corner.to + i / 2 * corner.row + c;
#pragma GCC unroll 2
        for (int j = 0; j + 1 < COLUMNS; j += 2, to += corner.pixel) {
            const Vec<T> most = greater<T>(greater<T>(y[i - 1][j], y[i - 1][j + 1]), greater<T>(y[i][j], y[i][j + 1]));
            if (whole || (i < corner.h && j + 1 < corner.w)) store_n(to, corner.limit(most), n);
        }
    }
};

}  // namespace FASTNN_ISA
}  // namespace fastnn
