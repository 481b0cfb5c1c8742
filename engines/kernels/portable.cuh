// Types and conversions that every kernel shares. No headers are included: NVRTC needs none, wherever it runs.
//
// The kernels also compile as plain C++ for the tests, after tests/helpers/host_shim.h, which stands in for CUDA.
#pragma once

typedef unsigned char Byte;
typedef unsigned short InstanceId;  // 0 is background

// IEEE half precision, as NumPy's float16 and TensorRT's kHALF lie in memory.
struct Half {
    unsigned short bits;
};

#ifdef __CUDACC__
__device__ inline float half_to_float(unsigned short bits) {
    float value;
    asm("cvt.f32.f16 %0, %1;" : "=f"(value) : "h"(bits));
    return value;
}

__device__ inline unsigned short float_to_half(float value) {
    unsigned short bits;
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(bits) : "f"(value));
    return bits;
}
#endif

__device__ inline float to_float(float value) { return value; }
__device__ inline float to_float(Half value) { return half_to_float(value.bits); }

__device__ inline void store(float* out, float value) { *out = value; }
__device__ inline void store(Half* out, float value) { out->bits = float_to_half(value); }

__device__ inline int clamp(int value, int low, int high) { return min(max(value, low), high); }

// NaN stays NaN, unlike with fminf and fmaxf: a box that is not a number then fails every comparison.
__device__ inline float clamp(float value, float low, float high) {
    return value < low ? low : value > high ? high : value;
}
