// Sums over a block through shared memory, through warp shuffles, and a whole-array sum with one atomic per block.

// Tree reduction in dynamic shared memory; one partial sum per block. blockDim.x is a power of two.
extern "C" __global__ void reduce_shared(const float* x, float* partial, unsigned n) {
    extern __shared__ float s[];
    unsigned t = threadIdx.x, i = blockIdx.x * blockDim.x + t;
    s[t] = i < n ? x[i] : 0.0f;
    __syncthreads();
    for (unsigned step = blockDim.x / 2; step > 0; step /= 2) {
        if (t < step) s[t] += s[t + step];
        __syncthreads();
    }
    if (t == 0) partial[blockIdx.x] = s[0];
}

__device__ __forceinline__ float warp_sum(float v) {
#pragma unroll
    for (int mask = 16; mask > 0; mask /= 2) v += __shfl_xor_sync(0xffffffffu, v, mask);
    return v;
}

// Shuffles inside each warp, then one warp reduces the warps' sums.
extern "C" __global__ void reduce_shuffle(const float* x, float* partial, unsigned n) {
    __shared__ float sums[32];
    unsigned t = threadIdx.x, lane = t % 32, warp = t / 32;
    float v = 0.0f;
    for (unsigned i = blockIdx.x * blockDim.x + t; i < n; i += gridDim.x * blockDim.x) v += x[i];
    v = warp_sum(v);
    if (lane == 0) sums[warp] = v;
    __syncthreads();
    if (warp == 0) {
        v = lane < (blockDim.x + 31) / 32 ? sums[lane] : 0.0f;
        v = warp_sum(v);
        if (lane == 0) partial[blockIdx.x] = v;
    }
}

// Integer sum of everything and the largest element, by one atomic per warp.
extern "C" __global__ void reduce_atomic(const int* x, int* sum, int* largest, unsigned n) {
    unsigned i = blockIdx.x * blockDim.x + threadIdx.x;
    int v = i < n ? x[i] : 0, m = i < n ? x[i] : -2147483647 - 1;
#if __CUDA_ARCH__ >= 800
    v = __reduce_add_sync(0xffffffffu, v);
    m = __reduce_max_sync(0xffffffffu, m);
#else
    for (int step = 16; step > 0; step /= 2) {
        v += __shfl_down_sync(0xffffffffu, v, step);
        m = max(m, __shfl_down_sync(0xffffffffu, m, step));
    }
#endif
    if (threadIdx.x % 32 == 0) {
        atomicAdd(sum, v);
        atomicMax(largest, m);
    }
}

// Warp votes: how many elements of each warp's 32 are positive, whether all are, whether any is,
// and the mask of lanes that hold the same value as the reader's.
extern "C" __global__ void votes(const int* x, unsigned* count, unsigned* all, unsigned* any, unsigned* same) {
    unsigned i = blockIdx.x * blockDim.x + threadIdx.x;
    int v = x[i];
    unsigned ballot = __ballot_sync(0xffffffffu, v > 0);
    int every = __all_sync(0xffffffffu, v > 0), some = __any_sync(0xffffffffu, v > 0);
    same[i] = __match_any_sync(0xffffffffu, v);
    if (i % 32 == 0) {
        count[i / 32] = __popc(ballot);
        all[i / 32] = every;
        any[i / 32] = some;
    }
}
