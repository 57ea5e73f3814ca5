#include "interruption.h"

#include <Python.h>

#include <atomic>
#include <exception>
#include <new>
#include <stdexcept>

#include "team.h"

namespace gru::bindings {

namespace {

std::atomic<unsigned long> main_thread{0};

// Handlers run in the main thread only; others need not wait for the interpreter's lock.
bool signal_raised() {
  if (PyThread_get_thread_ident() != main_thread.load(std::memory_order_relaxed)) return false;
  const PyGILState_STATE state = PyGILState_Ensure();
  const bool raised = PyErr_CheckSignals() != 0;  // the exception stays set
  PyGILState_Release(state);
  return raised;
}

}  // namespace

void watch_signals(unsigned long thread) {
  main_thread.store(thread);
  set_interruption(signal_raised);
}

void translate_exception() {
  try {
    throw;
  } catch (const Interrupted&) {
    // The handler's exception is set.
  } catch (const std::bad_alloc& error) {
    PyErr_SetString(PyExc_MemoryError, error.what());
  } catch (const std::invalid_argument& error) {
    PyErr_SetString(PyExc_ValueError, error.what());
  } catch (const std::exception& error) {
    PyErr_SetString(PyExc_RuntimeError, error.what());
  }
}

}  // namespace gru::bindings
