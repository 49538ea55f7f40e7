// Philox4x32-10 (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3").

__device__ __forceinline__ uint4 philox(uint4 counter, uint2 key) {
#pragma unroll
    for (int round = 0; round < 10; round++) {
        unsigned low0 = 0xD2511F53u * counter.x, high0 = __umulhi(0xD2511F53u, counter.x);
        unsigned low1 = 0xCD9E8D57u * counter.z, high1 = __umulhi(0xCD9E8D57u, counter.z);
        counter = make_uint4(high1 ^ counter.y ^ key.x, low1, high0 ^ counter.w ^ key.y, low0);
        key.x += 0x9E3779B9u;
        key.y += 0xBB67AE85u;
    }
    return counter;
}

// out[i] = philox(counters[i], keys[i]).
extern "C" __global__ void philox_blocks(const uint4* counters, const uint2* keys, uint4* out, unsigned n) {
    unsigned i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) out[i] = philox(counters[i], keys[i]);
}

// Uniform in (0, 1), logistic and normal variates from the same stream; counter (i, 0, 0, 0), key = seed.
extern "C" __global__ void philox_variates(unsigned long long seed, float* uniform, float* logistic, float* normal, unsigned n) {
    unsigned i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    uint4 r = philox(make_uint4(i, 0, 0, 0), make_uint2((unsigned)seed, (unsigned)(seed >> 32)));
    float u = (r.x >> 8) * 0x1p-24f + 0x1p-25f, v = (r.y >> 8) * 0x1p-24f + 0x1p-25f, w = (r.z >> 8) * 0x1p-24f;
    uniform[i] = u;
    logistic[i] = logf(v) - log1pf(-v);
    normal[i] = sqrtf(-2.0f * logf(u)) * cosf(6.2831853f * w);
}
