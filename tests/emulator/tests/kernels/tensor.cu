// Matrix products on tensor cores: C [m, n] f32 = A [m, k] * B [n, k]^T, both row-major, so that B's columns are contiguous.
// One warp per 16 x 8 tile of C; m a multiple of 16, n of 8, k of 16.
#include <cuda_bf16.h>
#include <cuda_fp16.h>

__device__ __forceinline__ unsigned shared_address(const void* p) { return (unsigned)__cvta_generic_to_shared(p); }

__device__ __forceinline__ void load_x4(unsigned (&r)[4], const void* row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(shared_address(row))
                 : "memory");
}

__device__ __forceinline__ void load_x2(unsigned (&r)[2], const void* row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x2.shared.b16 {%0,%1}, [%2];" : "=r"(r[0]), "=r"(r[1]) : "r"(shared_address(row)) : "memory");
}

__device__ __forceinline__ void load_x2_transposed(unsigned (&r)[2], const void* row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x2.trans.shared.b16 {%0,%1}, [%2];"
                 : "=r"(r[0]), "=r"(r[1])
                 : "r"(shared_address(row))
                 : "memory");
}

// Copies `rows` rows of 16 two-byte elements into rows of 24, which ldmatrix reads without bank conflicts.
__device__ __forceinline__ void stage(unsigned short (*tile)[24], const unsigned short* from, int rows, int stride) {
    for (int i = threadIdx.x; i < rows * 2; i += 32)
        *(uint4*)&tile[i / 2][(i % 2) * 8] = *(const uint4*)(from + (i / 2) * stride + (i % 2) * 8);
}

__device__ __forceinline__ void store(float* c, const float (&d)[4], int n) {
    int lane = threadIdx.x, row = blockIdx.y * 16 + lane / 4, column = blockIdx.x * 8 + (lane % 4) * 2;
    *(float2*)(c + row * n + column) = make_float2(d[0], d[1]);
    *(float2*)(c + (row + 8) * n + column) = make_float2(d[2], d[3]);
}

__device__ __forceinline__ void multiply_f16(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {
#if __CUDA_ARCH__ >= 800
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
                 : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#else
#pragma unroll
    for (int half = 0; half < 2; half++)
        asm volatile("mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5}, {%6}, {%0,%1,%2,%3};"
                     : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                     : "r"(a[2 * half]), "r"(a[2 * half + 1]), "r"(b[half]));
#endif
}

extern "C" __global__ void product_f16(const unsigned short* a, const unsigned short* b, float* c, int m, int n, int k) {
    __shared__ __align__(16) unsigned short ta[16][24], tb[8][24];
    int lane = threadIdx.x;
    float d[4] = {};
    for (int base = 0; base < k; base += 16) {
        stage(ta, a + blockIdx.y * 16 * k + base, 16, k);
        stage(tb, b + blockIdx.x * 8 * k + base, 8, k);
        __syncwarp();
        unsigned fa[4], fb[2];
        load_x4(fa, &ta[lane % 16][(lane / 16) * 8]);
        load_x2(fb, &tb[lane % 8][(lane / 8 % 2) * 8]);
        multiply_f16(d, fa, fb);
        __syncwarp();
    }
    store(c, d, n);
}

// As product_f16, with B [k, n] row-major: ldmatrix transposes it.
extern "C" __global__ void product_f16_transposed(const unsigned short* a, const unsigned short* b, float* c, int m, int n, int k) {
    __shared__ __align__(16) unsigned short ta[16][24], tb[16][8];
    int lane = threadIdx.x;
    float d[4] = {};
    for (int base = 0; base < k; base += 16) {
        stage(ta, a + blockIdx.y * 16 * k + base, 16, k);
        if (lane < 16) *(uint4*)tb[lane] = *(const uint4*)(b + (base + lane) * n + blockIdx.x * 8);
        __syncwarp();
        unsigned fa[4], fb[2];
        load_x4(fa, &ta[lane % 16][(lane / 16) * 8]);
        load_x2_transposed(fb, tb[lane % 16]);
        multiply_f16(d, fa, fb);
        __syncwarp();
    }
    store(c, d, n);
}

#if __CUDA_ARCH__ >= 800
extern "C" __global__ void product_bf16(const unsigned short* a, const unsigned short* b, float* c, int m, int n, int k) {
    __shared__ __align__(16) unsigned short ta[16][24], tb[8][24];
    int lane = threadIdx.x;
    float d[4] = {};
    for (int base = 0; base < k; base += 16) {
        stage(ta, a + blockIdx.y * 16 * k + base, 16, k);
        stage(tb, b + blockIdx.x * 8 * k + base, 8, k);
        __syncwarp();
        unsigned fa[4], fb[2];
        load_x4(fa, &ta[lane % 16][(lane / 16) * 8]);
        load_x2(fb, &tb[lane % 8][(lane / 8 % 2) * 8]);
        asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
                     : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                     : "r"(fa[0]), "r"(fa[1]), "r"(fa[2]), "r"(fa[3]), "r"(fb[0]), "r"(fb[1]));
        __syncwarp();
    }
    store(c, d, n);
}

// f32 operands rounded to tf32; fragments read straight from global memory.
extern "C" __global__ void product_tf32(const float* a, const float* b, float* c, int m, int n, int k) {
    int lane = threadIdx.x, group = lane / 4, within = lane % 4;
    const float* pa = a + (blockIdx.y * 16 + group) * k + within;
    const float* pb = b + (blockIdx.x * 8 + group) * k + within;
    float d[4] = {};
    for (int base = 0; base < k; base += 8) {
        float f[6] = {pa[base], pa[base + 8 * k], pa[base + 4], pa[base + 8 * k + 4], pb[base], pb[base + 4]};
        unsigned r[6];
#pragma unroll
        for (int i = 0; i < 6; i++) asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(r[i]) : "f"(f[i]));
        asm volatile("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
                     : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                     : "r"(r[0]), "r"(r[1]), "r"(r[2]), "r"(r[3]), "r"(r[4]), "r"(r[5]));
    }
    store(c, d, n);
}
#endif
