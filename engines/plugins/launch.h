// One launch of one kernel, as a description. Twin of mgts_trt/runtime/cuda/launch.py.
#pragma once

#include <array>
#include <cstdint>
#include <cstring>
#include <initializer_list>
#include <vector>

namespace mgts {

// A kernel's argument as cuLaunchKernel reads it: the first bytes, as many as the kernel's parameter has.
struct Argument {
    alignas(8) unsigned char bytes[8] = {};

    Argument(int32_t value) { std::memcpy(bytes, &value, sizeof value); }
    Argument(float value) { std::memcpy(bytes, &value, sizeof value); }
    Argument(double value) { std::memcpy(bytes, &value, sizeof value); }
    Argument(void const* value) { std::memcpy(bytes, &value, sizeof value); }
};

struct Launch {
    char const* kernel;
    char const* source;  // of engines/kernels
    std::array<unsigned, 3> grid;
    std::array<unsigned, 3> block;
    unsigned shared_bytes;
    std::vector<Argument> arguments;
};

inline constexpr int64_t divide_up(int64_t value, int64_t by) { return (value + by - 1) / by; }

}  // namespace mgts
