// What AlignRois and PsAssemble have in common: a map [B, C, h, w] of float32 or float16, boxes [B, R, 4] of float32,
// and an output that begins with B · R. Twin of mgts_trt/runtime/operators/regions_on_maps.py.
#pragma once

#include "operator.h"

namespace mgts {

bool takes_map_and_boxes(DataType const* types, int position);
void check_map_and_boxes(Operator const& which, char const* map, Operands const& inputs);
IDimensionExpr const* regions_of(DimsExprs const& boxes, IExprBuilder& build);

// Refuses boxes that are not [B, N, 4].
void check_boxes(Operator const& which, Operand const& boxes);

// Refuses more points on one axis of a region than the kernels hold, and less than one.
void check_points(Operator const& which, char const* what, int64_t points);
void check_stride(Operator const& which, float stride);

}  // namespace mgts
