// Module-level variables and arguments of every type.
#include <cuda_bf16.h>
#include <cuda_fp16.h>

__constant__ float coefficients[4] = {1.0f, -0.5f, 0.25f, 2.0f};
__device__ int counter = 41;
__device__ const unsigned char table[5] = {2, 3, 5, 7, 11};
__device__ double scratch[8];
__device__ const unsigned char* pointer_to_table = table;

// y[i] = c0 + c1 x + c2 x^2 + c3 x^3
extern "C" __global__ void polynomial(const float* x, float* y, unsigned n) {
    unsigned i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) y[i] = coefficients[0] + x[i] * (coefficients[1] + x[i] * (coefficients[2] + x[i] * coefficients[3]));
}

extern "C" __global__ void count_and_look_up(int* y) {
    unsigned t = threadIdx.x;
    if (t < 5) y[t] = table[t] + pointer_to_table[4 - t];
    if (t == 0) {
        atomicAdd(&counter, 1);
        scratch[0] = 0.5;
    }
}

struct Shape {
    unsigned char kind;
    unsigned short extents[3];
    double scale;
    const float* data;
};

// Every kind of argument, widened to doubles.
extern "C" __global__ void arguments(unsigned char u8, signed char i8, unsigned short u16, short i16, unsigned u32, int i32,
                                     unsigned long long u64, long long i64, float f32, double f64, __half f16, __nv_bfloat16 bf16, bool flag,
                                     Shape shape, double* y) {
    y[0] = u8;
    y[1] = i8;
    y[2] = u16;
    y[3] = i16;
    y[4] = u32;
    y[5] = i32;
    y[6] = u64;
    y[7] = i64;
    y[8] = f32;
    y[9] = f64;
    y[10] = __half2float(f16);
    y[11] = __bfloat162float(bf16);
    y[12] = flag ? 1.0 : 0.0;
    y[13] = shape.kind;
    y[14] = shape.extents[0] * 10000.0 + shape.extents[1] * 100.0 + shape.extents[2];
    y[15] = shape.scale;
    y[16] = shape.data[1];
}

// Where each thread is: its coordinates folded into one number, to be checked against the launch shape.
extern "C" __global__ void coordinates(unsigned* y) {
    unsigned block = (blockIdx.z * gridDim.y + blockIdx.y) * gridDim.x + blockIdx.x;
    unsigned thread = (threadIdx.z * blockDim.y + threadIdx.y) * blockDim.x + threadIdx.x;
    unsigned lane;
    asm("mov.u32 %0, %%laneid;" : "=r"(lane));
    y[block * blockDim.x * blockDim.y * blockDim.z + thread] = block * 100000 + thread * 100 + (lane == thread % 32 ? 1 : 0);
}
