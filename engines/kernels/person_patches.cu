// Foreground separation (Sec. 3.3, Algorithm 1): the pair of patches of every person, in two launches.
// The twin of mgts_trt/stages/separate.py.
//
// `separate_people`, a block a person: the expanded box, and the majority vote over the instances in it.
// `person_patches_*`, a thread a pixel of a patch: crop, mask, resize, normalise, both streams at once.
#include "resize.cuh"

constexpr int THREADS = 256;
constexpr int WARP = 32;
constexpr int TILE_W = 32;
constexpr int TILE_H = 8;
constexpr int MAX_INSTANCES = 1023;  // kernels.py checks it

struct PixelBox {
    int x1, y1, x2, y2;  // x2 and y2 are outside
};

// One axis of Algorithm 1, step 1: grown about the centre, rounded outwards, clipped, and at least one pixel.
__device__ inline void expand_axis(float low, float high, double gamma, int size, int* first, int* end) {
    const double centre = (double(low) + double(high)) / 2.0;
    const double half = fmax(double(high) - double(low), 0.0) * gamma / 2.0;
    const double start = fmin(fmax(floor(centre - half), 0.0), size - 1.0);
    *first = int(start);
    *end = int(fmin(fmax(ceil(centre + half), start + 1.0), double(size)));
}

__device__ inline PixelBox expand_box(const float* box, double gamma, int height, int width) {
    PixelBox result;
    expand_axis(box[0], box[2], gamma, width, &result.x1, &result.x2);
    expand_axis(box[1], box[3], gamma, height, &result.y1, &result.y2);
    return result;
}

__device__ inline PixelBox load_box(const int* boxes, int row) {
    return {boxes[4 * row], boxes[4 * row + 1], boxes[4 * row + 2], boxes[4 * row + 3]};
}

__device__ inline void store_box(int* boxes, int row, const PixelBox& box) {
    boxes[4 * row] = box.x1;
    boxes[4 * row + 1] = box.y1;
    boxes[4 * row + 2] = box.x2;
    boxes[4 * row + 3] = box.y2;
}

__device__ inline void vote(int* votes, int id, int pixels, int ids) {
    if (id > 0 && id <= ids) atomicAdd(&votes[id], pixels);
}

extern "C" __global__ void __launch_bounds__(THREADS)
    separate_people(const float* __restrict__ boxes, const int* __restrict__ count,
                    const InstanceId* __restrict__ instance_map, int canvas_width, int content_height,
                    int content_width, double gamma, int ids, int* __restrict__ crops, int* __restrict__ tights,
                    int* __restrict__ instances) {
    __shared__ int votes[MAX_INSTANCES + 1];
    __shared__ PixelBox crop;

    const int person = blockIdx.x, thread = threadIdx.x, warp = thread / WARP, lane = thread % WARP;
    if (person >= count[0]) return;
    for (int id = thread; id <= ids; id += THREADS) votes[id] = 0;
    if (thread == 0) {
        crop = expand_box(boxes + 4 * person, gamma, content_height, content_width);
        store_box(crops, person, crop);
        store_box(tights, person, expand_box(boxes + 4 * person, 1.0, content_height, content_width));
    }
    __syncthreads();
    if (instance_map == nullptr) {  // mode `box`: the tight box is the mask
        if (thread == 0) instances[person] = 0;
        return;
    }
    // A warp takes a band of rows and each lane walks down a column: reads are coalesced, and a run of one instance
    // costs one vote, so that hardly any two threads meet at a counter.
    const int warps = THREADS / WARP, height = crop.y2 - crop.y1;
    const int top = crop.y1 + height * warp / warps, bottom = crop.y1 + height * (warp + 1) / warps;
    for (int x = crop.x1 + lane; x < crop.x2; x += WARP) {
        int id = 0, run = 0;
        for (int y = top; y < bottom; ++y) {
            const int here = instance_map[static_cast<long long>(y) * canvas_width + x];
            if (here != id) {
                vote(votes, id, run, ids);
                id = here;
                run = 0;
            }
            ++run;
        }
        vote(votes, id, run, ids);
    }
    __syncthreads();
    if (warp != 0) return;
    int best = 0, most = 0;
    for (int id = 1 + lane; id <= ids; id += WARP) {
        if (votes[id] > most) {
            most = votes[id];
            best = id;
        }
    }
    for (int step = WARP / 2; step > 0; step /= 2) {
        const int other = __shfl_xor_sync(0xffffffffu, best, step);
        const int others = __shfl_xor_sync(0xffffffffu, most, step);
        if (others > most || (others == most && other < best)) {  // of equals the better-scored instance
            most = others;
            best = other;
        }
    }
    if (lane == 0) instances[person] = best;
}

