/* The door to the core of gru_native: gated recurrent layers on CPUs, forward and backward, for C11 and whatever calls
   C.

   Names are PyTorch's: T time steps, B batch rows, I input size, H hidden size, P size of h and of the
   output (H, but of a projection), G gates, D directions of a layer.
   Arrays are the caller's. They are read and written during a call only, unless something else is said; strides are in
   elements; the last axis is contiguous; what is written overlaps nothing else. Every function may be called by many
   threads at once.

   Every function that can fail returns a status. Then nothing was done (a call that is interrupted, or for which there
   is no memory, may have written results), and `error`, unless it is NULL, says what was wrong.

   A structure begins with its size, `sizeof` of it as the program was compiled: so later versions can add fields behind
   the present ones. Fields that are not named are zero, which always stands for the usual thing. It is read during a
   call only, and must not change meanwhile.

   What is promised about bits, on one machine and instruction set: a row's results do not depend on the number of
   threads, nor on the other rows of the batch; a sequence in pieces gives the bits of the sequence at once; the
   gradients of weights do not depend on the number of threads. Subnormal numbers count as zero. */
#ifndef GRU_NATIVE_H
#define GRU_NATIVE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#if defined(_WIN32)
#define GN_API __declspec(dllimport)
#else
#define GN_API __attribute__((visibility("default")))
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* ---- Status ------------------------------------------------------------------------------------------------------ */

/* Of the functions and structures below. A program runs with all later libraries of the number that it was compiled
   with: what is only added does not change it. */
#define GN_ABI_VERSION 1
GN_API uint32_t gn_abi_version(void);

/* So that every enumeration is an int, whatever values later versions have. */
#define GN_ANY 0x7fffffff

typedef enum gn_status {
  GN_OK = 0,
  GN_INVALID = 1,     /* an argument is not what it has to be */
  GN_NO_MEMORY = 2,   /* also after what was kept was given back */
  GN_INTERRUPTED = 3, /* see gn_watch */
  GN_USED = 4,        /* the tape has served a backward pass that overwrote it */
  GN_FAILED = 5,      /* anything else */
  GN_BUSY = 6,        /* another thread is using it */
  GN_FULL = 7,        /* there is no place left */
  GN_STATUS_MAX = GN_ANY
} gn_status;

typedef struct gn_error {
  size_t size;
  char argument[32]; /* its name, or empty */
  char message[256]; /* for people: the argument, what was expected, what came */
} gn_error;

typedef enum gn_type { GN_FLOAT32 = 0, GN_FLOAT64 = 1, GN_TYPE_MAX = GN_ANY } gn_type;

/* ---- The process ------------------------------------------------------------------------------------------------- */

/* How the members of a team come to run; both functions are called by many threads at once. `ready` says how many
   members a team of the calling thread can have, from 1 to `wanted`. `run` runs task(data, member) for each member, all
   at the same time, the calling thread being member 0; it returns false, with nothing done, when that cannot be. */
typedef struct gn_executor {
  size_t size;
  int (*ready)(void* user, int wanted);
  bool (*run)(void* user, int members, void (*task)(void* data, int member), void* data);
  void* user;
} gn_executor;

typedef enum gn_team { GN_OPENMP = 0, GN_THREADS = 1, GN_EXECUTOR = 2, GN_TEAM_MAX = GN_ANY } gn_team;

/* For all calls that begin later: OpenMP's threads, which is so at first; those of this library, which a forked child
   gets anew; or those of an executor, which is copied. For the others `executor` is NULL. */
GN_API gn_status gn_set_team(gn_team team, const gn_executor* executor, gn_error* error);
GN_API gn_team gn_get_team(void);

/* `asked` is called some times a second, by the thread that made a call and only within it: true gives the call up.
   NULL is never asked, which is so at first. What executors and watchers use must live on when they are replaced. */
GN_API gn_status gn_watch(bool (*asked)(void* user), void* user, gn_error* error);

