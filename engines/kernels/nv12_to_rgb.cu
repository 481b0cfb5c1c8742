// NV12, as NVIDIA's video decoder gives frames, to RGB, turned by quarters: in one pass, in integers of which 2^20 is one.
// The twin of mgts_trt/stages/nv12.py. One thread a pixel of the result, tiles of 32 × 8.
#include "portable.cuh"

constexpr int TILE_W = 32;
constexpr int TILE_H = 8;
constexpr int BITS = 20;

__device__ inline Byte to_byte(int value) { return Byte(clamp(value >> BITS, 0, 255)); }

extern "C" __global__ void __launch_bounds__(TILE_W* TILE_H)
    nv12_to_rgb(const Byte* __restrict__ luma, int luma_pitch, const Byte* __restrict__ chroma, int chroma_pitch,
                int height, int width, int turns, int black, int gain, int red_v, int green_u, int green_v, int blue_u,
                Byte* __restrict__ rgb) {
    const bool lies = turns % 2 == 1;
    const int out_height = lies ? width : height, out_width = lies ? height : width;
    const int x = blockIdx.x * TILE_W + threadIdx.x, y = blockIdx.y * TILE_H + threadIdx.y;
    if (x >= out_width || y >= out_height) return;
    // Clockwise: after one quarter the left column, upwards, is the first row.
    const int row = turns == 0 ? y : turns == 1 ? height - 1 - x : turns == 2 ? height - 1 - y : x;
    const int column = turns == 0 ? x : turns == 1 ? y : turns == 2 ? width - 1 - x : width - 1 - y;

    const Byte* colour = chroma + static_cast<long long>(row / 2) * chroma_pitch + column / 2 * 2;
    const int u = colour[0] - 128, v = colour[1] - 128;
    const int light = max(luma[static_cast<long long>(row) * luma_pitch + column] - black, 0);
    const int bright = light * gain + (1 << (BITS - 1));
    Byte* out = rgb + (static_cast<long long>(y) * out_width + x) * 3;
    out[0] = to_byte(bright + red_v * v);
    out[1] = to_byte(bright + green_u * u + green_v * v);
    out[2] = to_byte(bright + blue_u * u);
}
