// The end of a pixel: the output nin, the choice of the pixel's value, and the push of that value
// into the input of the network.
//
//   params[image][p] = bias[p] + sum over k of elu(ul)[image][k] * weights[k][p]
//
// then, unless the pixel is given: the component by Gumbel-max over the logits, mean + exp(log_scale)
// * logistic noise per channel with the coefficients, clipped, rounded to the 256-level grid (unless
// continuous). The value goes to the finished image and, with the ones channel, to the input's
// cache; the image's (row, column) moves on, so that the next launch needs no new arguments. Each
// block writes the position of its own image only: no block waits for another.
//
// Operands, weights and the input are of type T; the parameters and the finished image are f32.
//
// Weights: [k][width], width a multiple of 4.
//
// Launch: `output_step`: grid (1, batch), one block per image, 32 to 256 threads; a thread sums four
// parameters over every slice-th k, slices are added in order through shared memory ((slices + 1) x
// width floats, dynamic). Per launch and image: depth * width numbers of type T of weights, 2 *
// depth * width operations, nr_mix + channels Philox blocks. `output_params`: grid (pixels, batch), the
// parameters only. `fill_image`: one thread per pixel of every image, 256 per block.
//
// How it was arrived at: one block per image keeps the choice of the pixel in the launch that
// computes its parameters, which saves a dependent launch per pixel; 160 x 100 weights are 64 KB in f32,
// read from the L2 by each block. Asking for one block per multiprocessor keeps the assembler from
// trading registers for spills, where 256 threads would otherwise aim at six (sm_86) or eight blocks.

#pragma once

#include "logistic.cuh"
#include "philox.cuh"
#include "op.cuh"

// What a user asks for; in device memory, so that captured launches do not change.
struct Request {
    unsigned long long seed;
    float temperature;
    int continuous;
};

struct Output {
    int2 *position;
    const void *weights;         // of T
    const float *bias;
    Plane source;
    Plane image;
    float *values;               // [batch][pixel][channels]
    float *params;               // [batch][pixel][count], or null
    const unsigned char *given;  // [batch][pixel][channels]
    const int *given_count;      // levels given, from the top, per image
    const unsigned long long *index;
    const Request *request;
    int depth;
    int width;
    int count;
    int nr_mix;
    int channels;
    int batch;
    int columns;                 // of the image
    int pixels;
};

