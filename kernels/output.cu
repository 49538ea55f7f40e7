// The end of a pixel in f32: output.cuh says what is computed, in which shapes and how it is launched.

#include "output.cuh"

extern "C" __global__ void __launch_bounds__(output::MAX_THREADS, 1) output_step(const __grid_constant__ Output out) {
    output::output_step<float>(out);
}

extern "C" __global__ void __launch_bounds__(output::MAX_THREADS, 1) output_params(const __grid_constant__ Output out) {
    output::output_params<float>(out);
}

extern "C" __global__ void __launch_bounds__(output::MAX_THREADS) fill_image(const __grid_constant__ Output out) {
    output::fill_image<float>(out);
}
