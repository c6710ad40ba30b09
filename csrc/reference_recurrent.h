// The recurrent layers in plain loops, for the tables of reference.cpp.
#pragma once
#include "kernels.h"

namespace fastnn {
namespace reference {

void recurrent_plan(Recurrent& job);
template <class T> void recurrent_pack(const Recurrent& job, i64 begin, i64 end);
template <class T> void recurrent(const Recurrent& job, i64 begin, i64 end);
template <class T> void recurrent_backward(const Recurrent& job, i64 begin, i64 end);
template <class T> void recurrent_inputs(const Recurrent& job, i64 begin, i64 end);
template <class T> void recurrent_weights(const Recurrent& job, i64 begin, i64 end);

}  // namespace reference
}  // namespace fastnn
