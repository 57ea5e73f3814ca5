"""What an installed build consists of. Compiled files are read as bytes: a machine may lack readelf."""

from __future__ import annotations

import json
import platform
import re
from importlib import metadata
from pathlib import Path

import pytest
from processes import python

import gru_native
from gru_native import _core, _layer

FOLDER = Path(_core.__file__).parent
OURS = [Path(_core.__file__), Path(_layer.__file__), Path(gru_native.get_library()), *FOLDER.glob("torch/*.so")]


def printed(script: str) -> list[str]:
    """Return the words that a script prints in a Python of its own."""
    return python("-c", script).split()


def test_version_is_the_distributions() -> None:
    assert gru_native.__version__ == metadata.version("gru_native")


def test_command_is_installed() -> None:
    (command,) = metadata.entry_points(group="console_scripts", name="gru-native")
    assert callable(command.load())


@pytest.mark.parametrize("library", OURS, ids=lambda path: path.name.split(".")[0])
def test_libraries_are_found_beside_each_other(library: Path) -> None:
    content = library.read_bytes()
    assert library.parent in (FOLDER, FOLDER / "torch")
    assert (b"$ORIGIN" if library.parent == FOLDER else b"$ORIGIN/..") in content
    # A path of the build environment is gone after the build.
    assert b"site-packages" not in content
    assert b"build-env" not in content


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="this system has another C library")
def test_libraries_need_no_newer_glibc_than_the_wheel_claims() -> None:
    """A tag without a version of glibc, which a build has before auditwheel repairs it, means the system's own."""
    tags = metadata.distribution("gru_native").read_text("WHEEL") or ""
    versions = re.findall(r"manylinux_(\d+)_(\d+)", tags) or [platform.libc_ver()[1].split(".")[:2]]
    claimed = min(tuple(map(int, version)) for version in versions)
    for library in FOLDER.rglob("*.so*"):
        names = re.findall(rb"\0GLIBC_(\d+)\.(\d+)[.\d]*(?=\0)", library.read_bytes())
        needed = max((tuple(map(int, name)) for name in names), default=(0, 0))
        assert needed <= claimed, f"{library.name} needs glibc {needed}, the wheel claims {claimed}"


def test_run_time_libraries_come_from_the_package() -> None:
    """A BLAS or an OpenMP of the build environment or of the system would be missing elsewhere."""
    bundled = {path.name for path in FOLDER.glob("lib*.so*")}
    words = printed("import gru_native; print(open('/proc/self/maps').read())")
    mapped = {Path(word) for word in words if ".so" in word}
    assert bundled <= {path.name for path in mapped}
    assert {path.parent for path in mapped if path.name in bundled} == {FOLDER}
    assert any("omp" in name for name in bundled)


def test_bundled_libraries_come_with_their_terms() -> None:
    terms = metadata.distribution("gru_native").read_text("licenses/LICENSE-bundled.txt") or ""
    terms += "".join(path.read_text() for path in FOLDER.glob("LICENSE*"))
    bundled = {path.name.partition(".")[0] for path in FOLDER.glob("lib*.so*")} - {"libgru_native"}
    assert {name for name in bundled if name not in terms} == set()
    assert ("OpenBLAS" in terms) == ("libscipy_openblas" in bundled)


def test_bundled_libraries_are_in_the_bill_of_materials() -> None:
    bill = json.loads(metadata.distribution("gru_native").read_text("sboms/gru_native.cdx.json") or "{}")
    assert bill["metadata"]["component"]["version"] == gru_native.__version__
    named = {component["name"]: component for component in bill["components"]}
    bundled = {path.name.partition(".")[0].replace("scipy_", "") for path in FOLDER.glob("lib*.so*")}
    assert {f"lib{name.removeprefix('lib')}" for name in named} >= bundled - {"libgru_native"}
    assert all(component["version"] for name, component in named.items() if name != "libgfortran")
    assert named["cython"]["version"] == metadata.version("cython")


def test_import_needs_run_time_dependencies_only() -> None:
    loaded = printed(
        "import sys; before = set(sys.modules); import gru_native, gru_native.cli\n"
        "print(*sorted({name.partition('.')[0] for name in set(sys.modules) - before}))"
    )
    extras = {"torch", "onnx", "onnxruntime", "matplotlib", "sklearn", "pytest", "scipy_openblas32", "cython"}
    assert not extras & set(loaded)


