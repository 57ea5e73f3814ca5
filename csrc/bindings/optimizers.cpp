#include "arrays.h"
#include "module.h"

namespace gru::bindings {

namespace {

// The arrays of a step, each like the parameter, or none.
class Arrays {
 public:
  explicit Arrays(const py::array& parameter) : size_(parameter.size()), dtype_(dtype_of(type_of(parameter))) {}

  const void* from(const OptionalArray& array, const char* name) const {
    if (!array) return nullptr;
    const bool fits = array->dtype().equal(dtype_) && array->size() == size_ && (array->flags() & py::array::c_style);
    if (!fits) refuse(name, "an array like the parameter");
    return array->data();
  }
  void* to(const OptionalArray& array, const char* name) const {
    if (array && !array->writeable()) refuse(name, "a writable array");
    return const_cast<void*>(from(array, name));
  }

 private:
  const py::ssize_t size_;
  const py::dtype dtype_;
};

template <class Step>
void run_step(gn_status (*function)(gn_type, size_t, const Step*, gn_error*), const py::array& parameter,
              const Step& step) {
  const gn_type type = type_of(parameter);
  const auto size = static_cast<size_t>(parameter.size());
  run([&](gn_error* error) { return function(type, size, &step, error); });
}

void sgd(const py::array& parameter, const py::array& gradient, const OptionalArray& buffer, const py::array& to,
         const OptionalArray& new_buffer, double lr, double momentum, double damped, double l2, bool is_nesterov,
         bool is_first) {
  const Arrays arrays(parameter);
  run_step(gn_sgd_step, parameter,
           {sizeof(gn_sgd), arrays.from(parameter, "parameter"), arrays.from(gradient, "gradient"),
            arrays.from(buffer, "buffer"), arrays.to(to, "to"), arrays.to(new_buffer, "new_buffer"), lr, momentum,
            damped, l2, is_nesterov, is_first});
}

void rmsprop(const py::array& parameter, const py::array& gradient, const py::array& square, const OptionalArray& mean,
             const OptionalArray& buffer, const py::array& to, const py::array& new_square,
             const OptionalArray& new_mean, const OptionalArray& new_buffer, double lr, double alpha, double eps,
             double l2, double momentum) {
  const Arrays arrays(parameter);
  run_step(gn_rmsprop_step, parameter,
           {sizeof(gn_rmsprop), arrays.from(parameter, "parameter"), arrays.from(gradient, "gradient"),
            arrays.from(square, "square"), arrays.from(mean, "mean"), arrays.from(buffer, "buffer"),
            arrays.to(to, "to"), arrays.to(new_square, "new_square"), arrays.to(new_mean, "new_mean"),
            arrays.to(new_buffer, "new_buffer"), lr, alpha, eps, l2, momentum});
}

void adam(const py::array& parameter, const py::array& gradient, const py::array& mean, const py::array& square,
          const py::array& to, const py::array& new_mean, const py::array& new_square, double beta1, double beta2,
          double eps, double l2, double rate, double root, double shrink) {
  const Arrays arrays(parameter);
  run_step(
      gn_adam_step, parameter,
      {sizeof(gn_adam), arrays.from(parameter, "parameter"), arrays.from(gradient, "gradient"),
       arrays.from(mean, "mean"), arrays.from(square, "square"), arrays.to(to, "to"), arrays.to(new_mean, "new_mean"),
       arrays.to(new_square, "new_square"), beta1, beta2, eps, l2, rate, root, shrink});
}

}  // namespace

void bind_optimizers(py::module_& module) {
  module.def("sgd_step", &sgd);
  module.def("rmsprop_step", &rmsprop);
  module.def("adam_step", &adam);
}

}  // namespace gru::bindings
