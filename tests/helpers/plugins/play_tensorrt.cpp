// Plays TensorRT's part towards a library of plugins, from creating them to running them.
//
//   play_tensorrt LIBRARY < cases
//
// What it is told, a line each: `kernel NAME PARAMETERS`, `gpu CAPABILITY`, `skew BYTES` by which inputs lie off a round
// address, and for each case `case OPERATOR`, any
// number of `attribute NAME i|f|l|d VALUE…` and `input TYPE SIZE…`, then `run`. It answers with a line of JSON a case, and
// ends with 1 where a plugin breaks TensorRT's rules.
#include <NvInferRuntime.h>
#include <dlfcn.h>

#include <cstdio>
#include <cstdlib>
#include <iostream>
#include <map>
#include <memory>
#include <sstream>
#include <string>
#include <vector>

#include "fake_cuda.h"

using namespace nvinfer1;

namespace {

#define REQUIRE(condition) \
    if (!(condition)) std::fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #condition), std::exit(1)

// Sizes as TensorRT's expressions: all known, as at run time.
class Size final : public IDimensionExpr, apiv::VDimensionExpr {
public:
    explicit Size(int64_t value) : value_(value) { mImpl = this; }
    ~Size() noexcept override = default;
    bool isConstant() const noexcept override { return true; }
    int64_t getConstantValue() const noexcept override { return value_; }
    bool isSizeTensor() const noexcept override { return false; }
    int64_t value() const { return value_; }

private:
    int64_t value_;
};

class Sizes final : public IExprBuilder, apiv::VExprBuilder {
public:
    Sizes() { mImpl = this; }
    ~Sizes() noexcept override = default;

    IDimensionExpr const* constant(int64_t value) override {
        made_.push_back(std::make_unique<Size>(value));
        return made_.back().get();
    }

    IDimensionExpr const* operation(DimensionOperation operation, IDimensionExpr const& first,
                                    IDimensionExpr const& second) override {
        int64_t const a = static_cast<Size const&>(first).value(), b = static_cast<Size const&>(second).value();
        switch (operation) {
            case DimensionOperation::kPROD: return constant(a * b);
            case DimensionOperation::kFLOOR_DIV: return constant(a / b);
            default: REQUIRE(false && "an operation that no plugin used before");
        }
        return nullptr;
    }

    IDimensionExpr const* declareSizeTensor(int32_t, IDimensionExpr const&, IDimensionExpr const&) override {
        return nullptr;
    }

private:
    std::vector<std::unique_ptr<Size>> made_;
};

class Log final : public ILogger, public ILoggerFinder {
public:
    std::vector<std::string> errors;
    void log(Severity, char const* text) noexcept override { errors.push_back(text); }
#if NV_TENSORRT_MAJOR >= 11
    ILogger* findLogger() noexcept override { return this; }
#else
    ILogger* findLogger() override { return this; }
#endif
};

// A field with bytes of its own, which begin at an odd address, as in a plan.
struct Field {
    std::string name;
    PluginFieldType type;
    int32_t length;
    std::vector<char> bytes;

