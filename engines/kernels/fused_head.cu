// MGTS's head: F- and O-feature maps to the L2-normalised embedding (Sec. 3.3, Eq. 1-2), in two launches.
// The twin of mgts_trt/stages/head.py.
//
// Re-weighting scales whole channels, so GAP(F · w) = w · GAP(F): the maps are read once, and the rest is three small
// matrix products. Those are bound by reading the weights (`paper`: 2.6 M numbers, more than the maps of 8 people), so
// each weight is read by one block, for PEOPLE persons at a time, and the blocks share the work by channels:
//
//   head_squeeze   pools its CHUNK channels and multiplies them with its rows of the squeeze matrix
//   head_embed     excites its channels, re-weights them, and multiplies them with its rows of the FC matrix
//
// The last block of a group of persons to finish adds up what the others left, in a fixed order: results do not depend
// on which one that was. Between the two launches every block needs the whole hidden layer; one launch would need a
// barrier over the grid, hence all its blocks at once on the GPU.
//
// Matrices lie as [inputs, outputs]: the transpose of PyTorch's and ONNX Gemm's, so that neighbouring threads, which
// make neighbouring outputs, read neighbouring weights.
#include "portable.cuh"

constexpr int THREADS = 256;
constexpr int WARP = 32;
constexpr int PEOPLE = 4;
constexpr int CHUNK = 128;
constexpr unsigned ALL_LANES = 0xffffffffu;

__device__ inline float sum_of(uint4 bits, float) {
    return (__uint_as_float(bits.x) + __uint_as_float(bits.y)) + (__uint_as_float(bits.z) + __uint_as_float(bits.w));
}

__device__ inline float sum_of_halves(unsigned bits) {
    return half_to_float((unsigned short)(bits & 0xffffu)) + half_to_float((unsigned short)(bits >> 16));
}

__device__ inline float sum_of(uint4 bits, Half) {
    return (sum_of_halves(bits.x) + sum_of_halves(bits.y)) + (sum_of_halves(bits.z) + sum_of_halves(bits.w));
}

// This lane's share of the sum of one channel's `area` values; `lanes` lanes share a channel.
template <class T>
__device__ inline float sum_share(const T* values, int area, bool vectors, int lane, int lanes) {
    float sum = 0.0f;
    if (vectors) {
        const uint4* packed = reinterpret_cast<const uint4*>(values);
        for (int i = lane; i < area / int(16 / sizeof(T)); i += lanes) sum += sum_of(packed[i], T());
    } else {
        for (int i = lane; i < area; i += lanes) sum += to_float(values[i]);
    }
    return sum;
}

// Global average pooling of `length` channels from `start` on, of the concatenation of F and O, for `live` persons
// from `person` on.
template <class T>
__device__ inline void pool(const T* f, const T* o, int channels, int area, int person, int live, int start,
                            int length, float (*pooled)[CHUNK]) {
    const int lane = threadIdx.x % WARP, warp = threadIdx.x / WARP;
    const bool aligned = (reinterpret_cast<size_t>(f) | reinterpret_cast<size_t>(o)) % 16 == 0;
    const bool vectors = aligned && area * sizeof(T) % 16 == 0;
    const int loads = vectors ? int(area * sizeof(T) / 16) : area;
    int lanes = 1;  // that share a channel: as many as there are loads, at most a warp
    while (lanes < loads && lanes < WARP) lanes *= 2;
    for (int base = warp * (WARP / lanes); base < PEOPLE * CHUNK; base += THREADS / lanes) {
        const int item = base + lane / lanes;
        const int p = item / CHUNK, c = item % CHUNK;
        float sum = 0.0f;
        if (p < live && c < length) {
            const int channel = start + c;
            const T* map = channel < channels ? f : o;
            const long long row =
                static_cast<long long>(person + p) * channels + (channel < channels ? channel : channel - channels);
            sum = sum_share(map + row * area, area, vectors, lane % lanes, lanes);
        }
        for (int step = lanes / 2; step > 0; step /= 2) sum += __shfl_xor_sync(ALL_LANES, sum, step);
        if (lane % lanes == 0) pooled[p][c] = sum / float(area);
    }
}

