// Stands in for TensorRT's library: a registry that only keeps the names of what is registered.
#include <NvInferRuntime.h>

#include <string>

namespace {

using namespace nvinfer1;

class Registry final : public IPluginRegistry {
public:
    std::string names;

    bool registerCreator(IPluginCreatorInterface& creator, AsciiChar const* space) noexcept override {
        names += std::string(space) + static_cast<IPluginCreatorV3One&>(creator).getPluginName() + " ";
        return true;
    }

    bool registerCreator(IPluginCreator&, AsciiChar const*) noexcept override { return false; }
    IPluginCreator* const* getPluginCreatorList(int32_t*) const noexcept override { return nullptr; }
    IPluginCreator* getPluginCreator(AsciiChar const*, AsciiChar const*, AsciiChar const*) noexcept override {
        return nullptr;
    }
    void setErrorRecorder(IErrorRecorder*) noexcept override {}
    IErrorRecorder* getErrorRecorder() const noexcept override { return nullptr; }
    bool deregisterCreator(IPluginCreator const&) noexcept override { return false; }
    bool isParentSearchEnabled() const override { return false; }
    void setParentSearchEnabled(bool) override {}
    PluginLibraryHandle loadLibrary(AsciiChar const*) noexcept override { return nullptr; }
    void deregisterLibrary(PluginLibraryHandle) noexcept override {}
    IPluginCreatorInterface* const* getAllCreators(int32_t*) const noexcept override { return nullptr; }
    IPluginCreatorInterface* getCreator(AsciiChar const*, AsciiChar const*, AsciiChar const*) noexcept override {
        return nullptr;
    }
    bool deregisterCreator(IPluginCreatorInterface const&) noexcept override { return false; }
    IPluginResource* acquirePluginResource(AsciiChar const*, IPluginResource*) noexcept override { return nullptr; }
    int32_t releasePluginResource(AsciiChar const*) noexcept override { return 0; }
};

Registry registry;

}  // namespace

extern "C" char const* registered() { return registry.names.c_str(); }

nvinfer1::IPluginRegistry* getPluginRegistry() noexcept { return &registry; }