/* The team and the question of some calls, in place of the process's. */
typedef struct gn_context gn_context;
typedef struct gn_context_options {
  size_t size;
  gn_team team;
  const gn_executor* executor; /* copied; NULL but for GN_EXECUTOR */
  bool (*asked)(void* user);   /* see gn_watch */
  void* user;
} gn_context_options;
GN_API gn_status gn_context_create(const gn_context_options* options, gn_context** context, gn_error* error);
/* No thread may use it any more. NULL is let pass. */
GN_API void gn_context_destroy(gn_context* context);
/* For the calls that this thread makes from now on; NULL for those of the process, which is so at first. */
GN_API void gn_use_context(const gn_context* context);

/* The most threads of a call. */
#define GN_MAX_THREADS 256

/* The number of threads of a call that asks for 0: what the calling thread has said, or else OpenMP's number (which
   OMP_NUM_THREADS sets), within the quota of the process's control groups where that variable is not set. */
GN_API int gn_default_threads(void);
/* That number for calls of this thread, up to GN_MAX_THREADS; 0 for the usual one, which is so at first. Returns the
   one before. What is no such number changes nothing. */
GN_API int gn_use_threads(int threads);
/* That quota; the file system begins at `root`, which is "" but for tests. */
GN_API int gn_cpu_quota(const char* root);

/* Memory whose blocks are kept for later requests when they are given back, as that of calls is; NULL when there is
   none. Those smaller than gn_least_kept() bytes are malloc's. */
GN_API void* gn_allocate(size_t bytes);
GN_API void gn_release(void* memory, size_t bytes);
GN_API size_t gn_least_kept(void);
/* Gives all that is kept back to the system, and returns its bytes. */
GN_API size_t gn_release_kept(void);

/* Where that memory, and with it all of weights and of calls, comes from: both functions are called by many threads at
   once. `allocate` returns NULL when there is none. */
typedef struct gn_allocator {
  size_t size;
  void* (*allocate)(void* user, size_t bytes, size_t alignment);
  void (*release)(void* user, void* memory);
  void* user;
} gn_allocator;
/* It is copied. Refused when memory was asked for before. */
GN_API gn_status gn_set_allocator(const gn_allocator* allocator, gn_error* error);

/* Instruction sets, lowest first: those that were built; those of them that this CPU has; the one that new weights are
   packed for, which is the highest, or the one that the environment variable GRU_NATIVE_ISA names. NULL behind the last
   one. */
GN_API const char* gn_built_isa(size_t place);
GN_API const char* gn_supported_isa(size_t place);
GN_API gn_status gn_active_isa(const char** name, gn_error* error);
/* Elements in a vector of the active set. */
GN_API gn_status gn_vector_width(gn_type type, size_t* width, gn_error* error);
/* What the BLAS behind the gradient of a linear layer's weights says of itself; "none" in a build without one. */
GN_API const char* gn_blas(void);

/* ---- Recurrent layers -------------------------------------------------------------------------------------------- */

typedef enum gn_cell {
  GN_GRU_RESET_AFTER = 0,  /* n = tanh(W x + b + r * (U h + b)): PyTorch, cuDNN; gates r, z, n */
  GN_GRU_RESET_BEFORE = 1, /* n = tanh(W x + b + U (r * h) + b): Cho et al. 2014 */
  GN_GRU_LAYER_NORM = 2,   /* reset after, with W x and U h normalized (Ba et al. 2016) */
  GN_LSTM = 3,             /* gates i, f, g, o */
  GN_RNN_TANH = 4,
  GN_RNN_RELU = 5,
  GN_CELL_MAX = GN_ANY
} gn_cell;

/* The number G of a cell's gates; 0 for what is none. */
GN_API size_t gn_cell_gates(gn_cell cell);

/* What is applied to the sums of gates and, in an LSTM, to c. Formulas and names are those of ONNX. */
typedef enum gn_function {
  GN_USUAL = 0, /* sigmoid for gates, tanh for the candidate, g and c; a plain cell's own */
  GN_SIGMOID = 1,
  GN_TANH = 2,
  GN_RELU = 3,
  GN_LINEAR = 4,            /* alpha x + beta */
  GN_HARD_SIGMOID = 5,      /* alpha x + beta, but within 0 and 1 */
  GN_LEAKY_RELU = 6,        /* x, or alpha x where x < 0 */
  GN_ELU = 7,               /* x, or alpha (exp(x) - 1) where x < 0 */
  GN_SOFTSIGN = 8,          /* x / (1 + |x|) */
  GN_SOFTPLUS = 9,          /* log(1 + exp(x)) */
  GN_SCALED_TANH = 10,      /* alpha tanh(beta x) */
  GN_THRESHOLDED_RELU = 11, /* x, or 0 where x <= alpha */
  GN_FUNCTION_MAX = GN_ANY
} gn_function;

