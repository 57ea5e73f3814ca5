# DLPack's table of C functions, by which other libraries look at tensors: its layout is the same in all versions of 1.
from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t

cdef extern from *:
    """
    #include <cstdint>
    struct DLDevice { int32_t device_type; int32_t device_id; };
    struct DLDataType { uint8_t code; uint8_t bits; uint16_t lanes; };
    struct DLTensor {
      void* data;
      DLDevice device;
      int32_t ndim;
      DLDataType dtype;
      int64_t* shape;
      int64_t* strides;
      uint64_t byte_offset;
    };
    struct DLPackExchangeAPI {
      uint32_t major, minor;
      DLPackExchangeAPI* previous;
      int (*allocate)(DLTensor*, void**, void*, void (*)(void*, const char*, const char*));
      int (*take)(void*, void**);
      int (*give)(void*, void**);
      int (*look)(void*, DLTensor*);
      int (*stream)(int32_t, int32_t, void**);
    };
    """
    ctypedef struct DLDevice:
        int32_t device_type

    ctypedef struct DLDataType:
        uint8_t code, bits
        uint16_t lanes

    ctypedef struct DLTensor:
        void* data
        DLDevice device
        int32_t ndim
        DLDataType dtype
        int64_t* shape
        int64_t* strides
        uint64_t byte_offset

    ctypedef struct DLPackExchangeAPI:
        uint32_t major
        # Fills the structure, whose arrays are the tensor's own; not 0 when it has set an exception.
        int look(void* tensor, DLTensor* view) noexcept

cdef enum:
    on_cpu = 1
    of_int = 0
    of_uint = 1
    of_float = 2
    of_bool = 6
