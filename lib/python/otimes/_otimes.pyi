# SPDX-License-Identifier: MIT
# The compiled module as mypy sees it: cffi's names are made from the headers when it is built.
from collections.abc import Callable
from typing import Any, TypeVar

F = TypeVar("F", bound=Callable[..., Any])

class FFI:
    NULL: Any
    CData: Any
    def def_extern(self, *, error: Any = ..., onerror: Any = ...) -> Callable[[F], F]: ...
    def __getattr__(self, name: str) -> Any: ...

ffi: FFI
lib: Any
