// What every step kernel is given: the host's src/cuda/arguments.rs has the same structures.
#pragma once

// Rows of one activation in one form: [slot][column + 1][batch][channels], a zero column on either
// side; channels are a multiple of 4, filled up with zeros. Row r lives in slot (r + 1) % slots.
struct Plane {
    float *base; // null where the activation is not kept in this form
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
    const float *weights;
    const float *bias;     // [class][width]
    const int *classes;    // class of each image of the batch
    float *partial;        // [column][batch][width], or null
    Plane residual;
    Plane raw, plain, elu, concat_elu; // where the result goes
    Segment segments[SEGMENTS];
    int segment_count;
    int depth;             // k of the packed weights, all segments with their filling
    int width;             // sums per row with filling: a multiple of 32
    int channels;          // of the result, a multiple of 4
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

__device__ __forceinline__ float *address(const Plane &plane, int row, int column, int batch, int image) {
    // Rows start at -2, so the dividend is never negative.
    int slot = (row + 1 + plane.slots) % plane.slots;
    size_t pixel = (size_t)slot * plane.columns + (column + 1);
    return plane.base + (pixel * batch + image) * plane.channels;
}
