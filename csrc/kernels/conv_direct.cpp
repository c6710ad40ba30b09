// Convolution and its input gradient by the definition, on the register tile of matmul.
//
//   the window of an item's rows, zeros around        a tile: MR output pixels times NV vectors of filters
//   +-------------------------------------+           pixel p at in_at[p] of the window reads, for each row of the kernel,
//   | 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 |           one contiguous run of kw * C elements (a Segment); the packed weight
//   | 0 [ p p p ] . . . . . . . . . . . 0 |           [sliver][segment rows][width] streams by. No im2col: the run of the
//   | 0 [ p p p ] . . . . . . . . . . . 0 |           next pixel is the same memory, C elements on.
//   +-------------------------------------+
//
// Strides, dilation, groups and the phases of an input gradient only change the list of segments. Copying the window
// costs one load and store an element beside kh * kw * F / LANES multiplications.
#include "conv_direct.h"

namespace fastnn {
namespace FASTNN_ISA {

constexpr i64 MOST_STEPS = 64;    // rows of the weight that are listed one by one, if the segments are short
constexpr i64 AHEAD = 8;          // filters of the weight that are fetched before they are packed for the input gradient
constexpr i64 WINDOW = 48 << 10;  // elements of an item's window, about: 192 KB, to stay in L2

// Cuts of an item: rows j of one image, slivers of one group at a time.
struct DirectCut {
    i64 rows, row_blocks, sliver_blocks, slivers, chunk;
};

template <class T> static DirectCut cut(const Conv& job, const Walk& walk) {
    const i64 slivers = slivers_of(ceil_div(walk.group_out, LANES<T>)).parts;
    return {job.block, ceil_div(walk.y.count, job.block), ceil_div(slivers, job.chunk), slivers, job.chunk};
}

template <class T> void direct_plan(Conv& job) {
    const Walk walk(job);
    const i64 row = walk.x.window(walk.x.count) * walk.in_c;
    i64 rows = 1;
    while (rows < walk.y.count && double(walk.y.window(rows + 1)) * double(row) <= WINDOW) rows++;
    const i64 slivers = slivers_of(ceil_div(walk.group_out, LANES<T>)).parts;
    const double flops =
        2.0 * double(job.batch * job.oh * job.ow) * double(job.f) * double(job.c / job.groups * job.kh * job.kw);
    const i64 wanted = flops > 5e7 ? 16 : flops > 1e7 ? 8 : flops > 1e6 ? 4 : 1;  // items, for threads to share
    while (rows > 1 && rows * walk.x.count > 48 && job.batch * ceil_div(walk.y.count, rows) < wanted)
        rows = ceil_div(rows, 2);
    job.stages = 2;
    job.block = walk.y.count ? (rows = Split(walk.y.count, rows).size + (Split(walk.y.count, rows).larger > 0)) : 1;
    job.chunk = slivers;
    while (job.chunk > 1 && job.batch * ceil_div(walk.y.count, job.block) * ceil_div(slivers, job.chunk) < wanted)
        job.chunk = ceil_div(job.chunk, 2);
    const i64 padded = ceil_div(walk.group_out, LANES<T>) * LANES<T>;
    job.prepared_size = bounded(double(job.groups * padded) * double(walk.group_in * job.kh * job.kw));
    job.scratch_size = 0;
    job.pool = job.pool && job.groups == 1 && !tap_by_tap(walk);
    if (job.pool) job.block += job.block % 2;
    const double numbers = MOST_STEPS + 3.0 * double(job.kh) * double(job.kw) +
                           2.0 * (double(job.block) * double(walk.x.count) + TILE_ROWS);
    const double pooled = job.pool ? double(job.block * job.ow) * double(job.f) : 0;
    job.slot_size = bounded(8 / sizeof(T) * numbers + double(walk.y.window(job.block)) * double(row) + pooled + 64);
    if (tap_by_tap(walk)) tap_plan<T>(job, wanted);
}

template <class T> void direct_stage(Conv& job) {
    const Walk walk(job);
    const DirectCut c = cut<T>(job, walk);
    if (job.stage == 0) {
        job.items = job.groups * c.slivers;
        job.item_flops = double(job.prepared_size) / double(job.items ? job.items : 1) * 100;
    } else {
        job.items = tap_by_tap(walk) ? ceil_div(job.batch, job.block) * c.sliver_blocks
                                     : job.batch * c.row_blocks * c.sliver_blocks;
        job.item_flops = 2.0 * double(job.batch * job.oh * job.ow) * double(job.f) * double(job.c / job.groups) *
                         double(job.kh * job.kw + 1) / double(job.items ? job.items : 1);
    }
}

// ---- the weight: [group][sliver][row][width], its rows in the order of the segments --------------------------

// Rows (channel, place) of the weight, `lanes` outputs wide and these `step` apart, go where to(place, channel) says.
template <class T, class To>
static void pack_rows(const T* from, i64 step, i64 channels, i64 places, int lanes, To to) {
    constexpr int L = LANES<T>;
    constexpr i64 SOME = 64;
    T w[SOME * L];
    const i64 n = channels * places;
    for (i64 r0 = 0, channel = 0, place = 0; r0 < n; r0 += SOME) {
        const i64 rows = n - r0 < SOME ? n - r0 : SOME;
        rows_to_vectors(w, from + r0, step, rows, lanes);
        for (i64 r = 0; r < rows; r++) {
            store(to(place, channel), load(w + r * L));
            if (++place == places) place = 0, channel++;
        }
    }
}

template <class T> static void pack(const Conv& job, const Walk& walk, i64 item) {
    constexpr int L = LANES<T>;
    const Split slivers = slivers_of(ceil_div(walk.group_out, L));
    const i64 group = item / slivers.parts, s = item % slivers.parts, width = slivers.width(s) * L;
    const i64 places = job.kh * job.kw, padded = ceil_div(walk.group_out, L) * L, group_c = job.c / job.groups;
    i64* order = reinterpret_cast<i64*>(slot_of<T>(job));  // of the places among the packed rows
    for_places(walk, [&](i64 ky, i64 kx, i64 n, i64, i64) { order[ky * job.kw + kx] = n; });
    const T* weight = static_cast<const T*>(job.weight) + group * (job.f / job.groups) * group_c * places;
    for (i64 column = slivers.begin(s) * L, j = 0; j < width; j += L) {
        const i64 first = column + j, left = walk.group_out - first;
        const int lanes = int(left < L ? left : L);
        T* out = static_cast<T*>(job.prepared) + (group * padded + column) * places * walk.group_in + j;
        const auto row = [&](i64 place, i64 i) { return out + (order[place] * walk.group_in + i) * width; };
        if (!walk.gradient)
            pack_rows(weight + first * group_c * places, group_c * places, group_c, places, lanes, row);
        // Pieces of 288 bytes, 18 KB apart for 512 channels, which the hardware does not foresee: C512 H7, forward and both
        // gradients, takes 0.87 of the time.
        for (i64 i = 0; i < walk.group_in && walk.gradient; i++) {
            const T* ahead = weight + ((i + AHEAD) * group_c + first) * places;
            for (i64 k = 0; k < lanes * places && i + AHEAD < walk.group_in; k += Ahead<T>::LINE)
                __builtin_prefetch(ahead + k, 0, 2);
            pack_rows(weight + (i * group_c + first) * places, places, 1, places, lanes,
                      [&](i64 place, i64) { return row(place, i); });
        }
    }
}

// ---- an item -------------------------------------------------------------------------------------------------

// The part of a thread's own scratch that holds no pixels.
struct Lists {
    Segment* segments;
    i64 *steps, *in_at, *out_at;
};

// Pixels of one phase of an item: rows [j0, j1) and columns [i0, i1) of its outputs, and whether the places that fall above or
// below (left or right of) the image, for all of them the same ones, are left out.
struct Area {
    i64 j0, j1, i0, i1;
    bool skip_y, skip_x;
};

INLINE bool lies_inside(const Axis& axis, i64 q, i64 k, i64 j) {
    const i64 at = j * axis.step + axis.offset(q, k);
    return at >= 0 && at < axis.in;
}

// The segments of phase (qy, qx) for an area. Places whose inputs and packed rows both follow one another make one segment.
template <class T>
static i64 list_segments(const Walk& walk, const Window<T>& window, i64 qy, i64 qx, const Area& area, Segment* segments) {
    i64 count = 0;
    for_places(walk, [&](i64 ky, i64 kx, i64 n, i64 py, i64 px) {
        if (py != qy || px != qx) return;
        if (area.skip_y && !lies_inside(walk.y, qy, ky, area.j0)) return;
        if (area.skip_x && !lies_inside(walk.x, qx, kx, area.i0)) return;
        const i64 x =
            (walk.y.offset(qy, ky) - walk.y.low) * window.pitch + (walk.x.offset(qx, kx) - walk.x.low) * walk.in_c;
        const i64 w = n * walk.group_in;
        Segment* last = count ? segments + count - 1 : nullptr;
        if (last && last->x + last->n == x && last->w + last->n == w && walk.group_in == walk.in_c)
            last->n += walk.group_in;
        else segments[count++] = {x, w, walk.group_in};
    });
    return count;
}

// The segments row by row, where they are short and follow one another in the weight, which those of an area that leaves places
// out need not; else null.
static const i64* list_steps(const Segment* segments, i64& count, i64* steps) {
    i64 rows = 0;
    for (i64 s = 0; s < count; rows += segments[s++].n)
        if (segments[s].w != segments[0].w + rows) return nullptr;
    if (count < 2 || rows > MOST_STEPS || rows >= 16 * count) return nullptr;
    i64* next = steps;
    for (i64 s = 0; s < count; s++)
        for (i64 i = 0; i < segments[s].n; i++) *next++ = segments[s].x + i;
    count = rows;
    return steps;
}

// The pixels of row j of an area of phase (qy, qx): where the first reads and writes, counted from row `first`, the window's, and
// how far on the next.
struct Pixels {
    i64 in, out, in_step, out_step;
    template <class T>
    Pixels(const Walk& walk, const Window<T>& window, i64 first, i64 qy, i64 qx, const Area& area, i64 j)
        : in_step(walk.x.step * walk.in_c), out_step(walk.x.phases * walk.out_c) {
        in = (j - first) * walk.y.step * window.pitch + area.i0 * in_step;
        out = (((j - first) * walk.y.phases + qy) * walk.x.out + qx) * walk.out_c + area.i0 * out_step;
    }
};

// All pixels of an area. The last one stands there again, so that a tile may begin at any of them.
template <class T>
static i64 list_pixels(const Walk& walk, const Window<T>& window, i64 first, i64 qy, i64 qx, const Area& area, i64* in_at,
                       i64* out_at) {
    const i64 columns = area.i1 - area.i0;
    i64 count = 0;
    for (i64 j = area.j0; j < area.j1; j++, count += columns) {
        const Pixels row(walk, window, first, qy, qx, area, j);
        for (i64 i = 0; i < columns; i++) {
            in_at[count + i] = row.in + i * row.in_step;
            out_at[count + i] = row.out + i * row.out_step;
        }
    }
    for (i64 i = count; count && i < count + TILE_ROWS - 1; i++) in_at[i] = in_at[count - 1], out_at[i] = out_at[count - 1];
    return count;
}

// How many places of phase q fall before, and how many beyond the image for output j: 0 if none do.
static i64 places_outside(const Axis& axis, i64 q, i64 j) {
    i64 before = 0, beyond = 0;
    for (i64 k = 0; k < axis.kernel; k++) {
        if (!axis.has(q, k)) continue;
        const i64 at = j * axis.step + axis.offset(q, k);
        before += at < 0, beyond += at >= axis.in;
    }
    return before * (axis.kernel + 1) + beyond;
}

// body(begin, end, outside) for the stretches of [j, end) that leave out the same places.
template <class Body> static void for_stretches(const Axis& axis, i64 q, i64 j, i64 end, Body body) {
    const i64 last = floor_div(axis.in - 1 - axis.high, axis.step);  // output whose places do not reach beyond
    for (i64 stop; j < end; j = stop) {
        const i64 outside = places_outside(axis, q, j);
        stop = outside || last < j ? j + 1 : last < end ? last + 1 : end;
        while (stop < end && places_outside(axis, q, stop) == outside) stop++;
        body(j, stop, outside != 0);
    }
}

constexpr i64 LEAST_SIDE = 4;  // pixels of a row or column that has an area of its own: fewer fill no tile

// body(area) for the areas of rows [j0, j1) of phase (qy, qx). What lies outside of the image is a twelfth of all products for
// 5 x 5 places and 28 x 28 pixels, and takes as much of the time. Rows near the upper and lower edge leave out rows of places,
// and between them columns near the sides leave out theirs.
template <class Body> static void for_areas(const Walk& walk, i64 qy, i64 qx, i64 j0, i64 j1, bool skip, Body body) {
    const i64 rows = walk.y.outputs(qy), columns = walk.x.outputs(qx);
    if (j1 > rows) j1 = rows;
    if (j0 >= j1 || columns == 0) return;
    if (!skip || columns < LEAST_SIDE) return body(Area{j0, j1, 0, columns, false, false});
    for_stretches(walk.y, qy, j0, j1, [&](i64 j, i64 stop, bool outside) {
        if (outside || stop - j < LEAST_SIDE) return body(Area{j, stop, 0, columns, outside, false});
        for_stretches(walk.x, qx, 0, columns, [&](i64 i, i64 end, bool) { body(Area{j, stop, i, end, false, true}); });
    });
}

// Of one channel and one vector of filters a SlideKernel makes rows of pixels. How many numbers of a row it has; 0: it has none.
// Floats of wide vectors only: of AVX2's eight filters it was not measured.
constexpr int SLIDE_ROWS = 14, LOW_SLIDE_ROWS = 8;
template <class T> static i64 slides(const Walk& walk, const Area& area, const DirectTile<T>& tile) {
    const i64 n = tile.count ? tile.segments[0].n : 0;
    if (walk.in_c > 1 || walk.x.step > 1 || walk.group_out > LANES<T> || area.i1 - area.i0 < SLIDE_ROWS) return 0;
    for (i64 s = 1; s < tile.count; s++)
        if (tile.segments[s].n != n) return 0;
    return n == 3 || n == 5 ? n : 0;
}

// Whole tiles, and at the end of a row one that begins so early that it ends there, of the height that does less twice.
template <class T, int KW>
static void slide_rows(const Walk& walk, const DirectTile<T>& tile, const Window<T>& window, i64 first, i64 qy, i64 qx,
                       const Area& area) {
    const i64 columns = area.i1 - area.i0;
    for (i64 j = area.j0; j < area.j1; j++) {
        const Pixels row(walk, window, first, qy, qx, area, j);
        for (i64 i = 0, height; i < columns; i += height) {
            const bool low = columns - i <= LOW_SLIDE_ROWS;
            height = low ? LOW_SLIDE_ROWS : SLIDE_ROWS;
            const i64 at = i + height < columns ? i : columns - height;
            const auto run = low ? SlideKernel<T, LOW_SLIDE_ROWS, KW>::run : SlideKernel<T, SLIDE_ROWS, KW>::run;
            run(tile, tile.in + row.in + at * row.in_step, row.out + at * row.out_step, row.out_step);
        }
    }
}

// A large weight streams by once, sliver by sliver. A small one stays in L1, and the output is written in stretches of
// pixels: 32 tiles (C3 H224 with 8: 1.03 of the time).
template <class T>
static void run_tiles(const Conv& job, const Walk& walk, DirectTile<T> tile, i64 pixels, i64 group, i64 s0, i64 s1, T* out,
                      const T* add) {
    constexpr int L = LANES<T>;
    const Split slivers = slivers_of(ceil_div(walk.group_out, L));
    const i64 padded = ceil_div(walk.group_out, L) * L, rows = job.kh * job.kw * walk.group_in;
    const bool small = rows * padded * i64(sizeof(T)) <= 16 << 10 && s1 - s0 > 1;
    const i64 stretch = small ? 32 * TILE_ROWS : pixels;
    for (i64 p0 = 0; p0 < pixels; p0 += stretch) {
        const i64 p1 = p0 + stretch < pixels ? p0 + stretch : pixels;
        Ahead<T> nothing(tile.in);
        for (i64 s = s0; s < s1; s++) {
            const i64 column = slivers.begin(s) * L, out_column = group * walk.group_out + column;
            const int vecs = slivers.width(s);
            const i64 left = walk.group_out - column - (vecs - 1) * L;
            tile.tail = left < L ? int(left) : L;
            tile.out = out + out_column;
            tile.add = add ? add + out_column : nullptr;
            tile.weight = static_cast<const T*>(job.prepared) + (group * padded + column) * rows;
            tile.bias = job.bias ? static_cast<const T*>(job.bias) + out_column : nullptr;
            const auto run = [&](auto kernel, i64 pixel, int) { kernel(tile, p0 + pixel, nothing); };
            if (tile.steps) pick_width<StepsKernel, T, TILE_ROWS>(vecs)(tile, p0, p1);
            else for_tall_tiles<DirectKernel, T>(p1 - p0, vecs, run);
        }
    }
}

// Where the products left out pay for the lists, and each area finds the weight in L2 again.
template <class T> static bool leaves_out(const Conv& job, const Walk& walk) {
    const i64 rows = job.kh * job.kw * walk.group_in / (walk.y.phases * walk.x.phases);
    return rows > MOST_STEPS && rows * walk.group_out * i64(sizeof(T)) <= 256 << 10;
}

// The greatest of each 2 x 2 of `rows` rows, filters [f0, f1), while they are in L2.
template <class T> static void pool_rows(const Conv& job, T* out, const T* from, i64 rows, i64 f0, i64 f1) {
    const i64 row = job.ow * job.f;
    for (i64 r = 0; r + 1 < rows; r += 2)
        for (i64 q = 0; q + 1 < job.ow; q += 2, out += job.f) {
            const T* at = from + r * row + q * job.f;
            for_vectors<T>(f1 - f0, [&](i64 i, int n) {
                const T* x = at + f0 + i;
                const Vec<T> upper = greater<T>(load_n(x, n), load_n(x + job.f, n)),
                             lower = greater<T>(load_n(x + row, n), load_n(x + row + job.f, n));
                store_n(out + f0 + i, greater<T>(upper, lower), n);
            });
        }
}

template <class T> static void direct_item(const Conv& job, const Walk& walk, const DirectCut& c, i64 item) {
    const i64 chunk = item % c.sliver_blocks, block = item / c.sliver_blocks % c.row_blocks,
              b = item / c.sliver_blocks / c.row_blocks;
    const i64 j0 = block * c.rows, j1 = j0 + c.rows < walk.y.count ? j0 + c.rows : walk.y.count;
    const i64 s0 = chunk * c.chunk, s1 = s0 + c.chunk < c.slivers ? s0 + c.chunk : c.slivers;
    char* own = reinterpret_cast<char*>(slot_of<T>(job));
    Lists lists;
    lists.segments = reinterpret_cast<Segment*>(own);
    lists.steps = reinterpret_cast<i64*>(lists.segments + job.kh * job.kw);
    lists.in_at = lists.steps + MOST_STEPS;
    lists.out_at = lists.in_at + c.rows * walk.x.count + TILE_ROWS;
    const T* in = static_cast<const T*>(walk.gradient ? job.dy : job.x) + b * walk.y.in * walk.x.in * walk.in_c;
    const i64 first = (b * walk.y.out + j0 * walk.y.phases) * walk.x.out * walk.out_c;  // row of the output
    T* copy = reinterpret_cast<T*>(lists.out_at + c.rows * walk.x.count + TILE_ROWS);
    T* rows = copy + walk.y.window(c.rows) * walk.x.window(walk.x.count) * walk.in_c;  // what is to be pooled
    T* out = job.pool ? rows : static_cast<T*>(job.out) + first;
    const T* add = job.residual ? static_cast<const T*>(job.residual) + first : nullptr;
    const Window<T> window = window_of(copy, in, walk.y.in, walk.x.in, walk.in_c, j0 * walk.y.step + walk.y.low, walk.x.low,
                                       walk.y.window(j1 - j0), walk.x.window(walk.x.count));
    const bool skip = leaves_out<T>(job, walk);
    for (i64 qy = 0; qy < walk.y.phases; qy++)
        for (i64 qx = 0; qx < walk.x.phases; qx++)
            for_areas(walk, qy, qx, j0, j1, skip, [&](const Area& area) {
                DirectTile<T> tile = {};
                tile.count = list_segments(walk, window, qy, qx, area, lists.segments);
                tile.segments = lists.segments;
                tile.activation = job.activation;
                if constexpr (!NARROW && sizeof(T) == 4) {
                    if (const i64 slide = slides(walk, area, tile)) {
                        tile.in = window.data, tile.out = out, tile.add = add, tile.tail = int(walk.group_out);
                        tile.weight = static_cast<const T*>(job.prepared), tile.bias = static_cast<const T*>(job.bias);
                        const auto rows = slide == 3 ? slide_rows<T, 3> : slide_rows<T, 5>;
                        return rows(walk, tile, window, j0, qy, qx, area);
                    }
                }
                const i64 pixels = list_pixels(walk, window, j0, qy, qx, area, lists.in_at, lists.out_at);
                tile.steps = list_steps(lists.segments, tile.count, lists.steps);
                tile.in_at = lists.in_at;
                tile.out_at = lists.out_at;
                for (i64 g = 0; g < job.groups; g++) {
                    tile.in = window.data + g * walk.group_in;
                    run_tiles(job, walk, tile, pixels, g, s0, s1, out, add);
                }
            });
    if (!job.pool) return;
    const Split slivers = slivers_of(ceil_div(job.f, LANES<T>));
    const i64 end = s1 < c.slivers ? slivers.begin(s1) * LANES<T> : job.f;
    T* pooled = static_cast<T*>(job.out) + (b * (job.oh / 2) + j0 / 2) * (job.ow / 2) * job.f;
    pool_rows(job, pooled, rows, j1 - j0, slivers.begin(s0) * LANES<T>, end);
}

template <class T> void direct(const Conv& job, i64 begin, i64 end) {
    const Walk walk(job);
    const DirectCut c = cut<T>(job, walk);
    const bool taps = tap_by_tap(walk);
    for (i64 item = begin; item < end; item++)
        if (job.stage == 0) pack<T>(job, walk, item);
        else if (taps) tap_item<T>(job, item);
        else direct_item<T>(job, walk, c, item);
}

template void direct_plan<float>(Conv&);
template void direct_plan<double>(Conv&);
template void direct_stage<float>(Conv&);
template void direct_stage<double>(Conv&);
template void direct<float>(const Conv&, i64, i64);
template void direct<double>(const Conv&, i64, i64);

}  // namespace FASTNN_ISA
}  // namespace fastnn
