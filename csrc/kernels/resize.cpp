// Up- and down-sampling, nearest and bilinear. Where the pixels come from, and how much of each, stands in the tables of the
// job; here whole vectors of channels are mixed. The last vector of a pixel may run over into the next ones, as in pool.h.
#include "pool.h"

namespace fastnn {
namespace FASTNN_ISA {

INLINE i64 next_pixel(const ResizeAxis& axis, i64 i) { return i + 1 < axis.size ? i + 1 : i; }

// How much of pixel i output q takes.
template <class T> INLINE T share(const ResizeAxis& axis, i64 q, i64 i) {
    const i64 at = axis.index[q];
    if (!axis.weight) return at == i;
    const T weight = T(axis.weight[q]);
    return (at == i ? 1 - weight : 0) + (next_pixel(axis, at) == i ? weight : 0);
}

// Rows of y: `read` elements may be read from the (lower) row of x on, `written` are written from y on, now or later.
struct Room {
    i64 read, written;
};

template <class T> static void nearest_row(const Resize& job, const T* x, T* y, const Room& room) {
    const i64 C = job.channels;
    for (i64 q = 0; q < job.cols.out; q++, y += C) {
        const i64 j = job.cols.index[q];
        for_channels<T>(C, smaller(room.read - j * C, room.written - q * C),
                        [&](i64 c, int n) ALWAYS_INLINE { store_n(y + c, load_n(x + j * C + c, n), n); });
    }
}

// Of the rows x and x1; TWO: both of them count.
template <class T, bool TWO>
static void bilinear_row(const Resize& job, const T* x, const T* x1, T row_weight, T* y, const Room& room) {
    const i64 C = job.channels;
    for (i64 q = 0; q < job.cols.out; q++, y += C) {
        const i64 j = job.cols.index[q], j1 = next_pixel(job.cols, j);
        const T right = T(job.cols.weight[q]), left = 1 - right, below = TWO ? row_weight : 0, above = 1 - below;
        const Vec<T> w00 = splat<T>(above * left), w01 = splat<T>(above * right);
        const Vec<T> w10 = splat<T>(below * left), w11 = splat<T>(below * right);
        const T *a = x + j * C, *b = x + j1 * C, *a1 = x1 + j * C, *b1 = x1 + j1 * C;
        for_channels<T>(C, smaller(room.read - j1 * C, room.written - q * C), [&](i64 c, int n) ALWAYS_INLINE {
            Vec<T> mix = fma<T>(load_n(b + c, n), w01, load_n(a + c, n) * w00);
            if (TWO) mix = fma<T>(load_n(b1 + c, n), w11, fma<T>(load_n(a1 + c, n), w10, mix));
            store_n(y + c, mix, n);
        });
    }
}

template <class T> void resize(const Resize& job, i64 begin, i64 end) {
    const i64 in_row = job.cols.size * job.channels;
    for (i64 item = begin; item < end; item++) {
        const i64 image = item / job.rows.out, r = item % job.rows.out, i = job.rows.index[r];
        const T* x = static_cast<const T*>(job.in) + image * job.rows.size * in_row;
        T* y = static_cast<T*>(job.out) + item * job.cols.out * job.channels;
        const T weight = job.rows.weight ? T(job.rows.weight[r]) : T(0);
        const i64 i1 = next_pixel(job.rows, i);
        const T *row = x + i * in_row, *row1 = x + i1 * in_row;
        const Room room = {((job.images - image) * job.rows.size - i1) * in_row, (end - item) * job.cols.out * job.channels};
        if (!job.cols.weight)
            nearest_row(job, row, y, room);
        else if (weight != 0)
            bilinear_row<T, true>(job, row, row1, weight, y, room);
        else
            bilinear_row<T, false>(job, row, row1, weight, y, room);
    }
}

// The outputs [begin, end) that take something of pixel i.
struct Takers {
    i64 begin, end;
};
INLINE Takers takers(const ResizeAxis& axis, i64 i) {
    return {axis.first[axis.weight && i > 0 ? i - 1 : i], axis.first[i + 1]};
}

// V vectors of one pixel's channels, from c on: the sum over all outputs that took of the pixel, in a fixed order.
template <class T, int V>
INLINE void gather_pixel(const Resize& job, const T* dy, i64 a, i64 b, const Takers& rows, const Takers& cols, i64 c,
                         int n, T* dx) {
    Vec<T> sum[V] = {};
    for (i64 r = rows.begin; r < rows.end; r++) {
        const T row_share = share<T>(job.rows, r, a);
        const T* from = dy + (r * job.cols.out + cols.begin) * job.channels + c;
        for (i64 q = cols.begin; q < cols.end; q++, from += job.channels) {
            const Vec<T> part = splat<T>(row_share * share<T>(job.cols, q, b));
            for (int v = 0; v < V; v++) sum[v] = fma<T>(V == 1 ? load_n(from, n) : load(from + v * LANES<T>), part, sum[v]);
        }
    }
    for (int v = 0; v < V; v++) V == 1 ? store_n(dx + c, sum[v], n) : store(dx + c + v * LANES<T>, sum[v]);
}

template <class T> void resize_backward(const Resize& job, i64 begin, i64 end) {
    constexpr int V = 4;
    const i64 C = job.channels;
    for (i64 item = begin; item < end; item++) {
        const i64 image = item / job.rows.size, a = item % job.rows.size;
        const T* dy = static_cast<const T*>(job.in) + image * job.rows.out * job.cols.out * C;
        T* dx = static_cast<T*>(job.out) + item * job.cols.size * C;
        const Takers rows = takers(job.rows, a);
        const i64 image_end = (job.images - image) * job.rows.out * job.cols.out;  // pixels to the end of dy
        for (i64 b = 0; b < job.cols.size; b++, dx += C) {
            const Takers cols = takers(job.cols, b);
            i64 done = 0;
            for (; done + V * LANES<T> <= C; done += V * LANES<T>)
                gather_pixel<T, V>(job, dy, a, b, rows, cols, done, LANES<T>, dx);
            const i64 last = (rows.end > rows.begin ? rows.end - 1 : 0) * job.cols.out +
                             (cols.end > cols.begin ? cols.end - 1 : 0);
            const i64 room = smaller(((end - item) * job.cols.size - b) * C, (image_end - last) * C);
            for_channels<T>(C - done, room - done, [&](i64 c, int n) ALWAYS_INLINE {
                gather_pixel<T, 1>(job, dy, a, b, rows, cols, done + c, n, dx);
            });
        }
    }
}

#define INSTANTIATE(kernel)                                \
    template void kernel<float>(const Resize&, i64, i64); \
    template void kernel<double>(const Resize&, i64, i64);
INSTANTIATE(resize)
INSTANTIATE(resize_backward)

}  // namespace FASTNN_ISA
}  // namespace fastnn
