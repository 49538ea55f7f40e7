// Row phase: one op for all columns and images of a row (or of the whole image).
//
//   outputs[m][n] = bias[class][n] + sum over taps t, k of operand_t[m][k] * weights[t, k][n]
//
// with m = (row, column, image), M = rows * columns * batch. Then the outputs are stored as partial
// sums, or finished: y = outputs, or a * sigmoid(b), or tanh(a) * sigmoid(b), plus a residual if
// there is one, times a scale; y is written under every activation in which it is read. Convolutions of any stride
// and dilation, deconvolutions (one output parity per launch) and 1x1 convolutions are all lists of
// taps; looking back in a row ring is an address.
//
// Weights: [n / 32][k][32], each tap's k padded to a multiple of 16 with zeros. A gated op's columns
// come in fours a, a, b, b of two channels, so a thread holds both halves.
//
// Launch: grid (ceil(M / 64), width / 32), 128 threads, each 4 x 4 sums; static shared memory 2 x
// (16 x 68 + 16 x 32) floats. Per launch: M * depth * 4 bytes of operands per 32 columns, depth *
// width * 4 bytes of weights per 64 rows, 2 * M * depth * width operations.
//
// How it was arrived at: small tiles, because even a full-resolution row of 16 images is only 512
// rows: 64 x 32 gives 40 blocks for 160 outputs and fills 320 without waste. Operands are transposed
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

extern "C" __global__ void __launch_bounds__(THREADS) row_op(const __grid_constant__ Op op) {
    __shared__ __align__(16) float operands[2][DEPTH][STRIDE];
    __shared__ __align__(16) float weights[2][DEPTH][TILE_COLUMNS];

    const int thread = threadIdx.x;
    const int rows = (op.rows ? op.rows : 1) * op.columns * op.batch;

    // Loading: two quads of k, 8 apart, of one row; one quad of columns of one k.
    const int load_row = thread / 2;
    const int load_k = thread % 2 * 4;
    const int load_m = blockIdx.x * TILE_ROWS + load_row;
    const bool loads = load_m < rows;
    const Place load_at = place(op, loads ? load_m : 0);
    const float4 *packed =
        static_cast<const float4 *>(op.weights) + (size_t)blockIdx.y * op.weight_depth * (TILE_COLUMNS / 4) + thread;

    // Multiplying: rows 4 * y .., columns 4 * x ..
    const int x = thread % 8;
    const int y = thread / 8;

    float sums[4][4];
    const int column = blockIdx.y * TILE_COLUMNS + 4 * x;
    for (int i = 0; i < 4; i++) {
        int m = blockIdx.x * TILE_ROWS + 4 * y + i;
        float4 bias = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
        if (m < rows) {
            bias = *reinterpret_cast<const float4 *>(op.bias + (size_t)op.classes[m % op.batch] * op.width + column);
        }
        sums[i][0] = bias.x, sums[i][1] = bias.y, sums[i][2] = bias.z, sums[i][3] = bias.w;
    }

    int tap = 0;
    int k = 0;
    const float *from;
    int channels;
    auto look = [&]() {
        const Tap at = op.taps.at(tap);
        from = operand<float>(at, op.batch, load_at);
        channels = at.ring.channels;
    };
    look();
    const float4 zero = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
    float4 next_first, next_second, next_weights;

    // Fetches the tile at the cursor and moves the cursor on.
    auto fetch = [&]() {
        next_weights = *packed;
        packed += THREADS;
        next_first = loads && k + load_k < channels ? *reinterpret_cast<const float4 *>(from + k + load_k) : zero;
        next_second = loads && k + load_k + 8 < channels ? *reinterpret_cast<const float4 *>(from + k + load_k + 8) : zero;
        k += DEPTH;
        if (k >= channels && tap + 1 < op.taps.count) {
            tap++;
            k = 0;
            look();
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

    const int tiles = op.depth / DEPTH;
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
        Place at = place(op, m);
        if (!op.finish) {
            size_t row = (size_t)at.column * op.batch + at.image;
            *reinterpret_cast<float4 *>(op.partial + row * op.width + column) =
                make_float4(sums[i][0], sums[i][1], sums[i][2], sums[i][3]);
        } else if (op.gate) {
            int channel = column / 2;
            if (channel >= op.result.channels) continue;
            float y[2] = {gated(op.gate, sums[i][0], sums[i][2]), gated(op.gate, sums[i][1], sums[i][3])};
            finish<float, 2>(op, at, channel, y);
        } else if (column < op.result.channels) {
            finish<float, 4>(op, at, column, sums[i]);
        }
    }
}
