// The end of a stage of a pixel: its parameters, the draw of its values, and their push into the
// stage's input tensor.
//
//   parameters[image][p] = bias[class][p] + sum over taps t, k of operand_t[image][k] * weights[t, k][p]
//
// then, unless the pixel is of the image's prefix, the draw:
//
// - of a logistic mixture: the component by Gumbel-max over the logits, mean + scale * logistic noise per
//   channel with the coefficients, clipped, rounded to the nearest code (unless continuous);
// - of a categorical distribution: the class of each channel by inversion of its cumulative
//   distribution.
//
// The values go to the image and, encoded, to the input tensor; after the last stage the image's (row,
// column) moves on, so that the next launch needs no new parameters. Each block writes the position of
// its own image only: no block waits for another.
//
// Operands, weights and the input tensor are of type T; the parameters and the image are f32.
//
// Weights: [k][width], width a multiple of 4; all taps at the current pixel.
//
// Launch: `output_mixture`, `output_categorical`: grid (1, batch), one block per image, 32 to 256
// threads; a thread sums four parameters over every slice-th k, slices are added in order through shared
// memory. Dynamic shared memory, in floats: slices x width if there is more than one slice; width for
// the parameters; one for each channel. Weights of classes, 32 runs of them for each warp that draws
// (categorical.cuh), take the place of the slices, as much as they need; where all this is too much,
// parameters and these weights are in device memory (`scratch`). Per launch and image: depth * width
// numbers of type T of weights, 2 * depth * width operations, a Philox block for each draw.
// `output_parameters`: grid (pixels, batch), or (1, batch) for the current pixel; the parameters only.
// `output_feed`: grid (1, batch); values given by the host in place of the draw.
//
// How it was arrived at: one block per image keeps the draw in the launch that computes its parameters,
// which saves a dependent launch per pixel; 160 x 100 weights are 64 KB in f32, read from the L2 by
// each block. Asking for one block per multiprocessor keeps the assembler from trading registers for
// spills, where 256 threads would otherwise aim at six (sm_86) or eight blocks.

#pragma once

#include "categorical.cuh"
#include "encoding.cuh"
#include "logistic.cuh"
#include "philox.cuh"

// What a user asks for; in device memory, so that captured launches do not change.
struct Request {
    unsigned long long seed;
    float temperature;
    int continuous;
    Truncation truncation;
    int unused;
};

struct Output {
    int2 *position;
    const void *weights;             // of T
    const float *bias;               // [class][width], or [width]
    const int *classes;              // null if the bias is the same for all
    const unsigned long long *index; // of each image among the random numbers
    const Request *request;
    const int *prefix_rows; // how many are kept, per image
    const float *prefix;    // values, [image][row][column][channel]
    const float *fed;       // [image][channel of the stage]
    float *values;          // [image][row][column][channel], or null
    float *parameters;            // of this stage; null if not kept
    float *scratch;         // [image][width + weights], where these do not fit into shared memory; else null
    unsigned long long prefix_image;    // given values from one image to the next
    unsigned long long value_image;     // values from one image to the next
    unsigned long long value_row;       // from one row to the next; 0 if only the current one is kept
    unsigned long long parameter_image; // parameters from one image to the next
    unsigned long long parameter_pixel; // from one pixel to the next; 0 if only the current one's are kept
    Input input;
    Taps taps;
    Mixture mixture;
    int depth;          // k of all taps, padding included
    int width;          // parameters, padded to a multiple of 4
    int count;          // parameters
    int class_count;    // of a categorical distribution
    int channels;       // of the stage
    int first_channel;  // of the stage in the image
    int image_channels;
    int first_draw;     // of the stage
    int batch;
    int columns;
    int last;           // whether no stage of the pixel follows
    int whole;          // parameters of all pixels rather than of the current one
};

static_assert(sizeof(Request) == 32 && offsetof(Request, temperature) == 8 && offsetof(Request, continuous) == 12 &&
              offsetof(Request, truncation) == 16);