typedef struct gn_activation {
  gn_function function;
  double alpha, beta; /* of those that have them, as they stand: none is taken for another one */
} gn_activation;

/* Of one layer in one direction: contiguous arrays, the gates in PyTorch's order. */
typedef struct gn_parameters {
  const void *weight_ih, *weight_hh; /* (G H, I), (G H, P) */
  const void *bias_ih, *bias_hh;     /* (G H), or NULL for none */
  const void *gamma_ih, *gamma_hh;   /* (G H), the gains of layer normalization, and of it alone */
  const void* peephole;              /* (3, H) of the LSTM, or NULL for none: i and f also see c, and o the new c */
  const void* weight_hr;             /* (P, H), of a projection */
} gn_parameters;

typedef struct gn_gradients {
  void *weight_ih, *weight_hh, *bias_ih, *bias_hh, *gamma_ih, *gamma_hh, *peephole, *weight_hr;
} gn_gradients;

typedef struct gn_weights_options {
  size_t size;
  gn_cell cell;
  gn_type type;
  size_t input_size, hidden_size;
  gn_parameters parameters;     /* weight_ih, weight_hh and weight_hr are not copied: they may neither change nor go
                                   before the weights do */
  gn_activation activations[3]; /* of a GRU's gates and candidate; of an LSTM's i f o, g, and c; of a plain cell */
  double clip;                  /* what activations take is between this and its negative; 0 for no bounds */
  bool input_forget;            /* an LSTM's f is 1 - i */
  size_t projection_size;       /* P, 1 to H: an LSTM's h is weight_hr times what it would else be; 0 for none */
} gn_weights_options;

/* The weights of one layer in one direction, as kernels read them: packed when they are first needed. */
typedef struct gn_weights gn_weights;

GN_API gn_status gn_weights_create(const gn_weights_options* options, gn_weights** weights, gn_error* error);
/* Calls and tapes that use them must have ended. NULL is let pass. */
GN_API void gn_weights_destroy(gn_weights* weights);

typedef struct gn_weights_info {
  size_t size;
  gn_cell cell;
  gn_type type;
  size_t input_size, hidden_size, output_size, gates,
      states; /* P is the output's size; states: 1 for h, 2 for h and c */
  bool bias_ih, bias_hh, gains, peepholes;
  const char* isa;
} gn_weights_info;
GN_API gn_status gn_weights_describe(const gn_weights* weights, gn_weights_info* info, gn_error* error);

/* Arrays of three axes, of which the last one is contiguous: for sequences (T, B, size) the strides are those of a step
   and of a row, for states (D, B, P) those of a direction and of a row. NULL stands for none. */
typedef struct gn_input {
  const void* data;
  ptrdiff_t stride[2];
} gn_input;

typedef struct gn_output {
  void* data;
  ptrdiff_t stride[2];
} gn_output;

typedef enum gn_keep {
  GN_KEEP_NOTHING = 0,
  GN_KEEP_GATES = 1,
  GN_KEEP_STATES = 2, /* backward computes the gates again, from the states, a chunk of steps at a time */
  GN_KEEP_MAX = GN_ANY
} gn_keep;

/* One layer over a batch of sequences. */
typedef struct gn_call {
  size_t size;
  const gn_weights* weights[2]; /* of each direction; the second runs from the last step to the first; NULL for none */
  bool reverse;                 /* a layer of one direction runs from the last step to the first */
  int threads;                  /* 1 to GN_MAX_THREADS: the most to compute with; 0 for the default */
  size_t steps, batch;          /* T, B */
  const int64_t* lengths;       /* (B), each 0 to T, or NULL when all are T; what is behind them is padding, which is
                                   not read, and zero in what is written */
  gn_input reset;               /* (T, B) of bytes: other than 0 where no state passes between that step and the one
                                   before it, in any direction */
  gn_input x;                   /* (T, B, I) */
  gn_input h_0, c_0;            /* (D, B, P) and (D, B, H), or none for zeros; c is the LSTM's */
  gn_input mask;                /* (D, B, P), or none: what h is multiplied by where the hidden weights read it */
  double zoneout;               /* 0 to 1: share of h that a step keeps (Krueger et al. 2017), of cells of one state */
  bool zoneout_is_random;       /* each unit keeps its h with that probability, or takes the new one */
  uint64_t zoneout_key[2];      /* of each direction's random numbers */
  gn_output output;             /* (T, B, D P), the directions side by side */
  gn_output h_n, c_n; /* as h_0 and c_0, the states after each row's last step; may be h_0's and c_0's memory */
  gn_keep keep;       /* what the tape keeps for backward */
  void* tape;         /* of gn_tape_size(call) bytes, at a multiple of 64. It may be moved as bytes. */
  size_t tape_size;
} gn_call;

