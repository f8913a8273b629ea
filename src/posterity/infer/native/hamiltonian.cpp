// Hamiltonian trajectories of many chains, each a state machine over leapfrogs: a chain whose trajectory ends begins its
// next one at once, so that no chain waits for the longest. `posterity/infer/mcmc/nuts.py` and `hmc.py` say the same in
// tensor operations, number for number; a test holds the two together.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <vector>

namespace {

// ---- random numbers: as `posterity/kernels/threefry.py` and `random.py`

struct Words {
  uint32_t first, second;
};

Words threefry(Words key, Words counter, int rounds) {
  static const int rotations[8] = {13, 15, 26, 6, 17, 29, 16, 24};
  const uint32_t schedule[3] = {key.first, key.second, key.first ^ key.second ^ 0x1BD11BDAu};
  uint32_t x = counter.first + schedule[0], y = counter.second + schedule[1];
  for (int i = 0; i < rounds; ++i) {
    x += y;
    const int r = rotations[i % 8];
    y = ((y << r) | (y >> (32 - r))) ^ x;
    if (i % 4 == 3) {
      const uint32_t group = i / 4 + 1;
      x += schedule[group % 3];
      y += schedule[(group + 1) % 3] + group;
    }
  }
  return {x, y};
}

constexpr int FAST_ROUNDS = 13, SAFE_ROUNDS = 20;

Words fold_in(Words key, uint32_t number) { return threefry(key, {number, ~0u}, SAFE_ROUNDS); }

Words bits(Words key, uint32_t counter, uint32_t stream) { return threefry(key, {counter, stream}, FAST_ROUNDS); }

double uniform(Words key, uint32_t counter, uint32_t stream) {
  const Words w = bits(key, counter, stream);
  return ((w.first & 0x3FFFFFFu) * 67108864.0 + (w.second & 0x3FFFFFFu) + 0.5) * 0x1p-52;
}

template <class Real>
void normals(Words key, uint32_t stream, int64_t size, Real* out) {
  const int64_t half = (size + 1) / 2;
  for (int64_t i = 0; i < half; ++i) {
    const Words a = bits(key, uint32_t(i), stream), b = bits(key, uint32_t(half + i), stream);
    const double whole = (a.first & 0x7FFFFFFFu) * 0x1p31 + (a.second & 0x7FFFFFFFu);
    const double length = std::sqrt(-2.0 * std::log((whole + 0.5) * 0x1p-62));
    const double turn = double(int32_t(b.first)) * 0x1p-31 + (b.second & 0x7FFFFFFFu) * 0x1p-62;
    const double angle = turn * 3.14159265358979323846;
    out[i] = Real(length * std::cos(angle));
    if (half + i < size) out[half + i] = Real(length * std::sin(angle));
  }
}

// What each use of a transition's key reads.
enum Stream : uint32_t { MOMENTUM = 0, LEAF = 1, DIRECTION = 2, SUBTREE = 3 };

// ---- small vectors

template <class Real>
double dot(const Real* a, const Real* b, int64_t size) {
  double sum = 0;
#pragma omp simd reduction(+ : sum)
  for (int64_t i = 0; i < size; ++i) sum += double(a[i]) * b[i];
  return sum;
}

template <class Real>
void copy(Real* to, const Real* from, int64_t size) {
  std::memcpy(to, from, size * sizeof(Real));
}

double log_add_exp(double a, double b) {
  const double high = std::max(a, b);
  if (high == -std::numeric_limits<double>::infinity()) return high;
  return high + std::log1p(std::exp(std::min(a, b) - high));
}

// ---- the metric: as `posterity/infer/mcmc/metric.py`

enum MetricKind : int64_t { DIAGONAL = 0, DENSE = 1, LOW_RANK = 2 };

}  // namespace

