// What TensorRT's headers take from CUDA's: two opaque types. So the library is built where there is no CUDA toolkit;
// the wheels of TensorRT bring none, and those of CUDA's runtime lack a part of its headers.
#pragma once

typedef struct CUstream_st* cudaStream_t;
typedef struct CUevent_st* cudaEvent_t;
