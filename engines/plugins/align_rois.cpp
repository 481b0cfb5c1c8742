#include "maps_and_boxes.h"
#include "operators.h"

namespace mgts {
namespace {

enum Input { FEATURES, BOXES };

constexpr int32_t ONNX_FLOAT = 1, ONNX_FLOAT16 = 10;
constexpr int64_t THREADS = 256, CHANNELS = 32, TOGETHER = 4, WARP = 32;  // of align_rois.cu

// By samples, from 1: the threads that share a bin, LANES in align_rois.cu.
constexpr int64_t LANES[] = {2, 4, 8, 8};
constexpr int MAX_SAMPLES = int(sizeof LANES / sizeof *LANES);

}  // namespace

void AlignRois::check() const {
    if (samples_[0] != samples_[1]) {
        refuse(*this, "samples are %d and %d instead of a number twice.", int(samples_[0]), int(samples_[1]));
    }
    if (dtype_ != ONNX_FLOAT && dtype_ != ONNX_FLOAT16) {
        refuse(*this, "dtype is %d instead of 1 (float32) or 10 (float16).", int(dtype_));
    }
    if (size_ < 1 || samples_[0] < 1 || samples_[0] > MAX_SAMPLES) {
        refuse(*this, "size is %d and samples %d instead of 1 at least and 1 to %d.", int(size_), int(samples_[0]),
               MAX_SAMPLES);
    }
    check_points(*this, "size x samples", int64_t(size_) * samples_[0]);
    check_stride(*this, stride_);
}

bool AlignRois::takes(DataType const* types, int position) const { return takes_map_and_boxes(types, position); }

DataType AlignRois::output_type() const { return dtype_ == ONNX_FLOAT ? DataType::kFLOAT : DataType::kHALF; }

std::vector<IDimensionExpr const*> AlignRois::output_shape(DimsExprs const* inputs, IExprBuilder& build) const {
    IDimensionExpr const* const side = build.constant(size_);
    return {regions_of(inputs[BOXES], build), inputs[FEATURES].d[1], side, side};
}

void AlignRois::check_sizes(Operands const& inputs) const { check_map_and_boxes(*this, "features", inputs); }

std::vector<Launch> AlignRois::launches(Operands const& inputs, Operand const& output, void*) const {
    static char const* const kernels[2][2] = {{"align_rois_f32_f32", "align_rois_f32_f16"},
                                              {"align_rois_f16_f32", "align_rois_f16_f16"}};
    Operand const &map = inputs[FEATURES], &boxes = inputs[BOXES];
    bool const from_half = map.type == DataType::kHALF, to_half = output_type() == DataType::kHALF;
    // Whole warps, as few as make a block's bins in as few rounds as THREADS would.
    int64_t const jobs = CHANNELS / TOGETHER * size_ * LANES[samples_[0] - 1];
    int64_t const rounds = divide_up(jobs, THREADS);
    unsigned const threads = unsigned(divide_up(jobs, rounds * WARP) * WARP);
    unsigned const groups = unsigned(divide_up(map.size(1), CHANNELS));
    return {{kernels[from_half][to_half], source(), {unsigned(boxes.size(1)), groups, unsigned(boxes.size(0))},
             {threads, 1, 1}, 0,
             {map.data, boxes.data, boxes.size(1), map.size(1), map.size(2), map.size(3), size_, samples_[0], stride_,
              output.data}}};
}

}  // namespace mgts