extern "C" {

// What Python fills in; every array is contiguous, its first dimension the chain.
struct Job {
  int64_t num_chains, dim, max_tree_depth, is_nuts;
  double max_energy_error;
  // The target: `evaluate(context)` reads `point`, writes `value` and `gradient`, and returns 0 if all went well.
  int32_t (*evaluate)(void*);
  void* context;
  void *point, *value, *gradient;
  // The metric.
  int64_t metric, rank;
  const void *scale, *factor, *stretch;
  // Where the chains are, on whitened space, and which transition is their next.
  void *position, *log_density, *position_gradient;
  const int32_t* keys;
  int64_t first_transition, num_transitions;
  // HMC: how long a trajectory is in time, by how much the steps vary, and how many leapfrogs it may have, or has.
  double trajectory_length, jitter;
  int64_t max_num_steps, num_steps_given;
  // The step sizes, and their dual averaging where `target_accept` is positive.
  double* step_size;
  double target_accept;
  double *error_sum, *log_step_average, *shrinkage_point;
  int64_t* num_updates;
  // What is known of each transition, `[num_chains, num_transitions]`; `draws` and `gradients` have `dim` more.
  void *draws, *gradients;
  double *accept_prob, *energy, *log_densities;
  int64_t *num_steps, *tree_depth;
  uint8_t* is_divergent;
  // How many transitions each chain has taken.
  int64_t* done;
};
}

namespace {

template <class Real>
class Chain {
 public:
  Chain(const Job& job, int64_t index)
      : job_(job), index_(index), dim_(job.dim), levels_(std::max<int64_t>(job.max_tree_depth, 1)) {
    for (auto* v : {&left_u_, &left_p_, &left_g_, &right_u_, &right_p_, &right_g_, &edge_u_, &edge_p_, &edge_g_,
                    &chosen_u_, &chosen_g_, &sub_u_, &sub_g_, &p_sum_, &sub_p_sum_, &scratch_})
      v->resize(dim_);
    low_rank_.resize(std::max<int64_t>(job.rank, 1));
    if (job.is_nuts) {
      checkpoint_p_.resize(levels_ * dim_);
      checkpoint_sum_.resize(levels_ * dim_);
    }
    key_ = {uint32_t(job.keys[2 * index]), uint32_t(job.keys[2 * index + 1])};
    if (!finished()) begin();
  }

  bool finished() const { return job_.done[index_] >= job_.num_transitions; }

  // Half a leapfrog: to the point where the target is to be evaluated.
  void propose() {
    const Real half = Real(0.5) * Real(step_), whole = Real(step_);
    for (int64_t i = 0; i < dim_; ++i) {
      edge_p_[i] += half * edge_g_[i];
      edge_u_[i] += whole * edge_p_[i];
    }
    forward(edge_u_.data(), static_cast<Real*>(job_.point) + index_ * dim_);
  }

  // The other half, and whatever follows from the new leaf.
  void take() {
    const double value = static_cast<const Real*>(job_.value)[index_];
    transpose(static_cast<const Real*>(job_.gradient) + index_ * dim_, edge_g_.data());
    const Real half = Real(0.5) * Real(step_);
    for (int64_t i = 0; i < dim_; ++i) edge_p_[i] += half * edge_g_[i];
    const double energy = 0.5 * dot(edge_p_.data(), edge_p_.data(), dim_) - value;
    double error = energy - energy_;
    if (std::isnan(error)) error = std::numeric_limits<double>::infinity();
    const bool diverges = error > job_.max_energy_error;
    sum_accept_ += error > 0 ? std::exp(-error) : 1.0;
    divergent_ |= diverges;
    if (job_.is_nuts)
      leaf(value, -error, diverges);
    else
      straight(value, error);
  }

 private:
  // ---- NUTS: Betancourt (2017), appendix A; the iterative tree of Phan, Pradhan and Jankowiak (2019)

  void leaf(double value, double log_weight, bool diverges) {
    for (int64_t i = 0; i < dim_; ++i) sub_p_sum_[i] += edge_p_[i];
    const double total = log_add_exp(sub_log_weight_, log_weight);
    if (std::log(uniform(now_, uint32_t(num_leaves_), LEAF)) < log_weight - total || sub_leaves_ == 0) {
      copy(sub_u_.data(), edge_u_.data(), dim_);
      copy(sub_g_.data(), edge_g_.data(), dim_);
      sub_value_ = value;
    }
    sub_log_weight_ = total;
    const bool turns = !diverges && turns_within(sub_leaves_);
    ++num_leaves_;
    ++sub_leaves_;
    if (diverges || turns) {
      end();
    } else if (sub_leaves_ == int64_t(1) << depth_) {
      merge();
    } else {
      propose();
    }
  }

