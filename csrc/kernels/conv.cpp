// Which way a convolution goes: the one that costs least by a count of multiplications, in units of one multiplication
// of the tile.
#include "conv_direct.h"

#include "kernels.h"
#include "winograd_tiles.h"

namespace fastnn {
namespace FASTNN_ISA {

// An element of the weight, which streams by, comes from L3 in the time of about 4 multiplications (60 GB/s against 50 G/s),
// from memory of about 12; L3 can be counted on for 8 MB.
static double fetch(double elements) { return elements * sizeof(float) >= double(8 << 20) ? 12 : 4; }

// Products of n numbers with each of `elements` of the weight.
static double products(double elements, double n) { return elements * (n > fetch(elements) ? n : fetch(elements)); }

// The weight in the form a way wants it, made or read back: about 0.3 ns an element.
static double make(double elements) { return elements * (10 + fetch(elements)); }

// Outputs along an axis of one phase, summed over the places of the kernel, whose input lies in the image.
static double inside(const Axis& axis) {
    double sum = 0;
    for (i64 k = 0; k < axis.kernel; k++) {
        const i64 first = axis.first_inside(0, k), end = axis.end_inside(0, k);
        sum += end > first ? double(end - first) : 0;
    }
    return sum;
}

static double direct_cost(const Conv& job) {
    const double places = double(job.kh * job.kw), weight = places * double(job.c) * double(job.f);
    const Walk walk(job);
    const bool taps = job.pass != CONV_WEIGHT && tap_by_tap(walk);  // these leave out what lies outside
    const double pixels = taps ? inside(walk.y) * inside(walk.x) / places : double(job.oh * job.ow);
    const double extra = job.pass == CONV_WEIGHT ? 40 : 8;  // the sums of a weight gradient go to memory and back
    return products(weight, double(job.batch) * pixels) + (job.kept ? 0 : make(weight) + extra * weight);
}

// Products, transforms (about 300 cycles for a vector of a tile's 36 points, whose channels are counted in whole
// vectors), and the weight's own transform.
static double whole(i64 channels) { return double(ceil_div(channels, LANES<float>) * LANES<float>); }

// A few tiles of a weight gradient: products of rows, and 18 sums to turn to nine numbers.
static double rows_cost(const Conv& job, i64 points) {
    const Walk walk(job);
    return double(job.c) * double(job.f) * (1.1 * double(job.batch) * inside(walk.y) * double(points) + 80);
}

template <class A> static double winograd_cost(const Conv& job) {
    const bool turned = job.pass == CONV_INPUT;
    const bool parts = has_parts<A>(job);
    const Along<A> down(turned ? job.h : job.oh, parts), across(turned ? job.w : job.ow, parts);
    const double points = A::N * A::N, c = double(job.c), f = double(job.f), batch = double(job.batch);
    const double tiles = batch * double(down.tiles() * across.tiles());
    const double u = points * c * f, transforms = points * 8.5 * tiles * (whole(job.c) + whole(job.f));
    const double n = 1.1 * batch * double(down.points() * across.points()) / points;  // products with an element of U
    if (tiles <= BY_ROWS && job.pass == CONV_WEIGHT && A::M == 4) return rows_cost(job, across.points());
    if (tiles <= SOME && job.pass != CONV_WEIGHT && !job.kept && A::K == 3)
        return transforms + 15 * 9 * c * f + u * (5.5 + (tiles < 4 ? 4 : n));
    return transforms + products(u, n) + (job.kept ? 0 : make(u));
}

// Of stride 2: 25 products with 16 forms of the weight for 2 x 2 outputs.
static double strided_cost(const Conv& job) {
    const double tiles = double(job.batch * ceil_div(job.oh, 2) * ceil_div(job.ow, 2));
    const double u = 16.0 * double(job.c) * double(job.f);
    return 25 * 8.5 * tiles * (whole(job.c) + whole(job.f)) + products(u, 1.1 * tiles * 25 / 16) + (job.kept ? 0 : make(u));
}

// 7 x 7 of stride 2: a 4 x 4 kernel, of four times the channels.
static double pairs_cost(const Conv& job) {
    const double tiles = double(job.batch * ceil_div(job.oh, 3) * ceil_div(job.ow, 3));
    const double u = 36.0 * 4 * double(job.c) * double(job.f);
    return 36 * 8.5 * tiles * (2 * whole(2 * job.c) + whole(job.f)) + products(u, 1.1 * tiles) + (job.kept ? 0 : 2 * make(u));
}

// Of three channels: some 140 cycles for a vector of a tile's filters, and 120 for its pixels.
static double rgb_cost(const Conv& job) {
    const double tiles = double(job.batch * ceil_div(job.oh, 4) * ceil_div(job.ow, 4));
    return tiles * (280 * whole(job.f) + 240 * LANES<float>) + (job.kept ? 0 : make(36.0 * 3 * double(job.f)));
}

// Where the definition sums few products at a time, the gradients of 5 x 5 places would err by more than six times what it does:
// to the input tap by tap by 7.5, to the weight of 200 tiles by 6.6, of 400 by 5.7.
constexpr i64 LEAST_TILES = 512;
static bool errs_5x5(const Conv& job) {
    return job.pass == CONV_INPUT ? tap_by_tap(Walk(job))
                                  : job.pass == CONV_WEIGHT && Tiling<float, Winograd<2, 5>>(job).tiles < LEAST_TILES;
}

template <class T> static int choose_way(const Conv& job) {
    if (is_depthwise(job)) return CONV_DEPTHWISE;
    const i64 k = job.kh, stride = job.stride_h;
    const bool fits = sizeof(T) == 4 && !job.strict && job.kw == k && job.stride_w == stride && job.dilation_h == 1 &&
                      job.dilation_w == 1 && job.groups == 1;
    const bool three = k == 3 && (stride == 1 || (stride == 2 && job.pass == CONV_FORWARD));
    const bool five = k == 5 && stride == 1 && !errs_5x5(job);
    const bool seven = k == 7 && stride == 2 && job.pass == CONV_FORWARD && job.h % 2 == 0 && job.w % 2 == 0;
    if (!fits || !(three || five || seven)) return CONV_DIRECT;
    // Who asks for the pool was told that there is one, perhaps of a weight that was not kept: tap by tap there is none.
    const double direct = job.pool && tap_by_tap(Walk(job)) ? double(INFINITY) : direct_cost(job);
    if (five) return direct <= winograd_cost<Winograd<2, 5>>(job) ? CONV_DIRECT : CONV_WINOGRAD5X5;
    if (seven) return direct <= pairs_cost(job) ? CONV_DIRECT : CONV_WINOGRAD_PAIRS;
    if (stride == 2) return direct <= strided_cost(job) ? CONV_DIRECT : CONV_WINOGRAD_STRIDED;
    if (job.c == 3 && job.pass == CONV_FORWARD) return direct <= rgb_cost(job) ? CONV_DIRECT : CONV_WINOGRAD_RGB;
    const double two = winograd_cost<Winograd<2>>(job), four = winograd_cost<Winograd<4>>(job);
    if (direct <= two && direct <= four) return CONV_DIRECT;
    if (two < four) return CONV_WINOGRAD2;
    return job.pass == CONV_WEIGHT && Tiling<T, Winograd<4>>(job).tiles <= BY_ROWS ? CONV_WINOGRAD_ROWS : CONV_WINOGRAD4;
}

// The functions of one way: each plans, says the items of a stage, and computes some.
struct Way {
    void (*plan)(Conv&);
    void (*stage)(Conv&);
    void (*run)(const Conv&, i64, i64);
};
template <class A> static Way winograd_way() { return {winograd_plan<float, A>, winograd_stage<float, A>, winograd<float, A>}; }
template <class A> static Way winograd_way(bool weight_gradient) {
    if (!weight_gradient) return winograd_way<A>();
    return {winograd_weight_plan<float, A>, winograd_weight_stage<float, A>, winograd_weight<float, A>};
}
template <class T> static Way way_of(const Conv& job, int way) {
    if (way == CONV_WINOGRAD4) return winograd_way<Winograd<4>>(job.pass == CONV_WEIGHT);
    if (way == CONV_WINOGRAD2) return winograd_way<Winograd<2>>(job.pass == CONV_WEIGHT);
    if (way == CONV_WINOGRAD5X5) return winograd_way<Winograd<2, 5>>(job.pass == CONV_WEIGHT);
    if (way == CONV_WINOGRAD_ROWS) return {winograd_rows_plan<float>, winograd_rows_stage<float>, winograd_rows<float>};
    if (way == CONV_WINOGRAD_RGB) return {winograd_rgb_plan<float>, winograd_rgb_stage<float>, winograd_rgb<float>};
    if (way == CONV_WINOGRAD_PAIRS) return winograd_way<Pairs<Winograd<3, 4>>>();
    if (way == CONV_WINOGRAD_STRIDED) return winograd_way<Winograd<2, 3, 2>>();
    if (way == CONV_DEPTHWISE && job.pass == CONV_WEIGHT)
        return {depthwise_weight_plan<T>, depthwise_weight_stage<T>, depthwise_weight<T>};
    if (way == CONV_DEPTHWISE) return {depthwise_plan<T>, depthwise_stage<T>, depthwise<T>};
    if (job.pass == CONV_WEIGHT) return {weight_plan<T>, weight_stage<T>, weight<T>};
    return {direct_plan<T>, direct_stage<T>, direct<T>};
}

template <class T> void conv_plan(Conv& job) {
    job.way = choose_way<T>(job);
    way_of<T>(job, job.way).plan(job);
    constexpr i64 LINE = 64 / sizeof(T);  // lists of i64 lie in the scratch, and two threads should not write one line
    job.scratch_size = ceil_div(job.scratch_size, LINE) * LINE;
    job.slot_size = ceil_div(job.slot_size, LINE) * LINE;
}
template <class T> void conv_stage(Conv& job) { way_of<T>(job, job.way).stage(job); }
template <class T> void conv(const Conv& job, i64 begin, i64 end) { way_of<T>(job, job.way).run(job, begin, end); }

template void conv_plan<float>(Conv&);
template void conv_plan<double>(Conv&);
template void conv_stage<float>(Conv&);
template void conv_stage<double>(Conv&);
template void conv<float>(const Conv&, i64, i64);
template void conv<double>(const Conv&, i64, i64);

}  // namespace FASTNN_ISA
}  // namespace fastnn
