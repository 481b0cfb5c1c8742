// RoIAlign (He et al., ICCV 2017), aligned: maps [B, C, h, w] and boxes [B, R, 4] to regions [B * R, C, s, s].
// The twin of mgts_trt/stages/align_rois.py.
//
// A block takes one region and CHANNELS channels. Where the region's points lie is worked out once, on each axis on its
// own: n * s rows and n * s columns, in shared memory. A thread holds its bin and adds up TOGETHER channels of it point
// by point, so that four offsets and four weights serve 4 * TOGETHER loads that wait for nothing.
//
// Bytes: the maps and boxes once, B * C * h * w * sizeof(T) + 16 * B * R, and the regions, B * R * C * s * s * sizeof(Out).
// The regions are the most by far (`paper`: 300 x 512 x 49), and neighbouring threads write neighbouring ones, halves
// two at a time. The maps come from the caches: 4 n * n loads a bin and channel, whose rate bounds the kernel where the
// memory is fast.
#include "sampling.cuh"

constexpr int THREADS = 256;
constexpr int CHANNELS = 32;
constexpr int TOGETHER = 4;
constexpr int APART = CHANNELS / TOGETHER;  // even, so that pairs of halves lie on whole words

// Writes as many of a thread's neighbouring outputs as are left.
__device__ inline void store_some(float* out, const float* values, int left, bool) {
    if (left > 0) *out = values[0];
}

__device__ inline void store_some(Half* out, const float* values, int left, bool words) {
    if (words && left > 1) {
        const unsigned low = float_to_half(values[0]), high = float_to_half(values[1]);
        *reinterpret_cast<unsigned*>(out) = high << 16 | low;
    } else {
        if (left > 0) store(out, values[0]);
        if (left > 1) store(out + 1, values[1]);
    }
}

// Grid: regions of all pictures × groups of channels.
template <class T, class Out>
__device__ inline void align(const T* features, const float* boxes, int regions, int channels, int height, int width,
                             int size, int samples, float stride, Out* out) {
    constexpr int PACK = 4 / sizeof(Out);
    __shared__ AxisPoint rows[MAX_POINTS], columns[MAX_POINTS];

    const int region = blockIdx.x, picture = region / regions;
    const int start = blockIdx.y * CHANNELS, live = min(CHANNELS, channels - start);
    place_points(boxes + 4ll * region, size * samples, stride, height, width, rows, columns);

    const int bins = size * size, step = APART * bins;
    const long long area = static_cast<long long>(height) * width;
    const T* maps = features + (static_cast<long long>(picture) * channels + start) * area;
    Out* outputs = out + (static_cast<long long>(region) * channels + start) * bins;
    const bool words = reinterpret_cast<size_t>(outputs) % 4 == 0;
    const float share = 1.0f / float(samples * samples);
    // Outputs are counted through the block's channels; a thread's next channel is APART behind, the bin the same.
    for (int first = PACK * threadIdx.x; first < step; first += PACK * blockDim.x) {
        float means[TOGETHER][PACK];
#pragma unroll
        for (int p = 0; p < PACK; ++p) {
            const int channel = (first + p) / bins, bin = (first + p) % bins;
            const AxisPoint* y = rows + bin / size * samples;
            const AxisPoint* x = columns + bin % size * samples;
            const T* map[TOGETHER];
            float sums[TOGETHER];
#pragma unroll
            for (int c = 0; c < TOGETHER; ++c) {
                map[c] = maps + min(channel + c * APART, live - 1) * area;
                sums[c] = 0.0f;
            }
            for (int i = 0; i < samples; ++i) {
                for (int j = 0; j < samples; ++j) {
                    const Corners point = corners(y[i], x[j]);
#pragma unroll
                    for (int c = 0; c < TOGETHER; ++c) sums[c] = add_point(sums[c], map[c], point);
                }
            }
#pragma unroll
            for (int c = 0; c < TOGETHER; ++c) means[c][p] = sums[c] * share;
        }
#pragma unroll
        for (int c = 0; c < TOGETHER; ++c) {
            const int output = first + c * step;
            store_some(outputs + output, means[c], live * bins - output, words);
        }
    }
}

#define ALIGN_ROIS_TO(NAME, Out, T)                                                                             \
    extern "C" __global__ void __launch_bounds__(THREADS)                                                       \
        NAME(const T* __restrict__ features, const float* __restrict__ boxes, int regions, int channels,        \
             int height, int width, int size, int samples, float stride, Out* __restrict__ out) {               \
        align(features, boxes, regions, channels, height, width, size, samples, stride, out);                   \
    }
#define ALIGN_ROIS(TO_FLOAT, TO_HALF, T) \
    ALIGN_ROIS_TO(TO_FLOAT, float, T)    \
    ALIGN_ROIS_TO(TO_HALF, Half, T)

ALIGN_ROIS(align_rois_f32_f32, align_rois_f32_f16, float)
ALIGN_ROIS(align_rois_f16_f32, align_rois_f16_f16, Half)
