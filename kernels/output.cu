// The end of a stage of a pixel in f32: output.cuh and fill.cuh say what is computed, in which shapes and how it
// is launched.

#include "fill.cuh"
#include "output.cuh"

using output::MAX_THREADS;

extern "C" __global__ void __launch_bounds__(MAX_THREADS, 1) output_mixture(const __grid_constant__ Output out) {
    output::output_mixture<float>(out);
}

extern "C" __global__ void __launch_bounds__(MAX_THREADS, 1) output_categorical(const __grid_constant__ Output out) {
    output::output_categorical<float>(out);
}

extern "C" __global__ void __launch_bounds__(MAX_THREADS, 1) output_parameters(const __grid_constant__ Output out) {
    output::output_parameters<float>(out);
}

extern "C" __global__ void __launch_bounds__(MAX_THREADS, 1) output_feed(const __grid_constant__ Output out) {
    output::output_feed<float>(out);
}

extern "C" __global__ void __launch_bounds__(MAX_THREADS) fill(const __grid_constant__ Fill job) {
    fill<float>(job);
}
