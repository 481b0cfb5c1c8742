// The operator SeHead: F- and O-feature maps to the L2-normalised embedding (Sec. 3.3, Eq. 1-2), in two launches.
// The twin of mgts_trt/stages/head.py.
//
// Re-weighting scales whole channels, so GAP(F · w) = w · GAP(F): the maps are read once, and the rest is three small
// matrix products. Those are bound by reading the weights (`paper`: 2.6 M numbers, more than the maps of 8 people), so
// each weight is read by one block, for PEOPLE persons at a time, and the blocks share the work by channels:
//
//   se_head_squeeze   pools its CHUNK channels and multiplies them with its columns of the squeeze matrix
//   se_head_embed     adds up the hidden layer, excites its channels, re-weights them, and multiplies them with its
//                     columns of the FC matrix; the last block of a group of persons to finish adds up what all left
//
// Sums have a fixed order: results do not depend on which block that was. Between the two launches every block needs
// the whole hidden layer; one launch would need a barrier over the grid, hence all its blocks at once on the GPU. The
// first launch clears the second's counters, so what lies in the scratch memory before does not matter.
//
// Matrices lie as ONNX's Gemm and PyTorch's Linear have them, [outputs, inputs]: LANES threads share a row, and read
// whole cache lines of it.
#include "portable.cuh"

