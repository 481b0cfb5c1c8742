// What TensorRT looks for in a library of plugins: its creators, and where to leave its logger.
#include <dlfcn.h>

#include <atomic>
#include <cstdio>
#include <cstdlib>

#include "operators.h"
#include "plugin.h"

namespace mgts {
namespace {

std::atomic<nvinfer1::ILoggerFinder*> logger_finder{nullptr};

}  // namespace

void log_error(char const* text) noexcept {
    nvinfer1::ILoggerFinder* const finder = logger_finder;
    nvinfer1::ILogger* const logger = finder ? finder->findLogger() : nullptr;
    if (logger) {
        logger->log(nvinfer1::ILogger::Severity::kERROR, text);
    } else {
        std::fprintf(stderr, "mgts-trt plugins: %s\n", text);
    }
}

}  // namespace mgts

// TensorRT's own macro exports nothing outside of TensorRT.
#define EXPORTED __attribute__((visibility("default")))

extern "C" {

EXPORTED void setLoggerFinder(nvinfer1::ILoggerFinder* finder) { mgts::logger_finder = finder; }

EXPORTED nvinfer1::IPluginCreatorInterface* const* getCreators(int32_t& count) {
    static mgts::Creator<mgts::Nms> nms;
    static mgts::Creator<mgts::AlignRois> align_rois;
    static mgts::Creator<mgts::PsAssemble> ps_assemble;
    static mgts::Creator<mgts::SeHead> se_head;
    static nvinfer1::IPluginCreatorInterface* const creators[] = {&nms, &align_rois, &ps_assemble, &se_head};
    count = int32_t(sizeof creators / sizeof *creators);
    return creators;
}

}  // extern "C"

#define TEXT(number) #number
#define LIBNVINFER(major) "libnvinfer.so." TEXT(major)

// Triton and DeepStream open libraries of plugins and leave the rest to them. Where TensorRT's registry opens one, it
// wants nothing of it registered yet: so this has to be asked for.
__attribute__((constructor)) static void register_if_asked() {
    if (!std::getenv("MGTS_TRT_REGISTER_PLUGINS")) return;
    void* const tensorrt = dlopen(LIBNVINFER(NV_TENSORRT_MAJOR), RTLD_NOW | RTLD_NOLOAD);
    void* const symbol = tensorrt ? dlsym(tensorrt, "getPluginRegistry") : nullptr;
    if (!symbol) return mgts::log_error(LIBNVINFER(NV_TENSORRT_MAJOR) " is not loaded: the plugins are not registered.");
    auto* const registry = reinterpret_cast<nvinfer1::IPluginRegistry* (*)()>(symbol)();
    int32_t count = 0;
    nvinfer1::IPluginCreatorInterface* const* const creators = getCreators(count);
    for (int32_t i = 0; i < count; ++i) registry->registerCreator(*creators[i], mgts::NAMESPACE);
}
