// Kernels with a fault planted on purpose, each followed by its corrected twin. The line with the fault ends in a comment
// "FAULT" and the kernel's name, by which the tests find the line they expect in the report.

// --- accesses beyond an allocation --------------------------------------------------------------------------------

extern "C" __global__ void read_beyond(const float* x, float* y, unsigned n) {
    unsigned i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i <= n) y[i % n] = x[i];  // FAULT read_beyond
}

extern "C" __global__ void read_beyond_corrected(const float* x, float* y, unsigned n) {
    unsigned i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) y[i % n] = x[i];
}

extern "C" __global__ void write_beyond(float* y, unsigned n) {
    unsigned i = blockIdx.x * blockDim.x + threadIdx.x;
    y[i] = 1.0f;  // FAULT write_beyond
}

extern "C" __global__ void write_beyond_corrected(float* y, unsigned n) {
    unsigned i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) y[i] = 1.0f;
}

extern "C" __global__ void write_before(float* y, int offset) {
    y[(int)threadIdx.x + offset] = 1.0f;  // FAULT write_before
}

extern "C" __global__ void write_before_corrected(float* y, int offset) {
    if ((int)threadIdx.x + offset >= 0) y[(int)threadIdx.x + offset] = 1.0f;
}

extern "C" __global__ void null_pointer(const int* x, int* y) {
    y[threadIdx.x] = x[threadIdx.x];  // FAULT null_pointer
}

extern "C" __global__ void null_pointer_corrected(const int* x, int* y) {
    y[threadIdx.x] = x ? x[threadIdx.x] : 0;
}

extern "C" __global__ void atomic_beyond(int* y, unsigned n) {
    asm volatile("red.global.add.s32 [%0], 1;" ::"l"(y + threadIdx.x) : "memory");  // FAULT atomic_beyond
}

extern "C" __global__ void atomic_beyond_corrected(int* y, unsigned n) {
    atomicAdd(y + threadIdx.x % n, 1);
}

// Dynamic shared memory of blockDim.x words, of which the last thread touches one too many.
extern "C" __global__ void shared_beyond(int* y) {
    extern __shared__ int tile[];
    tile[threadIdx.x] = threadIdx.x;
    __syncthreads();
    y[threadIdx.x] = ((volatile int*)tile)[threadIdx.x + 1];  // FAULT shared_beyond
}

extern "C" __global__ void shared_beyond_corrected(int* y) {
    extern __shared__ int tile[];
    tile[threadIdx.x] = threadIdx.x;
    __syncthreads();
    y[threadIdx.x] = ((volatile int*)tile)[(threadIdx.x + 1) % blockDim.x];
}

// --- misaligned accesses ------------------------------------------------------------------------------------------

extern "C" __global__ void misaligned_global(const float* x, float* y) {
    float2 v = *(const float2*)(x + threadIdx.x);  // FAULT misaligned_global
    y[threadIdx.x] = v.x + v.y;
}

extern "C" __global__ void misaligned_global_corrected(const float* x, float* y) {
    float2 v = *(const float2*)(x + 2 * threadIdx.x);
    y[threadIdx.x] = v.x + v.y;
}

extern "C" __global__ void misaligned_shared(int* y) {
    __shared__ __align__(16) unsigned char bytes[256];
    for (unsigned i = threadIdx.x; i < 256; i += blockDim.x) bytes[i] = i;
    __syncthreads();
    y[threadIdx.x] = *(volatile int*)(bytes + threadIdx.x);  // FAULT misaligned_shared
}

extern "C" __global__ void misaligned_shared_corrected(int* y) {
    __shared__ __align__(16) unsigned char bytes[256];
    for (unsigned i = threadIdx.x; i < 256; i += blockDim.x) bytes[i] = i;
    __syncthreads();
    y[threadIdx.x] = *(volatile int*)(bytes + 4 * threadIdx.x);
}

// --- memory never written, and memory freed -----------------------------------------------------------------------

// Faults when x was allocated but never written, or was freed.
extern "C" __global__ void read_global(const int* x, int* y) {
    y[threadIdx.x] = x[threadIdx.x] + 1;  // FAULT read_global
}

extern "C" __global__ void unwritten_shared(int* y) {
    __shared__ int tile[64];
    if (threadIdx.x < 63) tile[threadIdx.x] = threadIdx.x;
    __syncthreads();
    y[threadIdx.x] = tile[63 - threadIdx.x];  // FAULT unwritten_shared
}

