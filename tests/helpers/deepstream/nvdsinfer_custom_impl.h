// What the parser of boxes uses of DeepStream's header of this name, declared as NVIDIA documents it: names, order and
// types, and nothing else. NVIDIA's own comes with DeepStream.
#pragma once

#include <vector>

enum NvDsInferDataType { FLOAT = 0, HALF = 1, INT8 = 2, INT32 = 3 };

struct NvDsInferDims {
    unsigned numDims;
    unsigned d[8];
    unsigned numElements;
};

struct NvDsInferLayerInfo {
    NvDsInferDataType dataType;
    union {
        NvDsInferDims inferDims;
        NvDsInferDims dims;
    };
    int bindingIndex;
    const char *layerName;
    void *buffer;
    int isInput;
};

struct NvDsInferNetworkInfo {
    unsigned width, height, channels;
};

struct NvDsInferParseDetectionParams {
    unsigned numClassesConfigured;
    std::vector<float> perClassPreclusterThreshold;
    std::vector<float> perClassPostclusterThreshold;
};

struct NvDsInferObjectDetectionInfo {
    unsigned classId;
    float left, top, width, height, detectionConfidence;
};

typedef bool (*NvDsInferParseCustomFunc)(const std::vector<NvDsInferLayerInfo> &, const NvDsInferNetworkInfo &,
                                         const NvDsInferParseDetectionParams &,
                                         std::vector<NvDsInferObjectDetectionInfo> &);

#define CHECK_CUSTOM_PARSE_FUNC_PROTOTYPE(function) \
    static_assert(static_cast<NvDsInferParseCustomFunc>(function) != nullptr, "");
