// Log-likelihood of given images: per pixel, over its stages, in nats.
//
// Of a logistic mixture:
//
//   logsumexp over components of (log softmax(logits) + sum over channels of the log-probability of the
//   value's bin), with open bins at the first and last code
//
// Bins are computed by the original's rule, in f32 with its thresholds, so that the same branch is taken, or
// exactly, in f64; their sums and the two log-sum-exps in f64, as in src/distribution/logistic.rs.
//
// Of a categorical distribution: sum over channels of logit - logsumexp(logits), in f64.
//
// Launch: one thread per pixel of every image, 128 per block. Per pixel: count * 4 bytes of parameters
// a stage, channels * 4 bytes of values, 8 bytes written; about 60 operations per component and channel.
//
// How it was arrived at: scoring spends its time in the products; this is written to agree with the
// CPU, one pass for the largest term and one for the sum, nothing kept in arrays. Both passes are one
// loop: what they share is compiled once.

#include "codes.cuh"
#include "logistic.cuh"

struct Likelihood {
    const float *parameters;   // [images * pixels][stage][count]
    const float *values;       // [images * pixels][stage][channel]
    double *nats;              // [images * pixels]
    unsigned long long pixels; // of all images
    Mixture mixture;
    Codes codes;
    int stages;
    int count;      // parameters of a stage
    int classes;    // of a categorical distribution
    int channels;   // of a stage
    float half_bin; // half of the distance between neighbouring codes
    float log_bin;  // the logarithm of that distance
    int unused;
};

static_assert(sizeof(Likelihood) == 152 && offsetof(Likelihood, values) == 8 && offsetof(Likelihood, nats) == 16 &&
              offsetof(Likelihood, pixels) == 24 && offsetof(Likelihood, mixture) == 32 &&
              offsetof(Likelihood, codes) == 112 && offsetof(Likelihood, stages) == 124 &&
              offsetof(Likelihood, count) == 128 && offsetof(Likelihood, classes) == 132 &&
              offsetof(Likelihood, channels) == 136 && offsetof(Likelihood, half_bin) == 140 &&
              offsetof(Likelihood, log_bin) == 144);

namespace {

constexpr int THREADS = 128;
constexpr float SMALLEST_BIN = 1e-5f;
// Values beyond this are in the open bins of the original.
constexpr float OPEN_BINS = 0.999f;

__device__ __forceinline__ double softplus(double x) { return fmax(x, 0.0) + log1p(exp(-fabs(x))); }

// A pixel's stage under a mixture.
struct Scored {
    const Likelihood &job;
    const float *params;
    const float *values;

    __device__ __forceinline__ float original_bin(float x, float mean, InverseScale scale) const {
        const float centered = __fsub_rn(x, mean);
        const float plus = __fmul_rn(scale.inverse, __fadd_rn(centered, job.half_bin));
        const float minus = __fmul_rn(scale.inverse, __fsub_rn(centered, job.half_bin));
        if (x < -OPEN_BINS) return __fsub_rn(plus, softplus(plus));
        if (x > OPEN_BINS) return -softplus(minus);
        const float bin = sigmoid(plus) - sigmoid(minus);
        if (bin > SMALLEST_BIN) return logf(bin);
        const float middle = __fmul_rn(scale.inverse, centered);
        return __fsub_rn(__fsub_rn(middle, scale.log), __fmul_rn(2.0f, softplus(middle))) + job.log_bin;
    }

    // log(F(b) - F(a)) = log(1 - e^(a - b)) + log F(b) + log F(-a), F the logistic function; without the
    // first and the last term, or without the middle one, where a or b is infinite.
    __device__ __forceinline__ double exact_bin(float x, float mean, double inverse) const {
        const double half = job.half_bin;
        const double centered = (double)x - (double)mean;
        const double plus = __dmul_rn(inverse, centered + half);
        const double minus = __dmul_rn(inverse, centered - half);
        // The first and the last code, whatever rounding made of their values.
        const float limit = job.codes.limit, quarter = job.half_bin / 2.0f;
        const bool first = x <= __fadd_rn(-limit, quarter);
        const bool last = x >= __fsub_rn(limit, quarter);
        const double inside = first || last ? 0.0 : log(-expm1(__dmul_rn(__dmul_rn(-2.0, inverse), half)));
        const double above = last ? 0.0 : softplus(-plus);
        const double below = first ? 0.0 : softplus(minus);
        return inside - above - below;
    }

    // Log-probability under one component, and the component's logit.
    __device__ __forceinline__ double component(int mix) const {
        const Mixture &mixture = job.mixture;
        double sum = mixture.logit(params, mix);
#pragma unroll 1
        for (int channel = 0; channel < mixture.channels; channel++) {
            const float linear = mixture.linear(params, channel, mix, [&](int i) { return values[i]; });
            const float mean = __fadd_rn(mixture.mean(params, channel, mix), linear);
            const InverseScale scale = mixture.likelihood_scale(params, channel, mix);
            sum += mixture.bin_rule == BINS_ORIGINAL ? (double)original_bin(values[channel], mean, scale)
                                                     : exact_bin(values[channel], mean, scale.inverse);
        }
        return sum;
    }

    __device__ __forceinline__ double nats() const {
        const Mixture &mixture = job.mixture;
        double largest = -INFINITY, largest_logit = -INFINITY;
        double sum = 0.0, norm = 0.0;
#pragma unroll 1
        for (int step = 0; step < 2 * mixture.mixtures; step++) {
            const bool adds = step >= mixture.mixtures;
            const int mix = adds ? step - mixture.mixtures : step;
            const double term = component(mix);
            const double logit = mixture.logit(params, mix);
            if (adds) {
                sum += exp(term - largest);
                norm += exp(logit - largest_logit);
            } else {
                largest = fmax(largest, term);
                largest_logit = fmax(largest_logit, logit);
            }
        }
        return largest + log(sum) - largest_logit - log(norm);
    }
};

__device__ __forceinline__ double log_softmax(const float *logits, int classes, int code) {
    double largest = -INFINITY;
    for (int k = 0; k < classes; k++) largest = fmax(largest, (double)logits[k]);
    double sum = 0.0;
    for (int k = 0; k < classes; k++) sum += exp((double)logits[k] - largest);
    return (double)logits[code] - largest - log(sum);
}

} // namespace

extern "C" __global__ void __launch_bounds__(THREADS, 1) log_likelihood_mixture(const __grid_constant__ Likelihood job) {
    const size_t pixel = (size_t)blockIdx.x * THREADS + threadIdx.x;
    if (pixel >= job.pixels) return;
    double nats = 0.0;
    for (int stage = 0; stage < job.stages; stage++) {
        const size_t at = pixel * job.stages + stage;
        nats += Scored{job, job.parameters + at * job.count, job.values + at * job.channels}.nats();
    }
    job.nats[pixel] = nats;
}

extern "C" __global__ void __launch_bounds__(THREADS, 1) log_likelihood_categorical(const __grid_constant__ Likelihood job) {
    const size_t pixel = (size_t)blockIdx.x * THREADS + threadIdx.x;
    if (pixel >= job.pixels) return;
    double nats = 0.0;
    // Stages and channels, one after the other, are as many classes each.
    const size_t channels = (size_t)job.stages * job.channels;
    for (size_t at = pixel * channels; at < (pixel + 1) * channels; at++) {
        nats += log_softmax(job.parameters + at * job.classes, job.classes, (int)code_of(job.codes, job.values[at]));
    }
    job.nats[pixel] = nats;
}