// How many threads share one output: the block is never mostly idle where a matrix is narrow. kernels.py counts alike.
__device__ inline int shares_of(int outputs) { return outputs < THREADS ? THREADS / outputs : 1; }

// A chunk's part of the products: values [PEOPLE, length] · weights [length, outputs] → [shares, PEOPLE, outputs].
template <class T>
__device__ inline void multiply(const float (*values)[CHUNK], int length, const T* weights, int outputs, int live,
                                float* products) {
    const int shares = shares_of(outputs);
    for (int job = threadIdx.x; job < shares * outputs; job += THREADS) {
        const int share = job / outputs, output = job % outputs;
        float sums[PEOPLE] = {0.0f, 0.0f, 0.0f, 0.0f};
#pragma unroll 8
        for (int c = share; c < length; c += shares) {
            const float weight = to_float(weights[static_cast<long long>(c) * outputs + output]);
#pragma unroll
            for (int p = 0; p < PEOPLE; ++p) sums[p] = fmaf(values[p][c], weight, sums[p]);
        }
#pragma unroll
        for (int p = 0; p < PEOPLE; ++p) {
            if (p < live) products[(share * PEOPLE + p) * outputs + output] = sums[p];
        }
    }
}

// One output's products of all chunks and shares, added up. Past L1, which does not see other blocks' writes.
__device__ inline float add_up(const float* products, int terms, int outputs, int p, int output) {
    float sum = 0.0f;
#pragma unroll 8
    for (int i = 0; i < terms; ++i) sum += __ldcg(products + (i * PEOPLE + p) * outputs + output);
    return sum;
}

// Whether all other blocks that count on `counter` have finished writing. Leaves the counter at 0 for the next launch.
__device__ inline bool is_last_block(int* counter, int blocks) {
    __shared__ bool last;
    __threadfence();
    __syncthreads();
    if (threadIdx.x == 0) {
        last = atomicAdd(counter, 1) == blocks - 1;
        if (last) *counter = 0;
    }
    __syncthreads();
    if (last) __threadfence();
    return last;
}

// Grid: groups of persons × chunks of channels. Groups come first, so that blocks that run at the same time read the
// same weights.
template <class T>
__device__ inline void squeeze_chunk(const T* f, const T* o, int people, int channels, int area, const T* squeeze,
                                     int width, float* pooled, float* hidden, float* products, int* counters) {
    __shared__ float values[PEOPLE][CHUNK];

    const int group = blockIdx.x, person = group * PEOPLE, live = min(PEOPLE, people - person);
    const int start = blockIdx.y * CHUNK, length = min(CHUNK, 2 * channels - start);
    pool(f, o, channels, area, person, live, start, length, values);
    __syncthreads();
    for (int i = threadIdx.x; i < live * CHUNK; i += THREADS) {
        const int p = i / CHUNK, c = i % CHUNK;
        if (c < length) pooled[static_cast<long long>(person + p) * 2 * channels + start + c] = values[p][c];
    }
    const int chunks = gridDim.y, shares = shares_of(width);
    float* of_group = products + static_cast<long long>(group) * chunks * shares * PEOPLE * width;
    multiply(values, length, squeeze + static_cast<long long>(start) * width, width, live,
             of_group + blockIdx.y * shares * PEOPLE * width);
    if (!is_last_block(counters + group, chunks)) return;
    for (int i = threadIdx.x; i < live * width; i += THREADS) {
        const int p = i / width, output = i % width;
        hidden[(person + p) * width + output] = fmaxf(add_up(of_group, chunks * shares, width, p, output), 0.0f);
    }
}

