# The door to the core, and what its callers in Cython share.
from libc.stdint cimport int64_t, uint64_t
from libcpp cimport bool as cbool

cdef extern from "gru_native.h" nogil:
    ctypedef enum gn_status:
        GN_OK, GN_INVALID, GN_NO_MEMORY, GN_INTERRUPTED, GN_USED, GN_FAILED, GN_BUSY, GN_FULL
    ctypedef enum gn_type:
        GN_FLOAT32, GN_FLOAT64
    ctypedef enum gn_keep:
        GN_KEEP_NOTHING, GN_KEEP_GATES, GN_KEEP_STATES
    ctypedef enum gn_cell:
        pass

    ctypedef struct gn_error:
        size_t size
        char message[256]

    ctypedef struct gn_weights:
        pass

    ctypedef struct gn_parameters:
        const void* weight_ih
        const void* weight_hh
        const void* bias_ih
        const void* bias_hh
        const void* gamma_ih
        const void* gamma_hh
        const void* peephole
        const void* weight_hr

    ctypedef enum gn_function:
        pass

    ctypedef struct gn_activation:
        gn_function function
        double alpha, beta

    ctypedef struct gn_weights_options:
        size_t size
        gn_cell cell
        gn_type type
        size_t input_size, hidden_size
        gn_parameters parameters
        gn_activation activations[3]
        double clip
        cbool input_forget
        size_t projection_size

    ctypedef struct gn_weights_info:
        size_t size
        size_t gates, states
        const char* isa

    ctypedef struct gn_input:
        const void* data
        ptrdiff_t stride[2]

    ctypedef struct gn_output:
        void* data
        ptrdiff_t stride[2]

    ctypedef struct gn_call:
        size_t size
        const gn_weights* weights[2]
        cbool reverse
        int threads
        size_t steps, batch
        const int64_t* lengths
        gn_input reset, x, h_0, c_0, mask
        double zoneout
        cbool zoneout_is_random
        uint64_t zoneout_key[2]
        gn_output output, h_n, c_n
        gn_keep keep
        void* tape
        size_t tape_size

    ctypedef struct gn_gradients:
        void* weight_ih
        void* weight_hh
        void* bias_ih
        void* bias_hh
        void* gamma_ih
        void* gamma_hh
        void* peephole
        void* weight_hr

    ctypedef struct gn_backward_call:
        size_t size
        const gn_call* forward
        gn_input d_output, d_h_n, d_c_n
        gn_output d_x
        cbool accumulate_d_x
        gn_output d_h_0, d_c_0
        gn_gradients gradients[2]
        cbool keep_tape

    const int GN_MAX_THREADS
    size_t gn_cell_gates(gn_cell cell)
    gn_status gn_weights_create(const gn_weights_options* options, gn_weights** weights, gn_error* error)
    void gn_weights_destroy(gn_weights* weights)
    gn_status gn_weights_describe(const gn_weights* weights, gn_weights_info* info, gn_error* error)
    gn_status gn_tape_size(const gn_call* call, size_t* bytes, gn_error* error)
    gn_status gn_forward(const gn_call* call, gn_error* error)
    gn_status gn_backward(const gn_backward_call* call, gn_error* error)
    gn_status gn_copy_gate(const gn_call* call, int direction, size_t gate, const gn_output* out, gn_error* error)
    void* gn_allocate(size_t bytes)
    void gn_release(void* memory, size_t bytes)
    size_t gn_least_kept()
    gn_status gn_dropout(
        gn_type type, size_t size, const void* x, void* y, uint64_t key, double p, int threads, gn_error* error
    )

    ctypedef struct gn_file:
        pass

    ctypedef struct gn_model:
        pass

    ctypedef struct gn_model_info:
        size_t size
        gn_type type
        size_t input_size, indices, output_size, states, work
        unsigned char digest[32]

    ctypedef struct gn_state:
        size_t size
        const char* name
        size_t elements
        cbool is_whole

    ctypedef struct gn_session:
        pass

    ctypedef struct gn_pool:
        pass

    ctypedef struct gn_pool_info:
        size_t size
        size_t capacity, open, shards, bytes

    gn_status gn_file_read(const void* content, size_t bytes, gn_file** file, gn_error* error)
    void gn_file_destroy(gn_file* file)
    gn_status gn_model_create(const gn_file* file, gn_model** model, gn_error* error)
    void gn_model_destroy(gn_model* model)
    gn_status gn_model_describe(const gn_model* model, gn_model_info* info, gn_error* error)
    gn_status gn_model_state(const gn_model* model, size_t place, gn_state* state, gn_error* error)
    gn_status gn_session_create(const gn_model* model, size_t batch, gn_session** session, gn_error* error)
    void gn_session_destroy(gn_session* session)
    gn_status gn_session_step(gn_session* session, const void* x, void* y, gn_error* error)
    gn_status gn_session_run(
        gn_session* session, size_t steps, const void* x, void* y, int threads, gn_error* error
    )
    gn_status gn_session_reset(gn_session* session, const cbool* rows, gn_error* error)
    gn_status gn_session_get(gn_session* session, size_t place, void* to, gn_error* error)
    gn_status gn_session_set(gn_session* session, size_t place, const void* from_, gn_error* error)
    gn_status gn_session_update(gn_session* session, const gn_model* model, gn_error* error)
    gn_status gn_snapshot_size(const gn_model* model, size_t rows, size_t* bytes, gn_error* error)
    gn_status gn_session_snapshot(gn_session* session, void* to, size_t bytes, gn_error* error)
    gn_status gn_session_restore(gn_session* session, const void* from_, size_t bytes, gn_error* error)
    gn_status gn_pool_create(
        const gn_model* model, size_t capacity, size_t shards, gn_pool** pool, gn_error* error
    )
    void gn_pool_destroy(gn_pool* pool)
    gn_status gn_pool_open(gn_pool* pool, int shard, uint64_t* id, gn_error* error)
    gn_status gn_pool_close(gn_pool* pool, uint64_t id, gn_error* error)
    gn_status gn_pool_step(gn_pool* pool, size_t n, const uint64_t* ids, const void* x, void* y, gn_error* error)
    gn_status gn_pool_reset(gn_pool* pool, size_t n, const uint64_t* ids, gn_error* error)
    gn_status gn_pool_snapshot(gn_pool* pool, uint64_t id, void* to, size_t bytes, gn_error* error)
    gn_status gn_pool_restore(
        gn_pool* pool, const void* from_, size_t bytes, int shard, uint64_t* id, gn_error* error
    )
    gn_status gn_pool_grow(gn_pool* pool, size_t capacity, gn_error* error)
    gn_status gn_pool_update(gn_pool* pool, const gn_model* model, gn_error* error)
    gn_status gn_pool_describe(gn_pool* pool, gn_pool_info* info, gn_error* error)


# Raises what the core says.
cdef inline int check(gn_status status, gn_error* error) except -1:
    if status == GN_OK:
        return 0
    if status == GN_INTERRUPTED:
        return -1  # the handler of the signal has raised
    if status == GN_NO_MEMORY:
        raise MemoryError
    raise (ValueError if status == GN_INVALID else RuntimeError)(error.message.decode(errors="replace"))
