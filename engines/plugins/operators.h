// The operators; engines/operators/README.md says what each computes, and the shapes of its tensors.
#pragma once

#include "operator.h"

namespace mgts {

class Nms final : public Operator {
public:
    char const* name() const override { return "Nms"; }
    char const* source() const override { return "nms.cu"; }
    std::vector<Attribute> attributes() override { return {{"threshold", threshold_}}; }
    void check() const override;
    int inputs() const override { return 1; }
    bool takes(DataType const* types, int position) const override;
    DataType output_type() const override { return DataType::kFLOAT; }
    std::vector<IDimensionExpr const*> output_shape(DimsExprs const* inputs, IExprBuilder& build) const override;
    void check_sizes(Operands const& inputs) const override;
    std::size_t scratch_bytes(Operands const& inputs) const override;
    std::vector<Launch> launches(Operands const& inputs, Operand const& output, void* scratch) const override;

private:
    float threshold_ = 0.0f;
};

class AlignRois final : public Operator {
public:
    char const* name() const override { return "AlignRois"; }
    char const* source() const override { return "align_rois.cu"; }
    std::vector<Attribute> attributes() override {
        return {{"size", size_}, {"samples", samples_}, {"stride", stride_}, {"dtype", dtype_}};
    }
    void check() const override;
    int inputs() const override { return 2; }
    bool takes(DataType const* types, int position) const override;
    DataType output_type() const override;
    std::vector<IDimensionExpr const*> output_shape(DimsExprs const* inputs, IExprBuilder& build) const override;
    void check_sizes(Operands const& inputs) const override;
    std::vector<Launch> launches(Operands const& inputs, Operand const& output, void* scratch) const override;

private:
    int32_t size_ = 0;
    int32_t samples_[2] = {0, 0};
    float stride_ = 0.0f;
    int32_t dtype_ = 0;
};

class PsAssemble final : public Operator {
public:
    char const* name() const override { return "PsAssemble"; }
    char const* source() const override { return "ps_assemble.cu"; }
    std::vector<Attribute> attributes() override { return {{"bins", bins_}, {"size", size_}, {"stride", stride_}}; }
    void check() const override;
    int inputs() const override { return 2; }
    bool takes(DataType const* types, int position) const override;
    DataType output_type() const override { return DataType::kFLOAT; }
    std::vector<IDimensionExpr const*> output_shape(DimsExprs const* inputs, IExprBuilder& build) const override;
    void check_sizes(Operands const& inputs) const override;
    std::vector<Launch> launches(Operands const& inputs, Operand const& output, void* scratch) const override;

private:
    int32_t bins_ = 0;
    int32_t size_ = 0;
    float stride_ = 0.0f;
};

class SeHead final : public Operator {
public:
    char const* name() const override { return "SeHead"; }
    char const* source() const override { return "se_head.cu"; }
    int inputs() const override { return 5; }
    bool takes(DataType const* types, int position) const override;
    DataType output_type() const override { return DataType::kFLOAT; }
    std::vector<IDimensionExpr const*> output_shape(DimsExprs const* inputs, IExprBuilder& build) const override;
    void check_sizes(Operands const& inputs) const override;
    std::size_t scratch_bytes(Operands const& inputs) const override;
    std::vector<Launch> launches(Operands const& inputs, Operand const& output, void* scratch) const override;
};

}  // namespace mgts
