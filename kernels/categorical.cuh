// Classes drawn from their logits, by one warp for each channel. Operations and their order are those
// of src/distribution/categorical.rs.
//
// Classes are cut into 32 runs of neighbours, one for each lane. Weights lie in the order in which the lanes
// go through their runs, the i-th of every lane together, so that neither stores nor loads of shared memory
// conflict, and those of device memory are whole lines.
//
// How it was arrived at: the logits stay beside the weights, because what is truncated is decided by logits,
// of which several may have the same weight. The smallest that is kept is searched for bit by bit, at most 32
// steps of K / 32 additions and an exchange: no sort, no memory but the weights, and the same steps as on
// the CPU. Without truncation all of that is one branch.
#pragma once

#include <stddef.h>

enum TruncationKind { NOT_TRUNCATED, TOP_K, TOP_P, GREEDY };

// Which classes can be drawn at all.
struct Truncation {
    int kind;
    int k;
    float p;
};

static_assert(sizeof(Truncation) == 12 && offsetof(Truncation, k) == 4 && offsetof(Truncation, p) == 8);

namespace categorical {

// Classes of a run.
__device__ __forceinline__ int run_of(int classes) { return (classes + 31) / 32; }

// The run of a lane.
struct Run {
    const float *logits;
    float *weights; // every 32nd is of this lane
    int length;
};

// The sums of all lanes, in order.
__device__ __forceinline__ float in_order(float sum) {
    float total = 0.0f;
#pragma unroll 4
    for (int i = 0; i < 32; i++) total = __fadd_rn(total, __shfl_sync(0xffffffffu, sum, i));
    return total;
}

// The number of a key: keys are ordered as their numbers are.
__device__ __forceinline__ float number_of(unsigned key) {
    const unsigned sign = 1u << 31;
    return __uint_as_float(key & sign ? key & ~sign : ~key);
}

// The smallest logit that can be drawn; `sum` is that of the lane's weights.
__device__ __forceinline__ float least_logit(const Run &run, const Truncation &truncation, float largest, float sum) {
    const bool by_weight = truncation.kind == TOP_P;
    const float wanted = __fmul_rn(truncation.p, in_order(sum));
    unsigned key = 0;
#pragma unroll 1
    for (unsigned bit = 1u << 31; bit > 0; bit >>= 1) {
        const float least = number_of(key | bit);
        // Nothing is at least NaN; the largest stays whatever the sums say.
        if (!(least <= largest)) continue;
        int count = 0;
        float kept = 0.0f;
#pragma unroll 4
        for (int i = 0; i < run.length; i++) {
            const bool keeps = run.logits[i] >= least;
            count += keeps;
            kept = __fadd_rn(kept, keeps ? run.weights[32 * i] : 0.0f);
        }
        bool enough;
        if (by_weight) {
            enough = in_order(kept) >= wanted;
        } else {
            for (int offset = 16; offset > 0; offset /= 2) count += __shfl_xor_sync(0xffffffffu, count, offset);
            enough = count >= truncation.k;
        }
        if (enough) key |= bit;
    }
    return key ? fminf(number_of(key), largest) : -INFINITY;
}

// The first of the classes with the largest logit.
__device__ __forceinline__ int likeliest(const float *logits, int classes, float largest) {
    int first = classes;
#pragma unroll 1
    for (int k = threadIdx.x % 32; k < classes; k += 32) {
        if (logits[k] == largest) first = min(first, k);
    }
    for (int offset = 16; offset > 0; offset /= 2) first = min(first, __shfl_xor_sync(0xffffffffu, first, offset));
    return first < classes ? first : 0;
}

} // namespace categorical

// The first class whose cumulative weight exceeds `u` times the total, where a class weighs exp(logit /
// temperature - largest / temperature), or nothing where it is truncated; the last one of any weight where
// rounding leaves no such class. Weights are added in runs of neighbouring classes, each in order, then the
// totals of the runs in order. For a whole warp; `weights` has room for 32 runs.
__device__ __forceinline__ int draw_class(const float *logits, float *weights, int classes, float temperature,
                                          const Truncation &truncation, float u) {
    using namespace categorical;
    const int lane = threadIdx.x % 32;
    float largest = -INFINITY;
    for (int k = lane; k < classes; k += 32) largest = fmaxf(largest, logits[k]);
    for (int offset = 16; offset > 0; offset /= 2) {
        largest = fmaxf(largest, __shfl_xor_sync(0xffffffffu, largest, offset));
    }
    if (truncation.kind == GREEDY) return likeliest(logits, classes, largest);
    const int first = min(lane * run_of(classes), classes);
    const Run run = {logits + first, weights + lane, min(run_of(classes), classes - first)};
    const float subtracted = largest / temperature;
    float sum = 0.0f;
    for (int i = 0; i < run.length; i++) {
        const float logit = run.logits[i];
        // NaN is at least nothing.
        const float weight = logit >= -INFINITY ? expf(__fsub_rn(logit / temperature, subtracted)) : 0.0f;
        run.weights[32 * i] = weight;
        sum = __fadd_rn(sum, weight);
    }
    if (truncation.kind != NOT_TRUNCATED) {
        const float least = least_logit(run, truncation, largest, sum);
        sum = 0.0f;
#pragma unroll 1
        for (int i = 0; i < run.length; i++) {
            if (!(run.logits[i] >= least)) run.weights[32 * i] = 0.0f;
            sum = __fadd_rn(sum, run.weights[32 * i]);
        }
    }
    float before = 0.0f, total = 0.0f;
#pragma unroll 4
    for (int i = 0; i < 32; i++) {
        if (i == lane) before = total;
        total = __fadd_rn(total, __shfl_sync(0xffffffffu, sum, i));
    }
    const float threshold = __fmul_rn(u, total);
    int found = classes, last = 0;
    sum = 0.0f;
    for (int i = 0; i < run.length; i++) {
        const float weight = run.weights[32 * i];
        sum = __fadd_rn(sum, weight);
        if (weight > 0.0f) last = first + i;
        if (__fadd_rn(before, sum) > threshold) {
            found = first + i;
            break;
        }
    }
    for (int offset = 16; offset > 0; offset /= 2) {
        found = min(found, __shfl_xor_sync(0xffffffffu, found, offset));
        last = max(last, __shfl_xor_sync(0xffffffffu, last, offset));
    }
    return found < classes ? found : last;
}
