// What every step kernel is given, and how it hands on its result: the host's src/cuda/arguments.rs has
// the same structures. Operands are of one type T, float or (half.cuh) f16 or bf16; the residual
// stream, partial sums and biases are always f32.
#pragma once

#include "elementary.cuh"

// Rows of one activation in one form: [slot][column + 1][batch][channels], a zero column on either
// side; channels are filled up with zeros to whole 16 bytes of T. Row r lives in slot (r + 1) % slots.
struct Plane {
    void *base; // null where the activation is not kept in this form
    int slots;
    int columns; // with the zero columns
    int channels;
    int unused;
};

// One tap: an operand of the product.
struct Segment {
    Plane plane;
    int row_offset;
    int column_offset;
};

constexpr int SEGMENTS = 8;

struct Step {
    const int2 *position;  // (row, column) of the current pixel of each image; all are equal
    const void *weights;   // of T
    const float *bias;     // [class][width]
    const int *classes;    // class of each image of the batch
    float *partial;        // [column][batch][width], or null
    Plane residual;
    Plane raw, plain, elu, concat_elu; // where the result goes
    Segment segments[SEGMENTS];
    int segment_count;
    int depth;             // k of the packed weights with the filling of segments
    int width;             // sums per row with filling: a multiple of 32
    int channels;          // of the result, filled up as planes are
    int batch;
    int columns;           // of the step's grid
    int level;             // of the step's grid
    int input_step;
    int output_step;
    int output_row;        // output parity of a deconvolution
    int output_column;
    int gated;
    int finish;            // 0: leave the sums in `partial`
    int rows;              // 0: the current row only; else all these rows of the grid
};

// How numbers of type T are made and read; half.cuh has the other types.
template <typename T> struct Element;

template <> struct Element<float> {
    static __device__ __forceinline__ float from(float x) { return x; }
    static __device__ __forceinline__ float to(float x) { return x; }
};

// COUNT neighbours, loaded and stored at once.
template <typename T, int COUNT> struct alignas(sizeof(T) * COUNT) Few {
    T at[COUNT];
};

// A pixel of an image of the batch.
struct Place {
    int row, column, image;
};

template <typename T>
__device__ __forceinline__ T *address(const Plane &plane, int row, int column, int batch, int image) {
    // Division takes long, and every load waits for it: caches have 1, 2 or 4 slots, whole images one
    // for each row from -1 on. Rows start at -2, so the dividend is never negative.
    const int mask = plane.slots - 1;
    const int slot = (plane.slots & mask) == 0 ? (row + 1) & mask : (row + 1 + plane.slots) % plane.slots;
    size_t pixel = (size_t)slot * plane.columns + (column + 1);
    return static_cast<T *>(plane.base) + (pixel * batch + image) * plane.channels;
}

// Where a tap looks for a pixel of the step's grid.
template <typename T>
__device__ __forceinline__ const T *operand(const Step &step, const Segment &segment, Place at) {
    return address<T>(segment.plane, at.row * step.input_step + segment.row_offset,
                      at.column * step.input_step + segment.column_offset, step.batch, at.image);
}

// The m-th (row, column, image) of the row phase.
__device__ __forceinline__ Place place(const Step &step, int m) {
    int pixel = m / step.batch;
    int row = pixel / step.columns;
    return {step.rows ? row : step.position->x >> step.level, pixel - row * step.columns, m - pixel * step.batch};
}

template <typename T, int COUNT>
__device__ __forceinline__ void store(const Plane &plane, Place to, int batch, int channel, const float *y) {
    Few<T, COUNT> few;
#pragma unroll
    for (int i = 0; i < COUNT; i++) few.at[i] = Element<T>::from(y[i]);
    *reinterpret_cast<Few<T, COUNT> *>(address<T>(plane, to.row, to.column, batch, to.image) + channel) = few;
}

// Pushes COUNT channels of the result into the caches.
template <typename T, int COUNT>
__device__ __forceinline__ void push(const Step &step, Place at, int channel, const float *y) {
    Place to = {at.row * step.output_step + step.output_row, at.column * step.output_step + step.output_column, at.image};
    if (step.raw.base) store<float, COUNT>(step.raw, to, step.batch, channel, y);
    if (step.plain.base) store<T, COUNT>(step.plain, to, step.batch, channel, y);
    if (!step.elu.base && !step.concat_elu.base) return;
    float z[COUNT];
#pragma unroll
    for (int i = 0; i < COUNT; i++) z[i] = elu(y[i]);
    if (step.elu.base) store<T, COUNT>(step.elu, to, step.batch, channel, z);
    if (step.concat_elu.base) {
        store<T, COUNT>(step.concat_elu, to, step.batch, channel, z);
#pragma unroll
        for (int i = 0; i < COUNT; i++) z[i] = elu(-y[i]);
        store<T, COUNT>(step.concat_elu, to, step.batch, step.channels + channel, z);
    }
}

// COUNT channels of the residual stream that a gate adds to.
template <int COUNT>
__device__ __forceinline__ Few<float, COUNT> residual(const Step &step, Place at, int channel) {
    const float *from = address<float>(step.residual, at.row, at.column, step.batch, at.image) + channel;
    return *reinterpret_cast<const Few<float, COUNT> *>(from);
}