  // Whether a balanced subtree that ends with this leaf turns.
  bool turns_within(int64_t leaf) {
    int64_t top = __builtin_popcountll(uint64_t(leaf) >> 1);
    if (leaf % 2 == 0) {
      copy(&checkpoint_p_[top * dim_], edge_p_.data(), dim_);
      copy(&checkpoint_sum_[top * dim_], sub_p_sum_.data(), dim_);
      return false;
    }
    const int64_t bottom = top - __builtin_ctzll(~uint64_t(leaf)) + 1;
    for (; top >= bottom; --top) {
      const Real *p = &checkpoint_p_[top * dim_], *sum = &checkpoint_sum_[top * dim_];
      for (int64_t i = 0; i < dim_; ++i) scratch_[i] = sub_p_sum_[i] - sum[i] + p[i];
      if (turning(p, edge_p_.data(), scratch_.data())) return true;
    }
    return false;
  }

  bool turning(const Real* left, const Real* right, const Real* sum) const {
    double along_left = 0, along_right = 0;
#pragma omp simd reduction(+ : along_left, along_right)
    for (int64_t i = 0; i < dim_; ++i) {
      const double rho = double(sum[i]) - 0.5 * (double(left[i]) + right[i]);
      along_left += left[i] * rho;
      along_right += right[i] * rho;
    }
    return along_left <= 0 || along_right <= 0;
  }

  void merge() {
    if (std::log(uniform(now_, uint32_t(depth_), SUBTREE)) < sub_log_weight_ - log_weight_) {
      chosen_u_.swap(sub_u_);
      chosen_g_.swap(sub_g_);
      chosen_value_ = sub_value_;
    }
    log_weight_ = log_add_exp(log_weight_, sub_log_weight_);
    for (int64_t i = 0; i < dim_; ++i) p_sum_[i] += sub_p_sum_[i];
    auto& u = step_ > 0 ? right_u_ : left_u_;
    auto& p = step_ > 0 ? right_p_ : left_p_;
    auto& g = step_ > 0 ? right_g_ : left_g_;
    copy(u.data(), edge_u_.data(), dim_);
    copy(p.data(), edge_p_.data(), dim_);
    copy(g.data(), edge_g_.data(), dim_);
    ++depth_;
    if (depth_ == job_.max_tree_depth || turning(left_p_.data(), right_p_.data(), p_sum_.data()))
      end();
    else
      subtree();
  }

  void subtree() {
    const bool right = int32_t(bits(now_, uint32_t(depth_), DIRECTION).first) >= 0;
    step_ = right ? job_.step_size[index_] : -job_.step_size[index_];
    copy(edge_u_.data(), right ? right_u_.data() : left_u_.data(), dim_);
    copy(edge_p_.data(), right ? right_p_.data() : left_p_.data(), dim_);
    copy(edge_g_.data(), right ? right_g_.data() : left_g_.data(), dim_);
    std::fill(sub_p_sum_.begin(), sub_p_sum_.end(), Real(0));
    sub_log_weight_ = -std::numeric_limits<double>::infinity();
    sub_leaves_ = 0;
    propose();
  }

  // ---- HMC: Neal (2011)

  void straight(double value, double error) {
    ++num_leaves_;
    if (divergent_ || num_leaves_ == planned_) {
      sum_accept_ = divergent_ ? 0.0 : error > 0 ? std::exp(-error) : 1.0;
      if (!divergent_ && std::log(uniform(now_, 0, SUBTREE)) < -error) {
        chosen_u_.swap(edge_u_);
        chosen_g_.swap(edge_g_);
        chosen_value_ = value;
      }
      end();
    } else {
      propose();
    }
  }

