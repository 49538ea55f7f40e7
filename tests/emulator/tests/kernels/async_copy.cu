// Pipelines that copy global memory into shared memory asynchronously while earlier tiles are worked on.
// On architectures before 8.0 the copies are ordinary loads and stores, and the waits nothing.

__device__ __forceinline__ void copy16(void* to, const void* from) {
#if __CUDA_ARCH__ >= 800
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"((unsigned)__cvta_generic_to_shared(to)), "l"(from) : "memory");
#else
    *(uint4*)to = *(const uint4*)from;
#endif
}

// Copies `bytes` (0 or 4) and fills the rest of the 4 bytes with zeros.
__device__ __forceinline__ void copy4_or_zero(void* to, const void* from, int bytes) {
#if __CUDA_ARCH__ >= 800
    asm volatile("cp.async.ca.shared.global [%0], [%1], 4, %2;" ::"r"((unsigned)__cvta_generic_to_shared(to)), "l"(from), "r"(bytes) : "memory");
#else
    *(unsigned*)to = bytes ? *(const unsigned*)from : 0;
#endif
}

__device__ __forceinline__ void commit() {
#if __CUDA_ARCH__ >= 800
    asm volatile("cp.async.commit_group;" ::: "memory");
#endif
}

template <int Pending>
__device__ __forceinline__ void wait() {
#if __CUDA_ARCH__ >= 800
    asm volatile("cp.async.wait_group %0;" ::"n"(Pending) : "memory");
#endif
}

// sums[b][t] = sum over the block's `tiles` tiles of x[b][tile][(t + tile) % blockDim.x][0..4], three tiles in flight.
// Each thread copies its own 16 bytes but reads a neighbour's, so the barrier matters.
extern "C" __global__ void pipeline_sum(const float4* x, float* sums, int tiles) {
    extern __shared__ float4 ring[];  // [4][blockDim.x]
    int t = threadIdx.x, threads = blockDim.x;
    const float4* from = x + (size_t)blockIdx.x * tiles * threads;
    for (int tile = 0; tile < 3; tile++) {
        if (tile < tiles) copy16(ring + tile * threads + t, from + tile * threads + t);
        commit();
    }
    float sum = 0.0f;
    for (int tile = 0; tile < tiles; tile++) {
        wait<2>();
        __syncthreads();
        int next = tile + 3;
        if (next < tiles) copy16(ring + next % 4 * threads + t, from + next * threads + t);
        commit();
        float4 v = ring[tile % 4 * threads + (t + tile) % threads];
        sum += v.x + v.y + v.z + v.w;
    }
    sums[blockIdx.x * threads + t] = sum;
}

// y[i] = x[i - 1] + x[i] + x[i + 1], with zeros beyond the ends, through a shared tile with a halo.
extern "C" __global__ void halo_sum(const float* x, float* y, int n) {
    extern __shared__ float tile[];  // [blockDim.x + 2]
    int t = threadIdx.x, i = blockIdx.x * blockDim.x + t;
    copy4_or_zero(tile + t + 1, x + min(i, n - 1), i < n ? 4 : 0);
    if (t == 0) copy4_or_zero(tile, x + max(i - 1, 0), i > 0 ? 4 : 0);
    if (t == blockDim.x - 1) copy4_or_zero(tile + t + 2, x + min(i + 1, n - 1), i + 1 < n ? 4 : 0);
#if __CUDA_ARCH__ >= 800
    asm volatile("cp.async.wait_all;" ::: "memory");
#endif
    __syncthreads();
    if (i < n) y[i] = tile[t] + tile[t + 1] + tile[t + 2];
}
