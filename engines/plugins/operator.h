// An operator of the domain `mgts` with its attributes: what a plugin asks of it. Twin of the classes of
// mgts_trt/runtime/operators, which make the same launches for the chains of plans.
//
// Each file beside this one that is named after an operator has one class of this kind. It never changes once it has
// been read, so that all clones of a plugin share it. What it refuses it throws, as std::invalid_argument.
#pragma once

#include <NvInferRuntime.h>

#include <cstddef>
#include <cstdint>
#include <vector>

#include "launch.h"

namespace mgts {

using nvinfer1::DataType;
using nvinfer1::Dims;
using nvinfer1::DimsExprs;
using nvinfer1::IDimensionExpr;
using nvinfer1::IExprBuilder;
using nvinfer1::PluginField;
using nvinfer1::PluginFieldCollection;
using nvinfer1::PluginFieldType;

// An input or output: a contiguous array on the device. While only sizes are asked for, `data` is null.
struct Operand {
    DataType type;
    Dims dims;
    void const* data = nullptr;

    int size(int axis) const { return int(dims.d[axis]); }
};

using Operands = std::vector<Operand>;

// An attribute, and where the operator keeps it: `length` numbers.
struct Attribute {
    char const* name;
    PluginFieldType type;
    int32_t length;
    void* value;

    Attribute(char const* name, float& value) : Attribute(name, PluginFieldType::kFLOAT32, 1, &value) {}
    Attribute(char const* name, int32_t& value) : Attribute(name, PluginFieldType::kINT32, 1, &value) {}
    template <int N>
    Attribute(char const* name, int32_t (&values)[N]) : Attribute(name, PluginFieldType::kINT32, N, values) {}

    // Takes the value from `given`, which may have it as a wider type.
    void read(PluginFieldCollection const& given) const;

private:
    Attribute(char const* name, PluginFieldType type, int32_t length, void* value)
        : name(name), type(type), length(length), value(value) {}
};

class Operator {
public:
    virtual ~Operator() = default;

    virtual char const* name() const = 0;
    virtual char const* source() const = 0;  // of its kernels, in engines/kernels
    virtual std::vector<Attribute> attributes() { return {}; }

    // Called once, when the attributes have been read.
    virtual void check() const {}

    virtual int inputs() const = 0;

    // Whether input `position` may be of the type it has; only the inputs before it can be looked at.
    virtual bool takes(DataType const* types, int position) const = 0;
    virtual DataType output_type() const = 0;
    virtual std::vector<IDimensionExpr const*> output_shape(DimsExprs const* inputs, IExprBuilder& build) const = 0;

    // Inputs of types that it takes: whether their ranks and sizes fit together, and are small enough.
    virtual void check_sizes(Operands const& inputs) const = 0;

    virtual std::size_t scratch_bytes(Operands const&) const { return 0; }

    // What one run launches, in order. `scratch` has `scratch_bytes(inputs)` bytes, aligned to 256, holding anything.
    virtual std::vector<Launch> launches(Operands const& inputs, Operand const& output, void* scratch) const = 0;
};

// "Nms: " and so on; what an operator throws where it refuses something.
[[noreturn]] void refuse(Operator const& which, char const* format, ...) __attribute__((format(printf, 2, 3)));

// Refuses a tensor whose rank is another, or that is empty.
void check_rank(Operator const& which, char const* tensor, Operand const& operand, int rank);

}  // namespace mgts
