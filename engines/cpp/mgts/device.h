// A GPU by CUDA's driver: streams, events and memory that free themselves.
#pragma once

#include <cuda.h>

#include <cstddef>
#include <string>
#include <utility>

#include "error.h"

namespace mgts {

inline void check(CUresult result, std::string const& doing) {
    if (result == CUDA_SUCCESS) return;
    char const* text = nullptr;
    cuGetErrorString(result, &text);
    throw Error("The GPU failed in " + doing + ": " + (text ? text : "unknown error") +
                ". Look at it with `nvidia-smi`, or `tegrastats` on a Jetson.");
}

// What CUDA made, with the function that frees it; freed once.
template <class T, CUresult (*Free)(T)>
class Owned {
public:
    Owned() = default;
    explicit Owned(T handle) : handle_(handle) {}
    Owned(Owned&& other) noexcept : handle_(std::exchange(other.handle_, T())) {}
    Owned& operator=(Owned&& other) noexcept {
        std::swap(handle_, other.handle_);
        return *this;
    }
    ~Owned() {
        if (handle_) Free(handle_);
    }

    T get() const { return handle_; }

private:
    T handle_ = T();
};

// The primary context of a GPU, which TensorRT uses as well.
class Device {
public:
    explicit Device(int index = 0) {
        check(cuInit(0), "initialising NVIDIA's driver");
        check(cuDeviceGet(&device_, index), "looking for GPU " + std::to_string(index));
        check(cuDevicePrimaryCtxRetain(&context_, device_), "opening a context");
        make_current();
    }
    Device(Device const&) = delete;
    Device& operator=(Device const&) = delete;
    ~Device() { cuDevicePrimaryCtxRelease(device_); }

    void make_current() const { check(cuCtxSetCurrent(context_), "taking up a context"); }

    // For destructors: what fails there fails.
    void settle() const noexcept {
        cuCtxSetCurrent(context_);
        cuCtxSynchronize();
    }

    // Compute capability times ten.
    int capability() const {
        return 10 * attribute(CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR) +
               attribute(CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR);
    }

private:
    int attribute(CUdevice_attribute which) const {
        int value = 0;
        check(cuDeviceGetAttribute(&value, which, device_), "asking for its compute capability");
        return value;
    }

    CUdevice device_ = 0;
    CUcontext context_ = nullptr;
};

class Event {
public:
    Event() {
        CUevent made = nullptr;
        check(cuEventCreate(&made, CU_EVENT_DISABLE_TIMING), "making an event");
        event_ = Owned<CUevent, cuEventDestroy>(made);
    }

    void record(CUstream stream) { check(cuEventRecord(event_.get(), stream), "recording an event"); }
    void synchronize() const { check(cuEventSynchronize(event_.get()), "waiting for an event"); }
    CUevent get() const { return event_.get(); }

private:
    Owned<CUevent, cuEventDestroy> event_;
};

class Stream {
public:
    Stream() {
        CUstream made = nullptr;
        check(cuStreamCreate(&made, CU_STREAM_NON_BLOCKING), "making a stream");
        stream_ = Owned<CUstream, cuStreamDestroy>(made);
    }

    CUstream get() const { return stream_.get(); }
    void wait(Event const& event) { check(cuStreamWaitEvent(stream_.get(), event.get(), 0), "waiting on a stream"); }
    void synchronize() const { check(cuStreamSynchronize(stream_.get()), "running what was queued"); }

private:
    Owned<CUstream, cuStreamDestroy> stream_;
};

// Device memory, aligned to 256 bytes at least, holding zeros: networks see numbers where nothing has been written yet.
class DeviceMemory {
public:
    DeviceMemory() = default;
    explicit DeviceMemory(std::size_t bytes) : bytes_(bytes) {
        CUdeviceptr made = 0;
        check(cuMemAlloc(&made, bytes), "allocating " + std::to_string(bytes) + " bytes");
        memory_ = Owned<CUdeviceptr, cuMemFree>(made);
        check(cuMemsetD8(made, 0, bytes), "clearing memory");
        check(cuCtxSynchronize(), "clearing memory");  // the streams here wait for no other
    }

    CUdeviceptr get() const { return memory_.get(); }
    std::size_t bytes() const { return bytes_; }
    void const* at(std::size_t offset = 0) const { return reinterpret_cast<void const*>(memory_.get() + offset); }

private:
    Owned<CUdeviceptr, cuMemFree> memory_;
    std::size_t bytes_ = 0;
};

// An array in pinned host memory that is copied from or to the device.
template <class T>
class Pinned {
public:
    Pinned() = default;
    explicit Pinned(std::size_t size) : size_(size) {
        void* made = nullptr;
        check(cuMemAllocHost(&made, size * sizeof(T)), "allocating pinned memory");
        memory_ = Owned<void*, cuMemFreeHost>(made);
    }

    T* data() const { return static_cast<T*>(memory_.get()); }
    std::size_t size() const { return size_; }
    T const& operator[](std::size_t i) const { return data()[i]; }

    // Queue the copy of the first `count`.
    void upload(DeviceMemory const& to, std::size_t count, Stream const& stream) const {
        if (count == 0) return;
        check(cuMemcpyHtoDAsync(to.get(), data(), count * sizeof(T), stream.get()), "copying to the GPU");
    }
    void download(DeviceMemory const& from, std::size_t count, Stream const& stream, std::size_t first = 0) {
        if (count == 0) return;
        check(cuMemcpyDtoHAsync(data() + first, from.get(), count * sizeof(T), stream.get()), "copying from the GPU");
    }

private:
    Owned<void*, cuMemFreeHost> memory_;
    std::size_t size_ = 0;
};

}  // namespace mgts
