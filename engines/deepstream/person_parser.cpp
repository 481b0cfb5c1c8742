// People out of the detector's tensors, for DeepStream's nvinfer: boxes [K, 4], xyxy in pixels of the canvas, and scores
// [K], best first; places that nobody takes have score 0. The NMS is in the network.

#include <algorithm>
#include <cstring>
#include <iostream>
#include <vector>

#include "nvdsinfer_custom_impl.h"

namespace {

const NvDsInferLayerInfo *find(const std::vector<NvDsInferLayerInfo> &layers, const char *name) {
    for (const NvDsInferLayerInfo &layer : layers)
        if (layer.layerName && !std::strcmp(layer.layerName, name)) return &layer;
    return nullptr;
}

}  // namespace

extern "C" bool NvDsInferParseMgtsPeople(const std::vector<NvDsInferLayerInfo> &layers,
                                         const NvDsInferNetworkInfo &network,
                                         const NvDsInferParseDetectionParams &params,
                                         std::vector<NvDsInferObjectDetectionInfo> &people) {
    const NvDsInferLayerInfo *boxes = find(layers, "boxes"), *scores = find(layers, "scores");
    if (!boxes || !scores || boxes->dataType != FLOAT || scores->dataType != FLOAT ||
        boxes->inferDims.numElements != 4 * scores->inferDims.numElements) {
        std::cerr << "The detector must give boxes [K, 4] and scores [K] in float32; write the folder again with "
                     "mgts-trt deepstream.\n";
        return false;
    }
    const float least = params.perClassPreclusterThreshold.empty() ? 0 : params.perClassPreclusterThreshold[0];
    const float width = static_cast<float>(network.width), height = static_cast<float>(network.height);
    for (unsigned row = 0; row < scores->inferDims.numElements; ++row) {
        const float score = static_cast<const float *>(scores->buffer)[row];
        const float *box = static_cast<const float *>(boxes->buffer) + 4 * row;
        const float left = std::min(std::max(box[0], 0.f), width), top = std::min(std::max(box[1], 0.f), height);
        const float right = std::min(std::max(box[2], 0.f), width), bottom = std::min(std::max(box[3], 0.f), height);
        // So written that what is not a number is nobody.
        if (!(score >= least && score > 0 && right - left >= 1 && bottom - top >= 1)) continue;
        NvDsInferObjectDetectionInfo person{};  // newer versions have an angle, too
        person.left = left;
        person.top = top;
        person.width = right - left;
        person.height = bottom - top;
        person.detectionConfidence = std::min(score, 1.f);
        people.push_back(person);
    }
    return true;
}

CHECK_CUSTOM_PARSE_FUNC_PROTOTYPE(NvDsInferParseMgtsPeople)
