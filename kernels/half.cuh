// f16 and bf16 as operands: conversion, and the tensor cores.
//
// Two mma.m16n8k16 make a product of 16 rows, 8 columns and 32 k. Which k is which does not matter
// to a sum, as long as both operands agree: lane (g, t) = (lane / 4, lane % 4) owns k 8 t to 8 t + 7, the
// first four in the first mma (where it holds k 2 t, 2 t + 1, 2 t + 8 and 2 t + 9), the others in
// the second. So a lane's part of a row, or of a column of the weights, is 16 bytes in one piece: it
// is loaded as it lies, without ldmatrix or shuffles, and a row's four lanes read 64 bytes.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include "step.cuh"

template <> struct Element<__half> {
    static __device__ __forceinline__ __half from(float x) { return __float2half_rn(x); }
    static __device__ __forceinline__ float to(__half x) { return __half2float(x); }
};

template <> struct Element<__nv_bfloat16> {
    static __device__ __forceinline__ __nv_bfloat16 from(float x) { return __float2bfloat16_rn(x); }
    static __device__ __forceinline__ float to(__nv_bfloat16 x) { return __bfloat162float(x); }
};

constexpr int CHUNK = 32; // k of a pair of mma
constexpr int PIECE = 8;  // k of a lane: 16 bytes

template <typename T>
__device__ __forceinline__ void mma(float (&sums)[4], unsigned a0, unsigned a1, unsigned a2, unsigned a3, unsigned b0,
                                    unsigned b1);

template <>
__device__ __forceinline__ void mma<__half>(float (&sums)[4], unsigned a0, unsigned a1, unsigned a2, unsigned a3,
                                            unsigned b0, unsigned b1) {
    asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
        : "+f"(sums[0]), "+f"(sums[1]), "+f"(sums[2]), "+f"(sums[3])
        : "r"(a0), "r"(a1), "r"(a2), "r"(a3), "r"(b0), "r"(b1));
}

template <>
__device__ __forceinline__ void mma<__nv_bfloat16>(float (&sums)[4], unsigned a0, unsigned a1, unsigned a2, unsigned a3,
                                                   unsigned b0, unsigned b1) {
    asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
        : "+f"(sums[0]), "+f"(sums[1]), "+f"(sums[2]), "+f"(sums[3])
        : "r"(a0), "r"(a1), "r"(a2), "r"(a3), "r"(b0), "r"(b1));
}

// Adds a chunk: `low` is this lane's piece of row g, `high` that of row g + 8, `weights` that of
// column g. Sums 0 and 1 are columns 2 t and 2 t + 1 of row g, sums 2 and 3 those of row g + 8.
template <typename T>
__device__ __forceinline__ void multiply_add(float (&sums)[4], uint4 low, uint4 high, uint4 weights) {
    mma<T>(sums, low.x, high.x, low.y, high.y, weights.x, weights.y);
    mma<T>(sums, low.z, high.z, low.w, high.w, weights.z, weights.w);
}

// Where the sum of channel c (of half b, when gated) lies among the starts of a step: channels in
// order or, gated, in blocks of 16 a and 16 b.
__device__ __forceinline__ int start_of(bool gated, int channel) {
    return gated ? channel / 16 * 32 + channel % 16 : channel;
}