struct Mask {
    const InstanceId* instance_map;
    int canvas_width;
    int instance;  // 0: the tight box
    PixelBox tight;

    __device__ bool holds(int y, int x) const {
        if (instance) return instance_map[static_cast<long long>(y) * canvas_width + x] == instance;
        return x >= tight.x1 && x < tight.x2 && y >= tight.y1 && y < tight.y2;
    }
};

template <class T>
__device__ inline void make_patches(const Byte* canvas, int canvas_width, const InstanceId* instance_map,
                                    const int* count, int first, const int* crops, const int* tights,
                                    const int* instances, const float* mean, const float* std, T* foreground,
                                    T* original, int patch_height, int patch_width) {
    __shared__ LinearTaps columns[TILE_W], rows[TILE_H];

    const int person = first + blockIdx.z;
    if (person >= count[0]) return;
    const PixelBox crop = load_box(crops, person);
    const int thread = threadIdx.y * TILE_W + threadIdx.x;
    if (thread < TILE_W) {
        columns[thread] = linear_taps(blockIdx.x * TILE_W + thread, crop.x2 - crop.x1, patch_width);
    } else if (thread < TILE_W + TILE_H) {
        const int row = thread - TILE_W;
        rows[row] = linear_taps(blockIdx.y * TILE_H + row, crop.y2 - crop.y1, patch_height);
    }
    __syncthreads();

    const int x = blockIdx.x * TILE_W + threadIdx.x, y = blockIdx.y * TILE_H + threadIdx.y;
    if (x >= patch_width || y >= patch_height) return;
    const LinearTaps column = columns[threadIdx.x], row = rows[threadIdx.y];
    const Mask mask = {instance_map, canvas_width, instances[person], load_box(tights, person)};
    float seen[2][2][3], person_only[2][2][3];
    for (int i = 0; i < 2; ++i) {
        for (int j = 0; j < 2; ++j) {
            const int sy = crop.y1 + (i ? row.second : row.first), sx = crop.x1 + (j ? column.second : column.first);
            const Byte* pixel = canvas + (static_cast<long long>(sy) * canvas_width + sx) * 3;
            const bool inside = foreground != nullptr && mask.holds(sy, sx);
            for (int c = 0; c < 3; ++c) {
                seen[i][j][c] = float(pixel[c]);
                person_only[i][j][c] = inside ? seen[i][j][c] : 0.0f;
            }
        }
    }
    for (int c = 0; c < 3; ++c) {
        const long long at = ((static_cast<long long>(blockIdx.z) * 3 + c) * patch_height + y) * patch_width + x;
        const float above = interpolate(seen[0][0][c], seen[0][1][c], column.weight);
        const float below = interpolate(seen[1][0][c], seen[1][1][c], column.weight);
        store(original + at, (interpolate(above, below, row.weight) - mean[c]) / std[c]);
        if (foreground != nullptr) {
            const float f_above = interpolate(person_only[0][0][c], person_only[0][1][c], column.weight);
            const float f_below = interpolate(person_only[1][0][c], person_only[1][1][c], column.weight);
            store(foreground + at, (interpolate(f_above, f_below, row.weight) - mean[c]) / std[c]);
        }
    }
}

#define PERSON_PATCHES(NAME, T)                                                                                     \
    extern "C" __global__ void __launch_bounds__(TILE_W* TILE_H)                                                    \
        NAME(const Byte* __restrict__ canvas, int canvas_width, const InstanceId* __restrict__ instance_map,        \
             const int* __restrict__ count, int first, const int* __restrict__ crops,                               \
             const int* __restrict__ tights, const int* __restrict__ instances, float mean_red, float mean_green,   \
             float mean_blue, float std_red, float std_green, float std_blue, T* __restrict__ foreground,           \
             T* __restrict__ original, int patch_height, int patch_width) {                                         \
        const float mean[3] = {mean_red, mean_green, mean_blue}, std[3] = {std_red, std_green, std_blue};           \
        make_patches(canvas, canvas_width, instance_map, count, first, crops, tights, instances, mean, std,         \
                     foreground, original, patch_height, patch_width);                                              \
    }

PERSON_PATCHES(person_patches_f32, float)
PERSON_PATCHES(person_patches_f16, Half)
