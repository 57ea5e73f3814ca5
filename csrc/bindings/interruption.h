// Ctrl-C, and whatever else a signal handler of Python's raises, during a call.
#pragma once

namespace gru::bindings {

// From now on calls of a thread ask for it: of Python's main thread, given by its identifier.
void watch_signals(unsigned long main_thread);

// To be called where an exception of the core was caught, with the interpreter's lock: makes it Python's.
void translate_exception();

}  // namespace gru::bindings
