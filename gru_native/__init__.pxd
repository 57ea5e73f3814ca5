# The interface in C, gru_native.h, for programs in Cython: `from gru_native cimport *`. The header says what all of it
# does. A program compiles with the folder of `gru_native.get_include()` and links `gru_native.get_library()`.
from cpython.exc cimport PyErr_Occurred
from libc.stdint cimport int64_t, uint32_t, uint64_t

cdef extern from "<stdbool.h>" nogil:
    ctypedef bint cbool "bool"

cdef extern from "gru_native.h" nogil:
    const int GN_ABI_VERSION, GN_MAX_THREADS, GN_MAX_AXES

    uint32_t gn_abi_version()

    ctypedef enum gn_status:
        GN_OK, GN_INVALID, GN_NO_MEMORY, GN_INTERRUPTED, GN_USED, GN_FAILED, GN_BUSY, GN_FULL

    ctypedef struct gn_error:
        size_t size
        char argument[32]
        char message[256]

    ctypedef enum gn_type:
        GN_FLOAT32, GN_FLOAT64

    ctypedef struct gn_executor:
        size_t size
        int (*ready)(void* user, int wanted)
        cbool (*run)(void* user, int members, void (*task)(void* data, int member), void* data)
        void* user

    ctypedef enum gn_team:
        GN_OPENMP, GN_THREADS, GN_EXECUTOR

    gn_status gn_set_team(gn_team team, const gn_executor* executor, gn_error* error)
    gn_team gn_get_team()
    gn_status gn_watch(cbool (*asked)(void* user), void* user, gn_error* error)

    ctypedef struct gn_context:
        pass

    ctypedef struct gn_context_options:
        size_t size
        gn_team team
        const gn_executor* executor
        cbool (*asked)(void* user)
        void* user

    gn_status gn_context_create(const gn_context_options* options, gn_context** context, gn_error* error)
    void gn_context_destroy(gn_context* context)
    void gn_use_context(const gn_context* context)
    int gn_default_threads()
    int gn_use_threads(int threads)
    int gn_cpu_quota(const char* root)
    void* gn_allocate(size_t bytes)
    void gn_release(void* memory, size_t bytes)
    size_t gn_least_kept()
    size_t gn_release_kept()

    ctypedef struct gn_allocator:
        size_t size
        void* (*allocate)(void* user, size_t bytes, size_t alignment)
        void (*release)(void* user, void* memory)
        void* user

    gn_status gn_set_allocator(const gn_allocator* allocator, gn_error* error)
    const char* gn_built_isa(size_t place)
    const char* gn_supported_isa(size_t place)
    gn_status gn_active_isa(const char** name, gn_error* error)
    gn_status gn_vector_width(gn_type type, size_t* width, gn_error* error)
    const char* gn_blas()

    ctypedef enum gn_cell:
        GN_GRU_RESET_AFTER, GN_GRU_RESET_BEFORE, GN_GRU_LAYER_NORM, GN_LSTM, GN_RNN_TANH, GN_RNN_RELU

    size_t gn_cell_gates(gn_cell cell)

    ctypedef enum gn_function:
        GN_USUAL, GN_SIGMOID, GN_TANH, GN_RELU, GN_LINEAR, GN_HARD_SIGMOID, GN_LEAKY_RELU, GN_ELU, GN_SOFTSIGN,
        GN_SOFTPLUS, GN_SCALED_TANH, GN_THRESHOLDED_RELU

    ctypedef struct gn_activation:
        gn_function function
        double alpha, beta

    ctypedef struct gn_parameters:
        const void* weight_ih
        const void* weight_hh
        const void* bias_ih
        const void* bias_hh
        const void* gamma_ih
        const void* gamma_hh
        const void* peephole
        const void* weight_hr

    ctypedef struct gn_gradients:
        void* weight_ih
        void* weight_hh
        void* bias_ih
        void* bias_hh
        void* gamma_ih
        void* gamma_hh
        void* peephole
        void* weight_hr

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

    ctypedef struct gn_weights:
        pass

    gn_status gn_weights_create(const gn_weights_options* options, gn_weights** weights, gn_error* error)
    void gn_weights_destroy(gn_weights* weights)

    ctypedef struct gn_weights_info:
        size_t size
        gn_cell cell
        gn_type type
        size_t input_size, hidden_size, output_size, gates, states
        cbool bias_ih, bias_hh, gains, peepholes
        const char* isa

    gn_status gn_weights_describe(const gn_weights* weights, gn_weights_info* info, gn_error* error)

    ctypedef struct gn_input:
        const void* data
        ptrdiff_t stride[2]

    ctypedef struct gn_output:
        void* data
        ptrdiff_t stride[2]

    ctypedef enum gn_keep:
        GN_KEEP_NOTHING, GN_KEEP_GATES, GN_KEEP_STATES

    ctypedef struct gn_call:
        size_t size
        const gn_weights* weights[2]
        cbool reverse
        int threads
        size_t steps, batch
        const int64_t* lengths
        gn_input reset
        gn_input x
        gn_input h_0, c_0
        gn_input mask
        double zoneout
        cbool zoneout_is_random
        uint64_t zoneout_key[2]
        gn_output output
        gn_output h_n, c_n
        gn_keep keep
        void* tape
        size_t tape_size

    gn_status gn_tape_size(const gn_call* call, size_t* bytes, gn_error* error)
    gn_status gn_forward(const gn_call* call, gn_error* error)

    ctypedef struct gn_backward_call:
        size_t size
        const gn_call* forward
        gn_input d_output
        gn_input d_h_n, d_c_n
        gn_output d_x
        cbool accumulate_d_x
        gn_output d_h_0, d_c_0
        gn_gradients gradients[2]
        cbool keep_tape

    gn_status gn_backward(const gn_backward_call* call, gn_error* error)
    gn_status gn_copy_gate(const gn_call* call, int direction, size_t gate, const gn_output* out, gn_error* error)

    ctypedef struct gn_linear:
        pass

    gn_status gn_linear_create(
        gn_type type, size_t input_size, size_t output_size, const void* weight, const void* bias, gn_linear** linear,
        gn_error* error
    )
    void gn_linear_destroy(gn_linear* linear)
    gn_status gn_linear_forward(
        const gn_linear* linear, size_t rows, const void* x, ptrdiff_t x_row, void* y, ptrdiff_t y_row, int threads,
        gn_error* error
    )
    gn_status gn_linear_backward(
        const gn_linear* linear, size_t rows, const void* x, const void* d_y, void* d_x, void* d_weight, void* d_bias,
        int threads, gn_error* error
    )

    ctypedef struct gn_convolution:
        size_t size
        const gn_linear* linear
        size_t kernel, stride, dilation
        size_t left, right
        size_t steps, batch
        const int64_t* lengths
        gn_input x
        int threads

    gn_status gn_convolution_forward(const gn_convolution* call, const gn_output* y, gn_error* error)
    gn_status gn_convolution_backward(
        const gn_convolution* call, const gn_input* d_y, const gn_output* d_x, void* d_weight, void* d_bias,
        gn_error* error
    )

    ctypedef struct gn_memory:
        size_t size
        size_t steps, batch, heads
        size_t key_size, value_size
        const void* keys
        const void* values
        const void* score
        const int64_t* lengths

    gn_status gn_attention_forward(
        gn_type type, const gn_memory* memory, size_t queries, const void* query, void* weights, void* context,
        int threads, gn_error* error
    )
    gn_status gn_attention_backward(
        gn_type type, const gn_memory* memory, size_t queries, const void* query, const void* weights,
        const void* d_context, void* d_query, void* d_keys, void* d_values, void* d_score, int threads, gn_error* error
    )

    ctypedef struct gn_decoder:
        pass

    ctypedef struct gn_decoder_options:
        size_t size
        gn_type type
        size_t input_size, hidden_size, key_size, value_size, heads
        gn_parameters gru
        const void* query
        const void* query_bias
        const void* score
        const void* combine

    gn_status gn_decoder_create(const gn_decoder_options* options, gn_decoder** decoder, gn_error* error)
    void gn_decoder_destroy(gn_decoder* decoder)

    ctypedef struct gn_decoder_call:
        size_t size
        const gn_decoder* decoder
        int threads
        size_t steps, batch
        const int64_t* lengths
        const gn_memory* memory
        const void* x
        const void* h_0
        const void* y_0
        void* y
        void* h_n
        void* attention
        void* tape
        size_t tape_size

    gn_status gn_decoder_tape_size(const gn_decoder_call* call, size_t* bytes, gn_error* error)
    gn_status gn_decoder_forward(const gn_decoder_call* call, gn_error* error)

    ctypedef struct gn_decoder_gradients:
        size_t size
        const void* d_y
        void* d_x
        void* d_h_0
        void* d_keys
        void* d_values
        gn_gradients gru
        void* query
        void* query_bias
        void* score
        void* combine

    gn_status gn_decoder_backward(
        const gn_decoder_call* call, const gn_decoder_gradients* gradients, gn_error* error
    )
    gn_status gn_embedding_backward(
        gn_type type, size_t rows, const int64_t* indices, const void* d_y, ptrdiff_t d_y_row, size_t entries,
        size_t size, int64_t padding, void* d_weight, int threads, gn_error* error
    )
    gn_status gn_cross_entropy(
        gn_type type, size_t rows, size_t classes, const void* logits, const int64_t* targets, int64_t ignore_index,
        double smoothing, double* losses, void* gradient, int threads, gn_error* error
    )
    gn_status gn_ctc(
        gn_type type, size_t steps, size_t batch, size_t classes, const void* logits, const int64_t* targets,
        size_t size, const int64_t* input_lengths, const int64_t* target_lengths, int64_t blank, double* losses,
        void* gradient, int threads, gn_error* error
    )
    ctypedef struct gn_ctc_scorer:
        size_t size
        bint (*score)(void* user, size_t count, const int64_t* labels, const size_t* ends, double* scores)
        void* user
        double alpha, beta
    gn_status gn_ctc_decode(
        gn_type type, size_t steps, size_t batch, size_t classes, const void* logits, const int64_t* input_lengths,
        int64_t blank, size_t width, const gn_ctc_scorer* scorer, int64_t* labels, int64_t* label_lengths,
        double* scores, int threads, gn_error* error
    )
    gn_status gn_dropout(
        gn_type type, size_t size, const void* x, void* y, uint64_t key, double p, int threads, gn_error* error
    )
    gn_status gn_sigmoid(gn_type type, size_t size, const void* x, void* y, gn_error* error)
    gn_status gn_tanh(gn_type type, size_t size, const void* x, void* y, gn_error* error)
    gn_status gn_activate(
        gn_type type, const gn_activation* function, size_t size, const void* x, void* y, void* slope, gn_error* error
    )
    gn_status gn_softmax(
        gn_type type, size_t rows, size_t size, const void* x, void* y, int threads, gn_error* error
    )
    gn_status gn_moments(
        gn_type type, size_t rows, size_t size, const void* x, double* means, double* variances, gn_error* error
    )

    ctypedef struct gn_sgd:
        size_t size
        const void* parameter
        const void* gradient
        const void* buffer
        void* new_parameter
        void* new_buffer
        double lr, momentum, damped, l2
        cbool is_nesterov, is_first

    gn_status gn_sgd_step(gn_type type, size_t n, const gn_sgd* step, gn_error* error)

    ctypedef struct gn_rmsprop:
        size_t size
        const void* parameter
        const void* gradient
        const void* square
        const void* mean
        const void* buffer
        void* new_parameter
        void* new_square
        void* new_mean
        void* new_buffer
        double lr, alpha, eps, l2, momentum

    gn_status gn_rmsprop_step(gn_type type, size_t n, const gn_rmsprop* step, gn_error* error)

    ctypedef struct gn_adam:
        size_t size
        const void* parameter
        const void* gradient
        const void* mean
        const void* square
        void* new_parameter
        void* new_mean
        void* new_square
        double beta1, beta2, eps, l2
        double rate, root
        double shrink

    gn_status gn_adam_step(gn_type type, size_t n, const gn_adam* step, gn_error* error)
    gn_status gn_read_seconds(size_t bytes, size_t repeats, int threads, double* seconds, gn_error* error)

    ctypedef struct gn_file:
        pass

    gn_status gn_file_load(const char* path, gn_file** file, gn_error* error)
    gn_status gn_file_read(const void* content, size_t bytes, gn_file** file, gn_error* error)
    void gn_file_destroy(gn_file* file)

    ctypedef struct gn_array:
        size_t size
        const char* type
        const void* data
        size_t axes
        size_t shape[8]

    gn_status gn_file_array(const gn_file* file, const char* name, gn_array* array, gn_error* error)
    const char* gn_file_name(const gn_file* file, size_t place)

    ctypedef struct gn_model:
        pass

    gn_status gn_model_create(const gn_file* file, gn_model** model, gn_error* error)
    void gn_model_destroy(gn_model* model)

    ctypedef struct gn_model_info:
        size_t size
        gn_type type
        size_t input_size
        size_t indices
        size_t output_size
        size_t states
        size_t work
        unsigned char digest[32]

    gn_status gn_model_describe(const gn_model* model, gn_model_info* info, gn_error* error)

    ctypedef struct gn_state:
        size_t size
        const char* name
        size_t elements
        cbool is_whole

    gn_status gn_model_state(const gn_model* model, size_t place, gn_state* state, gn_error* error)

    ctypedef struct gn_session:
        pass

    gn_status gn_session_create(const gn_model* model, size_t batch, gn_session** session, gn_error* error)
    void gn_session_destroy(gn_session* session)
    gn_status gn_session_step(gn_session* session, const void* x, void* y, gn_error* error)
    gn_status gn_session_run(gn_session* session, size_t steps, const void* x, void* y, int threads, gn_error* error)
    gn_status gn_session_reset(gn_session* session, const cbool* rows, gn_error* error)
    gn_status gn_session_get(gn_session* session, size_t place, void* to, gn_error* error)
    gn_status gn_session_set(gn_session* session, size_t place, const void* from_, gn_error* error)
    gn_status gn_session_update(gn_session* session, const gn_model* model, gn_error* error)
    gn_status gn_snapshot_size(const gn_model* model, size_t rows, size_t* bytes, gn_error* error)
    gn_status gn_session_snapshot(gn_session* session, void* to, size_t bytes, gn_error* error)
    gn_status gn_session_restore(gn_session* session, const void* from_, size_t bytes, gn_error* error)

    ctypedef struct gn_pool:
        pass

    gn_status gn_pool_create(const gn_model* model, size_t capacity, size_t shards, gn_pool** pool, gn_error* error)
    void gn_pool_destroy(gn_pool* pool)
    gn_status gn_pool_open(gn_pool* pool, int shard, uint64_t* id, gn_error* error)
    gn_status gn_pool_close(gn_pool* pool, uint64_t id, gn_error* error)
    gn_status gn_pool_step(gn_pool* pool, size_t n, const uint64_t* ids, const void* x, void* y, gn_error* error)
    gn_status gn_pool_reset(gn_pool* pool, size_t n, const uint64_t* ids, gn_error* error)
    gn_status gn_pool_snapshot(gn_pool* pool, uint64_t id, void* to, size_t bytes, gn_error* error)
    gn_status gn_pool_restore(gn_pool* pool, const void* from_, size_t bytes, int shard, uint64_t* id, gn_error* error)
    gn_status gn_pool_grow(gn_pool* pool, size_t capacity, gn_error* error)
    gn_status gn_pool_update(gn_pool* pool, const gn_model* model, gn_error* error)

    ctypedef struct gn_pool_info:
        size_t size
        size_t capacity, open, shards
        size_t bytes

    gn_status gn_pool_describe(gn_pool* pool, gn_pool_info* info, gn_error* error)


# Raises what the core says. `error` may be NULL.
cdef inline int check(gn_status status, gn_error* error) except -1:
    if status == GN_OK:
        return 0
    if status == GN_INTERRUPTED and PyErr_Occurred() != NULL:
        return -1  # the handler of the signal has raised
    if status == GN_NO_MEMORY:
        raise MemoryError
    message = error.message.decode(errors="replace") if error != NULL else f"status {status}"
    raise (ValueError if status == GN_INVALID else RuntimeError)(message)