/* Bytes of the tape that a call with this `keep` fills. Of its arrays only `lengths` are read. */
GN_API gn_status gn_tape_size(const gn_call* call, size_t* bytes, gn_error* error);
GN_API gn_status gn_forward(const gn_call* call, gn_error* error);

typedef struct gn_backward_call {
  size_t size;
  const gn_call* forward;    /* as it was, with x, h_0, mask and output as they were; the rest is not read again:
                                lengths and resets are the tape's */
  gn_input d_output;         /* (T, B, D P), or none for zeros */
  gn_input d_h_n, d_c_n;     /* as h_n and c_n, or none for zeros */
  gn_output d_x;             /* (T, B, I), or none when it is not wanted; may be x's own memory in one direction */
  bool accumulate_d_x;       /* adds to what d_x holds */
  gn_output d_h_0, d_c_0;    /* as those, or none when they are not wanted */
  gn_gradients gradients[2]; /* of each direction: what the weights have */
  bool keep_tape;            /* leaves the tape as it is, at the cost of a copy of what it holds */
} gn_backward_call;

/* Back-propagation through time. It overwrites the tape, which serves once, unless it is to be kept. */
GN_API gn_status gn_backward(const gn_backward_call* call, gn_error* error);

/* A gate of one direction over all steps, (T, B, H), from a tape that keeps the gates and is not used. */
GN_API gn_status gn_copy_gate(const gn_call* call, int direction, size_t gate, const gn_output* out, gn_error* error);

/* ---- Other layers, losses and optimizers ------------------------------------------------------------------------- */

/* Arrays are contiguous and of a type, unless rows have a stride. */

/* The weights of y = x W^T + b: W (O, I) and b (O), or NULL. The matrix is not copied, as with gn_weights. */
typedef struct gn_linear gn_linear;
GN_API gn_status gn_linear_create(gn_type type, size_t input_size, size_t output_size, const void* weight,
                                  const void* bias, gn_linear** linear, gn_error* error);
GN_API void gn_linear_destroy(gn_linear* linear);
/* y (N, O) from x (N, I). */
GN_API gn_status gn_linear_forward(const gn_linear* linear, size_t rows, const void* x, ptrdiff_t x_row, void* y,
                                   ptrdiff_t y_row, int threads, gn_error* error);
/* d_x (N, I), d_weight (O, I) and d_bias (O), each or NULL, from x (N, I) and d_y (N, O). */
GN_API gn_status gn_linear_backward(const gn_linear* linear, size_t rows, const void* x, const void* d_y, void* d_x,
                                    void* d_weight, void* d_bias, int threads, gn_error* error);

/* A convolution over time is a linear layer over windows, (O, kernel * C): output step t of a row sees its steps
   t * stride + k * dilation - left, k = 0 to kernel - 1, one behind the other, and zeros where it has none. There are
   output steps as long as a window ends within `right` steps behind the row, and none of a row without a step. */
typedef struct gn_convolution {
  size_t size;
  const gn_linear* linear;
  size_t kernel, stride, dilation; /* 0 stands for a stride or dilation of 1 */
  size_t left, right;
  size_t steps, batch;    /* T, B */
  const int64_t* lengths; /* as of gn_call */
  gn_input x;             /* (T, B, C) */
  int threads;
} gn_convolution;
/* y (T', B, O), zeros behind a row's output steps. T' is that of a row of T steps. */
GN_API gn_status gn_convolution_forward(const gn_convolution* call, const gn_output* y, gn_error* error);
/* d_x as x, d_weight (O, kernel * C) and d_bias (O), each or NULL, from d_y as y, of which padding is not read. */
GN_API gn_status gn_convolution_backward(const gn_convolution* call, const gn_input* d_y, const gn_output* d_x,
                                         void* d_weight, void* d_bias, gn_error* error);