extern "C" __global__ void unwritten_shared_corrected(int* y) {
    __shared__ int tile[64];
    tile[threadIdx.x] = threadIdx.x;
    __syncthreads();
    y[threadIdx.x] = tile[63 - threadIdx.x];
}

extern "C" __global__ void unwritten_local(int* y, int n) {
    volatile int v[16];
    for (int i = 0; i < n; i++) v[i] = i;
    y[threadIdx.x] = v[threadIdx.x % 16];  // FAULT unwritten_local
}

extern "C" __global__ void unwritten_local_corrected(int* y, int n) {
    volatile int v[16];
    for (int i = 0; i < 16; i++) v[i] = i < n ? i : 0;
    y[threadIdx.x] = v[threadIdx.x % 16];
}

// --- races --------------------------------------------------------------------------------------------------------

// The barrier between writing the tile and reading a neighbour's part is missing.
extern "C" __global__ void shared_race(const int* x, int* y) {
    __shared__ int tile[64];
    tile[threadIdx.x] = x[threadIdx.x];
    y[threadIdx.x] = tile[63 - threadIdx.x];  // FAULT shared_race
}

extern "C" __global__ void shared_race_corrected(const int* x, int* y) {
    __shared__ int tile[64];
    tile[threadIdx.x] = x[threadIdx.x];
    __syncthreads();
    y[threadIdx.x] = tile[63 - threadIdx.x];
}

// The second barrier of a loop is missing: the tile is overwritten while others may still read it.
extern "C" __global__ void shared_race_in_loop(const int* x, int* y) {
    __shared__ int tile[64];
    int sum = 0;
    for (int i = 0; i < 4; i++) {
        tile[threadIdx.x] = x[64 * i + threadIdx.x];  // FAULT shared_race_in_loop
        __syncthreads();
        sum += tile[63 - threadIdx.x];  // FAULT shared_race_in_loop
    }
    y[threadIdx.x] = sum;
}

extern "C" __global__ void shared_race_in_loop_corrected(const int* x, int* y) {
    __shared__ int tile[64];
    int sum = 0;
    for (int i = 0; i < 4; i++) {
        tile[threadIdx.x] = x[64 * i + threadIdx.x];
        __syncthreads();
        sum += tile[63 - threadIdx.x];
        __syncthreads();
    }
    y[threadIdx.x] = sum;
}

// All threads of a block write one word of shared memory, different values.
extern "C" __global__ void shared_write_race(int* y) {
    __shared__ int last;
    last = threadIdx.x;  // FAULT shared_write_race
    __syncthreads();
    y[threadIdx.x] = last;
}

extern "C" __global__ void shared_write_race_corrected(int* y) {
    __shared__ int last;
    if (threadIdx.x == blockDim.x - 1) last = threadIdx.x;
    __syncthreads();
    y[threadIdx.x] = last;
}

// Every block adds to the same counter without an atomic.
extern "C" __global__ void global_race(int* counter) {
    if (threadIdx.x == 0) *counter = *counter + 1;  // FAULT global_race
}

extern "C" __global__ void global_race_corrected(int* counter) {
    if (threadIdx.x == 0) atomicAdd(counter, 1);
}

// A block reads what its neighbour writes in the same launch.
extern "C" __global__ void neighbour_race(const int* x, int* y, int* z) {
    unsigned i = blockIdx.x * blockDim.x + threadIdx.x, n = gridDim.x * blockDim.x;
    y[i] = x[i] + 1;  // FAULT neighbour_race
    z[i] = y[(i + blockDim.x) % n];  // FAULT neighbour_race
}

extern "C" __global__ void neighbour_race_corrected(const int* x, int* y, int* z) {
    unsigned i = blockIdx.x * blockDim.x + threadIdx.x, n = gridDim.x * blockDim.x;
    y[i] = x[i] + 1;
    z[i] = x[(i + blockDim.x) % n] + 1;
}

// A grid barrier that forgets its fences is modelled as one that nobody waits at: the launch's blocks exchange data
// with no synchronisation but a plain flag.
extern "C" __global__ void plain_flag(int* flag, int* data, int* y) {
    if (threadIdx.x != 0) return;
    if (blockIdx.x == 0) {
        *data = 42;  // FAULT plain_flag
        *flag = 1;  // FAULT plain_flag
    } else {
        y[blockIdx.x] = *flag ? *data : 42;  // FAULT plain_flag
    }
}