  void begin_straight() {
    const double varied = 1 + job_.jitter * (2 * uniform(now_, 0, LEAF) - 1);
    step_ = job_.step_size[index_] * varied;
    const double needed = std::ceil(job_.trajectory_length / step_);
    planned_ = job_.num_steps_given ? job_.num_steps_given
                                    : int64_t(std::min(std::max(needed, 1.0), double(job_.max_num_steps)));
    propose();
  }

  // ---- both

  void begin() {
    now_ = fold_in(key_, uint32_t(job_.first_transition + job_.done[index_]));
    const Real* u = static_cast<Real*>(job_.position) + index_ * dim_;
    const Real* g = static_cast<Real*>(job_.position_gradient) + index_ * dim_;
    chosen_value_ = static_cast<Real*>(job_.log_density)[index_];
    for (auto* v : {&chosen_u_, &left_u_, &right_u_, &edge_u_}) copy(v->data(), u, dim_);
    for (auto* v : {&chosen_g_, &left_g_, &right_g_, &edge_g_}) copy(v->data(), g, dim_);
    normals(now_, MOMENTUM, dim_, edge_p_.data());
    for (auto* v : {&left_p_, &right_p_, &p_sum_}) copy(v->data(), edge_p_.data(), dim_);
    energy_ = 0.5 * dot(edge_p_.data(), edge_p_.data(), dim_) - chosen_value_;
    log_weight_ = sum_accept_ = 0;
    depth_ = num_leaves_ = 0;
    divergent_ = false;
    if (job_.is_nuts)
      subtree();
    else
      begin_straight();
  }

  void end() {
    copy(static_cast<Real*>(job_.position) + index_ * dim_, chosen_u_.data(), dim_);
    copy(static_cast<Real*>(job_.position_gradient) + index_ * dim_, chosen_g_.data(), dim_);
    static_cast<Real*>(job_.log_density)[index_] = Real(chosen_value_);
    const int64_t row = index_ * job_.num_transitions + job_.done[index_];
    copy(static_cast<Real*>(job_.draws) + row * dim_, chosen_u_.data(), dim_);
    if (job_.gradients) copy(static_cast<Real*>(job_.gradients) + row * dim_, chosen_g_.data(), dim_);
    const double accept = job_.is_nuts ? sum_accept_ / num_leaves_ : sum_accept_;
    job_.accept_prob[row] = accept;
    job_.energy[row] = energy_;
    job_.log_densities[row] = chosen_value_;
    job_.num_steps[row] = num_leaves_;
    job_.tree_depth[row] = depth_;
    job_.is_divergent[row] = divergent_;
    if (job_.target_accept > 0) adapt(accept);
    if (++job_.done[index_] < job_.num_transitions) begin();
  }

  // Dual averaging, as `posterity/infer/mcmc/dual_averaging.py`.
  void adapt(double accept) {
    const double t = double(++job_.num_updates[index_]);
    const double weight = 1 / (t + 10);
    double& sum = job_.error_sum[index_];
    sum = (1 - weight) * sum + weight * (job_.target_accept - accept);
    const double log_step = job_.shrinkage_point[index_] - std::sqrt(t) / 0.05 * sum;
    const double eta = std::pow(t, -0.75);
    double& average = job_.log_step_average[index_];
    average = eta * log_step + (1 - eta) * average;
    job_.step_size[index_] = std::exp(log_step);
  }

  void forward(const Real* u, Real* z) {
    if (job_.metric == DENSE) {
      const Real* factor = static_cast<const Real*>(job_.factor) + index_ * dim_ * dim_;
      for (int64_t i = 0; i < dim_; ++i) z[i] = Real(dot(factor + i * dim_, u, i + 1));
      return;
    }
    const Real* scale = static_cast<const Real*>(job_.scale) + index_ * dim_;
    if (job_.metric == LOW_RANK) {
      stretched(u, z);
      for (int64_t i = 0; i < dim_; ++i) z[i] *= scale[i];
    } else {
      for (int64_t i = 0; i < dim_; ++i) z[i] = scale[i] * u[i];
    }
  }

