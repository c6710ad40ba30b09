// Images at the door: (N, C, H, W) by shape, N, H, W, C by memory.
#pragma once
#include "bind.h"

namespace fastnn {
namespace bind {

// x (N, C, ...) with `ndim` dimensions, its memory (N, ..., C) and dense: itself if it is so, else a copy.
Array images_input(const char* who, const char* name, py::handle x, int ndim, const Array* like = nullptr);
// A new one without values.
Array new_images(DType dtype, int ndim, const npy_intp* shape);

}  // namespace bind
}  // namespace fastnn
