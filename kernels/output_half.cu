// The end of a stage of a pixel in f16 or bf16 with f32 sums: output.cuh and fill.cuh say what is
// computed, in which shapes and how it is launched. Without tensor cores: a pixel is one row, and its
// columns are few.
// Compiled for: compute_80

#include "fill.cuh"
#include "half.cuh"
#include "output.cuh"

using output::MAX_THREADS;

extern "C" __global__ void __launch_bounds__(MAX_THREADS, 1) output_mixture_f16(const __grid_constant__ Output out) {
    output::output_mixture<F16>(out);
}

extern "C" __global__ void __launch_bounds__(MAX_THREADS, 1) output_categorical_f16(const __grid_constant__ Output out) {
    output::output_categorical<F16>(out);
}

extern "C" __global__ void __launch_bounds__(MAX_THREADS, 1) output_parameters_f16(const __grid_constant__ Output out) {
    output::output_parameters<F16>(out);
}

extern "C" __global__ void __launch_bounds__(MAX_THREADS, 1) output_feed_f16(const __grid_constant__ Output out) {
    output::output_feed<F16>(out);
}

extern "C" __global__ void __launch_bounds__(MAX_THREADS) fill_f16(const __grid_constant__ Fill job) {
    fill<F16>(job);
}

extern "C" __global__ void __launch_bounds__(MAX_THREADS, 1) output_mixture_bf16(const __grid_constant__ Output out) {
    output::output_mixture<Bf16>(out);
}

extern "C" __global__ void __launch_bounds__(MAX_THREADS, 1) output_categorical_bf16(const __grid_constant__ Output out) {
    output::output_categorical<Bf16>(out);
}

extern "C" __global__ void __launch_bounds__(MAX_THREADS, 1) output_parameters_bf16(const __grid_constant__ Output out) {
    output::output_parameters<Bf16>(out);
}

extern "C" __global__ void __launch_bounds__(MAX_THREADS, 1) output_feed_bf16(const __grid_constant__ Output out) {
    output::output_feed<Bf16>(out);
}

extern "C" __global__ void __launch_bounds__(MAX_THREADS) fill_bf16(const __grid_constant__ Fill job) {
    fill<Bf16>(job);
}
