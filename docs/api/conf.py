"""How Sphinx makes the reference of the package's docstrings: ``make docs``."""

from importlib import metadata
from typing import Any

from sphinx.util.inspect import TypeAliasForwardRef

project = "gru_native"
release = metadata.version(project)
extensions = ["sphinx.ext.autodoc", "sphinx.ext.autosummary", "sphinx.ext.napoleon"]
templates_path = ["templates"]
html_theme = "furo"
html_title = f"{project} {release}"

# A single backtick is a name: of the package where it is one, else of an argument.
default_role = "py:obj"
# GRU, for one, is a name in several modules. Where a docstring does not say of which, the first one is meant.
suppress_warnings = ["ref.python"]

autosummary_ignore_module_all = False
# A base that is named here has its own place on the pages.
bases = "Module,Optimizer,Schedule"
autodoc_default_options = {"members": True, "inherited-members": bases, "special-members": "__call__"}
autodoc_member_order = "bysource"
# What NumPy's names stand for would fill pages: they stand for themselves, also in unions.
names = "ArrayLike", "DTypeLike", "Array", "Seed", "State", "States", "StrPath", "ActivationLike"
autodoc_type_aliases = {name: name for name in names}
TypeAliasForwardRef.__repr__ = lambda self: self.name
napoleon_use_ivar = True  # attributes that are members stand on the page already
napoleon_use_rtype = False  # a shape is no type


def skip(app: Any, kind: str, name: str, thing: Any, skipped: bool, options: Any) -> bool | None:
    """Leave out what classes have from Python, PyTorch and others."""
    method = getattr(thing, "fget", thing)
    module = getattr(getattr(method, "__objclass__", method), "__module__", None) or project
    return skipped if module.split(".")[0] == project else True


def setup(app: Any) -> None:
    """Connect what is above."""
    app.connect("autodoc-skip-member", skip)
