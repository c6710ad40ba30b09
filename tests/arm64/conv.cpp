// Convolution: the three passes by every way. Whole numbers and `strict` are exact; Winograd's way has a bound.
#include "driver.h"

namespace fastnn {
namespace driver {

struct Geometry {
    i64 batch, h, w, c, f, kh, kw, stride_h, stride_w, pad_h, pad_w, dilation_h, dilation_w, groups;
    i64 cut_h = 0, cut_w = 0;  // less padding at the far end; less than 0: more

    std::string name() const {
        return by(batch, h, w, c) + " to " + by(f, kh, kw) + " stride " + by(stride_h, stride_w) + " pad " + by(pad_h, pad_w) +
               " cut " + by(cut_h, cut_w) + " dilation " + by(dilation_h, dilation_w) + " groups " + by(groups);
    }
    static i64 reach(i64 kernel, i64 dilation) { return (kernel - 1) * dilation + 1; }
    Conv job() const {
        Conv job = {};
        job.batch = batch, job.h = h, job.w = w, job.c = c, job.f = f, job.groups = groups, job.kh = kh, job.kw = kw;
        job.stride_h = stride_h, job.stride_w = stride_w, job.pad_h = pad_h, job.pad_w = pad_w;
        job.dilation_h = dilation_h, job.dilation_w = dilation_w;
        job.oh = (h + 2 * pad_h - cut_h - reach(kh, dilation_h)) / stride_h + 1;
        job.ow = (w + 2 * pad_w - cut_w - reach(kw, dilation_w)) / stride_w + 1;
        return job;
    }
};

// ---- one pass ---------------------------------------------------------------------------------------------------

constexpr int PASSES = 3;
static bool ways_seen[DTYPES][PASSES][CONV_WAYS];

template <class T> struct Arrays {
    Values<T> x, dy, weight, bias_f, bias_c;
    template <class Make> Arrays(const Conv& job, Make make)
        : x(make(job.batch * job.h * job.w * job.c)),
          dy(make(job.batch * job.oh * job.ow * job.f)),
          weight(make(job.f * (job.c / job.groups) * job.kh * job.kw)),
          bias_f(make(job.f)),
          bias_c(make(job.c)) {}
};

template <class T> static void run_into(Values<T>& out, Conv& job, void* const* kept, void*& made) {
    job.out = out.data();
    expect(run_conv(DTYPE<T>, job, kept, made), "conv");
    if (current_isa() == &under_test()) ways_seen[DTYPE<T>][job.pass][job.way] = true;
}

// A pass that writes images runs twice: the second time with the weight that the first one prepared.
template <class T> static void add_pass(Outputs<T>& out, Conv job, int pass, const Arrays<T>& from, bool finish, double units) {
    static const char* const NAMES[PASSES] = {"y", "dx", "dw"};
    static const char* const AGAIN[PASSES] = {"y of a prepared weight", "dx of a prepared weight"};
    const i64 sizes[PASSES] = {i64(from.dy.size()), i64(from.x.size()), i64(from.weight.size())};
    job.pass = pass;
    job.x = from.x.data(), job.dy = from.dy.data(), job.weight = from.weight.data();
    job.bias = pass == CONV_WEIGHT ? nullptr : given(finish, pass == CONV_FORWARD ? from.bias_f : from.bias_c);
    if (finish && pass != CONV_WEIGHT) job.activation = job.strict ? RELU : RELU6;
    const bool depthwise = job.groups > 1 && job.groups == job.c && job.groups == job.f;
    job.residual = given(finish && pass == CONV_FORWARD && !depthwise, from.dy);  // as large as y
    job.kept = !finish && pass != CONV_WEIGHT;
    void *kept[CONV_WAYS] = {}, *made = nullptr, *none = nullptr;
    Values<T> result = unwritten<T>(sizes[pass]);
    run_into(result, job, job.kept ? kept : nullptr, made);
    out.push_back({NAMES[pass], result, units});
    if (job.kept && made) {
        kept[job.way] = made;
        result = unwritten<T>(sizes[pass]);
        run_into(result, job, kept, none);
    }
    if (job.kept) out.push_back({AGAIN[pass], result, units});
    release(made);
    release(none);
}

template <class T> static void check_passes(const Geometry& g, const Arrays<T>& from, bool strict, double units) {
    for (bool finish : {false, true})  // finish: bias, a sum and ReLU or ReLU6
        check<T>((finish ? "finished conv " : "conv ") + g.name(), [&] {
            Conv job = g.job();
            job.strict = strict;
            Outputs<T> out;
            for (int pass = 0; pass < PASSES; pass++)
                if (!finish || pass != CONV_WEIGHT) add_pass(out, job, pass, from, finish, units);
            return out;
        });
}

static void expect_way(DType dtype, int pass, ConvWay way) {
    if (!ways_seen[dtype][pass][way])
        fail("no case of pass " + std::to_string(pass) + " goes by way " + std::to_string(way));
}
static void expect_ways(DType dtype, std::initializer_list<ConvWay> ways) {
    for (int pass = 0; pass < PASSES; pass++)
        for (ConvWay way : ways) expect_way(dtype, pass, way);
}

// ---- by the definition ------------------------------------------------------------------------------------------

static const Geometry GEOMETRIES[] = {
    {1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 1, 1, 1},
    {2, 5, 4, 3, 4, 5, 4, 1, 1, 0, 0, 1, 1, 1},           // the kernel is the image
    {1, 1, 1, 2, 3, 3, 3, 1, 1, 1, 1, 1, 1, 1},           // one pixel
    {2, 7, 6, 5, 3, 1, 1, 1, 1, 0, 0, 1, 1, 1},           // a product
    {3, 9, 11, 33, 40, 1, 1, 1, 1, 0, 0, 1, 1, 1},
    {2, 7, 6, 5, 3, 1, 1, 2, 3, 0, 0, 1, 1, 1},
    {1, 6, 7, 4, 4, 3, 3, 2, 2, 1, 2, 1, 1, 1, 1, -1},    // asymmetric
    {1, 9, 8, 3, 5, 3, 3, 1, 1, -1, -2, 1, 1, 1},         // the image is cut
    {1, 9, 7, 4, 6, 3, 2, 1, 2, 2, 3, 2, 3, 2},
    {1, 30, 31, 3, 2, 11, 7, 4, 3, 2, 5, 1, 1, 1},
    {1, 4, 5, 2, 3, 2, 2, 5, 4, 1, 1, 1, 1, 1},           // strides beyond the kernel
    {2, 9, 8, 1, 16, 3, 3, 1, 1, 1, 1, 1, 1, 1},
    {1, 28, 28, 32, 72, 3, 3, 2, 2, 1, 1, 1, 1, 1},       // several blocks of rows, parts, chunks
    {1, 7, 7, 3, 6, 3, 3, 1, 1, 1, 1, 1, 1, 3},           // two filters a channel
    {1, 1, 60, 6, 10, 1, 9, 1, 1, 0, 4, 1, 1, 1},         // one-dimensional
    {2, 14, 13, 16, 24, 3, 3, 1, 1, 1, 1, 1, 1, 1},       // Winograd's, but strict
    {1, 12, 9, 19, 13, 5, 5, 1, 1, 2, 2, 1, 1, 1},
    {2, 5, 37, 1, 7, 3, 3, 1, 1, 1, 1, 1, 1, 1},          // slid along rows
    {1, 2, 25, 9, 29, 3, 3, 1, 1, 1, 1, 1, 1, 1},         // tall tiles of two vectors
};
static const i64 DEPTHWISE_CHANNELS[] = {2, 3, 5, 7, 8, 9, 16, 17, 33, 50};
static const Geometry DEPTHWISE[] = {
    {1, 7, 7, 12, 12, 3, 2, 2, 1, 1, 0, 1, 2, 12, 1, -1},
    {2, 9, 19, 24, 24, 3, 3, 1, 1, 5, 5, 1, 1, 24},       // rows and columns of zeros
    {2, 9, 19, 24, 24, 3, 3, 2, 3, 4, 4, 1, 1, 24},
    {2, 9, 19, 24, 24, 3, 3, 1, 1, 4, 4, 2, 3, 24},
    {2, 9, 19, 24, 24, 3, 3, 3, 2, 0, 0, 1, 2, 24},
    {1, 40, 33, 16, 16, 5, 5, 1, 1, 2, 2, 1, 1, 16},
    {1, 9, 15, 300, 300, 3, 3, 1, 1, 1, 1, 1, 1, 300},    // strips of one tile
};

static Geometry any_geometry() {
    const i64 groups[] = {1, 1, 2, 3}, channels[] = {1, 3, 4, 7, 8, 9}, filters[] = {1, 2, 4, 8, 13, 15, 17, 26};
    const i64 group = groups[whole_number(0, 3)];
    Geometry g = {};
    g.batch = whole_number(1, 3), g.groups = group;
    g.c = group * channels[whole_number(0, 5)], g.f = group * filters[whole_number(0, 7)];
    const auto axis = [](i64& size, i64& kernel, i64& stride, i64& pad, i64& dilation, i64& cut) {
        kernel = whole_number(1, 4), stride = whole_number(1, 3), pad = whole_number(0, 2), dilation = whole_number(1, 2);
        cut = whole_number(-1, 1);
        const i64 least = Geometry::reach(kernel, dilation) - 2 * pad + cut;
        size = whole_number(1, 13);
        size = size < least ? least : size;
    };
    axis(g.h, g.kh, g.stride_h, g.pad_h, g.dilation_h, g.cut_h);
    axis(g.w, g.kw, g.stride_w, g.pad_w, g.dilation_w, g.cut_w);
    return g;
}

template <class T> void convolution() {
    memset(ways_seen, 0, sizeof ways_seen);
    const auto exact = [](const Geometry& g, bool poisoned = false) {
        Arrays<T> from(g.job(), [](i64 n) { return integers<T>(n, 4); });
        if (poisoned) from.x[from.x.size() / 2] = T(NAN);  // reaches what it touches, and nothing else
        check_passes<T>(g, from, true, 0);
    };
    for (const Geometry& g : GEOMETRIES) exact(g);
    for (const Geometry& g : DEPTHWISE) exact(g);
    exact({2, 14, 13, 16, 23, 3, 3, 1, 1, 1, 1, 1, 1, 1}, true);
    exact({2, 14, 13, 23, 23, 3, 3, 1, 1, 1, 1, 1, 1, 23}, true);
    for (i64 c : DEPTHWISE_CHANNELS) exact({2, 6, 5, c, c, 3, 3, 1, 1, 1, 1, 1, 1, c});
    for (int i = 0; i < 40; i++) exact(any_geometry());
    expect_ways(DTYPE<T>, {CONV_MATMUL, CONV_DIRECT, CONV_DEPTHWISE});
}

// ---- Winograd's -------------------------------------------------------------------------------------------------

// Convolution, then 2 x 2 max pooling: in one pass where the way allows, as the ops do.
template <class T> static Outputs<T> convolved_and_pooled(const Geometry& g, const Arrays<T>& from) {
    Conv job = g.job();
    job.pass = CONV_FORWARD;
    job.x = from.x.data(), job.weight = from.weight.data(), job.bias = from.bias_f.data();
    kernels<T>().conv_plan(job);
    job.pool = job.way == CONV_WINOGRAD2 || job.way == CONV_WINOGRAD4 || job.way == CONV_WINOGRAD5X5 ||
               job.way == CONV_WINOGRAD_RGB;
    Values<T> y = unwritten<T>(job.batch * job.oh * job.ow * job.f);
    Values<T> pooled = unwritten<T>(job.batch * (job.oh / 2) * (job.ow / 2) * job.f);
    void* made = nullptr;
    run_into(job.pool ? pooled : y, job, nullptr, made);
    release(made);
    if (!job.pool) {
        const PoolAxis rows = {job.oh, job.oh / 2, 2, 2, 0, 1}, cols = {job.ow, job.ow / 2, 2, 2, 0, 1};
        run_items(kernels<T>().max_pool, {pooled.data(), y.data(), nullptr, job.batch, job.f, rows, cols, false, false, 0},
                  job.batch * (job.oh / 2));
    }
    return {{"pooled", pooled, 400}};
}

// With double, and where it does not pay, the definition's way in its own order of summation.
template <class T> void winograd() {
    memset(ways_seen, 0, sizeof ways_seen);
    const i64 channels[][3] = {{1, 16, 16}, {2, 33, 17}, {3, 21, 40}, {1, 3, 5}, {1, 72, 68}};  // images, in, out
    const i64 sizes[][2] = {{3, 3}, {4, 4}, {7, 9}, {14, 13}, {3, 22}, {1, 5}};
    const auto near = [](i64 images, i64 h, i64 w, i64 c, i64 f, i64 pad, i64 k = 3, i64 stride = 1) {
        const Geometry g = {images, h, w, c, f, k, k, stride, stride, pad, pad, 1, 1, 1};
        const Arrays<T> from(g.job(), [](i64 n) { return numbers<T>(n, -1, 1); });
        check_passes(g, from, false, 400);
        if (g.job().oh >= 2 && g.job().ow >= 2)
            check<T>("conv and pool " + g.name(), [&] { return convolved_and_pooled(g, from); });
    };
    for (const auto& n : channels)
        for (const auto& size : sizes)
            for (i64 pad : {1, 0, 2})
                if (size[0] + 2 * pad >= 3 && (pad == 1 || sizeof(T) == 4)) near(n[0], size[0], size[1], n[1], n[2], pad);
    near(1, 139, 142, 8, 16, 1);   // tiles that go apart
    near(20, 15, 14, 16, 16, 1);
    near(5, 30, 30, 72, 136, 1);   // several batches of them
    near(20, 2, 2, 21, 40, 1);     // more tiles than a weight gradient goes by rows, and small ones
    near(20, 1, 3, 3, 5, 1);
    near(1, 9, 9, 200, 24, 1);     // more channels than are transformed at once
    near(1, 14, 10, 200, 72, 1);   // parts of tiles beside whole ones
    near(2, 15, 11, 70, 72, 1);
    near(1, 19, 18, 72, 30, 1);
    near(1, 22, 18, 176, 168, 1);  // and a dU that is made in blocks
    near(1, 19, 18, 33, 40, 2, 5);
    near(8, 16, 15, 24, 17, 3, 5);
    near(2, 13, 38, 3, 40, 1);         // three channels: pairs of tiles and single ones, strips
    near(1, 35, 70, 3, 64, 0);
    near(1, 20, 22, 17, 40, 3, 7, 2);  // pairs of rows and columns
    near(2, 16, 26, 2, 40, 2, 7, 2);
    if (sizeof(T) == 4) {
        expect_ways(DTYPE<T>, {CONV_DIRECT, CONV_WINOGRAD2, CONV_WINOGRAD4, CONV_WINOGRAD5X5});
        expect_way(DTYPE<T>, CONV_WEIGHT, CONV_WINOGRAD_ROWS);
        expect_way(DTYPE<T>, CONV_FORWARD, CONV_WINOGRAD_PAIRS);
        expect_way(DTYPE<T>, CONV_FORWARD, CONV_WINOGRAD_RGB);
    }
}

template void convolution<float>();
template void convolution<double>();
template void winograd<float>();
template void winograd<double>();

}  // namespace driver
}  // namespace fastnn
