// Convolution and its input gradient by the definition for small images with many channels, whose weight takes longer to
// read than to multiply by: tap by tap.
//
//   for each sliver of filters, each tap, each CHUNK of channels:   sums[pixel] += x[pixel + tap][chunk] weight[tap][chunk]
//
// All pixels of an item meet a chunk of the weight while it is near, their sums wait in L1, and the next chunk comes from
// memory meanwhile. Pixels whose tap lies outside of the image are left out: for 4 x 4 pixels, 31 % of all products.
// C512 H4: 720 us instead of 1050; C512 H7: 2.2 ms instead of 3.0; 14 x 14 pixels of 256 channels: 2.3 instead of 2.5.
#include "conv_direct.h"

namespace fastnn {
namespace FASTNN_ISA {

constexpr i64 MOST_PIXELS = 256;  // of an item
constexpr i64 CHUNK = 256;        // channels: 16 KB of the weight

// With fewer channels the sums go to and fro too often: 16 x 16 pixels of 64 take 507 us instead of 432.
bool tap_by_tap(const Walk& walk) {
    const i64 pixels = walk.y.count * walk.x.count;
    return walk.group_in >= 64 && pixels <= walk.group_in && pixels <= MOST_PIXELS;
}

// Whole images to an item, and slivers of all groups.
template <class T> struct TapCut {
    i64 pixels, image_blocks, slivers, sliver_blocks;  // pixels: of a phase in an item's images, at most
    TapCut(const Conv& job, const Walk& walk)
        : pixels(job.block * walk.y.count * walk.x.count),
          image_blocks(ceil_div(job.batch, job.block)),
          slivers(slivers_of(ceil_div(walk.group_out, LANES<T>)).parts),
          sliver_blocks(ceil_div(slivers, job.chunk)) {}
};

template <class T> void tap_plan(Conv& job, i64 wanted) {
    const Walk walk(job);
    const i64 pixels = walk.y.count * walk.x.count, images = MOST_PIXELS / (pixels + (pixels == 0));
    job.block = images < job.batch ? images : job.batch + (job.batch == 0);
    job.chunk = TapCut<T>(job, walk).slivers;
    while (job.chunk > 1 && TapCut<T>(job, walk).image_blocks * TapCut<T>(job, walk).sliver_blocks < wanted)
        job.chunk = ceil_div(job.chunk, 2);
    const double most = double(job.block * pixels), lists = 2.0 * most;
    const double order = double(job.kh) * double(job.kw);  // what packing needs
    job.slot_size = bounded(8 / sizeof(T) * (lists + order) + most * TILE_VECS * LANES<T> + 64);
}

// ---- one tap -------------------------------------------------------------------------------------------------

// The part of a thread's own scratch that holds no sums.
struct TapLists {
    i64 *in_at, *sum_at;
};

// The pixels of phase (qy, qx) whose input for place (ky, kx) lies in the image.
static i64 list_tap(const Walk& walk, i64 images, i64 qy, i64 qx, i64 ky, i64 kx, i64 width, const TapLists& lists) {
    const i64 rows = walk.y.outputs(qy), columns = walk.x.outputs(qx);
    const i64 j0 = walk.y.first_inside(qy, ky), j1 = walk.y.end_inside(qy, ky);
    const i64 i0 = walk.x.first_inside(qx, kx), i1 = walk.x.end_inside(qx, kx);
    const i64 y0 = walk.y.offset(qy, ky), x0 = walk.x.offset(qx, kx), step = walk.x.step * walk.in_c;
    i64 count = 0;
    for (i64 b = 0; b < images; b++)
        for (i64 j = j0; j < j1; j++) {
            const i64 in = ((b * walk.y.in + j * walk.y.step + y0) * walk.x.in + x0) * walk.in_c;
            const i64 sum = (b * rows + j) * columns * width;
            for (i64 i = i0; i < i1; i++, count++) lists.in_at[count] = in + i * step, lists.sum_at[count] = sum + i * width;
        }
    return count;
}

// sums += the listed pixels' inputs times the weight from `row` on.
template <class T>
static void add_tap(const Walk& walk, DirectTile<T> tile, i64 pixels, i64 row, int vecs) {
    const i64 tiles = tall_tiles(pixels, vecs).parts;
    const i64 width = vecs * LANES<T>;
    if (!pixels) return;
    Segment segment;
    tile.segments = &segment, tile.count = 1;
    for (i64 c = 0; c < walk.group_in; c += CHUNK) {
        segment = {c, row + c, walk.group_in - c < CHUNK ? walk.group_in - c : CHUNK};
        Ahead<T> ahead(tile.weight + (row + c + segment.n) * width, width, tiles);
        for_tall_tiles<DirectKernel, T>(pixels, vecs, [&](auto kernel, i64 pixel, int) { kernel(tile, pixel, ahead); });
    }
}

// ---- an item -------------------------------------------------------------------------------------------------

// The sums of a sliver, begun at its bias, and on their way to the images.
template <class T> static void begin_sums(const DirectTile<T>& tile, T* sums, i64 pixels, int vecs) {
    constexpr int L = LANES<T>;
    for (int j = 0; j < vecs; j++) {
        const Vec<T> b = tile.bias ? load_n(tile.bias + j * L, j == vecs - 1 ? tile.tail : L) : Vec<T>{};
        for (i64 p = 0; p < pixels; p++) store(sums + (p * vecs + j) * L, b);
    }
}
template <class T>
static void end_sums(const Walk& walk, const DirectTile<T>& tile, const T* sums, i64 images, i64 qy, i64 qx, int vecs) {
    constexpr int L = LANES<T>;
    const i64 rows = walk.y.outputs(qy), columns = walk.x.outputs(qx);
    for (i64 b = 0; b < images; b++)
        for (i64 j = 0; j < rows; j++)
            for (i64 i = 0; i < columns; i++, sums += vecs * L) {
                const i64 y = j * walk.y.phases + qy, x = i * walk.x.phases + qx;
                const i64 at = ((b * walk.y.out + y) * walk.x.out + x) * walk.out_c;
                for (int v = 0; v < vecs; v++) {
                    const int n = v == vecs - 1 ? tile.tail : L;
                    const Vec<T> sum = load(sums + v * L), whole = tile.add ? load_n(tile.add + at + v * L, n) + sum : sum;
                    store_n(tile.out + at + v * L, Limits<T>(tile.activation)(whole), n);
                }
            }
}

// A sliver of all phases.
template <class T>
static void tap_sliver(const Walk& walk, const DirectTile<T>& tile, i64 images, int vecs, T* sums, const TapLists& lists) {
    DirectTile<T> inner = tile;
    inner.out = sums, inner.tail = LANES<T>, inner.bias = nullptr, inner.add = sums, inner.activation = COPY;
    inner.in_at = lists.in_at, inner.out_at = lists.sum_at;
    for (i64 qy = 0; qy < walk.y.phases; qy++)
        for (i64 qx = 0; qx < walk.x.phases; qx++) {
            begin_sums(tile, sums, images * walk.y.outputs(qy) * walk.x.outputs(qx), vecs);
            for_places(walk, [&](i64 ky, i64 kx, i64 n, i64 py, i64 px) {
                if (py != qy || px != qx) return;
                const i64 pixels = list_tap(walk, images, qy, qx, ky, kx, vecs * LANES<T>, lists);
                add_tap(walk, inner, pixels, n * walk.group_in, vecs);
            });
            end_sums(walk, tile, sums, images, qy, qx, vecs);
        }
}

template <class T> void tap_item(const Conv& job, i64 item) {
    constexpr int L = LANES<T>;
    const Walk walk(job);
    const TapCut<T> c(job, walk);
    const Split slivers = slivers_of(ceil_div(walk.group_out, L));
    const i64 s0 = item % c.sliver_blocks * job.chunk, s1 = s0 + job.chunk < c.slivers ? s0 + job.chunk : c.slivers;
    const i64 b0 = item / c.sliver_blocks * job.block, images = job.batch - b0 < job.block ? job.batch - b0 : job.block;
    const i64 padded = ceil_div(walk.group_out, L) * L, rows = job.kh * job.kw * walk.group_in;
    i64* in_at = reinterpret_cast<i64*>(slot_of<T>(job));
    const TapLists lists = {in_at, in_at + c.pixels};
    const T* in = static_cast<const T*>(walk.gradient ? job.dy : job.x) + b0 * walk.y.in * walk.x.in * walk.in_c;
    const i64 image = b0 * walk.y.out * walk.x.out * walk.out_c;
    for (i64 g = 0; g < job.groups; g++)
        for (i64 s = s0; s < s1; s++) {
            const i64 column = slivers.begin(s) * L, out_column = g * walk.group_out + column;
            const int vecs = slivers.width(s);
            const i64 left = walk.group_out - column - (vecs - 1) * L;
            DirectTile<T> tile = {};
            tile.tail = left < L ? int(left) : L;
            tile.in = in + g * walk.group_in;
            tile.out = static_cast<T*>(job.out) + image + out_column;
            tile.add = job.residual ? static_cast<const T*>(job.residual) + image + out_column : nullptr;
            tile.weight = static_cast<const T*>(job.prepared) + (g * padded + column) * rows;
            tile.bias = job.bias ? static_cast<const T*>(job.bias) + out_column : nullptr;
            tile.activation = job.activation;
            tap_sliver(walk, tile, images, vecs, reinterpret_cast<T*>(lists.sum_at + c.pixels), lists);
        }
}

template void tap_plan<float>(Conv&, i64);
template void tap_plan<double>(Conv&, i64);
template void tap_item<float>(const Conv&, i64);
template void tap_item<double>(const Conv&, i64);

}  // namespace FASTNN_ISA
}  // namespace fastnn
