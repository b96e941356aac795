"""Public names that a package imports on first use, so that importing the package stays cheap."""

import importlib
import sys
from collections.abc import Callable, Mapping, Sequence


def lazy(
    package: str, exports: Mapping[str, Sequence[str]]
) -> tuple[Callable[[str], object], Callable[[], list[str]], list[str]]:
    """`__getattr__`, `__dir__` and `__all__` for a package that exports names from these submodules."""
    module_of = {name: module for module, names in exports.items() for name in names}

    def find(name: str) -> object:
        if name not in module_of:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(importlib.import_module(f"{package}.{module_of[name]}"), name)

    return find, lambda: sorted({*vars(sys.modules[package]), *module_of}), sorted(module_of)
