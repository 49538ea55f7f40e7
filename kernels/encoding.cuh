// How the values of a position become channels of an input tensor: src/network/encoding.rs says it in
// words.
#pragma once

#include "codes.cuh"
#include "op.cuh"

// The input tensor of a stage, or a map.
struct Input {
    Tensor tensor;
    const float *table; // of an embedding, [class][channel]; else null
    Codes codes;
    int table_channels; // of an embedding
    int channels;       // of the tensor, without padding
    int unused;
};

static_assert(sizeof(Input) == 184 && offsetof(Input, table) == 152 && offsetof(Input, codes) == 160 &&
              offsetof(Input, table_channels) == 172 && offsetof(Input, channels) == 176);

// Channel `channel` of the input that holds `count` values, of which `value(i)` is one.
template <typename Value>
__device__ __forceinline__ float encoded(const Input &input, int channel, int count, Value value) {
    const Codes &codes = input.codes;
    if (codes.encoding == SCALED) return channel < count ? value(channel) : 1.0f; // the channel of ones
    if (codes.encoding == ONE_HOT) return (int)value(channel / codes.count) == channel % codes.count ? 1.0f : 0.0f;
    const int in_table = channel % input.table_channels;
    return input.table[(size_t)value(channel / input.table_channels) * input.table_channels + in_table];
}
