// The bodies of all kernels, written once over the vector vocabulary of the file that includes this one.
//
// That file defines, in an anonymous namespace, for T = float and double a `Vector<T>` with
//   Reg                          the register type
//   width, accumulators          elements in a register; registers that a tile may use for its sums
//   load, store                  whole vectors, unaligned
//   load_first, store_first      the first n elements (loading zeros behind them)
//   first                        the first n elements of a register, zeros behind them
//   set, zero, add, sub, mul, fma(a, b, c) = a * b + c, fms(a, b, c) = a * b - c
//   divide(a, b, c)              a / (b + c), where c is within the rounding of b
//   min, max                     the second argument when either is NaN
//   negate_like(a, s)            a with the sign of s flipped into it (a xor sign of s)
//   magnitude                    |a|
//   exponent                     the number whose exponent is the lowest bits of a: see ExpConstants' shifter
//   zip_low, zip_high            the elements of a and b by turns, from their lower and from their upper halves
//
// The order of summation of an output element: it begins from the stored value; k runs upwards, k mod chains chooses
// the chain; the chains are added pairwise at the end. Nothing else (rows, panels, steps) has a part in it. Where there
// is one chain, k may be cut into pieces between which the sum lies in memory.

#define GRU_UNROLL _Pragma("GCC unroll 64")
#define GRU_FOR(i, begin, end) \
  GRU_UNROLL                   \
  for (size_t i = begin; i < (end); ++i)
#define GRU_LAMBDA_INLINE __attribute__((always_inline))
#define GRU_INLINE inline __attribute__((always_inline))

