// What the kernels are given of an op and of the tensors it reads and writes, and how it hands on its
// result: src/cuda/parameters.rs has the same structures. Operands are of one type T, float or (half.cuh)
// f16 or bf16; residuals, partial sums and biases are always f32.
#pragma once

#include <stddef.h>

#include "elementary.cuh"

// Rows of a tensor: [row of the ring][column with halo][image][channel]. Columns of the halo, and rows
// above the first, are zeros; channels are padded with zeros to whole 16 bytes of T. Row r is at (r +
// 1) mod rows.
struct RowRing {
    void *base; // null where the tensor is not kept so
    int rows;
    int columns; // halo included
    int left;    // columns of halo before the first
    int channels;
};

// A tensor at an offset: an operand of the product.
struct Tap {
    RowRing ring;
    int row_step; // rows of the tensor per row of the op's grid
    int column_step;
    int row_offset;
    int column_offset;
};

constexpr int INLINE_TAPS = 8;

struct Taps {
    const Tap *table; // all of them, in device memory, where there are more than fit here; else null
    int count;
    int unused;
    Tap first[INLINE_TAPS];

    __device__ __forceinline__ Tap at(int i) const {
        if (table) return table[i];
        return first[i];
    }

    __device__ __forceinline__ int channels(int i) const {
        if (table) return table[i].ring.channels;
        return first[i].ring.channels;
    }
};

// What is applied to a tensor when it is read; it is applied once, when the tensor is written.
enum Activation { IDENTITY, RELU, ELU, CONCAT_ELU, TANH, ACTIVATIONS };

// A tensor that is written: once per activation, and in f32 if it is a residual.
struct Tensor {
    RowRing activations[ACTIVATIONS];
    RowRing residual;
    int channels; // as stored: of one half of concat_elu
    int unused;
};

struct Op {
    const int2 *position; // (row, column) of the current pixel of each image; all are equal
    const void *weights;  // of T
    const float *bias;    // [class][width]
    const int *classes;   // class of each image of the batch
    float *partial;       // [column][batch][width], or null
    RowRing residual;     // what the epilogue adds; base null for nothing
    Tensor result;
    Taps taps;
    int weight_depth;  // k of the packed weights, padding included
    int depth;         // k of the taps, padding included: the first of the packed weights
    int width;         // outputs, padded to a multiple of 32
    int batch;
    int columns;       // of the op's grid
    int row_shift;     // log2 of the rows of the image per row of the op's grid
    int column_shift;
    int row_step;      // rows of the result per row of the op's grid
    int column_step;
    int row_offset;    // which of them is written
    int column_offset;
    int gate;          // of enum Gate
    int finish;        // 0: leave the sums in `partial`
    int rows;          // 0: the current row only; else all these rows of the grid
    float scale;       // multiplies the result
    int unused;
};

static_assert(sizeof(RowRing) == 24 && offsetof(RowRing, rows) == 8 && offsetof(RowRing, columns) == 12 &&
              offsetof(RowRing, left) == 16 && offsetof(RowRing, channels) == 20);
static_assert(sizeof(Tap) == 40 && offsetof(Tap, row_step) == 24 && offsetof(Tap, column_step) == 28 &&
              offsetof(Tap, row_offset) == 32 && offsetof(Tap, column_offset) == 36);
static_assert(sizeof(Taps) == 336 && offsetof(Taps, count) == 8 && offsetof(Taps, first) == 16);
static_assert(sizeof(Tensor) == 152 && offsetof(Tensor, residual) == 120 && offsetof(Tensor, channels) == 144);
static_assert(sizeof(Op) == 616 && offsetof(Op, weights) == 8 && offsetof(Op, bias) == 16 &&
              offsetof(Op, classes) == 24 && offsetof(Op, partial) == 32 && offsetof(Op, residual) == 40 &&
              offsetof(Op, result) == 64 && offsetof(Op, taps) == 216);
static_assert(offsetof(Op, weight_depth) == 552 && offsetof(Op, depth) == 556 && offsetof(Op, width) == 560 &&
              offsetof(Op, batch) == 564 && offsetof(Op, columns) == 568 && offsetof(Op, row_shift) == 572 &&
              offsetof(Op, column_shift) == 576 && offsetof(Op, row_step) == 580 &&
              offsetof(Op, column_step) == 584 && offsetof(Op, row_offset) == 588 &&
              offsetof(Op, column_offset) == 592 && offsetof(Op, gate) == 596 && offsetof(Op, finish) == 600 &&
              offsetof(Op, rows) == 604 && offsetof(Op, scale) == 608);

// How numbers of type T are made and read; half.cuh has the other types.
template <typename T> struct Element;

