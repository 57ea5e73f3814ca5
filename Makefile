# Needs python3 (with its headers), pip, g++ and make; everything else comes from PyPI into .venv.

PYTHON ?= python3
VENV ?= .venv
# The benchmark's other engines are large, and none of them is needed otherwise.
PEERS_VENV ?= .venv-bench
# The packages of other people whose programs are timed.
PROGRAMS_VENV ?= .venv-programs
# The build under AddressSanitizer and UBSan, and the instruction set whose kernels it has beside scalar's.
SANITIZE_ISA ?= avx2
SANITIZE_VENV ?= .venv-sanitized-$(SANITIZE_ISA)
# CMake's variables, NAME=VALUE.
DEFINES ?=
# What test-blas builds with.
BLAS ?= scipy-openblas
ARGS ?=
# Python for 64-bit Arm, and what runs in it.
ARM := build/aarch64-python
ARM_TESTS ?= tests/test_activations.py tests/test_nn_gradients.py tests/test_stream_pool.py

BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip
# A build directory that stays makes the second build short.
INSTALL := $(PIP) install -q --no-build-isolation \
	-C build-dir=build/$(notdir $(VENV))/{wheel_tag} -C install.strip=false \
	$(addprefix -C cmake.define.,GRU_NATIVE_WERROR=ON GRU_NATIVE_TESTS=ON $(DEFINES)) -e
# The folders too: an editable install has to learn of new Python files.
BUILT_FROM := CMakeLists.txt \
	$(shell find cmake csrc include gru_native -name '*.cmake' -o -name '*.txt' -o -name '*.cpp' -o -name '*.h*' -o -name '*.p[yx][xd]') \
	$(shell find gru_native -type d -not -name __pycache__)

FORMATTED := find csrc include examples tests -name '*.c' -o -name '*.cpp' -o -name '*.h' -o -name '*.hpp'

# The comparison with other engines, which is not installed.
BESIDE := PYTHONPATH=benchmarks
BENCH := $(BESIDE) $(PEERS_VENV)/bin/python -m gru_bench
RESULTS := benchmarks/results
# Whose figures `make summary` keeps.
MACHINE ?=

SANITIZE_TESTS ?= tests/test_robustness.py tests/test_races.py tests/test_stream.py tests/test_stream_pool.py \
	tests/test_parity.py::test_sizes_of_zero_and_one \
	tests/test_parity.py::test_ragged_batches_with_resets tests/test_parity.py::test_zoneout
SANITIZE_FUZZ ?= --seconds 120 --patience 600

.PHONY: build demo test test-core fuzz full sanitize sanitize-python sanitize-core torch peers bench bench-avx2 bench-sweeps bench-growth bench-overheads bench-idling bench-sequences bench-cells bench-streams bench-quick step-times programs layers calls tuning ranks seq2seq load others footprint neighbours \
	examples tasks summary tables speed docs lint format test-blas neon test-neon wheel manylinux wheel-aarch64 test-wheel-aarch64 sdist clean

build: $(VENV)/built

demo: build
	$(BIN)/python -m gru_native demo $(ARGS)

test: build
	$(BIN)/python -m pytest $(ARGS)

