// Products of a thin matrix, of a few rows, with a wide one whose rows lie together in memory; see `thin_product.py`.
// The wide one is read once for all of the thin one's rows, a few of its own rows at a time along many columns, as
// caches fetch ahead. BLAS is made for thick matrices.

#include <cstdint>
#include <vector>

#ifdef _OPENMP
#include <omp.h>
#endif

// A product and the sum that it goes into are rounded together.
#if defined(__clang__)
#pragma clang fp contract(fast)
#elif defined(__GNUC__)
#pragma GCC optimize("fp-contract=fast")
#endif

// `wide` is `[inner, columns]`. `thin` is `[rows, inner]`, and the result `thin @ wide`; or, with `sums`,
// `[rows, columns]`, and the result `thin @ wide.T`.
struct Shape {
  int64_t rows, inner, columns, sums, is_double;
  int64_t thin_row_stride, thin_column_stride, wide_row_stride;
};

namespace {

#if defined(__AVX512F__)
constexpr int64_t REGISTER = 64;
#elif defined(__AVX__)
constexpr int64_t REGISTER = 32;
#else
constexpr int64_t REGISTER = 16;
#endif

// Columns that are worked on together: the thin matrix' share of them stays in a near cache.
constexpr int64_t CHUNK = 1024;
// Sums are made in parts, as many whatever the number of threads, so that they are the same numbers.
constexpr int64_t MOST_PARTS = 64;
// Multiplications that are worth a thread.
constexpr int64_t GRAIN = 1 << 18;
// A tile: rows of the thin matrix, and of the wide one.
constexpr int ROWS = 4, HEIGHT = 4;

template <class Real>
struct Vectors;
template <>
struct Vectors<float> {
  typedef float type __attribute__((vector_size(REGISTER), aligned(alignof(float)), may_alias));
};
template <>
struct Vectors<double> {
  typedef double type __attribute__((vector_size(REGISTER), aligned(alignof(double)), may_alias));
};

template <class Real>
class Product {
 public:
  Product(const Shape& shape, const Real* thin, const Real* wide, Real* out)
      : shape_(shape), thin_(thin), thin_stride_(shape.thin_row_stride), wide_(wide), out_(out) {
    if (shape.thin_column_stride != 1) pack();
  }

  void run() {
    const int64_t chunks = (shape_.columns + CHUNK - 1) / CHUNK;
    const int64_t in_a_part = (chunks + MOST_PARTS - 1) / MOST_PARTS, parts = (chunks + in_a_part - 1) / in_a_part;
    const int64_t results = shape_.rows * shape_.inner;
    std::vector<Real> sums(shape_.sums ? parts * results : 0);
    auto make = [&](int64_t part) {
      for (int64_t chunk = part * in_a_part; chunk < chunks && chunk < (part + 1) * in_a_part; ++chunk) {
        const int64_t first = chunk * CHUNK;
        const int64_t size = shape_.columns - first < CHUNK ? shape_.columns - first : CHUNK;
        if (shape_.sums)
          for_rows<true>(thin_ + first, wide_ + first, size, sums.data() + part * results);
        else
          for_rows<false>(thin_, wide_ + first, size, out_ + first);
      }
    };
    int64_t threads = 1;
#ifdef _OPENMP
    threads = results * shape_.columns / GRAIN;
    if (threads > omp_get_max_threads()) threads = omp_get_max_threads();
#endif
    if (threads > 1) {
#pragma omp parallel for num_threads(threads) schedule(static)
      for (int64_t part = 0; part < parts; ++part) make(part);
    } else {
      for (int64_t part = 0; part < parts; ++part) make(part);
    }
    for (int64_t i = 0; shape_.sums && i < results; ++i) {
      out_[i] = 0;
      for (int64_t part = 0; part < parts; ++part) out_[i] += sums[part * results + i];
    }
  }

 private:
  using Vector = typename Vectors<Real>::type;
  static constexpr int64_t LANES = REGISTER / sizeof(Real);

  static Vector& at(Real* p) { return *reinterpret_cast<Vector*>(p); }
  static const Vector& at(const Real* p) { return *reinterpret_cast<const Vector*>(p); }

  void pack() {
    const int64_t length = shape_.sums ? shape_.columns : shape_.inner;
    packed_.resize(shape_.rows * length);
    for (int64_t i = 0; i < shape_.rows; ++i)
      for (int64_t j = 0; j < length; ++j)
        packed_[i * length + j] = thin_[i * shape_.thin_row_stride + j * shape_.thin_column_stride];
    thin_ = packed_.data();
    thin_stride_ = length;
  }

