#include "engine/weight_gradients.h"

#include <algorithm>

namespace gru {

template <class T>
WeightGradients<T>::WeightGradients(const RecurrentWeights<T>& weights, const RecurrentParameters<T>& out,
                                    const GradientRows<T>& tables, size_t rows, bool in_portions, int members)
    : w_(weights), out_(out), tables_(tables), rows_(rows), in_portions_(in_portions), members_(members) {
  const Cell<T>& cell = weights.cell;
  const size_t in_order[] = {0, 1, 2, 3};
  add(plain_operand<T>(tables.x, weights.input_size), cell.input, in_order, cell.gates, out.weight_ih, out.bias_ih);
  for (const HiddenGradients& own : cell.hidden_gradients)
    if (own.gates > 0) add(left_of(own), own.slot, own.gate, own.gates, out.weight_hh, out.bias_hh);
  if (tables.projection) add_projection();
  for (const auto& run : products_) {
    const size_t size = run.scratch_size(part_of(run.blocks(), 0, members_).size());  // the first part is the largest
    // Products share their scratch unless sums have to stay in it.
    begin_.push_back(in_portions ? member_scratch_ : 0);
    member_scratch_ = in_portions ? member_scratch_ + size : std::max(member_scratch_, size);
  }
  scratch_ = Buffer<T>(product(static_cast<size_t>(members_), member_scratch_));
}

template <class T>
void WeightGradients<T>::compute(int member, size_t rows, bool first, bool last, Progress& progress) const {
  T* const scratch = scratch_.data() + static_cast<size_t>(member) * member_scratch_;
  for (size_t i = 0; i < products_.size(); ++i) {
    // Whoever has the smaller part of one product has the larger one of the next.
    const Part blocks = part_of(products_[i].blocks(), i % 2 ? members_ - 1 - member : member, members_);
    products_[i].compute(blocks, rows, first, last, scratch + begin_[i], progress);
  }
}

template <class T>
Operand<T> WeightGradients<T>::left_of(const HiddenGradients& own) const {
  return own.left_slot == 0 ? plain_operand<T>(tables_.h, w_.output_size) : in_slot(own.left_slot);
}

template <class T>
Operand<T> WeightGradients<T>::in_slot(ptrdiff_t slot) const {
  const auto width = static_cast<ptrdiff_t>(w_.kernels.vector);
  return {tables_.gate_rows, slot * width, w_.hidden_size, w_.kernels.vector, tables_.gates.panel_stride()};
}

// Of what was projected, with the gradients of the projections.
template <class T>
void WeightGradients<T>::add_projection() {
  const ProjectionGradients<T>& from = *tables_.projection;
  const auto width = static_cast<ptrdiff_t>(w_.kernels.vector);
  const GateProduct<T> product{in_slot(w_.cell.projected), from.row(0), from.stride(), width, 1, w_.output_size,
                               {out_.weight_hr},           {}};
  products_.emplace_back(w_.kernels, product, rows_, in_portions_);
}

// A product with the gradients of some gates, which stand in slots from `slot` on.
template <class T>
void WeightGradients<T>::add(const Operand<T>& left, ptrdiff_t slot, const size_t* gates, size_t count, T* out,
                             T* bias) {
  const size_t H = w_.hidden_size;
  const T* const right = tables_.gates.row(0) + slot * static_cast<ptrdiff_t>(w_.kernels.vector);
  GateProduct<T> product{left, right, tables_.gates.row_stride(), tables_.gates.panel_stride(), 0, H, {}, {}};
  for (size_t i = 0; i < count; ++i) {
    const size_t gate = gates[i];
    product.out[product.gates] = out + gate * H * left.size;
    product.totals[product.gates++] = bias ? bias + gate * H : nullptr;
  }
  products_.emplace_back(w_.kernels, product, rows_, in_portions_);
}

template class WeightGradients<float>;
template class WeightGradients<double>;

}  // namespace gru
