// Elementary functions of the network.
#pragma once

__device__ __forceinline__ float relu(float x) { return x > 0.0f ? x : 0.0f; }

__device__ __forceinline__ float elu(float x) { return x > 0.0f ? x : expm1f(x); }

// How two halves a and b of an op's outputs become one.
enum Gate { NO_GATE, SIGMOID, TANH_SIGMOID };

__device__ __forceinline__ float gated(int gate, float a, float b) {
    if (gate == TANH_SIGMOID) a = tanhf(a);
    return a / (1.0f + expf(-b));
}
