// CTC loss and its gradient, over texts of all lengths and some that do not fit their frames.
#include "driver.h"

namespace fastnn {
namespace driver {

template <class T> struct Texts {
    i64 frames, batch, classes, blank, longest = 0;
    Values<T> x, dloss;
    Values<i64> targets, starts, lengths;

    // Texts of up to `letters` letters; every third letter is that before it, and one text has no frames.
    Texts(i64 frames, i64 batch, i64 classes, i64 letters, i64 blank)
        : frames(frames), batch(batch), classes(classes), blank(blank), starts(batch + 1), lengths(batch) {
        x = numbers<T>(frames * batch * classes, -3, 3);
        dloss = numbers<T>(batch, 0.5, 2);
        for (i64 row = 0; row < frames * batch; row++) {
            double sum = 0;
            for (i64 c = 0; c < classes; c++) sum += exp(double(x[row * classes + c]));
            for (i64 c = 0; c < classes; c++) x[row * classes + c] = T(double(x[row * classes + c]) - log(sum));
        }
        for (i64 n = 0; n < batch; n++) {
            const i64 count = letters - n * letters / batch;
            longest = count > longest ? count : longest;
            lengths[n] = n == 4 ? 0 : frames - n % 3;
            for (i64 i = 0; i < count; i++) targets.push_back(i % 3 == 2 ? targets.back() : letter());
            starts[n + 1] = i64(targets.size());
        }
        targets.shrink_to_fit();
    }
    i64 letter() const {
        const i64 c = whole_number(0, classes - 2);
        return c < blank ? c : c + 1;
    }
};

template <class T> static Outputs<T> loss_and_gradient(const Texts<T>& of, bool zero_infinity) {
    Values<T> loss = unwritten<T>(of.batch), alpha = unwritten<T>(of.batch * of.frames * 2 * (of.longest + 1));
    Values<T> dx = unwritten<T>(i64(of.x.size())), scratch = unwritten<T>(of.batch * ctc_scratch(of.longest));
    Ctc job = {};
    job.loss = loss.data(), job.alpha = alpha.data(), job.dx = dx.data(), job.scratch = scratch.data();
    job.x = of.x.data(), job.dloss = of.dloss.data(), job.dloss_stride = zero_infinity ? 0 : 1;
    job.targets = of.targets.data(), job.starts = of.starts.data(), job.lengths = of.lengths.data();
    job.frames = of.frames, job.batch = of.batch, job.classes = of.classes, job.blank = of.blank;
    job.longest = of.longest, job.zero_infinity = zero_infinity;
    run_items(kernels<T>().ctc, job, of.batch);
    run_items(kernels<T>().ctc_backward, job, of.batch);
    return {{"loss", loss, 64}, {"dx", dx, 1000, 1}};  // the reference's sums in T, of many frames, have their error
}

template <class T> void ctc() {
    for (i64 letters : {0, 1, 2, 3, 4, 5, 7, 8, 9, 15, 17, 33})
        for (i64 batch : {1, 5})
            for (i64 classes : {2, 5, 11, 34}) {
                const Texts<T> of(letters + letters / 3 + 6, batch, classes, letters, letters % classes);
                for (bool zero_infinity : {false, true})
                    check<T>("ctc of " + by(batch, classes) + " with " + by(letters) + " letters",
                             [&] { return loss_and_gradient(of, zero_infinity); });
            }
    check<T>("ctc of texts that do not fit", [of = Texts<T>(3, 7, 4, 9, 0)] { return loss_and_gradient(of, false); });
    check<T>("ctc of texts that do not fit", [of = Texts<T>(3, 7, 4, 9, 0)] { return loss_and_gradient(of, true); });
}

template void ctc<float>();
template void ctc<double>();

}  // namespace driver
}  // namespace fastnn
