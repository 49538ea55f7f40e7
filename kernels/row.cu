// Row phase: one step of the plan for all columns and images of a row (or of the whole image).
//
//   sums[m][n] = bias[class][n] + sum over segments s, k of operand_s[m][k] * weights[s, k][n]
//
// with m = (row, column, image), M = rows * columns * batch. Then the sums are stored as partial
// sums, or finished: y = sum, or y = residual + a * sigmoid(b); y, elu(y) and concat_elu(y) are
// pushed into the caches that need them. Convolutions of stride 1 and 2, deconvolutions (one output
// parity per launch) and nins are all lists of segments; a cache's pop is an address.
//
// Weights: [n / 32][k][32], each segment's k filled up to a multiple of 16 with zeros. A gated
// step's columns come in fours a, a, b, b of two channels, so a thread holds both halves.
//
// Launch: grid (ceil(M / 64), width / 32), 128 threads, each 4 x 4 sums; static shared memory 2 x
// (16 x 68 + 16 x 32) floats. Per launch: M * depth * 4 bytes of operands per 32 columns, depth *
// width * 4 bytes of weights per 64 rows, 2 * M * depth * width operations.
//
// How it was arrived at: small tiles, because even a full-resolution row of 16 images is only 512
// rows: 64 x 32 gives 40 blocks for 160 sums and fills 320 without waste. Operands are transposed
// on their way into shared memory (rows 68 apart: neither stores nor loads conflict), the next
// tile is on its way while this one is multiplied, and one barrier per tile suffices.

#include "op.cuh"

namespace {

constexpr int TILE_ROWS = 64;
constexpr int TILE_COLUMNS = 32;
constexpr int DEPTH = 16;
constexpr int THREADS = 128;
constexpr int STRIDE = TILE_ROWS + 4;

} // namespace

extern "C" __global__ void __launch_bounds__(THREADS) row_step(const __grid_constant__ Step step) {
    __shared__ __align__(16) float operands[2][DEPTH][STRIDE];
    __shared__ __align__(16) float weights[2][DEPTH][TILE_COLUMNS];

    const int thread = threadIdx.x;
    const int rows = (step.rows ? step.rows : 1) * step.columns * step.batch;

    // Loading: two quads of k, 8 apart, of one row; one quad of columns of one k.
    const int load_row = thread / 2;
    const int load_k = thread % 2 * 4;
    const int load_m = blockIdx.x * TILE_ROWS + load_row;
    const bool loads = load_m < rows;
    const Place load_at = place(step, loads ? load_m : 0);
    const float4 *packed =
        static_cast<const float4 *>(step.weights) + (size_t)blockIdx.y * step.depth * (TILE_COLUMNS / 4) + thread;

    // Multiplying: rows 4 * y .., columns 4 * x ..
    const int x = thread % 8;
    const int y = thread / 8;

    float sums[4][4];
    const int column = blockIdx.y * TILE_COLUMNS + 4 * x;
    for (int i = 0; i < 4; i++) {
        int m = blockIdx.x * TILE_ROWS + 4 * y + i;
        float4 bias = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
        if (m < rows) {
            bias = *reinterpret_cast<const float4 *>(step.bias + (size_t)step.classes[m % step.batch] * step.width + column);
        }
        sums[i][0] = bias.x, sums[i][1] = bias.y, sums[i][2] = bias.z, sums[i][3] = bias.w;
    }

    int segment = 0;
    int k = 0;
    const float *from = operand<float>(step, step.segments[0], load_at);
    int channels = step.segments[0].plane.channels;
    const float4 zero = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
    float4 next_first, next_second, next_weights;

    // Fetches the tile at the cursor and moves the cursor on.
    auto fetch = [&]() {
        next_weights = *packed;
        packed += THREADS;
        next_first = loads && k + load_k < channels ? *reinterpret_cast<const float4 *>(from + k + load_k) : zero;
        next_second = loads && k + load_k + 8 < channels ? *reinterpret_cast<const float4 *>(from + k + load_k + 8) : zero;
        k += DEPTH;
        if (k >= channels && segment + 1 < step.segment_count) {
            segment++;
            k = 0;
            from = operand<float>(step, step.segments[segment], load_at);
            channels = step.segments[segment].plane.channels;
        }
    };
    auto put = [&](int buffer) {
        *reinterpret_cast<float4 *>(&weights[buffer][thread / 8][thread % 8 * 4]) = next_weights;
        operands[buffer][load_k + 0][load_row] = next_first.x;
        operands[buffer][load_k + 1][load_row] = next_first.y;
        operands[buffer][load_k + 2][load_row] = next_first.z;
        operands[buffer][load_k + 3][load_row] = next_first.w;
        operands[buffer][load_k + 8][load_row] = next_second.x;
        operands[buffer][load_k + 9][load_row] = next_second.y;
        operands[buffer][load_k + 10][load_row] = next_second.z;
        operands[buffer][load_k + 11][load_row] = next_second.w;
    };

    // The row phase uses the leading segments of the weights only.
    int tiles = 0;
    for (int i = 0; i < step.segment_count; i++) tiles += (step.segments[i].plane.channels + DEPTH - 1) / DEPTH;

    fetch();
    put(0);
    __syncthreads();
    for (int tile = 0; tile < tiles; tile++) {
        const int buffer = tile % 2;
        if (tile + 1 < tiles) fetch();
#pragma unroll
        for (int d = 0; d < DEPTH; d++) {
            float4 a = *reinterpret_cast<const float4 *>(&operands[buffer][d][4 * y]);
            float4 b = *reinterpret_cast<const float4 *>(&weights[buffer][d][4 * x]);
            float as[4] = {a.x, a.y, a.z, a.w};
            float bs[4] = {b.x, b.y, b.z, b.w};
#pragma unroll
            for (int i = 0; i < 4; i++) {
#pragma unroll
                for (int j = 0; j < 4; j++) sums[i][j] = fmaf(as[i], bs[j], sums[i][j]);
            }
        }
        if (tile + 1 < tiles) put(1 - buffer);
        __syncthreads();
    }

#pragma unroll
    for (int i = 0; i < 4; i++) {
        int m = blockIdx.x * TILE_ROWS + 4 * y + i;
        if (m >= rows) continue;
        Place at = place(step, m);
        if (!step.finish) {
            size_t row = (size_t)at.column * step.batch + at.image;
            *reinterpret_cast<float4 *>(step.partial + row * step.width + column) =
                make_float4(sums[i][0], sums[i][1], sums[i][2], sums[i][3]);
        } else if (step.gated) {
            int channel = column / 2;
            if (channel >= step.channels) continue;
            const Few<float, 2> start = residual<2>(step, at, channel);
            float result[2] = {gate(sums[i][0], sums[i][2]) + start.at[0], gate(sums[i][1], sums[i][3]) + start.at[1]};
            push<float, 2>(step, at, channel, result);
        } else if (column < step.channels) {
            push<float, 4>(step, at, column, sums[i]);
        }
    }
}
