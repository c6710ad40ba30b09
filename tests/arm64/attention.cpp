// Scaled dot-product attention, forward and backward: few queries (read in place) and many (packed blocks), one part of the
// keys and several, groups of heads, masks of all kinds, dropout.
#include "driver.h"

namespace fastnn {
namespace driver {

enum MaskKind { NO_MASK, BOOLEAN, BOOLEAN_ROWS, NUMBERS };  // (keys) for all; (B, 1, queries, keys); (N, queries, keys)

struct Heads {
    i64 batch, heads, group, queries, keys, depth, width;
    i64 rows() const { return batch * heads * queries; }
    i64 shared() const { return batch * heads / group; }
};

struct Options {
    MaskKind mask;
    bool causal, as_layer;  // as_layer: memory of (B, T, N, D)
    i64 diagonal;
    double dropout;
    std::string name() const {
        return ", mask " + std::to_string(mask) + (causal ? ", causal " + std::to_string(diagonal) : "") +
               (as_layer ? ", as a layer" : "") + (dropout > 0 ? ", dropout" : "");
    }
};

static AttentionView view(i64 heads, i64 rows, i64 cols, bool as_layer) {
    if (as_layer) return {heads * rows * cols, cols, heads * cols};
    return {heads * rows * cols, rows * cols, cols};
}

template <class T> struct HeadArrays {
    Values<T> q, k, v, dout, mask;
    Values<uint8_t> keep;
    explicit HeadArrays(const Heads& s)
        : q(numbers<T>(s.rows() * s.depth)),
          k(numbers<T>(s.shared() * s.keys * s.depth)),
          v(numbers<T>(s.shared() * s.keys * s.width)),
          dout(numbers<T>(s.rows() * s.width)),
          mask(numbers<T>(s.heads * s.queries * s.keys)),
          keep(s.batch * s.queries * s.keys) {
        for (uint8_t& b : keep) b = whole_number(0, 3) > 0;
        for (i64 j = 0; j < s.keys; j++) keep[(s.queries / 2) * s.keys + j] = 0;  // a query that sees nothing
        for (T& m : mask)
            if (whole_number(0, 5) == 0) m = T(-INFINITY);
    }
};

template <class T> static Attention job_of(const Heads& s, const Options& o, const HeadArrays<T>& from) {
    Attention job = {};
    const i64 shared = s.heads / s.group;
    job.batch = s.batch, job.heads = s.heads, job.group = s.group, job.queries = s.queries, job.keys = s.keys;
    job.depth = s.depth, job.width = s.width;
    job.q = from.q.data(), job.k = from.k.data(), job.v = from.v.data();
    job.q_at = job.dq_at = view(s.heads, s.queries, s.depth, o.as_layer);
    job.k_at = job.dk_at = view(shared, s.keys, s.depth, o.as_layer);
    job.v_at = job.dv_at = view(shared, s.keys, s.width, o.as_layer);
    job.out_at = job.dout_at = view(s.heads, s.queries, s.width, o.as_layer);
    job.causal = o.causal, job.diagonal = o.diagonal;
    job.scale = 1 / sqrt(double(s.depth)), job.dropout = o.dropout, job.seed = 12345, job.offset = 77;
    job.mask_boolean = o.mask == BOOLEAN || o.mask == BOOLEAN_ROWS;
    if (o.mask == NO_MASK) return job;
    job.mask = job.mask_boolean ? static_cast<const void*>(from.keep.data()) : from.mask.data();
    job.mask_col = 1;
    if (o.mask == BOOLEAN_ROWS) job.mask_row = s.keys, job.mask_batch = s.queries * s.keys;
    if (o.mask == NUMBERS) job.mask_row = s.keys, job.mask_head = s.queries * s.keys;
    return job;
}

// log(sum(exp(scores))) of each row, from its peak to the base 2 and its sum.
template <class T> static Values<T> log_sum_exp(const Values<T>& stats) {
    Values<T> lse(stats.size() / 2);
    for (size_t row = 0; row < lse.size(); row++)
        lse[row] = T((double(stats[2 * row]) + log2(double(stats[2 * row + 1]))) * M_LN2);
    return lse;
}

template <class T> static Outputs<T> there_and_back(const Heads& s, const Options& o, const HeadArrays<T>& from) {
    Attention job = job_of(s, o, from);
    const auto like = [](const Values<T>& x) { return unwritten<T>(i64(x.size())); };
    Values<T> out = like(from.dout), stats = unwritten<T>(2 * s.rows()), dq = like(from.q), dk = like(from.k), dv = like(from.v);
    job.out = out.data(), job.stats = stats.data();
    expect(run_attention(DTYPE<T>, job), "attention");
    job.dout = from.dout.data();
    job.dq = dq.data(), job.dk = dk.data(), job.dv = dv.data();
    expect(run_attention_backward(DTYPE<T>, job), "attention_backward");
    return {{"out", out, 128}, {"log-sum-exp", log_sum_exp(stats), 64}, {"dq", dq, 256, 1}, {"dk", dk, 256, 1}, {"dv", dv, 256}};
}

static const Heads HEADS[] = {
    {1, 1, 1, 1, 1, 1, 1},   {1, 2, 1, 1, 7, 5, 3},     {2, 2, 1, 1, 33, 16, 17},  {1, 4, 4, 1, 300, 8, 8},   // few
    {1, 2, 2, 2, 70, 9, 12}, {1, 1, 1, 3, 257, 4, 33},  {1, 1, 1, 4, 600, 6, 5},   {2, 1, 1, 4, 5, 40, 64},
    {1, 1, 1, 5, 3, 2, 1},   {2, 3, 1, 9, 9, 7, 5},     {1, 4, 2, 8, 31, 17, 16},  {2, 2, 1, 17, 16, 33, 9},  // many
    {1, 2, 1, 33, 65, 8, 20}, {1, 1, 1, 130, 70, 5, 6}, {1, 6, 3, 12, 130, 12, 7}, {1, 2, 1, 5, 515, 4, 9},
    {1, 1, 1, 7, 1100, 3, 4}, {1, 1, 1, 300, 20, 4, 4},
};

template <class T> void attention() {
    for (const Heads& s : HEADS) {
        const HeadArrays<T> from(s);
        const Options all[] = {
            {NO_MASK, false, false, 0, 0},   {NO_MASK, true, true, s.keys - s.queries, 0}, {NO_MASK, true, false, -2, 0},
            {BOOLEAN, false, true, 0, 0.25}, {BOOLEAN_ROWS, true, false, s.keys / 2, 0},   {NUMBERS, false, true, 0, 0},
            {NO_MASK, false, true, 0, 0.5},
        };
        for (const Options& o : all)
            check<T>("attention of " + by(s.batch, s.heads, s.queries, s.depth) + " to " + by(s.keys, s.width) + " group " +
                         by(s.group) + o.name(),
                     [&] { return there_and_back(s, o, from); });
    }
}

template void attention<float>();
template void attention<double>();

}  // namespace driver
}  // namespace fastnn
