#include "driver.h"

#include <dlfcn.h>

#include <stdexcept>
#include <string>

namespace mgts {
namespace {

template <class F>
void find(void* library, char const* name, F& function) {
    function = reinterpret_cast<F>(dlsym(library, name));
    if (!function) throw std::runtime_error(std::string("NVIDIA's driver has no ") + name + "; install a newer one.");
}

Driver look_up() {
    void* const library = dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);  // never closed: contexts live in it
    if (!library) throw std::runtime_error(std::string("NVIDIA's driver does not load: ") + dlerror() + ".");
    Driver driver;
    find(library, "cuCtxGetCurrent", driver.context);
    find(library, "cuCtxGetDevice", driver.device);
    find(library, "cuCtxPushCurrent_v2", driver.push);
    find(library, "cuCtxPopCurrent_v2", driver.pop);
    find(library, "cuDeviceGetAttribute", driver.attribute);
    find(library, "cuModuleLoadData", driver.load);
    find(library, "cuModuleUnload", driver.unload);
    find(library, "cuModuleGetFunction", driver.function);
    find(library, "cuLaunchKernel", driver.launch);
    find(library, "cuGetErrorString", driver.describe);
    return driver;
}

}  // namespace

Driver const& Driver::get() {
    static Driver const loaded = look_up();
    return loaded;
}

void Driver::check(Result result, char const* what, char const* which) const {
    if (result == 0) return;
    char const* text = nullptr;
    describe(result, &text);
    throw std::runtime_error(std::string(what) + which + " failed: " + (text ? text : "unknown error") + ".");
}

}  // namespace mgts
