// Row phase in f16 or bf16 with f32 sums: one op for all columns and images of a row (or of the whole
// image). What is computed is said in row.cu; operands and weights are of the half type.
// Compiled for: compute_80
//
// Weights: [n / 32][k / 32][mma column / 8][lane][8]: lane (g, t) holds k 8 t to 8 t + 7 of column g
// (half.cuh). k of all taps is in one piece, padded with zeros at the very end: a piece of 8 k lies
// within one tap. Column c of mma p of 4 is output 16 (p / 2) + 4 (c / 2) + 2 (p % 2) + c % 2 of the
// tile, so that a lane holds four neighbours of each half of 16; a gated op's tile is 16 a and 16 b.
//
// Launch: grid (ceil(M / 64), width / 32), 4 warps of 16 rows x 32 columns; static shared memory: 4 x
// (4096 + 2048) bytes. Per launch: M * depth * 2 bytes of operands per 32 columns, depth * width * 2
// bytes of weights per 64 rows, 2 * M * depth * width operations.
//
// How it was arrived at: tiles as small as in row.cu, for the same reason; a warp has 32 columns,
// so that it holds both halves of a gate and four neighbouring channels, which it stores together. Four
// stages of cp.async keep three chunks of 32 k on their way, with one barrier per chunk. In the
// lanes' order both operands lie in shared memory as a warp reads them, 512 bytes in a row: neither
// copies nor loads conflict, without padding or swizzling.

#include "half.cuh"

namespace row_half {

constexpr int TILE_ROWS = 64;
constexpr int TILE_COLUMNS = 32;
constexpr int THREADS = 128;
constexpr int STAGES = 4;
constexpr int MMAS = TILE_COLUMNS / 8;

// Starts copying 16 bytes into shared memory; zeros if there is nothing to copy.
__device__ __forceinline__ void copy(uint4 *to, const void *from, bool any) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"((unsigned)__cvta_generic_to_shared(to)), "l"(from),
                 "r"(any ? 16 : 0)
                 : "memory");
}

template <typename T>
__device__ __forceinline__ void row_op(const Op &op) {
    __shared__ uint4 operands[STAGES][TILE_ROWS * CHUNK / PIECE];
    __shared__ uint4 weights[STAGES][MMAS * 32];

    const int thread = threadIdx.x;
    const int lane = thread % 32;
    const int rows = (op.rows ? op.rows : 1) * op.columns * op.batch;

    // Copying: one piece of two rows, 32 apart, and one of the weights. Rows beyond the last repeat
    // it; their sums are dropped.
    const int load_m = blockIdx.x * TILE_ROWS + thread / 4;
    const Place load_at[2] = {place(op, min(load_m, rows - 1)), place(op, min(load_m + 32, rows - 1))};
    const uint4 *packed =
        static_cast<const uint4 *>(op.weights) + (size_t)blockIdx.y * (op.weight_depth / CHUNK) * (MMAS * 32) + thread;
    int tap = 0;
    int k = thread % 4 * PIECE;
    int channels;
    const T *from[2];
    auto look = [&]() {
        const Tap at = op.taps.at(tap);
        channels = at.ring.channels;
        from[0] = operand<T>(at, op.batch, load_at[0]);
        from[1] = operand<T>(at, op.batch, load_at[1]);
    };
    look();

    // Starts copying the chunk at the cursor and moves the cursor on.
    auto fetch = [&](int stage) {
        copy(&weights[stage][thread], packed, true);
        packed += THREADS;
        while (tap < op.taps.count && k >= channels) {
            k -= channels;
            if (++tap == op.taps.count) break;
            look();
        }
        const bool any = tap < op.taps.count;
        copy(&operands[stage][thread], from[0] + (any ? k : 0), any);
        copy(&operands[stage][thread + THREADS], from[1] + (any ? k : 0), any);
        k += CHUNK;
    };
    auto commit = []() { asm volatile("cp.async.commit_group;" ::: "memory"); };

    const int chunks = (op.depth + CHUNK - 1) / CHUNK;
#pragma unroll
    for (int stage = 0; stage < STAGES - 1; stage++) {
        if (stage < chunks) fetch(stage);
        commit();
    }

    // Multiplying: rows g and g + 8 of the warp's 16; sums 4 t .. of either half of 16 columns.
    const int first_row = thread / 32 * 16;
    const int m[2] = {(int)blockIdx.x * TILE_ROWS + first_row + lane / 4, (int)blockIdx.x * TILE_ROWS + first_row + lane / 4 + 8};
    const int within = lane % 4 * 4;
    float sums[MMAS][4];
#pragma unroll
    for (int i = 0; i < 2; i++) {
        const float *bias = op.bias + (size_t)op.classes[min(m[i], rows - 1) % op.batch] * op.width +
                            blockIdx.y * TILE_COLUMNS + within;
#pragma unroll
        for (int half = 0; half < 2; half++) {
            const float4 start = *reinterpret_cast<const float4 *>(bias + 16 * half);
            sums[2 * half][2 * i] = start.x, sums[2 * half][2 * i + 1] = start.y;
            sums[2 * half + 1][2 * i] = start.z, sums[2 * half + 1][2 * i + 1] = start.w;
        }
    }
    for (int chunk = 0; chunk < chunks; chunk++) {
        asm volatile("cp.async.wait_group %0;" ::"n"(STAGES - 2) : "memory");
        __syncthreads();
        if (chunk + STAGES - 1 < chunks) fetch((chunk + STAGES - 1) % STAGES);
        commit();
        const int stage = chunk % STAGES;
        const uint4 low = operands[stage][first_row * 4 + lane];
        const uint4 high = operands[stage][first_row * 4 + 32 + lane];
#pragma unroll
        for (int i = 0; i < MMAS; i++) multiply_add<T>(sums[i], low, high, weights[stage][i * 32 + lane]);
    }

#pragma unroll
    for (int i = 0; i < 2; i++) {
        if (m[i] >= rows) continue;
        const Place at = place(op, m[i]);
        float values[2][4];
#pragma unroll
        for (int j = 0; j < 8; j++) values[j / 4][j % 4] = sums[j / 2][2 * i + j % 2];
        const int first = blockIdx.y * TILE_COLUMNS + within;
        if (!op.finish) {
            float *to = op.partial + ((size_t)at.column * op.batch + at.image) * op.width + first;
            *reinterpret_cast<float4 *>(to) = make_float4(values[0][0], values[0][1], values[0][2], values[0][3]);
            *reinterpret_cast<float4 *>(to + 16) = make_float4(values[1][0], values[1][1], values[1][2], values[1][3]);
            continue;
        }
#pragma unroll
        for (int half = 0; half < 2; half++) {
            const int channel = op.gate ? blockIdx.y * (TILE_COLUMNS / 2) + within : first + 16 * half;
            if (channel >= op.result.channels || (op.gate && half == 1)) continue;
            if (op.gate) {
#pragma unroll
                for (int j = 0; j < 4; j++) values[half][j] = gated(op.gate, values[half][j], values[1][j]);
            }
            finish<T, 4>(op, at, channel, values[half]);
        }
    }
}

} // namespace row_half

using namespace row_half;

extern "C" __global__ void __launch_bounds__(THREADS) row_op_f16(const __grid_constant__ Op op) {
    row_op<F16>(op);
}

extern "C" __global__ void __launch_bounds__(THREADS) row_op_bf16(const __grid_constant__ Op op) {
    row_op<Bf16>(op);
}
