// Codes (whole numbers) and their values: src/network/encoding.rs says it in words. Operations and their
// order are those of that file.
#pragma once

#include <stddef.h>

enum Encoding { SCALED, ONE_HOT, EMBEDDING };

struct Codes {
    int encoding;
    int count;   // how many there are
    float limit; // the value of the last one, where they are scaled
};

static_assert(sizeof(Codes) == 12 && offsetof(Codes, count) == 4 && offsetof(Codes, limit) == 8);

// Half of the distance between the first code and the last: code c has the value limit * (c - centre) / centre.
__device__ __forceinline__ float centre(int count) { return (float)(count - 1) / 2.0f; }

__device__ __forceinline__ float value_of(const Codes &codes, float code) {
    if (codes.encoding != SCALED) return code;
    const float c = centre(codes.count);
    return __fmul_rn((code - c) / c, codes.limit);
}

// The code whose value is nearest.
__device__ __forceinline__ float code_of(const Codes &codes, float x) {
    if (codes.encoding == SCALED) {
        const float c = centre(codes.count);
        x = __fadd_rn(__fmul_rn(x / codes.limit, c), c);
    }
    return fminf(fmaxf(roundf(x), 0.0f), (float)(codes.count - 1));
}
