// The bodies of all kernels, written once over the vector vocabulary of the file that includes this one, and their
// table.
#pragma once

#include "elementwise.inc.h"
#include "gru.inc.h"
#include "lstm.inc.h"
#include "normalization.inc.h"
#include "random.inc.h"
#include "rnn.inc.h"
#include "sums.inc.h"
#include "tile.inc.h"
#include "transpose.inc.h"

namespace gru {
namespace {

template <class T>
constexpr CellPasses<T> gru_reset_after_passes = {run<Project<T, 3>>,
                                                  run<ResetAfter<T, false>>,
                                                  run<ResetAfter<T, true>>,
                                                  run<ResetAfterBackward<T>>,
                                                  nullptr,
                                                  nullptr,
                                                  nullptr};

template <class T>
constexpr CellPasses<T> gru_reset_before_passes = {run<Project<T, 3>>,
                                                   run<ResetBeforeGates<T>>,
                                                   run<ResetBeforeGates<T>>,
                                                   run<ResetBeforeBackwardOutput<T>>,
                                                   run<ResetBeforeOutput<T>>,
                                                   run<ResetBeforeBackwardGates<T>>,
                                                   nullptr};

template <class T>
constexpr CellPasses<T> gru_layer_norm_passes = {run<Projection<T, input_slot>>,
                                                 run<Projection<T, hidden_slot>>,
                                                 run<Projection<T, hidden_slot>>,
                                                 run<ResetAfterBackward<T>>,
                                                 normalized_step<T>,
                                                 normalized_step_backward<T>,
                                                 normalized_row_gradients<T>};

template <class T>
constexpr CellPasses<T> lstm_passes = {
    run<Project<T, 4>>, run<Lstm<T, false>>, run<Lstm<T, true>>, run<LstmBackward<T>>, nullptr, nullptr, nullptr};

template <class T, template <class> class Activation>
constexpr CellPasses<T> rnn_passes = {run<Project<T, 1>>,
                                      run<Rnn<T, Activation, false>>,
                                      run<Rnn<T, Activation, true>>,
                                      run<RnnBackward<T, Activation>>,
                                      nullptr,
                                      nullptr,
                                      nullptr};

template <class T>
constexpr Kernels<T> kernels = {
    Vector<T>::width,
    chains_for,
    run<Affine<T>>,
    {
        gru_reset_after_passes<T>,
        gru_reset_before_passes<T>,
        gru_layer_norm_passes<T>,
        lstm_passes<T>,
        rnn_passes<T, Tanh>,
        rnn_passes<T, Relu>,
    },
    run<StateBackward<T>>,
    {outer<T, 1>, outer<T, 2>, outer<T, 3>, outer<T, 4>},
    {pack_outer<T, 1>, pack_outer<T, 2>, pack_outer<T, 3>, pack_outer<T, 4>},
    transpose<T>,
    copy_rows<T>,
    sigmoid_all<T>,
    tanh_all<T>,
    max_of<T>,
    exp_sum<T>,
    dropout<T>,
    read_all<T>,
};

}  // namespace
}  // namespace gru
