// The input gradient of a convolution as a product and a fold, for launch.cpp.
#pragma once
#include "dispatch.h"

namespace fastnn {

bool is_folded(const Conv& job);  // whether it costs less so, by the geometry alone
bool run_conv_folded(int dtype, Conv& job, void* const* kept, void*& made);

}  // namespace fastnn