  void transpose(const Real* gradient, Real* g) {
    if (job_.metric == DENSE) {
      const Real* factor = static_cast<const Real*>(job_.factor) + index_ * dim_ * dim_;
      std::fill(g, g + dim_, Real(0));
      for (int64_t i = 0; i < dim_; ++i)
        for (int64_t j = 0; j <= i; ++j) g[j] += factor[i * dim_ + j] * gradient[i];
      return;
    }
    const Real* scale = static_cast<const Real*>(job_.scale) + index_ * dim_;
    if (job_.metric == LOW_RANK) {
      for (int64_t i = 0; i < dim_; ++i) scratch_[i] = scale[i] * gradient[i];
      stretched(scratch_.data(), g);
    } else {
      for (int64_t i = 0; i < dim_; ++i) g[i] = scale[i] * gradient[i];
    }
  }

  // (1 + Q (diag(stretch) - 1) Q^T) x
  void stretched(const Real* x, Real* out) {
    const int64_t rank = job_.rank;
    const Real* directions = static_cast<const Real*>(job_.factor) + index_ * dim_ * rank;
    const Real* stretch = static_cast<const Real*>(job_.stretch) + index_ * rank;
    std::fill(low_rank_.begin(), low_rank_.end(), Real(0));
    for (int64_t i = 0; i < dim_; ++i)
      for (int64_t k = 0; k < rank; ++k) low_rank_[k] += directions[i * rank + k] * x[i];
    for (int64_t k = 0; k < rank; ++k) low_rank_[k] *= stretch[k] - 1;
    for (int64_t i = 0; i < dim_; ++i) {
      Real sum = x[i];
      for (int64_t k = 0; k < rank; ++k) sum += directions[i * rank + k] * low_rank_[k];
      out[i] = sum;
    }
  }

  const Job& job_;
  int64_t index_, dim_, levels_;
  Words key_, now_;
  // The trajectory: its ends, their momenta and gradients, the point chosen so far.
  std::vector<Real> left_u_, left_p_, left_g_, right_u_, right_p_, right_g_, chosen_u_, chosen_g_, p_sum_;
  double energy_, log_weight_, sum_accept_, chosen_value_;
  int64_t depth_, num_leaves_, planned_;
  bool divergent_;
  // The subtree, or line, that grows: its moving edge, and the point chosen in it.
  std::vector<Real> edge_u_, edge_p_, edge_g_, sub_u_, sub_g_, sub_p_sum_, checkpoint_p_, checkpoint_sum_;
  double step_, sub_log_weight_, sub_value_;
  int64_t sub_leaves_;
  std::vector<Real> scratch_, low_rank_;
};

template <class Real>
struct Run {
  Job job;
  std::vector<Chain<Real>> chains;

  explicit Run(const Job& given) : job(given) {
    chains.reserve(job.num_chains);
    for (int64_t c = 0; c < job.num_chains; ++c) chains.emplace_back(job, c);
  }

  int64_t advance(int64_t evaluations) {
    int64_t active = 0;
    for (auto& chain : chains) active += !chain.finished();
    for (int64_t n = 0; n < evaluations && active; ++n) {
      if (job.evaluate(job.context)) return -1;
      for (auto& chain : chains) {
        if (chain.finished()) continue;
        chain.take();
        active -= chain.finished();
      }
    }
    return active;
  }
};

}  // namespace

extern "C" {

// A run of `num_transitions` transitions of each chain; the job's arrays must outlive it.
void* hamiltonian_new(const Job* job, int64_t is_double) {
  if (is_double) return new Run<double>(*job);
  return new Run<float>(*job);
}

// Evaluate the target so many times at most; how many chains are not done, or -1 after an error of the target.
int64_t hamiltonian_advance(void* run, int64_t is_double, int64_t evaluations) {
  if (is_double) return static_cast<Run<double>*>(run)->advance(evaluations);
  return static_cast<Run<float>*>(run)->advance(evaluations);
}

void hamiltonian_delete(void* run, int64_t is_double) {
  if (is_double)
    delete static_cast<Run<double>*>(run);
  else
    delete static_cast<Run<float>*>(run);
}
}