namespace gru {
namespace {

constexpr size_t at_most(size_t value, size_t limit) { return value < limit ? value : limit; }
constexpr size_t at_least(size_t value, size_t limit) { return value > limit ? value : limit; }
constexpr size_t divide_up(size_t value, size_t by) { return (value + by - 1) / by; }

// ---- Activations ----------------------------------------------------------------------------------------------------

// exp(x) = power * (1 + rest): power = 2^k with k = round(x / ln 2), rest = exp(x - k ln 2) - 1.
template <class T>
struct ExpConstants;

// The coefficients of q are a minimax fit of (exp(r) - 1 - r) / r^2 on |r| <= ln(2) / 2, weighted by |r|: its error is
// below 0.01 units in the last place of exp(r) - 1. ln 2 is split so that k * ln2_high is exact. A number added to
// `shifter` is rounded to an integer, which then stands in the lowest bits of the sum, biased as an exponent.
template <>
struct ExpConstants<float> {
  static constexpr float log2e = 1.44269504f, ln2_high = 0.693359375f, ln2_low = -2.12194440e-4f;
  static constexpr float shifter = 12582912.0f + 127.0f;
  static constexpr float q[] = {0.0001991421804f, 0.001394103656f, 0.008333272974f,
                                0.04166635439f,   0.1666666682f,   0.5000000046f};
  static constexpr float lowest = -88.0f, highest = 88.37f;  // exp is 0 at the one end, a normal number at the other
  static constexpr float tanh_one = 10.0f;                   // tanh rounds to 1 from here on
};
template <>
struct ExpConstants<double> {
  static constexpr double log2e = 1.4426950408889634074, ln2_high = 6.93147180369123816490e-01,
                          ln2_low = 1.90821492927058770002e-10;
  static constexpr double shifter = 6755399441055744.0 + 1023.0;
  static constexpr double q[] = {2.092447678357129303e-9, 2.510908291432076728e-8,   2.755724265538313453e-7,
                                 2.755724408506486157e-6, 0.00002480158736067180875, 0.0001984126988624117006,
                                 0.001388888888886678401, 0.008333333333321589338,   0.04166666666666670146,
                                 0.1666666666666667662,   0.4999999999999999999};
  static constexpr double lowest = -709.0, highest = 709.4;
  static constexpr double tanh_one = 20.0;
};

template <class T>
struct Exp {
  typename Vector<T>::Reg power, rest;
};

// The parts of exp(sign * x), for sign * x between ExpConstants' lowest and highest, or NaN. The sign goes into the
// constants: with s = sign * r, rest = s + s^2 q(s) in powers of r.
template <class T, int sign>
GRU_INLINE Exp<T> exp_parts(typename Vector<T>::Reg x) {
  using V = Vector<T>;
  using C = ExpConstants<T>;
  constexpr size_t degree = sizeof(C::q) / sizeof(T) - 1;
  const auto shifted = V::fma(x, V::set(sign * C::log2e), V::set(C::shifter));
  const auto k = V::sub(shifted, V::set(C::shifter));
  auto r = V::fma(k, V::set(-sign * C::ln2_high), x);
  r = V::fma(k, V::set(-sign * C::ln2_low), r);
  auto q = V::set(degree % 2 ? sign * C::q[0] : C::q[0]);
  GRU_FOR (i, 1, degree + 1) q = V::fma(q, r, V::set((degree - i) % 2 ? sign * C::q[i] : C::q[i]));
  const auto square = V::mul(r, r);
  return {V::exponent(shifted), sign > 0 ? V::fma(square, q, r) : V::fms(square, q, r)};
}

template <class T>
GRU_INLINE typename Vector<T>::Reg bounded(typename Vector<T>::Reg x, T lowest, T highest) {
  using V = Vector<T>;
  return V::max(V::set(lowest), V::min(V::set(highest), x));
}

template <class T>
GRU_INLINE typename Vector<T>::Reg exp(typename Vector<T>::Reg x) {
  using C = ExpConstants<T>;
  const auto e = exp_parts<T, 1>(bounded<T>(x, C::lowest, C::highest));
  return Vector<T>::fma(e.power, e.rest, e.power);
}

// 1 / (1 + exp(-x)). What the rounding of the sum lost is taken into the division: the error would else reach 2.5 units
// in the last place. The smallest results are subnormal and so, in a core call, zero.
template <class T>
GRU_INLINE typename Vector<T>::Reg sigmoid(typename Vector<T>::Reg x) {
  using V = Vector<T>;
  using C = ExpConstants<T>;
  const auto one = V::set(1);
  const auto e = exp_parts<T, -1>(bounded<T>(x, -C::highest, -C::lowest));
  const auto power_1 = V::add(e.power, one);
  const auto sum = V::fma(e.power, e.rest, power_1);
  const auto lost = V::fma(e.power, e.rest, V::sub(power_1, sum));
  return V::divide(one, sum, lost);
}

// With m = exp(2 |x|) - 1, |tanh x| = m / (m + 2): accurate near zero too, because m is.
template <class T>
GRU_INLINE typename Vector<T>::Reg tanh(typename Vector<T>::Reg x) {
  using V = Vector<T>;
  const auto two = V::set(2);
  const auto size = V::min(V::set(ExpConstants<T>::tanh_one), V::magnitude(x));
  const auto e = exp_parts<T, 1>(V::add(size, size));
  const auto m = V::fma(e.power, e.rest, V::sub(e.power, V::set(1)));
  const auto sum = V::add(m, two);
  const auto lost = V::sub(V::min(two, m), V::sub(sum, V::max(two, m)));
  return V::negate_like(V::divide(m, sum, lost), x);
}

// ---- The tile -------------------------------------------------------------------------------------------------------

// Chains kept over k for so many panels of G gates: enough independent sums to hide the latency of an FMA at one row.
size_t chains_for(size_t panels, size_t gates) {
  size_t chains = 1;
  while (chains < 8 && chains * panels * gates < 8) chains *= 2;
  return chains;
}

// Rows of the tallest tile.
template <class T, size_t G, size_t C>
constexpr size_t tallest = at_least(at_most(Vector<T>::accumulators / (G * C), 8), 1);

// Panels side by side in a tile of R rows: they hide latency at few rows, and share the loads of the left factor.
template <class T, size_t G, size_t C>
constexpr size_t widest(size_t rows) {
  return at_least(at_most(Vector<T>::accumulators / (rows * G * C), rows * G * C == 1 ? 8 : 4), 1);
}

// A piece of k, [first, last): whole blocks of the left factor.
struct Piece {
  size_t first, last;
};

// sums[R][P][G] += left * right over a piece of k, for R rows from `row` and P panels from `panel`. If not null,
// `ahead` is where a vector for each k is fetched that a later product needs.
template <class T, size_t R, size_t P, size_t G, size_t C>
void multiply_add(const Pass<T>& pass, size_t row, size_t panel, Piece piece, const T* ahead,
                  typename Vector<T>::Reg* sums) {
  using V = Vector<T>;
  typename V::Reg chain[C][R][P][G];
  const T* left[R];
  const ptrdiff_t start =
      pass.left.offset + static_cast<ptrdiff_t>(piece.first / pass.left.block_size) * pass.left.block_stride;
  GRU_FOR (r, 0, R) {
    left[r] = pass.left.rows[row + r] + start;
    GRU_FOR (p, 0, P)
      GRU_FOR (g, 0, G) {
        chain[0][r][p][g] = sums[(r * P + p) * G + g];
        GRU_FOR (c, 1, C) chain[c][r][p][g] = V::zero();
      }
  }
  const ptrdiff_t panel_stride = pass.right.panel_stride;
  const T* right = pass.right.data + static_cast<ptrdiff_t>(panel) * panel_stride + piece.first * G * V::width;

  auto term = [&](size_t c, size_t k) GRU_LAMBDA_INLINE {
    typename V::Reg weight[P][G];
    GRU_FOR (p, 0, P)
      GRU_FOR (g, 0, G)
        weight[p][g] = V::load(right + static_cast<ptrdiff_t>(p) * panel_stride + (c * G + g) * V::width);
    GRU_FOR (r, 0, R) {
      const auto value = V::set(left[r][k + c]);
      GRU_FOR (p, 0, P)
        GRU_FOR (g, 0, G) chain[c][r][p][g] = V::fma(value, weight[p][g], chain[c][r][p][g]);
    }
  };

  auto sweep = [&](auto fetch) GRU_LAMBDA_INLINE {
    for (size_t done = piece.first; done < piece.last; done += pass.left.block_size) {
      const size_t size = at_most(pass.left.block_size, piece.last - done);
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
      GRU_FOR (r, 0, R) left[r] += pass.left.block_stride;
    }
  };
  // Tiles of few rows do nothing but load: there a fetch would only be in the way.
  if (C == 1 && R >= 4 && ahead) {
    sweep([&] GRU_LAMBDA_INLINE {
      __builtin_prefetch(ahead, 0, 2);
      ahead += V::width;
    });
  } else {
    sweep([] GRU_LAMBDA_INLINE {});
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
  using Function = void (*)(const Pass<T>&, size_t, size_t, Piece, const T*, typename Vector<T>::Reg*);
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

// Some rows and panels of a pass, and their sums. The sums stay in memory between begin, multiply_add and finish: that
// costs little beside the product, and a product is compiled once for all epilogues.
template <class Epilogue, size_t C>
struct Tile {
  using T = typename Epilogue::Element;
  using Reg = typename Vector<T>::Reg;
  static constexpr size_t G = Epilogue::gates, W = Vector<T>::width;

  size_t row, rows, panel, panels;
  Reg sums[at_least(Vector<T>::accumulators / C, G)];

  void begin(const Pass<T>& pass) { each(pass, Epilogue::begin); }
  void multiply_add(const Pass<T>& pass, Piece piece, const T* ahead) {
    products<T, G, C>.of[rows - 1][panels - 1](pass, row, panel, piece, ahead, sums);
  }
  void finish(const Pass<T>& pass) { each(pass, Epilogue::finish); }

 private:
  template <class Function>
  GRU_INLINE void each(const Pass<T>& pass, Function function) {
    for (size_t r = 0; r < rows; ++r)
      for (size_t p = 0; p < panels; ++p)
        function(pass, row + r, panel + p, at_most(pass.units - (panel + p) * W, W), sums + (r * panels + p) * G);
  }
};

// The elements of k in a piece, and the tiles that take turns at a piece, so that its weights stay in the first-level
// cache for all of them.
constexpr size_t piece_size = 128, turns = 8;

// Cuts rows and panels into tiles of nearly equal size: 9 rows are 5 and 4, not 8 and a slow 1.
template <class Epilogue, size_t C>
void run_tiles(const Pass<typename Epilogue::Element>& pass) {
  using T = typename Epilogue::Element;
  constexpr size_t G = Epilogue::gates, W = Vector<T>::width;
  if (pass.rows == 0 || pass.first_panel == pass.last_panel) return;
  const size_t row_tiles = divide_up(pass.rows, tallest<T, G, C>);
  const size_t panels = pass.last_panel - pass.first_panel;
  const size_t panel_tiles = divide_up(panels, widest<T, G, C>(divide_up(pass.rows, row_tiles)));
  const size_t block = pass.left.block_size, size = pass.left.size;
  const bool cut = C == 1 && row_tiles > 1 && size > piece_size;
  const size_t piece = cut ? divide_up(piece_size, block) * block : size, group = cut ? turns : 1;
  Tile<Epilogue, C> tiles[turns];
  size_t done = 0;  // panels
  for (size_t j = 0; j < panel_tiles; ++j) {
    const size_t wide = (panels + j) / panel_tiles;
    const size_t panel = pass.descending ? pass.last_panel - done - wide : pass.first_panel + done;
    size_t row = 0;
    for (size_t first = 0; first < row_tiles; first += group) {
      const size_t count = at_most(group, row_tiles - first);
      for (size_t i = 0; i < count; ++i) {
        tiles[i].row = row;
        tiles[i].rows = (pass.rows + first + i) / row_tiles;
        tiles[i].panel = panel;
        tiles[i].panels = wide;
        tiles[i].begin(pass);
        row += tiles[i].rows;
      }
      for (size_t k = 0; k < size; k += piece) {
        // The first tile waits for a piece's weights; the others fetch those of the next piece, each a part of them.
        const T* next = pass.right.data + static_cast<ptrdiff_t>(panel) * pass.right.panel_stride + (k + piece) * G * W;
        for (size_t i = 0; i < count; ++i) {
          const bool fetches = pass.right.far && i > 0 && i <= wide * G;
          const ptrdiff_t of_panel = static_cast<ptrdiff_t>((i - 1) / G) * pass.right.panel_stride;
          const T* ahead = fetches ? next + of_panel + (i - 1) % G * piece * W : nullptr;
          tiles[i].multiply_add(pass, {k, at_most(k + piece, size)}, ahead);
        }
      }
      for (size_t i = 0; i < count; ++i) tiles[i].finish(pass);
    }
    done += wide;
  }
}

template <class Epilogue>
void run(const Pass<typename Epilogue::Element>& pass) {
  switch (pass.right.chains) {
    case 1:
      return run_tiles<Epilogue, 1>(pass);
    case 2:
      return run_tiles<Epilogue, 2>(pass);
    case 4:
      return run_tiles<Epilogue, 4>(pass);
    case 8:
      if constexpr (Epilogue::gates == 1) return run_tiles<Epilogue, 8>(pass);
      break;
    default:
      break;
  }
}

// ---- Epilogues ------------------------------------------------------------------------------------------------------
//
// begin(pass, row, panel, n, sums) and finish(pass, row, panel, n, sums); n is the number of valid units in the panel.

template <class T>
GRU_INLINE typename Vector<T>::Reg load_units(const T* from, size_t n) {
  return n == Vector<T>::width ? Vector<T>::load(from) : Vector<T>::load_first(from, n);
}

template <class T>
GRU_INLINE void store_units(T* to, typename Vector<T>::Reg value, size_t n) {
  if (n == Vector<T>::width)
    Vector<T>::store(to, value);
  else
    Vector<T>::store_first(to, value, n);
}

// The slots of one row in one panel.
template <class T>
struct Slots {
  T* r_slot;
  static constexpr ptrdiff_t width = Vector<T>::width;
  GRU_INLINE T* hn() const { return r_slot - width; }
  GRU_INLINE T* r() const { return r_slot; }
  GRU_INLINE T* z() const { return r_slot + width; }
  GRU_INLINE T* n() const { return r_slot + 2 * width; }
};

template <class T>
GRU_INLINE Slots<T> slots_of(const Pass<T>& pass, size_t row, size_t panel) {
  return {pass.gates.rows[row] + static_cast<ptrdiff_t>(panel) * pass.gates.panel_stride};
}

template <class T>
GRU_INLINE T* carry_of(const Pass<T>& pass, size_t row, size_t panel) {
  return pass.carry + static_cast<ptrdiff_t>(panel) * pass.carry_panel + row * Vector<T>::width;
}

template <class T, size_t G>
GRU_INLINE void begin_from_bias(const Pass<T>& pass, size_t panel, typename Vector<T>::Reg* sums) {
  using V = Vector<T>;
  GRU_FOR (g, 0, G) sums[g] = pass.bias ? V::load(pass.bias + (panel * G + g) * V::width) : V::zero();
}

// (1 - z) * n + z * h: z = 1 keeps h to the bit.
template <class T>
GRU_INLINE typename Vector<T>::Reg mix(typename Vector<T>::Reg z, typename Vector<T>::Reg n,
                                       typename Vector<T>::Reg h) {
  using V = Vector<T>;
  return V::fma(z, h, V::mul(V::sub(V::set(1), z), n));
}

template <class T>
struct Affine {
  using Element = T;
  using V = Vector<T>;
  static constexpr size_t gates = 1;

  static GRU_INLINE void begin(const Pass<T>& pass, size_t row, size_t panel, size_t n, typename V::Reg* sums) {
    if (pass.accumulate)
      sums[0] = load_units<T>(pass.output[row] + panel * V::width, n);
    else
      begin_from_bias<T, gates>(pass, panel, sums);
  }
  static GRU_INLINE void finish(const Pass<T>& pass, size_t row, size_t panel, size_t n, typename V::Reg* sums) {
    store_units<T>(pass.output[row] + panel * V::width, sums[0], n);
  }
};

template <class T>
struct Project {
  using Element = T;
  using V = Vector<T>;
  static constexpr size_t gates = 3;

  static GRU_INLINE void begin(const Pass<T>& pass, size_t, size_t panel, size_t, typename V::Reg* sums) {
    begin_from_bias<T, gates>(pass, panel, sums);
  }
  static GRU_INLINE void finish(const Pass<T>& pass, size_t row, size_t panel, size_t, typename V::Reg* sums) {
    const auto slots = slots_of(pass, row, panel);
    V::store(slots.r(), sums[0]);
    V::store(slots.z(), sums[1]);
    V::store(slots.n(), sums[2]);
  }
};

// n = tanh(W_n x + b_in + r (U_n h + b_hn)): PyTorch's and cuDNN's cell.
template <class T, bool taped>
struct ResetAfter {
  using Element = T;
  using V = Vector<T>;
  static constexpr size_t gates = 3;

  static GRU_INLINE void begin(const Pass<T>& pass, size_t row, size_t panel, size_t, typename V::Reg* sums) {
    const auto slots = slots_of(pass, row, panel);
    sums[0] = V::load(slots.r());
    sums[1] = V::load(slots.z());
    sums[2] = V::load(pass.bias + panel * V::width);
  }
  static GRU_INLINE void finish(const Pass<T>& pass, size_t row, size_t panel, size_t n, typename V::Reg* sums) {
    const auto slots = slots_of(pass, row, panel);
    const auto reset = sigmoid<T>(sums[0]), update = sigmoid<T>(sums[1]), hn = sums[2];
    const auto candidate = tanh<T>(V::fma(reset, hn, V::load(slots.n())));
    const auto h = load_units<T>(pass.h_previous[row] + panel * V::width, n);
    store_units<T>(pass.output[row] + panel * V::width, mix<T>(update, candidate, h), n);
    if constexpr (taped) {
      V::store(slots.hn(), hn);
      V::store(slots.r(), reset);
      V::store(slots.z(), update);
      V::store(slots.n(), candidate);
    }
  }
};

// n = tanh(W_n x + b_in + U_n (r h) + b_hn), first part (Cho et al. 2014).
template <class T>
struct ResetBeforeGates {
  using Element = T;
  using V = Vector<T>;
  static constexpr size_t gates = 2;

  static GRU_INLINE void begin(const Pass<T>& pass, size_t row, size_t panel, size_t, typename V::Reg* sums) {
    const auto slots = slots_of(pass, row, panel);
    sums[0] = V::load(slots.r());
    sums[1] = V::load(slots.z());
  }
  static GRU_INLINE void finish(const Pass<T>& pass, size_t row, size_t panel, size_t n, typename V::Reg* sums) {
    const auto slots = slots_of(pass, row, panel);
    const auto reset = sigmoid<T>(sums[0]);
    V::store(slots.hn(), V::mul(reset, load_units<T>(pass.h_previous[row] + panel * V::width, n)));
    V::store(slots.r(), reset);
    V::store(slots.z(), sigmoid<T>(sums[1]));
  }
};

template <class T>
struct ResetBeforeOutput {
  using Element = T;
  using V = Vector<T>;
  static constexpr size_t gates = 1;

  static GRU_INLINE void begin(const Pass<T>& pass, size_t row, size_t panel, size_t, typename V::Reg* sums) {
    sums[0] = V::load(slots_of(pass, row, panel).n());
  }
  static GRU_INLINE void finish(const Pass<T>& pass, size_t row, size_t panel, size_t n, typename V::Reg* sums) {
    const auto slots = slots_of(pass, row, panel);
    const auto candidate = tanh<T>(sums[0]);
    const auto h = load_units<T>(pass.h_previous[row] + panel * V::width, n);
    store_units<T>(pass.output[row] + panel * V::width, mix<T>(V::load(slots.z()), candidate, h), n);
    V::store(slots.n(), candidate);
  }
};

// A slot's valid units; zeros behind them, so that no gradient grows out of a panel's unused part.
template <class T>
GRU_INLINE void store_padded(T* to, typename Vector<T>::Reg value, size_t n) {
  using V = Vector<T>;
  V::store(to, n == V::width ? value : V::first(value, n));
}

template <class T>
GRU_INLINE typename Vector<T>::Reg times_sigmoid_slope(typename Vector<T>::Reg value, typename Vector<T>::Reg s) {
  using V = Vector<T>;
  return V::mul(value, V::mul(s, V::sub(V::set(1), s)));
}

template <class T>
struct ResetBeforeBackwardOutput {
  using Element = T;
  using V = Vector<T>;
  static constexpr size_t gates = 1;

  static GRU_INLINE void begin(const Pass<T>& pass, size_t row, size_t panel, size_t n, typename V::Reg* sums) {
    sums[0] = V::add(V::load(carry_of(pass, row, panel)), load_units<T>(pass.d_output[row] + panel * V::width, n));
  }
  // d_z and d_n before their activations from d_h, and the carry d_h z. Returns d_n.
  static GRU_INLINE typename V::Reg finish(const Pass<T>& pass, size_t row, size_t panel, size_t n,
                                           typename V::Reg* sums) {
    const auto slots = slots_of(pass, row, panel);
    const auto h = load_units<T>(pass.h_previous[row] + panel * V::width, n);
    const auto one = V::set(1), d_h = sums[0], z = V::load(slots.z()), candidate = V::load(slots.n());
    const auto keep = V::sub(one, z);
    const auto d_n = V::mul(V::mul(d_h, keep), V::sub(one, V::mul(candidate, candidate)));
    store_padded<T>(slots.z(), V::mul(V::mul(d_h, V::sub(h, candidate)), V::mul(z, keep)), n);
    store_padded<T>(slots.n(), d_n, n);
    store_padded<T>(carry_of(pass, row, panel), V::mul(d_h, z), n);
    return d_n;
  }
};

// All of the above, and d_r and d_hn, which follow from d_n at once.
template <class T>
struct ResetAfterBackward : ResetBeforeBackwardOutput<T> {
  using V = Vector<T>;

  static GRU_INLINE void finish(const Pass<T>& pass, size_t row, size_t panel, size_t n, typename V::Reg* sums) {
    const auto slots = slots_of(pass, row, panel);
    const auto reset = V::load(slots.r()), hn = V::load(slots.hn());
    const auto d_n = ResetBeforeBackwardOutput<T>::finish(pass, row, panel, n, sums);
    store_padded<T>(slots.hn(), V::mul(d_n, reset), n);
    store_padded<T>(slots.r(), times_sigmoid_slope<T>(V::mul(d_n, hn), reset), n);
  }
};

template <class T>
struct ResetBeforeBackwardGates {
  using Element = T;
  using V = Vector<T>;
  static constexpr size_t gates = 1;

  static GRU_INLINE void begin(const Pass<T>&, size_t, size_t, size_t, typename V::Reg* sums) { sums[0] = V::zero(); }
  static GRU_INLINE void finish(const Pass<T>& pass, size_t row, size_t panel, size_t n, typename V::Reg* sums) {
    const auto slots = slots_of(pass, row, panel);
    const auto h = load_units<T>(pass.h_previous[row] + panel * V::width, n);
    const auto reset = V::load(slots.r());
    T* carry = carry_of(pass, row, panel);
    store_padded<T>(slots.r(), times_sigmoid_slope<T>(V::mul(sums[0], h), reset), n);
    store_padded<T>(carry, V::fma(sums[0], reset, V::load(carry)), n);
  }
};

template <class T>
struct StateBackward {
  using Element = T;
  using V = Vector<T>;
  static constexpr size_t gates = 1;

  static GRU_INLINE void begin(const Pass<T>& pass, size_t row, size_t panel, size_t, typename V::Reg* sums) {
    sums[0] = V::load(carry_of(pass, row, panel));
  }
  static GRU_INLINE void finish(const Pass<T>& pass, size_t row, size_t panel, size_t n, typename V::Reg* sums) {
    store_units<T>(pass.output[row] + panel * V::width, sums[0], n);
  }
};

// ---- Sums over rows -------------------------------------------------------------------------------------------------

// Columns of the widest tile of an outer product.
template <class T>
constexpr size_t outer_columns = Vector<T>::accumulators / 3;

// Calls function(column, wide) for tiles of nearly equal width.
template <class T, class Function>
GRU_INLINE void for_each_outer_tile(size_t columns, Function function) {
  const size_t tiles = divide_up(columns, outer_columns<T>);
  size_t column = 0;
  for (size_t i = 0; i < tiles; ++i) {
    const size_t wide = (columns + i) / tiles;
    function(column, wide);
    column += wide;
  }
}

// [tile][row][column of the tile]: each tile reads a range from its beginning to its end.
template <class T>
void pack_outer(size_t rows, const T* const* from, ptrdiff_t offset, size_t columns, T* to) {
  for_each_outer_tile<T>(columns, [&](size_t column, size_t wide) {
    for (size_t row = 0; row < rows; ++row, to += wide) {
      const T* source = from[row] + offset + column;
      if (wide == outer_columns<T>)
        __builtin_memcpy(to, source, outer_columns<T> * sizeof(T));
      else
        for (size_t i = 0; i < wide; ++i) to[i] = source[i];
    }
  });
}

// R columns from `column`, of G gates each.
template <class T, size_t G, size_t R>
void outer_tile(const Outer<T>& job, size_t column) {
  using V = Vector<T>;
  typename V::Reg sums[R][G];
  GRU_FOR (r, 0, R)
    GRU_FOR (g, 0, G) sums[r][g] = V::zero();
  const T* left = job.left + column * job.packed_rows + job.first_row * R;
  const T* right = job.right + static_cast<ptrdiff_t>(job.first_row) * job.right_row;
  for (size_t row = job.first_row; row < job.last_row; ++row, left += R, right += job.right_row) {
    typename V::Reg gates[G];
    GRU_FOR (g, 0, G) gates[g] = V::load(right + g * V::width);
    GRU_FOR (r, 0, R) {
      const auto value = V::set(left[r]);
      GRU_FOR (g, 0, G) sums[r][g] = V::fma(value, gates[g], sums[r][g]);
    }
  }
  T* to = job.sums + column * G * V::width;
  GRU_FOR (r, 0, R)
    GRU_FOR (g, 0, G) {
      V::store(to, job.accumulate ? V::add(V::load(to), sums[r][g]) : sums[r][g]);
      to += V::width;
    }
}

// The tiles of every width.
template <class T, size_t G>
struct OuterTiles {
  void (*of[outer_columns<T>])(const Outer<T>&, size_t) = {};

  constexpr OuterTiles() { fill<1>(); }

 private:
  template <size_t R>
  constexpr void fill() {
    of[R - 1] = outer_tile<T, G, R>;
    if constexpr (R < outer_columns<T>) fill<R + 1>();
  }
};

template <class T, size_t G>
constexpr OuterTiles<T, G> outer_tiles;

template <class T, size_t G>
void add_totals(const Outer<T>& job) {
  using V = Vector<T>;
  typename V::Reg totals[G];
  GRU_FOR (g, 0, G) totals[g] = job.accumulate ? V::load(job.totals + g * V::width) : V::zero();
  const T* right = job.right + static_cast<ptrdiff_t>(job.first_row) * job.right_row;
  for (size_t row = job.first_row; row < job.last_row; ++row, right += job.right_row)
    GRU_FOR (g, 0, G) totals[g] = V::add(totals[g], V::load(right + g * V::width));
  GRU_FOR (g, 0, G) V::store(job.totals + g * V::width, totals[g]);
}

template <class T, size_t G>
void outer(const Outer<T>& job) {
  for_each_outer_tile<T>(job.columns, [&](size_t column, size_t wide) { outer_tiles<T, G>.of[wide - 1](job, column); });
  if (job.totals) add_totals<T, G>(job);
}

// ---- Transposition --------------------------------------------------------------------------------------------------

// Each stage zips the upper half of the rows into the lower one; after log2(width) stages rows are columns.
template <class T>
GRU_INLINE void transpose_square(typename Vector<T>::Reg* rows) {
  using V = Vector<T>;
  constexpr size_t W = V::width;
  GRU_UNROLL
  for (size_t stage = 1; stage < W; stage *= 2) {
    typename V::Reg zipped[W];
    GRU_FOR (i, 0, W / 2) {
      zipped[2 * i] = V::zip_low(rows[i], rows[i + W / 2]);
      zipped[2 * i + 1] = V::zip_high(rows[i], rows[i + W / 2]);
    }
    GRU_FOR (i, 0, W) rows[i] = zipped[i];
  }
}

template <class T>
void transpose(size_t rows, size_t columns, const T* from, ptrdiff_t from_row, T* to, ptrdiff_t to_row) {
  using V = Vector<T>;
  constexpr size_t W = V::width;
  for (size_t row = 0; row < rows; row += W)
    for (size_t column = 0; column < columns; column += W) {
      const T* source = from + static_cast<ptrdiff_t>(row) * from_row + column;
      T* target = to + static_cast<ptrdiff_t>(column) * to_row + row;
      const size_t tall = at_most(rows - row, W), wide = at_most(columns - column, W);
      typename V::Reg square[W];
      if (tall == W && wide == W) {
        GRU_FOR (i, 0, W) square[i] = V::load(source + static_cast<ptrdiff_t>(i) * from_row);
        transpose_square<T>(square);
        GRU_FOR (i, 0, W) V::store(target + static_cast<ptrdiff_t>(i) * to_row, square[i]);
      } else {
        GRU_FOR (i, 0, W)
          square[i] = i < tall ? V::load_first(source + static_cast<ptrdiff_t>(i) * from_row, wide) : V::zero();
        transpose_square<T>(square);
        GRU_FOR (i, 0, W)
          if (i < wide) V::store_first(target + static_cast<ptrdiff_t>(i) * to_row, square[i], tall);
      }
    }
}

template <class T>
void copy_rows(size_t rows, size_t n, const T* from, ptrdiff_t from_row, T* to) {
  for (size_t row = 0; row < rows; ++row, from += from_row, to += Vector<T>::width)
    Vector<T>::store(to, load_units<T>(from, n));
}

// ---- Elementwise ----------------------------------------------------------------------------------------------------

template <class T, class Function>
GRU_INLINE void for_each_vector(size_t size, const T* x, T* y, Function function) {
  using V = Vector<T>;
  for (size_t i = 0; i < size; i += V::width) {
    const size_t n = at_most(size - i, V::width);
    store_units<T>(y + i, function(load_units<T>(x + i, n)), n);
  }
}

template <class T>
void sigmoid_all(size_t size, const T* x, T* y) {
  for_each_vector<T>(size, x, y, [](auto v) GRU_LAMBDA_INLINE { return sigmoid<T>(v); });
}

template <class T>
void tanh_all(size_t size, const T* x, T* y) {
  for_each_vector<T>(size, x, y, [](auto v) GRU_LAMBDA_INLINE { return tanh<T>(v); });
}

template <class T>
T max_of(size_t size, const T* x) {
  using V = Vector<T>;
  T lanes[V::width];
  auto largest = V::set(-static_cast<T>(__builtin_inf()));
  size_t i = 0;
  for (; i + V::width <= size; i += V::width) largest = V::max(V::load(x + i), largest);
  V::store(lanes, largest);
  for (; i < size; ++i) lanes[0] = x[i] > lanes[0] ? x[i] : lanes[0];
  for (size_t lane = 1; lane < V::width; ++lane) lanes[0] = lanes[lane] > lanes[0] ? lanes[lane] : lanes[0];
  return lanes[0];
}

template <class T>
T exp_sum(size_t size, const T* x, T shift, T* y) {
  using V = Vector<T>;
  T lanes[V::width];
  auto sum = V::zero();
  for_each_vector<T>(size, x, y, [&](auto v) GRU_LAMBDA_INLINE { return exp<T>(V::sub(v, V::set(shift))); });
  size_t i = 0;
  for (; i + V::width <= size; i += V::width) sum = V::add(sum, V::load(y + i));
  V::store(lanes, V::add(sum, V::load_first(y + i, size - i)));
  for (size_t lane = 1; lane < V::width; ++lane) lanes[0] += lanes[lane];
  return lanes[0];
}

template <class T>
T read_all(size_t size, const T* x, size_t repeats) {
  using V = Vector<T>;
  constexpr size_t W = V::width, N = 8;  // independent sums: two additions a cycle, each of which takes four
  typename V::Reg sums[N];
  GRU_FOR (j, 0, N) sums[j] = V::zero();
  for (size_t repeat = 0; repeat < repeats; ++repeat) {
    size_t i = 0;
    for (; i + N * W <= size; i += N * W)
      GRU_FOR (j, 0, N) sums[j] = V::add(sums[j], V::load(x + i + j * W));
    for (; i < size; i += W) sums[0] = V::add(sums[0], V::load_first(x + i, at_most(size - i, W)));
  }
  GRU_FOR (j, 1, N) sums[0] = V::add(sums[0], sums[j]);
  T lanes[W];
  V::store(lanes, sums[0]);
  for (size_t lane = 1; lane < W; ++lane) lanes[0] += lanes[lane];
  return lanes[0];
}

template <class T>
constexpr Kernels<T> kernels = {
    Vector<T>::width,
    chains_for,
    run<Affine<T>>,
    run<Project<T>>,
    run<ResetAfter<T, false>>,
    run<ResetAfter<T, true>>,
    run<ResetBeforeGates<T>>,
    run<ResetBeforeOutput<T>>,
    run<ResetAfterBackward<T>>,
    run<ResetBeforeBackwardOutput<T>>,
    run<ResetBeforeBackwardGates<T>>,
    run<StateBackward<T>>,
    {outer<T, 1>, outer<T, 2>, outer<T, 3>},
    pack_outer<T>,
    transpose<T>,
    copy_rows<T>,
    sigmoid_all<T>,
    tanh_all<T>,
    max_of<T>,
    exp_sum<T>,
    read_all<T>,
};

}  // namespace
}  // namespace gru
