// Stands in for libcuda.so.1: keeps a record of what the plugins ask of the driver.
#include "fake_cuda.h"

#include <map>

namespace {

fake::Record record_;
std::map<std::string, std::string> parameters_;
int capability_ = 87;

}  // namespace

namespace fake {

Record& record() { return record_; }
void declare(std::string const& kernel, std::string const& parameters) { parameters_[kernel] = parameters; }
void set_capability(int capability) { capability_ = capability; }

}  // namespace fake

extern "C" {

int cuCtxGetCurrent(void** context) {
    *context = &record_;
    return 0;
}

int cuCtxGetDevice(int* device) {
    *device = 0;
    return 0;
}

int cuCtxPushCurrent_v2(void* context) { return context == &record_ ? 0 : 201; }
int cuCtxPopCurrent_v2(void**) { return 0; }

int cuDeviceGetAttribute(int* value, int attribute, int) {
    *value = attribute == 75 ? capability_ / 10 : capability_ % 10;
    return attribute == 75 || attribute == 76 ? 0 : 1;
}

// An image of the tests is text: whose kernels it has.
int cuModuleLoadData(void** module, void const* image) {
    record_.loaded.push_back(static_cast<char const*>(image));
    *module = new std::string(record_.loaded.back());
    return 0;
}

int cuModuleUnload(void* module) {
    delete static_cast<std::string*>(module);
    ++record_.unloaded;
    return 0;
}

int cuModuleGetFunction(void** function, void*, char const* name) {
    auto const found = parameters_.find(name);
    if (found == parameters_.end()) return 500;
    ++record_.looked_up;
    *function = &*found;
    return 0;
}

int cuLaunchKernel(void* function, unsigned grid_x, unsigned grid_y, unsigned grid_z, unsigned block_x,
                   unsigned block_y, unsigned block_z, unsigned shared, void* stream, void** arguments, void**) {
    auto const& [name, parameters] = *static_cast<std::pair<std::string const, std::string>*>(function);
    fake::Launch launch = {name, {grid_x, grid_y, grid_z}, {block_x, block_y, block_z}, shared, stream, {}};
    for (std::size_t i = 0; i < parameters.size(); ++i) {
        std::size_t const size = parameters[i] == 'p' || parameters[i] == 'd' ? 8 : 4;
        unsigned char const* const bytes = static_cast<unsigned char const*>(arguments[i]);
        launch.arguments.emplace_back(bytes, bytes + size);
    }
    record_.launches.push_back(launch);
    return 0;
}

int cuGetErrorString(int, char const** text) {
    *text = "the fake driver says no";
    return 0;
}

}  // extern "C"
