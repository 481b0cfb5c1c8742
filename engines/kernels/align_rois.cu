// RoIAlign (He et al., ICCV 2017), aligned: maps [B, C, h, w] and boxes [B, R, 4] to regions [B * R, C, s, s].
// The twin of mgts_trt/stages/align_rois.py.
//
// A bin is a sum over 2n taps down and 2n across (sampling.cuh), worked out once a block in shared memory. A block takes
// one region and CHANNELS channels. A bin's taps across are shared out to neighbouring threads, one column of cells
// each: so what a warp reads at a time lies in a row or two of a map, where a bin a thread would read as many rows as a
// warp has rows of bins. Each thread goes down its column for TOGETHER channels, whose loads wait for nothing; then the
// threads of a column of bins add up what they have, a row of bins for each to write, so that a store writes whole runs.
//
// Bytes: the maps and boxes once, B * C * h * w * sizeof(T) + 16 * B * R, and the regions, B * R * C * s * s * sizeof(Out).
// The regions are the most by far (`paper`: 300 x 512 x 49). The maps come from the caches, 4 n * n loads a bin and
// channel, whose rate bounds the kernel where the memory is fast.
#include "sampling.cuh"

constexpr int THREADS = 256;
constexpr int CHANNELS = 32;
constexpr int TOGETHER = 4;
constexpr int APART = CHANNELS / TOGETHER;
constexpr unsigned ALL_LANES = 0xffffffffu;

// Of LANES neighbouring threads with as many values each, thread i gets the sum of their values i.
template <int LANES>
__device__ inline float share_sums(float (&values)[LANES], int lane) {
#pragma unroll
    for (int half = LANES / 2; half > 0; half /= 2) {
        const bool upper = lane & half;
#pragma unroll
        for (int i = 0; i < half; ++i) {
            const float given = upper ? values[i] : values[i + half];
            const float kept = upper ? values[i + half] : values[i];
            values[i] = kept + __shfl_xor_sync(ALL_LANES, given, half);
        }
    }
    return values[0];
}

// One region of `live` channels: `maps` [live, area] by its taps to `bins` [live, size, size].
template <int SAMPLES, class T, class Out>
__device__ inline void align(const T* maps, long long area, int live, const Tap* rows, const Tap* columns, int size,
                             Out* bins) {
    constexpr int TAPS = 2 * SAMPLES;                               // of a bin, across and down
    constexpr int LANES = SAMPLES == 1 ? 2 : SAMPLES == 2 ? 4 : 8;  // threads that share a bin, at least as many
    constexpr int AT_ONCE = SAMPLES <= 2 ? TAPS : 2;                // taps whose loads are under way together

    const int lane = threadIdx.x % LANES, jobs = APART * size;
    // A job is a column of bins. All threads of a warp go on to the end, for the others' sake, with jobs or without.
    for (int first = 0; first < jobs * LANES; first += blockDim.x) {
        const int job = (first + int(threadIdx.x)) / LANES, column = job % size, channel = job / size;
        const Tap across = job < jobs && lane < TAPS ? columns[column * TAPS + lane] : Tap{0, 0.0f};
        const T* cells[TOGETHER];
#pragma unroll
        for (int c = 0; c < TOGETHER; ++c) {
            cells[c] = maps + min(channel + c * APART, live - 1) * area + across.offset / sizeof(T);
        }
        for (int top = 0; top < size; top += LANES) {
            float sums[TOGETHER][LANES];
#pragma unroll
            for (int r = 0; r < LANES; ++r) {
#pragma unroll
                for (int c = 0; c < TOGETHER; ++c) sums[c][r] = 0.0f;
                if (top + r >= size) continue;
#pragma unroll AT_ONCE
                for (int t = 0; t < TAPS; ++t) {
                    const Tap down = rows[(top + r) * TAPS + t];
#pragma unroll
                    for (int c = 0; c < TOGETHER; ++c) {
                        const float value = read(cells[c], down.offset);
                        sums[c][r] = fmaf(value, across.weight * down.weight, sums[c][r]);
                    }
                }
                if (TAPS < LANES && lane >= TAPS) {  // a weight of 0 is not enough: the value may be no number
#pragma unroll
                    for (int c = 0; c < TOGETHER; ++c) sums[c][r] = 0.0f;
                }
            }
            const int row = top + lane;
#pragma unroll
            for (int c = 0; c < TOGETHER; ++c) {
                if (c * APART >= live) break;
                const float mean = share_sums(sums[c], lane) * (1.0f / float(SAMPLES * SAMPLES));
                const int to = channel + c * APART;
                if (job < jobs && row < size && to < live) store(bins + (to * size + row) * size + column, mean);
            }
        }
    }
}

// Grid: regions × groups of channels × pictures.
template <class T, class Out>
__device__ inline void align_block(const T* features, const float* boxes, int regions, int channels, int height,
                                   int width, int size, int samples, float stride, Out* out) {
    __shared__ Tap rows[2 * MAX_POINTS], columns[2 * MAX_POINTS];

    const long long region = static_cast<long long>(blockIdx.z) * regions + blockIdx.x;
    place_points(boxes + 4 * region, size * samples, stride, height, width, sizeof(T), rows, columns);

    const int start = blockIdx.y * CHANNELS, live = min(CHANNELS, channels - start);
    const long long area = static_cast<long long>(height) * width;
    const T* maps = features + (static_cast<long long>(blockIdx.z) * channels + start) * area;
    Out* bins = out + (region * channels + start) * size * size;
    if (samples == 1) align<1>(maps, area, live, rows, columns, size, bins);
    if (samples == 2) align<2>(maps, area, live, rows, columns, size, bins);
    if (samples == 3) align<3>(maps, area, live, rows, columns, size, bins);
    if (samples == 4) align<4>(maps, area, live, rows, columns, size, bins);
}

#define ALIGN_ROIS_TO(NAME, Out, T)                                                                               \
    extern "C" __global__ void __launch_bounds__(THREADS)                                                         \
        NAME(const T* __restrict__ features, const float* __restrict__ boxes, int regions, int channels,          \
             int height, int width, int size, int samples, float stride, Out* __restrict__ out) {                 \
        align_block(features, boxes, regions, channels, height, width, size, samples, stride, out);               \
    }
#define ALIGN_ROIS(TO_FLOAT, TO_HALF, T) \
    ALIGN_ROIS_TO(TO_FLOAT, float, T)    \
    ALIGN_ROIS_TO(TO_HALF, Half, T)

ALIGN_ROIS(align_rois_f32_f32, align_rois_f32_f16, float)
ALIGN_ROIS(align_rois_f16_f32, align_rois_f16_f16, Half)
