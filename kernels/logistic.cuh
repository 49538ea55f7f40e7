// The discretized logistic mixture (Salimans et al. 2017, sections 2.1 and 2.2): how a pixel's
// parameters are laid out and read. Operations and their order are those of
// src/distribution/logistic.rs; products and sums are rounded one by one, as there.
#pragma once

constexpr float LOG_SCALE_MIN = -7.0f;

struct Mixture {
    int nr_mix;
    int channels; // 1 or 3

    __device__ int base(int channel) const { return nr_mix + 3 * nr_mix * channel; }

    __device__ float mean(const float *params, int channel, int mix) const { return params[base(channel) + mix]; }

    __device__ float log_scale(const float *params, int channel, int mix) const {
        return fmaxf(params[base(channel) + nr_mix + mix], LOG_SCALE_MIN);
    }

    // Of G from R, B from R, B from G.
    __device__ float coefficient(const float *params, int which, int mix) const {
        return tanhf(params[base(which) + 2 * nr_mix + mix]);
    }

    // What the channels before add to the mean of `channel`.
    __device__ float linear(const float *params, int channel, int mix, const float *x) const {
        if (channel == 0) return 0.0f;
        if (channel == 1) return __fmul_rn(coefficient(params, 0, mix), x[0]);
        return __fadd_rn(__fmul_rn(coefficient(params, 1, mix), x[0]), __fmul_rn(coefficient(params, 2, mix), x[1]));
    }
};

// The value of a level 0 to 255.
__device__ __forceinline__ float to_grid_value(unsigned char level) { return ((float)level - 127.5f) / 127.5f; }

// The nearest level, as a value.
__device__ __forceinline__ float round_to_grid(float x) {
    const float level = roundf(__fadd_rn(__fmul_rn(x, 127.5f), 127.5f));
    return (fminf(fmaxf(level, 0.0f), 255.0f) - 127.5f) / 127.5f;
}
