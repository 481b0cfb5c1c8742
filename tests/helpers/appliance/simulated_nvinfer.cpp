// Stands in for libnvinfer: a plan of the tests is text that names a network and its tensors, and a run is answered by
// whoever listens at SIMULATED_NETWORKS, a socket. `unexpected.h`, which the tests write from TensorRT's own headers,
// has a class for each of TensorRT's with what is not expected to be called.
#include <NvInferRuntime.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstring>
#include <map>
#include <memory>
#include <sstream>
#include <tuple>

#include "streams.h"
#include "unexpected.h"

namespace {

using namespace nvinfer1;

struct Tensor {
    std::string name;
    bool input;
    DataType type;
    std::string dtype;
    std::size_t bytes;  // of a number
    Dims dims;
};

struct Network {
    std::string name;
    std::vector<Tensor> tensors;

    Tensor const* find(char const* wanted) const {
        for (Tensor const& each : tensors) {
            if (each.name == wanted) return &each;
        }
        return nullptr;
    }
};

ILogger* logger;

template <class T>
T refuse(std::string const& why, T answer) {
    logger->log(ILogger::Severity::kERROR, why.c_str());
    return answer;
}

struct Context : UnexpectedExecutionContext, IExecutionContext {
    explicit Context(std::shared_ptr<Network const> of) : network(of) {
        mImpl = this;
        for (Tensor const& each : network->tensors) shapes[each.name] = each.dims;
    }

    bool setInputShape(char const* name, Dims const& dims) noexcept override {
        Tensor const* const tensor = network->find(name);
        if (!tensor || !tensor->input || dims.nbDims != tensor->dims.nbDims) return refuse("no such input", false);
        for (int i = 0; i < dims.nbDims; ++i) {
            bool const fits = tensor->dims.d[i] < 0 ? dims.d[i] > 0 && dims.d[i] <= 64 : dims.d[i] == tensor->dims.d[i];
            if (!fits) return refuse("the profile takes no such shape", false);
        }
        shapes[name] = dims;
        return true;
    }

    Dims getTensorShape(char const* name) const noexcept override {
        Dims dims = shapes.at(name);
        for (Tensor const& each : network->tensors) {
            if (each.input && each.dims.d[0] < 0 && dims.d[0] < 0) dims.d[0] = shapes.at(each.name).d[0];
        }
        return dims;
    }

    bool setTensorAddress(char const* name, void* data) noexcept override {
        addresses[name] = static_cast<char*>(data);
        return network->find(name) || refuse(std::string("no tensor ") + name, false);
    }

    bool enqueueV3(cudaStream_t stream) noexcept override {
        std::ostringstream head;
        std::vector<std::pair<char*, std::size_t>> given, wanted;
        head << network->name << '\n';
        for (Tensor const& each : network->tensors) {
            Dims const shape = getTensorShape(each.name.c_str());
            std::size_t bytes = each.bytes;
            head << (each.input ? "input " : "output ") << each.name << ' ' << each.dtype;
            for (int i = 0; i < shape.nbDims; ++i) {
                if (shape.d[i] < 0) return refuse("an input has no shape", false);
                bytes *= std::size_t(shape.d[i]);
                head << ' ' << shape.d[i];
            }
            head << '\n';
            if (!addresses.count(each.name)) return refuse(each.name + " is not bound", false);
            (each.input ? given : wanted).push_back({addresses.at(each.name), bytes});
        }
        simulated::queue(stream, [text = head.str() + '\n', given, wanted, name = network->name] {
            simulated::tell("network " + name);
            ask(text, given, wanted);
        });
        return true;
    }