/* What is attended to: keys (B, S, A) and values (B, S, M). Features are cut into as many parts as there are heads. The
   weights of a query are, for each head, the softmax over the steps of a row of score . tanh(key + query) (Bahdanau et
   al. 2015) or, without `score`, of key . query (Luong et al. 2015); of a row without steps they are zeros. */
typedef struct gn_memory {
  size_t size;
  size_t steps, batch, heads;  /* S, B */
  size_t key_size, value_size; /* A, M: multiples of heads */
  const void *keys, *values;
  const void* score;      /* (A), or NULL */
  const int64_t* lengths; /* (B), each 0 to S, or NULL when all are S; what is behind them is not read */
} gn_memory;
/* weights (T, B, heads, S), zeros in padding, and context (T, B, M), the sums of values by weights, of queries
   (T, B, A). */
GN_API gn_status gn_attention_forward(gn_type type, const gn_memory* memory, size_t queries, const void* query,
                                      void* weights, void* context, int threads, gn_error* error);
/* All gradients from that of the context; d_score is not read without a score. */
GN_API gn_status gn_attention_backward(gn_type type, const gn_memory* memory, size_t queries, const void* query,
                                       const void* weights, const void* d_context, void* d_query, void* d_keys,
                                       void* d_values, void* d_score, int threads, gn_error* error);

/* The weights of a decoder with attention and input feeding (Luong et al. 2015), step by step from x_t and the output
   before it: h_t = GRU([x_t; y_(t-1)], h_(t-1)) with reset after, c_t = the context of query(h_t), and
   y_t = tanh(combine [c_t; h_t]). Matrices are not copied, as with gn_weights. */
typedef struct gn_decoder gn_decoder;
typedef struct gn_decoder_options {
  size_t size;
  gn_type type;
  size_t input_size, hidden_size, key_size, value_size, heads; /* E, H, A, M */
  gn_parameters gru;                                           /* of E + H inputs */
  const void *query, *query_bias; /* (A, H) and (A), or NULL: without a query it is h itself, and A is H */
  const void* score;              /* (A), or NULL: see gn_memory */
  const void* combine;            /* (H, M + H) */
} gn_decoder_options;
GN_API gn_status gn_decoder_create(const gn_decoder_options* options, gn_decoder** decoder, gn_error* error);
/* NULL is let pass. */
GN_API void gn_decoder_destroy(gn_decoder* decoder);

typedef struct gn_decoder_call {
  size_t size;
  const gn_decoder* decoder;
  int threads;
  size_t steps, batch;     /* T, B */
  const int64_t* lengths;  /* as of gn_call */
  const gn_memory* memory; /* without a score, which is the decoder's */
  const void* x;           /* (T, B, E) */
  const void *h_0, *y_0;   /* (B, H), or NULL for zeros */
  void* y;                 /* (T, B, H) */
  void* h_n;               /* (B, H), or NULL when it is not wanted */
  void* attention;         /* (T, B, heads, S), the weights, or NULL when they are not wanted */
  void* tape; /* of gn_decoder_tape_size(call) bytes, at a multiple of 64; NULL where no backward follows */
  size_t tape_size;
} gn_decoder_call;
/* Bytes of its tape. Of its arrays only lengths are read. */
GN_API gn_status gn_decoder_tape_size(const gn_decoder_call* call, size_t* bytes, gn_error* error);
GN_API gn_status gn_decoder_forward(const gn_decoder_call* call, gn_error* error);

typedef struct gn_decoder_gradients {
  size_t size;
  const void* d_y;
  void *d_x, *d_h_0;       /* d_h_0 may be NULL; y_0 has no gradient */
  void *d_keys, *d_values; /* as the memory's */
  gn_gradients gru;
  void *query, *query_bias, *score, *combine; /* those that the decoder has */
} gn_decoder_gradients;
/* From a call as it was, with its arrays. It overwrites the tape, which serves once. */
GN_API gn_status gn_decoder_backward(const gn_decoder_call* call, const gn_decoder_gradients* gradients,
                                     gn_error* error);

