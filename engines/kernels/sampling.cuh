// Maps read between their cells, bilinearly, at the middles of equal parts of a region on either axis.
// The twin of axis_points and between in mgts_trt/stages/align_rois.py.
//
// A point reads two rows and two columns of cells. So on each axis on its own a region is a list of taps, two a point:
// which cell, and by what weight. What a point is worth is the sum of its rows' and columns' cells, by both weights.
#pragma once

#include "portable.cuh"

constexpr int MAX_POINTS = 128;  // of a region on one axis

struct Tap {
    unsigned offset;  // bytes
    float weight;
};

// The two taps of the middle of part `index` of `points` equal ones, from `start` to `end` pixels. `pitch` bytes lie
// between two cells.
__device__ inline void place_point(float start, float end, int index, int points, float stride, int extent,
                                   unsigned pitch, Tap* taps) {
    // A cell's value belongs to its centre: half a cell off.
    const float first = start / stride - 0.5f, last = end / stride - 0.5f;
    const float cell = first + (last - first) * ((float(index) + 0.5f) / float(points));
    // Beyond the outermost cells' centres the border's value; what is no number fmaxf puts on the first cell.
    const float inside = fminf(fmaxf(cell, 0.0f), float(extent - 1));
    const int low = int(inside);
    const float far = inside - float(low);
    taps[2 * index] = {low * pitch, 1.0f - far};
    taps[2 * index + 1] = {min(low + 1, extent - 1) * pitch, far};
}

// The taps of a box (xyxy) on either axis, shared by the block: each thread calls this, and then finds all of them.
__device__ inline void place_points(const float* box, int points, float stride, int height, int width,
                                    unsigned cell_bytes, Tap* rows, Tap* columns) {
    for (int i = threadIdx.x; i < 2 * points; i += blockDim.x) {
        const int p = i / 2;
        if (i % 2 == 0) place_point(box[1], box[3], p, points, stride, height, width * cell_bytes, rows);
        else place_point(box[0], box[2], p, points, stride, width, cell_bytes, columns);
    }
    __syncthreads();
}

// The cell some bytes behind `at`.
template <class T>
__device__ inline float read(const T* at, unsigned offset) {
    return to_float(*reinterpret_cast<const T*>(reinterpret_cast<const char*>(at) + offset));
}
