// CUDA's driver, as far as the plugins call it: opaque types, and types of its functions. Looked up at run time, so
// that a library of plugins is linked, and loads, where there is no driver.
#pragma once

#include <cuda_runtime_api.h>

typedef struct CUctx_st* CUcontext;
typedef struct CUmod_st* CUmodule;
typedef struct CUfunc_st* CUfunction;
typedef cudaStream_t CUstream;

namespace mgts {

using Result = int;  // 0 is success
using Device = int;

struct Driver {
    Result (*context)(CUcontext*);
    Result (*device)(Device*);
    Result (*push)(CUcontext);
    Result (*pop)(CUcontext*);
    Result (*attribute)(int*, int, Device);
    Result (*load)(CUmodule*, void const*);
    Result (*unload)(CUmodule);
    Result (*function)(CUfunction*, CUmodule, char const*);
    Result (*launch)(CUfunction, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, CUstream, void**,
                     void**);
    Result (*describe)(Result, char const**);

    // Throws where there is no driver, or an old one.
    static Driver const& get();

    // Throws, with what was done and what the driver says of it, unless `result` is success.
    void check(Result result, char const* what, char const* which = "") const;
};

inline constexpr int CAPABILITY_MAJOR = 75, CAPABILITY_MINOR = 76;  // of cuDeviceGetAttribute

}  // namespace mgts