template <> struct Element<float> {
    static __device__ __forceinline__ float from(float x) { return x; }
    static __device__ __forceinline__ float to(float x) { return x; }
};

// COUNT neighbours, loaded and stored at once.
template <typename T, int COUNT> struct alignas(sizeof(T) * COUNT) AlignedVector {
    T at[COUNT];
};

// A pixel of an image of the batch.
struct Place {
    int row, column, image;
};

template <typename T>
__device__ __forceinline__ T *address(const RowRing &ring, int row, int column, int batch, int image) {
    // Division takes long, and every load waits for it: most rings have 1, 2 or 4 rows. No tap looks
    // further back than there are rows, so the dividend is never negative; it may be beyond 2^31.
    const unsigned rows = ring.rows;
    const unsigned slot = (rows & (rows - 1)) == 0 ? (row + 1) & (rows - 1) : ((unsigned)(row + 1) + rows) % rows;
    size_t pixel = (size_t)slot * ring.columns + (column + ring.left);
    return static_cast<T *>(ring.base) + (pixel * batch + image) * ring.channels;
}

// Where a tap looks for a pixel of the op's grid.
template <typename T>
__device__ __forceinline__ const T *operand(const Tap &tap, int batch, Place at) {
    return address<T>(tap.ring, at.row * tap.row_step + tap.row_offset, at.column * tap.column_step + tap.column_offset,
                      batch, at.image);
}

// The m-th (row, column, image) of the row phase.
__device__ __forceinline__ Place place(const Op &op, int m) {
    int pixel = m / op.batch;
    int row = pixel / op.columns;
    return {op.rows ? row : op.position->x >> op.row_shift, pixel - row * op.columns, m - pixel * op.batch};
}

template <typename T, int COUNT>
__device__ __forceinline__ void store(const RowRing &ring, Place to, int batch, int channel, const float *y) {
    AlignedVector<T, COUNT> vector;
#pragma unroll
    for (int i = 0; i < COUNT; i++) vector.at[i] = Element<T>::from(y[i]);
    *reinterpret_cast<AlignedVector<T, COUNT> *>(address<T>(ring, to.row, to.column, batch, to.image) + channel) = vector;
}

// Writes COUNT channels of a tensor, under every activation in which it is kept.
template <typename T, int COUNT>
__device__ __forceinline__ void push(const Tensor &tensor, Place to, int batch, int channel, const float *y) {
    const RowRing *rings = tensor.activations;
    float z[COUNT];
    if (tensor.residual.base) store<float, COUNT>(tensor.residual, to, batch, channel, y);
    if (rings[IDENTITY].base) store<T, COUNT>(rings[IDENTITY], to, batch, channel, y);
    if (rings[RELU].base) {
#pragma unroll
        for (int i = 0; i < COUNT; i++) z[i] = relu(y[i]);
        store<T, COUNT>(rings[RELU], to, batch, channel, z);
    }
    if (rings[TANH].base) {
#pragma unroll
        for (int i = 0; i < COUNT; i++) z[i] = tanhf(y[i]);
        store<T, COUNT>(rings[TANH], to, batch, channel, z);
    }
    if (!rings[ELU].base && !rings[CONCAT_ELU].base) return;
#pragma unroll
    for (int i = 0; i < COUNT; i++) z[i] = elu(y[i]);
    if (rings[ELU].base) store<T, COUNT>(rings[ELU], to, batch, channel, z);
    if (rings[CONCAT_ELU].base) {
        store<T, COUNT>(rings[CONCAT_ELU], to, batch, channel, z);
#pragma unroll
        for (int i = 0; i < COUNT; i++) z[i] = elu(-y[i]);
        store<T, COUNT>(rings[CONCAT_ELU], to, batch, tensor.channels + channel, z);
    }
}

// Adds the residual, if there is one, to COUNT channels, scales and writes them.
template <typename T, int COUNT>
__device__ __forceinline__ void finish(const Op &op, Place at, int channel, float *y) {
    const Place to = {at.row * op.row_step + op.row_offset, at.column * op.column_step + op.column_offset, at.image};
    if (op.residual.base) {
        const float *from = address<float>(op.residual, to.row, to.column, op.batch, to.image) + channel;
        const auto residual = *reinterpret_cast<const AlignedVector<float, COUNT> *>(from);
#pragma unroll
        for (int i = 0; i < COUNT; i++) y[i] += residual.at[i];
    }
    // Also by 1, which changes nothing: no branch costs less than this.
#pragma unroll
    for (int i = 0; i < COUNT; i++) y[i] = __fmul_rn(y[i], op.scale);
    push<T, COUNT>(op.result, to, op.batch, channel, y);
}
