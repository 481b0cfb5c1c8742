// OpenCV's resize, one axis at a time: which source pixels an output pixel takes, and with which weights.
//
// The pictures networks were trained on went through cv2.resize, so its rounding is followed to the bit where that is
// possible: INTER_LINEAR in 8 bits is fixed-point with 11 bits a weight, INTER_AREA sums in float32.
#pragma once

#include "portable.cuh"

// INTER_LINEAR with half-pixel centres: (1 - weight) · source[first] + weight · source[second].
struct LinearTaps {
    int first;
    int second;
    float weight;
};

__device__ inline LinearTaps linear_taps(int i, int source, int target) {
    // In float64 and then rounded to float32, as OpenCV does; the weights would otherwise differ in the last bits.
    const double scale = 1.0 / (double(target) / source);
    const float at = float((i + 0.5) * scale - 0.5);
    const float whole = floorf(at);
    const int first = int(whole);
    return {clamp(first, 0, source - 1), clamp(first + 1, 0, source - 1), at - whole};
}

__device__ inline float interpolate(float first, float second, float weight) {
    return first * (1.0f - weight) + second * weight;
}

// A weight in units of 1/2048.
__device__ inline int fixed_weight(float weight) { return __float2int_rn(weight * 2048.0f); }

// Vertical step of the fixed-point INTER_LINEAR: the rows carry 11 bits after the point, and lose 4 on the way.
__device__ inline Byte fixed_blend(int above, int below, int weight_above, int weight_below) {
    return Byte((((weight_above * (above >> 4)) >> 16) + ((weight_below * (below >> 4)) >> 16) + 2) >> 2);
}

// INTER_AREA: the source pixels start … end - 1 that an output pixel covers; the outer two in part.
struct AreaSpan {
    int start;
    int end;
    float first;
    float body;
    float last;

    __device__ float weight(int i) const { return i == start ? first : i == end - 1 ? last : body; }
};

// For source ≥ target. Pixel i covers [i · source / target, (i + 1) · source / target), here in units of 1 / target.
__device__ inline AreaSpan area_span(int i, int source, int target) {
    const int low = i * source, high = low + source;
    const int end = min(high / target, source - 1);
    const int start = min((low + target - 1) / target, end);
    const int head = start * target - low, tail = high - end * target;
    // OpenCV leaves out parts of a pixel of 0.001 and less.
    const bool has_head = 1000 * head > target, has_tail = 1000 * tail > target;
    const float unit = float(source);
    const float head_weight = float(head) / unit;
    const float body = float(target) / unit;
    const float tail_weight = float(min(tail, target)) / unit;
    const bool has_body = start < end;
    AreaSpan span;
    span.start = has_head ? start - 1 : start;
    span.end = has_tail ? end + 1 : end;
    span.first = has_head ? head_weight : has_body ? body : tail_weight;
    span.body = body;
    span.last = has_tail ? tail_weight : has_body ? body : head_weight;
    return span;
}