    PluginField view() const { return {name.c_str(), bytes.data() + 1, type, length}; }
    bool operator==(Field const& other) const {
        return name == other.name && type == other.type && length == other.length && bytes == other.bytes;
    }
};

struct Case {
    std::string op;
    std::vector<Field> fields;
    std::vector<DynamicPluginTensorDesc> tensors;  // inputs, later the output
};

std::map<std::string, DataType> const types = {
    {"float32", DataType::kFLOAT}, {"float16", DataType::kHALF}, {"int8", DataType::kINT8}, {"int32", DataType::kINT32},
    {"int64", DataType::kINT64}, {"bfloat16", DataType::kBF16}, {"bool", DataType::kBOOL}, {"uint8", DataType::kUINT8}};

std::string name_of(DataType type) {
    for (auto const& [name, each] : types) {
        if (each == type) return name;
    }
    return "?";
}

Log logged;
std::map<std::string, IPluginCreatorV3One*> creators;

template <class T>
std::vector<char> bytes_of(std::istringstream& words, int32_t& length) {
    std::vector<char> bytes(1);
    for (T value; words >> value; ++length) {
        char const* const first = reinterpret_cast<char const*>(&value);
        bytes.insert(bytes.end(), first, first + sizeof value);
    }
    return bytes;
}

IPluginV3* create(std::string const& op, std::vector<Field> const& fields, TensorRTPhase phase) {
    std::vector<PluginField> views;
    for (Field const& field : fields) views.push_back(field.view());
    PluginFieldCollection const collection = {int32_t(views.size()), views.empty() ? nullptr : views.data()};
    return creators.at(op)->createPlugin("a name", &collection, phase);
}

template <class T>
T& part(IPluginV3& plugin, PluginCapabilityType type) {
    auto* const found = static_cast<T*>(plugin.getCapabilityInterface(type));
    REQUIRE(found);
    return *found;
}

IPluginV3OneBuild& build(IPluginV3& plugin) { return part<IPluginV3OneBuild>(plugin, PluginCapabilityType::kBUILD); }
IPluginV3OneRuntime& runtime(IPluginV3& plugin) {
    return part<IPluginV3OneRuntime>(plugin, PluginCapabilityType::kRUNTIME);
}

std::vector<Field> serialized(IPluginV3& plugin) {
    std::vector<Field> fields;
    PluginFieldCollection const& given = *runtime(plugin).getFieldsToSerialize();
    for (int32_t i = 0; i < given.nbFields; ++i) {
        PluginField const& field = given.fields[i];
        REQUIRE(field.type == PluginFieldType::kINT32 || field.type == PluginFieldType::kFLOAT32);
        char const* const data = static_cast<char const*>(field.data);
        std::vector<char> bytes(1);
        bytes.insert(bytes.end(), data, data + 4 * field.length);
        fields.push_back({field.name, field.type, field.length, bytes});
    }
    return fields;
}

// Where the tensors lie, and the workspace, which begins at no round address.
void* address(std::size_t tensor) { return reinterpret_cast<void*>((tensor + 1) << 32); }
void* const workspace = reinterpret_cast<void*>((std::uintptr_t(99) << 32) + 8);
cudaStream_t const stream = reinterpret_cast<cudaStream_t>(std::uintptr_t(7));

std::uintptr_t skew = 0;

std::vector<fake::Launch> run(IPluginV3& plugin, std::vector<PluginTensorDesc> const& tensors) {
    std::size_t const inputs = tensors.size() - 1;
    std::vector<void const*> addresses;
    for (std::size_t i = 0; i < inputs; ++i) addresses.push_back(static_cast<char*>(address(i)) + skew);
    void* const output = address(inputs);
    fake::record().launches.clear();
    int const before = fake::record().looked_up, loads = int(fake::record().loaded.size());
    int32_t const result = runtime(plugin).enqueue(tensors.data(), tensors.data() + inputs, addresses.data(), &output,
                                                   workspace, stream);
    REQUIRE((result == 0) == logged.errors.empty());
    REQUIRE(fake::record().looked_up == before && int(fake::record().loaded.size()) == loads);
    return fake::record().launches;
}

// Which types each position takes, the others being the case's.
std::string formats(IPluginV3& plugin, std::vector<DynamicPluginTensorDesc> tensors) {
    std::ostringstream text;
    int32_t const count = int32_t(tensors.size());
    for (int32_t position = 0; position < count; ++position) {
        DataType const own = tensors[position].desc.type;
        text << (position ? ", [" : "[");
        bool first = true;
        for (auto const& [name, type] : types) {
            tensors[position].desc.type = type;
            tensors[position].desc.format = TensorFormat::kLINEAR;
            if (build(plugin).supportsFormatCombination(position, tensors.data(), count - 1, 1)) {
                text << (first ? "" : ", ") << '"' << name << '"';
                first = false;
            }
            for (TensorFormat other : {TensorFormat::kCHW2, TensorFormat::kHWC8, TensorFormat::kCHW32}) {
                tensors[position].desc.format = other;
                REQUIRE(!build(plugin).supportsFormatCombination(position, tensors.data(), count - 1, 1));
            }
        }
        tensors[position].desc.format = TensorFormat::kLINEAR;
        tensors[position].desc.type = own;
        text << "]";
    }
    return text.str();
}

DynamicPluginTensorDesc described(DataType type, Dims dims) {
    DynamicPluginTensorDesc tensor = {};
    tensor.desc = {dims, type, TensorFormat::kLINEAR, 0.0f};
    tensor.min = tensor.max = tensor.opt = dims;
    return tensor;
}

void add_output(IPluginV3& plugin, Case& asked) {
    int32_t const inputs = int32_t(asked.tensors.size());
    REQUIRE(build(plugin).getNbOutputs() == 1);
    std::vector<DataType> given;
    std::vector<DimsExprs> shapes;
    Sizes sizes;
    for (auto const& tensor : asked.tensors) {
        given.push_back(tensor.desc.type);
        DimsExprs shape = {};
        shape.nbDims = tensor.desc.dims.nbDims;
        for (int axis = 0; axis < shape.nbDims; ++axis) shape.d[axis] = sizes.constant(tensor.desc.dims.d[axis]);
        shapes.push_back(shape);
    }
    DataType type;
    REQUIRE(build(plugin).getOutputDataTypes(&type, 1, given.data(), inputs) == 0);
    DimsExprs shape = {};
    REQUIRE(build(plugin).getOutputShapes(shapes.data(), inputs, nullptr, 0, &shape, 1, sizes) == 0);
    Dims dims = {};
    dims.nbDims = shape.nbDims;
    for (int axis = 0; axis < shape.nbDims; ++axis) dims.d[axis] = static_cast<Size const*>(shape.d[axis])->value();
    asked.tensors.push_back(described(type, dims));
}

void answer(Case asked) {
    logged.errors.clear();
    fake::record() = {};
    auto const refused = [] {
        std::ostringstream text;
        for (auto const& error : logged.errors) text << error << ' ';
        std::printf("{\"refused\": \"%s\"}\n", text.str().c_str());
    };
    std::unique_ptr<IPluginV3> parsed(create(asked.op, asked.fields, TensorRTPhase::kBUILD));
    if (!parsed) return refused();
    add_output(*parsed, asked);

    // Built: a clone outlives what it was made of, is asked about types and sizes, and timed in no context.
    std::unique_ptr<IPluginV3> plugin(parsed->clone());
    parsed.reset();
    int32_t const inputs = int32_t(asked.tensors.size()) - 1;
    std::string const taken = formats(*plugin, asked.tensors);
    if (build(*plugin).configurePlugin(asked.tensors.data(), inputs, &asked.tensors[inputs], 1) != 0) return refused();
    std::size_t const room = build(*plugin).getWorkspaceSize(asked.tensors.data(), inputs, &asked.tensors[inputs], 1);
    std::vector<PluginTensorDesc> tensors;
    for (auto const& tensor : asked.tensors) tensors.push_back(tensor.desc);
    REQUIRE(fake::record().loaded.empty());
    if (runtime(*plugin).onShapeChange(tensors.data(), inputs, &tensors[inputs], 1) != 0) return refused();
    auto const launches = run(*plugin, tensors);
    if (!logged.errors.empty()) return refused();

    // Kept in a plan, loaded from it, and attached to two contexts, which run it again and again.
    auto const kept = serialized(*plugin);
    plugin.reset();
    REQUIRE(fake::record().loaded.size() == 1 && fake::record().unloaded == 1);
    std::unique_ptr<IPluginV3> loaded(create(asked.op, kept, TensorRTPhase::kRUNTIME));
    REQUIRE(loaded && serialized(*loaded) == kept);
    std::unique_ptr<IPluginV3> one(runtime(*loaded).attachToContext(nullptr));
    std::unique_ptr<IPluginV3> other(runtime(*loaded).attachToContext(nullptr));
    loaded.reset();
    REQUIRE(one && other && fake::record().loaded.size() == 2 && fake::record().unloaded == 1);
    for (IPluginV3* each : {one.get(), other.get(), one.get()}) {
        REQUIRE(runtime(*each).onShapeChange(tensors.data(), inputs, &tensors[inputs], 1) == 0);
        REQUIRE(fake::record().loaded.size() == 2);
        REQUIRE(run(*each, tensors) == launches);
    }
    one.reset();
    REQUIRE(fake::record().unloaded == 1);
    other.reset();
    REQUIRE(fake::record().unloaded == 2);
    REQUIRE(logged.errors.empty());

    PluginTensorDesc const& output = tensors.back();
    std::printf("{\"dtype\": \"%s\", \"shape\": [", name_of(output.type).c_str());
    for (int axis = 0; axis < output.dims.nbDims; ++axis) {
        std::printf("%s%lld", axis ? ", " : "", static_cast<long long>(output.dims.d[axis]));
    }
    std::printf("], \"takes\": [%s], \"workspace\": %zu, \"image\": \"%s\", \"launches\": [", taken.c_str(), room,
                fake::record().loaded[0].c_str());
    for (std::size_t i = 0; i < launches.size(); ++i) {
        auto const& [kernel, grid, block, shared, on, arguments] = launches[i];
        REQUIRE(on == stream);
        std::printf("%s{\"kernel\": \"%s\", \"grid\": [%u, %u, %u], \"block\": [%u, %u, %u], \"shared_bytes\": %u, "
                    "\"arguments\": [", i ? ", " : "", kernel.c_str(), grid[0], grid[1], grid[2], block[0], block[1],
                    block[2], shared);
        for (std::size_t k = 0; k < arguments.size(); ++k) {
            std::printf("%s\"", k ? ", " : "");
            for (unsigned char byte : arguments[k]) std::printf("%02x", byte);
            std::printf("\"");
        }
        std::printf("]}");
    }
    std::printf("]}\n");
}

}  // namespace

