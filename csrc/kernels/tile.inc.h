// The tile: products of some rows with some panels, begun and ended by an epilogue.
//
// The order of summation of an output element: it begins from the stored value; k runs upwards, k mod chains chooses
// the chain; the chains are added pairwise at the end. Nothing else (rows, panels, steps) has a part in it. Where there
// is one chain, k may be cut into pieces between which the sum lies in memory.
#pragma once

#include "epilogue.inc.h"

namespace gru {
namespace {

// Independent sums that hide the latency of an FMA.
constexpr size_t enough_sums = 8;

// Chains kept over k for so many panels of G gates: as many as make enough sums of one row.
size_t chains_for(size_t panels, size_t gates) {
  size_t chains = 1;
  while (chains < enough_sums && chains * panels * gates < enough_sums) chains *= 2;
  return chains;
}

// Panels that the tallest tile leaves room for. Of a single gate one panel would not do: a row's broadcasts would be
// loads without enough to multiply.
constexpr size_t room_for(size_t gates, size_t chains) {
  if (gates > 1 || chains == 8) return 1;
  return chains > 1 ? 2 : 3;
}

// Rows of the tallest tile.
template <class T, size_t G, size_t C>
constexpr size_t tallest = at_least(at_most(Vector<T>::accumulators / (G * C * room_for(G, C)), 8), 1);

// Panels side by side in a tile of R rows: they hide latency at few rows, and share the loads of the left factor. Not
// more than there are where half of the chains would not make enough sums.
template <class T, size_t G, size_t C>
constexpr size_t widest(size_t rows) {
  constexpr size_t few = C > 1 ? at_most((2 * enough_sums - 1) / (C * G), 4) : 4;
  return at_least(at_most(Vector<T>::accumulators / (rows * G * C), rows * G * C == 1 ? 8 : few), 1);
}

// A piece of k, [first, last): whole blocks of the left factor.
struct Piece {
  size_t first, last;
};

// Weights that a product fetches for a later one: for each k one vector, or all of those of one k. None if null.
template <class T>
struct Ahead {
  const T* from;
  bool all;
};

// sums[R][P][G] += left * right over a piece of k, for R rows from `row` and P panels from `panel`.
template <class T, size_t R, size_t P, size_t G, size_t C>
void multiply_add(const Factors<T>& factors, size_t row, size_t panel, Piece piece, Ahead<T> ahead,
                  typename Vector<T>::Reg* sums) {
  using V = Vector<T>;
  typename V::Reg chain[C][R][P][G];
  const T* left[R];
  const Operand<T>& operand = factors.left;
  const ptrdiff_t start =
      operand.offset + static_cast<ptrdiff_t>(piece.first / operand.block_size) * operand.block_stride;
  GRU_FOR (r, 0, R) {
    left[r] = operand.rows[row + r] + start;
    GRU_FOR (p, 0, P)
      GRU_FOR (g, 0, G) {
        chain[0][r][p][g] = sums[(r * P + p) * G + g];
        GRU_FOR (c, 1, C) chain[c][r][p][g] = V::zero();
      }
  }
  const ptrdiff_t panel_stride = factors.right.panel_stride;
  const T* right = factors.right.data + static_cast<ptrdiff_t>(panel) * panel_stride + piece.first * G * V::width;

  // A compiler that takes loads for cheap repeats them for each of two or three rows. Whichever is fewer waits in
  // registers, the weights of all panels or the elements of all rows; the others pass through a single one, because
  // beside its sums AVX2 has no room for more.
  auto load = [&](size_t p, size_t c, size_t g) GRU_LAMBDA_INLINE {
    auto weight = V::load(right + static_cast<ptrdiff_t>(p) * panel_stride + (c * G + g) * V::width);
    if (R == 2 || R == 3) hold(weight);
    return weight;
  };
  auto term = [&](size_t c, size_t k) GRU_LAMBDA_INLINE {
    if constexpr (P * G <= R) {
      typename V::Reg weight[P][G];
      GRU_FOR (p, 0, P)
        GRU_FOR (g, 0, G) weight[p][g] = load(p, c, g);
      GRU_FOR (r, 0, R) {
        const auto value = V::set(left[r][k + c]);
        GRU_FOR (p, 0, P)
          GRU_FOR (g, 0, G) chain[c][r][p][g] = V::fma(value, weight[p][g], chain[c][r][p][g]);
      }
    } else {
      typename V::Reg value[R];
      GRU_FOR (r, 0, R) value[r] = V::set(left[r][k + c]);
      GRU_FOR (p, 0, P)
        GRU_FOR (g, 0, G) {
          const auto weight = load(p, c, g);
          GRU_FOR (r, 0, R) chain[c][r][p][g] = V::fma(value[r], weight, chain[c][r][p][g]);
        }
    }
  };

  auto sweep = [&](auto fetch) GRU_LAMBDA_INLINE {
    for (size_t done = piece.first; done < piece.last; done += operand.block_size) {
      const size_t size = at_most(operand.block_size, piece.last - done);
      size_t k = 0;
      for (; k + C <= size; k += C, right += C * G * V::width) {
        GRU_FOR (c, 0, C) term(c, k);
        fetch();
      }
      if constexpr (C > 1) {
        GRU_FOR (c, 0, C - 1)
          if (k + c < size) term(c, k);
        right += (size - k) * G * V::width;
      }
      GRU_FOR (r, 0, R) left[r] += operand.block_stride;
    }
  };
  // Tiles of few rows do nothing but load: there a fetch would only be in the way.
  constexpr bool fetches = C == 1 && R >= 4;
  if (fetches && ahead.from && ahead.all) {
    sweep([&]() GRU_LAMBDA_INLINE {
      GRU_FOR (p, 0, P)
        GRU_FOR (g, 0, G)
          __builtin_prefetch(ahead.from + static_cast<ptrdiff_t>(p) * panel_stride + g * V::width, 0, 2);
      ahead.from += G * V::width;
    });
  } else if (fetches && ahead.from) {
    sweep([&]() GRU_LAMBDA_INLINE {
      __builtin_prefetch(ahead.from, 0, 2);
      ahead.from += V::width;
    });
  } else {
    sweep([]() GRU_LAMBDA_INLINE {});
  }

  GRU_FOR (r, 0, R)
    GRU_FOR (p, 0, P)
      GRU_FOR (g, 0, G) {
        GRU_UNROLL
        for (size_t apart = 1; apart < C; apart *= 2)
          GRU_FOR (c, 0, C - apart)
            if (c % (2 * apart) == 0) chain[c][r][p][g] = V::add(chain[c][r][p][g], chain[c + apart][r][p][g]);
        sums[(r * P + p) * G + g] = chain[0][r][p][g];
      }
}

// The products of every tile size, by rows and panels.
template <class T, size_t G, size_t C>
struct Products {
  using Function = void (*)(const Factors<T>&, size_t, size_t, Piece, Ahead<T>, typename Vector<T>::Reg*);
  Function of[8][8] = {};