# The tests of the core in C++, which the build has made.
test-core: build
	build/$(notdir $(VENV))/*/csrc/tests/gru_native_tests $(ARGS)

# For minutes; see --help for ARGS.
fuzz: build
	$(BIN)/python tests/fuzz $(ARGS)

sanitize: sanitize-python sanitize-core

# What the modules are loaded into is not built so: its leaks are not ours, and the run times must be there first. An
# address space that is limited has no room for the sanitizer.
sanitize-python:
	$(MAKE) VENV=$(SANITIZE_VENV) DEFINES="GRU_NATIVE_SANITIZE=address,undefined GRU_NATIVE_ISAS=$(SANITIZE_ISA)" build
	export LD_PRELOAD="$$($(CXX) -print-file-name=libasan.so) $$($(CXX) -print-file-name=libstdc++.so.6)" \
		ASAN_OPTIONS=detect_leaks=0:allocator_may_return_null=1:max_allocation_size_mb=4000 \
		UBSAN_OPTIONS=print_stacktrace=1 GRU_NATIVE_SANITIZED=1; \
	$(SANITIZE_VENV)/bin/python -m pytest -q $(SANITIZE_TESTS) && \
	$(SANITIZE_VENV)/bin/python tests/fuzz $(SANITIZE_FUZZ)

# OpenMP's run time is not built so, and its threads do not compute there.
sanitize-core: $(VENV)/ready
	$(BIN)/cmake -S . -B build/tsan-$(SANITIZE_ISA) -G Ninja -DCMAKE_BUILD_TYPE=Release \
		-DCMAKE_MAKE_PROGRAM=$(abspath $(BIN)/ninja) -DPython_EXECUTABLE=$(abspath $(BIN)/python) \
		-DGRU_NATIVE_PYTHON=OFF -DGRU_NATIVE_TESTS=ON -DGRU_NATIVE_SANITIZE=thread -DGRU_NATIVE_ISAS=$(SANITIZE_ISA)
	$(BIN)/cmake --build build/tsan-$(SANITIZE_ISA)
	TSAN_OPTIONS=die_after_fork=0:halt_on_error=0 build/tsan-$(SANITIZE_ISA)/csrc/tests/gru_native_tests $(ARGS)

# What takes too long for every change; leaves a record in benchmarks/results/full.txt.
full: build
	.ci/full

# Adds PyTorch, sb3-contrib, Keras and skorch, after which tests and benchmarks compare with them.
# PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu gets the small build, without CUDA.
torch: build
	$(INSTALL) ".[sb3]" --group torch

peers:
	$(MAKE) VENV=$(PEERS_VENV) $(PEERS_VENV)/peers

bench: peers
	$(BENCH) --json $(RESULTS)/grid.json --png $(RESULTS)/grid.png $(ARGS)

bench-avx2: peers
	$(BENCH) --isa avx2 --json $(RESULTS)/grid-avx2.json $(ARGS)

bench-sweeps: peers
	$(BENCH) --suite sweeps --json $(RESULTS)/sweeps.json --png $(RESULTS)/sweeps.png $(ARGS)

bench-growth bench-overheads bench-idling bench-sequences bench-cells bench-streams: bench-%: peers
	$(BENCH) --suite $* --json $(RESULTS)/$*.json $(ARGS)

# A step of a live sequence from C, beside its kernels alone.
step-times: build
	$(BESIDE) $(BIN)/python benchmarks/step_times.py build/$(notdir $(VENV))/*/csrc/tests/gru_native_step_times

# What the package takes on disk, with each BLAS, to import and in memory.
footprint: peers
	for blas in none scipy-openblas system; do \
		$(PEERS_VENV)/bin/python -m pip wheel -q --no-deps --no-build-isolation -C cmake.define.GRU_NATIVE_BLAS=$$blas \
			-w build/footprint/$$blas . || exit 1; done
	$(PEERS_VENV)/bin/python benchmarks/footprint.py build/footprint --json $(RESULTS)/footprint.json

# What NumPy, PyTorch and scikit-learn lose beside the package, and what threads of Python gain.
neighbours: peers
	$(PEERS_VENV)/bin/python benchmarks/neighbours.py --json $(RESULTS)/neighbours.json

# Training steps of Seq2Seq and of CTCLoss, and PyTorch's.
seq2seq: torch
	$(BESIDE) $(BIN)/python benchmarks/seq2seq.py

# Training on one and on two ranks of MPI, each pinned to a core. On a machine that is busy: chrt -f 10 make ranks
ranks: build
	$(BESIDE) $(BIN)/python benchmarks/ranks.py --json $(RESULTS)/ranks.json $(ARGS)

# 1,000 live sessions on the server, beside one that calls ONNX Runtime for each step, and echoes: ten minutes.
load: build
	$(BESIDE) $(BIN)/python benchmarks/load/compare.py --json $(RESULTS)/load.json $(ARGS)

# Other people's programs with PyTorch's recurrent modules and with ours; ARGS names some of them.
programs: others
	$(BESIDE) $(PROGRAMS_VENV)/bin/python benchmarks/programs/compare.py --json $(RESULTS)/programs.json $(ARGS)

