// Compares every instruction set that runs here with the reference, family by family, over sizes about the lanes and blocks.
// Needs no Python: it is what a cross-compiled build runs under an emulator (.ci/arm64). Prints a line for each row and family;
// the exit status is 1 after a difference. Families may be named on the command line: fastnn_driver convolution ctc.
#include "driver.h"

#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

namespace fastnn {
namespace driver {

// ---- arrays ----

static size_t whole_pages(size_t bytes) {
    const size_t page = size_t(sysconf(_SC_PAGESIZE));
    return (bytes + page - 1) / page * page;
}

void* fenced(size_t bytes) {
    const size_t inside = whole_pages(bytes), fence = whole_pages(1);
    char* memory = static_cast<char*>(
        mmap(nullptr, inside + fence, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    if (memory == MAP_FAILED || mprotect(memory + inside, fence, PROT_NONE)) {
        perror("memory for a test's arrays");
        _exit(1);
    }
    return memory + inside - bytes;
}

void tear_down(void* memory, size_t bytes) {
    const size_t inside = whole_pages(bytes);
    munmap(static_cast<char*>(memory) + bytes - inside, inside + whole_pages(1));
}

static uint64_t state = 1;  // of each family anew: a family alone sees what it sees among others

double number(double low, double high) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    return low + (high - low) * double(state >> 11) / 9007199254740992.0;
}

i64 whole_number(i64 low, i64 high) { return i64(floor(number(double(low), double(high) + 1))); }

// ---- comparison ----

static struct Tally {
    long values = 0;
    int failures = 0;
    double worst[DTYPES] = {};  // relative error
    double share = 0;           // of what is allowed
} tally;
static std::string current_case;
static const Isa* tested = nullptr;

const Isa& reference() { return ISAS[ISA_COUNT - 1]; }
const Isa& under_test() { return *tested; }

void set_case(const std::string& name) { current_case = name; }

void fail(const std::string& what) {
    if (tally.failures++ < 10) printf("%s: %s\n", current_case.c_str(), what.c_str());
}

void expect(bool done, const char* what) {
    if (!done) fail(std::string(what) + ": no memory");
}

template <class T> static double mean_size(const Values<T>& x) {
    double sum = 0, n = 0;
    for (T v : x)
        if (isfinite(v)) sum += fabs(double(v)), n++;
    return n ? sum / n : 0;
}

template <class T> static bool same(T a, T b) { return a == b || (a != a && b != b); }

template <class T> void compare(const Output<T>& got, const Output<T>& want) {
    constexpr double EPS = sizeof(T) == 4 ? 1.1920929e-7 : 2.220446049250313e-16;
    const double scale = fmax(want.terms, mean_size(want.values));
    for (size_t i = 0; i < want.values.size(); i++, tally.values++) {
        const T g = got.values[i], w = want.values[i];
        if (same(g, w)) continue;
        const double error = fabs(double(g) - double(w)) / fmax(fabs(double(w)), scale), bound = want.units * EPS;
        if (error <= bound) {
            tally.worst[DTYPE<T>] = fmax(tally.worst[DTYPE<T>], error);
            tally.share = fmax(tally.share, error / bound);
            continue;
        }
        char text[200];
        snprintf(text, sizeof text, "%s: element %zu of %zu is %.9g, expected %.9g: %.3g units off, allowed are %.3g",
                 want.name, i, want.values.size(), double(g), double(w), error / EPS, want.units);
        return fail(text);
    }
}

template <class T> void expect_same_bits(const Output<T>& got, const Output<T>& want) {
    for (size_t i = 0; i < want.values.size(); i++)
        if (!same(got.values[i], want.values[i]))
            return fail(std::string(want.name) + ": two threads do not give the bits of one at element " + std::to_string(i));
}

template void compare<float>(const Output<float>&, const Output<float>&);
template void compare<double>(const Output<double>&, const Output<double>&);
template void expect_same_bits<float>(const Output<float>&, const Output<float>&);
template void expect_same_bits<double>(const Output<double>&, const Output<double>&);

// ---- the families ----

struct Family {
    const char* name;
    void (*f32)();
    void (*f64)();
};
#define FAMILY(name) {#name, name<float>, name<double>}
static const Family FAMILIES[] = {
    FAMILY(elementwise),  FAMILY(extremes),     FAMILY(prelus),       FAMILY(dropout),      FAMILY(reductions),
    FAMILY(rows),         FAMILY(losses),       FAMILY(embedding),    FAMILY(matmul),       FAMILY(optimizers),
    FAMILY(convolution),  FAMILY(winograd),     FAMILY(pooling),      FAMILY(resampling),   FAMILY(group_norm),
    FAMILY(row_norm),     FAMILY(recurrent),    FAMILY(attention),    FAMILY(ctc),
};

static int run(const Isa& isa, const Family& family) {
    tested = &isa;
    tally = Tally();
    state = 1;
    const clock_t start = clock();  // of all threads
    family.f32();
    family.f64();
    const double seconds = double(clock() - start) / CLOCKS_PER_SEC;
    if (tally.values == 0) fail("nothing was compared");
    printf("%-11s %-12s %9ld values, worst error f32 %.1e f64 %.1e, at most %2.0f %% of what is allowed, %d differences, "
           "%.1f s of CPU\n",
           isa.name, family.name, tally.values, tally.worst[F32], tally.worst[F64], 100 * tally.share, tally.failures, seconds);
    return tally.failures;
}

static void on_crash(int) {
    const char told[] = ": a kernel touched what is not its own\n";
    ssize_t written = write(STDOUT_FILENO, current_case.data(), current_case.size());
    written = write(STDOUT_FILENO, told, sizeof told - 1);
    _exit(written < 0 ? 2 : 1);
}

static bool wanted(const char* name, int count, char** names) {
    for (int i = 0; i < count; i++)
        if (strcmp(names[i], name) == 0) return true;
    return count == 0;
}

}  // namespace driver
}  // namespace fastnn

int main(int argc, char** argv) {
    using namespace fastnn;
    setvbuf(stdout, nullptr, _IOLBF, 0);  // what was found before a crash is told
    signal(SIGSEGV, driver::on_crash);
    signal(SIGBUS, driver::on_crash);
    int failures = 0, families = 0;
    for (int isa = 0; isa < ISA_COUNT - 1; isa++)
        for (const driver::Family& family : driver::FAMILIES) {
            if (!ISAS[isa].runs_here() || !driver::wanted(family.name, argc - 1, argv + 1)) continue;
            failures += driver::run(ISAS[isa], family);
            families++;
        }
    if (families == 0) printf("nothing was run\n");
    return failures != 0 || families == 0;
}
