// One step of an optimizer on lists of arrays, in place, in one call for all of them.
#include <algorithm>
#include <vector>

#include "bind.h"

namespace fastnn {
namespace bind {

// The arrays of one step. Every list holds as many as `params`, each of its parameter's shape.
struct Step {
    explicit Step(const char* function) : who(function) {}

    const char* who;
    std::vector<Array> arrays;  // keeps all of them alive
    std::vector<i64> start{0};
    std::vector<std::vector<void*>> pointers;
    Optimize job = {};

    void** add(const char* name, py::handle list);  // the first is the parameters
    void** optional(const char* name, py::handle list) { return list.is_none() ? nullptr : add(name, list); }
    void refuse_overlap() const;
    void check(i64 step) const;
    void run(KernelOf<Optimize> Kernels::* kernel);
};

void** Step::add(const char* name, py::handle list) {
    const bool is_params = pointers.empty();
    if (!PyList_Check(list.ptr()) && !PyTuple_Check(list.ptr()))
        refuse(PyExc_TypeError, "%s: %s is %s; expected a list of arrays", who, name, Py_TYPE(list.ptr())->tp_name);
    const py::object items = py::reinterpret_steal<py::object>(PySequence_Fast(list.ptr(), ""));
    const i64 count = PySequence_Fast_GET_SIZE(items.ptr()), tensors = i64(start.size()) - 1;
    if (!is_params && count != tensors)
        refuse(PyExc_ValueError, "%s: %s has %zd arrays, params has %zd", who, name, Py_ssize_t(count),
               Py_ssize_t(tensors));
    std::vector<void*> data;
    for (i64 t = 0; t < count; t++) {
        const py::handle item = PySequence_Fast_GET_ITEM(items.ptr(), t);
        arrays.push_back(in_place(who, name, item, arrays.empty() ? nullptr : &arrays[0]));
        const Array &x = arrays.back(), &p = arrays[t];
        if (is_params) start.push_back(start.back() + x.size());
        if (x.ndim() != p.ndim() || !std::equal(x.shape(), x.shape() + x.ndim(), p.shape()))
            refuse(PyExc_ValueError, "%s: %s[%zd] is %s, params[%zd] is %s; expected equal shapes", who, name,
                   Py_ssize_t(t), shape_text(x).c_str(), Py_ssize_t(t), shape_text(p).c_str());
        data.push_back(x.data());
    }
    pointers.push_back(std::move(data));
    return pointers.back().data();
}

void Step::refuse_overlap() const {
    std::vector<Extent> all;
    for (const Array& x : arrays)
        if (x.size()) all.push_back(extent(x));
    std::sort(all.begin(), all.end(), [](const Extent& a, const Extent& b) { return a.begin < b.begin; });
    for (size_t i = 1; i < all.size(); i++)
        if (all[i].begin < all[i - 1].end) refuse(PyExc_ValueError, "%s: two of the arrays share memory", who);
}

void Step::check(i64 step) const {
    if (step < 1) refuse(PyExc_ValueError, "%s: step is %zd; the first is 1", who, Py_ssize_t(step));
    refuse_overlap();
}

void Step::run(KernelOf<Optimize> Kernels::* kernel) {
    if (arrays.empty()) return;
    job.tensors = i64(start.size()) - 1;
    job.start = start.data();
    bind::run(runtime().table[arrays[0].dtype()]->*kernel, job, start.back(), 1.0);
}

static void sgd(py::handle params, py::handle grads, py::handle m, i64 step, double lr, double momentum,
                double dampening, bool nesterov, double weight_decay, double grad_scale, bool zero_grad) {
    Step s("sgd");
    s.job.p = s.add("params", params);
    s.job.grad = s.add("grads", grads);
    s.job.m = s.optional("m", m);
    s.check(step);
    if (momentum != 0 && !s.job.m) refuse(PyExc_ValueError, "sgd: momentum needs m");
    s.job.step = step;
    s.job.lr = lr;
    s.job.momentum = momentum;
    s.job.dampening = dampening;
    s.job.nesterov = nesterov;
    s.job.weight_decay = weight_decay;
    s.job.grad_scale = grad_scale;
    s.job.zero_grad = zero_grad;
    s.run(&Kernels::sgd);
}

static void adam(py::handle params, py::handle grads, py::handle m, py::handle v, py::handle most, i64 step, double lr,
                 double beta1, double beta2, double eps, double weight_decay, bool decoupled, double grad_scale,
                 bool zero_grad) {
    Step s("adam");
    s.job.p = s.add("params", params);
    s.job.grad = s.add("grads", grads);
    s.job.m = s.add("m", m);
    s.job.v = s.add("v", v);
    s.job.most = s.optional("most", most);
    s.check(step);
    s.job.step = step;
    s.job.lr = lr;
    s.job.beta1 = beta1;
    s.job.beta2 = beta2;
    s.job.eps = eps;
    s.job.weight_decay = weight_decay;
    s.job.decoupled = decoupled;
    s.job.grad_scale = grad_scale;
    s.job.zero_grad = zero_grad;
    s.run(&Kernels::adam);
}

static void rmsprop(py::handle params, py::handle grads, py::handle v, py::handle m, py::handle mean, i64 step,
                    double lr, double alpha, double eps, double momentum, double weight_decay, double grad_scale,
                    bool zero_grad) {
    Step s("rmsprop");
    s.job.p = s.add("params", params);
    s.job.grad = s.add("grads", grads);
    s.job.v = s.add("v", v);
    s.job.m = s.optional("m", m);
    s.job.mean = s.optional("mean", mean);
    s.check(step);
    if (momentum != 0 && !s.job.m) refuse(PyExc_ValueError, "rmsprop: momentum needs m");
    s.job.step = step;
    s.job.lr = lr;
    s.job.beta2 = alpha;
    s.job.eps = eps;
    s.job.momentum = momentum;
    s.job.weight_decay = weight_decay;
    s.job.grad_scale = grad_scale;
    s.job.zero_grad = zero_grad;
    s.run(&Kernels::rmsprop);
}

void bind_optimizers(py::module_& m) {
    m.def("sgd", sgd, py::arg("params"), py::arg("grads"), py::arg("m") = py::none(), py::kw_only(), py::arg("step"),
          py::arg("lr"), py::arg("momentum") = 0.0, py::arg("dampening") = 0.0, py::arg("nesterov") = false,
          py::arg("weight_decay") = 0.0, py::arg("grad_scale") = 1.0, py::arg("zero_grad") = false);
    m.def("adam", adam, py::arg("params"), py::arg("grads"), py::arg("m"), py::arg("v"), py::arg("most") = py::none(),
          py::kw_only(), py::arg("step"), py::arg("lr"), py::arg("beta1") = 0.9, py::arg("beta2") = 0.999,
          py::arg("eps") = 1e-8, py::arg("weight_decay") = 0.0, py::arg("decoupled") = false,
          py::arg("grad_scale") = 1.0, py::arg("zero_grad") = false);
    m.def("rmsprop", rmsprop, py::arg("params"), py::arg("grads"), py::arg("v"), py::arg("m") = py::none(),
          py::arg("mean") = py::none(), py::kw_only(), py::arg("step"), py::arg("lr"), py::arg("alpha") = 0.99,
          py::arg("eps") = 1e-8, py::arg("momentum") = 0.0, py::arg("weight_decay") = 0.0, py::arg("grad_scale") = 1.0,
          py::arg("zero_grad") = false);
}

}  // namespace bind
}  // namespace fastnn
