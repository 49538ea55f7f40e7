// Given values, written into a tensor: into the input of a stage for all pixels of whole images, or into the
// map, whose rows the host gives a few at a time.
//
//   tensor[row][column][image] = encoded(given[image][row mod given_rows][column])
//
// under every activation in which the tensor is read.
//
// Launch: one thread for each channel of each position that is written, 256 per block. Per launch: 4 bytes
// read for each value, and what is written.
//
// How it was arrived at: a map's row is written in a launch of its own, before the ops of the row phase; its
// place among the given rows follows from the position in device memory, so that a captured row can be
// replayed.

#pragma once

#include "encoding.cuh"

struct Fill {
    const int2 *position;
    const float *given;             // [image][row][column][value]: row r at r mod given_rows
    unsigned long long given_image; // values from one image to the next
    Input input;
    int given_rows;
    int rows;        // 0: the current row only; else so many, from `first_row` on
    int first_row;
    int columns;
    int batch;
    int values;      // of a position of the tensor
    int first_value; // of those given at a position
    int given_values;
};

static_assert(sizeof(Fill) == 240 && offsetof(Fill, given) == 8 && offsetof(Fill, given_image) == 16 &&
              offsetof(Fill, input) == 24 && offsetof(Fill, given_rows) == 208 && offsetof(Fill, rows) == 212 &&
              offsetof(Fill, first_row) == 216 && offsetof(Fill, columns) == 220 && offsetof(Fill, batch) == 224 &&
              offsetof(Fill, values) == 228 && offsetof(Fill, first_value) == 232 &&
              offsetof(Fill, given_values) == 236);

template <typename T> __device__ __forceinline__ void fill(const Fill &job) {
    size_t item = (size_t)blockIdx.x * blockDim.x + threadIdx.x;
    const int channel = item % job.input.channels;
    item /= job.input.channels;
    const int column = item % job.columns;
    item /= job.columns;
    const int rows = max(job.rows, 1);
    const int within = item % rows;
    const size_t image = item / rows;
    if (image >= job.batch) return;
    const int row = job.rows ? job.first_row + within : job.position->x;
    const size_t pixel = (size_t)(row % job.given_rows) * job.columns + column;
    const float *given = job.given + image * job.given_image + pixel * job.given_values + job.first_value;
    const float y = encoded(job.input, channel, job.values, [&](int i) { return given[i]; });
    push<T, 1>(job.input.tensor, {row, column, (int)image}, job.batch, channel, &y);
}
