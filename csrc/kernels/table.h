// What an ISA offers: one constant table of functions and sizes per element type.
//
// This header and what it includes are all that a kernel file may include beside its intrinsics: an inline function of
// the standard library compiled with AVX-512 flags could otherwise become the copy that the linker keeps for every CPU.
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "../formats/format.h"

namespace gru {

// The left factor of a tile's product. Each row is an address; `offset` elements behind it, k runs over `size` elements
// in pieces of `block_size` contiguous ones that stand `block_stride` apart. A row-major row is one piece.
template <class T>
struct Operand {
  const T* const* rows;
  ptrdiff_t offset;
  size_t size;
  size_t block_size;
  ptrdiff_t block_stride;
};

// What a product multiplies. T is what is computed in, W what weights are stored in.
template <class T, class W = T>
struct Factors {
  Operand<T> left;
  Panels<W> right;
};

// The gates of some rows, each [panel][slot][vector]: `rows` are the addresses of the first gate's slot in panel 0.
// A step finds their projections there; with a tape it leaves the gates, which backward overwrites in place by their
// gradients, so that the gradients of all products are contiguous slices of slots.
//   GRU   (hn, r, z, n), the first gate being r: gradients of the hidden side stand in hn, r, z. Reset before has
//         r * h in slot hn. Inference with reset after has no slot hn. With layer normalization the projections of x
//         and of h have three slots each behind n, which become their gradients.
//   LSTM  (i, f, g, o), on a tape also the c that the step began with
//   RNN   (a), on a tape h'
template <class T>
struct Gates {
  T* const* rows;
  ptrdiff_t panel_stride;
};

// What a gate's function is when it is chosen at run time; in the order of gn_function.
enum class Function {
  sigmoid,
  tanh,
  relu,
  linear,
  hard_sigmoid,
  leaky_relu,
  elu,
  softsign,
  softplus,
  scaled_tanh,
  thresholded_relu
};

template <class T>
struct Activation {
  Function function;
  T alpha, beta;
};

// What is chosen of a cell at run time.
template <class T>
struct Choices {
  Activation<T> of[3];  // see Cell::usual
  T clip;               // what they take is between this and its negative
  bool input_forget;    // f = 1 - i
  bool projects;        // whether h stays in a slot, from where it is projected
  const T* peephole;    // [panel][i, f, o][vector], or null for none
};

// One pass over some rows and panels: a product, begun from values that the pass defines and ended by its epilogue.
// Each function of the table says which members it uses; the others may be left empty. Row addresses are for the first
// unit; `units` is the number of valid units over all panels, so that the last panel may be partly filled.
template <class T, class W = T>
struct Pass : Factors<T, W> {
  size_t rows;
  size_t first_panel, last_panel;
  bool descending;  // the last panel first: what the pass before read last is then still in cache
  size_t units;
  const T* bias;  // [panel][gate][vector], or null for zeros
  // Of a step that projects x itself: the product before the pass's own, and where its sums begin.
  Factors<T, W> x;
  const T* x_bias;
  Gates<T> gates;
  const T* const* h_previous;  // rows
  const T* const* d_output;    // rows
  // Rows, [panel][vector] each: what goes from step to step beside h. Forward: c of the LSTM. Backward: the part of d_h
  // that bypasses the product and, of the LSTM, behind it d_c.
  T* const* carry;
  ptrdiff_t carry_panel;
  T* const* output;  // rows
  bool accumulate;   // affine: begin from what `output` holds
  const Choices<T>* choices;
  // Backward, of a cell that has own sums, [panel][row][which][vector]: what of a row goes into them.
  T* sums;
  ptrdiff_t sums_panel, sums_row;
  T* row_gradients;  // layer normalization: row_gradient_size of each row
};

// Layer normalization: the slots of the projections of x and of h, counted from r's; the vectors of a panel in
// Pass::bias, which are the gains of r, z and n or hn on each side, the biases of r and z (of both sides together), of
// n and of hn; and what the backward pass needs of whole rows.
constexpr size_t input_slot = 3, hidden_slot = 6;
constexpr size_t input_gain = 0, hidden_gain = 3, bias_r = 6, bias_z = 7, bias_n = 8, bias_hn = 9, norm_vectors = 10;
constexpr size_t row_gradient_size = 8;

// sums[column][gate][vector] += sum over rows of left[row][column] * right[row][gate][vector], and
// totals[gate][vector] += sum over rows of right[row][gate][vector].
template <class T>
struct Outer {
  size_t first_row, last_row;
  const T* left;       // row 0 of plain rows; or what pack_outer made of `packed_rows` rows and all of the columns
  ptrdiff_t left_row;  // from a plain row to the next; or 0
  size_t packed_rows;
  size_t columns;
  const T* right;       // row 0; the gates of a row follow each other
  ptrdiff_t right_row;  // from a row to the next
  const T* ahead;       // row 0 of the rows that will be read next, or null
  T* sums;
  T* totals;        // or null
  bool accumulate;  // otherwise `sums` and `totals` are overwritten
};

// Some rows of a matrix, each contiguous; from one to the next are `row` elements.
template <class E>
struct RowBlock {
  E* data;
  ptrdiff_t row;
  size_t rows, columns;

