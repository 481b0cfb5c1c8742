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

// Grid: regions of all pictures × cells of all channels.
template <class T>
__device__ inline void assemble(const T* maps, const float* boxes, int regions, int channels, int height, int width,
                                int bins, int size, float stride, float* out) {
    __shared__ AxisPoint rows[MAX_POINTS], columns[MAX_POINTS];

    const int region = blockIdx.x, picture = region / regions;
    place_points(boxes + 4ll * region, size, stride, height, width, rows, columns);

    const int cells = size * size, output = blockIdx.y * THREADS + threadIdx.x;
    if (output >= channels * cells) return;
    const int channel = output / cells, row = output % cells / size, column = output % size;
    const int in_bin = size / bins, bin = row / in_bin * bins + column / in_bin;
    const long long map = (static_cast<long long>(picture) * channels + channel) * bins * bins + bin;
    out[static_cast<long long>(region) * channels * cells + output] =
        add_point(0.0f, maps + map * height * width, corners(rows[row], columns[column]));
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
