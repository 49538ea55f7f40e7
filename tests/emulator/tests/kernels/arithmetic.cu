// Elementary functions and packed half-precision arithmetic as the compiler expands them.
#include <cuda_bf16.h>
#include <cuda_fp16.h>

// y[f][i] for the functions in order: exp, log, sin, cos, tanh, sqrt, 1/sqrt, x/3, pow(|x|, 1.5), erf, log1p(|x|), fmod(x, 0.75).
extern "C" __global__ void functions(const float* x, float* y, unsigned n) {
    unsigned i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    float v = x[i], p = fabsf(v) + 1e-6f;
    y[0 * n + i] = expf(v);
    y[1 * n + i] = logf(p);
    y[2 * n + i] = sinf(v);
    y[3 * n + i] = cosf(v);
    y[4 * n + i] = tanhf(v);
    y[5 * n + i] = sqrtf(p);
    y[6 * n + i] = rsqrtf(p);
    y[7 * n + i] = v / 3.0f;
    y[8 * n + i] = powf(p, 1.5f);
    y[9 * n + i] = erff(v);
    y[10 * n + i] = log1pf(p);
    y[11 * n + i] = fmodf(v, 0.75f);
}

// The fast forms: exp, log, sin, cos, x/3 and 1/(1+exp(-x)).
extern "C" __global__ void fast_functions(const float* x, float* y, unsigned n) {
    unsigned i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    float v = x[i];
    y[0 * n + i] = __expf(v);
    y[1 * n + i] = __logf(fabsf(v) + 1e-6f);
    y[2 * n + i] = __sinf(v);
    y[3 * n + i] = __cosf(v);
    y[4 * n + i] = __fdividef(v, 3.0f);
    y[5 * n + i] = __frcp_rn(1.0f + __expf(-v));
}

// Double precision: exp, log, sin, sqrt, x/3.
extern "C" __global__ void double_functions(const double* x, double* y, unsigned n) {
    unsigned i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    double v = x[i], p = fabs(v) + 1e-6;
    y[0 * n + i] = exp(v);
    y[1 * n + i] = log(p);
    y[2 * n + i] = sin(v);
    y[3 * n + i] = sqrt(p);
    y[4 * n + i] = v / 3.0;
}

// Packed pairs: y[k][i] for add, mul, fma, max, sub.
extern "C" __global__ void half2_arithmetic(const __half2* a, const __half2* b, __half2* y, unsigned n) {
    unsigned i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    y[0 * n + i] = __hadd2(a[i], b[i]);
    y[1 * n + i] = __hmul2(a[i], b[i]);
    y[2 * n + i] = __hfma2(a[i], b[i], b[i]);
    y[3 * n + i] = __hmax2(a[i], b[i]);
    y[4 * n + i] = __hsub2(a[i], b[i]);
}

#if __CUDA_ARCH__ >= 800
extern "C" __global__ void bfloat2_arithmetic(const __nv_bfloat162* a, const __nv_bfloat162* b, __nv_bfloat162* y, unsigned n) {
    unsigned i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    y[0 * n + i] = __hadd2(a[i], b[i]);
    y[1 * n + i] = __hmul2(a[i], b[i]);
    y[2 * n + i] = __hfma2(a[i], b[i], b[i]);
    y[3 * n + i] = __hmax2(a[i], b[i]);
    y[4 * n + i] = __hsub2(a[i], b[i]);
}
#endif

// Conversions of v: to half and back, to bfloat16 and back, to int in the four roundings, to u8 with clamping.
extern "C" __global__ void conversions(const float* x, float* y, int* z, unsigned n) {
    unsigned i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    float v = x[i];
    y[0 * n + i] = __half2float(__float2half_rn(v));
    y[1 * n + i] = __bfloat162float(__float2bfloat16_rn(v));
    z[0 * n + i] = __float2int_rn(v);
    z[1 * n + i] = __float2int_rz(v);
    z[2 * n + i] = __float2int_rd(v);
    z[3 * n + i] = __float2int_ru(v);
    z[4 * n + i] = (unsigned char)fminf(fmaxf(rintf(v), 0.0f), 255.0f);
}