  E* at(size_t i) const { return data + static_cast<ptrdiff_t>(i) * row; }
};

constexpr size_t cell_kinds = 6;

// A product that gives gradients of some gates' hidden weights, from h or from a slot of the tape, and from gradients
// that stand in slots one after the other. Slots are those of Gates, counted from the first gate's.
struct HiddenGradients {
  ptrdiff_t slot = 0;       // the first of the gradients
  size_t gates = 0;         // 0: there is no such product
  size_t gate[4] = {};      // which each of them is
  ptrdiff_t left_slot = 0;  // 0: h
};

// The arrays of parameters whose gradients are no products, but sums over rows.
enum class Summed { none, bias_ih, bias_hh, gamma_ih, gamma_hh, peephole };

// One of these sums: where it goes, and which H elements of those arrays it is.
struct OwnSum {
  Summed to[2] = {};
  size_t part = 0;
};

// What is computed in a step, and what the loops must know of it.
template <class T>
struct Cell {
  size_t gates = 0;                        // of the projections: weights and biases have gates * H rows
  size_t lead = 0, slots = 0;              // slots before the first gate's; all slots
  size_t taped_lead = 0, taped_slots = 0;  // the same of a tape's rows
  size_t hidden_gates = 0;                 // of the hidden weights' first product
  ptrdiff_t flow = 0;            // the first of as many slots whose gradients flow through it into the state before
  ptrdiff_t input = 0;           // the first slot of the gates whose gradients flow into x
  size_t states = 1;             // h, or h and c
  size_t hidden_bias_apart = 0;  // the gate whose hidden bias cannot join the input's, counted from 1; 0 for none
  bool normalized = false;       // its projections are
  HiddenGradients hidden_gradients[2] = {};
  size_t own_sums = 0;
  OwnSum own_sum[norm_vectors] = {};
  size_t functions = 0;        // that can be chosen: of gates, of the candidate, of the LSTM's c'
  Function usual[3] = {};      // what they are when they are not chosen
  ptrdiff_t projected = 0;     // the slot of h before its projection, of cells that may have one
  bool has_peepholes = false;  // whether there can be any, and f = 1 - i

