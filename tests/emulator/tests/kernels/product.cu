// Matrix products C = A * B, row-major A [m, k], B [k, n], C [m, n], f32.

// 16 x 16 tiles in shared memory, one output per thread, any shape.
extern "C" __global__ void product_tiled(const float* a, const float* b, float* c, int m, int n, int k) {
    __shared__ float ta[16][17], tb[16][17];
    int row = blockIdx.y * 16 + threadIdx.y, column = blockIdx.x * 16 + threadIdx.x;
    float sum = 0.0f;
    for (int base = 0; base < k; base += 16) {
        int ka = base + threadIdx.x, kb = base + threadIdx.y;
        ta[threadIdx.y][threadIdx.x] = row < m && ka < k ? a[row * k + ka] : 0.0f;
        tb[threadIdx.y][threadIdx.x] = kb < k && column < n ? b[kb * n + column] : 0.0f;
        __syncthreads();
#pragma unroll
        for (int i = 0; i < 16; i++) sum += ta[threadIdx.y][i] * tb[i][threadIdx.x];
        __syncthreads();
    }
    if (row < m && column < n) c[row * n + column] = sum;
}

// 64 x 64 tiles, 4 x 4 outputs in the registers of each of 256 threads, 16-byte accesses.
// m and n are multiples of 64, k of 16.
extern "C" __global__ void __launch_bounds__(256) product_registers(const float* __restrict__ a, const float* __restrict__ b, float* c, int m,
                                                                    int n, int k) {
    __shared__ __align__(16) float ta[16][68];
    __shared__ __align__(16) float tb[16][64];
    int t = threadIdx.x, x = t % 16, y = t / 16;
    const float* pa = a + (blockIdx.y * 64 + t / 4) * k + (t % 4) * 4;
    const float* pb = b + (t / 16) * n + blockIdx.x * 64 + (t % 16) * 4;
    float sum[4][4] = {};
    for (int base = 0; base < k; base += 16) {
        float4 va = *(const float4*)(pa + base), vb = *(const float4*)(pb + base * n);
        int column = (t % 4) * 4, row = t / 4;
        ta[column][row] = va.x;
        ta[column + 1][row] = va.y;
        ta[column + 2][row] = va.z;
        ta[column + 3][row] = va.w;
        *(float4*)&tb[t / 16][(t % 16) * 4] = vb;
        __syncthreads();
#pragma unroll
        for (int i = 0; i < 16; i++) {
            float4 u = *(float4*)&ta[i][y * 4], v = *(float4*)&tb[i][x * 4];
            float p[4] = {u.x, u.y, u.z, u.w}, q[4] = {v.x, v.y, v.z, v.w};
#pragma unroll
            for (int r = 0; r < 4; r++)
#pragma unroll
                for (int s = 0; s < 4; s++) sum[r][s] = fmaf(p[r], q[s], sum[r][s]);
        }
        __syncthreads();
    }
    for (int r = 0; r < 4; r++) {
        float4 out = make_float4(sum[r][0], sum[r][1], sum[r][2], sum[r][3]);
        *(float4*)(c + (blockIdx.y * 64 + y * 4 + r) * n + blockIdx.x * 64 + x * 4) = out;
    }
}
