// Pixel phase: one op for the current pixel of every image.
//
//   outputs[image][n] = start[image][n] + sum over taps t, k of operand_t[image][k] * weights[t, k][n]
//
// where start is the partial sum that the row phase left (bias and class term included), or the bias.
// The taps are those whose operands were not known before the row's first pixel: at pixels to the
// left, and at the current one. There may be none, when only the residual was not known. Then the
// outputs are finished as in row.cu and written over the oldest row of the rings, which the row phase
// has used.
//
// Weights: [panel][piece][k / 4][4]: a panel is 4 channels, 4 columns or (gated: a, a, b, b, a, a, b,
// b) 8; piece p of a thread's four k is column quad p % quads of k % 4 = p / quads. So the threads
// of a warp read neighbouring 16 bytes, and each byte is read by one thread, once.
//
// Launch: grid (panels, ceil(batch / ROWS)), as many threads as quads of k, 32 to 256, that is one
// quad each for k up to 1024; shared memory: 8 x ROWS x COLUMNS floats. Per launch: depth * columns
// * 4 bytes of weights per ROWS images, batch * depth * 4 bytes of operands per panel, 2 * batch *
// depth * columns operations.
//
// How it was arrived at: the launch is bound by latency, so a block is given few columns (40 blocks
// for 160 channels), each thread issues all of its loads at once, weights first, and k is split over
// all threads. Each thread then holds ROWS x COLUMNS sums; a warp adds them by halves (a lane keeps
// half of them at each of five exchanges: 124 shuffles for 128 sums, not 640), warps through shared
// memory in a fixed order. The left tap is summed here rather than added to the next partial sum: the
// same weights are read once per pixel either way, and no launch then waits for a sum written by the
// last one.

#include "op.cuh"

namespace pixel {

constexpr int MAX_THREADS = 256;

// Adds COUNT values over the lanes of a warp; lane l keeps those from `first` on.
template <int COUNT, int OFFSET>
__device__ __forceinline__ void reduce(float *values, int lane, int &first) {
    if constexpr (OFFSET > 0) {
        if constexpr (COUNT > 1) {
            const bool upper = lane & OFFSET;
#pragma unroll
            for (int i = 0; i < COUNT / 2; i++) {
                float low = values[i];
                float high = values[i + COUNT / 2];
                float received = __shfl_xor_sync(0xffffffffu, upper ? low : high, OFFSET);
                values[i] = (upper ? high : low) + received;
            }
            first += upper ? COUNT / 2 : 0;
            reduce<COUNT / 2, OFFSET / 2>(values, lane, first);
        } else {
            values[0] += __shfl_xor_sync(0xffffffffu, values[0], OFFSET);
            reduce<1, OFFSET / 2>(values, lane, first);
        }
    }
}

template <int ROWS, int QUADS>
__device__ __forceinline__ void pixel_op(const Op &op) {
    constexpr int COLUMNS = 4 * QUADS;
    constexpr int VALUES = ROWS * COLUMNS;
    constexpr int KEPT = VALUES > 32 ? VALUES / 32 : 1;
    __shared__ float by_warp[MAX_THREADS / 32][VALUES];

    const int panel = blockIdx.x;
    const int first_image = blockIdx.y * ROWS;
    const int images = min(ROWS, op.batch - first_image);
    const int row = op.position->x >> op.row_shift;
    const int column = op.position->y >> op.column_shift;
    const int quads = op.depth / 4;
    const float4 *weights = static_cast<const float4 *>(op.weights) + (size_t)panel * 4 * QUADS * quads;

    float sums[VALUES];
#pragma unroll
    for (int i = 0; i < VALUES; i++) sums[i] = 0.0f;

    for (int quad = threadIdx.x; quad < quads; quad += blockDim.x) {
        float4 w[4 * QUADS];
#pragma unroll
        for (int piece = 0; piece < 4 * QUADS; piece++) w[piece] = weights[piece * quads + quad];
        // The tap that holds this quad of k.
        int k = 4 * quad;
        int index = 0;
        while (k >= op.taps.channels(index)) k -= op.taps.channels(index++);
        const Tap tap = op.taps.at(index);
        const int channels = tap.ring.channels;
        const float *x = operand<float>(tap, op.batch, {row, column, first_image}) + k;
#pragma unroll
        for (int r = 0; r < ROWS; r++) {
            // Images beyond the batch repeat the last one; their sums are dropped.
            const float4 v = *reinterpret_cast<const float4 *>(x + (size_t)min(r, images - 1) * channels);
            const float values[4] = {v.x, v.y, v.z, v.w};
#pragma unroll
            for (int j = 0; j < 4; j++) {
#pragma unroll
                for (int q = 0; q < QUADS; q++) {
                    const float4 b = w[j * QUADS + q];
                    float *to = sums + r * COLUMNS + 4 * q;
                    to[0] = fmaf(values[j], b.x, to[0]);
                    to[1] = fmaf(values[j], b.y, to[1]);
                    to[2] = fmaf(values[j], b.z, to[2]);
                    to[3] = fmaf(values[j], b.w, to[3]);
                }
            }
        }
    }

    const int lane = threadIdx.x % 32;
    const int warp = threadIdx.x / 32;
    int first = 0;
    reduce<VALUES, 16>(sums, lane, first);
    // With fewer sums than lanes, several lanes hold the same one.
    constexpr int COPIES = VALUES < 32 ? 32 / VALUES : 1;
    if (lane % COPIES == 0) {
#pragma unroll
        for (int i = 0; i < KEPT; i++) by_warp[warp][first + i] = sums[i];
    }
    __syncthreads();

    const int warps = blockDim.x / 32;
    for (int item = threadIdx.x; item < 4 * images; item += blockDim.x) {
        const int image = first_image + item / 4;
        const int within = item % 4;
        const int channel = 4 * panel + within;
        // Places of the sum (and of b, when gated) among the panel's columns.
        const int place = QUADS == 2 ? within / 2 * 4 + within % 2 : within;
        const float *start = op.partial ? op.partial + ((size_t)column * op.batch + image) * op.width
                                          : op.bias + (size_t)op.classes[image] * op.width;
        start += panel * COLUMNS + place;
        float a = start[0];
        float b = QUADS == 2 ? start[2] : 0.0f;
        for (int w = 0; w < warps; w++) {
            const float *values = by_warp[w] + item / 4 * COLUMNS + place;
            a += values[0];
            if (QUADS == 2) b += values[2];
        }
        float y = QUADS == 2 ? gated(op.gate, a, b) : a;
        finish<float, 1>(op, {row, column, image}, channel, &y);
    }
}

} // namespace pixel

using namespace pixel;

#define PIXEL_OP(name, rows, quads)                                                                 \
    extern "C" __global__ void __launch_bounds__(MAX_THREADS) name(const __grid_constant__ Op op) { \
        pixel_op<rows, quads>(op);                                                                  \
    }

PIXEL_OP(pixel_op_1, 1, 1)
PIXEL_OP(pixel_op_4, 4, 1)
PIXEL_OP(pixel_op_16, 16, 1)
PIXEL_OP(pixel_gate_1, 1, 2)
PIXEL_OP(pixel_gate_4, 4, 2)
PIXEL_OP(pixel_gate_16, 16, 2)
