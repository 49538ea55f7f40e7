// What goes into a network: codes (whole numbers), their values, and how the values of a position become
// channels of an input tensor. src/network/encoding.rs says it in words.
#pragma once

#include "op.cuh"

enum Encoding { SCALED, ONE_HOT, EMBEDDING };

// The input tensor of a stage.
struct Input {
    Tensor tensor;
    const float *table; // of an embedding, [class][channel]; else null
    int encoding;
    int codes;          // how many there are
    int table_channels; // of an embedding
    int channels;       // of the tensor, without padding
};

static_assert(sizeof(Input) == 176 && offsetof(Input, table) == 152 && offsetof(Input, encoding) == 160 &&
              offsetof(Input, codes) == 164 && offsetof(Input, table_channels) == 168 &&
              offsetof(Input, channels) == 172);

// Half of the distance between the first code and the last: code c has the value (c - centre) / centre.
__device__ __forceinline__ float centre(int codes) { return (float)(codes - 1) / 2.0f; }

__device__ __forceinline__ float value_of(const Input &input, int code) {
    if (input.encoding != SCALED) return (float)code;
    const float c = centre(input.codes);
    return ((float)code - c) / c;
}

// The value of the code nearest to a scaled value.
__device__ __forceinline__ float nearest_value(const Input &input, float x) {
    const float c = centre(input.codes);
    const float code = roundf(__fadd_rn(__fmul_rn(x, c), c));
    return (fminf(fmaxf(code, 0.0f), (float)(input.codes - 1)) - c) / c;
}

// Channel `channel` of the input that holds `count` values, of which `value(i)` is one.
template <typename Value>
__device__ __forceinline__ float encoded(const Input &input, int channel, int count, Value value) {
    if (input.encoding == SCALED) return channel < count ? value(channel) : 1.0f; // the channel of ones
    if (input.encoding == ONE_HOT) return (int)value(channel / input.codes) == channel % input.codes ? 1.0f : 0.0f;
    const int in_table = channel % input.table_channels;
    return input.table[(size_t)value(channel / input.table_channels) * input.table_channels + in_table];
}