@pytest.mark.parametrize(
    ("package", "unneeded"),
    [
        ("gru_native", {"gru_native.io", "gru_native.optim", "gru_native.train", "json", "safetensors", "hashlib"}),
        ("gru_native.io", {"gru_native.train", "hashlib"}),
        ("gru_native.train", {"gru_native.heatmaps", "gru_native.reference", "sklearn"}),
    ],
)
def test_import_loads_what_is_needed_beside_numpy(package: str, unneeded: set[str]) -> None:
    loaded = printed(
        f"import sys, numpy; before = set(sys.modules); import {package}; print(*set(sys.modules) - before)"
    )
    assert package in loaded
    assert not (unneeded | {"tqdm", "importlib.metadata", "secrets", "concurrent.futures", "matplotlib"}) & set(loaded)


def test_names_that_are_loaded_later_are_there() -> None:
    script = (
        "import gru_native as gn; assert {*gn.__all__} <= {*dir(gn)}; assert not hasattr(gn, 'no_such_name')\n"
        "from gru_native import *; assert load is gn.io.load; print(*{*gn.__all__} & {*dir()})"
    )
    assert set(printed(script)) == set(gru_native.__all__)


@pytest.mark.parametrize("name", ["onnx", "sklearn"])
def test_what_needs_an_extra_is_there_too(name: str) -> None:
    pytest.importorskip(name)
    script = (
        f"import sys, gru_native as gn; assert {name!r} not in sys.modules; print(gn.{name}.__name__)\n"
        f"from gru_native import *; assert {name!r} not in dir()"
    )
    assert printed(script) == [f"gru_native.{name}"]


def test_threads_find_whole_modules_when_all_ask_first() -> None:
    """Slow loading makes them meet; slowest are packages, whose submodules others could ask for meanwhile."""
    script = """
import threading, time
from importlib.machinery import SourceFileLoader
import gru_native as gn

def slow(loader, spec):
    time.sleep(0.2 if spec.name in ("gru_native.nn", "gru_native.train") else 0.005)

def touch(name):
    start.wait()
    found[name] = dir(getattr(gn, name))

SourceFileLoader.create_module = slow
found, start = {}, threading.Barrier(len(gn.__all__))
threads = [threading.Thread(target=touch, args=(name,)) for name in gn.__all__]
for thread in threads: thread.start()
for thread in threads: thread.join()
print(*(name for name in gn.__all__ if found.get(name) == dir(getattr(gn, name))))
"""
    assert printed(script) == gru_native.__all__


def test_what_other_languages_need_is_there() -> None:
    assert {path.name for path in Path(gru_native.get_include()).iterdir()} == {"gru_native.h", "gru_native.hpp"}
    assert "GN_ABI_VERSION" in (Path(gru_native.get_include()) / "gru_native.h").read_text()
    library = Path(gru_native.get_library())
    assert library == FOLDER / library.name
    assert str(library) in printed("import gru_native; print(open('/proc/self/maps').read())")


def test_build_requirements_are_listed_for_builds_without_isolation() -> None:
    tomllib = pytest.importorskip("tomllib", reason="Python 3.11 and later read TOML")
    project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())
    assert set(project["build-system"]["requires"]) <= set(project["dependency-groups"]["build"])


@pytest.mark.parametrize(
    ("before", "message"),
    [
        ("sys.modules['torch'] = None", "pip install 'gru_native[torch]'"),
        ("sys.modules['torch'] = type(sys)('torch'); sys.modules['torch'].__version__ = '2.9.1'", "2.10 or later"),
    ],
)
def test_the_face_for_pytorch_says_what_it_needs(before: str, message: str) -> None:
    script = f"""
import sys
{before}
import gru_native
try:
    import gru_native.torch
except ImportError as error:
    print(error)
"""
    assert message in " ".join(printed(script))


def test_pytorch_is_imported_only_when_asked_for() -> None:
    assert printed("import sys, gru_native; gru_native.train; print('torch' in sys.modules)") == ["False"]
