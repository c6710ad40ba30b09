// Which way a convolution goes: the one that costs least by a count of multiplications, in units of one multiplication
// of the tile.
#include "conv.h"

#include "kernels.h"

namespace fastnn {
namespace FASTNN_ISA {

static double direct_cost(const Conv& job) {
    return 9.0 * double(job.batch * job.oh * job.ow) * double(job.c) * double(job.f);
}

// Products, transforms (about 300 cycles for a vector of a tile's 36 points, whose channels are counted in whole
// vectors), and the weight's own transform.
static double whole(i64 channels) { return double(ceil_div(channels, LANES<float>) * LANES<float>); }

static double winograd_cost(const Conv& job, int m) {
    const bool turned = job.pass == CONV_INPUT;
    const double points = (m + 2) * (m + 2), c = double(job.c), f = double(job.f);
    const double tiles =
        double(job.batch * ceil_div(turned ? job.h : job.oh, m) * ceil_div(turned ? job.w : job.ow, m));
    const double weight = job.pass == CONV_WEIGHT ? 4 : job.kept ? 0.0 : 4;
    return tiles * points * (c * f * 1.1 + 8.5 * (whole(job.c) + whole(job.f))) + weight * points * c * f;
}

template <class T> static int choose_way(const Conv& job) {
    if (is_depthwise(job)) return CONV_DEPTHWISE;
    const bool fits = sizeof(T) == 4 && !job.strict && job.kh == 3 && job.kw == 3 && job.stride_h == 1 &&
                      job.stride_w == 1 && job.dilation_h == 1 && job.dilation_w == 1 && job.groups == 1;
    if (!fits) return CONV_DIRECT;
    const double direct = direct_cost(job), two = winograd_cost(job, 2), four = winograd_cost(job, 4);
    if (direct <= two && direct <= four) return CONV_DIRECT;
    return two < four ? CONV_WINOGRAD2 : CONV_WINOGRAD4;
}

template <class T> void conv_plan(Conv& job) {
    const int way = choose_way<T>(job);
    if (way == CONV_WINOGRAD4) winograd_plan_any<float, 4>(job);
    else if (way == CONV_WINOGRAD2) winograd_plan_any<float, 2>(job);
    else if (way == CONV_DEPTHWISE) depthwise_plan<T>(job);
    else job.pass == CONV_WEIGHT ? weight_plan<T>(job) : direct_plan<T>(job);
}

template <class T> void conv_stage(Conv& job) {
    if (job.way == CONV_WINOGRAD4) winograd_stage_any<float, 4>(job);
    else if (job.way == CONV_WINOGRAD2) winograd_stage_any<float, 2>(job);
    else if (job.way == CONV_DEPTHWISE) depthwise_stage<T>(job);
    else job.pass == CONV_WEIGHT ? weight_stage<T>(job) : direct_stage<T>(job);
}

template <class T> void conv(const Conv& job, i64 begin, i64 end) {
    if (job.way == CONV_WINOGRAD4) winograd<float, 4>(job, begin, end);
    else if (job.way == CONV_WINOGRAD2) winograd<float, 2>(job, begin, end);
    else if (job.way == CONV_DEPTHWISE) depthwise<T>(job, begin, end);
    else job.pass == CONV_WEIGHT ? weight<T>(job, begin, end) : direct<T>(job, begin, end);
}

template void conv_plan<float>(Conv&);
template void conv_plan<double>(Conv&);
template void conv_stage<float>(Conv&);
template void conv_stage<double>(Conv&);
template void conv<float>(const Conv&, i64, i64);
template void conv<double>(const Conv&, i64, i64);

}  // namespace FASTNN_ISA
}  // namespace fastnn
