// RNN, GRU and LSTM over whole sequences, forward and backward.
#include "driver.h"

namespace fastnn {
namespace driver {

struct Layer {
    int cell;
    i64 directions, steps, batch, inputs, units, projected;  // projected: 0, or outputs of an LSTM
    bool biased, uneven;                                     // uneven: sequences of all lengths
    i64 outputs() const { return projected ? projected : units; }
    i64 gates() const { return cell == LSTM ? 4 : cell == GRU ? 3 : 1; }
    std::string name() const {
        static const char* const CELLS[] = {"tanh ", "relu ", "lstm ", "gru "};
        return CELLS[cell] + std::to_string(directions) + " ways " + by(steps, batch, inputs) + " to " + by(units, projected) +
               (biased ? ", biased" : "") + (uneven ? ", uneven" : "");
    }
};

template <class T> struct LayerArrays {
    Values<i64> start;
    i64 rows;
    Values<T> x, w_ih, w_hh, b_ih, b_hh, w_hr, h0, c0, dy, dh_n, dc_n;

    explicit LayerArrays(const Layer& of) : start(of.steps + 1) {
        for (i64 t = 0; t < of.steps; t++) {
            const i64 active = of.uneven ? of.batch - t * of.batch / (of.steps + 1) : of.batch;
            start[t + 1] = start[t] + (active < 1 ? 1 : active);
        }
        rows = start[of.steps];
        const i64 D = of.directions, H = of.units, P = of.outputs(), wide = of.gates() * H;
        const double size = 1 / sqrt(double(H));
        x = numbers<T>(rows * of.inputs);
        w_ih = numbers<T>(D * wide * of.inputs, -size, size), w_hh = numbers<T>(D * wide * P, -size, size);
        b_ih = numbers<T>(D * wide, -size, size), b_hh = numbers<T>(D * wide, -size, size);
        w_hr = numbers<T>(D * P * H, -size, size);
        h0 = numbers<T>(D * of.batch * P, -1, 1), c0 = numbers<T>(D * of.batch * H, -1, 1);
        dy = numbers<T>(rows * D * P), dh_n = numbers<T>(D * of.batch * P), dc_n = numbers<T>(D * of.batch * H);
    }
};

// What of an array of both directions belongs to direction d.
template <class T> static const T* part(const Values<T>& of, i64 d, i64 directions) {
    return of.data() + d * i64(of.size()) / directions;
}
template <class T> static T* part(Values<T>& of, i64 d, i64 directions) { return of.data() + d * i64(of.size()) / directions; }

template <class T> static Recurrent job_of(const Layer& of, const LayerArrays<T>& from) {
    Recurrent job = {};
    job.cell = of.cell, job.directions = of.directions, job.steps = of.steps, job.batch = of.batch;
    job.inputs = of.inputs, job.units = of.units, job.outputs = of.outputs();
    job.start = from.start.data(), job.x = from.x.data();
    for (i64 d = 0; d < of.directions; d++) {
        job.w_ih[d] = part(from.w_ih, d, of.directions), job.w_hh[d] = part(from.w_hh, d, of.directions);
        if (of.biased) job.b_ih[d] = part(from.b_ih, d, of.directions), job.b_hh[d] = part(from.b_hh, d, of.directions);
        if (of.projected) job.w_hr[d] = part(from.w_hr, d, of.directions);
    }
    job.h0 = from.h0.data(), job.c0 = given(of.cell == LSTM, from.c0);
    return job;
}

// The forward as in training, which keeps what the backward reads, and with the packed weights as in use, which keeps nothing.
template <class T> struct Forward {
    Values<T> y, h_n, c_n, kept, c, hidden, y_in_use;
    Forward(Recurrent& job, const Layer& of, const LayerArrays<T>& from) {
        const i64 D = of.directions, N = from.rows;
        y = y_in_use = unwritten<T>(N * D * of.outputs());
        h_n = unwritten<T>(D * of.batch * of.outputs());
        if (of.cell == LSTM) c_n = unwritten<T>(D * of.batch * of.units), c = unwritten<T>(D * N * of.units);
        if (of.cell >= LSTM) kept = unwritten<T>(D * N * recurrent_row(of.cell, of.units, sizeof(T)));
        if (of.projected) hidden = unwritten<T>(D * N * of.units);
        void* packed = nullptr;
        job.h_n = h_n.data(), job.c_n = given(of.cell == LSTM, c_n);
        job.y = y_in_use.data();
        expect(run_recurrent(DTYPE<T>, job, packed), "recurrent");
        job.y = y.data();
        job.kept = given(of.cell >= LSTM, kept), job.c = given(of.cell == LSTM, c), job.hidden = given(of.projected, hidden);
        expect(run_recurrent(DTYPE<T>, job, packed), "recurrent");
        release(packed);
    }
};

template <class T> static Outputs<T> there_and_back(const Layer& of, const LayerArrays<T>& from) {
    Recurrent job = job_of(of, from);
    const Forward<T> forward(job, of, from);
    const auto like = [](const Values<T>& x) { return unwritten<T>(i64(x.size())); };
    Values<T> dx = like(from.x), dh0 = like(from.h0), dc0 = like(from.c0), dw_ih = like(from.w_ih), dw_hh = like(from.w_hh);
    Values<T> db_ih = like(from.b_ih), db_hh = like(from.b_hh), dw_hr = like(from.w_hr);
    job.dy = from.dy.data(), job.dh_n = from.dh_n.data(), job.dc_n = given(of.cell == LSTM, from.dc_n);
    job.dx = dx.data(), job.dh0 = dh0.data(), job.dc0 = given(of.cell == LSTM, dc0);
    for (i64 d = 0; d < of.directions; d++) {
        job.dw_ih[d] = part(dw_ih, d, of.directions), job.dw_hh[d] = part(dw_hh, d, of.directions);
        job.db_ih[d] = part(db_ih, d, of.directions), job.db_hh[d] = part(db_hh, d, of.directions);
        if (of.projected) job.dw_hr[d] = part(dw_hr, d, of.directions);
    }
    expect(run_recurrent_backward(DTYPE<T>, job), "recurrent_backward");
    return {{"y", forward.y, 64},   {"y in use", forward.y_in_use, 64}, {"h_n", forward.h_n, 64}, {"c_n", forward.c_n, 64},
            {"dx", dx, 128},        {"dh0", dh0, 128},                  {"dc0", dc0, 128},        {"dw_ih", dw_ih, 128},
            {"dw_hh", dw_hh, 128},  {"db_ih", db_ih, 128},              {"db_hh", db_hh, 128},    {"dw_hr", dw_hr, 128}};
}

template <class T> void recurrent() {
    const i64 sizes[][4] = {{1, 1, 1, 1},  {1, 1, 9, 70},  {4, 1, 3, 5},   {3, 2, 5, 3},   {2, 3, 17, 16}, {6, 4, 2, 17},
                            {5, 5, 8, 33}, {3, 9, 31, 12}, {4, 17, 6, 40}, {2, 70, 7, 9},  {9, 8, 64, 64}, {1, 33, 40, 100}};
    int turn = 0;
    for (const auto& s : sizes)
        for (int cell : {RNN_TANH, RNN_RELU, LSTM, GRU})
            for (i64 directions : {1, 2})
                for (bool uneven : {false, true}) {
                    const i64 projected = cell == LSTM && s[3] > 2 && turn % 3 == 0 ? s[3] / 2 : 0;
                    const Layer layer = {cell, directions, s[0], s[1], s[2], s[3], projected, turn++ % 5 != 0, uneven};
                    const LayerArrays<T> from(layer);
                    check<T>(layer.name(), [&] { return there_and_back(layer, from); });
                }
}

template void recurrent<float>();
template void recurrent<double>();

}  // namespace driver
}  // namespace fastnn
