// The plan of a model that this machine runs: found by its identity, which is compared before a byte of it is loaded.
// Twin of mgts_trt/plans/plan.py, for standard TensorRT and plans of one engine.
#pragma once

#include <sys/utsname.h>

#include <algorithm>
#include <filesystem>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "manifest.h"

namespace mgts {

// What a plan must have been built for.
struct Machine {
    std::string tensorrt;  // version of the library that is loaded: "10.3.0"
    int capability;        // of the GPU, times ten
    bool plugins;          // whether a library of plugins is loaded

    static std::string platform() {
        utsname name;
        uname(&name);
        std::string text = std::string(name.sysname) + "-" + name.machine;
        for (char& c : text) c = char(std::tolower(c));
        return text;
    }
};

struct Plan {
    std::filesystem::path file;
    std::string model, sha256;
    TensorSpecs inputs, outputs;
    std::map<std::string, int> most;  // input → the most rows its first axis may have

    // Its bytes, which are those that were built.
    std::string bytes() const {
        std::string data = read_file(file, "Build it again with `mgts-trt build`.");
        if (mgts::sha256(data) != sha256) {
            throw Error(file.string() + " is altered: its checksum does not match. Build it again with `mgts-trt "
                        "build`.");
        }
        return data;
    }
};

namespace plan_details {

inline std::string release(std::string const& version) {  // "10.13.3" of "10.13.3.9"
    std::size_t end = std::string::npos, dots = 0;
    for (std::size_t i = 0; i < version.size() && end == std::string::npos; ++i) {
        if (version[i] == '.' && ++dots == 3) end = i;
    }
    return version.substr(0, end);
}

// Clauses that say why a plan is not run here; none if it is.
inline std::vector<std::string> differences(json const& identity, std::string const& onnx, Machine const& machine) {
    std::vector<std::string> clauses;
    auto const text = [&](char const* key) { return identity.at(key).get<std::string>(); };
    std::string const flavour = text("flavour"), version = text("flavour_version"), lowering = text("lowering");
    if (flavour != "tensorrt" || release(version) != release(machine.tensorrt)) {
        std::string const built = flavour == "tensorrt" ? "TensorRT" : "TensorRT-RTX";
        clauses.push_back("it was built by " + built + " " + version + ", this is TensorRT " + machine.tensorrt);
    }
    std::string const target = "sm_" + std::to_string(machine.capability);
    if (text("target") != target) clauses.push_back("it was built for " + text("target") + ", not for " + target);
    if (text("platform") != Machine::platform()) {
        clauses.push_back("it was built on " + text("platform") + ", this is " + Machine::platform());
    }
    if (text("onnx_sha256") != onnx) clauses.push_back("it was built from another ONNX file");
    if (identity.at("operators") != 1) clauses.push_back("its operators are not of version 1");
    if (lowering == "kernel") {
        clauses.push_back("it is a chain of engines, and this program runs one engine a model: build with --ops plugin");
    }
    if (lowering == "plugin" && !machine.plugins) {
        clauses.push_back("its operators are plugins, and no library of them is named");
    }
    return clauses;
}

// Whether a plan's tensors are those of the model: a dimension that varies may be fixed to one picture.
inline bool agree(TensorSpecs const& model, TensorSpecs const& plan) {
    auto const same = [](auto const& mine, auto const& other) {
        TensorSpec const &a = mine.second, &b = other.second;
        auto const fits = [](std::int64_t wanted, std::int64_t size) {
            return wanted == size || (wanted < 0 && size == 1);
        };
        return mine.first == other.first && a.dtype == b.dtype &&
               std::equal(a.shape.begin(), a.shape.end(), b.shape.begin(), b.shape.end(), fits);
    };
    return std::equal(model.begin(), model.end(), plan.begin(), plan.end(), same);
}

inline Plan plan_of(std::filesystem::path const& folder, json const& record) {
    json const& step = record.at("chain").at("steps").at(0);
    std::string const file = step.at("file").get<std::string>();
    if (file.find('/') != std::string::npos) throw Error(folder.string() + " names a plan outside of it.");
    Plan plan = {folder / file, record.at("identity").at("model").get<std::string>(), step.at("sha256"),
                 tensor_specs(record.at("inputs")), tensor_specs(record.at("outputs")), {}};
    for (auto const& [name, spec] : record.at("inputs").items()) {
        json const& first = spec.at("shape").at(0);
        plan.most[name] = first.is_string() ? record.at("profile").at(first.get<std::string>()).at("max").get<int>()
                                            : first.get<int>();
    }
    return plan;
}

}  // namespace plan_details

// The plan of `model` in `precision` that this machine runs. Of several, one with plugins goes before one without,
// and one for fewer pictures before one for more. Throws where there is none, and says what the nearest differs in.
inline Plan find_plan(std::filesystem::path const& bundle, Manifest const& manifest, std::string const& model,
                      std::string const& precision, Machine const& machine) {
    using namespace plan_details;
    std::string const build = "Build it with `mgts-trt build " + bundle.string() + " --model " + model +
                              " --precision " + precision + " --target current`.";
    auto const found = manifest.models.find(model);
    if (found == manifest.models.end() || !found->second.onnx_sha256.count(precision)) {
        throw Error("The bundle " + bundle.string() + " holds no " + model + " in " + precision +
                    ". Take another mode or precision, or a bundle that holds it.");
    }
    std::vector<std::filesystem::path> folders;
    std::error_code nothing;
    for (auto const& entry : std::filesystem::directory_iterator(bundle / "plans", nothing)) {
        std::string const start = model + "." + precision + ".";
        if (entry.path().filename().string().compare(0, start.size(), start) == 0) folders.push_back(entry.path());
    }
    std::sort(folders.begin(), folders.end());
    std::vector<std::pair<std::pair<int, int>, Plan>> usable;
    std::optional<std::pair<std::filesystem::path, std::vector<std::string>>> nearest;
    std::optional<Error> broken;  // a plan that cannot be read costs itself, unless there is no other
    for (std::filesystem::path const& folder : folders) {
        try {
            json const record = read_record(folder / "plan.json", 5, build);
            json const& identity = record.at("identity");
            auto const clauses = differences(identity, found->second.onnx_sha256.at(precision), machine);
            if (!clauses.empty()) {
                if (!nearest || clauses.size() < nearest->second.size()) nearest = {folder, clauses};
                continue;
            }
            Plan plan = plan_of(folder, record);
            if (!agree(found->second.inputs, plan.inputs) || !agree(found->second.outputs, plan.outputs)) {
                throw Error("The plan " + folder.string() + " is not of the model the manifest describes. " + build);
            }
            usable.push_back({{identity.at("lowering") != "plugin", identity.at("batch").get<int>()}, std::move(plan)});
        } catch (json::exception const& error) {
            broken = Error((folder / "plan.json").string() + " is no sidecar of a plan: " + error.what() + ". " + build);
        } catch (Error const& error) {
            broken = error;
        }
    }
    if (usable.empty() && broken) throw *broken;
    std::string const none = "The bundle " + bundle.string() + " has no plan of " + model + " in " + precision;
    if (usable.empty() && !nearest) throw Error(none + ". " + build);
    if (usable.empty()) {
        throw Error(none + " that can be used here. It has " + nearest->first.filename().string() + ", but " +
                    join(nearest->second, "; ") + ". " + build);
    }
    auto const before = [](auto const& a, auto const& b) { return a.first < b.first; };
    return std::min_element(usable.begin(), usable.end(), before)->second;
}

}  // namespace mgts
