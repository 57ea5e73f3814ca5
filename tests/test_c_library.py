"""The core as a library for other languages: installed, linked in every way offered, and used to Python's bits."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

import gru_native as gn

pytestmark = pytest.mark.timeout(900)  # the first test with the installed library compiles it

ROOT = Path(__file__).resolve().parents[1]
EXAMPLES, ABI = ROOT / "examples" / "embed", ROOT / "tests" / "abi"
LIBRARY = Path(gn.get_library())
# What any compiler may be told to warn of.
STRICT = ["-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Werror"]
OF_PACKAGE = [f"-I{gn.get_include()}", str(LIBRARY), f"-Wl,-rpath,{LIBRARY.parent}"]


# Where tools are, those of the environment first.
PATH = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])


def tool(name: str) -> str:
    """Return the path of a program, or skip."""
    return shutil.which(name, path=PATH) or pytest.skip(f"there is no {name} on this machine")


def run(*command: object, given: str | None = None, **variables: str) -> str:
    """Return what a program prints."""
    ran = subprocess.run(
        [*map(str, command)],
        input=given,
        capture_output=True,
        text=True,
        timeout=800,
        env={**os.environ, "PATH": PATH, **variables},
    )
    assert ran.returncode == 0, f"{command}\n{ran.stdout[-2000:]}\n{ran.stderr[-4000:]}"
    return ran.stdout


def compiled(source: Path, to: Path, flags: list[str] = OF_PACKAGE) -> Path:
    """Compile a program in C, C++ or Rust and return its path."""
    if source.suffix == ".rs":
        return compiled_rust(source, to)
    compiler = [tool("cc"), "-std=c11"] if source.suffix == ".c" else [tool("c++"), "-std=c++20"]
    run(*compiler, *STRICT, source, *flags, "-lm", "-o", to)
    return to


def compiled_rust(source: Path, to: Path) -> Path:
    library = f"-L{LIBRARY.parent}", f"-Clink-arg=-Wl,-rpath,{LIBRARY.parent}"
    run(tool("rustc"), "--edition=2021", "-Dwarnings", *library, source, "-o", to)
    return to


def compiled_cython(source: Path, folder: Path) -> None:
    """Compile a module in Cython."""
    generated, module = folder / f"{source.stem}.c", folder / f"{source.stem}{sysconfig.get_config_var('EXT_SUFFIX')}"
    run(sys.executable, "-m", "cython", "-3", "-Wextra", "-I", ROOT, source, "-o", generated)
    flags = ["-shared", "-fPIC", "-O1", f"-I{sysconfig.get_path('include')}", *OF_PACKAGE]
    run(tool("cc"), generated, *flags, "-o", module)


def rows_of(text: str) -> np.ndarray:
    """Return the numbers of lines of text. Nine digits name a float32."""
    return np.array([line.split() for line in text.splitlines()], np.float32)


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str, np.ndarray]:
    """A model's file, rows of numbers as text, and what the model makes of them, to the bit."""
    model = gn.nn.Sequential(gn.nn.GRU(5, 19, seed=1), gn.nn.LSTM(19, 33, seed=2), gn.nn.Linear(33, 3, seed=3))
    path = tmp_path_factory.mktemp("model") / "model.safetensors"
    gn.save(model, path)
    x = np.random.default_rng(4).standard_normal((40, 5)).astype(np.float32)
    return path, "".join(" ".join(map(repr, row)) + "\n" for row in x.tolist()), model(x[:, None])[0][:, 0]


def check_stream(command: list[object], saved: tuple[Path, str, np.ndarray], **variables: str) -> None:
    """Assert that a program that steps through the rows has the bits of the model over all of them."""
    path, rows, expected = saved
    np.testing.assert_array_equal(rows_of(run(*command, path, given=rows, **variables)), expected)


# ---- Examples, with the library of the package ----------------------------------------------------------------------


@pytest.mark.parametrize("name", ["stream.c", "stream.rs"])
def test_a_model_runs_step_by_step(name: str, saved: tuple[Path, str, np.ndarray], tmp_path: Path) -> None:
    check_stream([compiled(EXAMPLES / name, tmp_path / "stream")], saved)


