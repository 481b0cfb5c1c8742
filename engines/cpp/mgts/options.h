// How a bundle is opened, and which plan of a model that means here.
#pragma once

#include <filesystem>
#include <string>

#include "device.h"
#include "engine.h"
#include "manifest.h"
#include "plan.h"

namespace mgts {

struct Options {
    std::filesystem::path bundle;
    std::filesystem::path kernels;  // the folder engines/kernels
    std::filesystem::path plugins;  // the library of the operators; empty where plans are built with --ops graph
    std::string mode = "net";       // net, box or none
    std::string precision = "fp32";
    int max_people = 64;  // of one run of re-ID; more in a picture are described in turns
};

inline Plan plan_for(Options const& options, Manifest const& manifest, Device const& device, std::string const& model) {
    Machine const machine = {Runtime::version(), device.capability(), !options.plugins.empty()};
    return find_plan(options.bundle, manifest, model, options.precision, machine);
}

}  // namespace mgts
