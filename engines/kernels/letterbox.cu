// Letterbox: a picture of any size onto the canvas, scaled until it fits, at the top left; the rest is padding.
// The twin of mgts_trt/stages/letterbox.py. One thread a pixel of the canvas, tiles of 32 × 8.
#include "resize.cuh"

constexpr int TILE_W = 32;
constexpr int TILE_H = 8;

struct Picture {
    const Byte* pixels;  // RGB, rows `pitch` bytes apart
    int pitch;

    __device__ const Byte* at(int y, int x) const { return pixels + static_cast<long long>(y) * pitch + 3 * x; }
};

// INTER_AREA where both sides shrink by whole factors: a mean of integers.
__device__ inline void mean_of_cell(const Picture& image, int y0, int x0, int rows, int columns, Byte* out) {
    int sum[3] = {0, 0, 0};
    for (int y = y0; y < y0 + rows; ++y) {
        const Byte* pixel = image.at(y, x0);
        for (int x = 0; x < columns; ++x, pixel += 3) {
            for (int c = 0; c < 3; ++c) sum[c] += pixel[c];
        }
    }
    const bool quarters = rows == 2 && columns == 2;  // OpenCV rounds these halves up, and all others to even
    const float scale = 1.0f / float(rows * columns);
    for (int c = 0; c < 3; ++c) {
        out[c] = Byte(quarters ? (sum[c] + 2) >> 2 : __float2int_rn(float(sum[c]) * scale));
    }
}

__device__ inline void weighted_mean(const Picture& image, const AreaSpan& rows, const AreaSpan& columns, Byte* out) {
    float sum[3] = {0.0f, 0.0f, 0.0f};
    for (int y = rows.start; y < rows.end; ++y) {
        float row[3] = {0.0f, 0.0f, 0.0f};
        const Byte* pixel = image.at(y, columns.start);
        for (int x = columns.start; x < columns.end; ++x, pixel += 3) {
            const float weight = columns.weight(x);
            for (int c = 0; c < 3; ++c) row[c] += float(pixel[c]) * weight;
        }
        const float weight = rows.weight(y);
        for (int c = 0; c < 3; ++c) sum[c] += weight * row[c];
    }
    for (int c = 0; c < 3; ++c) out[c] = Byte(clamp(__float2int_rn(sum[c]), 0, 255));
}

__device__ inline void bilinear(const Picture& image, const LinearTaps& rows, const LinearTaps& columns, Byte* out) {
    const int left = fixed_weight(1.0f - columns.weight), right = fixed_weight(columns.weight);
    const int above = fixed_weight(1.0f - rows.weight), below = fixed_weight(rows.weight);
    for (int c = 0; c < 3; ++c) {
        const int a = image.at(rows.first, columns.first)[c] * left + image.at(rows.first, columns.second)[c] * right;
        const int b = image.at(rows.second, columns.first)[c] * left + image.at(rows.second, columns.second)[c] * right;
        out[c] = fixed_blend(a, b, above, below);
    }
}

extern "C" __global__ void __launch_bounds__(TILE_W* TILE_H)
    letterbox(const Byte* __restrict__ image, int pitch, int height, int width, int content_height, int content_width,
              int pad_red, int pad_green, int pad_blue, Byte* __restrict__ canvas, int canvas_height,
              int canvas_width) {
    __shared__ AreaSpan column_spans[TILE_W], row_spans[TILE_H];
    __shared__ LinearTaps column_taps[TILE_W], row_taps[TILE_H];

    const bool shrinks = content_height < height || content_width < width;
    const int thread = threadIdx.y * TILE_W + threadIdx.x;
    const int x0 = blockIdx.x * TILE_W, y0 = blockIdx.y * TILE_H;
    // The tile's columns and rows have the same weights for all; one thread works each out.
    if (thread < TILE_W) {
        const int x = min(x0 + thread, content_width - 1);
        if (shrinks) {
            column_spans[thread] = area_span(x, width, content_width);
        } else {
            column_taps[thread] = linear_taps(x, width, content_width);
        }
    } else if (thread < TILE_W + TILE_H) {
        const int row = thread - TILE_W;
        const int y = min(y0 + row, content_height - 1);
        if (shrinks) {
            row_spans[row] = area_span(y, height, content_height);
        } else {
            row_taps[row] = linear_taps(y, height, content_height);
        }
    }
    __syncthreads();

    const int x = x0 + threadIdx.x, y = y0 + threadIdx.y;
    if (x >= canvas_width || y >= canvas_height) return;
    const Picture picture = {image, pitch};
    Byte pixel[3] = {Byte(pad_red), Byte(pad_green), Byte(pad_blue)};
    if (x < content_width && y < content_height) {
        if (!shrinks) {  // at equal size the weights are 0 and 1: a copy
            bilinear(picture, row_taps[threadIdx.y], column_taps[threadIdx.x], pixel);
        } else if (height % content_height == 0 && width % content_width == 0) {
            const int rows = height / content_height, columns = width / content_width;
            mean_of_cell(picture, y * rows, x * columns, rows, columns, pixel);
        } else {
            weighted_mean(picture, row_spans[threadIdx.y], column_spans[threadIdx.x], pixel);
        }
    }
    Byte* out = canvas + (static_cast<long long>(y) * canvas_width + x) * 3;
    for (int c = 0; c < 3; ++c) out[c] = pixel[c];
}
