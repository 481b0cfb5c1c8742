// The kernels of engines/kernels that stand between the networks: compiled by NVRTC for the GPU that is there, as
// mgts_trt/runtime/cuda/nvrtc.py does.
#pragma once

#include <nvrtc.h>

#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "../../plugins/launch.h"
#include "device.h"
#include "json_file.h"

namespace mgts {

// Machine code of one source.
inline std::string compile_kernels(std::filesystem::path const& folder, std::string const& source, int capability) {
    std::string const text = read_file(folder / source, "Name the folder engines/kernels with --kernels.");
    auto const call = [&](nvrtcResult result, std::string const& log = "") {
        if (result == NVRTC_SUCCESS) return;
        throw Error("NVRTC cannot compile " + source + " for sm_" + std::to_string(capability) + ": " +
                    nvrtcGetErrorString(result) + ". " + log + "Take a CUDA that knows this GPU.");
    };
    nvrtcProgram program = nullptr;
    call(nvrtcCreateProgram(&program, text.c_str(), source.c_str(), 0, nullptr, nullptr));
    struct Guard {
        nvrtcProgram* program;
        ~Guard() { nvrtcDestroyProgram(program); }
    } const guard = {&program};
    // Without contraction the arithmetic is that of the host, where the references run.
    std::vector<std::string> const options = {"--gpu-architecture=sm_" + std::to_string(capability), "--std=c++17",
                                              "--fmad=false", "--include-path=" + folder.string()};
    std::vector<char const*> pointers;
    for (std::string const& option : options) pointers.push_back(option.c_str());
    nvrtcResult const result = nvrtcCompileProgram(program, int(pointers.size()), pointers.data());
    std::size_t size = 0;
    if (result != NVRTC_SUCCESS) {
        call(nvrtcGetProgramLogSize(program, &size));
        std::string log(size, '\0');
        call(nvrtcGetProgramLog(program, log.data()));
        call(result, std::string(log.c_str()) + " ");
    }
    call(nvrtcGetCUBINSize(program, &size));
    std::string code(size, '\0');
    call(nvrtcGetCUBIN(program, code.data()));
    return code;
}

class Kernels {
public:
    // Compiles a source when one of its kernels is first asked for.
    Kernels(std::filesystem::path folder, int capability) : folder_(std::move(folder)), capability_(capability) {}

    void load(std::string const& source) {
        if (modules_.count(source)) return;
        std::string const code = compile_kernels(folder_, source, capability_);
        CUmodule made = nullptr;
        check(cuModuleLoadData(&made, code.data()), "loading the kernels of " + source);
        modules_[source] = Owned<CUmodule, cuModuleUnload>(made);
    }

    // Queues a run.
    void launch(Launch const& launch, Stream const& stream) {
        load(launch.source);
        CUfunction& function = functions_[launch.kernel];
        if (!function) {
            check(cuModuleGetFunction(&function, modules_[launch.source].get(), launch.kernel),
                  std::string("looking for the kernel ") + launch.kernel);
        }
        std::vector<void*> arguments;
        for (Argument const& each : launch.arguments) arguments.push_back(const_cast<unsigned char*>(each.bytes));
        auto const& [grid, block] = std::pair(launch.grid, launch.block);
        check(cuLaunchKernel(function, grid[0], grid[1], grid[2], block[0], block[1], block[2], launch.shared_bytes,
                             stream.get(), arguments.data(), nullptr),
              std::string("launching ") + launch.kernel);
    }

private:
    std::filesystem::path folder_;
    int capability_;
    std::map<std::string, Owned<CUmodule, cuModuleUnload>> modules_;
    std::map<std::string, CUfunction> functions_;
};

}  // namespace mgts