constexpr int THREADS = 256;
constexpr int RESIDENT = 4;  // blocks of a multiprocessor at least: registers go to loads under way instead
constexpr int WARP = 32;
constexpr int PEOPLE = 4;
constexpr int CHUNK = 128;
constexpr int LANES = 8;
static_assert(PEOPLE == 4 && LANES == 8, "multiply adds up just so many");
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
// from `person` on; 0 beyond them.
template <class T>
__device__ inline void pool(const T* f, const T* o, int channels, int area, int person, int live, int start,
                            int length, float (*pooled)[CHUNK]) {
    const int lane = threadIdx.x % WARP, warp = threadIdx.x / WARP;
    const bool vectors = area * sizeof(T) % 16 == 0;
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

// Two lanes, `step` apart, hold two sums each: one lane gets the first of both added up, the other the second.
__device__ inline float part(bool second, int step, float first_sum, float second_sum) {
    const float other = __shfl_xor_sync(ALL_LANES, second ? first_sum : second_sum, step);
    return (second ? second_sum : first_sum) + other;
}

// values [PEOPLE, length] · weights [outputs, length]ᵀ, whose rows are `pitch` numbers apart: `take(person, output,
// sum)` for each of them. At most CHUNK values; from the last on they are 0.
template <class Take>
__device__ inline void multiply(const float (*values)[CHUNK], int length, const float* __restrict__ weights, int pitch,
                                int outputs, Take take) {
    const int lane = threadIdx.x % LANES;
    const bool vectors = pitch % 4 == 0;
    for (int first = 0; first < outputs; first += THREADS / LANES) {
        const int output = first + threadIdx.x / LANES;
        float sums[PEOPLE] = {0.0f, 0.0f, 0.0f, 0.0f};
        if (output < outputs) {
            const float* row = weights + static_cast<long long>(output) * pitch;
            if (vectors) {
#pragma unroll
                for (int c = 4 * lane; c < CHUNK; c += 4 * LANES) {
                    if (c >= length) continue;
                    const float4 weight = *reinterpret_cast<const float4*>(row + c);
#pragma unroll
                    for (int p = 0; p < PEOPLE; ++p) {
                        sums[p] = fmaf(values[p][c], weight.x, sums[p]);
                        sums[p] = fmaf(values[p][c + 1], weight.y, sums[p]);
                        sums[p] = fmaf(values[p][c + 2], weight.z, sums[p]);
                        sums[p] = fmaf(values[p][c + 3], weight.w, sums[p]);
                    }
                }
            } else {
                for (int c = lane; c < length; c += LANES) {
#pragma unroll
                    for (int p = 0; p < PEOPLE; ++p) sums[p] = fmaf(values[p][c], row[c], sums[p]);
                }
            }
        }
        // LANES lanes hold PEOPLE sums each: in two steps they part by people, then add up.
        const bool last_two = lane & 4, odd = lane & 2;
        const float a = part(last_two, 4, sums[0], sums[2]), b = part(last_two, 4, sums[1], sums[3]);
        float sum = part(odd, 2, a, b);
        sum += __shfl_xor_sync(ALL_LANES, sum, 1);
        if (lane % 2 == 0 && output < outputs) take(lane / 2, output, sum);
    }
}

// Whether all other blocks that count on `counter` have finished writing.
__device__ inline bool is_last_block(int* counter, int blocks) {
    __shared__ bool last;
    __threadfence();
    __syncthreads();
    if (threadIdx.x == 0) last = atomicAdd(counter, 1) == blocks - 1;
    __syncthreads();
    if (last) __threadfence();
    return last;
}

// Grid: groups of persons × chunks of channels. Groups come first, so that blocks that run at the same time read the
// same weights. Products lie as [group, chunk, PEOPLE, output].
template <class T>
__device__ inline void squeeze_chunk(const T* f, const T* o, int people, int channels, int area, const float* squeeze,
                                     int width, float* pooled, float* squeezed, int* counters) {
    __shared__ float values[PEOPLE][CHUNK];

    const int group = blockIdx.x, person = group * PEOPLE, live = min(PEOPLE, people - person), inputs = 2 * channels;
    const int start = blockIdx.y * CHUNK, length = min(CHUNK, inputs - start);
    if (blockIdx.y == 0 && threadIdx.x == 0) counters[group] = 0;
    pool(f, o, channels, area, person, live, start, length, values);
    __syncthreads();
    for (int i = threadIdx.x; i < live * CHUNK; i += THREADS) {
        const int p = i / CHUNK, c = i % CHUNK;
        if (c < length) pooled[static_cast<long long>(person + p) * inputs + start + c] = values[p][c];
    }
    float* products = squeezed + static_cast<long long>(group * gridDim.y + blockIdx.y) * PEOPLE * width;
    multiply(values, length, squeeze + start, inputs, width,
             [=](int p, int output, float sum) { products[p * width + output] = sum; });
}

#define SE_HEAD_SQUEEZE(SQUEEZE, T)                                                                                  \
    extern "C" __global__ void __launch_bounds__(THREADS, RESIDENT)                                                  \
        SQUEEZE(const T* __restrict__ f, const T* __restrict__ o, int people, int channels, int area,                \
                const float* __restrict__ squeeze, int width, float* pooled, float* squeezed, int* counters) {       \
        squeeze_chunk(f, o, people, channels, area, squeeze, width, pooled, squeezed, counters);                     \
    }

SE_HEAD_SQUEEZE(se_head_squeeze_f32, float)
SE_HEAD_SQUEEZE(se_head_squeeze_f16, Half)

extern "C" __global__ void __launch_bounds__(THREADS, RESIDENT)
    se_head_embed(const float* __restrict__ pooled, const float* __restrict__ squeezed, int people, int channels,
                  int width, const float* __restrict__ excite, const float* __restrict__ fc, int dimensions,
                  float* products, int* counters, float* embedding) {
    __shared__ float hidden[PEOPLE][CHUNK], values[PEOPLE][CHUNK];

    const int group = blockIdx.x, person = group * PEOPLE, live = min(PEOPLE, people - person), inputs = 2 * channels;
    const int chunks = gridDim.y, start = blockIdx.y * CHUNK, length = min(CHUNK, inputs - start);
    for (int i = threadIdx.x; i < PEOPLE * CHUNK; i += THREADS) values[i / CHUNK][i % CHUNK] = 0.0f;
    const float* of_squeeze = squeezed + static_cast<long long>(group) * chunks * PEOPLE * width;
    for (int first = 0; first < width; first += CHUNK) {
        const int some = min(CHUNK, width - first);
        for (int i = threadIdx.x; i < PEOPLE * CHUNK; i += THREADS) {
            const int p = i / CHUNK, output = i % CHUNK;
            float sum = 0.0f;
            if (output < some) {
#pragma unroll 8
                for (int k = 0; k < chunks; ++k) sum += of_squeeze[(k * PEOPLE + p) * width + first + output];
            }
            hidden[p][output] = fmaxf(sum, 0.0f);
        }
        __syncthreads();
        multiply(hidden, some, excite + static_cast<long long>(start) * width + first, width, length,
                 [&](int p, int channel, float sum) { values[p][channel] += sum; });
        __syncthreads();
    }
    for (int i = threadIdx.x; i < PEOPLE * CHUNK; i += THREADS) {
        const int p = i / CHUNK, c = i % CHUNK;
        if (p < live && c < length) {
            values[p][c] = pooled[static_cast<long long>(person + p) * inputs + start + c] / (1.0f + expf(-values[p][c]));
        }
    }
    __syncthreads();
    float* of_group = products + static_cast<long long>(group) * chunks * PEOPLE * dimensions;
    float* mine = of_group + blockIdx.y * PEOPLE * dimensions;
    multiply(values, length, fc + start, inputs, dimensions,
             [=](int p, int output, float sum) { mine[p * dimensions + output] = sum; });
    if (!is_last_block(counters + group, chunks)) return;
    for (int i = threadIdx.x; i < live * dimensions; i += THREADS) {
        float sum = 0.0f;
        // Past L1, which does not see other blocks' writes.
#pragma unroll 8
        for (int k = 0; k < chunks; ++k) sum += __ldcg(of_group + k * PEOPLE * dimensions + i);
        embedding[person * dimensions + i] = sum;
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
