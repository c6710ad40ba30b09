// Convolution by its definition. An item is one element of out.
#include "reference.h"

namespace fastnn {
namespace reference {

// A place of the weight meets output p at input p stride - pad + k dilation.
struct Axis {
    i64 in, out, kernel, stride, pad, dilation;
    i64 input(i64 p, i64 k) const { return p * stride - pad + k * dilation; }
    // The output that place k brings input i to; -1 for none.
    i64 output(i64 i, i64 k) const {
        const i64 at = i + pad - k * dilation;
        return at < 0 || at % stride || at / stride >= out ? -1 : at / stride;
    }
};

struct Geometry {
    const Conv& job;
    Axis y, x;
    i64 group_c, group_f;
    explicit Geometry(const Conv& j)
        : job(j),
          y{j.h, j.oh, j.kh, j.stride_h, j.pad_h, j.dilation_h},
          x{j.w, j.ow, j.kw, j.stride_w, j.pad_w, j.dilation_w},
          group_c(j.c / j.groups),
          group_f(j.f / j.groups) {}
    bool inside(i64 iy, i64 ix) const { return iy >= 0 && iy < job.h && ix >= 0 && ix < job.w; }
    i64 weight(i64 f, i64 c, i64 ky, i64 kx) const { return ((f * group_c + c) * job.kh + ky) * job.kw + kx; }
};

template <class T> static double forward(const Geometry& g, i64 b, i64 p, i64 q, i64 f) {
    const Conv& job = g.job;
    const T *x = (const T*)job.x, *weight = (const T*)job.weight;
    double sum = 0;
    for (i64 ky = 0; ky < job.kh; ky++)
        for (i64 kx = 0; kx < job.kw; kx++) {
            const i64 iy = g.y.input(p, ky), ix = g.x.input(q, kx);
            if (!g.inside(iy, ix)) continue;
            for (i64 c = 0; c < g.group_c; c++)
                sum += double(x[((b * job.h + iy) * job.w + ix) * job.c + f / g.group_f * g.group_c + c]) *
                       double(weight[g.weight(f, c, ky, kx)]);
        }
    return sum;
}

template <class T> static double input_gradient(const Geometry& g, i64 b, i64 iy, i64 ix, i64 c) {
    const Conv& job = g.job;
    const T *dy = (const T*)job.dy, *weight = (const T*)job.weight;
    const i64 first = c / g.group_c * g.group_f;
    double sum = 0;
    for (i64 ky = 0; ky < job.kh; ky++)
        for (i64 kx = 0; kx < job.kw; kx++) {
            const i64 p = g.y.output(iy, ky), q = g.x.output(ix, kx);
            if (p < 0 || q < 0) continue;
            for (i64 f = first; f < first + g.group_f; f++)
                sum += double(dy[((b * job.oh + p) * job.ow + q) * job.f + f]) *
                       double(weight[g.weight(f, c % g.group_c, ky, kx)]);
        }
    return sum;
}

template <class T> static double weight_gradient(const Geometry& g, i64 f, i64 c, i64 ky, i64 kx) {
    const Conv& job = g.job;
    const T *x = (const T*)job.x, *dy = (const T*)job.dy;
    double sum = 0;
    for (i64 b = 0; b < job.batch; b++)
        for (i64 p = 0; p < job.oh; p++)
            for (i64 q = 0; q < job.ow; q++) {
                const i64 iy = g.y.input(p, ky), ix = g.x.input(q, kx);
                if (!g.inside(iy, ix)) continue;
                sum += double(x[((b * job.h + iy) * job.w + ix) * job.c + f / g.group_f * g.group_c + c]) *
                       double(dy[((b * job.oh + p) * job.ow + q) * job.f + f]);
            }
    return sum;
}

void conv_plan(Conv& job) {
    job.way = 0;
    job.pool = false;
    job.stages = 2;  // the first prepares nothing
    job.prepared_size = job.scratch_size = job.slot_size = 0;
}

void conv_stage(Conv& job) {
    const i64 group_c = job.c / job.groups, group_f = job.f / job.groups;
    const i64 size = job.pass == CONV_FORWARD ? job.batch * job.oh * job.ow * job.f
                     : job.pass == CONV_INPUT ? job.batch * job.h * job.w * job.c
                                              : job.f * group_c * job.kh * job.kw;
    const i64 terms = job.pass == CONV_FORWARD ? job.kh * job.kw * group_c
                      : job.pass == CONV_INPUT ? job.kh * job.kw * group_f
                                               : job.batch * job.oh * job.ow;
    job.items = job.stage == 0 ? 0 : size;
    job.item_flops = 100.0 * double(terms);  // plain loops are that much slower
}

template <class T> void conv(const Conv& job, i64 begin, i64 end) {
    const Geometry g(job);
    const i64 dims[3][3] = {{job.oh, job.ow, job.f}, {job.h, job.w, job.c}, {g.group_c, job.kh, job.kw}};
    const i64* n = dims[job.pass];
    for (i64 i = begin; i < end; i++) {
        const i64 d3 = i % n[2], d2 = i / n[2] % n[1], d1 = i / n[2] / n[1] % n[0], d0 = i / n[2] / n[1] / n[0];
        double v = job.pass == CONV_FORWARD ? forward<T>(g, d0, d1, d2, d3)
                   : job.pass == CONV_INPUT ? input_gradient<T>(g, d0, d1, d2, d3)
                                            : weight_gradient<T>(g, d0, d1, d2, d3);
        if (job.pass != CONV_WEIGHT) {
            if (job.bias) v += double(((const T*)job.bias)[d3]);
            if (job.residual) v += double(((const T*)job.residual)[i]);
            if (job.activation != COPY && v <= 0) v = 0;
            if (job.activation == RELU6 && v > 6) v = 6;
        }
        ((T*)job.out)[i] = T(v);
    }
}

template void conv<float>(const Conv&, i64, i64);
template void conv<double>(const Conv&, i64, i64);

}  // namespace reference
}  // namespace fastnn
