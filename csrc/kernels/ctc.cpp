// CTC loss (Graves et al., 2006): the probability of a text, summed over all its alignments to the frames, in log space.
// A state is a letter of the text or one of the blanks around the letters; a path stays, goes on by one, or passes over the
// blank between two different letters. Letters and blanks lie apart in a row, so that neighbours are neighbouring lanes:
//
//     row of alpha (width = 2 (L + 1)):   -inf  l0  l1 ... l(L-1) | b0  b1  b2 ... bL         path: b0 l0 b1 l1 b2 ... bL
//     l'(i) = x[letter i] + log(e^l(i) + e^b(i) + e^l(i - 1)),  the last only where letter i is not letter i - 1
//     b'(i) = x[blank]    + log(e^b(i) + e^l(i - 1))
//
// Each frame's row is taken relative to the largest of the row before, and what was taken away is summed in double: float keeps
// its digits where the sums would reach -1000. The gradient needs only ratios within a frame, which the shift leaves alone.
#include "kernels.h"
#include "rows.h"

namespace fastnn {
namespace FASTNN_ISA {

template <class T> constexpr T MINUS_INF = -T(__builtin_inf());

// log(e^a + e^b + e^c), -inf where all are; NaN where one is. What is 87 below the largest counts for nothing in float.
template <class T> INLINE Vec<T> share(Vec<T> x, Vec<T> top) { return exp_moderate(max<T>(splat<T>(T(-87)), x - top)); }
template <> INLINE Vec<double> share<double>(Vec<double> x, Vec<double> top) { return exp_negative(x - top); }
template <class T> INLINE Vec<T> log_add(Vec<T> a, Vec<T> b, Vec<T> c) {
    const Vec<T> none = splat<T>(MINUS_INF<T>), top = max<T>(max<T>(a, b), c);
    const IVec<T> nothing = top == none;
    const Vec<T> shift = select<T>(nothing, Vec<T>{}, top);
    const Vec<T> sum = share<T>(a, shift) + share<T>(b, shift) + share<T>(c, shift);
    return select<T>(nothing & (a == none) & (b == none) & (c == none), none, shift + log(sum));
}
template <class T> INLINE Vec<T> log_add(Vec<T> a, Vec<T> b) {
    const Vec<T> none = splat<T>(MINUS_INF<T>), top = max<T>(a, b);
    const IVec<T> nothing = top == none;
    const Vec<T> shift = select<T>(nothing, Vec<T>{}, top);
    return select<T>(nothing & (a == none) & (b == none), none, shift + log(share<T>(a, shift) + share<T>(b, shift)));
}
template <class T> INLINE T log_add(T a, T b) { return log_add<T>(splat<T>(a), splat<T>(b))[0]; }

// One item of the batch: its frames, its letters, its scratch of ctc_scratch(longest) elements.
template <class T> struct CtcItem {
    const Ctc& job;
    i64 n, length, letters, half;  // half = longest + 1, the blanks of a row
    const i64* text;
    T *pass, *said, *now, *next;   // pass: 0 or -inf, to letter i from letter i - 1; said: x of the letters at this frame

    CtcItem(const Ctc& job, i64 n)
        : job(job), n(n), length(job.lengths[n]), letters(job.starts[n + 1] - job.starts[n]), half(job.longest + 1),
          text(job.targets + job.starts[n]) {
        pass = static_cast<T*>(job.scratch) + n * ctc_scratch(job.longest);
        said = pass + half;
        now = said + half;
        next = now + 2 * half;
        for (i64 i = 0; i < letters; i++) pass[i] = i && text[i] != text[i - 1] ? T(0) : MINUS_INF<T>;
    }
    const T* frame(i64 t) const { return static_cast<const T*>(job.x) + (t * job.batch + n) * job.classes; }
    T* alpha(i64 t) const { return static_cast<T*>(job.alpha) + (n * job.frames + t) * 2 * half; }
    void hear(i64 t) {
        const T* x = frame(t);
        for (i64 i = 0; i < letters; i++) said[i] = x[text[i]];
    }
};

template <class T> static T shift_of(T top) { return top == MINUS_INF<T> ? T(0) : top; }
template <class T> static T pair_max(const T* letters, const T* blanks, i64 n) {
    const T a = row_max(letters, n), b = row_max(blanks, n + 1);
    return a > b ? a : b;
}

// alpha of the first frame: the text begins with its first letter or the blank before it.
template <class T> static void begin_row(CtcItem<T>& item) {
    T* row = item.alpha(0);
    for (i64 i = 0; i < 2 * item.half; i++) row[i] = MINUS_INF<T>;
    row[item.half] = item.frame(0)[item.job.blank];
    if (item.letters) row[1] = item.frame(0)[item.text[0]];
}

template <class T> static T forward_item(CtcItem<T>& item) {
    const i64 L = item.letters, half = item.half;
    if (item.length == 0) return L ? -MINUS_INF<T> : T(0);
    begin_row(item);
    double shifted = 0;
    for (i64 t = 1; t < item.length; t++) {
        const T *from = item.alpha(t - 1), *letter = from + 1, *blank = from + half;
        T* to = item.alpha(t);
        const T away = shift_of(pair_max<T>(letter, blank, L));
        shifted += double(away);
        item.hear(t);
        to[0] = MINUS_INF<T>;
        const Vec<T> less = splat<T>(away), silent = splat<T>(item.frame(t)[item.job.blank] - away);
        for_vectors<T>(L, [&](i64 i, int n) {
            const Vec<T> before = load_n(letter + i - 1, n) + load_n(item.pass + i, n);
            const Vec<T> sum = log_add<T>(load_n(letter + i, n), load_n(blank + i, n), before);
            store_n(to + 1 + i, sum + (load_n(item.said + i, n) - less), n);
        });
        for_vectors<T>(L + 1, [&](i64 i, int n) {
            store_n(to + half + i, log_add<T>(load_n(blank + i, n), load_n(letter + i - 1, n)) + silent, n);
        });
    }
    const T* last = item.alpha(item.length - 1);
    return T(-(shifted + double(log_add<T>(last[L], last[half + L]))));
}

template <class T> void ctc(const Ctc& job, i64 begin, i64 end) {
    for (i64 n = begin; n < end; n++) {
        CtcItem<T> item(job, n);
        static_cast<T*>(job.loss)[n] = forward_item(item);
    }
}

// ---- backward ----

// beta: what the frames after t add, from a state at t: (letters and -inf behind them; blanks). In `now`; one step back in time
// to `next`, the frame's x at t + 1 being `said`.
//   b(i) = log(e^(b'(i) + blank) + e^(l'(i) + x i))
//   l(i) = log(e^(l'(i) + x i) + e^(b'(i + 1) + blank) + e^(l'(i + 1) + x(i + 1) + pass(i + 1)))
template <class T> static void step_back(CtcItem<T>& item, i64 t) {
    const i64 L = item.letters, half = item.half;
    item.hear(t + 1);
    T *letter = item.now, *blank = letter + half, *to = item.next;
    const T away = shift_of(pair_max<T>(letter, blank, L));
    const Vec<T> less = splat<T>(away), silent = splat<T>(item.frame(t + 1)[item.job.blank] - away);
    for_vectors<T>(L, [&](i64 i, int n) { store_n(letter + i, load_n(letter + i, n) + (load_n(item.said + i, n) - less), n); });
    for_vectors<T>(L + 1, [&](i64 i, int n) { store_n(blank + i, load_n(blank + i, n) + silent, n); });
    for_vectors<T>(L, [&](i64 i, int n) {
        const Vec<T> after = load_n(letter + i + 1, n) + load_n(item.pass + i + 1, n);
        store_n(to + i, log_add<T>(load_n(letter + i, n), load_n(blank + i + 1, n), after), n);
    });
    to[L] = MINUS_INF<T>;
    for_vectors<T>(L + 1, [&](i64 i, int n) {
        store_n(to + half + i, log_add<T>(load_n(blank + i, n), load_n(letter + i, n)), n);
    });
    T* other = item.now;
    item.now = item.next;
    item.next = other;
}

// dx of one frame: dloss * (e^x - the share of the paths that say this letter now). Uses `next` and `said` as scratch.
template <class T> static void frame_gradient(CtcItem<T>& item, i64 t, T dloss, T* dx) {
    const i64 L = item.letters, half = item.half, classes = item.job.classes;
    const T *row = item.alpha(t), *letter = item.now, *blank = letter + half;
    T *letter_share = item.next, *blank_share = item.next + half;
    for_vectors<T>(L, [&](i64 i, int n) { store_n(letter_share + i, load_n(row + 1 + i, n) + load_n(letter + i, n), n); });
    for_vectors<T>(L + 1, [&](i64 i, int n) { store_n(blank_share + i, load_n(row + half + i, n) + load_n(blank + i, n), n); });
    const Vec<T> top = splat<T>(pair_max<T>(letter_share, blank_share, L));
    const T of_letters = sum_over<T>(L, [&](i64 i, int n) {
        const Vec<T> e = exp_negative(load_n(letter_share + i, n) - top);
        store_n(letter_share + i, e, n);
        return e;
    });
    const T of_blanks = sum_over<T>(L + 1, [&](i64 i, int n) { return exp_negative(load_n(blank_share + i, n) - top); });
    const T scale = dloss / (of_letters + of_blanks);
    const T* x = item.frame(t);
    for_vectors<T>(classes, [&](i64 i, int n) { store_n(dx + i, exp(load_n(x + i, n)) * splat<T>(dloss), n); });
    dx[item.job.blank] -= scale * of_blanks;
    for (i64 i = 0; i < L; i++) dx[item.text[i]] -= scale * letter_share[i];
}

template <class T> static void fill(T* p, i64 n, T value) {
    for_vectors<T>(n, [&](i64 i, int count) { store_n(p + i, splat<T>(value), count); });
}

template <class T> static void backward_item(CtcItem<T>& item) {
    const Ctc& job = item.job;
    const i64 n = item.n, L = item.letters, half = item.half;
    T* dx = static_cast<T*>(job.dx) + n * job.classes;
    const i64 row = job.batch * job.classes;
    const T dloss = static_cast<const T*>(job.dloss)[n * job.dloss_stride], loss = static_cast<const T*>(job.loss)[n];
    const bool endless = loss == -MINUS_INF<T>, dropped = endless && job.zero_infinity;
    const i64 used = dropped ? 0 : item.length;
    for (i64 t = used; t < job.frames; t++) fill<T>(dx + t * row, job.classes, T(0));
    if (endless || loss != loss) {  // no path, no gradient: NaN, as in PyTorch
        for (i64 t = 0; t < used; t++) fill<T>(dx + t * row, job.classes, T(__builtin_nan("")));
        return;
    }
    item.pass[L] = MINUS_INF<T>;
    fill<T>(item.now, 2 * half, MINUS_INF<T>);
    if (L) item.now[L - 1] = 0;
    item.now[half + L] = 0;
    for (i64 t = used - 1; t >= 0; t--) {
        if (t < used - 1) step_back(item, t);
        frame_gradient(item, t, dloss, dx + t * row);
    }
}

template <class T> void ctc_backward(const Ctc& job, i64 begin, i64 end) {
    for (i64 n = begin; n < end; n++) {
        CtcItem<T> item(job, n);
        backward_item(item);
    }
}

#define INSTANTIATE(kernel)                             \
    template void kernel<float>(const Ctc&, i64, i64); \
    template void kernel<double>(const Ctc&, i64, i64);
INSTANTIATE(ctc)
INSTANTIATE(ctc_backward)

}  // namespace FASTNN_ISA
}  // namespace fastnn
