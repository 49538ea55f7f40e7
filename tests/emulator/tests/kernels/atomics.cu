// Atomic operations: histograms, every operation on 32 bits, floating point, 64 bits, and a lock-free loop.
#include <cuda_fp16.h>

// Histogram of bytes, first in shared memory, then added to global memory. 256 counters.
extern "C" __global__ void histogram(const unsigned char* x, unsigned* counts, unsigned n) {
    __shared__ unsigned local[256];
    for (unsigned i = threadIdx.x; i < 256; i += blockDim.x) local[i] = 0;
    __syncthreads();
    for (unsigned i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += gridDim.x * blockDim.x) atomicAdd(&local[x[i]], 1u);
    __syncthreads();
    for (unsigned i = threadIdx.x; i < 256; i += blockDim.x) atomicAdd(&counts[i], local[i]);
}

// One word for each operation; thread i contributes the value i + 1 (1-based index over the grid).
// Words start as: add 0, sub 0, min ~0, max 0, and ~0, or 0, xor 0, inc 0, dec 0.
extern "C" __global__ void every_operation(unsigned* word, unsigned limit) {
    unsigned v = blockIdx.x * blockDim.x + threadIdx.x + 1;
    atomicAdd(word + 0, v);
    atomicSub(word + 1, v);
    atomicMin(word + 2, v);
    atomicMax(word + 3, v);
    atomicAnd(word + 4, ~v);
    atomicOr(word + 5, v);
    atomicXor(word + 6, v);
    atomicInc(word + 7, limit);
    atomicDec(word + 8, limit);
}

// Floating-point and 64-bit additions of small integers, which are exact in any order.
extern "C" __global__ void wide_additions(float* f, double* d, unsigned long long* u, __half2* h) {
    unsigned t = blockIdx.x * blockDim.x + threadIdx.x;
    atomicAdd(f, (float)(t % 4));
    atomicAdd(d, (double)t);
    atomicAdd(u, 0x100000001ull * t);
    if (t < 64) atomicAdd(h, __floats2half2_rn(1.0f, 2.0f));
}

// The largest float, signs included, by compare-and-swap.
extern "C" __global__ void largest_by_swap(const float* x, float* largest, unsigned n) {
    unsigned i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    int* word = (int*)largest;
    int seen = atomicAdd(word, 0);
    while (__int_as_float(seen) < x[i]) {
        int before = atomicCAS(word, seen, __float_as_int(x[i]));
        if (before == seen) break;
        seen = before;
    }
}

// A spin lock taken by one thread of each warp at a time, guarding a plain counter.
extern "C" __global__ void spin_lock(int* lock, int* counter) {
    if (threadIdx.x % 32 == 0) {
        while (atomicCAS(lock, 0, 1) != 0) __nanosleep(20);
        __threadfence();
        *(volatile int*)counter += 1;
        __threadfence();
        atomicExch(lock, 0);
    }
}
