// CTC loss.
#include <algorithm>
#include <vector>

#include "bind.h"

namespace fastnn {
namespace bind {

struct CtcArrays {
    Array x, targets, lengths, target_lengths;
    std::vector<i64> starts;
    Array scratch;
    Ctc job = {};
    npy_intp alpha[3] = {0, 0, 0};  // its shape
    double cost = 0;                // nanoseconds of an item, about
};

static Array checked_lengths(const char* who, const char* name, py::handle given, i64 batch, i64 most,
                             const char* of_what) {
    const Array lengths = integers(who, name, given);
    if (lengths.ndim() != 1 || lengths.shape(0) != batch)
        refuse(PyExc_ValueError, "%s: %s is %s; expected (%zd,), one for each of the batch", who, name,
               shape_text(lengths).c_str(), Py_ssize_t(batch));
    const i64* length = static_cast<const i64*>(lengths.data());
    for (i64 n = 0; n < batch; n++)
        if (length[n] < 0 || length[n] > most)
            refuse(PyExc_ValueError, "%s: %s[%zd] is %zd; expected 0 to %zd, the %s", who, name, Py_ssize_t(n),
                   Py_ssize_t(length[n]), Py_ssize_t(most), of_what);
    return lengths;
}

static void check_letters(const char* who, const i64* letters, i64 count, i64 classes, i64 blank) {
    for (i64 i = 0; i < count; i++) {
        if (letters[i] < 0 || letters[i] >= classes)
            refuse(PyExc_ValueError, "%s: targets has %zd; expected classes from 0 to %zd", who, Py_ssize_t(letters[i]),
                   Py_ssize_t(classes - 1));
        if (letters[i] == blank)
            refuse(PyExc_ValueError, "%s: targets has %zd, which is the blank; expected other classes", who,
                   Py_ssize_t(blank));
    }
}

static CtcArrays checked_ctc(const char* who, py::handle x_in, py::handle targets, py::handle lengths,
                             py::handle target_lengths, i64 blank) {
    CtcArrays of;
    of.x = dense_input(who, "log_probs", x_in);
    if (of.x.ndim() != 3)
        refuse(PyExc_ValueError, "%s: log_probs is %s; expected (T, N, C)", who, shape_text(of.x).c_str());
    Ctc& job = of.job;
    job.frames = of.x.shape(0), job.batch = of.x.shape(1), job.classes = of.x.shape(2);
    if (blank < 0 || blank >= job.classes)
        refuse(PyExc_ValueError, "%s: blank is %zd; expected one of the %zd classes", who, Py_ssize_t(blank),
               Py_ssize_t(job.classes));
    of.lengths = checked_lengths(who, "input_lengths", lengths, job.batch, job.frames, "frames of log_probs");
    of.targets = integers(who, "targets", targets);
    if (of.targets.ndim() != 1)
        refuse(PyExc_ValueError, "%s: targets is %s; expected all texts one after the other", who,
               shape_text(of.targets).c_str());
    of.target_lengths =
        checked_lengths(who, "target_lengths", target_lengths, job.batch, of.targets.size(), "letters of targets");
    of.starts.assign(size_t(job.batch) + 1, 0);
    const i64* letters = static_cast<const i64*>(of.target_lengths.data());
    for (i64 n = 0; n < job.batch; n++) {
        of.starts[size_t(n) + 1] = of.starts[size_t(n)] + letters[n];
        job.longest = std::max(job.longest, letters[n]);
        if (of.starts[size_t(n) + 1] > of.targets.size()) break;
    }
    if (of.starts.back() != of.targets.size())
        refuse(PyExc_ValueError, "%s: targets has %zd letters; expected as many as target_lengths has in all", who,
               Py_ssize_t(of.targets.size()));
    check_letters(who, static_cast<const i64*>(of.targets.data()), of.targets.size(), job.classes, blank);
    job.blank = blank;
    job.x = of.x.data();
    job.targets = static_cast<const i64*>(of.targets.data());
    job.starts = of.starts.data();
    job.lengths = static_cast<const i64*>(of.lengths.data());
    const npy_intp scratch = job.batch * ctc_scratch(job.longest);
    of.scratch = empty(of.x.dtype(), 1, &scratch);
    job.scratch = of.scratch.data();
    of.alpha[0] = job.batch, of.alpha[1] = job.frames, of.alpha[2] = 2 * (job.longest + 1);
    of.cost = double(job.frames) * (0.5 * double(job.classes) + 8.0 * double(job.longest + 1));
    return of;
}

static py::tuple ctc(py::handle x, py::handle targets, py::handle lengths, py::handle target_lengths, i64 blank) {
    CtcArrays of = checked_ctc("ctc_loss", x, targets, lengths, target_lengths, blank);
    const npy_intp batch = of.job.batch;
    const Array loss = empty(of.x.dtype(), 1, &batch), alpha = empty(of.x.dtype(), 3, of.alpha);
    of.job.loss = loss.data();
    of.job.alpha = alpha.data();
    run(runtime().table[of.x.dtype()]->ctc, of.job, batch, of.cost);
    return py::make_tuple(loss.object(), alpha.object());
}

static py::object ctc_backward(py::handle dloss_in, py::handle loss_in, py::handle alpha_in, py::handle x,
                               py::handle targets, py::handle lengths, py::handle target_lengths, i64 blank,
                               bool zero_infinity) {
    constexpr const char* who = "ctc_backward";
    CtcArrays of = checked_ctc(who, x, targets, lengths, target_lengths, blank);
    const i64 batch = of.job.batch;
    const Array dloss = dense_input(who, "dloss", dloss_in, &of.x), loss = dense_input(who, "loss", loss_in, &of.x),
                alpha = dense_input(who, "alpha", alpha_in, &of.x);
    if (loss.ndim() != 1 || loss.shape(0) != batch || dloss.ndim() > 1 || (dloss.size() != 1 && dloss.size() != batch))
        refuse(PyExc_ValueError, "%s: loss is %s, dloss %s; expected (%zd,) each, or () for dloss", who,
               shape_text(loss).c_str(), shape_text(dloss).c_str(), Py_ssize_t(batch));
    if (alpha.ndim() != 3 || !std::equal(of.alpha, of.alpha + 3, alpha.shape()))
        refuse(PyExc_ValueError, "%s: alpha is %s; expected %s", who, shape_text(alpha).c_str(),
               shape_text(3, of.alpha).c_str());
    const Array dx = empty(of.x.dtype(), 3, of.x.shape());
    of.job.loss = loss.data();
    of.job.alpha = alpha.data();
    of.job.dloss = dloss.data();
    of.job.dloss_stride = dloss.size() == 1 ? 0 : 1;
    of.job.dx = dx.data();
    of.job.zero_infinity = zero_infinity;
    run(runtime().table[of.x.dtype()]->ctc_backward, of.job, batch, 2 * of.cost);
    return dx.object();
}

void bind_ctc(py::module_& m) {
    m.def("ctc", ctc, py::arg("log_probs"), py::arg("targets"), py::arg("input_lengths"), py::arg("target_lengths"),
          py::arg("blank") = 0);
    m.def("ctc_backward", ctc_backward, py::arg("dloss"), py::arg("loss"), py::arg("alpha"), py::arg("log_probs"),
          py::arg("targets"), py::arg("input_lengths"), py::arg("target_lengths"), py::arg("blank") = 0,
          py::arg("zero_infinity") = false);
}

}  // namespace bind
}  // namespace fastnn
