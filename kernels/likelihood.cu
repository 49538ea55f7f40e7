// Log-likelihood of given images: per pixel, over its stages, in nats.
//
// Of a logistic mixture:
//
//   logsumexp over components of (log softmax(logits) + sum over channels of the log-probability of the
//   code's bin), with open bins at the first and last code and the density fallback
//
// Bins are computed in f32 with the thresholds of the original, so that the same branch is taken; their
// sums and the two log-sum-exps in f64, as in src/distribution/logistic.rs.
//
// Of a categorical distribution: sum over channels of logit - logsumexp(logits), in f64.
//
// Launch: one thread per pixel of every image, 128 per block. Per pixel: count * 4 bytes of parameters
// a stage, channels * 2 bytes of codes, 8 bytes written; about 60 operations per component and channel.
//
// How it was arrived at: scoring spends its time in the products; this is written to agree with the
// CPU, one pass for the largest term and one for the sum, nothing kept in arrays.

#include <stddef.h>

#include "logistic.cuh"

struct Likelihood {
    const float *parameters;     // [images * pixels][stage][count]
    const unsigned short *codes; // [images * pixels][stage][channel]
    double *nats;                // [images * pixels]
    unsigned long long pixels;   // of all images
    int stages;
    int count;      // parameters of a stage
    int components; // of the mixture, or classes
    int channels;   // of a stage
    int code_count; // how many codes there are
    float log_centre; // log((code_count - 1) / 2)
};

static_assert(sizeof(Likelihood) == 56 && offsetof(Likelihood, codes) == 8 && offsetof(Likelihood, nats) == 16 &&
              offsetof(Likelihood, pixels) == 24 && offsetof(Likelihood, stages) == 32 &&
              offsetof(Likelihood, count) == 36 && offsetof(Likelihood, components) == 40 &&
              offsetof(Likelihood, channels) == 44 && offsetof(Likelihood, code_count) == 48 &&
              offsetof(Likelihood, log_centre) == 52);

namespace {

constexpr int THREADS = 128;
constexpr float SMALLEST_BIN = 1e-5f;

__device__ __forceinline__ float sigmoid(float x) { return 1.0f / (1.0f + expf(-x)); }

__device__ __forceinline__ float softplus(float x) { return __fadd_rn(fmaxf(x, 0.0f), log1pf(expf(-fabsf(x)))); }

// A pixel's stage under a mixture.
struct Scored {
    const Likelihood &job;
    Mixture mixture;
    const float *params;
    const unsigned short *codes;

    __device__ float value(int channel) const {
        const float centre = (float)(job.code_count - 1) / 2.0f;
        return ((float)codes[channel] - centre) / centre;
    }

    __device__ float log_bin(int channel, float mean, float log_scale) const {
        const float half_bin = 1.0f / (float)(job.code_count - 1);
        const float centered = __fsub_rn(value(channel), mean);
        const float inverse_scale = expf(-log_scale);
        const float plus = __fmul_rn(inverse_scale, __fadd_rn(centered, half_bin));
        const float minus = __fmul_rn(inverse_scale, __fsub_rn(centered, half_bin));
        if (codes[channel] == 0) return plus - softplus(plus);
        if (codes[channel] == job.code_count - 1) return -softplus(minus);
        const float bin = sigmoid(plus) - sigmoid(minus);
        if (bin > SMALLEST_BIN) return logf(bin);
        const float middle = __fmul_rn(inverse_scale, centered);
        return middle - log_scale - 2.0f * softplus(middle) - job.log_centre;
    }

    // Log-probability under one component, and the component's logit.
    __device__ double component(int mix) const {
        double sum = params[mix];
        for (int channel = 0; channel < mixture.channels; channel++) {
            const float linear = mixture.linear(params, channel, mix, [&](int i) { return value(i); });
            const float mean = __fadd_rn(mixture.mean(params, channel, mix), linear);
            sum += log_bin(channel, mean, mixture.log_scale(params, channel, mix));
        }
        return sum;
    }

    __device__ double nats() const {
        double largest = -INFINITY, largest_logit = -INFINITY;
        for (int mix = 0; mix < mixture.mixtures; mix++) {
            largest = fmax(largest, component(mix));
            largest_logit = fmax(largest_logit, (double)params[mix]);
        }
        double sum = 0.0, norm = 0.0;
        for (int mix = 0; mix < mixture.mixtures; mix++) {
            sum += exp(component(mix) - largest);
            norm += exp((double)params[mix] - largest_logit);
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
        const Mixture mixture = {job.components, job.channels};
        nats += Scored{job, mixture, job.parameters + at * job.count, job.codes + at * job.channels}.nats();
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
        nats += log_softmax(job.parameters + at * job.components, job.components, job.codes[at]);
    }
    job.nats[pixel] = nats;
}
