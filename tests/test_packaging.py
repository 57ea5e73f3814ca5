"""What an installed build consists of. Compiled files are read as bytes: a machine may lack readelf."""

from __future__ import annotations

import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

import gru_native
from gru_native import _core, _layer

FOLDER = Path(_core.__file__).parent
OURS = [Path(_core.__file__), Path(_layer.__file__), FOLDER / "libgru_native_core.so"]


def test_version_is_the_distributions() -> None:
    assert gru_native.__version__ == metadata.version("gru_native")


def test_command_is_installed() -> None:
    (command,) = metadata.entry_points(group="console_scripts", name="gru-native")
    assert callable(command.load())


@pytest.mark.parametrize("library", OURS, ids=lambda path: path.name.split(".")[0])
def test_libraries_are_found_beside_each_other(library: Path) -> None:
    content = library.read_bytes()
    assert library.parent == FOLDER
    assert b"$ORIGIN" in content
    # A path of the build environment is gone after the build.
    assert b"site-packages" not in content
    assert b"build-env" not in content


def test_run_time_libraries_come_from_the_package() -> None:
    """A BLAS or an OpenMP of the build environment or of the system would be missing elsewhere."""
    bundled = {path.name for path in FOLDER.glob("lib*.so*")}
    script = "import gru_native; print(open('/proc/self/maps').read())"
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=120)
    mapped = {Path(line.split()[-1]) for line in run.stdout.splitlines() if ".so" in line}
    assert bundled <= {path.name for path in mapped}
    assert {path.parent for path in mapped if path.name in bundled} == {FOLDER}
    assert any("omp" in name for name in bundled)


def test_import_needs_run_time_dependencies_only() -> None:
    script = (
        "import sys; before = set(sys.modules); import gru_native, gru_native.cli\n"
        "print(*sorted({name.partition('.')[0] for name in set(sys.modules) - before}))"
    )
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=120)
    extras = {"torch", "onnx", "onnxruntime", "matplotlib", "sklearn", "pytest", "scipy_openblas32", "cython"}
    assert not extras & set(run.stdout.split())


def test_build_requirements_are_listed_for_builds_without_isolation() -> None:
    tomllib = pytest.importorskip("tomllib", reason="Python 3.11 and later read TOML")
    project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())
    assert set(project["build-system"]["requires"]) <= set(project["dependency-groups"]["build"])
