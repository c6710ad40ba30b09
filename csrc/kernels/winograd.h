// Winograd's minimal filtering, F(M x M, K x K): a tile of M x M outputs from N x N inputs, N = M + K - 1, by N^2 products a
// channel where the definition makes K^2 M^2: for K = 3 4 times fewer with M = 4, 2.25 with M = 2; for K = 5 2.8 with M = 2.
// (A 7 x 7 kernel of stride 2 is a 4 x 4 kernel of stride 1 on pairs of rows and columns: 3.1 times fewer with M = 3.)
//
//   y = A^T [ (G w G^T) . (B^T d B) ] A        dw = G^T [ (B^T d B) . (A dy A^T) ] G
//
// Each matrix is applied along one axis and then the other; here stand the one-axis versions, on vectors over channels or
// filters. G is diag(SCALE) H, where H's rows are the powers of a point: who has few tiles has most of the work with the weight,
// and scales B^T d B or A dy A^T instead. Six points are 0, +-3/4, +-3/2 and infinity: A, B and H are exact in binary, and the
// rounding error of M = 4 is half that of the usual 0, +-1, +-2 (RMS 5 times that of the definition, against 11).
// Where outputs are left along an axis they are part of a tile: two, or one, by four of the six points and three by five, with
// U's same rows.
//
// Lavin, Gray, "Fast algorithms for convolutional neural networks", 2016; the points: Barabasz et al., "Error analysis
// and improving the accuracy of Winograd convolution for deep neural networks", 2020.
#pragma once
#include "../vec.h"

namespace fastnn {
namespace FASTNN_ISA {

// Of stride S: N points of an axis and U rows of the transformed weight, one for each, but where the stride is 2.
// The i-th point is the point(i)-th of the planes.
template <int M, int K = 3, int S = 1> struct Winograd;

// x k + y
template <class T> INLINE Vec<T> mad(Vec<T> x, double k, Vec<T> y) { return fma<T>(x, splat<T>(T(k)), y); }
template <class T> INLINE Vec<T> times(Vec<T> x, double k) { return x * splat<T>(T(k)); }

// B depends on the points alone, and so does SCALE.
struct SixPoints {
    static constexpr int N = 6, U = 6, S = 1;
    static constexpr bool PAIRS = false;
    static constexpr double SCALE[6] = {64.0 / 81, -128.0 / 243, -128.0 / 243, 32.0 / 243, 32.0 / 243, 1};
    static constexpr int point(int i) { return i; }

