# SPDX-License-Identifier: MIT
"""Circuit quantities of transformers, exactly, from trained weights.

    import otimes

    with otimes.open("notebooks-data/induction-2l") as model:
        model.W_Q[1, 0]              # a view of the library's own memory
        model.OV(1, 0).norm()        # W_V W_O as a FactoredMatrix
        model.heads()                # every analysis: an xarray Dataset

What only shows results (`otimes.read`, `otimes.plot`) needs nothing of the compiled module.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from otimes._errors import (
        ArgumentError,
        CancelledError,
        ConvergenceError,
        Error,
        FileError,
        FormatError,
        ModelError,
        OutOfMemoryError,
        UnsupportedError,
        WeightError,
    )
    from otimes._model import Config, Model, build_info, compare, diff, open, tokens, version
    from otimes._read import read
    from otimes._torch import from_torch
    from otimes.factored import FactoredMatrix

# Loaded when first used: results are read and drawn where the library is not.
_HOMES = {
    **dict.fromkeys(
        ["ArgumentError", "CancelledError", "ConvergenceError", "Error", "FileError", "FormatError", "ModelError",
         "OutOfMemoryError", "UnsupportedError", "WeightError"],
        "otimes._errors",
    ),
    **dict.fromkeys(["Config", "Model", "build_info", "compare", "diff", "open", "tokens", "version"],
                    "otimes._model"),
    "FactoredMatrix": "otimes.factored",
    "read": "otimes._read",
    "from_torch": "otimes._torch",
}
_MODULES = ("plot",)

__all__ = [  # noqa: F822
    "ArgumentError", "CancelledError", "Config", "ConvergenceError", "Error", "FactoredMatrix", "FileError",
    "FormatError", "Model", "ModelError", "OutOfMemoryError", "UnsupportedError", "WeightError", "build_info",
    "compare", "diff", "from_torch", "open", "read", "tokens", "version",
]


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return importlib.import_module(f"otimes.{name}")
    if name == "__version__":
        return __getattr__("version")()
    if name not in _HOMES:
        raise AttributeError(f"module 'otimes' has no attribute '{name}'")
    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return [*__all__, *_MODULES, "__version__"]
