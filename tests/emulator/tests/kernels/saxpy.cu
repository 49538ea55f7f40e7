// y = a * x + y, in the plain, the vectorised and the packed half-precision form.
#include <cuda_fp16.h>

extern "C" __global__ void saxpy(float a, const float* x, float* y, unsigned n) {
    unsigned i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) y[i] = a * x[i] + y[i];
}

// Grid-stride loop over 16-byte vectors; `n4` counts vectors.
extern "C" __global__ void saxpy_vector(float a, const float4* __restrict__ x, float4* y, unsigned n4) {
    for (unsigned i = blockIdx.x * blockDim.x + threadIdx.x; i < n4; i += gridDim.x * blockDim.x) {
        float4 u = __ldg(x + i), v = y[i];
        v.x = fmaf(a, u.x, v.x);
        v.y = fmaf(a, u.y, v.y);
        v.z = fmaf(a, u.z, v.z);
        v.w = fmaf(a, u.w, v.w);
        y[i] = v;
    }
}

extern "C" __global__ void saxpy_half2(__half a, const __half2* x, __half2* y, unsigned n2) {
    unsigned i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n2) y[i] = __hfma2(__half2half2(a), x[i], y[i]);
}
