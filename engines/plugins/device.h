// Kernels in the CUDA context that is current.
#pragma once

#include <cstddef>
#include <map>
#include <memory>
#include <mutex>
#include <string>

#include "cuda/driver.h"
#include "launch.h"

namespace mgts {

// One source of engines/kernels, compiled: the build puts them into this library.
struct Image {
    char const* source;
    int capability;  // compute capability times ten
    bool ptx;        // assembly, which the driver compiles for newer GPUs
    unsigned char const* begin;
};

extern Image const images[];
extern std::size_t const image_count;

// What of a source runs on a GPU: machine code of its generation and not newer than it, else assembly; null if nothing
// does.
Image const* choose_image(char const* source, int capability);

// A source's kernels in one CUDA context. All plugins of that context share it; the last one unloads it.
class Module {
public:
    // Those of the current context. Loading allocates: never while a stream is captured.
    static std::shared_ptr<Module> of(char const* source);

    ~Module();
    Module(Module const&) = delete;
    Module& operator=(Module const&) = delete;

    CUfunction function(char const* kernel);

    // Neither allocates on the device nor waits, once `function` has been asked for the kernel.
    void run(Launch const& launch, CUstream stream);

private:
    Module(char const* source, CUcontext context);

    CUcontext context_;
    CUmodule module_ = nullptr;
    std::mutex mutex_;
    std::map<std::string, CUfunction> functions_;
};

}  // namespace mgts
