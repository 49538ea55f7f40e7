// Elementary functions of the network.
#pragma once

__device__ __forceinline__ float elu(float x) { return x > 0.0f ? x : expm1f(x); }

__device__ __forceinline__ float gate(float a, float b) { return a / (1.0f + expf(-b)); }