    // v = B^T d
    template <class T> static INLINE void input(const Vec<T> (&d)[6], Vec<T> (&v)[6]) {
        const Vec<T> p = mad<T>(d[2], -2.25, d[4]), q = mad<T>(d[3], 0.75, times<T>(d[1], -1.6875));
        const Vec<T> r = mad<T>(d[2], -0.5625, d[4]), s = mad<T>(d[3], 1.5, times<T>(d[1], -0.84375));
        v[0] = mad<T>(d[0], 1.265625, mad<T>(d[2], -2.8125, d[4]));
        v[1] = p + q;
        v[2] = p - q;
        v[3] = r + s;
        v[4] = r - s;
        v[5] = mad<T>(d[1], 1.265625, mad<T>(d[3], -2.8125, d[5]));
    }
};

template <> struct Winograd<4> : SixPoints {
    static constexpr int M = 4, K = 3;

    // y = A^T m
    template <class T> static INLINE void output(const Vec<T> (&m)[6], Vec<T> (&y)[4]) {
        const Vec<T> p = m[1] + m[2], q = m[1] - m[2], r = m[3] + m[4], s = m[3] - m[4];
        y[0] = m[0] + (p + r);
        y[1] = mad<T>(s, 1.5, times<T>(q, 0.75));
        y[2] = mad<T>(r, 2.25, times<T>(p, 0.5625));
        y[3] = mad<T>(q, 0.421875, mad<T>(s, 3.375, m[5]));
    }
    // m = A y
    template <class T> static INLINE void gradient(const Vec<T> (&y)[4], Vec<T> (&m)[6]) {
        const Vec<T> p = mad<T>(y[2], 0.5625, y[0]), q = mad<T>(y[1], 0.75, times<T>(y[3], 0.421875));
        const Vec<T> r = mad<T>(y[2], 2.25, y[0]), s = mad<T>(y[1], 1.5, times<T>(y[3], 3.375));
        m[0] = y[0];
        m[1] = p + q;
        m[2] = p - q;
        m[3] = r + s;
        m[4] = r - s;
        m[5] = y[3];
    }
    // u = H w
    template <class T> static INLINE void weight(const Vec<T> (&w)[3], Vec<T> (&u)[6]) {
        const Vec<T> p = mad<T>(w[2], 0.5625, w[0]), q = times<T>(w[1], 0.75);
        const Vec<T> r = mad<T>(w[2], 2.25, w[0]), s = times<T>(w[1], 1.5);
        u[0] = w[0];
        u[1] = p + q;
        u[2] = p - q;
        u[3] = r + s;
        u[4] = r - s;
        u[5] = w[2];
    }
    // w = H^T u
    template <class T> static INLINE void weight_gradient(const Vec<T> (&u)[6], Vec<T> (&w)[3]) {
        const Vec<T> p = u[1] + u[2], r = u[3] + u[4];
        w[0] = u[0] + (p + r);
        w[1] = mad<T>(u[3] - u[4], 1.5, times<T>(u[1] - u[2], 0.75));
        w[2] = mad<T>(r, 2.25, times<T>(p, 0.5625)) + u[5];
    }
};

template <> struct Winograd<2, 5> : SixPoints {
    static constexpr int M = 2, K = 5;

    template <class T> static INLINE void output(const Vec<T> (&m)[6], Vec<T> (&y)[2]) {
        y[0] = m[0] + ((m[1] + m[2]) + (m[3] + m[4]));
        y[1] = mad<T>(m[1] - m[2], 0.75, mad<T>(m[3] - m[4], 1.5, m[5]));
    }
    template <class T> static INLINE void gradient(const Vec<T> (&y)[2], Vec<T> (&m)[6]) {
        m[0] = y[0];
        m[1] = mad<T>(y[1], 0.75, y[0]);
        m[2] = mad<T>(y[1], -0.75, y[0]);
        m[3] = mad<T>(y[1], 1.5, y[0]);
        m[4] = mad<T>(y[1], -1.5, y[0]);
        m[5] = y[1];
    }
    template <class T> static INLINE void weight(const Vec<T> (&w)[5], Vec<T> (&u)[6]) {
        const Vec<T> p = mad<T>(mad<T>(w[4], 0.5625, w[2]), 0.5625, w[0]), q = mad<T>(w[3], 0.421875, times<T>(w[1], 0.75));
        const Vec<T> r = mad<T>(mad<T>(w[4], 2.25, w[2]), 2.25, w[0]), s = mad<T>(w[3], 3.375, times<T>(w[1], 1.5));
        u[0] = w[0];
        u[1] = p + q;
        u[2] = p - q;
        u[3] = r + s;
        u[4] = r - s;
        u[5] = w[4];
    }
    template <class T> static INLINE void weight_gradient(const Vec<T> (&u)[6], Vec<T> (&w)[5]) {
        const Vec<T> p = u[1] + u[2], q = u[1] - u[2], r = u[3] + u[4], s = u[3] - u[4];
        w[0] = u[0] + (p + r);
        w[1] = mad<T>(s, 1.5, times<T>(q, 0.75));
        w[2] = mad<T>(r, 2.25, times<T>(p, 0.5625));
        w[3] = mad<T>(s, 3.375, times<T>(q, 0.421875));
        w[4] = mad<T>(r, 5.0625, mad<T>(p, 0.31640625, u[5]));
    }
};

// Three outputs and four places: the three places and four outputs of Winograd<4> the other way round.
template <> struct Winograd<3, 4> : SixPoints {
    static constexpr int M = 3, K = 4;
    template <class T> static INLINE void output(const Vec<T> (&m)[6], Vec<T> (&y)[3]) { Winograd<4>::weight_gradient<T>(m, y); }
    template <class T> static INLINE void weight(const Vec<T> (&w)[4], Vec<T> (&u)[6]) { Winograd<4>::gradient<T>(w, u); }
};

// Of stride 2: A on an image whose pixels are squares of four, of which each meets every other place of the weight.
template <class A> struct Pairs : A {
    static constexpr bool PAIRS = true;
};

// Part of a tile of Winograd<4>: M outputs by M + 2 of the six points. SCALE, which belongs to six, is made good in `input`.
template <int M> struct Part;

template <> struct Part<2> {  // 0, +-3/4 and infinity
    static constexpr int M = 2, N = 4;
    static constexpr int point(int i) { return i < 3 ? i : 5; }

    template <class T> static INLINE void input(const Vec<T> (&d)[4], Vec<T> (&v)[4]) {
        const Vec<T> p = times<T>(d[2], -1.6875), q = times<T>(d[1], -1.265625);
        v[0] = mad<T>(d[0], 1.265625, times<T>(d[2], -2.25));
        v[1] = p + q;
        v[2] = p - q;
        v[3] = mad<T>(d[1], -0.5625, d[3]);
    }
    template <class T> static INLINE void output(const Vec<T> (&m)[4], Vec<T> (&y)[2]) {
        y[0] = m[0] + (m[1] + m[2]);
        y[1] = mad<T>(m[1] - m[2], 0.75, m[3]);
    }
    template <class T> static INLINE void gradient(const Vec<T> (&y)[2], Vec<T> (&m)[4]) {
        m[0] = y[0];
        m[1] = mad<T>(y[1], 0.75, y[0]);
        m[2] = mad<T>(y[1], -0.75, y[0]);
        m[3] = y[1];
    }
};

template <> struct Part<3> {  // 0, +-3/4, 3/2 and infinity
    static constexpr int M = 3, N = 5;
    static constexpr int point(int i) { return i < 4 ? i : 5; }

    template <class T> static INLINE void input(const Vec<T> (&d)[5], Vec<T> (&v)[5]) {
        const Vec<T> p = mad<T>(d[1], -0.84375, mad<T>(d[2], -1.6875, times<T>(d[3], 1.5)));
        const Vec<T> q = mad<T>(d[1], -1.6875, times<T>(d[3], 0.75));
        v[0] = mad<T>(d[0], 1.265625, mad<T>(d[1], -0.84375, mad<T>(d[2], -2.25, times<T>(d[3], 1.5))));
        v[1] = p + q;
        v[2] = p - q;
        v[3] = mad<T>(d[1], -1.6875, times<T>(d[3], 3));
        v[4] = mad<T>(d[1], 0.84375, mad<T>(d[2], -0.5625, mad<T>(d[3], -1.5, d[4])));
    }
    template <class T> static INLINE void output(const Vec<T> (&m)[5], Vec<T> (&y)[3]) {
        const Vec<T> p = m[1] + m[2];
        y[0] = m[0] + (p + m[3]);
        y[1] = mad<T>(m[3], 1.5, times<T>(m[1] - m[2], 0.75));
        y[2] = mad<T>(m[3], 2.25, mad<T>(p, 0.5625, m[4]));
    }
    template <class T> static INLINE void gradient(const Vec<T> (&y)[3], Vec<T> (&m)[5]) {
        const Vec<T> p = mad<T>(y[2], 0.5625, y[0]);
        m[0] = y[0];
        m[1] = mad<T>(y[1], 0.75, p);
        m[2] = mad<T>(y[1], -0.75, p);
        m[3] = mad<T>(y[2], 2.25, mad<T>(y[1], 1.5, y[0]));
        m[4] = y[2];
    }
};

template <> struct Winograd<2> {
    static constexpr int M = 2, K = 3, S = 1, N = 4, U = 4;
    static constexpr bool PAIRS = false;
    static constexpr int point(int i) { return i; }

    template <class T> static INLINE void input(const Vec<T> (&d)[4], Vec<T> (&v)[4]) {
        v[0] = d[0] - d[2];
        v[1] = d[1] + d[2];
        v[2] = d[2] - d[1];
        v[3] = d[3] - d[1];
    }
    template <class T> static INLINE void output(const Vec<T> (&m)[4], Vec<T> (&y)[2]) {
        y[0] = m[0] + m[1] + m[2];
        y[1] = m[1] - m[2] + m[3];
    }
    template <class T> static INLINE void gradient(const Vec<T> (&y)[2], Vec<T> (&m)[4]) {
        m[0] = y[0];
        m[1] = y[0] + y[1];
        m[2] = y[0] - y[1];
        m[3] = y[1];
    }
    static constexpr double SCALE[4] = {1, 0.5, 0.5, 1};
    template <class T> static INLINE void weight(const Vec<T> (&w)[3], Vec<T> (&u)[4]) {
        const Vec<T> p = w[0] + w[2];
        u[0] = w[0];
        u[1] = p + w[1];
        u[2] = p - w[1];
        u[3] = w[2];
    }
    template <class T> static INLINE void weight_gradient(const Vec<T> (&u)[4], Vec<T> (&w)[3]) {
        const Vec<T> p = u[1] + u[2];
        w[0] = u[0] + p;
        w[1] = u[1] - u[2];
        w[2] = p + u[3];
    }
};

// Stride 2: of five inputs the first, third and fifth meet the outer weights, which is F(2, 2), and the others the middle one,
// by the definition: 25 products for 2 x 2 outputs where that makes 36. Points 3 and 4 share a row of U.
template <> struct Winograd<2, 3, 2> {
    static constexpr int M = 2, K = 3, S = 2, N = 5, U = 4;
    static constexpr bool PAIRS = false;
    static constexpr int point(int i) { return i; }

    template <class T> static INLINE void input(const Vec<T> (&d)[5], Vec<T> (&v)[5]) {
        v[0] = d[0] - d[2];
        v[1] = d[2];
        v[2] = d[4] - d[2];
        v[3] = d[1];
        v[4] = d[3];
    }
    template <class T> static INLINE void output(const Vec<T> (&m)[5], Vec<T> (&y)[2]) {
        y[0] = m[0] + m[1] + m[3];
        y[1] = m[1] + m[2] + m[4];
    }
    static constexpr double SCALE[4] = {1, 1, 1, 1};
    template <class T> static INLINE void weight(const Vec<T> (&w)[3], Vec<T> (&u)[4]) {
        u[0] = w[0];
        u[1] = w[0] + w[2];
        u[2] = w[2];
        u[3] = w[1];
    }
};

// Both axes: `down` makes OUT_Y values of IN_Y in each column of what load_at(row, column) gives, then `along` OUT_X of IN_X in
// each row of what came of it; of OUT_Y rows [FIRST, FIRST + ROWS).
template <class T, int IN_Y, int OUT_Y, int IN_X, int OUT_X, int FIRST = 0, int ROWS = OUT_Y, class Down, class Row, class Load,
          class Store>
INLINE void both_axes(Down down, Row along, Load load_at, Store store_at) {
    Vec<T> half[ROWS][IN_X];
#pragma GCC unroll 6
    for (int j = 0; j < IN_X; j++) {
        Vec<T> column[IN_Y], made[OUT_Y];
#pragma GCC unroll 6
        for (int i = 0; i < IN_Y; i++) column[i] = load_at(i, j);
        down(column, made);
#pragma GCC unroll 6
        for (int i = 0; i < ROWS; i++) half[i][j] = made[FIRST + i];
    }
#pragma GCC unroll 6
    for (int i = 0; i < ROWS; i++) {
        Vec<T> made[OUT_X];
        along(half[i], made);
#pragma GCC unroll 6
        for (int j = 0; j < OUT_X; j++) store_at(FIRST + i, j, made[j]);
    }
}
template <class T, int IN, int OUT, int FIRST = 0, int ROWS = OUT, class One, class Load, class Store>
INLINE void both_axes(One one, Load load_at, Store store_at) {
    both_axes<T, IN, OUT, IN, OUT, FIRST, ROWS>(one, one, load_at, store_at);
}

}  // namespace FASTNN_ISA
}  // namespace fastnn
