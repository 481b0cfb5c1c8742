#include "maps_and_boxes.h"
#include "operators.h"

namespace mgts {
namespace {

enum Input { BOXES };

constexpr int64_t TILE = 64, THREADS = 512, MAX_TILES = 128;  // of nms.cu

int64_t tiles_of(Operand const& boxes) { return divide_up(boxes.size(1), TILE); }

}  // namespace

void Nms::check() const {
    if (!(threshold_ >= 0 && threshold_ <= 1)) refuse(*this, "the threshold %g is no IoU, 0 to 1.", double(threshold_));
}

bool Nms::takes(DataType const* types, int) const { return types[BOXES] == DataType::kFLOAT; }

std::vector<IDimensionExpr const*> Nms::output_shape(DimsExprs const* inputs, IExprBuilder&) const {
    return {inputs[BOXES].d[0], inputs[BOXES].d[1]};
}

void Nms::check_sizes(Operands const& inputs) const {
    check_boxes(*this, inputs[BOXES]);
    if (inputs[BOXES].size(1) > TILE * MAX_TILES) {
        refuse(*this, "%d boxes of a picture, but the kernel holds at most %d.", inputs[BOXES].size(1),
               int(TILE * MAX_TILES));
    }
}

std::size_t Nms::scratch_bytes(Operands const& inputs) const {
    Operand const& boxes = inputs[BOXES];
    return std::size_t(boxes.size(0)) * std::size_t(boxes.size(1)) * std::size_t(tiles_of(boxes)) * 8;
}

std::vector<Launch> Nms::launches(Operands const& inputs, Operand const& output, void* scratch) const {
    Operand const& boxes = inputs[BOXES];
    unsigned const pictures = unsigned(boxes.size(0)), tiles = unsigned(tiles_of(boxes));
    return {
        {"nms_masks", source(), {tiles + 1, unsigned(divide_up(tiles, 2)), pictures}, {unsigned(TILE), 1, 1}, 0,
         {boxes.data, boxes.size(1), threshold_, scratch}},
        {"nms_keep", source(), {pictures, 1, 1}, {unsigned(THREADS), 1, 1}, 0,
         {scratch, boxes.size(1), output.data}},
    };
}

}  // namespace mgts