extern "C" __global__ void plain_flag_corrected(int* flag, int* data, int* y) {
    if (threadIdx.x != 0) return;
    if (blockIdx.x == 0) {
        *data = 42;
        __threadfence();
        atomicExch(flag, 1);
    } else {
        int seen = atomicAdd(flag, 0);
        __threadfence();
        y[blockIdx.x] = seen ? *data : 42;
    }
}

// Blocks 0 and 1 read; block 2 writes once block 1 has told that it is done, and knows nothing of block 0.
extern "C" __global__ void absent_reader(int* x, int* done, int* y) {
    if (threadIdx.x != 0) return;
    if (blockIdx.x < 2) {
        y[blockIdx.x] = *x;  // FAULT absent_reader
        __threadfence();
        if (blockIdx.x == 1) atomicAdd(done, 2);
    } else {
        while (atomicAdd(done, 0) < 2) {}
        __threadfence();
        *x = 7;  // FAULT absent_reader
    }
}

extern "C" __global__ void absent_reader_corrected(int* x, int* done, int* y) {
    if (threadIdx.x != 0) return;
    if (blockIdx.x < 2) {
        y[blockIdx.x] = *x;
        __threadfence();
        atomicAdd(done, 1);
    } else {
        while (atomicAdd(done, 0) < 2) {}
        __threadfence();
        *x = 7;
    }
}

// Neighbouring blocks share a word but no byte of it: silent as it stands.
extern "C" __global__ void bytes_of_a_word_corrected(unsigned char* x) {
    if (threadIdx.x == 0) x[blockIdx.x] = x[blockIdx.x] + 1;
}

// A lock in shared memory that forgets its fences orders nothing.
extern "C" __global__ void shared_lock(int* y) {
    __shared__ int lock, count;
    if (threadIdx.x == 0) lock = count = 0;
    __syncthreads();
    if (threadIdx.x % 32 == 0) {
        while (atomicCAS(&lock, 0, 1) != 0) {}
        count = count + 1;  // FAULT shared_lock
        atomicExch(&lock, 0);
    }
    __syncthreads();
    y[threadIdx.x] = count;
}

extern "C" __global__ void shared_lock_corrected(int* y) {
    __shared__ int lock, count;
    if (threadIdx.x == 0) lock = count = 0;
    __syncthreads();
    if (threadIdx.x % 32 == 0) {
        while (atomicCAS(&lock, 0, 1) != 0) {}
        __threadfence_block();
        count = count + 1;
        __threadfence_block();
        atomicExch(&lock, 0);
    }
    __syncthreads();
    y[threadIdx.x] = count;
}

// Two launches of this are a race unless something orders them.
extern "C" __global__ void increment(int* x) {
    x[blockIdx.x * blockDim.x + threadIdx.x] += 1;  // FAULT increment
}

// --- barriers -----------------------------------------------------------------------------------------------------

extern "C" __global__ void partial_barrier(int* y, int limit) {
    if ((int)threadIdx.x < limit) {
        y[threadIdx.x] = 1;
        __syncthreads();  // FAULT partial_barrier
        y[threadIdx.x] += 1;
    }
}

extern "C" __global__ void partial_barrier_corrected(int* y, int limit) {
    if ((int)threadIdx.x < limit) y[threadIdx.x] = 1;
    __syncthreads();
    if ((int)threadIdx.x < limit) y[threadIdx.x] += 1;
}

// Half of each warp goes to one barrier and half to another.
extern "C" __global__ void two_barriers(int* y) {
    if (threadIdx.x % 2) {
        asm volatile("bar.sync 1;" ::: "memory");  // FAULT two_barriers
        y[threadIdx.x] = 1;
    } else {
        asm volatile("bar.sync 2;" ::: "memory");  // FAULT two_barriers
        y[threadIdx.x] = 2;
    }
}

extern "C" __global__ void two_barriers_corrected(int* y) {
    if (threadIdx.x / 32 % 2) {
        asm volatile("bar.sync 1, 32;" ::: "memory");
        y[threadIdx.x] = 1;
    } else {
        asm volatile("bar.sync 2, 32;" ::: "memory");
        y[threadIdx.x] = 2;
    }
}