template <class T>
__device__ inline void embed_chunk(const float* pooled, const float* hidden, int people, int channels, int width,
                                   const T* excite, const T* fc, int dimensions, float* products, int* counters,
                                   float* embedding) {
    constexpr int HALVES = THREADS / CHUNK;  // threads that share a channel's excitation
    __shared__ float excited[HALVES][PEOPLE][CHUNK], values[PEOPLE][CHUNK];

    const int group = blockIdx.x, person = group * PEOPLE, live = min(PEOPLE, people - person);
    const int start = blockIdx.y * CHUNK, length = min(CHUNK, 2 * channels - start);
    const int c = threadIdx.x % CHUNK, share = threadIdx.x / CHUNK;
    float sums[PEOPLE] = {0.0f, 0.0f, 0.0f, 0.0f};
    if (c < length) {
#pragma unroll 4
        for (int i = share; i < width; i += HALVES) {
            const float weight = to_float(excite[static_cast<long long>(i) * 2 * channels + start + c]);
#pragma unroll
            for (int p = 0; p < PEOPLE; ++p) {
                if (p < live) sums[p] = fmaf(hidden[(person + p) * width + i], weight, sums[p]);
            }
        }
    }
#pragma unroll
    for (int p = 0; p < PEOPLE; ++p) excited[share][p][c] = sums[p];
    __syncthreads();
    for (int p = share; p < PEOPLE; p += HALVES) {
        float value = 0.0f;
        if (p < live && c < length) {
            float logit = 0.0f;
            for (int i = 0; i < HALVES; ++i) logit += excited[i][p][c];
            value = pooled[static_cast<long long>(person + p) * 2 * channels + start + c] / (1.0f + expf(-logit));
        }
        values[p][c] = value;
    }
    __syncthreads();
    const int chunks = gridDim.y, shares = shares_of(dimensions);
    float* of_group = products + static_cast<long long>(group) * chunks * shares * PEOPLE * dimensions;
    multiply(values, length, fc + static_cast<long long>(start) * dimensions, dimensions, live,
             of_group + blockIdx.y * shares * PEOPLE * dimensions);
    if (!is_last_block(counters + group, chunks)) return;
    for (int i = threadIdx.x; i < live * dimensions; i += THREADS) {
        const int p = i / dimensions, output = i % dimensions;
        embedding[(person + p) * dimensions + output] =
            add_up(of_group, chunks * shares, dimensions, p, output);
    }
    __syncthreads();
    const int p = threadIdx.x / WARP, lane = threadIdx.x % WARP;
    if (p >= live) return;
    float* row = embedding + (person + p) * dimensions;
    float squares = 0.0f;
    for (int i = lane; i < dimensions; i += WARP) squares = fmaf(row[i], row[i], squares);
    for (int step = WARP / 2; step > 0; step /= 2) squares += __shfl_xor_sync(ALL_LANES, squares, step);
    const float norm = fmaxf(sqrtf(squares), 1e-12f);
    for (int i = lane; i < dimensions; i += WARP) row[i] /= norm;
}

#define FUSED_HEAD(SQUEEZE, EMBED, T)                                                                               \
    extern "C" __global__ void __launch_bounds__(THREADS)                                                           \
        SQUEEZE(const T* __restrict__ f, const T* __restrict__ o, int people, int channels, int area,               \
                const T* __restrict__ squeeze, int width, float* pooled, float* hidden, float* products,            \
                int* counters) {                                                                                    \
        squeeze_chunk(f, o, people, channels, area, squeeze, width, pooled, hidden, products, counters);            \
    }                                                                                                               \
    extern "C" __global__ void __launch_bounds__(THREADS)                                                           \
        EMBED(const float* __restrict__ pooled, const float* __restrict__ hidden, int people, int channels,         \
              int width, const T* __restrict__ excite, const T* __restrict__ fc, int dimensions, float* products,   \
              int* counters, float* embedding) {                                                                    \
        embed_chunk(pooled, hidden, people, channels, width, excite, fc, dimensions, products, counters, embedding); \
    }

FUSED_HEAD(head_squeeze_f32, head_embed_f32, float)
FUSED_HEAD(head_squeeze_f16, head_embed_f16, Half)