/* d_weight (V, E): the sums of the rows of d_y (N, E) by their index, 0 to V - 1, in their order. Rows of `padding`
   stay zero; none when it is negative. */
GN_API gn_status gn_embedding_backward(gn_type type, size_t rows, const int64_t* indices, const void* d_y,
                                       ptrdiff_t d_y_row, size_t entries, size_t size, int64_t padding, void* d_weight,
                                       int threads, gn_error* error);

/* losses (N): -sum_c q_c log softmax(logits)_c, where q is 1 - smoothing at the target plus smoothing / C everywhere;
   gradient (N, C), or NULL: softmax(logits) - q. Targets are 0 to C - 1, or ignore_index, whose rows give zeros. */
GN_API gn_status gn_cross_entropy(gn_type type, size_t rows, size_t classes, const void* logits, const int64_t* targets,
                                  int64_t ignore_index, double smoothing, double* losses, void* gradient, int threads,
                                  gn_error* error);

/* losses (B): -log of the probability, by softmax(logits), of all ways to write the targets (B, S) with repeats and
   blanks in the steps of logits (T, B, C): connectionist temporal classification. Infinite where the steps are too few.
   gradient (T, B, C), or NULL; NaN where the loss is not finite. Lengths (B) are 0 to T and 0 to S. Targets within them
   are 0 to C - 1, and not `blank`. */
GN_API gn_status gn_ctc(gn_type type, size_t steps, size_t batch, size_t classes, const void* logits,
                        const int64_t* targets, size_t size, const int64_t* input_lengths,
                        const int64_t* target_lengths, int64_t blank, double* losses, void* gradient, int threads,
                        gn_error* error);

/* What is thought of labels before anything is heard: labels of prefix i end at labels + ends[i], where those of the
   next one begin; scores (count, C) are logarithms of the probabilities of each label behind each prefix, or -inf.
   Called by the thread that made the call; false gives the call up. alpha is how much the scorer counts, from 0 up, and
   beta what each label adds. score may be NULL. */
typedef struct gn_ctc_scorer {
  size_t size;
  bool (*score)(void* user, size_t count, const int64_t* labels, const size_t* ends, double* scores);
  void* user;
  double alpha, beta;
} gn_ctc_scorer;

/* The labels that logits (T, B, C) stand for: labels (B, T), of which the first label_lengths (B) count, and scores
   (B), logarithms of their probabilities. With width 0 the best class of each step; otherwise a search through
   prefixes, of which so many are kept at each step, by log P + alpha * score + beta * labels. scorer may be NULL. A
   score is NaN, and there are no labels, where a step's probabilities are not numbers. */
GN_API gn_status gn_ctc_decode(gn_type type, size_t steps, size_t batch, size_t classes, const void* logits,
                               const int64_t* input_lengths, int64_t blank, size_t width, const gn_ctc_scorer* scorer,
                               int64_t* labels, int64_t* label_lengths, double* scores, int threads, gn_error* error);

/* y = x / (1 - p), but zero with probability p; where is a function of the key, the place and p. y may be x. */
GN_API gn_status gn_dropout(gn_type type, size_t size, const void* x, void* y, uint64_t key, double p, int threads,
                            gn_error* error);
GN_API gn_status gn_sigmoid(gn_type type, size_t size, const void* x, void* y, gn_error* error);
GN_API gn_status gn_tanh(gn_type type, size_t size, const void* x, void* y, gn_error* error);
/* y = function(x), which is not GN_USUAL, and its slope at x, or NULL. */
GN_API gn_status gn_activate(gn_type type, const gn_activation* function, size_t size, const void* x, void* y,
                             void* slope, gn_error* error);
/* y (N, size): exp(x) / sum of exp(x) of each row x (N, size). */
GN_API gn_status gn_softmax(gn_type type, size_t rows, size_t size, const void* x, void* y, int threads,
                            gn_error* error);

/* means and variances (N), the biased ones, of rows x (N, size), summed in float64. Subnormal numbers count. */
GN_API gn_status gn_moments(gn_type type, size_t rows, size_t size, const void* x, double* means, double* variances,
                            gn_error* error);

