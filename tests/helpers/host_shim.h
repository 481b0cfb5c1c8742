// CUDA's execution model on one CPU thread, so that the kernels' own source runs in the tests.
//
// Blocks run one after the other. Each CUDA thread is a fiber; it runs until it meets a barrier (of its block, or of
// its warp for shuffles and votes). A barrier opens when every thread that has not returned waits at it; if nobody can
// go on, the kernel diverged at a barrier, and the run says so instead of hanging. Between barriers the blocks, warps
// and threads run in an order that keeps changing: what needs a barrier and has none gives wrong results.
#pragma once

#include <ucontext.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <type_traits>
#include <utility>
#include <vector>

using std::max;
using std::min;

#define __device__
#define __global__
#define __shared__ static
#define __launch_bounds__(...)

struct uint4 {
    unsigned x, y, z, w;
};

struct float4 {
    float x, y, z, w;
};

struct dim3 {
    unsigned x, y, z;
};

inline dim3 gridDim, blockDim, blockIdx, threadIdx;

namespace host {

constexpr int WARP = 32;
constexpr std::size_t STACK = 64 * 1024;

enum class State { ready, at_block_barrier, at_warp_barrier, done };

struct Fiber {
    ucontext_t context;
    std::vector<char> stack = std::vector<char>(STACK);
    State state;
    dim3 index;
    std::uint64_t offered;  // what this lane shows the others of its warp
};

inline std::vector<Fiber> fibers;
inline ucontext_t scheduler;
inline int current, threads;
inline std::function<void()> body;
inline const char* failure;

// The k-th of n in an order drawn anew by `draw`: from anywhere, in either direction, around the end.
struct Order {
    int start, step, n;
    int operator()(int k) const { return int((start + std::int64_t(step) * k + n) % n); }
};

inline Order draw(int n) {
    static std::uint32_t state = 1;
    state = state * 1664525u + 1013904223u;
    return {int((state >> 8) % unsigned(n)), state >> 31 ? 1 : n - 1, n};
}

inline void wait(State barrier) {
    Fiber& self = fibers[current];
    self.state = barrier;
    swapcontext(&self.context, &scheduler);
}

inline void run_fiber() {
    body();
    fibers[current].state = State::done;
    swapcontext(&fibers[current].context, &scheduler);
}

// Opens a barrier if all of threads first … end - 1 wait at it or have returned; says whether it did.
inline bool open(State barrier, int first, int end) {
    bool waiting = false;
    for (int t = first; t < end; ++t) {
        if (fibers[t].state == barrier) waiting = true;
        else if (fibers[t].state != State::done) return false;
    }
    for (int t = first; t < end; ++t) {
        if (fibers[t].state == barrier) fibers[t].state = State::ready;
    }
    return waiting;
}

// Lets a warp run as far as it can without the others.
inline void run_warp(int first) {
    const int end = min(first + WARP, threads);
    do {
        const Order order = draw(end - first);
        for (int k = 0; k < order.n; ++k) {
            current = first + order(k);
            if (fibers[current].state != State::ready) continue;
            threadIdx = fibers[current].index;
            swapcontext(&scheduler, &fibers[current].context);
        }
    } while (open(State::at_warp_barrier, first, end));
}

inline bool run_block() {
    for (int t = 0; t < threads; ++t) {
        Fiber& fiber = fibers[t];
        fiber.state = State::ready;
        fiber.index = {t % blockDim.x, t / blockDim.x % blockDim.y, t / (blockDim.x * blockDim.y)};
        getcontext(&fiber.context);
        fiber.context.uc_stack.ss_sp = fiber.stack.data();
        fiber.context.uc_stack.ss_size = STACK;
        fiber.context.uc_link = nullptr;
        makecontext(&fiber.context, run_fiber, 0);
    }
    do {
        const Order order = draw((threads + WARP - 1) / WARP);
        for (int k = 0; k < order.n; ++k) run_warp(order(k) * WARP);
    } while (open(State::at_block_barrier, 0, threads));
    for (int t = 0; t < threads; ++t) {
        if (fibers[t].state != State::done) failure = "threads of one block wait at different barriers";
    }
    return failure == nullptr;
}

inline const char* launch(dim3 grid, dim3 block, std::function<void()> kernel) {
    gridDim = grid;
    blockDim = block;
    threads = int(block.x * block.y * block.z);
    if (int(fibers.size()) < threads) fibers = std::vector<Fiber>(threads);
    body = std::move(kernel);
    failure = nullptr;
    const int blocks = int(grid.x * grid.y * grid.z);
    const Order order = draw(blocks);
    for (int k = 0; k < blocks; ++k) {
        const unsigned b = order(k);
        blockIdx = {b % grid.x, b / grid.x % grid.y, b / (grid.x * grid.y)};
        if (!run_block()) return failure;
    }
    return nullptr;
}

template <class T>
T exchange(unsigned mask, T value, int lane_of_other) {
    static_assert(sizeof(T) <= sizeof(std::uint64_t));
    const int self = current;  // this fiber's; `current` is another's when it wakes
    const int warp = self - self % WARP;
    fibers[self].offered = 0;
    std::memcpy(&fibers[self].offered, &value, sizeof(T));
    wait(State::at_warp_barrier);
    for (int t = warp; t < warp + WARP; ++t) {
        const bool named = mask >> (t - warp) & 1u;
        if (named && fibers[t].state == State::done) failure = "a lane that a shuffle names has returned";
    }
    T result;
    std::memcpy(&result, &fibers[warp + lane_of_other].offered, sizeof(T));
    wait(State::at_warp_barrier);
    return result;
}

template <class... A, std::size_t... I>
void call(void (*kernel)(A...), void** arguments, std::index_sequence<I...>) {
    kernel(*static_cast<std::remove_reference_t<A>*>(arguments[I])...);
}

// Arguments lie as for cuLaunchKernel: a pointer to each.
template <class... A>
const char* run(void (*kernel)(A...), const unsigned* dimensions, void** arguments) {
    const dim3 grid = {dimensions[0], dimensions[1], dimensions[2]};
    const dim3 block = {dimensions[3], dimensions[4], dimensions[5]};
    return launch(grid, block, [=] { call(kernel, arguments, std::index_sequence_for<A...>()); });
}

template <class T>
constexpr char code() {
    if (std::is_pointer_v<T>) return 'p';
    if (std::is_same_v<T, int>) return 'i';
    if (std::is_same_v<T, float>) return 'f';
    return std::is_same_v<T, double> ? 'd' : '?';
}

// The types of a kernel's parameters, a letter each.
template <class... A>
const char* parameters(void (*)(A...)) {
    static const char codes[] = {code<A>()..., '\0'};
    return codes;
}

}  // namespace host

