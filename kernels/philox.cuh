// Philox4x32-10 (Salmon, Moraes, Dror, Shaw 2011), the same function as src/distribution/philox.rs.
#pragma once

// Random word `draw` of a pixel of an image: word draw % 4 of the counter (image low, pixel, draw / 4,
// image high).
__device__ __forceinline__ unsigned philox_word(unsigned long long seed, unsigned long long image, unsigned pixel,
                                                unsigned draw) {
    unsigned c[4] = {(unsigned)image, pixel, draw / 4, (unsigned)(image >> 32)};
    unsigned key[2] = {(unsigned)seed, (unsigned)(seed >> 32)};
#pragma unroll
    for (int round = 0; round < 10; round++) {
        const unsigned high0 = __umulhi(0xD2511F53u, c[0]), low0 = 0xD2511F53u * c[0];
        const unsigned high1 = __umulhi(0xCD9E8D57u, c[2]), low1 = 0xCD9E8D57u * c[2];
        c[0] = high1 ^ c[1] ^ key[0];
        c[1] = low1;
        c[2] = high0 ^ c[3] ^ key[1];
        c[3] = low0;
        key[0] += 0x9E3779B9u;
        key[1] += 0xBB67AE85u;
    }
    const unsigned in_four = draw % 4;
    return in_four == 0 ? c[0] : in_four == 1 ? c[1] : in_four == 2 ? c[2] : c[3];
}

// The upper 24 bits of a word as a number in [0, 1).
__device__ __forceinline__ float unit_uniform(unsigned word) { return (float)(word >> 8) * (1.0f / 16777216.0f); }

// The same in [1e-5, 1 - 1e-5], in one rounding.
__device__ __forceinline__ float inner_uniform(unsigned word) {
    return fmaf(unit_uniform(word), 1.0f - 2.0f * 1e-5f, 1e-5f);
}
