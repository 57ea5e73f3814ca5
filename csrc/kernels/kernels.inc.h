// The bodies of all kernels, written once over the vector vocabulary of the file that includes this one, and their
// table.
#pragma once

#include "../cells/gru_layer_norm.inc.h"
#include "../cells/gru_reset_after.inc.h"
#include "../cells/gru_reset_before.inc.h"
#include "../cells/lstm.inc.h"
#include "../cells/rnn.inc.h"
#include "../formats/plain.inc.h"
#include "attention.inc.h"
#include "elementwise.inc.h"
#include "random.inc.h"
#include "sums.inc.h"
#include "tile.inc.h"
#include "transpose.inc.h"

namespace gru {
namespace {

template <class T>
constexpr Kernels<T> kernels = {
    Vector<T>::width,
    plain<T>,
    chains_for,
    run<Affine<T>>,
    // In the order of gn_cell.
    {gru_reset_after<T>, gru_reset_before<T>, gru_layer_norm<T>, lstm<T>, rnn<T, Tanh>, rnn<T, Relu>},
    {gru_reset_after_chosen<T>,
     gru_reset_before_chosen<T>,
     {},
     lstm_chosen<T>,
     rnn_chosen<T, Tanh>,
     rnn_chosen<T, Relu>},
    run<StateBackward<T>>,
    {outer<T, 1>, outer<T, 2>, outer<T, 3>, outer<T, 4>},
    {pack_outer<T, 1>, pack_outer<T, 2>, pack_outer<T, 3>, pack_outer<T, 4>},
    transpose<T>,
    copy_rows<T>,
    sigmoid_all<T>,
    tanh_all<T>,
    activate_all<T>,
    max_of<T>,
    exp_sum<T>,
    row_products<T>,
    weighted_rows<T>,
    add_to_rows<T>,
    tanh_products<T>,
    tanh_products_backward<T>,
    dropout<T>,
    read_all<T>,
};

}  // namespace
}  // namespace gru