int main(int, char** arguments) {
    void* const library = dlopen(arguments[1], RTLD_NOW | RTLD_LOCAL);
    if (!library) std::fprintf(stderr, "%s\n", dlerror()), std::exit(1);
    auto const set_finder = reinterpret_cast<void (*)(ILoggerFinder*)>(dlsym(library, "setLoggerFinder"));
    auto const get = reinterpret_cast<IPluginCreatorInterface* const* (*)(int32_t&)>(dlsym(library, "getCreators"));
    REQUIRE(set_finder && get);
    set_finder(&logged);
    int32_t count = 0;
    IPluginCreatorInterface* const* const found = get(count);
    for (int32_t i = 0; i < count; ++i) {
        auto* const creator = static_cast<IPluginCreatorV3One*>(found[i]);
        REQUIRE(std::string(creator->getInterfaceInfo().kind) == "PLUGIN CREATOR_V3ONE");
        REQUIRE(std::string(creator->getPluginVersion()) == "1" && std::string(creator->getPluginNamespace()).empty());
        creators[creator->getPluginName()] = creator;
    }
    Case asked;
    for (std::string line; std::getline(std::cin, line);) {
        std::istringstream words(line);
        std::string word, name, kind;
        words >> word >> name;
        if (word == "kernel") {
            words >> kind;
            fake::declare(name, kind);
        } else if (word == "gpu") {
            fake::set_capability(std::stoi(name));
        } else if (word == "skew") {
            skew = std::stoul(name);
        } else if (word == "case") {
            asked = {name, {}, {}};
        } else if (word == "attribute") {
            words >> kind;
            Field field = {name, kind == "f" ? PluginFieldType::kFLOAT32 : PluginFieldType::kINT32, 0, {}};
            if (kind == "l") field.type = PluginFieldType::kINT64;
            if (kind == "d") field.type = PluginFieldType::kFLOAT64;
            field.bytes = kind == "f"   ? bytes_of<float>(words, field.length)
                          : kind == "d" ? bytes_of<double>(words, field.length)
                          : kind == "l" ? bytes_of<int64_t>(words, field.length)
                                        : bytes_of<int32_t>(words, field.length);
            asked.fields.push_back(field);
        } else if (word == "input") {
            Dims dims = {};
            for (int64_t size; words >> size;) dims.d[dims.nbDims++] = size;
            asked.tensors.push_back(described(types.at(name), dims));
        } else if (word == "run") {
            answer(asked);
        }
    }
}
