// Inclusive prefix sums: of a block, and of a whole array in one pass over chained blocks.

// Hillis-Steele with two shared buffers. One block, blockDim.x elements.
extern "C" __global__ void scan_block(const int* x, int* y) {
    extern __shared__ int buffer[];
    unsigned n = blockDim.x, t = threadIdx.x;
    int *from = buffer, *to = buffer + n;
    from[t] = x[blockIdx.x * n + t];
    __syncthreads();
    for (unsigned step = 1; step < n; step *= 2) {
        to[t] = t >= step ? from[t] + from[t - step] : from[t];
        __syncthreads();
        int* swap = from;
        from = to;
        to = swap;
    }
    y[blockIdx.x * n + t] = from[t];
}

__device__ __forceinline__ int warp_scan(int v) {
    unsigned lane = threadIdx.x % 32;
#pragma unroll
    for (unsigned step = 1; step < 32; step *= 2) {
        int u = __shfl_up_sync(0xffffffffu, v, step);
        if (lane >= step) v += u;
    }
    return v;
}

// One pass over any length: a block takes the next ticket, scans its tile, waits for the total of the tile
// before it, and publishes its own. `state` holds the ticket, then one (total, ready) pair per tile, all zero at first.
extern "C" __global__ void scan_chained(const int* x, int* y, unsigned n, int* state) {
    __shared__ unsigned tile;
    __shared__ int sums[32];
    __shared__ int before;
    unsigned t = threadIdx.x, lane = t % 32, warp = t / 32, warps = blockDim.x / 32;
    if (t == 0) tile = atomicAdd((unsigned*)state, 1u);
    __syncthreads();
    unsigned i = tile * blockDim.x + t;
    int v = warp_scan(i < n ? x[i] : 0);
    if (lane == 31) sums[warp] = v;
    __syncthreads();
    if (warp == 0) {
        int s = warp_scan(lane < warps ? sums[lane] : 0);
        __syncwarp();
        sums[lane] = s;
    }
    __syncthreads();
    if (warp > 0) v += sums[warp - 1];
    if (t == blockDim.x - 1) {
        int sum = 0;
        if (tile > 0) {
            while (atomicAdd(state + 2 * tile, 0) == 0) {}
            __threadfence();
            sum = atomicAdd(state + 2 * tile - 1, 0);
        }
        before = sum;
        atomicExch(state + 2 * tile + 1, sum + v);
        __threadfence();
        atomicExch(state + 2 * tile + 2, 1);
    }
    __syncthreads();
    if (i < n) y[i] = v + before;
}