def test_a_model_runs_by_ctypes(saved: tuple[Path, str, np.ndarray]) -> None:
    check_stream([sys.executable, EXAMPLES / "stream.py", LIBRARY], saved)


def test_a_model_runs_in_cython(saved: tuple[Path, str, np.ndarray], tmp_path: Path) -> None:
    compiled_cython(EXAMPLES / "stream.pyx", tmp_path)
    check_stream(
        [sys.executable, "-c", "import sys, stream; stream.main(sys.argv[1])"], saved, PYTHONPATH=str(tmp_path)
    )


def test_cython_knows_every_function_and_field() -> None:
    header = re.sub(r"/\*.*?\*/", "", (ROOT / "include" / "gru_native.h").read_text(), flags=re.DOTALL)
    known = set(re.findall(r"\w+", (ROOT / "gru_native" / "__init__.pxd").read_text()))
    structures = re.findall(r"typedef struct (\w+) \{(.*?)\} \w+;", header, flags=re.DOTALL)
    fields = {word for _, body in structures for word in re.findall(r"(\w+)(?:\[\w+\])?[,;]", body)}
    values = set(re.findall(r"\b(GN_\w+) = ", header)) - set(re.findall(r"GN_\w+_MAX\b", header))
    expected = set(re.findall(r"\b(gn_\w+)\(", header)) | {name for name, _ in structures} | fields | values
    assert len(structures) >= 20
    assert expected <= known, sorted(expected - known)


