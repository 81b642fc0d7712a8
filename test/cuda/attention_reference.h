// Attention in plain loops for the tests: the same code in float64, as the truth, and in a device dtype with
// every intermediate tensor rounded to it, as the plain implementation whose error sets the tolerance.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <functional>
#include <limits>

#include "check.h"

namespace attention_test {

using check::Values;

struct Sizes {
  int64_t batch, heads, queries, keys, head_size;
  bool causal = false;
  bool shared_queries = false;  // one set of queries for the batch
};

// q [batch or 1, queries, D], k and v [batch, keys, D], dout [batch, queries, D], D = heads * head_size.
struct Operands {
  Values q, k, v, dout;
};
// log_sum [batch, heads, queries]; the others as their operands.
struct Results {
  Values out, log_sum, dq, dk, dv;
};

// `round` is applied to whatever a composition of simple operations would store in the dtype: weights, their
// gradients and the results; `Real` is what it computes in.
template <class Real>
Results reference(const Sizes& s, const Operands& x, const std::function<Real(Real)>& round) {
  const int64_t dim = s.heads * s.head_size;
  Results r{Values(s.batch * s.queries * dim), Values(s.batch * s.heads * s.queries), Values(x.q.size()),
            Values(x.k.size()), Values(x.v.size())};
  const Real scale = 1 / std::sqrt(static_cast<Real>(s.head_size));
  std::vector<Real> dq(x.q.size()), dk(x.k.size()), dv(x.v.size()), p(s.keys), dp(s.keys);
  for (int64_t n = 0; n < s.batch; ++n) {
    for (int64_t h = 0; h < s.heads; ++h) {
      for (int64_t i = 0; i < s.queries; ++i) {
        const int64_t q = ((s.shared_queries ? 0 : n) * s.queries + i) * dim + h * s.head_size;
        const int64_t o = (n * s.queries + i) * dim + h * s.head_size;
        const int64_t seen = s.causal ? std::min(s.keys, i + 1) : s.keys;
        const auto key = [&](int64_t j) { return (n * s.keys + j) * dim + h * s.head_size; };
        Real largest = -std::numeric_limits<Real>::infinity(), sum = 0, delta = 0;
        for (int64_t j = 0; j < seen; ++j) {
          Real logit = 0, dweight = 0;
          for (int64_t d = 0; d < s.head_size; ++d) {
            logit += static_cast<Real>(x.q[q + d]) * static_cast<Real>(x.k[key(j) + d]);
            dweight += static_cast<Real>(x.dout[o + d]) * static_cast<Real>(x.v[key(j) + d]);
          }
          p[j] = logit * scale;
          dp[j] = round(dweight);
          largest = std::max(largest, p[j]);
        }
        for (int64_t j = 0; j < seen; ++j) sum += p[j] = std::exp(p[j] - largest);
        r.log_sum[(n * s.heads + h) * s.queries + i] = largest + std::log(sum);
        for (int64_t j = 0; j < seen; ++j) {
          p[j] = round(p[j] / sum);
          delta += p[j] * dp[j];
        }
        for (int64_t d = 0; d < s.head_size; ++d) {
          Real out = 0;
          for (int64_t j = 0; j < seen; ++j) out += p[j] * static_cast<Real>(x.v[key(j) + d]);
          r.out[o + d] = round(out);
        }
        for (int64_t j = 0; j < seen; ++j) {
          const Real ds = round(p[j] * (dp[j] - delta)) * scale;
          for (int64_t d = 0; d < s.head_size; ++d) {
            dq[q + d] += ds * static_cast<Real>(x.k[key(j) + d]);
            dk[key(j) + d] += ds * static_cast<Real>(x.q[q + d]);
            dv[key(j) + d] += p[j] * static_cast<Real>(x.dout[o + d]);
          }
        }
      }
    }
  }
  for (size_t i = 0; i < dq.size(); ++i) r.dq[i] = round(dq[i]);
  for (size_t i = 0; i < dk.size(); ++i) r.dk[i] = round(dk[i]), r.dv[i] = round(dv[i]);
  return r;
}

}  // namespace attention_test
