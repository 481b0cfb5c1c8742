// Stands in for libcuda: device memory is the host's, streams are those of streams.h, and the kernels run on the CPU,
// as tests/helpers/host_shim.h lets them. What is loaded must be machine code of the kernels that NVRTC made; in its
// place SIMULATED_KERNELS, a folder of libraries, has the same sources for the host.
#include <dlfcn.h>

#include <cstring>
#include <filesystem>
#include <map>
#include <memory>
#include <set>

#include "streams.h"

namespace {

constexpr int JUNK = 0x77;

std::set<CUstream_st*> streams;
std::map<void*, std::unique_ptr<char[]>> memory;

void run_all() {
    for (CUstream_st* stream : streams) stream->advance(stream->work.size());
}

// Somebody waits for a stream: all others may have run before.
void others_first(CUstream_st const* stream) {
    if (std::string(simulated::setting("SIMULATED_ORDER")) != "others") return;
    for (CUstream_st* each : streams) {
        if (each != stream) each->advance(each->work.size());
    }
}

void* allocate(std::size_t bytes) {
    auto made = std::make_unique<char[]>(bytes + 256);
    std::memset(made.get(), JUNK, bytes + 256);
    void* const address = reinterpret_cast<void*>((reinterpret_cast<std::uintptr_t>(made.get()) + 255) & ~255ul);
    memory[address] = std::move(made);
    return address;
}

CUresult release(void* address) {
    run_all();
    return memory.erase(address) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

void copy(CUstream stream, void* to, void const* from, std::size_t bytes) {
    simulated::queue(stream, [=] { std::memcpy(to, from, bytes); });
}

using Run = char const* (*)(unsigned const*, void**);

}  // namespace

struct CUevent_st {
    CUstream_st* stream = nullptr;
    std::size_t count = 0;
};

struct CUmod_st {
    std::string code;
};

struct CUfunc_st {
    std::string name, parameters;
    Run run;
};

extern "C" {

CUresult cuInit(unsigned) {
    bool const none = *simulated::setting("SIMULATED_NO_GPU");
    return none ? CUDA_ERROR_NO_DEVICE : CUDA_SUCCESS;
}

CUresult cuGetErrorString(CUresult error, char const** text) {
    *text = error == CUDA_ERROR_NO_DEVICE ? "no CUDA-capable device is detected" : "invalid argument";
    return CUDA_SUCCESS;
}

CUresult cuDeviceGet(CUdevice* device, int index) {
    *device = index;
    return index == 0 ? CUDA_SUCCESS : CUDA_ERROR_INVALID_DEVICE;
}

CUresult cuDeviceGetAttribute(int* value, CUdevice_attribute which, CUdevice) {
    int const capability = std::atoi(simulated::setting("SIMULATED_CAPABILITY", "87"));
    *value = which == CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR ? capability / 10 : capability % 10;
    return CUDA_SUCCESS;
}

CUresult cuDevicePrimaryCtxRetain(CUcontext* context, CUdevice) {
    *context = reinterpret_cast<CUcontext>(&streams);
    return CUDA_SUCCESS;
}

CUresult cuDevicePrimaryCtxRelease(CUdevice) {
    if (!memory.empty()) simulated::give_up("memory is left when the context is released");
    return CUDA_SUCCESS;
}

CUresult cuCtxSetCurrent(CUcontext) { return CUDA_SUCCESS; }

CUresult cuCtxSynchronize() {
    run_all();
    return CUDA_SUCCESS;
}

CUresult cuStreamCreate(CUstream* stream, unsigned) {
    *stream = new CUstream_st;
    streams.insert(*stream);
    return CUDA_SUCCESS;
}

CUresult cuStreamDestroy(CUstream stream) {
    stream->advance(stream->work.size());
    streams.erase(stream);
    delete stream;
    return CUDA_SUCCESS;
}

CUresult cuStreamSynchronize(CUstream stream) {
    others_first(stream);
    stream->advance(stream->work.size());
    return CUDA_SUCCESS;
}

CUresult cuStreamWaitEvent(CUstream stream, CUevent event, unsigned) {
    static int calls = 0;
    bool const deaf = std::to_string(calls++ % 3) == simulated::setting("SIMULATED_DEAF");  // to each third wait
    if (!event->stream || deaf) return CUDA_SUCCESS;
    simulated::queue(stream, [from = event->stream, count = event->count] { from->advance(count); });
    return CUDA_SUCCESS;
}

CUresult cuEventCreate(CUevent* event, unsigned) {
    *event = new CUevent_st;
    return CUDA_SUCCESS;
}

CUresult cuEventDestroy(CUevent event) {
    delete event;
    return CUDA_SUCCESS;
}

CUresult cuEventRecord(CUevent event, CUstream stream) {
    *event = {stream, stream->work.size()};
    return CUDA_SUCCESS;
}

CUresult cuEventSynchronize(CUevent event) {
    if (!event->stream) return CUDA_SUCCESS;
    others_first(event->stream);
    event->stream->advance(event->count);
    return CUDA_SUCCESS;
}

CUresult cuMemAlloc(CUdeviceptr* address, std::size_t bytes) {
    if (bytes == 0) return CUDA_ERROR_INVALID_VALUE;
    *address = reinterpret_cast<CUdeviceptr>(allocate(bytes));
    return CUDA_SUCCESS;
}

CUresult cuMemFree(CUdeviceptr address) { return release(reinterpret_cast<void*>(address)); }

CUresult cuMemAllocHost(void** address, std::size_t bytes) {
    *address = allocate(bytes);
    return CUDA_SUCCESS;
}

CUresult cuMemFreeHost(void* address) { return release(address); }

CUresult cuMemsetD8(CUdeviceptr address, unsigned char value, std::size_t bytes) {
    std::memset(reinterpret_cast<void*>(address), value, bytes);
    return CUDA_SUCCESS;
}

CUresult cuMemcpyHtoDAsync(CUdeviceptr to, void const* from, std::size_t bytes, CUstream stream) {
    copy(stream, reinterpret_cast<void*>(to), from, bytes);
    return CUDA_SUCCESS;
}

CUresult cuMemcpyDtoHAsync(void* to, CUdeviceptr from, std::size_t bytes, CUstream stream) {
    copy(stream, to, reinterpret_cast<void const*>(from), bytes);
    return CUDA_SUCCESS;
}

CUresult cuModuleLoadData(CUmodule* module, void const* image) {
    unsigned char const* const bytes = static_cast<unsigned char const*>(image);
    if (std::memcmp(bytes, "\177ELF", 4) != 0) return CUDA_ERROR_INVALID_IMAGE;
    // Of an ELF file of 64 bits, where the table of sections ends, which comes last but for the programs'.
    std::uint64_t table, programs;
    std::uint16_t sizes[6];
    std::memcpy(&programs, bytes + 32, 8);
    std::memcpy(&table, bytes + 40, 8);
    std::memcpy(sizes, bytes + 52, sizeof sizes);
    std::size_t const end = std::max(programs + std::uint64_t(sizes[1]) * sizes[2], table + std::uint64_t(sizes[3]) * sizes[4]);
    *module = new CUmod_st{std::string(static_cast<char const*>(image), end)};
    return CUDA_SUCCESS;
}

CUresult cuModuleUnload(CUmodule module) {
    delete module;
    return CUDA_SUCCESS;
}

CUresult cuModuleGetFunction(CUfunction* function, CUmodule module, char const* name) {
    static std::map<std::string, CUfunc_st> known;
    std::string const section = std::string(".text.") + name + '\0';
    if (module->code.find(section) == std::string::npos) return CUDA_ERROR_NOT_FOUND;
    for (auto const& entry : std::filesystem::directory_iterator(simulated::setting("SIMULATED_KERNELS"))) {
        void* const library = dlopen(entry.path().c_str(), RTLD_NOW | RTLD_LOCAL);
        if (!library) simulated::give_up(dlerror());
        auto const run = reinterpret_cast<Run>(dlsym(library, (std::string("run_") + name).c_str()));
        auto const told = reinterpret_cast<char const* (*)()>(dlsym(library, (std::string("parameters_") + name).c_str()));
        if (!run || !told) continue;
        known[name] = {name, told(), run};
        *function = &known[name];
        return CUDA_SUCCESS;
    }
    return CUDA_ERROR_NOT_FOUND;
}

CUresult cuLaunchKernel(CUfunction function, unsigned grid_x, unsigned grid_y, unsigned grid_z, unsigned block_x,
                        unsigned block_y, unsigned block_z, unsigned, CUstream stream, void** arguments, void**) {
    std::vector<unsigned> const sizes = {grid_x, grid_y, grid_z, block_x, block_y, block_z};
    std::vector<std::uint64_t> kept(function->parameters.size());
    for (std::size_t i = 0; i < kept.size(); ++i) {
        char const kind = function->parameters[i];
        std::memcpy(&kept[i], arguments[i], kind == 'p' || kind == 'd' ? 8 : 4);
    }
    simulated::queue(stream, [function, sizes, kept]() mutable {
        simulated::tell("kernel " + function->name);
        std::vector<void*> pointers;
        for (std::uint64_t& each : kept) pointers.push_back(&each);
        if (char const* const failure = function->run(sizes.data(), pointers.data())) {
            simulated::give_up(function->name + ": " + failure);
        }
    });
    return CUDA_SUCCESS;
}

}  // extern "C"
