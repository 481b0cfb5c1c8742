#include "plugin.h"

#include <exception>
#include <limits>

namespace mgts {
namespace {

using nvinfer1::DynamicPluginTensorDesc;
using nvinfer1::PluginTensorDesc;

// TensorRT promises no alignment of a workspace; kernels count on this one.
constexpr std::size_t ALIGNMENT = 256;

// Of tensors: what the widest loads of the kernels need.
constexpr std::uintptr_t VECTOR = 16;

// TensorRT wants a number instead of exceptions: 0 is success.
template <class F>
int32_t guarded(F&& run) noexcept {
    try {
        run();
        return 0;
    } catch (std::exception const& error) {
        log_error(error.what());
        return -1;
    }
}

Operands operands(PluginTensorDesc const* descriptions, int32_t count, void const* const* data = nullptr) {
    Operands made;
    for (int32_t i = 0; i < count; ++i) {
        made.push_back({descriptions[i].type, descriptions[i].dims, data ? data[i] : nullptr});
    }
    return made;
}

// At the largest sizes that the plugin may meet.
Operands largest(DynamicPluginTensorDesc const* descriptions, int32_t count) {
    Operands made;
    for (int32_t i = 0; i < count; ++i) made.push_back({descriptions[i].desc.type, descriptions[i].max});
    return made;
}

}  // namespace

Plugin::Plugin(std::shared_ptr<Operator> which, std::shared_ptr<Module> module)
    : operator_(std::move(which)), module_(std::move(module)) {
    for (Attribute const& attribute : operator_->attributes()) {
        fields_.emplace_back(attribute.name, attribute.value, attribute.type, attribute.length);
    }
    collection_ = {int32_t(fields_.size()), fields_.data()};
}

nvinfer1::IPluginCapability* Plugin::getCapabilityInterface(nvinfer1::PluginCapabilityType type) noexcept {
    switch (type) {
        case nvinfer1::PluginCapabilityType::kCORE: return static_cast<nvinfer1::IPluginV3OneCore*>(this);
        case nvinfer1::PluginCapabilityType::kBUILD: return static_cast<nvinfer1::IPluginV3OneBuild*>(this);
        case nvinfer1::PluginCapabilityType::kRUNTIME: return static_cast<nvinfer1::IPluginV3OneRuntime*>(this);
    }
    return nullptr;
}

Plugin* Plugin::clone() noexcept {
    Plugin* made = nullptr;
    guarded([&] { made = new Plugin(operator_, module_); });
    return made;
}

int32_t Plugin::getOutputDataTypes(DataType* outputs, int32_t output_count, DataType const*,
                                   int32_t input_count) const noexcept {
    return guarded([&] {
        check_counts(input_count, output_count);
        outputs[0] = operator_->output_type();
    });
}

int32_t Plugin::getOutputShapes(DimsExprs const* inputs, int32_t input_count, DimsExprs const*, int32_t,
                                DimsExprs* outputs, int32_t output_count, IExprBuilder& build) noexcept {
    return guarded([&] {
        check_counts(input_count, output_count);
        auto const shape = operator_->output_shape(inputs, build);
        outputs[0].nbDims = int32_t(shape.size());
        for (std::size_t axis = 0; axis < shape.size(); ++axis) outputs[0].d[axis] = shape[axis];
    });
}

bool Plugin::supportsFormatCombination(int32_t position, DynamicPluginTensorDesc const* tensors, int32_t input_count,
                                       int32_t output_count) noexcept {
    bool supported = false;
    guarded([&] {
        check_counts(input_count, output_count);
        PluginTensorDesc const& asked = tensors[position].desc;
        if (asked.format != nvinfer1::TensorFormat::kLINEAR) return;
        std::vector<DataType> types;
        for (int32_t i = 0; i <= position; ++i) types.push_back(tensors[i].desc.type);
        supported = position < input_count ? operator_->takes(types.data(), position)
                                           : asked.type == operator_->output_type();
    });
    return supported;
}

int32_t Plugin::configurePlugin(DynamicPluginTensorDesc const* inputs, int32_t input_count,
                                DynamicPluginTensorDesc const*, int32_t output_count) noexcept {
    return guarded([&] {
        check_counts(input_count, output_count);
        operator_->check_sizes(largest(inputs, input_count));
    });
}

std::size_t Plugin::getWorkspaceSize(DynamicPluginTensorDesc const* inputs, int32_t input_count,
                                     DynamicPluginTensorDesc const*, int32_t) const noexcept {
    std::size_t bytes = 0;
    guarded([&] { bytes = operator_->scratch_bytes(largest(inputs, input_count)); });
    return bytes ? bytes + ALIGNMENT : 0;
}

Plugin* Plugin::attachToContext(nvinfer1::IPluginResourceContext*) noexcept {
    Plugin* made = nullptr;
    guarded([&] { made = new Plugin(operator_, Module::of(operator_->source())); });
    return made;
}

int32_t Plugin::onShapeChange(PluginTensorDesc const* inputs, int32_t input_count, PluginTensorDesc const* outputs,
                              int32_t output_count) noexcept {
    return guarded([&] {
        check_counts(input_count, output_count);
        Operands const given = operands(inputs, input_count);
        operator_->check_sizes(given);
        if (!module_) module_ = Module::of(operator_->source());  // while building, plugins run in no context
        for (Launch const& launch : operator_->launches(given, operands(outputs, 1)[0], nullptr)) {
            module_->function(launch.kernel);
        }
    });
}

int32_t Plugin::enqueue(PluginTensorDesc const* input_descriptions, PluginTensorDesc const* output_descriptions,
                        void const* const* inputs, void* const* outputs, void* workspace,
                        cudaStream_t stream) noexcept {
    return guarded([&] {
        if (!module_) module_ = Module::of(operator_->source());
        Operands const given = operands(input_descriptions, operator_->inputs(), inputs);
        Operand const output = {output_descriptions[0].type, output_descriptions[0].dims, outputs[0]};
        for (std::size_t i = 0; i < given.size(); ++i) {
            if (reinterpret_cast<std::uintptr_t>(given[i].data) % VECTOR != 0) {
                refuse(*operator_, "input %d lies at no multiple of %d bytes.", int(i), int(VECTOR));
            }
        }
        std::uintptr_t const scratch = (reinterpret_cast<std::uintptr_t>(workspace) + ALIGNMENT - 1) & ~(ALIGNMENT - 1);
        for (Launch const& launch : operator_->launches(given, output, reinterpret_cast<void*>(scratch))) {
            module_->run(launch, stream);
        }
    });
}

void Plugin::check_counts(int32_t inputs, int32_t outputs) const {
    if (inputs != operator_->inputs() || outputs != 1) {
        refuse(*operator_, "it has %d inputs and %d outputs instead of %d and 1.", int(inputs), int(outputs),
               operator_->inputs());
    }
}

}  // namespace mgts
