// Streams of the simulated driver: work is kept until somebody waits for it, or done at once, or when somebody waits for
// another stream. What is right in each order has the events that it needs.
#pragma once

#include <cuda.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <string>
#include <vector>

struct CUstream_st {
    std::vector<std::function<void()>> work;
    std::size_t done = 0;

    void advance(std::size_t to) {
        while (done < to) {
            auto const each = work[done++];
            each();
        }
    }
};

namespace simulated {

inline char const* setting(char const* name, char const* otherwise = "") {
    char const* const value = std::getenv(name);
    return value ? value : otherwise;
}

inline void queue(CUstream_st* stream, std::function<void()> each) {
    stream->work.push_back(std::move(each));
    if (std::string(setting("SIMULATED_ORDER")) == "eager") stream->advance(stream->work.size());
}

// A line of the record that the tests read.
inline void tell(std::string const& line) {
    if (std::FILE* const file = std::fopen(setting("SIMULATED_RECORD", "/dev/null"), "a")) {
        std::fprintf(file, "%s\n", line.c_str());
        std::fclose(file);
    }
}

[[noreturn]] inline void give_up(std::string const& why) {
    std::fprintf(stderr, "the simulated machine gives up: %s\n", why.c_str());
    std::_Exit(99);
}

}  // namespace simulated