static_assert(sizeof(Output) == 784 && offsetof(Output, weights) == 8 && offsetof(Output, bias) == 16 &&
              offsetof(Output, classes) == 24 && offsetof(Output, index) == 32 && offsetof(Output, request) == 40 &&
              offsetof(Output, prefix_rows) == 48 && offsetof(Output, prefix) == 56 && offsetof(Output, fed) == 64 &&
              offsetof(Output, values) == 72 && offsetof(Output, parameters) == 80 && offsetof(Output, scratch) == 88 &&
              offsetof(Output, prefix_image) == 96 && offsetof(Output, value_image) == 104 &&
              offsetof(Output, value_row) == 112 && offsetof(Output, parameter_image) == 120 &&
              offsetof(Output, parameter_pixel) == 128 && offsetof(Output, input) == 136 &&
              offsetof(Output, taps) == 320 && offsetof(Output, mixture) == 656);
static_assert(offsetof(Output, depth) == 736 && offsetof(Output, width) == 740 && offsetof(Output, count) == 744 &&
              offsetof(Output, class_count) == 748 && offsetof(Output, channels) == 752 &&
              offsetof(Output, first_channel) == 756 && offsetof(Output, image_channels) == 760 &&
              offsetof(Output, first_draw) == 764 && offsetof(Output, batch) == 768 && offsetof(Output, columns) == 772 &&
              offsetof(Output, last) == 776 && offsetof(Output, whole) == 780);