namespace output {

constexpr int MAX_THREADS = 256;

// Leaves the parameters of a pixel in shared memory.
template <typename T>
__device__ __forceinline__ const float *parameters(const Output &out, int row, int column, int image) {
    extern __shared__ __align__(16) float shared[];
    const int quads = out.width / 4;
    const int slices = max((int)blockDim.x / quads, 1);
    float *params = shared;
    float4 *by_slice = reinterpret_cast<float4 *>(shared + out.width);
    const T *x = address<T>(out.source, row, column, out.batch, image);
    const Few<T, 4> *weights = static_cast<const Few<T, 4> *>(out.weights);
    for (int item = threadIdx.x; item < quads * slices; item += blockDim.x) {
        const int slice = item / quads;
        const int quad = item - slice * quads;
        float4 sum = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
#pragma unroll 4
        for (int k = slice; k < out.depth; k += slices) {
            const Few<T, 4> w = weights[(size_t)k * quads + quad];
            const float v = Element<T>::to(x[k]);
            sum.x = fmaf(v, Element<T>::to(w.at[0]), sum.x);
            sum.y = fmaf(v, Element<T>::to(w.at[1]), sum.y);
            sum.z = fmaf(v, Element<T>::to(w.at[2]), sum.z);
            sum.w = fmaf(v, Element<T>::to(w.at[3]), sum.w);
        }
        by_slice[item] = sum;
    }
    __syncthreads();
    for (int p = threadIdx.x; p < out.width; p += blockDim.x) {
        float sum = out.bias[p];
        for (int slice = 0; slice < slices; slice++) sum += reinterpret_cast<float *>(by_slice)[slice * out.width + p];
        params[p] = sum;
    }
    __syncthreads();
    return params;
}

// The component with the largest Gumbel score, the first of equals; for the whole warp.
__device__ __forceinline__ int choose(const Output &out, const float *params, float temperature,
                                      unsigned long long seed, unsigned long long index, unsigned pixel) {
    float best = -INFINITY;
    int chosen = 0;
    for (int mix = threadIdx.x; mix < out.nr_mix; mix += 32) {
        const float u = philox_uniform(seed, index, pixel, mix);
        const float score = params[mix] / temperature - logf(-logf(u));
        if (score > best) {
            best = score;
            chosen = mix;
        }
    }
    for (int offset = 16; offset > 0; offset /= 2) {
        const float score = __shfl_xor_sync(0xffffffffu, best, offset);
        const int mix = __shfl_xor_sync(0xffffffffu, chosen, offset);
        if (score > best || (score == best && mix < chosen)) {
            best = score;
            chosen = mix;
        }
    }
    return chosen;
}

__device__ __forceinline__ void write_params(const Output &out, const float *params, int pixel, int image) {
    if (!out.params) return;
    float *to = out.params + ((size_t)image * out.pixels + pixel) * out.count;
    for (int p = threadIdx.x; p < out.count; p += blockDim.x) to[p] = params[p];
}

template <typename T> __device__ __forceinline__ void output_step(const Output &out) {
    const int image = blockIdx.y;
    const int2 at = out.position[image];
    const int pixel = at.x * out.columns + at.y;
    const float *params = parameters<T>(out, at.x, at.y, image);
    write_params(out, params, pixel, image);
    if (threadIdx.x >= 32) return;

    const Mixture mixture = {out.nr_mix, out.channels};
    const int first = pixel * out.channels;
    const bool given = first + out.channels <= out.given_count[image];
    const unsigned long long seed = out.request->seed;
    const float temperature = out.request->temperature;
    const unsigned long long index = out.index[image];
    // The levels given and the components are the same for all lanes.
    const int chosen = given ? 0 : choose(out, params, temperature, seed, index, pixel);
    // Noise and scale of each channel on its own lane, then the channels in order.
    float mean = 0.0f, step = 0.0f;
    const int lane = threadIdx.x;
    if (!given && lane < out.channels) {
        const float u = philox_uniform(seed, index, pixel, out.nr_mix + lane);
        const float noise = logf(u) - logf(1.0f - u);
        const float scale = __fmul_rn(expf(mixture.log_scale(params, lane, chosen)), temperature);
        mean = mixture.mean(params, lane, chosen);
        step = __fmul_rn(scale, noise);
    }
    float x[3] = {0.0f, 0.0f, 0.0f};
    const size_t target = (size_t)image * out.pixels * out.channels + first;
#pragma unroll
    for (int channel = 0; channel < 3; channel++) {
        const float start = __fadd_rn(__shfl_sync(0xffffffffu, mean, channel), __shfl_sync(0xffffffffu, step, channel));
        if (channel >= out.channels) continue;
        if (given) {
            x[channel] = to_grid_value(out.given[target + channel]);
        } else {
            const float sum = __fadd_rn(start, mixture.linear(params, channel, chosen, x));
            x[channel] = fminf(fmaxf(sum, -1.0f), 1.0f);
        }
    }
    if (lane > 0) return;
    T *input = address<T>(out.image, at.x, at.y, out.batch, image);
#pragma unroll
    for (int channel = 0; channel < 3; channel++) {
        if (channel >= out.channels) continue;
        const float value = given || out.request->continuous ? x[channel] : round_to_grid(x[channel]);
        out.values[target + channel] = value;
        input[channel] = Element<T>::from(value);
    }
    input[out.channels] = Element<T>::from(1.0f);
    const bool last = at.y + 1 == out.columns;
    out.position[image] = make_int2(at.x + last, last ? 0 : at.y + 1);
}

template <typename T> __device__ __forceinline__ void output_params(const Output &out) {
    const int pixel = blockIdx.x;
    const int image = blockIdx.y;
    const int row = pixel / out.columns;
    const float *params = parameters<T>(out, row, pixel - row * out.columns, image);
    write_params(out, params, pixel, image);
}

template <typename T> __device__ __forceinline__ void fill_image(const Output &out) {
    const size_t item = (size_t)blockIdx.x * blockDim.x + threadIdx.x;
    if (item >= (size_t)out.pixels * out.batch) return;
    const int image = item / out.pixels;
    const int pixel = item - (size_t)image * out.pixels;
    const int row = pixel / out.columns;
    T *input = address<T>(out.image, row, pixel - row * out.columns, out.batch, image);
    for (int channel = 0; channel < out.channels; channel++) {
        input[channel] = Element<T>::from(to_grid_value(out.given[item * out.channels + channel]));
    }
    input[out.channels] = Element<T>::from(1.0f);
}

} // namespace output
