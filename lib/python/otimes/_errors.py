# SPDX-License-Identifier: MIT
"""The library's errors as exceptions, with its text."""

from __future__ import annotations

from otimes._otimes import ffi, lib


class Error(Exception):
    """What otimes refuses or cannot do; the text is the library's: what, where, expected, got."""

    code = 0
    name = ""


class ArgumentError(Error, ValueError):
    """An argument or a setting is not valid."""

    code, name = -1, "ARGUMENT"


class OutOfMemoryError(Error, MemoryError):
    """Memory could not be had."""

    code, name = -2, "MEMORY"


class FileError(Error, OSError):
    """A file could not be opened, read or written."""

    code, name = -3, "IO"


class FormatError(Error, ValueError):
    """A file's bytes contradict its format."""

    code, name = -4, "FORMAT"


class ModelError(Error, ValueError):
    """Weights and configuration contradict each other or name no known architecture."""

    code, name = -5, "MODEL"


class WeightError(Error, ValueError):
    """A weight, or what is made of weights, is NaN or infinite."""

    code, name = -6, "VALUE"


class ConvergenceError(Error, ArithmeticError):
    """An iterative matrix routine did not converge."""

    code, name = -7, "CONVERGENCE"


class UnsupportedError(Error, NotImplementedError):
    """The request is not possible for this model."""

    code, name = -8, "UNSUPPORTED"


class CancelledError(Error):
    """The caller's progress function asked to stop."""

    code, name = -9, "CANCELLED"


BY_CODE: dict[int, type[Error]] = {kind.code: kind for kind in Error.__subclasses__()}


class Failure:
    """The `otimes_err` of one call: `failure.check(lib.call(..., failure.err))`."""

    __slots__ = ("err",)

    def __init__(self) -> None:
        self.err = ffi.new("otimes_err *")

    def check(self, code: int) -> int:
        if code >= 0:
            return code
        text = ffi.string(self.err.msg).decode("utf-8", "replace")
        text = text or ffi.string(lib.otimes_strerror(code)).decode()
        raise BY_CODE.get(code, Error)(text)
