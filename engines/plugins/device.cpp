#include "device.h"

#include <cstring>
#include <stdexcept>
#include <utility>
#include <vector>

namespace mgts {

namespace {

// Machine code runs on later GPUs of its own generation; but Orin's (8.7) on no other, and no other on Orin.
bool runs_on(int code, int capability) {
    return code == capability || (code / 10 == capability / 10 && code < capability && code != 87 && capability != 87);
}

}  // namespace

Image const* choose_image(char const* source, int capability) {
    Image const *code = nullptr, *assembly = nullptr;
    for (std::size_t i = 0; i < image_count; ++i) {
        Image const& image = images[i];
        if (std::strcmp(image.source, source) != 0) continue;
        bool const runs = image.ptx ? image.capability <= capability : runs_on(image.capability, capability);
        Image const*& best = image.ptx ? assembly : code;
        if (runs && (!best || best->capability < image.capability)) best = &image;
    }
    return code ? code : assembly;
}

std::shared_ptr<Module> Module::of(char const* source) {
    static std::mutex mutex;
    static std::map<std::pair<CUcontext, std::string>, std::weak_ptr<Module>> loaded;
    CUcontext context = nullptr;
    Driver::get().check(Driver::get().context(&context), "Asking for the CUDA context");
    if (!context) throw std::runtime_error("No CUDA context is current in this thread.");
    std::lock_guard<std::mutex> const lock(mutex);
    std::weak_ptr<Module>& entry = loaded[{context, source}];
    std::shared_ptr<Module> module = entry.lock();
    if (!module) {
        module.reset(new Module(source, context));
        entry = module;
    }
    return module;
}

Module::Module(char const* source, CUcontext context) : context_(context) {
    Driver const& driver = Driver::get();
    Device device = 0;
    int major = 0, minor = 0;
    driver.check(driver.device(&device), "Asking for the GPU");
    driver.check(driver.attribute(&major, CAPABILITY_MAJOR, device), "Asking what the GPU is");
    driver.check(driver.attribute(&minor, CAPABILITY_MINOR, device), "Asking what the GPU is");
    Image const* const image = choose_image(source, 10 * major + minor);
    if (!image) {
        throw std::runtime_error("These plugins have no kernels for this GPU. Build them for it: mgts-trt plugins build "
                                 "--targets sm_" + std::to_string(10 * major + minor));
    }
    driver.check(driver.load(&module_, image->begin), "Loading the kernels of ", source);
}

Module::~Module() {
    // A context that is gone has taken its modules along; then this fails, and nothing is left to do.
    if (Driver::get().push(context_) != 0) return;
    Driver::get().unload(module_);
    Driver::get().pop(&context_);
}

CUfunction Module::function(char const* kernel) {
    std::lock_guard<std::mutex> const lock(mutex_);
    CUfunction& function = functions_[kernel];
    if (!function) Driver::get().check(Driver::get().function(&function, module_, kernel), "Finding the kernel ", kernel);
    return function;
}

void Module::run(Launch const& launch, CUstream stream) {
    std::vector<void*> arguments;
    for (Argument const& argument : launch.arguments) {
        arguments.push_back(const_cast<unsigned char*>(argument.bytes));
    }
    auto const& grid = launch.grid;
    auto const& block = launch.block;
    Result const result = Driver::get().launch(function(launch.kernel), grid[0], grid[1], grid[2], block[0], block[1],
                                               block[2], launch.shared_bytes, stream, arguments.data(), nullptr);
    Driver::get().check(result, "Launching ", launch.kernel);
}

}  // namespace mgts
