// Calls the parser as nvinfer does: by its name, with the layers of one frame.
#include "nvdsinfer_custom_impl.h"

extern "C" bool NvDsInferParseMgtsPeople(const std::vector<NvDsInferLayerInfo> &, const NvDsInferNetworkInfo &,
                                         const NvDsInferParseDetectionParams &,
                                         std::vector<NvDsInferObjectDetectionInfo> &);

static NvDsInferLayerInfo layer(const char *name, float *buffer, unsigned elements, int type) {
    NvDsInferLayerInfo made{};
    made.dataType = static_cast<NvDsInferDataType>(type);
    made.inferDims.numElements = elements;
    made.layerName = name;
    made.buffer = buffer;
    return made;
}

// Returns how many people there are, −1 where the parser refuses; found is [rows, 5]: left, top, width, height, score.
extern "C" int parse(float *boxes, float *scores, unsigned rows, unsigned columns, int type, const char *name,
                     float least, unsigned width, unsigned height, float *found) {
    std::vector<NvDsInferLayerInfo> layers{layer(name, scores, rows, type), layer("boxes", boxes, rows * columns, type)};
    std::vector<NvDsInferObjectDetectionInfo> people;
    NvDsInferParseDetectionParams params{1, {least}, {0.f}};
    if (!NvDsInferParseMgtsPeople(layers, {width, height, 3}, params, people)) return -1;
    for (const auto &person : people) {
        if (person.classId != 0) return -2;
        for (float value : {person.left, person.top, person.width, person.height, person.detectionConfidence})
            *found++ = value;
    }
    return static_cast<int>(people.size());
}
