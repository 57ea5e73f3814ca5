// Portable C++ in short vectors of 16 bytes, for which every compiler has at least scalar code.
#include "table.h"

namespace gru {
namespace {

typedef float Float4 __attribute__((vector_size(16)));
typedef int Int4 __attribute__((vector_size(16)));
typedef double Double2 __attribute__((vector_size(16)));
typedef long long Long2 __attribute__((vector_size(16)));

// What float and double share. There is no fused operation here: fma and fms are a product and a sum.
template <class T, class Register, class Integers>
struct Portable {
  using Element = T;
  using Reg = Register;
  static constexpr size_t width = sizeof(Register) / sizeof(T), zipped = width, accumulators = 12;

  static Reg load(const T* p) {
    Reg a;
    __builtin_memcpy(&a, p, sizeof(a));
    return a;
  }
  static Reg load_first(const T* p, size_t n) {
    Reg a = {};
    for (size_t i = 0; i < n; ++i) a[i] = p[i];
    return a;
  }
  static Reg first(Reg a, size_t n) {
    Reg b = {};
    for (size_t i = 0; i < n; ++i) b[i] = a[i];
    return b;
  }
  static void store(T* p, Reg a) { __builtin_memcpy(p, &a, sizeof(a)); }
  static void store_first(T* p, Reg a, size_t n) {
    for (size_t i = 0; i < n; ++i) p[i] = a[i];
  }
  static Reg set(T a) { return a - Reg{}; }
  static Reg zero() { return Reg{}; }
  static Reg add(Reg a, Reg b) { return a + b; }
  static Reg sub(Reg a, Reg b) { return a - b; }
  static Reg mul(Reg a, Reg b) { return a * b; }
  static Reg fma(Reg a, Reg b, Reg c) { return a * b + c; }
  static Reg fms(Reg a, Reg b, Reg c) { return a * b - c; }
  static Reg divide(Reg a, Reg b, Reg c) { return a / b - a / b * c / b; }
  static Reg min(Reg a, Reg b) { return a < b ? a : b; }
  static Reg max(Reg a, Reg b) { return a > b ? a : b; }
  static Reg where_positive(Reg a, Reg b) { return a > Reg{} ? b : Reg{}; }
  static Reg magnitude(Reg a) { return reinterpret_cast<Reg>(bits(a) & ~sign()); }
  static Reg negate_like(Reg a, Reg s) { return reinterpret_cast<Reg>(bits(a) ^ (bits(s) & sign())); }
  static Reg zip_low(Reg a, Reg b) { return zip(a, b, 0); }
  static Reg zip_high(Reg a, Reg b) { return zip(a, b, width / 2); }

 protected:
  static Reg zip(Reg a, Reg b, size_t from) {
    Reg c = {};
    for (size_t i = 0; i < width; ++i) c[i] = i % 2 ? b[from + i / 2] : a[from + i / 2];
    return c;
  }
  static Integers bits(Reg a) { return reinterpret_cast<Integers>(a); }
  static Integers sign() { return bits(set(static_cast<T>(-0.0))); }
};

template <class T>
struct Vector;

template <>
struct Vector<float> : Portable<float, Float4, Int4> {
  static Reg exponent(Reg a) { return reinterpret_cast<Reg>(bits(a) << 23); }
};

template <>
struct Vector<double> : Portable<double, Double2, Long2> {
  static Reg exponent(Reg a) { return reinterpret_cast<Reg>(bits(a) << 52); }
};

}  // namespace
}  // namespace gru

#include "kernels.inc.h"

namespace gru {
extern const Isa scalar;
const Isa scalar = {"scalar", &kernels<float>, &kernels<double>};
}  // namespace gru
