// What the tests of all families share: numbers to compute on, arrays that end at a fence, and the comparison of the row
// under test with the reference. A test computes a list of outputs with whatever row is chosen, as the bindings would: `check`
// runs it with the reference, with the row under test on one thread, and again on two, which must give the same bits.
#pragma once
#include <math.h>
#include <string.h>

#include <string>
#include <vector>

#include "dispatch.h"

namespace fastnn {
namespace driver {

template <class T> constexpr DType DTYPE = sizeof(T) == 4 ? F32 : F64;

// ---- arrays -----------------------------------------------------------------------------------------------------

// Memory whose last byte stands before an unreadable page: what a kernel touches beyond the end is a crash.
void* fenced(size_t bytes);
void tear_down(void* memory, size_t bytes);

template <class T> struct Fenced {
    typedef T value_type;
    Fenced() = default;
    template <class U> Fenced(const Fenced<U>&) {}
    T* allocate(size_t n) { return static_cast<T*>(fenced(n * sizeof(T))); }
    void deallocate(T* p, size_t n) { tear_down(p, n * sizeof(T)); }
    friend bool operator==(const Fenced&, const Fenced&) { return true; }
    friend bool operator!=(const Fenced&, const Fenced&) { return false; }
};
template <class T> using Values = std::vector<T, Fenced<T>>;

// Reproducible numbers in [low, high), the same on every machine.
double number(double low, double high);
i64 whole_number(i64 low, i64 high);  // in [low, high]
template <class T> Values<T> numbers(i64 n, double low = -2, double high = 2) {
    Values<T> values(n);
    for (T& v : values) v = T(number(low, high));
    return values;
}
template <class T> Values<T> integers(i64 n, i64 most = 8) {  // whose products and sums are exact
    Values<T> values(n);
    for (T& v : values) v = T(whole_number(-most, most));
    return values;
}
template <class T> Values<T> unwritten(i64 n) { return Values<T>(n, T(NAN)); }  // an output before its kernel

// What an optional argument is given: the data, or null.
template <class T> T* given(bool wanted, Values<T>& x) { return wanted ? x.data() : nullptr; }
template <class T> const T* given(bool wanted, const Values<T>& x) { return wanted ? x.data() : nullptr; }

// ---- comparison -------------------------------------------------------------------------------------------------

// One result. An error is counted in units of the last place of |want|, of the mean of all |want| or of the size of `terms`,
// whichever is the most: a sum that cancels out is no better than its terms. `units` are allowed; 0: exactly equal.
template <class T> struct Output {
    const char* name;
    Values<T> values;
    double units;
    double terms = 0;
};
template <class T> using Outputs = std::vector<Output<T>>;

void fail(const std::string& what);
void expect(bool done, const char* what);  // a runner that says it had no memory
void set_case(const std::string& name);    // for messages

template <class T> void compare(const Output<T>& got, const Output<T>& want);
template <class T> void expect_same_bits(const Output<T>& got, const Output<T>& want);

const Isa& reference();
const Isa& under_test();

template <class T, class Run> void check(const std::string& name, Run run) {
    set_case(name + (sizeof(T) == 4 ? ", f32" : ", f64"));
    const auto with = [&](const Isa& isa, int threads) -> Outputs<T> {
        use_isa(isa);
        set_num_threads(threads);
        return run();
    };
    const Outputs<T> want = with(reference(), 2), got = with(under_test(), 1), again = with(under_test(), 2);
    for (size_t i = 0; i < want.size(); i++) {
        compare(got[i], want[i]);
        expect_same_bits(again[i], got[i]);
    }
}

template <class T> const Kernels& kernels() { return *runtime().table[DTYPE<T>]; }

// All items, in chunks that threads share out: an item is said to be costly.
template <class Job> void run_items(KernelOf<Job> kernel, const Job& job, i64 items) { launch(kernel, job, items, 20e3); }

// "3x4x5"
template <class... I> std::string by(I... sizes) {
    std::string text;
    for (i64 n : {i64(sizes)...}) text += (text.empty() ? "" : "x") + std::to_string(n);
    return text;
}

// ---- families ---------------------------------------------------------------------------------------------------

template <class T> void elementwise();  // elementwise.cpp
template <class T> void extremes();
template <class T> void prelus();
template <class T> void dropout();
template <class T> void reductions();   // rows.cpp
template <class T> void rows();
template <class T> void losses();
template <class T> void embedding();
template <class T> void matmul();       // matmul.cpp
template <class T> void optimizers();   // optimizers.cpp
template <class T> void convolution();  // conv.cpp
template <class T> void winograd();
template <class T> void pooling();      // pool.cpp
template <class T> void resampling();
template <class T> void group_norm();   // norm.cpp
template <class T> void row_norm();
template <class T> void recurrent();    // recurrent.cpp
template <class T> void attention();    // attention.cpp
template <class T> void ctc();          // ctc.cpp

}  // namespace driver
}  // namespace fastnn