namespace output {

constexpr int MAX_THREADS = 256;

// Sums over parts of k, before they are added.
__device__ __forceinline__ int slices_of(const Output &out) { return max((int)blockDim.x / (out.width / 4), 1); }

// Floats of the sums over parts of k.
__device__ __forceinline__ int slice_floats(const Output &out) {
    const int slices = slices_of(out);
    return slices > 1 ? slices * out.width : 0;
}

__device__ __forceinline__ Place current(const Output &out, int image) {
    const int2 position = out.position[image];
    return {position.x, position.y, image};
}

// The index of a pixel in its image.
__device__ __forceinline__ unsigned pixel_of(const Output &out, Place at) {
    return (unsigned)at.row * (unsigned)out.columns + (unsigned)at.column;
}

// Computes the parameters of a pixel.
template <typename T> __device__ __forceinline__ void compute(const Output &out, Place at, float *to) {
    extern __shared__ __align__(16) float shared[];
    float4 *by_slice = reinterpret_cast<float4 *>(shared);
    const int quads = out.width / 4;
    const int slices = slices_of(out);
    const float *bias = out.bias + (out.classes ? (size_t)out.classes[at.image] * out.width : 0);
    const AlignedVector<T, 4> *weights = static_cast<const AlignedVector<T, 4> *>(out.weights);
    for (int item = threadIdx.x; item < quads * slices; item += blockDim.x) {
        const int slice = item / quads;
        const int quad = item - slice * quads;
        float4 sum = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
        int k = slice;
        int first = 0;
        for (int t = 0; t < out.taps.count; t++) {
            const Tap tap = out.taps.at(t);
            const T *x = operand<T>(tap, out.batch, at);
            const int end = first + tap.ring.channels;
#pragma unroll 4
            for (; k < end; k += slices) {
                const AlignedVector<T, 4> w = weights[(size_t)k * quads + quad];
                const float v = Element<T>::to(x[k - first]);
                sum.x = fmaf(v, Element<T>::to(w.at[0]), sum.x);
                sum.y = fmaf(v, Element<T>::to(w.at[1]), sum.y);
                sum.z = fmaf(v, Element<T>::to(w.at[2]), sum.z);
                sum.w = fmaf(v, Element<T>::to(w.at[3]), sum.w);
            }
            first = end;
        }
        if (slices > 1) {
            by_slice[item] = sum;
        } else {
            const float sums[4] = {sum.x, sum.y, sum.z, sum.w};
#pragma unroll
            for (int i = 0; i < 4; i++) {
                const int p = 4 * quad + i;
                if (p < out.count) to[p] = bias[p] + sums[i];
            }
        }
    }
    __syncthreads();
    if (slices == 1) return;
    for (int p = threadIdx.x; p < out.count; p += blockDim.x) {
        float sum = bias[p];
        for (int slice = 0; slice < slices; slice++) sum += shared[slice * out.width + p];
        to[p] = sum;
    }
    __syncthreads();
}

__device__ __forceinline__ float *parameters_at(const Output &out, Place at) {
    return out.parameters + at.image * out.parameter_image + pixel_of(out, at) * out.parameter_pixel;
}

// Copies the parameters of a pixel to where they are kept, if they are.
__device__ __forceinline__ void keep(const Output &out, Place at, const float *params) {
    if (!out.parameters) return;
    float *to = parameters_at(out, at);
    for (int p = threadIdx.x; p < out.count; p += blockDim.x) to[p] = params[p];
}

// The given values of this stage of a pixel.
__device__ __forceinline__ const float *given_at(const Output &out, Place at) {
    return out.prefix + at.image * out.prefix_image + (size_t)pixel_of(out, at) * out.image_channels + out.first_channel;
}

enum Threads { WARP, BLOCK };

// Ends the stage: the values in `x`, or those of the prefix, go to the image and the input tensor.
template <typename T, Threads THREADS>
__device__ __forceinline__ void put(const Output &out, Place at, bool in_prefix, float *x) {
    const int threads = THREADS == WARP ? 32 : blockDim.x;
    for (int c = threadIdx.x; c < out.channels; c += threads) {
        if (in_prefix) x[c] = given_at(out, at)[c];
        if (!out.values) continue;
        float *to = out.values + at.image * out.value_image + at.row * out.value_row;
        to[(size_t)at.column * out.image_channels + out.first_channel + c] = x[c];
    }
    if (THREADS == WARP) {
        __syncwarp();
    } else {
        __syncthreads();
    }
    for (int c = threadIdx.x; c < out.input.channels; c += threads) {
        const float y = encoded(out.input, c, out.channels, [&](int i) { return x[i]; });
        push<T, 1>(out.input.tensor, at, out.batch, c, &y);
    }
    if (threadIdx.x > 0 || !out.last) return;
    const bool row_ends = at.column + 1 == out.columns;
    out.position[at.image] = make_int2(at.row + row_ends, row_ends ? 0 : at.column + 1);
}

// The component with the largest Gumbel score, the first of equals; for the whole warp.
__device__ __forceinline__ int draw_component(const Output &out, const float *params, float temperature,
                                              unsigned long long seed, unsigned long long index, unsigned pixel) {
    float best = -INFINITY;
    int drawn = 0;
    for (int mix = threadIdx.x; mix < out.mixture.mixtures; mix += 32) {
        const float u = inner_uniform(philox_word(seed, index, pixel, out.first_draw + mix));
        const float score = out.mixture.logit(params, mix) / temperature - logf(-logf(u));
        if (score > best) {
            best = score;
            drawn = mix;
        }
    }
    for (int offset = 16; offset > 0; offset /= 2) {
        const float score = __shfl_xor_sync(0xffffffffu, best, offset);
        const int mix = __shfl_xor_sync(0xffffffffu, drawn, offset);
        if (score > best || (score == best && mix < drawn)) {
            best = score;
            drawn = mix;
        }
    }
    return drawn;
}

// Draws from a logistic mixture; for the whole warp.
__device__ __forceinline__ void draw_mixture(const Output &out, Place at, const float *params, float *x) {
    const Mixture &mixture = out.mixture;
    const float limit = out.input.codes.limit;
    const unsigned long long seed = out.request->seed;
    const float temperature = out.request->temperature;
    const unsigned long long index = out.index[at.image];
    const unsigned pixel = pixel_of(out, at);
    const int drawn = draw_component(out, params, temperature, seed, index, pixel);
    const int lane = threadIdx.x;
    for (int first = 0; first < out.channels; first += 32) {
        // Noise and scale of each channel on its own lane, then the channels in order.
        float mean = 0.0f, step = 0.0f;
        if (first + lane < out.channels) {
            const int channel = first + lane;
            const float u = inner_uniform(philox_word(seed, index, pixel, out.first_draw + mixture.mixtures + channel));
            const float noise = logf(u) - logf(1.0f - u);
            const float scale = __fmul_rn(mixture.sampling_scale(params, channel, drawn), temperature);
            mean = mixture.mean(params, channel, drawn);
            step = __fmul_rn(scale, noise);
        }
        const int end = min(first + 32, out.channels);
        for (int channel = first; channel < end; channel++) {
            const float start =
                __fadd_rn(__shfl_sync(0xffffffffu, mean, channel - first), __shfl_sync(0xffffffffu, step, channel - first));
            const float sum = __fadd_rn(start, mixture.linear(params, channel, drawn, [&](int i) { return x[i]; }));
            if (lane == 0) x[channel] = fminf(fmaxf(sum, -limit), limit);
            __syncwarp();
        }
    }
    if (out.request->continuous) return;
    const Codes &codes = out.input.codes;
    for (int c = lane; c < out.channels; c += 32) x[c] = value_of(codes, code_of(codes, x[c]));
}

template <typename T> __device__ __forceinline__ void output_mixture(const Output &out) {
    const Place at = current(out, blockIdx.y);
    extern __shared__ __align__(16) float shared[];
    float *params = shared + slice_floats(out);
    float *x = params + out.width;
    compute<T>(out, at, params);
    keep(out, at, params);
    if (threadIdx.x >= 32) return;
    const bool in_prefix = at.row < out.prefix_rows[at.image];
    if (!in_prefix) draw_mixture(out, at, params, x);
    put<T, WARP>(out, at, in_prefix, x);
}

template <typename T> __device__ __forceinline__ void output_categorical(const Output &out) {
    extern __shared__ __align__(16) float shared[];
    const Place at = current(out, blockIdx.y);
    const int warp = threadIdx.x / 32;
    const int warps = min((int)blockDim.x / 32, out.channels);
    const int weights_of_warp = 32 * categorical::run_of(out.class_count);
    const int weights_of_image = warps * weights_of_warp;
    float *params, *weights, *x;
    if (out.scratch) {
        params = out.scratch + at.image * (size_t)(out.width + weights_of_image);
        weights = params + out.width;
        x = shared + slice_floats(out);
    } else {
        params = shared + max(slice_floats(out), weights_of_image);
        weights = shared;
        x = params + out.width;
    }
    compute<T>(out, at, params);
    keep(out, at, params);
    const bool in_prefix = at.row < out.prefix_rows[at.image];
    if (!in_prefix && warp < warps) {
        const Request &request = *out.request;
        const unsigned long long index = out.index[at.image];
        for (int channel = warp; channel < out.channels; channel += warps) {
            const unsigned word = philox_word(request.seed, index, pixel_of(out, at), out.first_draw + channel);
            const float *logits = params + (size_t)channel * out.class_count;
            const int drawn = draw_class(logits, weights + warp * weights_of_warp, out.class_count, request.temperature,
                                         request.truncation, unit_uniform(word));
            if (threadIdx.x % 32 == 0) x[channel] = value_of(out.input.codes, (float)drawn);
        }
    }
    __syncthreads();
    put<T, BLOCK>(out, at, in_prefix, x);
}

template <typename T> __device__ __forceinline__ void output_parameters(const Output &out) {
    Place at = {0, 0, (int)blockIdx.y};
    if (out.whole) {
        at.row = blockIdx.x / out.columns;
        at.column = blockIdx.x - at.row * out.columns;
    } else {
        at = current(out, blockIdx.y);
    }
    compute<T>(out, at, parameters_at(out, at));
}

template <typename T> __device__ __forceinline__ void output_feed(const Output &out) {
    extern __shared__ __align__(16) float x[];
    const Place at = current(out, blockIdx.y);
    for (int c = threadIdx.x; c < out.channels; c += blockDim.x) x[c] = out.fed[(size_t)at.image * out.channels + c];
    put<T, BLOCK>(out, at, at.row < out.prefix_rows[at.image], x);
}

} // namespace output
