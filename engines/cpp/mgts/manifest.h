// What a bundle says of itself, as far as running it needs it. Twin of mgts_trt/bundle/manifest.py.
#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "json_file.h"

namespace mgts {

// An input or output of a model: -1 stands where a dimension varies.
struct TensorSpec {
    std::string dtype;  // NumPy's name
    std::vector<std::int64_t> shape;

    static TensorSpec of(json const& told) {
        TensorSpec spec = {told.at("dtype").get<std::string>(), {}};
        for (json const& size : told.at("shape")) spec.shape.push_back(size.is_string() ? -1 : size.get<std::int64_t>());
        return spec;
    }

    std::string text() const {
        std::vector<std::string> sizes;
        for (std::int64_t size : shape) sizes.push_back(size < 0 ? "?" : std::to_string(size));
        return dtype + " [" + join(sizes) + "]";
    }

    bool operator==(TensorSpec const& other) const { return dtype == other.dtype && shape == other.shape; }
};

using TensorSpecs = std::map<std::string, TensorSpec>;

inline TensorSpecs tensor_specs(json const& told) {
    TensorSpecs specs;
    for (auto const& [name, spec] : told.items()) specs[name] = TensorSpec::of(spec);
    return specs;
}

struct Model {
    std::map<std::string, std::string> onnx_sha256;  // by precision
    TensorSpecs inputs, outputs;
};

struct Manifest {
    int canvas_height, canvas_width;
    std::array<int, 3> pad;           // RGB beside the picture
    std::array<float, 3> mean, std;   // by channel, on the scale of 0..255
    int patch_height, patch_width;
    double gamma;                     // RoI expand ratio
    int embedding;                    // numbers a person
    float detection, instance, mask;  // thresholds
    std::map<std::string, Model> models;

    // Throws where it is missing, altered, or of another format.
    static Manifest read(std::filesystem::path const& bundle) {
        std::filesystem::path const path = bundle / "manifest.json";
        std::string const advice = "Name the folder of a bundle, copied whole.";
        json const told = read_record(path, 3, advice);
        try {
            return of(told);
        } catch (json::exception const& error) {
            throw Error(path.string() + " is no manifest of a bundle: " + error.what() + ". " + advice);
        }
    }

private:
    static Manifest of(json const& told) {
        Manifest made = {};
        auto const [height, width] = told.at("canvas").get<std::array<int, 2>>();
        made.canvas_height = height, made.canvas_width = width;
        made.pad = told.at("pad").get<std::array<int, 3>>();
        made.mean = told.at("normalisation").at("mean").get<std::array<float, 3>>();
        made.std = told.at("normalisation").at("std").get<std::array<float, 3>>();
        auto const [patch_height, patch_width] = told.at("patch").get<std::array<int, 2>>();
        made.patch_height = patch_height, made.patch_width = patch_width;
        made.gamma = told.at("gamma").get<double>();
        made.embedding = told.at("embedding").get<int>();
        json const& thresholds = told.at("thresholds");
        made.detection = thresholds.at("detection").get<float>();
        made.instance = thresholds.at("instance").get<float>();
        made.mask = thresholds.at("mask").get<float>();
        for (auto const& [name, model] : told.at("models").items()) {
            Model& one = made.models[name];
            for (auto const& [precision, file] : model.at("files").items()) {
                one.onnx_sha256[precision] = file.at("sha256").get<std::string>();
            }
            one.inputs = tensor_specs(model.at("inputs"));
            one.outputs = tensor_specs(model.at("outputs"));
        }
        return made;
    }
};

}  // namespace mgts
