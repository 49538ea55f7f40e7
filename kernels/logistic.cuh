// The discretized logistic mixture (Salimans et al. 2017, sections 2.1 and 2.2) over any number of
// channels: where its parameters are, and what becomes of them. src/network/mixture.rs says what each
// field is. Operations and their order are those of src/distribution/logistic.rs; products and sums are
// rounded one by one, as there.
//
// How it was arrived at: dialects differ in where parameters are and in a few functions, so these are data.
// All threads take the same branch, and the layout is read from constant memory: the original's head costs
// a few instructions more than one written for it alone.
#pragma once

#include <stddef.h>

enum ScaleLink { SCALE_EXP, SCALE_SOFTPLUS, SCALE_INVERSE_SOFTPLUS };
enum CoefficientLink { COEFFICIENT_TANH, COEFFICIENT_IDENTITY };
enum BinRule { BINS_ORIGINAL, BINS_EXACT };

__device__ __forceinline__ float sigmoid(float x) { return 1.0f / (1.0f + expf(-x)); }

__device__ __forceinline__ float softplus(float x) { return __fadd_rn(fmaxf(x, 0.0f), log1pf(expf(-fabsf(x)))); }

// A scale as its inverse and its logarithm.
struct InverseScale {
    float inverse;
    float log;
};

struct Mixture {
    int mixtures;
    int channels;
    int logit_place[2];       // first, per component
    int mean_place[3];        // first, per component, per channel
    int scale_place[3];       // as means
    int coefficient_place[4]; // first, per component, per slot, per group
    int groups;               // of coefficients
    int scale_link;
    int coefficient_link;
    int bin_rule;
    // The floor of log-scales (of either use), the term added to the softplus, or the floor of inverse scales.
    float sampling_bound;
    float likelihood_bound;

    __device__ __forceinline__ float logit(const float *params, int mix) const {
        return params[logit_place[0] + mix * logit_place[1]];
    }

    __device__ __forceinline__ float mean(const float *params, int channel, int mix) const {
        return params[mean_place[0] + mix * mean_place[1] + channel * mean_place[2]];
    }

    __device__ __forceinline__ float raw_scale(const float *params, int channel, int mix) const {
        return params[scale_place[0] + mix * scale_place[1] + channel * scale_place[2]];
    }

    __device__ __forceinline__ float sampling_scale(const float *params, int channel, int mix) const {
        const float raw = raw_scale(params, channel, mix);
        if (scale_link == SCALE_EXP) return expf(fmaxf(raw, sampling_bound));
        const float soft = softplus(raw);
        return scale_link == SCALE_SOFTPLUS ? __fadd_rn(soft, sampling_bound) : 1.0f / fmaxf(soft, sampling_bound);
    }

    __device__ __forceinline__ InverseScale likelihood_scale(const float *params, int channel, int mix) const {
        const float raw = raw_scale(params, channel, mix);
        if (scale_link == SCALE_EXP) {
            const float log = fmaxf(raw, likelihood_bound);
            return {expf(-log), log};
        }
        const float soft = softplus(raw);
        if (scale_link == SCALE_SOFTPLUS) {
            const float scale = __fadd_rn(soft, likelihood_bound);
            return {1.0f / scale, logf(scale)};
        }
        const float inverse = fmaxf(soft, likelihood_bound);
        return {inverse, -logf(inverse)};
    }

    __device__ __forceinline__ float coefficient(const float *params, int which, int mix) const {
        const int slot = which / groups;
        const int group = which - slot * groups;
        const int place = coefficient_place[0] + mix * coefficient_place[1] + slot * coefficient_place[2];
        const float raw = params[place + group * coefficient_place[3]];
        return coefficient_link == COEFFICIENT_TANH ? tanhf(raw) : raw;
    }

    // What the channels before add to the mean of `channel`; `value(i)` is one of them.
    template <typename Value>
    __device__ __forceinline__ float linear(const float *params, int channel, int mix, Value value) const {
        const int first = channel * (channel - 1) / 2;
        float sum = 0.0f;
        for (int before = 0; before < channel; before++) {
            const float term = __fmul_rn(coefficient(params, first + before, mix), value(before));
            sum = before == 0 ? term : __fadd_rn(sum, term);
        }
        return sum;
    }
};

static_assert(sizeof(Mixture) == 80 && offsetof(Mixture, channels) == 4 && offsetof(Mixture, logit_place) == 8 &&
              offsetof(Mixture, mean_place) == 16 && offsetof(Mixture, scale_place) == 28 &&
              offsetof(Mixture, coefficient_place) == 40 && offsetof(Mixture, groups) == 56 &&
              offsetof(Mixture, scale_link) == 60 && offsetof(Mixture, coefficient_link) == 64 &&
              offsetof(Mixture, bin_rule) == 68 && offsetof(Mixture, sampling_bound) == 72 &&
              offsetof(Mixture, likelihood_bound) == 76);