/* One step of an optimizer for a parameter of n values, from its gradient and what is remembered of those before, to
   new arrays. The formulas are those of PyTorch. l2: the weight decay that is added to the gradient. */
typedef struct gn_sgd {
  size_t size;
  const void *parameter, *gradient, *buffer; /* the buffers are NULL without momentum */
  void *new_parameter, *new_buffer;
  double lr, momentum, damped, l2; /* damped: 1 - dampening */
  bool is_nesterov, is_first;
} gn_sgd;
GN_API gn_status gn_sgd_step(gn_type type, size_t n, const gn_sgd* step, gn_error* error);

typedef struct gn_rmsprop {
  size_t size;
  const void *parameter, *gradient, *square, *mean, *buffer; /* means: NULL unless centred; buffers: without momentum */
  void *new_parameter, *new_square, *new_mean, *new_buffer;
  double lr, alpha, eps, l2, momentum;
} gn_rmsprop;
GN_API gn_status gn_rmsprop_step(gn_type type, size_t n, const gn_rmsprop* step, gn_error* error);

typedef struct gn_adam {
  size_t size;
  const void *parameter, *gradient, *mean, *square;
  void *new_parameter, *new_mean, *new_square;
  double beta1, beta2, eps, l2;
  double rate, root; /* lr / (1 - beta1^step), sqrt(1 - beta2^step) */
  double shrink;     /* what the parameter is multiplied by: 1 without decoupled weight decay */
} gn_adam;
GN_API gn_status gn_adam_step(gn_type type, size_t n, const gn_adam* step, gn_error* error);

/* For a benchmark: the seconds in which each thread reads a buffer of its own so many times, all at the same time. */
GN_API gn_status gn_read_seconds(size_t bytes, size_t repeats, int threads, double* seconds, gn_error* error);

/* ---- Files and models -------------------------------------------------------------------------------------------- */

/* A file in the safetensors format: arrays by name. It is read whole, and checked. */
typedef struct gn_file gn_file;
GN_API gn_status gn_file_load(const char* path, gn_file** file, gn_error* error);
/* Of its content, which is copied. */
GN_API gn_status gn_file_read(const void* content, size_t bytes, gn_file** file, gn_error* error);
GN_API void gn_file_destroy(gn_file* file);

#define GN_MAX_AXES 8

/* An array of a file, which lives as long as the file. */
typedef struct gn_array {
  size_t size;
  const char* type; /* as the format calls it: "F32", "F64", "I64" and so on */
  const void* data; /* contiguous */
  size_t axes;
  size_t shape[GN_MAX_AXES];
} gn_array;
GN_API gn_status gn_file_array(const gn_file* file, const char* name, gn_array* array, gn_error* error);
/* The names in their order; NULL behind the last one. */
GN_API const char* gn_file_name(const gn_file* file, size_t place);

/* A model that the Python package saved, for sessions and pools: layers that run forward, with weights that are packed
   for good. It may be destroyed before its sessions and pools, which keep what they need. The file may go. */
typedef struct gn_model gn_model;
GN_API gn_status gn_model_create(const gn_file* file, gn_model** model, gn_error* error);
GN_API void gn_model_destroy(gn_model* model);

typedef struct gn_model_info {
  size_t size;
  gn_type type;
  size_t input_size;        /* I */
  size_t indices;           /* of an embedding in front: x is then int64, 0 to indices - 1; else 0 */
  size_t output_size;       /* O */
  size_t states;            /* the parts of a state, see gn_model_state */
  size_t work;              /* multiply-adds of a step of a row */
  unsigned char digest[32]; /* SHA-256 of configuration and arrays: it names the model in snapshots */
} gn_model_info;
GN_API gn_status gn_model_describe(const gn_model* model, gn_model_info* info, gn_error* error);

/* A part of a row's state: h and c of each recurrent layer, sum and count of a mean. */
typedef struct gn_state {
  size_t size;
  const char* name; /* the layer's name and the part's, which live as long as the model */
  size_t elements;  /* of a row */
  bool is_whole;    /* int64 instead of the model's type */
} gn_state;
GN_API gn_status gn_model_state(const gn_model* model, size_t place, gn_state* state, gn_error* error);

/* ---- Sessions ---------------------------------------------------------------------------------------------------- */

