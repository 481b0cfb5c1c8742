// The people among the detector's rows: scored well enough, and on the picture rather than on the padding.
// The twin of `mgts_trt.runtime.pipeline.PersonSearch._select`. One block, in order, so that the best stay first.
#include "portable.cuh"

constexpr int THREADS = 256;
constexpr int WARP = 32;

extern "C" __global__ void __launch_bounds__(THREADS)
    select_people(const float* __restrict__ boxes, const float* __restrict__ scores, int rows, float threshold,
                  int content_height, int content_width, int most, float* __restrict__ people,
                  float* __restrict__ people_scores, int* __restrict__ count) {
    __shared__ int warp_totals[THREADS / WARP];

    const int thread = threadIdx.x, warp = thread / WARP, lane = thread % WARP;
    const float width = float(content_width), height = float(content_height);
    int found = 0;
    for (int base = 0; base < rows; base += THREADS) {
        const int row = base + thread;
        bool keep = false;
        float box[4], score = 0.0f;
        if (row < rows) {
            for (int i = 0; i < 4; ++i) box[i] = clamp(boxes[4 * row + i], 0.0f, i % 2 ? height : width);
            score = scores[row];
            // Rows of score 0 are padding of the detector's fixed number of places.
            keep = box[2] - box[0] >= 1.0f && box[3] - box[1] >= 1.0f && score >= threshold && score > 0.0f;
        }
        const unsigned kept = __ballot_sync(0xffffffffu, keep);
        if (lane == 0) warp_totals[warp] = __popc(kept);
        __syncthreads();
        int place = found + __popc(kept & ((1u << lane) - 1u));
        for (int w = 0; w < THREADS / WARP; ++w) {
            if (w < warp) place += warp_totals[w];
            found += warp_totals[w];
        }
        if (keep && place < most) {
            for (int i = 0; i < 4; ++i) people[4 * place + i] = box[i];
            people_scores[place] = score;
        }
        __syncthreads();  // the next round writes warp_totals
    }
    for (int place = found + thread; place < most; place += THREADS) {
        for (int i = 0; i < 4; ++i) people[4 * place + i] = 0.0f;
        people_scores[place] = 0.0f;
    }
    if (thread == 0) {
        count[0] = min(found, most);
        count[1] = found;
    }
}
