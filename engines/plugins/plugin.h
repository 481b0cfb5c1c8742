// An operator as a TensorRT plugin, and the creator of such plugins. All that is common to the operators.
#pragma once

#include <NvInferRuntime.h>

#include <memory>
#include <vector>

#include "device.h"
#include "operator.h"

namespace mgts {

// Of the domain `mgts`; a plugin computes what the operator of this version does.
inline constexpr char const* VERSION = "1";

// Where the ONNX parser looks for a node that names no other.
inline constexpr char const* NAMESPACE = "";

// Tells TensorRT's logger, or the console where there is none.
void log_error(char const* text) noexcept;

class Plugin final : public nvinfer1::IPluginV3,
                     public nvinfer1::IPluginV3OneCore,
                     public nvinfer1::IPluginV3OneBuild,
                     public nvinfer1::IPluginV3OneRuntime {
public:
    // With `module`, a plugin is ready to run in the context it belongs to.
    explicit Plugin(std::shared_ptr<Operator> which, std::shared_ptr<Module> module = nullptr);

    nvinfer1::IPluginCapability* getCapabilityInterface(nvinfer1::PluginCapabilityType type) noexcept override;
    Plugin* clone() noexcept override;

    char const* getPluginName() const noexcept override { return operator_->name(); }
    char const* getPluginVersion() const noexcept override { return VERSION; }
    char const* getPluginNamespace() const noexcept override { return NAMESPACE; }

    int32_t getNbOutputs() const noexcept override { return 1; }
    int32_t getOutputDataTypes(DataType* outputs, int32_t output_count, DataType const* inputs,
                               int32_t input_count) const noexcept override;
    int32_t getOutputShapes(DimsExprs const* inputs, int32_t input_count, DimsExprs const* shapes, int32_t shape_count,
                            DimsExprs* outputs, int32_t output_count, IExprBuilder& build) noexcept override;
    bool supportsFormatCombination(int32_t position, nvinfer1::DynamicPluginTensorDesc const* tensors,
                                   int32_t input_count, int32_t output_count) noexcept override;
    int32_t configurePlugin(nvinfer1::DynamicPluginTensorDesc const* inputs, int32_t input_count,
                            nvinfer1::DynamicPluginTensorDesc const* outputs, int32_t output_count) noexcept override;
    std::size_t getWorkspaceSize(nvinfer1::DynamicPluginTensorDesc const* inputs, int32_t input_count,
                                 nvinfer1::DynamicPluginTensorDesc const* outputs,
                                 int32_t output_count) const noexcept override;

    Plugin* attachToContext(nvinfer1::IPluginResourceContext* context) noexcept override;
    int32_t onShapeChange(nvinfer1::PluginTensorDesc const* inputs, int32_t input_count,
                          nvinfer1::PluginTensorDesc const* outputs, int32_t output_count) noexcept override;
    int32_t enqueue(nvinfer1::PluginTensorDesc const* input_descriptions,
                    nvinfer1::PluginTensorDesc const* output_descriptions, void const* const* inputs,
                    void* const* outputs, void* workspace, cudaStream_t stream) noexcept override;
    PluginFieldCollection const* getFieldsToSerialize() noexcept override { return &collection_; }

private:
    void check_counts(int32_t inputs, int32_t outputs) const;

    std::shared_ptr<Operator> operator_;
    std::shared_ptr<Module> module_;
    std::vector<PluginField> fields_;
    PluginFieldCollection collection_;
};

template <class T>
class Creator final : public nvinfer1::IPluginCreatorV3One {
public:
    Creator() {
        for (Attribute const& attribute : example_.attributes()) {
            fields_.emplace_back(attribute.name, nullptr, attribute.type, attribute.length);
        }
        collection_ = {int32_t(fields_.size()), fields_.data()};
    }

    char const* getPluginName() const noexcept override { return example_.name(); }
    char const* getPluginVersion() const noexcept override { return VERSION; }
    char const* getPluginNamespace() const noexcept override { return NAMESPACE; }
    PluginFieldCollection const* getFieldNames() noexcept override { return &collection_; }

    nvinfer1::IPluginV3* createPlugin(char const*, PluginFieldCollection const* given,
                                      nvinfer1::TensorRTPhase) noexcept override {
        try {
            PluginFieldCollection const none = {0, nullptr};
            auto made = std::make_shared<T>();
            for (Attribute const& attribute : made->attributes()) attribute.read(given ? *given : none);
            made->check();
            return new Plugin(std::move(made));
        } catch (std::exception const& error) {
            log_error(error.what());
            return nullptr;
        }
    }

private:
    T example_;
    std::vector<PluginField> fields_;
    PluginFieldCollection collection_;
};

}  // namespace mgts
