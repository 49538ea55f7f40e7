// Row phase in f16 or bf16 with f32 sums: one step of the plan for all columns and images of a row (or of
// the whole image). What is computed is said in row.cu; operands and weights are of the half type.
// Compiled for: compute_80
//
// Weights: [n / 32][k / 32][mma column / 8][lane][8]: lane (g, t) holds k 8 t to 8 t + 7 of column g
// (half.cuh). k of all segments is in one piece, filled up with zeros at the very end: a piece of 8
// k lies within one segment. Column c of mma p of 4 is sum 16 (p / 2) + 4 (c / 2) + 2 (p % 2) + c % 2 of the
// tile, so that a lane holds four neighbours of each half of 16; a gated step's tile is 16 a and 16 b.
//
// Launch: grid (ceil(M / 64), width / 32), 4 warps of 16 rows x 32 columns; static shared memory: 4 x
// (4096 + 2048) bytes. Per launch: M * depth * 2 bytes of operands per 32 columns, depth * width * 2
// bytes of weights per 64 rows, 2 * M * depth * width operations.
//
// How it was arrived at: tiles as small as in row.cu, for the same reason; a warp has 32 columns,
// so that it holds both halves of a gate and four neighbouring channels, which it stores together. Four
// stages of cp.async keep three chunks of 32 k on their way, with one barrier per chunk. In the
// lanes' order both operands lie in shared memory as a warp reads them, 512 bytes in a row: neither
// copies nor loads conflict, without filling or swizzling.

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
__device__ __forceinline__ void row_step(const Step &step) {
    __shared__ uint4 operands[STAGES][TILE_ROWS * CHUNK / PIECE];
    __shared__ uint4 weights[STAGES][MMAS * 32];

    const int thread = threadIdx.x;
    const int lane = thread % 32;
    const int rows = (step.rows ? step.rows : 1) * step.columns * step.batch;

    // Copying: one piece of two rows, 32 apart, and one of the weights. Rows beyond the last repeat
    // it; their sums are dropped.
    const int load_m = blockIdx.x * TILE_ROWS + thread / 4;
    const Place load_at[2] = {place(step, min(load_m, rows - 1)), place(step, min(load_m + 32, rows - 1))};
    const uint4 *packed =
        static_cast<const uint4 *>(step.weights) + (size_t)blockIdx.y * (step.depth / CHUNK) * (MMAS * 32) + thread;
    int segment = 0;
    int k = thread % 4 * PIECE;
    int channels = step.segments[0].plane.channels;
    const T *from[2] = {operand<T>(step, step.segments[0], load_at[0]), operand<T>(step, step.segments[0], load_at[1])};

    // Starts copying the chunk at the cursor and moves the cursor on.
    auto fetch = [&](int stage) {
        copy(&weights[stage][thread], packed, true);
        packed += THREADS;
        while (segment < step.segment_count && k >= channels) {
            k -= channels;
            if (++segment == step.segment_count) break;
            channels = step.segments[segment].plane.channels;
            from[0] = operand<T>(step, step.segments[segment], load_at[0]);
            from[1] = operand<T>(step, step.segments[segment], load_at[1]);
        }
        const bool any = segment < step.segment_count;
        copy(&operands[stage][thread], from[0] + (any ? k : 0), any);
        copy(&operands[stage][thread + THREADS], from[1] + (any ? k : 0), any);
        k += CHUNK;
    };
    auto commit = []() { asm volatile("cp.async.commit_group;" ::: "memory"); };

    // The row phase uses the leading segments of the weights only.
    int depth = 0;
    for (int i = 0; i < step.segment_count; i++) depth += step.segments[i].plane.channels;
    const int chunks = (depth + CHUNK - 1) / CHUNK;
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
        const float *bias = step.bias + (size_t)step.classes[min(m[i], rows - 1) % step.batch] * step.width +
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
        const Place at = place(step, m[i]);
        float values[2][4];
#pragma unroll
        for (int j = 0; j < 8; j++) values[j / 4][j % 4] = sums[j / 2][2 * i + j % 2];
        const int first = blockIdx.y * TILE_COLUMNS + within;
        if (!step.finish) {
            float *to = step.partial + ((size_t)at.column * step.batch + at.image) * step.width + first;
            *reinterpret_cast<float4 *>(to) = make_float4(values[0][0], values[0][1], values[0][2], values[0][3]);
            *reinterpret_cast<float4 *>(to + 16) = make_float4(values[1][0], values[1][1], values[1][2], values[1][3]);
            continue;
        }
#pragma unroll
        for (int half = 0; half < 2; half++) {
            const int channel = step.gated ? blockIdx.y * (TILE_COLUMNS / 2) + within : first + 16 * half;
            if (channel >= step.channels || (step.gated && half == 1)) continue;
            if (step.gated) {
                const Few<float, 4> start = residual<4>(step, at, channel);
#pragma unroll
                for (int j = 0; j < 4; j++) values[half][j] = gate(values[half][j], values[1][j]) + start.at[j];
            }
            push<T, 4>(step, at, channel, values[half]);
        }
    }
}

} // namespace row_half

using namespace row_half;

extern "C" __global__ void __launch_bounds__(THREADS) row_step_f16(const __grid_constant__ Step step) {
    row_step<F16>(step);
}

extern "C" __global__ void __launch_bounds__(THREADS) row_step_bf16(const __grid_constant__ Step step) {
    row_step<Bf16>(step);
}