/* B sequences that go through a model together. Results have the bits of the model over the whole sequence. A session
   is used by one thread at a time; the others get GN_BUSY. */
typedef struct gn_session gn_session;
GN_API gn_status gn_session_create(const gn_model* model, size_t batch, gn_session** session, gn_error* error);
GN_API void gn_session_destroy(gn_session* session);

/* y (B, O) from x (B, I), or from indices (B). On the calling thread; it neither allocates nor calls the system. */
GN_API gn_status gn_session_step(gn_session* session, const void* x, void* y, gn_error* error);
/* y (T, B, O) from x (T, B, I), or from indices (T, B). */
GN_API gn_status gn_session_run(gn_session* session, size_t steps, const void* x, void* y, int threads,
                                gn_error* error);
/* Begins anew: the rows whose flag (B) is true, or all when it is NULL. */
GN_API gn_status gn_session_reset(gn_session* session, const bool* rows, gn_error* error);
/* A part of the states, (B, elements), by its place. */
GN_API gn_status gn_session_get(gn_session* session, size_t place, void* to, gn_error* error);
GN_API gn_status gn_session_set(gn_session* session, size_t place, const void* from, gn_error* error);
/* Goes on with other weights, of a model with the same sizes. */
GN_API gn_status gn_session_update(gn_session* session, const gn_model* model, gn_error* error);

/* Bytes of a snapshot of so many rows: their states, the model's digest, and a digest of all of it. */
GN_API gn_status gn_snapshot_size(const gn_model* model, size_t rows, size_t* bytes, gn_error* error);
GN_API gn_status gn_session_snapshot(gn_session* session, void* to, size_t bytes, gn_error* error);
/* Refused, with nothing changed, when it is damaged, or of other weights or another number of rows. */
GN_API gn_status gn_session_restore(gn_session* session, const void* from, size_t bytes, gn_error* error);

/* ---- Pools ------------------------------------------------------------------------------------------------------- */

/* Many sequences, of which any take a step together; what one computes does not depend on the others. They lie in
   shards. A shard is used by one thread at a time, and the others get GN_BUSY; calls whose sequences lie in different
   shards may run at the same time. A call with sequences of several shards uses a thread for each, where it pays, up to
   gn_default_threads(). */
typedef struct gn_pool gn_pool;
GN_API gn_status gn_pool_create(const gn_model* model, size_t capacity, size_t shards, gn_pool** pool, gn_error* error);
GN_API void gn_pool_destroy(gn_pool* pool);

/* A sequence that begins, in a shard, or, when that is negative, in the one with the fewest of those that no
   thread uses; GN_FULL when there are `capacity` of them. An identifier is never 0, and never used again. */
GN_API gn_status gn_pool_open(gn_pool* pool, int shard, uint64_t* id, gn_error* error);
GN_API gn_status gn_pool_close(gn_pool* pool, uint64_t id, gn_error* error);
/* y (n, O) from x (n, I), or from indices (n): a step of n sequences in any order, each of them once. It neither
   allocates nor, with one shard, calls the system. */
GN_API gn_status gn_pool_step(gn_pool* pool, size_t n, const uint64_t* ids, const void* x, void* y, gn_error* error);
GN_API gn_status gn_pool_reset(gn_pool* pool, size_t n, const uint64_t* ids, gn_error* error);
/* A snapshot of one row, which a session of one row takes, too. */
GN_API gn_status gn_pool_snapshot(gn_pool* pool, uint64_t id, void* to, size_t bytes, gn_error* error);
GN_API gn_status gn_pool_restore(gn_pool* pool, const void* from, size_t bytes, int shard, uint64_t* id,
                                 gn_error* error);
/* A larger capacity. Nothing moves. */
GN_API gn_status gn_pool_grow(gn_pool* pool, size_t capacity, gn_error* error);
/* All go on with other weights, of a model with the same sizes. */
GN_API gn_status gn_pool_update(gn_pool* pool, const gn_model* model, gn_error* error);

typedef struct gn_pool_info {
  size_t size;
  size_t capacity, open, shards;
  size_t bytes; /* of all sequences' memory */
} gn_pool_info;
GN_API gn_status gn_pool_describe(gn_pool* pool, gn_pool_info* info, gn_error* error);

#ifdef __cplusplus
}
#endif

#endif
