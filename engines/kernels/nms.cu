// The operator Nms: greedy non-maximum suppression of boxes sorted best first, in two launches. Exact, whatever the
// boxes. The twin of mgts_trt/stages/nms.py.
//
//   nms_masks  who overlaps whom, a bit a pair, for pairs of tiles of 64 boxes on or above the diagonal
//   nms_keep   walks down the tiles, a block a picture: settles the boxes of a tile among themselves, then strikes out
//              of the later tiles what those that stay remove
//
// Masks lie as [picture, box, tile]. In the column of a later tile, a box has the boxes there that it removes if it
// stays. In the column of its own tile it has the better boxes that remove it if they stay: so each lane of a warp sees
// for its own boxes whether they stay, and one vote tells all. What lies below the diagonal is neither written nor read.
#include "portable.cuh"

typedef unsigned long long Bits;  // one for each box of a tile

constexpr int TILE = 64;
constexpr int WARP = 32;
constexpr int THREADS = 512;
constexpr int MAX_TILES = 128;
constexpr unsigned ALL_LANES = 0xffffffffu;
constexpr float TINY = 1.17549435e-38f;

__device__ inline float area_of(float4 box) { return (box.z - box.x) * (box.w - box.y); }

// Whether the IoU of two boxes is above a threshold of 0 or more. Every operation is rounded by itself, in the order of
// engines/operators/Nms.txt; the division, which most pairs can do without, is IEEE's.
__device__ inline bool overlap(float4 a, float area_a, float4 b, float area_b, float threshold) {
    const float width = fmaxf(fminf(a.z, b.z) - fmaxf(a.x, b.x), 0.0f);
    const float height = fmaxf(fminf(a.w, b.w) - fmaxf(a.y, b.y), 0.0f);
    const float intersection = width * height;
    if (!(intersection > 0.0f)) return false;
    const float joined = area_a + area_b - intersection;
    // NaN stays NaN, which is above nothing.
    return intersection / (joined < TINY ? TINY : joined) > threshold;
}

// Grid: the triangle of tiles, folded into a rectangle: row y of tiles, which has tiles - y of them, shares its line
// with row tiles - 1 - y, which has y + 1. Along z: pictures.
extern "C" __global__ void __launch_bounds__(TILE)
    nms_masks(const float* __restrict__ boxes, int count, float threshold, Bits* __restrict__ masks) {
    __shared__ float4 others[TILE];
    __shared__ float areas[TILE];

    const int tiles = (count + TILE - 1) / TILE, line = blockIdx.y, thread = threadIdx.x;
    int row = line, column = line + blockIdx.x;
    if (column >= tiles) {
        row = tiles - 1 - line;
        if (row == line) return;  // the middle line has but one row
        column += row - tiles;
    }
    const float4* of_picture = reinterpret_cast<const float4*>(boxes) + static_cast<long long>(blockIdx.z) * count;
    const int there = min(TILE, count - column * TILE);
    if (thread < there) {
        others[thread] = of_picture[column * TILE + thread];
        areas[thread] = area_of(others[thread]);
    }
    __syncthreads();
    const int box = row * TILE + thread;
    if (box >= count) return;
    const float4 mine = of_picture[box];
    const float area = area_of(mine);
    const int end = row == column ? thread : there;
    Bits bits = 0;
    for (int i = 0; i < end; ++i) {
        if (overlap(mine, area, others[i], areas[i], threshold)) bits |= Bits(1) << i;
    }
    masks[(static_cast<long long>(blockIdx.z) * count + box) * tiles + column] = bits;
}

// Grid: pictures.
extern "C" __global__ void __launch_bounds__(THREADS, 1)
    nms_keep(const Bits* __restrict__ masks, int count, float* __restrict__ keep) {
    __shared__ Bits removed[MAX_TILES], staying;

    const int tiles = (count + TILE - 1) / TILE, warp = threadIdx.x / WARP, lane = threadIdx.x % WARP;
    const Bits* of_picture = masks + static_cast<long long>(blockIdx.x) * count * tiles;
    float* kept = keep + static_cast<long long>(blockIdx.x) * count;
    // Which better ones remove a box of its own tile.
    const auto better = [=](int tile, int i) {
        const int box = tile * TILE + i;
        return box < count ? of_picture[static_cast<long long>(box) * tiles + tile] : 0;
    };
    Bits low_better = 0, high_better = 0;
    if (warp == 0) {
        low_better = better(0, lane);
        high_better = better(0, lane + WARP);
    }
    for (int tile = threadIdx.x; tile < tiles; tile += THREADS) removed[tile] = 0;
    __syncthreads();
    for (int tile = 0; tile < tiles; ++tile) {
        const int first = tile * TILE, there = min(TILE, count - first);
        if (warp == 0) {
            const Bits next_low = better(tile + 1, lane), next_high = better(tile + 1, lane + WARP);  // on their way
            const Bits left = ~removed[tile] & (~Bits(0) >> (TILE - there));
            // After k rounds the first k boxes are settled, and as a rule all after a few. What changes no more is the
            // greedy choice: it alone agrees with itself.
            Bits stays = left, before = 0;
            for (int round = 0; round < TILE && stays != before; ++round) {
                before = stays;
                const unsigned low = __ballot_sync(ALL_LANES, (low_better & before) == 0);
                const unsigned high = __ballot_sync(ALL_LANES, (high_better & before) == 0);
                stays = left & (Bits(high) << WARP | low);
            }
            for (int i = lane; i < there; i += WARP) kept[first + i] = stays >> i & 1 ? 1.0f : 0.0f;
            if (lane == 0) staying = stays;
            low_better = next_low;
            high_better = next_high;
        }
        __syncthreads();
        const Bits stays = staying;
        for (int column = tile + 1 + lane; column < tiles; column += WARP) {
            Bits gone = 0;
#pragma unroll
            for (int i = warp; i < TILE; i += THREADS / WARP) {
                if (stays >> i & 1) gone |= of_picture[static_cast<long long>(first + i) * tiles + column];
            }
            if (gone) atomicOr(&removed[column], gone);
        }
        __syncthreads();  // the next tile reads what is removed, and writes what stays
    }
}
