// Pooling and resampling of images (N, C, H, W), channels-last in memory.
#include <algorithm>
#include <utility>

#include "bind_images.h"
#include "windows.h"

namespace fastnn {
namespace bind {

constexpr double TAP = 0.1, MIX = 0.3;  // nanoseconds a tap of a channel, and a mixed output, about

typedef std::pair<i64, i64> Pair;  // rows, columns

struct Geometry {
    Pair kernel, stride, padding, dilation;
    bool ceil_mode;
};

static std::string text(const Pair& p) { return "(" + std::to_string(p.first) + ", " + std::to_string(p.second) + ")"; }

static i64 at_least_one(i64 n) { return n ? n : 1; }

// The job of a pool with these windows, or these adaptive outputs, over images of h x w.
static Pooling planned(const char* who, const Geometry& g, i64 h, i64 w) {
    Pooling job = {};
    job.rows = {h, 0, g.kernel.first, g.stride.first, g.padding.first, g.dilation.first};
    job.cols = {w, 0, g.kernel.second, g.stride.second, g.padding.second, g.dilation.second};
    if (const char* wrong = plan_pool(job, g.ceil_mode))
        refuse(PyExc_ValueError, "%s: %s; kernel_size is %s, stride %s, padding %s, dilation %s, the images %s", who, wrong,
               text(g.kernel).c_str(), text(g.stride).c_str(), text(g.padding).c_str(), text(g.dilation).c_str(),
               text({h, w}).c_str());
    return job;
}

static Pooling planned_adaptive(const char* who, const Pair& out, i64 h, i64 w) {
    Pooling job = {};
    job.rows.size = h;
    job.cols.size = w;
    job.rows.out = out.first;
    job.cols.out = out.second;
    if (const char* wrong = plan_adaptive_pool(job))
        refuse(PyExc_ValueError, "%s: %s; output_size is %s, the images %s", who, wrong, text(out).c_str(),
               text({h, w}).c_str());
    return job;
}

// ---- taps ----

static int tap_type(const Pooling& job) { return byte_taps(job) ? NPY_UINT8 : NPY_INT32; }

// An array of integers (N, C, H, W) laid out as new_images has it.
static py::object new_taps(const Pooling& job, const npy_intp* shape) {
    const npy_intp size = byte_taps(job) ? 1 : 4;
    npy_intp strides[4] = {0, size, 0, 0};
    strides[3] = size * at_least_one(shape[1]);
    strides[2] = strides[3] * at_least_one(shape[3]);
    strides[0] = strides[2] * at_least_one(shape[2]);
    PyObject* fresh = PyArray_New(&PyArray_Type, 4, const_cast<npy_intp*>(shape), tap_type(job), strides, nullptr, 0,
                                  NPY_ARRAY_F_CONTIGUOUS, nullptr);
    if (!fresh) throw py::error_already_set();
    return py::reinterpret_steal<py::object>(fresh);
}

static void* tap_data(const py::object& taps) { return PyArray_DATA(reinterpret_cast<PyArrayObject*>(taps.ptr())); }

static py::object taps_input(const char* who, py::handle taps_in, const Pooling& job, const npy_intp* shape) {
    if (!PyArray_Check(taps_in.ptr()) || PyArray_TYPE(reinterpret_cast<PyArrayObject*>(taps_in.ptr())) != tap_type(job))
        refuse(PyExc_TypeError, "%s: taps must be a NumPy array of %s, as max_pool2d returned it", who,
               byte_taps(job) ? "uint8" : "int32");
    PyArrayObject* given = reinterpret_cast<PyArrayObject*>(taps_in.ptr());
    if (PyArray_NDIM(given) != 4 || !std::equal(shape, shape + 4, PyArray_DIMS(given)))
        refuse(PyExc_ValueError, "%s: taps is %s; expected %s", who,
               shape_text(PyArray_NDIM(given), PyArray_DIMS(given)).c_str(), shape_text(4, shape).c_str());
    py::object taps = new_taps(job, shape);
    if (PyArray_CopyInto(reinterpret_cast<PyArrayObject*>(taps.ptr()), given) < 0) throw py::error_already_set();
    return taps;
}

// ---- pools ----

static double window_cost(const Pooling& job) {  // of one row of y
    const double taps = double(std::min(job.rows.kernel, job.rows.size)) * double(std::min(job.cols.kernel, job.cols.size));
    return TAP * (taps + 2) * double(job.cols.out) * double(job.channels);
}

static Array forward(Pooling& job, KernelOf<Pooling> Kernels::* kernel, const Array& x) {
    const npy_intp shape[4] = {x.shape(0), x.shape(1), job.rows.out, job.cols.out};
    const Array y = new_images(x.dtype(), 4, shape);
    job.images = shape[0];
    job.channels = shape[1];
    job.out = y.data();
    job.in = x.data();
    if (y.size()) run(runtime().table[x.dtype()]->*kernel, job, job.images * job.rows.out, window_cost(job));
    return y;
}

static Array backward(const char* who, Pooling& job, KernelOf<Pooling> Kernels::* kernel, const Array& dy) {
    if (dy.shape(2) != job.rows.out || dy.shape(3) != job.cols.out)
        refuse(PyExc_ValueError, "%s: dy is %s; the windows make %s of the images %s", who, shape_text(dy).c_str(),
               text({job.rows.out, job.cols.out}).c_str(), text({job.rows.size, job.cols.size}).c_str());
    const npy_intp shape[4] = {dy.shape(0), dy.shape(1), job.rows.size, job.cols.size};
    const Array dx = new_images(dy.dtype(), 4, shape);
    job.images = shape[0];
    job.channels = shape[1];
    job.out = dx.data();
    job.in = dy.data();
    const double cost = window_cost(job) * double(job.rows.out) / double(job.rows.size);
    if (dx.size()) run(runtime().table[dy.dtype()]->*kernel, job, job.images * job.rows.size, cost);
    return dx;
}

static py::tuple max_forward(Pooling& job, const Array& x) {
    const npy_intp shape[4] = {x.shape(0), x.shape(1), job.rows.out, job.cols.out};
    const py::object taps = new_taps(job, shape);
    job.tap = tap_data(taps);
    return py::make_tuple(forward(job, &Kernels::max_pool, x).object(), taps);
}

static py::object max_backward(const char* who, Pooling& job, py::handle dy_in, py::handle taps_in) {
    const Array dy = images_input(who, "dy", dy_in, 4);
    const py::object taps = taps_input(who, taps_in, job, dy.shape());
    job.tap = tap_data(taps);
    return backward(who, job, &Kernels::max_pool_backward, dy).object();
}

static py::tuple max_pool2d(py::handle x_in, const Pair& kernel, const Pair& stride, const Pair& padding,
                            const Pair& dilation, bool ceil_mode) {
    const Array x = images_input("max_pool2d", "x", x_in, 4);
    Pooling job = planned("max_pool2d", {kernel, stride, padding, dilation, ceil_mode}, x.shape(2), x.shape(3));
    return max_forward(job, x);
}

static py::object max_pool2d_backward(py::handle dy, py::handle taps, const Pair& size, const Pair& kernel, const Pair& stride,
                                      const Pair& padding, const Pair& dilation, bool ceil_mode) {
    constexpr const char* who = "max_pool2d_backward";
    Pooling job = planned(who, {kernel, stride, padding, dilation, ceil_mode}, size.first, size.second);
    return max_backward(who, job, dy, taps);
}

static py::object max_pool2d_pick(py::handle x_in, py::handle taps_in, const Pair& kernel, const Pair& stride,
                                  const Pair& padding, const Pair& dilation, bool ceil_mode) {
    constexpr const char* who = "max_pool2d_pick";
    const Array x = images_input(who, "x", x_in, 4);
    Pooling job = planned(who, {kernel, stride, padding, dilation, ceil_mode}, x.shape(2), x.shape(3));
    const npy_intp shape[4] = {x.shape(0), x.shape(1), job.rows.out, job.cols.out};
    const py::object taps = taps_input(who, taps_in, job, shape);
    job.tap = tap_data(taps);
    return forward(job, &Kernels::max_pool_pick, x).object();
}

static void set_divisor(const char* who, Pooling& job, bool count_include_pad, i64 divisor_override) {
    job.count_include_pad = count_include_pad;
    job.divisor = divisor_override;
    if (divisor_override < -MOST_PIXELS || divisor_override > MOST_PIXELS)
        refuse(PyExc_ValueError, "%s: divisor_override is %lld; expected less than 2**31", who,
               static_cast<long long>(divisor_override));
}

static py::object avg_pool2d(py::handle x_in, const Pair& kernel, const Pair& stride, const Pair& padding, bool ceil_mode,
                             bool count_include_pad, i64 divisor_override) {
    const Array x = images_input("avg_pool2d", "x", x_in, 4);
    Pooling job = planned("avg_pool2d", {kernel, stride, padding, {1, 1}, ceil_mode}, x.shape(2), x.shape(3));
    set_divisor("avg_pool2d", job, count_include_pad, divisor_override);
    return forward(job, &Kernels::avg_pool, x).object();
}

static py::object avg_pool2d_backward(py::handle dy_in, const Pair& size, const Pair& kernel, const Pair& stride,
                                      const Pair& padding, bool ceil_mode, bool count_include_pad, i64 divisor_override) {
    constexpr const char* who = "avg_pool2d_backward";
    Pooling job = planned(who, {kernel, stride, padding, {1, 1}, ceil_mode}, size.first, size.second);
    set_divisor(who, job, count_include_pad, divisor_override);
    return backward(who, job, &Kernels::avg_pool_backward, images_input(who, "dy", dy_in, 4)).object();
}

static py::tuple adaptive_max_pool2d(py::handle x_in, const Pair& out) {
    const Array x = images_input("adaptive_max_pool2d", "x", x_in, 4);
    Pooling job = planned_adaptive("adaptive_max_pool2d", out, x.shape(2), x.shape(3));
    return max_forward(job, x);
}

static py::object adaptive_max_pool2d_backward(py::handle dy_in, py::handle taps, const Pair& size) {
    constexpr const char* who = "adaptive_max_pool2d_backward";
    const Array dy = images_input(who, "dy", dy_in, 4);
    Pooling job = planned_adaptive(who, {dy.shape(2), dy.shape(3)}, size.first, size.second);
    return max_backward(who, job, dy.object(), taps);
}

static py::object adaptive_avg_pool2d(py::handle x_in, const Pair& out) {
    const Array x = images_input("adaptive_avg_pool2d", "x", x_in, 4);
    Pooling job = planned_adaptive("adaptive_avg_pool2d", out, x.shape(2), x.shape(3));
    return forward(job, &Kernels::avg_pool, x).object();
}

static py::object adaptive_avg_pool2d_backward(py::handle dy_in, const Pair& size) {
    constexpr const char* who = "adaptive_avg_pool2d_backward";
    const Array dy = images_input(who, "dy", dy_in, 4);
    Pooling job = planned_adaptive(who, {dy.shape(2), dy.shape(3)}, size.first, size.second);
    return backward(who, job, &Kernels::avg_pool_backward, dy).object();
}

// ---- resampling ----

static int sampling(const char* who, const std::string& mode, bool align_corners) {
    if (mode == "bilinear") return align_corners ? LINEAR_CORNERS : LINEAR;
    if (mode == "nearest") return NEAREST;
    if (mode == "nearest-exact") return NEAREST_EXACT;
    refuse(PyExc_ValueError, "%s: mode is '%s'; expected 'nearest', 'nearest-exact' or 'bilinear'", who, mode.c_str());
}

// x (N, C, *from) is taken to (N, C, *to), or, with `back`, dy (N, C, *to) to (N, C, *from).
static py::object resampled(const char* who, const Array& in, const Pair& from, const Pair& to, int how,
                            bool back) {
    for (i64 n : {from.first, from.second, to.first, to.second})
        if (n < 1 || n > MOST_PIXELS)
            refuse(PyExc_ValueError, "%s: images of %s to %s; expected sizes of 1 to 2**31 - 1", who, text(from).c_str(),
                   text(to).c_str());
    const Pair& size = back ? from : to;
    const npy_intp shape[4] = {in.shape(0), in.shape(1), size.first, size.second};
    const Array out = new_images(in.dtype(), 4, shape);
    ResizeTables row_tables, col_tables;
    Resize job = {out.data(), in.data(), shape[0], shape[1], {from.first, to.first, nullptr, nullptr, nullptr},
                  {from.second, to.second, nullptr, nullptr, nullptr}};
    if (!plan_resize(job.rows, in.dtype(), how, 0, row_tables) || !plan_resize(job.cols, in.dtype(), how, 0, col_tables))
        refuse(PyExc_MemoryError, "%s: no memory for the places of %s to %s", who, text(from).c_str(), text(to).c_str());
    const Kernels& k = *runtime().table[in.dtype()];
    const double cost = MIX * double(std::max(from.second, to.second)) * double(shape[1]);
    if (out.size()) run(back ? k.resize_backward : k.resize, job, shape[0] * size.first, cost);
    return out.object();
}

static py::object resize(py::handle x_in, const Pair& size, const std::string& mode, bool align_corners) {
    const int how = sampling("resize", mode, align_corners);
    const Array x = images_input("resize", "x", x_in, 4);
    return resampled("resize", x, {x.shape(2), x.shape(3)}, size, how, false);
}

static py::object resize_backward(py::handle dy_in, const Pair& size, const std::string& mode, bool align_corners) {
    const int how = sampling("resize_backward", mode, align_corners);
    const Array dy = images_input("resize_backward", "dy", dy_in, 4);
    return resampled("resize_backward", dy, size, {dy.shape(2), dy.shape(3)}, how, true);
}

// ---- the module ----

void bind_pool(py::module_& m) {
    m.def("max_pool2d", max_pool2d);
    m.def("max_pool2d_backward", max_pool2d_backward);
    m.def("max_pool2d_pick", max_pool2d_pick);
    m.def("avg_pool2d", avg_pool2d);
    m.def("avg_pool2d_backward", avg_pool2d_backward);
    m.def("adaptive_max_pool2d", adaptive_max_pool2d);
    m.def("adaptive_max_pool2d_backward", adaptive_max_pool2d_backward);
    m.def("adaptive_avg_pool2d", adaptive_avg_pool2d);
    m.def("adaptive_avg_pool2d_backward", adaptive_avg_pool2d_backward);
    m.def("resize", resize);
    m.def("resize_backward", resize_backward);
}

}  // namespace bind
}  // namespace fastnn
