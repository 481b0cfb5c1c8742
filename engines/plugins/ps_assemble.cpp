#include "maps_and_boxes.h"
#include "operators.h"

namespace mgts {
namespace {

enum Input { MAPS, BOXES };

constexpr int64_t THREADS = 256;  // of ps_assemble.cu

}  // namespace

void PsAssemble::check() const {
    if (bins_ < 1 || size_ % bins_ != 0) {
        refuse(*this, "size %d is no multiple of %d bins.", int(size_), int(bins_));
    }
    check_points(*this, "size", size_);
    check_stride(*this, stride_);
}

bool PsAssemble::takes(DataType const* types, int position) const { return takes_map_and_boxes(types, position); }

std::vector<IDimensionExpr const*> PsAssemble::output_shape(DimsExprs const* inputs, IExprBuilder& build) const {
    IDimensionExpr const* const side = build.constant(size_);
    IDimensionExpr const* const groups = build.constant(int64_t(bins_) * bins_);
    IDimensionExpr const* const channels =
        build.operation(nvinfer1::DimensionOperation::kFLOOR_DIV, *inputs[MAPS].d[1], *groups);
    return {regions_of(inputs[BOXES], build), channels, side, side};
}

void PsAssemble::check_sizes(Operands const& inputs) const {
    check_map_and_boxes(*this, "maps", inputs);
    if (inputs[MAPS].size(1) % (bins_ * bins_) != 0) {
        refuse(*this, "%d maps are no multiple of %d x %d bins.", inputs[MAPS].size(1), int(bins_), int(bins_));
    }
}

std::vector<Launch> PsAssemble::launches(Operands const& inputs, Operand const& output, void*) const {
    Operand const &map = inputs[MAPS], &boxes = inputs[BOXES];
    int const channels = map.size(1) / (bins_ * bins_);
    unsigned const blocks = unsigned(divide_up(int64_t(channels) * size_ * size_, THREADS));
    return {{map.type == DataType::kHALF ? "ps_assemble_f16" : "ps_assemble_f32", source(),
             {unsigned(boxes.size(1)), blocks, unsigned(boxes.size(0))}, {unsigned(THREADS), 1, 1}, 0,
             {map.data, boxes.data, boxes.size(1), channels, map.size(2), map.size(3), bins_, size_, stride_,
              output.data}}};
}

}  // namespace mgts
