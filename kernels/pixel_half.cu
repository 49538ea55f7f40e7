// Pixel phase in f16 or bf16 with f32 sums: one op for the current pixel of every image.
// What is computed is said in pixel.cu; operands and weights are of the half type.
// Compiled for: compute_80
//
// Weights: [panel][k / 32][lane][8]: a panel is 8 columns of the mma, that is 8 channels or (gated) a
// and b of 4, alternating; lane (g, t) holds k 8 t to 8 t + 7 of column g (half.cuh). So a warp reads 512
// contiguous bytes per chunk of 32 k, and each byte is read once. k is padded with zeros at the very
// end only: a piece of 8 k lies within one tap.
//
// Launch: grid (panels, ceil(batch / 16)), 2 to 16 warps: one for every two chunks of k up to 1024.
// Shared memory: 16 x 128 floats. Per launch: depth * 8 * 2 bytes of weights per panel and 16
// images, 16 * depth * 2 bytes of operands per block, 2 * 16 * depth * 8 operations per block.
//
// How it was arrived at: as pixel.cu, the launch is bound by latency, so warps split k and each
// issues all of its loads at once, weights and starts first: they do not depend on the last launch.
// An mma has 16 rows whatever the batch, so one kernel serves every batch: rows beyond it repeat the last
// image, whose bytes are read anyway, and their sums are dropped. Gating 4 channels per panel, not 8, makes
// 40 blocks of 160 channels, each reading half as much. Operands are used by one warp only, so
// they go from the cache to registers; shared memory adds the warps' sums, in a fixed order.

#include "half.cuh"

namespace pixel_half {

constexpr int MAX_WARPS = 16;
constexpr int IMAGES = 16;
constexpr int PANEL = 8;
constexpr int AT_ONCE = 2; // chunks loaded together

// This lane's pieces of two images' operands; zeros beyond the last tap.
template <typename T>
__device__ __forceinline__ void load(const Op &op, Place low_at, int high_image, int k, uint4 &low, uint4 &high) {
    int index = 0;
    while (index < op.taps.count && k >= op.taps.channels(index)) k -= op.taps.channels(index++);
    low = high = make_uint4(0, 0, 0, 0);
    if (index == op.taps.count) return;
    const Tap tap = op.taps.at(index);
    const T *from = operand<T>(tap, op.batch, low_at) + k;
    low = *reinterpret_cast<const uint4 *>(from);
    high = *reinterpret_cast<const uint4 *>(from + (high_image - low_at.image) * tap.ring.channels);
}

template <typename T>
__device__ __forceinline__ void pixel_op(const Op &op) {
    __shared__ __align__(8) float by_warp[MAX_WARPS][IMAGES * PANEL];

    const int panel = blockIdx.x;
    const int first_image = blockIdx.y * IMAGES;
    const int images = min(IMAGES, op.batch - first_image);
    const int lane = threadIdx.x % 32;
    const int warp = threadIdx.x / 32;
    const int warps = blockDim.x / 32;
    const int chunks = (op.depth + CHUNK - 1) / CHUNK;
    const uint4 *weights = static_cast<const uint4 *>(op.weights) + (size_t)panel * chunks * 32 + lane;

    uint4 w[AT_ONCE];
    auto load_weights = [&](int first) {
#pragma unroll
        for (int i = 0; i < AT_ONCE; i++) {
            const int chunk = first + i * warps;
            // Nothing is read of what fills up the last chunk.
            const bool any = chunk * CHUNK + lane % 4 * PIECE < op.depth;
            w[i] = any ? weights[chunk * 32] : make_uint4(0, 0, 0, 0);
        }
    };
    load_weights(warp);
    const int row = op.position->x >> op.row_shift;
    const int column = op.position->y >> op.column_shift;

    // The first two warps finish two outputs per thread: two channels, or a and b of one.
    const int pair = threadIdx.x % 4;
    const int within = threadIdx.x / 4;
    const bool finishes = threadIdx.x < IMAGES * PANEL / 2 && within < images;
    const Place at = {row, column, first_image + within};
    const int channel = op.gate ? panel * (PANEL / 2) + pair : panel * PANEL + 2 * pair;
    float result[2];
    if (finishes) {
        const float *start = op.partial ? op.partial + ((size_t)column * op.batch + at.image) * op.width
                                          : op.bias + (size_t)op.classes[at.image] * op.width;
        start += start_of(op.gate != NO_GATE, channel);
        result[0] = start[0];
        result[1] = start[op.gate ? 16 : 1];
    }

    float sums[4] = {0.0f, 0.0f, 0.0f, 0.0f};
    const Place low_at = {row, column, first_image + min(lane / 4, images - 1)};
    const int high_image = first_image + min(lane / 4 + 8, images - 1);
    for (int first = warp; first < chunks; first += AT_ONCE * warps) {
        if (first > warp) load_weights(first);
        uint4 low[AT_ONCE], high[AT_ONCE];
#pragma unroll
        for (int i = 0; i < AT_ONCE; i++) {
            const int k = (first + i * warps) * CHUNK + lane % 4 * PIECE;
            load<T>(op, low_at, high_image, k, low[i], high[i]);
        }
#pragma unroll
        for (int i = 0; i < AT_ONCE; i++) multiply_add<T>(sums, low[i], high[i], w[i]);
    }
    const int to = lane / 4 * PANEL + lane % 4 * 2;
    *reinterpret_cast<float2 *>(&by_warp[warp][to]) = make_float2(sums[0], sums[1]);
    *reinterpret_cast<float2 *>(&by_warp[warp][to + 8 * PANEL]) = make_float2(sums[2], sums[3]);
    __syncthreads();

    if (!finishes) return;
#pragma unroll 4
    for (int w = 0; w < warps; w++) {
        const float2 values = *reinterpret_cast<const float2 *>(&by_warp[w][2 * threadIdx.x]);
        result[0] += values.x;
        result[1] += values.y;
    }
    if (op.gate) {
        float y = gated(op.gate, result[0], result[1]);
        finish<T, 1>(op, at, channel, &y);
    } else {
        finish<T, 2>(op, at, channel, result);
    }
}

} // namespace pixel_half

using namespace pixel_half;

extern "C" __global__ void __launch_bounds__(32 * MAX_WARPS) pixel_op_f16(const __grid_constant__ Op op) {
    pixel_op<F16>(op);
}

extern "C" __global__ void __launch_bounds__(32 * MAX_WARPS) pixel_op_bf16(const __grid_constant__ Op op) {
    pixel_op<Bf16>(op);
}
