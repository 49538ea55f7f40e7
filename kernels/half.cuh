// f16 and bf16 as operands: conversion, and the tensor cores.
//
// Two mma.m16n8k16 make a product of 16 rows, 8 columns and 32 k. Which k is which does not matter
// to a sum, as long as both operands agree: lane (g, t) = (lane / 4, lane % 4) owns k 8 t to 8 t + 7, the
// first four in the first mma (where it holds k 2 t, 2 t + 1, 2 t + 8 and 2 t + 9), the others in
// the second. So a lane's part of a row, or of a column of the weights, is 16 bytes in one piece: it
// is loaded as it lies, without ldmatrix or shuffles, and a row's four lanes read 64 bytes.
#pragma once

#include "op.cuh"

struct F16 {
    unsigned short bits;
};

struct Bf16 {
    unsigned short bits;
};

// Rounded to the nearest, ties to even, as CUDA's own headers do it; those need one more package.
template <> struct Element<F16> {
    static __device__ __forceinline__ F16 from(float x) {
        F16 y;
        asm("cvt.rn.f16.f32 %0, %1;" : "=h"(y.bits) : "f"(x));
        return y;
    }
    static __device__ __forceinline__ float to(F16 x) {
        float y;
        asm("cvt.f32.f16 %0, %1;" : "=f"(y) : "h"(x.bits));
        return y;
    }
};

template <> struct Element<Bf16> {
    static __device__ __forceinline__ Bf16 from(float x) {
        Bf16 y;
        asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(y.bits) : "f"(x));
        return y;
    }
    static __device__ __forceinline__ float to(Bf16 x) { return __uint_as_float((unsigned)x.bits << 16); }
};

constexpr int CHUNK = 32; // k of a pair of mma
constexpr int PIECE = 8;  // k of a lane: 16 bytes

template <typename T>
__device__ __forceinline__ void mma(float (&sums)[4], unsigned a0, unsigned a1, unsigned a2, unsigned a3, unsigned b0,
                                    unsigned b1);

template <>
__device__ __forceinline__ void mma<F16>(float (&sums)[4], unsigned a0, unsigned a1, unsigned a2, unsigned a3,
                                         unsigned b0, unsigned b1) {
    asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
        : "+f"(sums[0]), "+f"(sums[1]), "+f"(sums[2]), "+f"(sums[3])
        : "r"(a0), "r"(a1), "r"(a2), "r"(a3), "r"(b0), "r"(b1));
}

template <>
__device__ __forceinline__ void mma<Bf16>(float (&sums)[4], unsigned a0, unsigned a1, unsigned a2, unsigned a3,
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

// Where output c (of half a, when gated) lies among the starts of an op: outputs in order or, gated, in
// blocks of 16 a and 16 b.
__device__ __forceinline__ int start_of(bool gated, int channel) {
    return gated ? channel / 16 * 32 + channel % 16 : channel;
}