def test_many_sequences_run_in_cpp(saved: tuple[Path, str, np.ndarray], tmp_path: Path) -> None:
    path, text, expected = saved
    rows = text.splitlines()
    lines = []
    for t, row in enumerate(rows):  # two sequences, of which one is late and pauses
        lines += [f"a {row}"] + [f"b {rows[t // 2]}"] * (t % 2) + [""]
    answers = run(compiled(EXAMPLES / "pool.cpp", tmp_path / "pool"), path, given="\n".join(lines) + "\n").splitlines()
    for name, count in ("a", len(rows)), ("b", len(rows) // 2):
        own = [answer.removeprefix(name) for answer in answers if answer.startswith(name)]
        np.testing.assert_array_equal(rows_of("\n".join(own)), expected[:count])


def test_the_classes_for_cpp(saved: tuple[Path, str, np.ndarray], tmp_path: Path) -> None:
    run(compiled(ROOT / "tests" / "wrapper.cpp", tmp_path / "wrapper"), saved[0])


def test_a_program_in_c_trains(tmp_path: Path) -> None:
    steps, batch, inputs, hidden, classes = 12, 9, 5, 21, 4
    gru, linear = gn.nn.GRU(inputs, hidden, seed=1), gn.nn.Linear(hidden, classes, seed=2)
    rng = np.random.default_rng(3)
    x = rng.standard_normal((steps, batch, inputs)).astype(np.float32)
    targets = rng.integers(0, classes, batch)
    save_file({**gru.state_dict(), **linear.state_dict(), "x": x, "targets": targets}, tmp_path / "start.safetensors")

    loss, losses = gn.losses.CrossEntropyLoss(reduction="none"), []
    optimizers = [gn.optim.Adam(layer, lr=0.01) for layer in (gru, linear)]
    for _ in range(30):
        (_, h_n), tape = gru.forward(x)
        logits, linear_tape = linear.forward(h_n[0])
        values, loss_tape = loss.forward(logits, targets)
        losses.append(sum(values.tolist()) / batch)
        d_h, d_linear = linear.backward(linear_tape, loss.backward(loss_tape, np.full(batch, 1 / batch)))
        _, d_gru = gru.backward(tape, None, d_h[None])
        for optimizer, gradients in zip(optimizers, (d_gru, d_linear), strict=True):
            optimizer.step(gradients)

    printed = run(compiled(EXAMPLES / "train.c", tmp_path / "train"), tmp_path / "start.safetensors", 30)
    assert [*map(float, printed.split())] == losses
    assert losses[-1] < losses[0] / 2


# ---- What is installed ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def prefix(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The library as ``cmake --install`` lays it out, moved from there, with the kernels that every CPU has."""
    build, folder = ROOT / "build" / "c-library", tmp_path_factory.mktemp("prefix")
    options = ["-DGRU_NATIVE_PYTHON=OFF", "-DGRU_NATIVE_ISAS=scalar", "-DCMAKE_BUILD_TYPE=Release"]
    run(tool("cmake"), "-S", ROOT, "-B", build, *options)
    run(tool("cmake"), "--build", build, "--parallel", os.cpu_count())
    run(tool("cmake"), "--install", build, "--prefix", folder / "first")
    return (folder / "first").rename(folder / "moved")


@pytest.fixture
def folder(prefix: Path) -> Path:
    """The folder of the installed library."""
    return next(prefix.rglob("libgru_native.so")).parent


@pytest.fixture
def scalar(saved: tuple[Path, str, np.ndarray]) -> tuple[Path, str, np.ndarray]:
    """As `saved`, but the results are those of the kernels that every CPU has."""
    path, rows, _ = saved
    lines = run(sys.executable, EXAMPLES / "stream.py", LIBRARY, path, given=rows, GRU_NATIVE_ISA="scalar")
    return path, rows, rows_of(lines)


def package_flags(folder: Path, *options: str) -> list[str]:
    """Return what pkg-config says, or, where there is none, what it would say."""
    if shutil.which("pkg-config"):
        return run("pkg-config", *options, "gru_native", PKG_CONFIG_PATH=str(folder / "pkgconfig")).split()
    said = (folder / "pkgconfig" / "gru_native.pc").read_text().replace("${pcfiledir}", str(folder / "pkgconfig"))
    fields = dict(re.findall(r"^([\w.]+)(?:=|: )(.*)$", said, re.MULTILINE))
    names = {"--cflags": "Cflags", "--libs": "Libs", "--static": "Libs.private"}
    flags = " ".join(fields[names[option]] for option in options)
    while "${" in flags:
        flags = re.sub(r"\$\{(\w+)\}", lambda name: fields[name[1]], flags)
    return flags.split()


def test_a_program_is_linked_as_pkg_config_says(
    folder: Path, scalar: tuple[Path, str, np.ndarray], tmp_path: Path
) -> None:
    program = compiled(EXAMPLES / "stream.c", tmp_path / "stream", package_flags(folder, "--cflags", "--libs"))
    check_stream([program], scalar, LD_LIBRARY_PATH=str(folder))


def test_a_program_has_the_static_library_in_it(
    folder: Path, scalar: tuple[Path, str, np.ndarray], tmp_path: Path
) -> None:
    flags = package_flags(folder, "--cflags", "--libs", "--static")
    beside = [flag for flag in flags if flag != "-lgru_native" and not flag.startswith("-L")]
    program = compiled(EXAMPLES / "stream.c", tmp_path / "stream", [str(folder / "libgru_native.a"), *beside])
    check_stream([program], scalar)


def snippets(language: str) -> list[str]:
    """Return the snippets of docs/embed.md in a language."""
    page = (ROOT / "docs" / "embed.md").read_text()
    found = re.findall(rf"^```{language}\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    assert found
    return found


@pytest.mark.parametrize("target", ["gru_native", "gru_native_static"])
def test_a_program_is_linked_by_cmake(
    target: str, prefix: Path, scalar: tuple[Path, str, np.ndarray], tmp_path: Path
) -> None:
    (project,) = snippets("cmake")
    (tmp_path / "CMakeLists.txt").write_text(project.replace("::gru_native)", f"::{target})"))
    shutil.copy(EXAMPLES / "stream.c", tmp_path)
    run(tool("cmake"), "-S", tmp_path, "-B", tmp_path / "build", f"-DCMAKE_PREFIX_PATH={prefix}")
    run(tool("cmake"), "--build", tmp_path / "build")
    check_stream([tmp_path / "build" / "stream"], scalar)


@pytest.mark.skipif(sys.platform != "linux", reason="files of other systems are of another format")
def test_the_shared_library_is_its_interface_and_needs_no_more_than_c(folder: Path) -> None:
    header = (ROOT / "include" / "gru_native.h").read_text()
    declared = set(re.findall(r"^GN_API [^(]*?\b(gn_\w+)\(", header, re.MULTILINE))
    exported = run(tool("nm"), "-D", "--defined-only", "--format=posix", folder / "libgru_native.so")
    assert {line.split()[0] for line in exported.splitlines()} == declared
    said = run(tool("readelf"), "-d", folder / "libgru_native.so")
    needed = re.findall(r"NEEDED.*\[(\w+)", said)
    assert set(needed) <= {"libgomp", "libomp", "libm", "libgcc_s", "libc", "ld"}
    (abi,) = re.findall(r"^#define GN_ABI_VERSION (\d+)", header, re.MULTILINE)
    assert f"[libgru_native.so.{abi}]" in said


# ---- The page -------------------------------------------------------------------------------------------------------


def test_the_page_on_embedding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {"__name__": "page"}
    for block in snippets("python"):
        exec(compile(block, "docs/embed.md", "exec"), names)

    includes, *body = snippets("c")
    Path("page.c").write_text(f"{includes}\nint main(void) {{\n{''.join(body)}return 0;\n}}\n")
    answer = names["answers"]
    assert isinstance(answer, np.ndarray)
    model = names["model"]
    assert isinstance(model, gn.nn.Module)
    expected = model(np.array([[[2, 0, 0, 0]]], np.float32))[0][0]
    np.testing.assert_array_equal(rows_of(run(compiled(Path("page.c"), tmp_path / "page_c")))[0], expected[0])

    includes, *body = snippets("cpp")
    Path("page.cpp").write_text(f"{includes}\nint main() {{\n{''.join(body)}}}\n")
    said = run(compiled(Path("page.cpp"), tmp_path / "page_cpp"))
    assert f"// {said}" in "".join(body)


def test_the_page_in_cython(tmp_path: Path) -> None:
    (module,) = snippets("cython")
    (tmp_path / "page.pyx").write_text(module)
    compiled_cython(tmp_path / "page.pyx", tmp_path)
    assert run(sys.executable, "-c", "import page; print(page.version())", PYTHONPATH=str(tmp_path)) == "1\n"


def test_the_page_in_rust(tmp_path: Path) -> None:
    (program,) = snippets("rust")
    (tmp_path / "page.rs").write_text(program)
    gn.save(gn.nn.GRU(2, 2), tmp_path / "model.safetensors")
    binary = compiled(tmp_path / "page.rs", tmp_path / "page")
    subprocess.run([binary], cwd=tmp_path, check=True)


def test_the_pages_commands(folder: Path, scalar: tuple[Path, str, np.ndarray], tmp_path: Path) -> None:
    tool("pkg-config")
    shutil.copy(EXAMPLES / "stream.c", tmp_path)
    for command in snippets("sh"):
        where = {"PKG_CONFIG_PATH": str(folder / "pkgconfig"), "LD_LIBRARY_PATH": str(folder)}
        run("bash", "-ec", f"cd {tmp_path}; {command}", **where)
        where["GRU_NATIVE_ISA"] = "scalar"
        check_stream([tmp_path / "stream"], scalar, **where)


# ---- Programs that were compiled before -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def present(tmp_path_factory: pytest.TempPathFactory) -> str:
    """What the program prints that is compiled against the present header."""
    program = tmp_path_factory.mktemp("abi") / "program"
    return run(compiled(ABI / "program.c", program), ABI / "model.safetensors")


def test_the_first_header_still_holds(present: str, tmp_path: Path) -> None:
    program = compiled(ABI / "program.c", tmp_path / "program", [f"-I{ABI}", *OF_PACKAGE[1:]])
    assert run(program, ABI / "model.safetensors") == present


@pytest.mark.skipif(
    (sys.platform, platform.machine()) != ("linux", "x86_64") or platform.libc_ver() < ("glibc", "2.34"),
    reason="the program is one for Linux on x86-64 with glibc 2.34 or later",
)
def test_a_program_that_was_compiled_with_the_first_header_still_runs(present: str) -> None:
    assert run(ABI / "program", ABI / "model.safetensors", LD_LIBRARY_PATH=str(LIBRARY.parent)) == present
    assert "gn_pool_describe 0" in present
