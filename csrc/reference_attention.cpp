// Attention in plain loops, in double: the definition of correct (see reference.cpp). Scores are made anew each time.
#include <math.h>

#include "reference.h"

namespace fastnn {
namespace reference {

template <class T> static T* row_at(const void* base, const AttentionView& view, i64 b, i64 head, i64 row) {
    return (T*)base + b * view.batch + head * view.head + row * view.row;
}

template <class T> static double dot(const T* a, const T* b, i64 n) {
    double sum = 0;
    for (i64 i = 0; i < n; i++) sum += double(a[i]) * double(b[i]);
    return sum;
}

template <class T> static double score(const Attention& job, i64 b, i64 head, i64 i, i64 j) {
    if (job.causal && j > i + job.diagonal) return -INFINITY;
    const i64 in_mask = b * job.mask_batch + head * job.mask_head + i * job.mask_row + j * job.mask_col;
    if (job.mask && job.mask_boolean && !((const uint8_t*)job.mask)[in_mask]) return -INFINITY;
    const double s = job.scale * dot(row_at<T>(job.q, job.q_at, b, head, i), row_at<T>(job.k, job.k_at, b, head / job.group, j),
                                     job.depth);
    return job.mask && !job.mask_boolean ? s + double(((const T*)job.mask)[in_mask]) : s;
}

static double kept(const Attention& job, i64 row, i64 j) {
    if (!(job.dropout > 0)) return 1;
    const i64 row_words = (job.keys + 63) / 64 * 64;
    const bool keep = philox(job.seed, job.offset, row * row_words + j) >= uint64_t(job.dropout * 4294967296.0);
    return keep ? 1 / (1 - job.dropout) : 0;
}

static i64 row_of(const Attention& job, i64 b, i64 head, i64 i) { return (b * job.heads + head) * job.queries + i; }

// Items of the forward are queries, of the backward heads of k and v.
void attention_plan(Attention& job) {
    job.parts = job.part = 1;
    job.items = job.dout ? job.batch * job.heads / job.group : job.batch * job.heads * job.queries;
    job.item_ns = double(job.keys) * double(job.depth) * (job.dout ? 10 * double(job.group * job.queries) : 2);
    job.scratch_size = job.dout ? 4 * job.batch * job.heads * job.queries : 0;  // two doubles a query, in elements of T
    job.slot_size = job.combine_items = 0;
}

void attention_combine(const Attention&, i64, i64) {}

// p = exp(s - peak) / sum; a peak of 0 and a sum of 0 where query i sees nothing.
struct Softmax {
    double peak, sum;
    double operator()(double s) const { return sum == 0 ? 0 : exp(s - peak) / sum; }
};
template <class T> static Softmax softmax_of(const Attention& job, i64 b, i64 head, i64 i) {
    double peak = -INFINITY, sum = 0;
    for (i64 j = 0; j < job.keys; j++) {
        const double s = score<T>(job, b, head, i, j);
        if (s > peak || s != s) peak = s;
        if (peak != peak) break;
    }
    if (peak == -INFINITY) peak = 0;
    for (i64 j = 0; j < job.keys; j++) sum += exp(score<T>(job, b, head, i, j) - peak);
    return {peak, sum};
}

template <class T> static void forward_row(const Attention& job, i64 b, i64 head, i64 i) {
    const Softmax softmax = softmax_of<T>(job, b, head, i);
    T* out = row_at<T>(job.out, job.out_at, b, head, i);
    for (i64 c = 0; c < job.width; c++) {
        double sum = 0;
        for (i64 j = 0; j < job.keys; j++)
            sum += softmax(score<T>(job, b, head, i, j)) * kept(job, row_of(job, b, head, i), j) *
                   double(row_at<T>(job.v, job.v_at, b, head / job.group, j)[c]);
        out[c] = T(sum);
    }
    if (!job.stats) return;
    T* stats = (T*)job.stats + 2 * row_of(job, b, head, i);
    stats[0] = T(softmax.sum == 0 ? -INFINITY : softmax.peak * 1.44269504088896340736), stats[1] = T(softmax.sum);
}

template <class T> void attention(const Attention& job, i64 begin, i64 end) {
    for (i64 item = begin; item < end; item++) {
        const i64 head = item / job.queries;
        forward_row<T>(job, head / job.heads, head % job.heads, item % job.queries);
    }
}

// Of a pass backward, made before all else: in float a greatest score of -1e9 would be another one.
static Softmax& kept_softmax(const Attention& job, i64 b, i64 head, i64 i) {
    return static_cast<Softmax*>(job.scratch)[row_of(job, b, head, i)];
}

// What query i and key j have in common: p * m and ds.
struct Pair {
    double p, ds;
};
template <class T> static Pair pair_of(const Attention& job, i64 b, i64 head, i64 i, i64 j) {
    const T *out = row_at<T>(job.out, job.out_at, b, head, i), *dout = row_at<T>(job.dout, job.dout_at, b, head, i);
    const double m = kept(job, row_of(job, b, head, i), j), p = kept_softmax(job, b, head, i)(score<T>(job, b, head, i, j));
    const double dp = m * dot(dout, row_at<T>(job.v, job.v_at, b, head / job.group, j), job.width);
    return {p * m, p == 0 ? 0 : p * (dp - dot(out, dout, job.width))};
}

template <class T> static void key_gradients(const Attention& job, i64 b, i64 shared, i64 j) {
    T *dk = row_at<T>(job.dk, job.dk_at, b, shared, j), *dv = row_at<T>(job.dv, job.dv_at, b, shared, j);
    for (i64 c = 0; c < job.depth; c++) dk[c] = 0;
    for (i64 c = 0; c < job.width; c++) dv[c] = 0;
    for (i64 head = shared * job.group; head < (shared + 1) * job.group; head++)
        for (i64 i = 0; i < job.queries; i++) {
            const Pair pair = pair_of<T>(job, b, head, i, j);
            const T *q = row_at<T>(job.q, job.q_at, b, head, i), *dout = row_at<T>(job.dout, job.dout_at, b, head, i);
            for (i64 c = 0; c < job.depth; c++) dk[c] += T(job.scale * pair.ds * double(q[c]));
            for (i64 c = 0; c < job.width; c++) dv[c] += T(pair.p * double(dout[c]));
        }
}

template <class T> static void query_gradient(const Attention& job, i64 b, i64 head, i64 i) {
    T* dq = row_at<T>(job.dq, job.dq_at, b, head, i);
    for (i64 c = 0; c < job.depth; c++) dq[c] = 0;
    for (i64 j = 0; j < job.keys; j++) {
        const Pair pair = pair_of<T>(job, b, head, i, j);
        const T* k = row_at<T>(job.k, job.k_at, b, head / job.group, j);
        for (i64 c = 0; c < job.depth; c++) dq[c] += T(job.scale * pair.ds * double(k[c]));
    }
}

template <class T> void attention_backward(const Attention& job, i64 begin, i64 end) {
    const i64 shared = job.heads / job.group;
    for (i64 item = begin; item < end; item++) {
        const i64 b = item / shared, h = item % shared;
        for (i64 head = h * job.group; head < (h + 1) * job.group; head++)
            for (i64 i = 0; i < job.queries; i++) kept_softmax(job, b, head, i) = softmax_of<T>(job, b, head, i);
        for (i64 j = 0; j < job.keys; j++) key_gradients<T>(job, b, h, j);
        for (i64 head = h * job.group; head < (h + 1) * job.group; head++)
            for (i64 i = 0; i < job.queries; i++) query_gradient<T>(job, b, head, i);
    }
}

template void attention<float>(const Attention&, i64, i64);
template void attention<double>(const Attention&, i64, i64);
template void attention_backward<float>(const Attention&, i64, i64);
template void attention_backward<double>(const Attention&, i64, i64);

}  // namespace reference
}  // namespace fastnn