# Recurrent modules alone, over shapes.
layers: others
	$(BESIDE) $(PROGRAMS_VENV)/bin/python benchmarks/programs/layers.py --json $(RESULTS)/layers.json $(ARGS)

# What the smallest calls through PyTorch take.
calls: others
	$(PROGRAMS_VENV)/bin/python benchmarks/programs/calls.py

# A grid search of 20 settings, with our estimator and with skorch and PyTorch, on the data beside the checkout.
tuning: others
	$(BESIDE) $(PROGRAMS_VENV)/bin/python benchmarks/tuning.py --json $(RESULTS)/tuning.json $(ARGS)

others:
	$(MAKE) VENV=$(PROGRAMS_VENV) $(PROGRAMS_VENV)/programs

# The short examples, a minute each at most. ARGS="--data FOLDER" goes to those that would download.
examples: torch
	for example in $(filter-out examples/public_data.py,$(wildcard examples/*.py)); do \
		KERAS_BACKEND=torch $(BIN)/python $$example $$(grep -q public_data $$example && echo $(ARGS)) || exit 1; done

# All tasks on the data beside the checkout, one after the other: an hour or so. One of them needs PyTorch.
tasks: torch
	for task in $$(grep -l __main__ benchmarks/tasks/*.py); do \
		$(BIN)/python $$task $(ARGS) || exit 1; done

# What benchmarks and tasks wrote here becomes rows of a table that git keeps, make summary MACHINE=zen4.
summary: build
	$(BESIDE) $(BIN)/python -m gru_bench.summary $(MACHINE)

# The tables of the pages in docs/, from these summaries, and from a study.
tables: build
	$(BESIDE) $(BIN)/python docs/tables.py

# The picture of speed in README, from what is kept of a Zen 4.
speed: build
	$(BESIDE) $(BIN)/python docs/speed.py

# The reference, from the docstrings.
docs: $(VENV)/docs
	$(BIN)/python -m sphinx -qW --keep-going -d build/docs/doctrees docs/api build/docs/html

bench-quick: build
	$(BESIDE) $(BIN)/python -m gru_bench --quick $(ARGS)

lint: $(VENV)/linters
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(FORMATTED) | xargs $(BIN)/clang-format --dry-run --Werror

format: $(VENV)/linters
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(FORMATTED) | xargs $(BIN)/clang-format -i

# The core and its tests in C++ with another BLAS than the default's, make BLAS=system. The product is the same for all
# instruction sets: one is enough.
test-blas: $(VENV)/ready
	$(BIN)/cmake -S . -B build/blas -G Ninja -DCMAKE_BUILD_TYPE=Release \
		-DCMAKE_MAKE_PROGRAM=$(abspath $(BIN)/ninja) -DPython_EXECUTABLE=$(abspath $(BIN)/python) \
		-DGRU_NATIVE_PYTHON=OFF -DGRU_NATIVE_TESTS=ON -DGRU_NATIVE_WERROR=ON -DGRU_NATIVE_ISAS=scalar \
		-DGRU_NATIVE_BLAS=$(BLAS)
	$(BIN)/cmake --build build/blas
	build/blas/csrc/tests/gru_native_tests linear other_functions $(ARGS)

# The core and its tests for 64-bit Arm, by Debian's g++-aarch64-linux-gnu.
neon: $(VENV)/ready
	$(BIN)/cmake -S . -B build/aarch64 -G Ninja --toolchain cmake/aarch64-linux-gnu.cmake \
		-DCMAKE_BUILD_TYPE=Release -DCMAKE_MAKE_PROGRAM=$(abspath $(BIN)/ninja) \
		-DGRU_NATIVE_PYTHON=OFF -DGRU_NATIVE_TESTS=ON -DGRU_NATIVE_WERROR=ON
	$(BIN)/cmake --build build/aarch64

# By Debian's qemu-user. Left out is what forks beside other threads and starts threads in the child: qemu 7.2 ends
# there, on an assertion of its own. And what the kernel watches, which it does not do there. And what is of threads and
# memory, not of instructions: qemu has the order of memory of the CPU that it runs on, so `test-core` shows as much.
test-neon: neon
	qemu-aarch64 -cpu max -L /usr/aarch64-linux-gnu build/aarch64/csrc/tests/gru_native_tests \
		-a_forked_child_computes -forks_beside_a_thread_that_computes -steps_neither_allocate \
		-calls_at_once_pack -a_tape_may_be_moved -another_thread_asks -threads_that_call_come -another_executor $(ARGS)

wheel: $(VENV)/ready
	$(PIP) wheel -q --no-deps -w dist .

# A wheel for every Linux whose glibc is not older than this system's: auditwheel checks that, and names it so.
manylinux: wheel
	$(PIP) install -q --group manylinux
	PATH="$(abspath $(BIN)):$$PATH" $(BIN)/auditwheel repair -w dist/manylinux dist/gru_native-*-linux_$$(uname -m).whl

# A wheel for 64-bit Arm, by Debian's cross compiler, and for Debian's Python: this Python is of the same version.
wheel-aarch64: $(VENV)/ready $(ARM)/root
	_PYTHON_HOST_PLATFORM=linux-aarch64 SETUPTOOLS_EXT_SUFFIX=.cpython-311-aarch64-linux-gnu.so \
	CMAKE_TOOLCHAIN_FILE=$(abspath cmake/aarch64-linux-gnu.cmake) \
		$(PIP) wheel -q --no-deps --no-build-isolation -w dist . -C build-dir=build/aarch64-wheel \
		-C cmake.define.Python_INCLUDE_DIR=$(abspath $(ARM)/root/usr/include/python3.11) \
		-C cmake.define.Python_NumPy_INCLUDE_DIR=$$($(BIN)/python -c 'import numpy; print(numpy.get_include())') \
		-C cmake.define.CMAKE_CXX_FLAGS=-I$(abspath $(ARM)/root/usr/include)

# Its tests, by Debian's qemu-user, without one that starts a process of its own: there it cannot.
test-wheel-aarch64: wheel-aarch64
	rm -rf $(ARM)/site
	$(PIP) install -q --target $(ARM)/site --python-version 3.11 --only-binary :all: --implementation cp \
		--platform linux_aarch64 --platform manylinux_2_28_aarch64 --platform manylinux2014_aarch64 --platform any \
		dist/gru_native-*-linux_aarch64.whl pytest pytest-timeout hypothesis expecttest
	PYTHONPATH=$(ARM)/site qemu-aarch64 -cpu max -L $(ARM)/root $(ARM)/root/usr/bin/python3.11 -P .ci/smoke.py
	PYTHONPATH=$(ARM)/site qemu-aarch64 -cpu max -L $(ARM)/root $(ARM)/root/usr/bin/python3.11 -P \
		-m pytest -q -p no:cacheprovider -k 'not threads_that_calls_have' $(ARM_TESTS)

$(ARM)/root:
	cmake/aarch64-python.sh $(ARM)

sdist: $(VENV)/ready
	$(BIN)/python -m build --sdist --no-isolation

clean:
	rm -rf build dist $(VENV) $(PEERS_VENV) $(PROGRAMS_VENV) .venv-sanitized-*

# Debian's python3 may lack ensurepip, which venv needs; virtualenv brings its own pip.
$(BIN)/python:
	$(PYTHON) -m venv $(VENV) || ( \
		$(PYTHON) -m pip install -q --target build/virtualenv virtualenv && \
		PYTHONPATH=build/virtualenv $(PYTHON) -m virtualenv -q --clear $(VENV) )

$(VENV)/ready: $(BIN)/python pyproject.toml
	$(PIP) install -q --upgrade "pip>=25.1"
	$(PIP) install -q --group build
	touch $@

$(VENV)/built: $(VENV)/ready $(BUILT_FROM)
	$(INSTALL) ".[test]"
	touch $@

$(VENV)/peers: $(VENV)/built
	$(PIP) install -q --group bench
	touch $@

$(VENV)/programs: $(VENV)/built
	$(INSTALL) ".[torch]" torch==2.13.0
	$(PIP) install -q --group programs
	touch $@

$(VENV)/docs: $(VENV)/built
	$(INSTALL) ".[docs]"
	touch $@

$(VENV)/linters: $(VENV)/ready
	$(PIP) install -q --group lint
	touch $@
