// What the fake driver tells the program that plays TensorRT.
#pragma once

#include <array>
#include <string>
#include <vector>

namespace fake {

using Bytes = std::vector<unsigned char>;

struct Launch {
    std::string kernel;
    std::array<unsigned, 3> grid, block;
    unsigned shared;
    void* stream;
    std::vector<Bytes> arguments;

    bool operator==(Launch const& other) const {
        return kernel == other.kernel && grid == other.grid && block == other.block && shared == other.shared &&
               stream == other.stream && arguments == other.arguments;
    }
};

struct Record {
    std::vector<std::string> loaded;
    int unloaded = 0, looked_up = 0;
    std::vector<Launch> launches;
};

Record& record();
void set_capability(int capability);

// Which kernels there are, and the types of their parameters: p pointer, i int, f float, d double.
void declare(std::string const& kernel, std::string const& parameters);

}  // namespace fake
