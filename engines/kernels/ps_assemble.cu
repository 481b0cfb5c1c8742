// Position-sensitive assembling (Li et al., CVPR 2017): maps [B, C * k * k, h, w] and boxes [B, R, 4] to assembled
// regions [B * R, C, m, m]. The twin of mgts_trt/stages/ps_assemble.py.
//
// A thread makes one cell of one channel, in the output's order; where a region's m rows and m columns lie is worked
// out once a block. All k * k groups of maps are read in one pass, and no group is ever copied.
//
// Bytes: the maps and boxes once, B * C * k * k * h * w * sizeof(T) + 16 * B * R, and the output,
// 4 * B * R * C * m * m (`paper`: 300 x 2 x 441). Four loads a cell, from the caches; a launch costs more than all this.
#include "sampling.cuh"

constexpr int THREADS = 256;

// Grid: regions × cells of all channels × pictures.
template <class T>
__device__ inline void assemble(const T* maps, const float* boxes, int regions, int channels, int height, int width,
                                int bins, int size, float stride, float* out) {
    __shared__ Tap rows[2 * MAX_POINTS], columns[2 * MAX_POINTS];

    const long long region = static_cast<long long>(blockIdx.z) * regions + blockIdx.x;
    place_points(boxes + 4 * region, size, stride, height, width, sizeof(T), rows, columns);

    const int cells = size * size, output = blockIdx.y * THREADS + threadIdx.x;
    if (output >= channels * cells) return;
    const int channel = output / cells, row = output % cells / size, column = output % size;
    const int in_bin = size / bins, bin = row / in_bin * bins + column / in_bin;
    const T* map = maps + ((static_cast<long long>(blockIdx.z) * channels + channel) * bins * bins + bin) * height * width;
    float value = 0.0f;
#pragma unroll
    for (int down = 2 * row; down < 2 * row + 2; ++down) {
#pragma unroll
        for (int across = 2 * column; across < 2 * column + 2; ++across) {
            const Tap y = rows[down], x = columns[across];
            value = fmaf(read(map, y.offset + x.offset), y.weight * x.weight, value);
        }
    }
    out[region * channels * cells + output] = value;
}

extern "C" __global__ void __launch_bounds__(THREADS)
    ps_assemble_f32(const float* __restrict__ maps, const float* __restrict__ boxes, int regions, int channels,
                    int height, int width, int bins, int size, float stride, float* __restrict__ out) {
    assemble(maps, boxes, regions, channels, height, width, bins, size, stride, out);
}

extern "C" __global__ void __launch_bounds__(THREADS)
    ps_assemble_f16(const Half* __restrict__ maps, const float* __restrict__ boxes, int regions, int channels,
                    int height, int width, int bins, int size, float stride, float* __restrict__ out) {
    assemble(maps, boxes, regions, channels, height, width, bins, size, stride, out);
}
