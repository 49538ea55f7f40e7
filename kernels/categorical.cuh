// Classes drawn from their logits, by one warp for each channel. Operations and their order are those
// of src/distribution/categorical.rs.
#pragma once

// The first class whose cumulative weight exceeds `u` times the total, where class k weighs exp(logit /
// temperature - largest); the last one of any weight where rounding leaves no such class. Weights
// are added in 32 runs of neighbouring classes, each in order, then the totals of the runs in order.
// For a whole warp; the weights take the place of the logits.
__device__ __forceinline__ int draw_class(float *logits, int classes, float temperature, float u) {
    const int lane = threadIdx.x % 32;
    float largest = -INFINITY;
    for (int k = lane; k < classes; k += 32) largest = fmaxf(largest, logits[k]);
    for (int offset = 16; offset > 0; offset /= 2) {
        largest = fmaxf(largest, __shfl_xor_sync(0xffffffffu, largest, offset));
    }
    largest = largest / temperature;
    __syncwarp();
    const int run = (classes + 31) / 32;
    const int first = min(lane * run, classes);
    const int end = min(first + run, classes);
    float sum = 0.0f;
    for (int k = first; k < end; k++) {
        const float weight = expf(__fsub_rn(logits[k] / temperature, largest));
        logits[k] = weight;
        sum = __fadd_rn(sum, weight);
    }
    float before = 0.0f, total = 0.0f;
    for (int i = 0; i < 32; i++) {
        if (i == lane) before = total;
        total = __fadd_rn(total, __shfl_sync(0xffffffffu, sum, i));
    }
    const float threshold = __fmul_rn(u, total);
    int found = classes, last = 0;
    sum = 0.0f;
    for (int k = first; k < end; k++) {
        sum = __fadd_rn(sum, logits[k]);
        if (logits[k] > 0.0f) last = k;
        if (__fadd_rn(before, sum) > threshold) {
            found = k;
            break;
        }
    }
    for (int offset = 16; offset > 0; offset /= 2) {
        found = min(found, __shfl_xor_sync(0xffffffffu, found, offset));
        last = max(last, __shfl_xor_sync(0xffffffffu, last, offset));
    }
    return found < classes ? found : last;
}