  constexpr Products() { fill<1, 1>(); }

 private:
  template <size_t R, size_t P>
  constexpr void fill() {
    of[R - 1][P - 1] = multiply_add<T, R, P, G, C>;
    if constexpr (P < widest<T, G, C>(R))
      fill<R, P + 1>();
    else if constexpr (R < tallest<T, G, C>)
      fill<R + 1, 1>();
  }
};

template <class T, size_t G, size_t C>
constexpr Products<T, G, C> products;

// Some rows and panels of a pass, and the sums of G gates. The sums stay in memory between an epilogue and a product:
// that costs little beside the product, and either is compiled once for all of the other.
template <class T, size_t G>
struct Tile {
  size_t row, rows, panel, panels;
  typename Vector<T>::Reg* sums;
};

// Goes through the places of a tile in the order of its sums.
template <class T, size_t G>
GRU_INLINE Place take(const Pass<T>& pass, const Tile<T, G>& tile, Place& next) {
  constexpr size_t W = Vector<T>::width;
  const Place taken = {next.row, next.panel, at_most(pass.units - next.panel * W, W)};
  if (++next.panel == tile.panel + tile.panels) {
    next.panel = tile.panel;
    ++next.row;
  }
  return taken;
}

// Calls function(pass, row, panel, units, sums) for each place.
template <class T, size_t G, class Function>
GRU_INLINE void for_each_place(const Pass<T>& pass, const Tile<T, G>& tile, Function function) {
  Place next = {tile.row, tile.panel, 0};
  for (size_t i = 0; i < tile.rows * tile.panels; ++i) {
    const Place at = take(pass, tile, next);
    function(pass, at.row, at.panel, at.units, tile.sums + i * G);
  }
}

// Of an epilogue whose places overlap, as many as `size`, which is N at most.
template <class Epilogue, size_t N, class T, size_t G>
GRU_INLINE void finish_some(const Pass<T>& pass, const Tile<T, G>& tile, Place& next, size_t size, size_t first) {
  if constexpr (N > 1)
    if (size < N) return finish_some<Epilogue, N - 1>(pass, tile, next, size, first);
  Place at[N];
  GRU_FOR (i, 0, N) at[i] = take(pass, tile, next);
  Epilogue::template finish<N>(pass, at, tile.sums + first * G);
}

// In groups of places whose chains overlap. That is long code, compiled once for all numbers of chains.
template <class Epilogue, class T, size_t G>
__attribute__((noinline)) void finish_in_groups(const Pass<T>& pass, const Tile<T, G>& tile) {
  const size_t places = tile.rows * tile.panels, groups = divide_up(places, overlapping);
  Place next = {tile.row, tile.panel, 0};
  size_t done = 0;
  for (size_t i = 0; i < groups; ++i) {
    const size_t size = (places + i) / groups;
    finish_some<Epilogue, overlapping>(pass, tile, next, size, done);
    done += size;
  }
}

template <class Epilogue, class T, size_t G>
GRU_INLINE void finish(const Pass<T>& pass, const Tile<T, G>& tile) {
  if constexpr (requires { Epilogue::template finish<1>; })
    finish_in_groups<Epilogue>(pass, tile);
  else
    for_each_place(pass, tile, Epilogue::finish);
}

// The tiles that take turns at a piece of k, so that its weights stay in the first-level cache for all of them.
constexpr size_t turns = 8;

// What tile i of `count` fetches, which read a piece of some panels. The first of them waits for the piece's weights;
// the others fetch those of the next piece, each a part of them. One that is alone fetches far weights somewhat ahead.
template <class T, size_t G>
Ahead<T> ahead_of(const Panels<T>& panels, const T* right, size_t piece, size_t wide, size_t i, size_t count) {
  constexpr size_t W = Vector<T>::width, distance = 16;
  if (count == 1) return {panels.far ? right + distance * G * W : nullptr, true};
  if (i == 0 || i > wide * G) return {nullptr, false};
  const size_t part = i - 1;
  return {right + static_cast<ptrdiff_t>(part / G) * panels.panel_stride + (G + part % G) * piece * W, false};
}

// The pieces of k at which so many tiles of rows take turns.
template <size_t C, class T>
size_t piece_of(const Factors<T>& factors, size_t row_tiles) {
  const size_t size = factors.left.size, block = factors.left.block_size;
  return C == 1 && row_tiles > 1 && size > factors.right.piece ? divide_up(factors.right.piece, block) * block : size;
}

// Adds a product to the sums of tiles of the same panels, which take turns at its pieces.
template <size_t C, class T, size_t G>
void multiply(const Factors<T>& factors, size_t piece, const Tile<T, G>* tiles, size_t count) {
  const size_t panel = tiles->panel, wide = tiles->panels, size = factors.left.size;
  const T* const right = factors.right.data + static_cast<ptrdiff_t>(panel) * factors.right.panel_stride;
  for (size_t k = 0; k < size; k += piece)
    for (size_t i = 0; i < count; ++i)
      products<T, G, C>.of[tiles[i].rows - 1][wide - 1](
          factors, tiles[i].row, panel, {k, at_most(k + piece, size)},
          ahead_of<T, G>(factors.right, right + k * G * Vector<T>::width, piece, wide, i, count), tiles[i].sums);
}

// Panels that make about enough sums of one row.
template <size_t G, size_t C>
constexpr size_t strip_panels = C == 1 ? at_least(enough_sums / G, 1) : enough_sums;

// The products of a pass of one row and one tile, whose weights are more than the first-level cache holds, of few
// panels at a time. They wait for weights more than for sums, and the next pass, in the other direction, begins with
// what is still in cache.
template <class Epilogue, size_t C, class T, size_t G>
void multiply_in_strips(const Pass<T>& pass, const Tile<T, G>& tile) {
  constexpr size_t wide = strip_panels<G, C>;
  const size_t strips = divide_up(tile.panels, wide);
  for (size_t i = 0; i < strips; ++i) {
    const size_t first = wide * (pass.descending ? strips - 1 - i : i);
    const Tile<T, G> strip = {tile.row, 1, tile.panel + first, at_most(wide, tile.panels - first),
                              tile.sums + first * G};
    const auto multiply = [&](const Factors<T>& factors) {
      products<T, G, C>.of[0][strip.panels - 1](factors, strip.row, strip.panel, {0, factors.left.size},
                                                {nullptr, false}, strip.sums);
    };
    if constexpr (requires { Epilogue::between; }) {
      multiply(pass.x);
      for_each_place(pass, strip, Epilogue::between);
    }
    multiply(pass);
  }
}

// Cuts rows and panels into tiles of nearly equal size: 9 rows are 5 and 4, not 8 and a slow 1.
template <class Epilogue, size_t C>
void run_tiles(const Pass<typename Epilogue::Element>& pass) {
  using T = typename Epilogue::Element;
  constexpr size_t G = Epilogue::gates;
  constexpr bool projects = requires { Epilogue::between; };
  if (pass.rows == 0 || pass.first_panel == pass.last_panel) return;
  const size_t row_tiles = divide_up(pass.rows, tallest<T, G, C>);
  const size_t panels = pass.last_panel - pass.first_panel;
  const size_t panel_tiles = divide_up(panels, widest<T, G, C>(divide_up(pass.rows, row_tiles)));
  const size_t piece = piece_of<C, T>(pass, row_tiles), x_piece = projects ? piece_of<C, T>(pass.x, row_tiles) : 0;
  const bool cut = piece < pass.left.size || (projects && x_piece < pass.x.left.size);
  const bool in_strips = pass.rows == 1 && panel_tiles == 1 && panels >= 2 * strip_panels<G, C> &&
                         panels * (pass.left.size + (projects ? pass.x.left.size : 0)) > pass.right.piece;
  constexpr size_t most = C == 1 ? turns : 1;
  const size_t group = cut ? most : 1;
  typename Vector<T>::Reg sums[most][at_least(Vector<T>::accumulators, G)];
  Tile<T, G> tiles[most];
  size_t done = 0;  // panels
  for (size_t j = 0; j < panel_tiles; ++j) {
    const size_t wide = (panels + j) / panel_tiles;
    const size_t panel = pass.descending ? pass.last_panel - done - wide : pass.first_panel + done;
    size_t row = 0;
    for (size_t first = 0; first < row_tiles; first += group) {
      const size_t count = at_most(group, row_tiles - first);
      for (size_t i = 0; i < count; ++i) {
        tiles[i] = {row, (pass.rows + first + i) / row_tiles, panel, wide, sums[i]};
        for_each_place(pass, tiles[i], Epilogue::begin);
        row += tiles[i].rows;
      }
      if (in_strips) {
        multiply_in_strips<Epilogue, C>(pass, tiles[0]);
      } else {
        if constexpr (projects) {
          multiply<C, T>(pass.x, x_piece, tiles, count);
          for (size_t i = 0; i < count; ++i) for_each_place(pass, tiles[i], Epilogue::between);
        }
        multiply<C, T>(pass, piece, tiles, count);
      }
      for (size_t i = 0; i < count; ++i) finish<Epilogue>(pass, tiles[i]);
    }
    done += wide;
  }
}

// The numbers of chains that chains_for gives for this many gates are all that is compiled.
template <class Epilogue, size_t C = 1>
void run(const Pass<typename Epilogue::Element>& pass) {
  if (pass.right.chains == C) return run_tiles<Epilogue, C>(pass);
  if constexpr (C < enough_sums && C * Epilogue::gates < enough_sums) run<Epilogue, 2 * C>(pass);
}

}  // namespace
}  // namespace gru
