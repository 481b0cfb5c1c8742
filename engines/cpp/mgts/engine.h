// TensorRT: a plan loaded, with one execution context and memory for its outputs.
#pragma once

#include <NvInferRuntime.h>

#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "device.h"
#include "plan.h"

namespace mgts {

// Keeps what TensorRT says of errors, of each thread, until an error is made of it. TensorRT keeps the first one that it
// is given for the whole process, so there is only one.
class Logger final : public nvinfer1::ILogger {
public:
    static Logger& get() {
        static Logger* const logger = new Logger;  // never freed: TensorRT may log while the process ends
        return *logger;
    }

    void log(Severity severity, char const* text) noexcept override {
        if (severity > Severity::kERROR) return;
        try {
            errors().push_back(text);
        } catch (...) {
        }
    }

    Error error(std::string const& doing) {
        std::string const why = errors().empty() ? "it gives no reason" : join(errors(), "; ");
        errors().clear();
        return Error("TensorRT failed in " + doing + ": " + why + ".");
    }

private:
    Logger() = default;

    static std::vector<std::string>& errors() {
        thread_local std::vector<std::string> kept;
        return kept;
    }
};

// Loads plans. It must outlive the engines.
class Runtime {
public:
    // `plugins` is the library of the operators, or empty where no plan has any.
    explicit Runtime(std::filesystem::path const& plugins) {
        runtime_.reset(nvinfer1::createInferRuntime(Logger::get()));
        if (!runtime_) throw Logger::get().error("starting");
        if (plugins.empty()) return;
        read_file(plugins, "Name the library that `mgts-trt plugins path` prints.");
        if (!runtime_->getPluginRegistry().loadLibrary(plugins.c_str())) {
            throw Logger::get().error("loading the plugins of " + plugins.string());
        }
    }

    // Of the library that is loaded: "10.3.0".
    static std::string version() {
        int const version = getInferLibVersion();
        return std::to_string(version / 10000) + "." + std::to_string(version / 100 % 100) + "." +
               std::to_string(version % 100);
    }

    nvinfer1::ICudaEngine* load(Plan const& plan) {
        std::string const bytes = plan.bytes();
        nvinfer1::ICudaEngine* const engine = runtime_->deserializeCudaEngine(bytes.data(), bytes.size());
        if (!engine) throw Logger::get().error("loading " + plan.file.string());
        return engine;
    }

private:
    std::unique_ptr<nvinfer1::IRuntime> runtime_;
};

// One model. Its outputs lie in memory of its own, for the largest batch that it takes or that is wanted.
class Engine {
public:
    // `rows` is the largest batch that will be run; the plan may take less: see `most`.
    Engine(Runtime& runtime, Plan plan, int rows) : plan_(std::move(plan)) {
        engine_.reset(runtime.load(plan_));
        check_tensors();
        context_.reset(engine_->createExecutionContext());
        if (!context_) throw Logger::get().error("making a context of " + plan_.model);
        for (auto const& [name, spec] : plan_.inputs) most_ = std::min(most_ ? most_ : rows, plan_.most.at(name));
        set_rows(most_);
        for (auto const& [name, spec] : plan_.outputs) {
            std::size_t bytes = type_bytes(spec.dtype);
            nvinfer1::Dims const shape = context_->getTensorShape(name.c_str());
            for (int axis = 0; axis < shape.nbDims; ++axis) {
                if (shape.d[axis] < 0) {
                    throw Error("The size of " + name + " in " + plan_.file.string() + " depends on what is in it; "
                                "networks of a bundle have no such output. Build it again.");
                }
                bytes *= std::size_t(shape.d[axis]);
            }
            outputs_[name] = DeviceMemory(bytes);
            bind(name, outputs_[name]);
        }
    }

    Plan const& plan() const { return plan_; }
    int most() const { return most_; }

    void bind(std::string const& name, DeviceMemory const& memory) {
        if (!context_->setTensorAddress(name.c_str(), reinterpret_cast<void*>(memory.get()))) {
            throw Logger::get().error("binding " + name + " of " + plan_.model);
        }
    }

    // The sizes of inputs whose first axis varies.
    void set_rows(int rows) {
        for (auto const& [name, spec] : plan_.inputs) {
            if (spec.shape.at(0) >= 0) continue;
            nvinfer1::Dims shape = {};
            shape.nbDims = int(spec.shape.size());
            for (std::size_t axis = 0; axis < spec.shape.size(); ++axis) shape.d[axis] = spec.shape[axis];
            shape.d[0] = rows;
            if (!context_->setInputShape(name.c_str(), shape)) {
                throw Logger::get().error("setting " + name + " of " + plan_.model + " to " + std::to_string(rows));
            }
        }
    }

    void enqueue(Stream const& stream) {
        if (!context_->enqueueV3(stream.get())) throw Logger::get().error("running " + plan_.model);
    }

    DeviceMemory const& output(std::string const& name) const { return outputs_.at(name); }

    static std::size_t type_bytes(std::string const& dtype) {
        return dtype == "float32" || dtype == "int32" ? 4 : dtype == "int64" ? 8 : dtype == "float16" ? 2 : 1;
    }

private:
    static std::string name_of(nvinfer1::DataType type) {
        using nvinfer1::DataType;
        switch (type) {
            case DataType::kFLOAT: return "float32";
            case DataType::kHALF: return "float16";
            case DataType::kINT8: return "int8";
            case DataType::kINT32: return "int32";
            case DataType::kINT64: return "int64";
            case DataType::kBOOL: return "bool";
            case DataType::kUINT8: return "uint8";
            default: return "another type";
        }
    }

    // The engine's tensors must be those that its sidecar names.
    void check_tensors() const {
        TensorSpecs inputs, outputs;
        for (int i = 0; i < engine_->getNbIOTensors(); ++i) {
            char const* const name = engine_->getIOTensorName(i);
            nvinfer1::Dims const shape = engine_->getTensorShape(name);
            TensorSpec spec = {name_of(engine_->getTensorDataType(name)), {}};
            for (int axis = 0; axis < shape.nbDims; ++axis) spec.shape.push_back(shape.d[axis]);
            bool const input = engine_->getTensorIOMode(name) == nvinfer1::TensorIOMode::kINPUT;
            (input ? inputs : outputs)[name] = spec;
        }
        std::string const file = plan_.file.string();
        for (bool const input : {true, false}) {
            TensorSpecs const& wanted = input ? plan_.inputs : plan_.outputs;
            TensorSpecs& found = input ? inputs : outputs;
            for (auto const& [name, spec] : wanted) {
                auto const there = found.find(name);
                if (there == found.end() || !(there->second == spec)) {
                    std::string const has = there == found.end() ? "" : "; it is " + there->second.text();
                    throw Error(file + " has no " + (input ? "input " : "output ") + name + " " + spec.text() + has +
                                ". Build it again with `mgts-trt build`.");
                }
                found.erase(there);
            }
            if (!found.empty()) {
                throw Error(file + " has a tensor its sidecar does not name: " + found.begin()->first +
                            ". Build it again with `mgts-trt build`.");
            }
        }
    }

    Plan plan_;
    int most_ = 0;
    std::unique_ptr<nvinfer1::ICudaEngine> engine_;
    std::map<std::string, DeviceMemory> outputs_;
    std::unique_ptr<nvinfer1::IExecutionContext> context_;  // freed first
};

}  // namespace mgts