  template <bool SUMS>
  void for_rows(const Real* thin, const Real* wide, int64_t size, Real* out) const {
    const int64_t out_stride = SUMS ? shape_.inner : shape_.columns;
    int64_t rows = shape_.rows;
    for (; rows >= ROWS; rows -= ROWS, thin += ROWS * thin_stride_, out += ROWS * out_stride)
      down<SUMS, ROWS>(thin, wide, size, out);
    if (rows == 3) down<SUMS, 3>(thin, wide, size, out);
    if (rows == 2) down<SUMS, 2>(thin, wide, size, out);
    if (rows == 1) down<SUMS, 1>(thin, wide, size, out);
  }

  template <bool SUMS, int R>
  void down(const Real* thin, const Real* wide, int64_t size, Real* out) const {
    if (!SUMS)
      for (int i = 0; i < R; ++i)
        for (int64_t n = 0; n < size; ++n) out[i * shape_.columns + n] = 0;
    int64_t k = 0;
    for (; k + HEIGHT <= shape_.inner; k += HEIGHT) tile<SUMS, R, HEIGHT>(thin, wide, size, out, k);
    for (; k < shape_.inner; ++k) tile<SUMS, R, 1>(thin, wide, size, out, k);
  }

  template <bool SUMS, int R, int H>
  void tile(const Real* thin, const Real* wide, int64_t size, Real* out, int64_t k) const {
    if (SUMS)
      sum<R, H>(thin, wide + k * shape_.wide_row_stride, size, out + k);
    else
      spread<R, H>(thin + k, wide + k * shape_.wide_row_stride, size, out);
  }

  // Adds multiples of a few rows of the wide matrix to rows of the result.
  template <int R, int H>
  void spread(const Real* thin, const Real* wide, int64_t size, Real* out) const {
    Real factors[R][H];
    for (int i = 0; i < R; ++i)
      for (int j = 0; j < H; ++j) factors[i][j] = thin[i * thin_stride_ + j];
    int64_t n = 0;
    for (; n + LANES <= size; n += LANES) {
      Vector x[H];
      for (int j = 0; j < H; ++j) x[j] = at(wide + j * shape_.wide_row_stride + n);
      for (int i = 0; i < R; ++i) {
        Vector value = at(out + i * shape_.columns + n);
        for (int j = 0; j < H; ++j) value += factors[i][j] * x[j];
        at(out + i * shape_.columns + n) = value;
      }
    }
    for (; n < size; ++n)
      for (int i = 0; i < R; ++i)
        for (int j = 0; j < H; ++j) out[i * shape_.columns + n] += factors[i][j] * wide[j * shape_.wide_row_stride + n];
  }

  // Adds products of rows of the thin matrix with rows of the wide one to elements of the result.
  template <int R, int H>
  void sum(const Real* thin, const Real* wide, int64_t size, Real* out) const {
    Vector sums[R][H] = {};
    int64_t n = 0;
    for (; n + LANES <= size; n += LANES) {
      Vector x[H];
      for (int j = 0; j < H; ++j) x[j] = at(wide + j * shape_.wide_row_stride + n);
      for (int i = 0; i < R; ++i) {
        const Vector factor = at(thin + i * thin_stride_ + n);
        for (int j = 0; j < H; ++j) sums[i][j] += factor * x[j];
      }
    }
    for (int i = 0; i < R; ++i)
      for (int j = 0; j < H; ++j) {
        Real whole = 0;
        for (int64_t lane = 0; lane < LANES; ++lane) whole += sums[i][j][lane];
        for (int64_t m = n; m < size; ++m) whole += thin[i * thin_stride_ + m] * wide[j * shape_.wide_row_stride + m];
        out[i * shape_.inner + j] += whole;
      }
  }

  const Shape& shape_;
  const Real* thin_;
  int64_t thin_stride_;
  const Real* wide_;
  Real* out_;
  std::vector<Real> packed_;
};

template <class Real>
void multiply(const Shape& shape, const void* thin, const void* wide, void* out) {
  Product<Real>(shape, static_cast<const Real*>(thin), static_cast<const Real*>(wide), static_cast<Real*>(out)).run();
}

}  // namespace

extern "C" void thin_product(const void* thin, const void* wide, void* out, const Shape* shape) {
  (shape->is_double ? multiply<double> : multiply<float>)(*shape, thin, wide, out);
}