    static void ask(std::string const& head, std::vector<std::pair<char*, std::size_t>> const& given,
                    std::vector<std::pair<char*, std::size_t>> const& wanted) {
        int const place = socket(AF_UNIX, SOCK_STREAM, 0);
        sockaddr_un address = {};
        address.sun_family = AF_UNIX;
        std::strncpy(address.sun_path, simulated::setting("SIMULATED_NETWORKS"), sizeof address.sun_path - 1);
        if (connect(place, reinterpret_cast<sockaddr*>(&address), sizeof address)) simulated::give_up("nobody answers");
        auto const send = [&](char const* data, std::size_t bytes) {
            for (ssize_t sent; bytes > 0; data += sent, bytes -= std::size_t(sent)) {
                if ((sent = write(place, data, bytes)) <= 0) simulated::give_up("nobody listens");
            }
        };
        send(head.data(), head.size());
        for (auto const& [data, bytes] : given) send(data, bytes);
        for (auto [data, bytes] : wanted) {
            for (ssize_t got; bytes > 0; data += got, bytes -= std::size_t(got)) {
                if ((got = ::read(place, data, bytes)) <= 0) simulated::give_up("the answer is too short");
            }
        }
        close(place);
    }

    std::shared_ptr<Network const> network;
    std::map<std::string, Dims> shapes;
    std::map<std::string, char*> addresses;
};

struct Engine : UnexpectedCudaEngine, ICudaEngine {
    explicit Engine(std::shared_ptr<Network const> of) : network(of) { mImpl = this; }

    int32_t getNbIOTensors() const noexcept override { return int32_t(network->tensors.size()); }
    char const* getIOTensorName(int32_t i) const noexcept override { return network->tensors[size_t(i)].name.c_str(); }
    Dims getTensorShape(char const* name) const noexcept override { return network->find(name)->dims; }
    DataType getTensorDataType(char const* name) const noexcept override { return network->find(name)->type; }
    TensorIOMode getTensorIOMode(char const* name) const noexcept override {
        return network->find(name)->input ? TensorIOMode::kINPUT : TensorIOMode::kOUTPUT;
    }
    IExecutionContext* createExecutionContext(ExecutionContextAllocationStrategy) noexcept override {
        return new Context(network);
    }

    std::shared_ptr<Network const> network;
};

struct Registry : UnexpectedPluginRegistry {
    PluginLibraryHandle loadLibrary(char const* path) noexcept override {
        simulated::tell(std::string("plugins ") + path);
        return this;
    }
};

struct Runtime : UnexpectedRuntime, IRuntime {
    Runtime() { mImpl = this; }

    IPluginRegistry& getPluginRegistry() noexcept override { return registry; }

    ICudaEngine* deserializeCudaEngine(void const* data, std::size_t size) noexcept override {
        static std::map<std::string, std::pair<DataType, std::size_t>> const types = {
            {"float32", {DataType::kFLOAT, 4}}, {"float16", {DataType::kHALF, 2}}, {"uint8", {DataType::kUINT8, 1}}};
        std::istringstream lines(std::string(static_cast<char const*>(data), size));
        auto made = std::make_shared<Network>();
        std::string line, kind;
        if (!std::getline(lines, made->name) || size > 4096) {
            return refuse<ICudaEngine*>("the plan was not made by this TensorRT", nullptr);
        }
        while (std::getline(lines, line)) {
            std::istringstream words(line);
            Tensor tensor = {};
            words >> kind >> tensor.name >> tensor.dtype;
            tensor.input = kind == "input";
            std::tie(tensor.type, tensor.bytes) = types.at(tensor.dtype);
            for (int64_t side; words >> side;) tensor.dims.d[tensor.dims.nbDims++] = side;
            made->tensors.push_back(tensor);
        }
        simulated::tell("load " + made->name);
        return new Engine(made);
    }

    Registry registry;
};

}  // namespace

extern "C" void* createInferRuntime_INTERNAL(void* told, int32_t version) noexcept {
    if (version != NV_TENSORRT_VERSION) return nullptr;
    logger = static_cast<ILogger*>(told);
    return static_cast<IRuntime*>(new Runtime);
}

extern "C" int32_t getInferLibVersion() noexcept { return NV_TENSORRT_VERSION; }
