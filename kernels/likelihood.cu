// Log-likelihood of given images: per pixel the discretized logistic mixture's, in nats.
//
//   nats[image][pixel] = logsumexp over mixtures of (log softmax(logits) + sum over channels of the
//   log-probability of the level's bin), with open bins at 0 and 255 and the density fallback
//
// Bins are computed in f32 with the thresholds of the original, so that the same branch is taken;
// their sums and the two log-sum-exps in f64, as in src/distribution/logistic.rs.
//
// Launch: one thread per pixel of every image, 128 per block. Per pixel: count * 4 bytes of
// parameters, channels bytes of levels, 8 bytes written; about 60 operations per mixture and channel.
//
// How it was arrived at: scoring spends its time in the products; this is written to agree with the
// CPU, one pass for the largest term and one for the sum, nothing kept in arrays.

#include "logistic.cuh"

struct Likelihood {
    const float *params;        // [images * pixels][count]
    const unsigned char *levels; // [images * pixels][channels]
    double *nats;
    unsigned long long pixels;  // of all images
    int count;
    int nr_mix;
    int channels;
    int unused;
};

namespace {

constexpr int THREADS = 128;
constexpr float HALF_BIN = 1.0f / 255.0f;
constexpr float SMALLEST_BIN = 1e-5f;

__device__ __forceinline__ float sigmoid(float x) { return 1.0f / (1.0f + expf(-x)); }

__device__ __forceinline__ float softplus(float x) { return __fadd_rn(fmaxf(x, 0.0f), log1pf(expf(-fabsf(x)))); }

__device__ __forceinline__ float log_bin(float x, float mean, float log_scale) {
    const float centered = __fsub_rn(x, mean);
    const float inverse_scale = expf(-log_scale);
    const float plus = __fmul_rn(inverse_scale, __fadd_rn(centered, HALF_BIN));
    const float minus = __fmul_rn(inverse_scale, __fsub_rn(centered, HALF_BIN));
    if (x < -0.999f) return plus - softplus(plus);
    if (x > 0.999f) return -softplus(minus);
    const float bin = sigmoid(plus) - sigmoid(minus);
    if (bin > SMALLEST_BIN) return logf(bin);
    const float middle = __fmul_rn(inverse_scale, centered);
    return middle - log_scale - 2.0f * softplus(middle) - logf(127.5f);
}

// Log-probability of the pixel under one component, and the component's logit.
__device__ __forceinline__ double component(const Mixture &mixture, const float *params, const float *x, int mix) {
    double sum = params[mix];
#pragma unroll
    for (int channel = 0; channel < 3; channel++) {
        if (channel >= mixture.channels) continue;
        const float mean =
            __fadd_rn(mixture.mean(params, channel, mix), mixture.linear(params, channel, mix, x));
        sum += log_bin(x[channel], mean, mixture.log_scale(params, channel, mix));
    }
    return sum;
}

} // namespace

extern "C" __global__ void __launch_bounds__(THREADS) log_likelihood(const __grid_constant__ Likelihood job) {
    const size_t pixel = (size_t)blockIdx.x * THREADS + threadIdx.x;
    if (pixel >= job.pixels) return;
    const Mixture mixture = {job.nr_mix, job.channels};
    const float *params = job.params + pixel * job.count;
    float x[3] = {0.0f, 0.0f, 0.0f};
#pragma unroll
    for (int channel = 0; channel < 3; channel++) {
        if (channel < job.channels) x[channel] = to_grid_value(job.levels[pixel * job.channels + channel]);
    }
    double largest = -INFINITY, largest_logit = -INFINITY;
    for (int mix = 0; mix < job.nr_mix; mix++) {
        largest = fmax(largest, component(mixture, params, x, mix));
        largest_logit = fmax(largest_logit, (double)params[mix]);
    }
    double sum = 0.0, norm = 0.0;
    for (int mix = 0; mix < job.nr_mix; mix++) {
        sum += exp(component(mixture, params, x, mix) - largest);
        norm += exp((double)params[mix] - largest_logit);
    }
    job.nats[pixel] = largest + log(sum) - largest_logit - log(norm);
}
