// Reductions, softmax and its relatives, cross-entropy, embedding.
#include "driver.h"

namespace fastnn {
namespace driver {

static const i64 SIZES[] = {1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 33, 64, 67, 130};

template <class T> static Values<T> reduced(int op, const Values<T>& x, i64 n, i64 inner) {
    const i64 outer = i64(x.size()) / (n * inner);
    Values<T> out = unwritten<T>(outer * inner);
    expect(run_reduce(DTYPE<T>, op, {out.data(), x.data(), outer, n, inner, 0.5}), "reduce");
    return out;
}

template <class T> void reductions() {
    static const char* const NAMES[] = {"sum", "sum_squares", "max", "min", "prod"};
    static_assert(sizeof NAMES / sizeof NAMES[0] == REDUCTIONS, "a Reduction has no name");
    const auto all = [&](i64 outer, i64 n, i64 inner) {
        const Values<T> x = numbers<T>(outer * n * inner, 0.9, 1.1);
        check<T>("reductions of " + by(outer, n, inner), [&] {
            Outputs<T> out;
            for (int op = 0; op < REDUCTIONS; op++) out.push_back({NAMES[op], reduced(op, x, n, inner), double(8 + n)});
            return out;
        });
    };
    for (i64 n : SIZES)
        for (i64 inner : {1, 3, 16, 33}) all(5, n, inner);
    all(1, 70001, 1);  // in parts
    all(2, 3001, 31);
    all(1, 3, 5003);
}

template <class T> void rows() {
    for (i64 cols : SIZES) {
        const i64 size = 3 * cols;
        const Values<T> x = numbers<T>(size, -6, 6), dy = numbers<T>(size);
        check<T>("rows of " + by(cols), [&] {
            const Kernels& k = kernels<T>();
            Values<T> y = unwritten<T>(size), log_y = y, dx = y, log_dx = y;
            run_items(k.softmax, {y.data(), x.data(), nullptr, cols}, 3);
            run_items(k.log_softmax, {log_y.data(), x.data(), nullptr, cols}, 3);
            run_items(k.softmax_backward, {dx.data(), y.data(), dy.data(), cols}, 3);
            run_items(k.log_softmax_backward, {log_dx.data(), log_y.data(), dy.data(), cols}, 3);
            return Outputs<T>{{"softmax", y, 32},
                              {"log_softmax", log_y, 32},
                              {"softmax_backward", dx, 64 + double(cols)},
                              {"log_softmax_backward", log_dx, 64 + double(cols)}};
        });
    }
}

template <class T> static Outputs<T> cross_entropy(CrossEntropy job, i64 rows) {
    Values<T> loss = unwritten<T>(rows), lse = loss, dx = unwritten<T>(rows * job.cols);
    job.loss = loss.data(), job.lse = lse.data(), job.dx = dx.data();
    run_items(kernels<T>().cross_entropy, job, rows);
    run_items(kernels<T>().cross_entropy_backward, job, rows);
    return {{"loss", loss, 64}, {"log-sum-exp", lse, 16}, {"dx", dx, 64, 1}};
}

template <class T> void losses() {
    for (i64 cols : SIZES)
        for (double smoothing : {0.0, 0.1})
            for (bool weighted : {false, true}) {
                const Values<T> x = numbers<T>(3 * cols, -6, 6), w = numbers<T>(cols, 0.5, 1.5), dloss = numbers<T>(3);
                const Values<i64> target = {0, -100, cols - 1};
                CrossEntropy job = {};
                job.dloss = dloss.data(), job.dloss_stride = weighted ? 1 : 0;
                job.x = x.data(), job.target = target.data(), job.weight = given(weighted, w);
                job.cols = cols, job.ignore_index = -100, job.label_smoothing = smoothing;
                check<T>("cross-entropy of " + by(cols), [&] { return cross_entropy<T>(job, 3); });
            }
}

// ---- embedding ----

// Who reads row 0, who reads row 1, ...
struct Readers {
    Values<i64> first, list;
    Readers(const Values<i64>& index, i64 words) : first(words + 1) {
        for (i64 v = 0; v < words; v++) {
            for (size_t i = 0; i < index.size(); i++)
                if (index[i] == v) list.push_back(i64(i));
            first[v + 1] = i64(list.size());
        }
        list.shrink_to_fit();
    }
};

template <class T> void embedding() {
    constexpr i64 N = 37;
    for (i64 cols : SIZES)
        for (i64 words : {1, 2, 5, 40}) {
            Values<i64> index(N);
            for (i64& i : index) i = whole_number(0, words - 1);
            const Readers readers(index, words);
            const Values<T> table = numbers<T>(words * cols), dy = numbers<T>(N * cols);
            check<T>("embedding of " + by(words, cols), [&] {
                const Kernels& k = kernels<T>();
                Values<T> y = unwritten<T>(N * cols), dtable = unwritten<T>(words * cols);
                const Embedding forward = {y.data(), table.data(), index.data(), nullptr, nullptr, cols, -1};
                const Embedding backward = {dtable.data(), dy.data(), nullptr, readers.first.data(), readers.list.data(),
                                            cols, words / 2};
                run_items(k.embedding, forward, N);
                run_items(k.embedding_backward, backward, words);
                return Outputs<T>{{"y", y, 0}, {"dtable", dtable, double(16 + N)}};
            });
        }
}

template void reductions<float>();
template void reductions<double>();
template void rows<float>();
template void rows<double>();
template void losses<float>();
template void losses<double>();
template void embedding<float>();
template void embedding<double>();

}  // namespace driver
}  // namespace fastnn
