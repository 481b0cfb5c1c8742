#include "maps_and_boxes.h"

namespace mgts {
namespace {

constexpr int64_t MAX_POINTS = 128;  // of sampling.cuh
constexpr int64_t MAX_CELLS = int64_t(1) << 28;  // of a map: the kernels count its bytes in 32 bits

}  // namespace

bool takes_map_and_boxes(DataType const* types, int position) {
    return types[position] == DataType::kFLOAT || (position == 0 && types[0] == DataType::kHALF);
}

void check_boxes(Operator const& which, Operand const& boxes) {
    check_rank(which, "boxes", boxes, 3);
    if (boxes.size(2) != 4) refuse(which, "a box has %d numbers instead of 4.", boxes.size(2));
}

void check_map_and_boxes(Operator const& which, char const* map, Operands const& inputs) {
    check_rank(which, map, inputs[0], 4);
    check_boxes(which, inputs[1]);
    if (inputs[0].size(0) != inputs[1].size(0)) {
        refuse(which, "%s of %d pictures, but boxes of %d.", map, inputs[0].size(0), inputs[1].size(0));
    }
    if (int64_t(inputs[0].size(2)) * inputs[0].size(3) > MAX_CELLS) {
        refuse(which, "%s of %d x %d, but the kernel takes at most %d cells.", map, inputs[0].size(2),
               inputs[0].size(3), int(MAX_CELLS));
    }
}

IDimensionExpr const* regions_of(DimsExprs const& boxes, IExprBuilder& build) {
    return build.operation(nvinfer1::DimensionOperation::kPROD, *boxes.d[0], *boxes.d[1]);
}

void check_points(Operator const& which, char const* what, int64_t points) {
    if (points < 1 || points > MAX_POINTS) {
        refuse(which, "%s is %lld instead of 1 to %lld.", what, static_cast<long long>(points),
               static_cast<long long>(MAX_POINTS));
    }
}

void check_stride(Operator const& which, float stride) {
    if (!(stride > 0)) refuse(which, "stride is %g, but a cell is more than 0 pixels wide.", double(stride));
}

}  // namespace mgts
