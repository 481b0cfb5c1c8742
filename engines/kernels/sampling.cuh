// Maps read between their cells, bilinearly, at the middles of equal parts of a region on either axis.
// The twin of axis_points and between in mgts_trt/stages/align_rois.py.
#pragma once

#include "portable.cuh"

constexpr int MAX_POINTS = 128;  // of a region on one axis

// A point on one axis, between two neighbouring cells; where they lie is counted in elements of the map.
struct AxisPoint {
    int low, high;
    float weight;  // of `high`; `low` has the rest
};

// The middle of part `index` of `points` equal ones, from `start` to `end` pixels. `pitch` elements lie between cells.
__device__ inline AxisPoint axis_point(float start, float end, int index, int points, float stride, int extent,
                                       int pitch) {
    // A cell's value belongs to its centre: half a cell off.
    const float first = start / stride - 0.5f, last = end / stride - 0.5f;
    const float cell = first + (last - first) * ((float(index) + 0.5f) / float(points));
    // Beyond the outermost cells' centres the border's value; what is no number fmaxf puts on the first cell.
    const float inside = fminf(fmaxf(cell, 0.0f), float(extent - 1));
    const int low = int(inside);
    return {low * pitch, min(low + 1, extent - 1) * pitch, inside - float(low)};
}

// The points of a box (xyxy) on either axis, shared by the block: each thread calls this, and then finds all of them.
__device__ inline void place_points(const float* box, int points, float stride, int height, int width, AxisPoint* rows,
                                    AxisPoint* columns) {
    for (int i = threadIdx.x; i < 2 * points; i += blockDim.x) {
        const int p = i / 2;
        if (i % 2 == 0) rows[p] = axis_point(box[1], box[3], p, points, stride, height, width);
        else columns[p] = axis_point(box[0], box[2], p, points, stride, width, 1);
    }
    __syncthreads();
}

// The four cells round a point, and their weights: the same for every channel.
struct Corners {
    int offsets[4];
    float weights[4];
};

__device__ inline Corners corners(AxisPoint y, AxisPoint x) {
    const float near_y = 1.0f - y.weight, near_x = 1.0f - x.weight;
    return {{y.low + x.low, y.low + x.high, y.high + x.low, y.high + x.high},
            {near_y * near_x, near_y * x.weight, y.weight * near_x, y.weight * x.weight}};
}

// A sum with the map's value at a point added.
template <class T>
__device__ inline float add_point(float sum, const T* map, const Corners& point) {
#pragma unroll
    for (int k = 0; k < 4; ++k) sum = fmaf(to_float(map[point.offsets[k]]), point.weights[k], sum);
    return sum;
}
