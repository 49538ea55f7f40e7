// The discretized logistic mixture (Salimans et al. 2017, sections 2.1 and 2.2) over any number of
// channels: how parameters are laid out and read. Operations and their order are those of
// src/distribution/logistic.rs; products and sums are rounded one by one, as there.
//
// Layout: a logit per component; then per channel a mean, a log-scale and channels / 2 coefficients of
// each. Coefficient i is in group i mod (channels / 2) of channel i / (channels / 2); they are used in
// the order 1 from 0; 2 from 0, 2 from 1; 3 from 0, ...
#pragma once

constexpr float LOG_SCALE_MIN = -7.0f;

struct Mixture {
    int mixtures;
    int channels;

    __device__ int base(int channel) const { return mixtures * (1 + (2 + channels / 2) * channel); }

    __device__ float mean(const float *params, int channel, int mix) const { return params[base(channel) + mix]; }

    __device__ float log_scale(const float *params, int channel, int mix) const {
        return fmaxf(params[base(channel) + mixtures + mix], LOG_SCALE_MIN);
    }

    __device__ float coefficient(const float *params, int which, int mix) const {
        const int groups = channels / 2;
        return tanhf(params[base(which / groups) + (2 + which % groups) * mixtures + mix]);
    }

    // What the channels before add to the mean of `channel`; `value(i)` is one of them.
    template <typename Value>
    __device__ float linear(const float *params, int channel, int mix, Value value) const {
        if (channel == 0) return 0.0f;
        const int first = channel * (channel - 1) / 2;
        float sum = __fmul_rn(coefficient(params, first, mix), value(0));
        for (int before = 1; before < channel; before++) {
            sum = __fadd_rn(sum, __fmul_rn(coefficient(params, first + before, mix), value(before)));
        }
        return sum;
    }
};
