// The end of a pixel in f16 or bf16 with f32 sums: output.cuh says what is computed, in which shapes and
// how it is launched. Without tensor cores: a pixel is one row, and its columns are few.
// Compiled for: compute_80

#include "half.cuh"
#include "output.cuh"

extern "C" __global__ void __launch_bounds__(output::MAX_THREADS, 1) output_step_f16(const __grid_constant__ Output out) {
    output::output_step<F16>(out);
}

extern "C" __global__ void __launch_bounds__(output::MAX_THREADS, 1) output_params_f16(const __grid_constant__ Output out) {
    output::output_params<F16>(out);
}

extern "C" __global__ void __launch_bounds__(output::MAX_THREADS) fill_image_f16(const __grid_constant__ Output out) {
    output::fill_image<F16>(out);
}

extern "C" __global__ void __launch_bounds__(output::MAX_THREADS, 1) output_step_bf16(const __grid_constant__ Output out) {
    output::output_step<Bf16>(out);
}

extern "C" __global__ void __launch_bounds__(output::MAX_THREADS, 1) output_params_bf16(const __grid_constant__ Output out) {
    output::output_params<Bf16>(out);
}

extern "C" __global__ void __launch_bounds__(output::MAX_THREADS) fill_image_bf16(const __grid_constant__ Output out) {
    output::fill_image<Bf16>(out);
}