// A shuffle that does not name all the lanes that execute it.
extern "C" __global__ void unnamed_lanes(int* y) {
    int v;
    asm volatile("shfl.sync.bfly.b32 %0, %1, 1, 31, 0xffff;" : "=r"(v) : "r"(threadIdx.x));  // FAULT unnamed_lanes
    y[threadIdx.x] = v;
}

extern "C" __global__ void unnamed_lanes_corrected(int* y) {
    int v;
    asm volatile("shfl.sync.bfly.b32 %0, %1, 1, 31, 0xffffffff;" : "=r"(v) : "r"(threadIdx.x));
    y[threadIdx.x] = v;
}

// Lanes 16 to 23 read lanes that have exited. The mask may name those; nobody waits for them.
extern "C" __global__ void exited_lanes(int* y) {
    int v;
    if (threadIdx.x >= 24) return;
    asm volatile("shfl.sync.down.b32 %0, %1, 8, 31, 0xffffffff;" : "=r"(v) : "r"(threadIdx.x));  // FAULT exited_lanes
    y[threadIdx.x] = v;
}

extern "C" __global__ void exited_lanes_corrected(int* y) {
    int v;
    if (threadIdx.x >= 24) return;
    asm volatile("shfl.sync.idx.b32 %0, %1, %2, 31, 0xffffffff;" : "=r"(v) : "r"(threadIdx.x), "r"((threadIdx.x + 8) % 24));
    y[threadIdx.x] = v;
}

// Even lanes read odd ones, which take no part.
extern "C" __global__ void absent_lanes(int* y) {
    int v = 0;
    if (threadIdx.x % 2 == 0)
        asm volatile("shfl.sync.bfly.b32 %0, %1, 1, 31, 0x55555555;" : "=r"(v) : "r"(threadIdx.x));  // FAULT absent_lanes
    y[threadIdx.x] = v;
}

extern "C" __global__ void absent_lanes_corrected(int* y) {
    int v = 0;
    if (threadIdx.x % 2 == 0) asm volatile("shfl.sync.bfly.b32 %0, %1, 2, 31, 0x55555555;" : "=r"(v) : "r"(threadIdx.x));
    y[threadIdx.x] = v;
}

// The last warp of a block is not full: a sum over all its lanes reads some that the block does not have.
extern "C" __global__ void short_warp(int* y) {
    int v = threadIdx.x, other;
    for (int step = 16; step > 0; step /= 2) {
        asm volatile("shfl.sync.down.b32 %0, %1, %2, 31, 0xffffffff;" : "=r"(other) : "r"(v), "r"(step));  // FAULT short_warp
        v += other;
    }
    y[threadIdx.x] = v;
}

extern "C" __global__ void short_warp_corrected(int* y) {
    int v = threadIdx.x, other;
    for (int step = 4; step > 0; step /= 2) {
        asm volatile("shfl.sync.down.b32 %0, %1, %2, 0x181f, 0xffffffff;" : "=r"(other) : "r"(v), "r"(step));
        v += other;
    }
    y[threadIdx.x] = v;
}

// The two halves of a warp meet at one shuffle with different ideas of who takes part.
extern "C" __global__ void different_masks(int* y) {
    int v;
    unsigned mask = threadIdx.x < 16 ? 0xffffffff : 0xffff0000;
    asm volatile("shfl.sync.bfly.b32 %0, %1, 1, 31, %2;" : "=r"(v) : "r"(threadIdx.x), "r"(mask));  // FAULT different_masks
    y[threadIdx.x] = v;
}

extern "C" __global__ void different_masks_corrected(int* y) {
    int v;
    unsigned mask = threadIdx.x < 16 ? 0x0000ffff : 0xffff0000;
    asm volatile("shfl.sync.bfly.b32 %0, %1, 1, 31, %2;" : "=r"(v) : "r"(threadIdx.x), "r"(mask));
    y[threadIdx.x] = v;
}

// --- runaway and deliberate ends ----------------------------------------------------------------------------------

extern "C" __global__ void runaway(volatile int* x) {
    while (x[0] == 0) {}  // FAULT runaway
    x[1] = 1;
}

extern "C" __global__ void trap(int* y) {
    if (threadIdx.x == 3) __trap();  // FAULT trap
    y[threadIdx.x] = 1;
}

extern "C" __global__ void trap_corrected(int* y) {
    y[threadIdx.x] = 1;
}
