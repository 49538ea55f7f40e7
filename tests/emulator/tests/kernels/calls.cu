// Device functions that stay calls: values, structures, pointers to local memory, nested and divergent calls.

struct Pair {
    float low;
    int high;
    double wide;
};

__device__ __noinline__ int greatest_divisor(int a, int b) {
    while (b != 0) {
        int r = a % b;
        a = b;
        b = r;
    }
    return a;
}

__device__ __noinline__ Pair combine(Pair p, Pair q, float scale) {
    Pair r;
    r.low = p.low * scale + q.low;
    r.high = greatest_divisor(p.high, q.high);
    r.wide = p.wide - q.wide;
    return r;
}

// Sorts eight numbers in the caller's local memory.
__device__ __noinline__ void sort8(int* v) {
    for (int i = 1; i < 8; i++) {
        int x = v[i], j = i - 1;
        for (; j >= 0 && v[j] > x; j--) v[j + 1] = v[j];
        v[j + 1] = x;
    }
}

extern "C" __global__ void divisors(const int* a, const int* b, int* y, unsigned n) {
    unsigned i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) y[i] = a[i] % 2 ? greatest_divisor(a[i], b[i]) : -greatest_divisor(b[i], a[i]);
}

extern "C" __global__ void pairs(const Pair* p, Pair* y, unsigned n, float scale) {
    unsigned i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) y[i] = combine(p[i], p[(i + 1) % n], scale);
}

// The median-low of eight neighbours on a ring.
extern "C" __global__ void medians(const int* x, int* y, unsigned n) {
    unsigned i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    int v[8];
    for (int j = 0; j < 8; j++) v[j] = x[(i + j) % n];
    sort8(v);
    y[i] = v[3];
}
