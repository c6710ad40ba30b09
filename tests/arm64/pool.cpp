// Pooling and resampling of images, forward and backward.
#include "driver.h"
#include "windows.h"

namespace fastnn {
namespace driver {

// ---- pools ------------------------------------------------------------------------------------------------------

// Taps as numbers, whatever they are kept as.
template <class T> static Values<T> as_numbers(const Values<uint8_t>& bytes, bool byte) {
    Values<T> taps(bytes.size() / (byte ? 1 : 4));
    for (size_t i = 0; i < taps.size(); i++) taps[i] = T(byte ? bytes[i] : reinterpret_cast<const int32_t*>(bytes.data())[i]);
    return taps;
}

template <class T> struct Images {
    Values<T> x, dy;
    i64 y_size, dx_size;
    Images(const Pooling& job) {
        dx_size = job.images * job.rows.size * job.cols.size * job.channels;
        y_size = job.images * job.rows.out * job.cols.out * job.channels;
        x = integers<T>(dx_size, 4);  // ties
        dy = integers<T>(y_size, 4);
        x[dx_size / 2] = T(NAN);
    }
};

template <class T> static Outputs<T> max_pools(Pooling job, const Images<T>& from) {
    const Kernels& k = kernels<T>();
    const i64 y_rows = job.images * job.rows.out, dx_rows = job.images * job.rows.size;
    Values<T> y = unwritten<T>(from.y_size), picked = y, alone = y, dx = unwritten<T>(from.dx_size);
    Values<uint8_t> taps(from.y_size * (byte_taps(job) ? 1 : 4), 0xff);
    job.tap = taps.data();
    job.in = from.x.data(), job.out = y.data();
    run_items(k.max_pool, job, y_rows);
    job.out = picked.data();
    run_items(k.max_pool_pick, job, y_rows);
    job.in = from.dy.data(), job.out = dx.data();
    run_items(k.max_pool_backward, job, dx_rows);
    job.tap = nullptr;
    job.in = from.x.data(), job.out = alone.data();
    run_items(k.max_pool, job, y_rows);
    return {{"max", y, 0}, {"tap", as_numbers<T>(taps, byte_taps(job)), 0}, {"max_pool_pick", picked, 0},
            {"dx", dx, 0}, {"max without taps", alone, 0}};
}

template <class T> static Outputs<T> avg_pools(Pooling job, const Images<T>& from) {
    const Kernels& k = kernels<T>();
    Values<T> y = unwritten<T>(from.y_size), dx = unwritten<T>(from.dx_size);
    job.in = from.x.data(), job.out = y.data();
    run_items(k.avg_pool, job, job.images * job.rows.out);
    job.in = from.dy.data(), job.out = dx.data();
    run_items(k.avg_pool_backward, job, job.images * job.rows.size);
    return {{"avg", y, 16}, {"avg dx", dx, 64}};
}

struct Windows {
    i64 h, w, kh, kw, stride_h, stride_w, pad_h, pad_w, dilation_h, dilation_w;
    bool ceil_mode;
};
static const Windows WINDOWS[] = {
    {1, 1, 1, 1, 1, 1, 0, 0, 1, 1, false},   {6, 8, 2, 2, 2, 2, 0, 0, 1, 1, false}, {7, 9, 2, 2, 2, 2, 0, 0, 1, 1, true},
    {7, 9, 2, 2, 2, 2, 0, 0, 1, 1, false},   {7, 9, 3, 3, 2, 2, 1, 1, 1, 1, false}, {8, 5, 3, 2, 1, 3, 1, 0, 1, 1, false},
    {10, 11, 4, 5, 3, 2, 2, 2, 1, 1, true},  {5, 5, 5, 5, 5, 5, 0, 0, 1, 1, false}, {4, 13, 2, 3, 3, 4, 1, 1, 1, 1, true},
    {9, 12, 3, 3, 1, 1, 1, 1, 2, 3, false},  {17, 18, 17, 17, 1, 1, 1, 8, 1, 1, false},  // more taps than a byte counts
};

static Pooling job_of(const Windows& g, i64 images, i64 channels) {
    Pooling job = {};
    job.images = images, job.channels = channels;
    job.rows = {g.h, 0, g.kh, g.stride_h, g.pad_h, g.dilation_h};
    job.cols = {g.w, 0, g.kw, g.stride_w, g.pad_w, g.dilation_w};
    if (const char* wrong = plan_pool(job, g.ceil_mode)) fail(wrong);
    return job;
}

template <class T> static void check_adaptive(i64 images, i64 channels, i64 h, i64 w, i64 oh, i64 ow) {
    Pooling job = {};
    job.images = images, job.channels = channels;
    job.rows.size = h, job.cols.size = w, job.rows.out = oh, job.cols.out = ow;
    if (const char* wrong = plan_adaptive_pool(job)) fail(wrong);
    const Images<T> from(job);
    const std::string name = "adaptive pool of " + by(images, h, w, channels) + " to " + by(oh, ow);
    check<T>(name, [&] { return max_pools(job, from); });
    check<T>(name, [&] { return avg_pools(job, from); });
}

template <class T> void pooling() {
    for (const Windows& g : WINDOWS)
        for (i64 channels : {1, 2, 3, 5, 8, 17, 40}) {
            Pooling job = job_of(g, 2, channels);
            const Images<T> from(job);
            const std::string name =
                "pool of " + by(2, g.h, g.w, channels) + " by " + by(g.kh, g.kw) + " stride " + by(g.stride_h, g.stride_w);
            check<T>(name, [&] { return max_pools(job, from); });
            if (g.dilation_h > 1 || g.dilation_w > 1) continue;
            for (bool count_include_pad : {false, true})
                for (i64 divisor : {0, 3}) {
                    job.count_include_pad = count_include_pad, job.divisor = divisor;
                    check<T>(name, [&] { return avg_pools(job, from); });
                }
        }
    for (i64 channels : {1, 3, 9, 20}) {
        check_adaptive<T>(2, channels, 9, 7, 4, 3);
        check_adaptive<T>(1, channels, 8, 6, 4, 2);
        check_adaptive<T>(3, channels, 14, 13, 1, 1);
        check_adaptive<T>(1, channels, 3, 4, 7, 9);
    }
}

// ---- resampling -------------------------------------------------------------------------------------------------

template <class T> static Outputs<T> resampled(Resize job, const Values<T>& x, const Values<T>& dy) {
    Values<T> y = unwritten<T>(i64(dy.size())), dx = unwritten<T>(i64(x.size()));
    job.in = x.data(), job.out = y.data();
    run_items(kernels<T>().resize, job, job.images * job.rows.out);
    job.in = dy.data(), job.out = dx.data();
    run_items(kernels<T>().resize_backward, job, job.images * job.rows.size);
    return {{"y", y, 16}, {"dx", dx, 64}};
}

template <class T> void resampling() {
    const i64 sizes[][4] = {{1, 1, 1, 1},  {1, 1, 3, 4}, {4, 5, 8, 10}, {5, 7, 11, 6},
                            {9, 6, 4, 13}, {8, 8, 4, 4}, {5, 6, 5, 6},  {3, 17, 1, 2}};
    for (const auto& s : sizes)
        for (i64 channels : {1, 3, 4, 7, 16, 37})
            for (int how = NEAREST; how <= LINEAR_CORNERS; how++) {
                Resize job = {};
                job.images = 2, job.channels = channels;
                job.rows.size = s[0], job.rows.out = s[2], job.cols.size = s[1], job.cols.out = s[3];
                ResizeTables rows, cols;
                plan_resize(job.rows, DTYPE<T>, how, 0, rows);
                plan_resize(job.cols, DTYPE<T>, how, 0, cols);
                const Values<T> x = numbers<T>(2 * s[0] * s[1] * channels), dy = numbers<T>(2 * s[2] * s[3] * channels);
                check<T>("resize of " + by(2, s[0], s[1], channels) + " to " + by(s[2], s[3]) + " mode " + by(how),
                         [&] { return resampled(job, x, dy); });
            }
}

template void pooling<float>();
template void pooling<double>();
template void resampling<float>();
template void resampling<double>();

}  // namespace driver
}  // namespace fastnn
