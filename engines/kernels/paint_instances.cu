// The instance map: the mask net's persons painted onto one canvas, the better-scored over the others.
// The twin of mgts_trt/stages/instances.py. One thread a pixel: each finds its own winner, so nothing is written twice.
#include "portable.cuh"

constexpr int TILE_W = 32;
constexpr int TILE_H = 8;
constexpr int THREADS = TILE_W * TILE_H;
constexpr int WARP = 32;

struct Box {
    float x1, y1, x2, y2;
};

__device__ inline Box box_of(const float* boxes, int row) {
    return {boxes[4 * row], boxes[4 * row + 1], boxes[4 * row + 2], boxes[4 * row + 3]};
}

__device__ inline bool is_finite(float value) { return fabsf(value) <= 3.402823466e38f; }

// Whether a box holds the centre of a pixel of columns x0 … x1 - 1 and rows y0 … y1 - 1.
__device__ inline bool touches(const Box& box, int x0, int y0, int x1, int y1) {
    if (!(is_finite(box.x1) && is_finite(box.y1) && is_finite(box.x2) && is_finite(box.y2))) return false;
    if (!(box.x1 < box.x2 && box.y1 < box.y2)) return false;
    return box.x1 <= x1 - 0.5f && box.x2 > x0 + 0.5f && box.y1 <= y1 - 0.5f && box.y2 > y0 + 0.5f;
}

// Where a pixel falls on the mask's m cells along one axis of the box: 0 … m - 1.
__device__ inline float mask_coordinate(int pixel, float low, float high, int m) {
    return clamp((pixel + 0.5f - low) / (high - low) * m - 0.5f, 0.0f, m - 1.0f);
}

__device__ inline bool is_person(const Box& box, const float* mask, int m, int x, int y, float threshold) {
    const float cx = x + 0.5f, cy = y + 0.5f;
    if (!(box.x1 <= cx && cx < box.x2 && box.y1 <= cy && cy < box.y2)) return false;
    const float u = mask_coordinate(x, box.x1, box.x2, m), v = mask_coordinate(y, box.y1, box.y2, m);
    const int left = int(u), top = int(v);
    const int right = min(left + 1, m - 1), bottom = min(top + 1, m - 1);
    const float wu = u - left, wv = v - top;
    const float above = mask[top * m + left] * (1.0f - wu) + mask[top * m + right] * wu;
    const float below = mask[bottom * m + left] * (1.0f - wu) + mask[bottom * m + right] * wu;
    return above * (1.0f - wv) + below * wv >= threshold;
}

// How many rows outrank `row`: higher scores, and equal ones that come earlier. Called by a whole warp.
__device__ inline int rank_of(const float* scores, int count, int row, int lane) {
    const float score = scores[row];
    int better = 0;
    for (int j = lane; j < count; j += WARP) better += scores[j] > score || (scores[j] == score && j < row);
    for (int step = WARP / 2; step > 0; step /= 2) better += __shfl_xor_sync(0xffffffffu, better, step);
    return better;
}

extern "C" __global__ void __launch_bounds__(THREADS)
    paint_instances(const float* __restrict__ boxes, const float* __restrict__ scores, const float* __restrict__ masks,
                    int count, int m, float score_threshold, float mask_threshold, InstanceId* __restrict__ instances,
                    int canvas_height, int canvas_width) {
    // Rows whose box touches this tile, in no particular order, and their ids.
    __shared__ int found, rows[THREADS], ids[THREADS];

    const int thread = threadIdx.y * TILE_W + threadIdx.x;
    const int x0 = blockIdx.x * TILE_W, y0 = blockIdx.y * TILE_H;
    const int x = x0 + threadIdx.x, y = y0 + threadIdx.y;
    const bool on_canvas = x < canvas_width && y < canvas_height;
    int best = 0;
    for (int base = 0; base < count; base += THREADS) {
        if (thread == 0) found = 0;
        __syncthreads();
        const int row = base + thread;
        if (row < count && scores[row] >= score_threshold &&
            touches(box_of(boxes, row), x0, y0, x0 + TILE_W, y0 + TILE_H)) {
            rows[atomicAdd(&found, 1)] = row;
        }
        __syncthreads();
        for (int i = thread / WARP; i < found; i += THREADS / WARP) {
            const int rank = rank_of(scores, count, rows[i], thread % WARP);
            if (thread % WARP == 0) ids[i] = rank + 1;
        }
        __syncthreads();
        for (int i = 0; i < found && on_canvas; ++i) {
            if (best != 0 && ids[i] > best) continue;
            const float* mask = masks + static_cast<long long>(rows[i]) * m * m;
            if (is_person(box_of(boxes, rows[i]), mask, m, x, y, mask_threshold)) best = ids[i];
        }
        __syncthreads();
    }
    if (on_canvas) instances[static_cast<long long>(y) * canvas_width + x] = InstanceId(best);
}