  void (*project)(const Pass<T>&) = nullptr;     // gates = bias + left * right
  void (*step)(const Pass<T>&) = nullptr;        // from the projected gates to h' in `output`
  void (*whole_step)(const Pass<T>&) = nullptr;  // the same from x; null where projections have other gates
  void (*step_taped)(const Pass<T>&) = nullptr;  // the same, and what backward needs into the slots
  // Backward, one gate: d_h = carry + d_output + left * right, where left holds the gate gradients of the step that
  // follows in time (none at first); then the gates of this step become gradients, and the carry that of the step
  // before.
  void (*step_backward)(const Pass<T>&) = nullptr;
  // Reset before has two passes, of which the first gives r * h and so d_n: left of the second. With layer
  // normalization the first pass projects h, and the second needs whole rows of that. Null for the others.
  void (*second)(const Pass<T>&) = nullptr;
  void (*second_backward)(const Pass<T>&) = nullptr;
  // Layer normalization: what second_backward, which overwrites its part of the rows, needs of whole ones.
  void (*row_gradients)(const Pass<T>&) = nullptr;
};

template <class T>
struct Kernels {
  size_t vector;  // elements in a vector: the units of a panel
  Format<T> format;

  size_t (*chains)(size_t panels, size_t gates);  // what Panels::chains must be

  void (*affine)(const Pass<T>&);  // output = bias + left * right (one gate)
  Cell<T> cells[cell_kinds];       // in the order of gn_cell
  Cell<T> chosen[cell_kinds];      // the same with Choices; those that have none have no gates
  // output = carry + left * right (one gate): the gradient of h_0
  void (*state_backward)(const Pass<T>&);

  void (*outer[4])(const Outer<T>&);  // of one to four gates
  // The left factor of `outer` from plain rows, of which the columns begin `offset` elements behind the address
  void (*pack_outer[4])(size_t rows, const T* const* from, ptrdiff_t offset, size_t columns, T* to);
  // to[column][row] = from[row][column]; a row of either begins so many elements behind the one before it
  void (*transpose)(size_t rows, size_t columns, const T* from, ptrdiff_t from_row, T* to, ptrdiff_t to_row);
  // A vector of `to` in each row = that of `from`, of which the first n elements are valid, zeros behind them
  void (*copy_rows)(size_t rows, size_t n, const T* from, ptrdiff_t from_row, T* to, ptrdiff_t to_row);

  void (*sigmoid)(size_t size, const T* x, T* y);
  void (*tanh)(size_t size, const T* x, T* y);
  // y = f(x), and its slope, which may be null
  void (*activate)(const Activation<T>& f, size_t size, const T* x, T* y, T* slope);
  T (*max)(size_t size, const T* x);                     // -inf for none, NaN is passed over
  T (*exp_sum)(size_t size, const T* x, T shift, T* y);  // y = exp(x - shift), returns the sum

  // Attention. to[row] = matrix[row] · x
  void (*row_products)(const RowBlock<const T>& matrix, const T* x, T* to);
  // to = sum over rows of weights[row] * matrix[row]
  void (*weighted_rows)(const RowBlock<const T>& matrix, const T* weights, T* to);
  // matrix[row] += weights[row] * x
  void (*add_to_rows)(const RowBlock<T>& matrix, const T* weights, const T* x);
  // to[row] = v · tanh(matrix[row] + x)
  void (*tanh_products)(const RowBlock<const T>& matrix, const T* x, const T* v, T* to);
  // Adds the gradients of that, from d[row] of to[row]
  void (*tanh_products_backward)(const RowBlock<const T>& matrix, const T* x, const T* v, const T* d,
                                 const RowBlock<T>& d_matrix, T* d_x, T* d_v);

  // y = 0 where the random number of the element is below the threshold, x * scale elsewhere. The numbers are a
  // function of the key and the element's place, of which the first one is dropout_group * group.
  void (*dropout)(size_t size, const T* x, T* y, uint64_t key, uint64_t group, uint32_t threshold, T scale);

  // For the benchmark only: reads all elements `repeats` times, as fast as loads go, and returns their sum.
  T (*read)(size_t size, const T* x, size_t repeats);
};

constexpr size_t dropout_group = 64;

// One instruction set: its name and its two tables.
struct Isa {
  const char* name;
  const Kernels<float>* float32;
  const Kernels<double>* float64;
};

}  // namespace gru
