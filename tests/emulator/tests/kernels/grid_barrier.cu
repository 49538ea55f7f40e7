// A barrier of the whole grid, written by hand: every block of a cooperative launch is resident, so waiting is safe.

// `arrived` counts arrivals and is never reset: the barrier's n-th use waits for n * gridDim.x of them.
__device__ __forceinline__ void grid_barrier(unsigned* arrived, unsigned use) {
    __syncthreads();
    if (threadIdx.x == 0) {
        __threadfence();
        atomicAdd(arrived, 1u);
        while (*(volatile unsigned*)arrived < use * gridDim.x) {}
        __threadfence();
    }
    __syncthreads();
}

// `steps` rounds of a three-point average on a ring of n cells, double-buffered: every round reads what other blocks wrote
// in the round before. The result is in `a` when steps is even, in `b` when it is odd.
extern "C" __global__ void ring_average(float* a, float* b, unsigned n, unsigned steps, unsigned* arrived) {
    for (unsigned step = 0; step < steps; step++) {
        const float* from = step % 2 ? b : a;
        float* to = step % 2 ? a : b;
        for (unsigned i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += gridDim.x * blockDim.x) {
            unsigned left = i == 0 ? n - 1 : i - 1, right = i == n - 1 ? 0 : i + 1;
            to[i] = (__ldcg(from + left) + __ldcg(from + i) + __ldcg(from + right)) * (1.0f / 3.0f);
        }
        grid_barrier(arrived, step + 1);
    }
}

// The same barrier with acquire and release operations in place of fences and volatile reads.
extern "C" __global__ void ring_average_scoped(float* a, float* b, unsigned n, unsigned steps, unsigned* arrived) {
    for (unsigned step = 0; step < steps; step++) {
        const float* from = step % 2 ? b : a;
        float* to = step % 2 ? a : b;
        for (unsigned i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += gridDim.x * blockDim.x) {
            unsigned left = i == 0 ? n - 1 : i - 1, right = i == n - 1 ? 0 : i + 1;
            to[i] = (__ldcg(from + left) + __ldcg(from + i) + __ldcg(from + right)) * (1.0f / 3.0f);
        }
        __syncthreads();
        if (threadIdx.x == 0) {
            unsigned seen;
            asm volatile("red.release.gpu.global.add.u32 [%0], 1;" ::"l"(arrived) : "memory");
            do {
                asm volatile("ld.acquire.gpu.global.u32 %0, [%1];" : "=r"(seen) : "l"(arrived) : "memory");
            } while (seen < (step + 1) * gridDim.x);
        }
        __syncthreads();
    }
}