#define HOST_KERNEL(name)                                                                        \
    extern "C" const char* run_##name(const unsigned* dimensions, void** arguments) {            \
        return host::run(name, dimensions, arguments);                                           \
    }                                                                                            \
    extern "C" const char* parameters_##name() { return host::parameters(name); }

inline void __syncthreads() { host::wait(host::State::at_block_barrier); }
inline void __threadfence() {}

template <class T>
T __shfl_xor_sync(unsigned mask, T value, int other) {
    return host::exchange(mask, value, host::current % host::WARP ^ other);
}

inline unsigned __ballot_sync(unsigned mask, bool vote) {
    const int self = host::current, warp = self - self % host::WARP;
    host::fibers[self].offered = vote;
    host::wait(host::State::at_warp_barrier);
    unsigned votes = 0;
    for (int lane = 0; lane < host::WARP; ++lane) {
        if (!(mask >> lane & 1u)) continue;
        if (host::fibers[warp + lane].state == host::State::done) host::failure = "a lane that a vote names has returned";
        votes |= unsigned(host::fibers[warp + lane].offered) << lane;
    }
    host::wait(host::State::at_warp_barrier);
    return votes;
}

template <class T>
T atomicAdd(T* address, T value) {
    const T before = *address;
    *address += value;
    return before;
}

template <class T>
T atomicOr(T* address, T value) {
    const T before = *address;
    *address |= value;
    return before;
}

template <class T>
T __ldcg(const T* address) {
    return *address;
}

inline int __popc(unsigned bits) { return __builtin_popcount(bits); }
inline int __float2int_rn(float value) { return int(std::nearbyint(value)); }

inline float __uint_as_float(unsigned bits) {
    float value;
    std::memcpy(&value, &bits, sizeof value);
    return value;
}

inline float half_to_float(unsigned short bits) {
    const int exponent = bits >> 10 & 31, fraction = bits & 1023;
    const float sign = bits >> 15 ? -1.0f : 1.0f;
    if (exponent == 31) return fraction ? NAN : sign * INFINITY;
    return sign * (exponent ? std::ldexp(1024.0f + fraction, exponent - 25) : std::ldexp(float(fraction), -24));
}

// To nearest, halves to even.
inline unsigned short float_to_half(float value) {
    const unsigned sign = std::signbit(value) ? 0x8000u : 0u;
    const float size = std::fabs(value);
    if (std::isnan(value)) return 0x7e00u;
    if (size >= 65520.0f) return sign | 0x7c00u;
    const int exponent = size > 0.0f ? max(std::ilogb(size), -14) : -14;
    // A fraction that rounds up to 2048, or stays below 1024, gives the right bits by carry.
    return sign | unsigned(((exponent + 14) << 10) + int(std::nearbyint(std::ldexp(size, 10 - exponent))));
}
