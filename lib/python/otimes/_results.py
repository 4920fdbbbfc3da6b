# SPDX-License-Identifier: MIT
"""Results as xarray Datasets: views of the memory that an analysis wrote into."""

from __future__ import annotations

import os
import queue
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray

from otimes._errors import ArgumentError, Failure
from otimes._otimes import ffi, lib

Progress = bool | Callable[[float, float], object]
SCHEMA_VERSION = 1
CANCELLED = -9
LAST_DATE = 253402300799  # the end of the year 9999

# By otimes_type; texts are pointers.
TYPES = {
    lib.OTIMES_F32: "<f4",
    lib.OTIMES_F16: "<f2",
    lib.OTIMES_F64: "<f8",
    lib.OTIMES_I32: "<i4",
    lib.OTIMES_I64: "<i8",
}


in_thread = threading.local()


def one_blas_thread() -> None:
    """BLAS with one thread, as the program has it: otimes' own loops keep all processors busy with products of
    one thread each, and results are the same bits at any number of threads. For the whole process; OpenBLAS
    over OpenMP also counts for each thread that calls it.
    """
    if not getattr(in_thread, "one", False):
        lib.otimes_set_blas_threads(1)
        in_thread.one = True


def text_of(pointer: Any) -> str | None:
    """A C string as Python text; None for NULL."""
    return None if pointer == ffi.NULL else ffi.string(pointer).decode("utf-8", "replace")


class Memory:
    """Numbers of the library's own, shown to NumPy; `owner` keeps them alive."""

    __slots__ = ("__array_interface__", "owner")

    def __init__(self, pointer: Any, typestr: str, shape: tuple[int, ...], owner: object,
                 strides: tuple[int, ...] | None = None) -> None:
        self.owner = owner
        self.__array_interface__ = {
            "version": 3,
            "typestr": typestr,
            "shape": shape,
            "strides": strides,
            "data": (int(ffi.cast("uintptr_t", pointer)), True),
        }


def view(pointer: Any, typestr: str, shape: tuple[int, ...], owner: object,
         strides: tuple[int, ...] | None = None) -> npt.NDArray[Any]:
    """A read-only array over memory that lives as long as it, or any view of it."""
    if 0 in shape:
        return np.zeros(shape, typestr)
    return np.asarray(Memory(pointer, typestr, shape, owner, strides))


def texts(pointer: Any, count: int) -> npt.NDArray[np.object_]:
    out = np.empty(count, object)
    for i in range(count):
        out[i] = text_of(pointer[i]) or ""
    return out


def date() -> str:
    """Now as results carry it; SOURCE_DATE_EPOCH stands for now."""
    epoch = os.environ.get("SOURCE_DATE_EPOCH") or str(int(time.time()))
    if not (epoch.isascii() and epoch.isdigit() and int(epoch) <= LAST_DATE):
        raise ArgumentError(f"SOURCE_DATE_EPOCH: expected 0 to {LAST_DATE}, got '{epoch}'")
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(int(epoch)))


class Bar:
    """Progress as the caller asked for it: a tqdm bar, a function of (done, total), or nothing."""

    def __init__(self, name: str, progress: Progress) -> None:
        if not callable(progress) and not isinstance(progress, bool):
            raise ArgumentError(f"progress: expected True, False or a function, got {progress!a}")
        self.call = progress if callable(progress) else None
        self.bar: Any = None
        if progress is True:
            from tqdm.auto import tqdm

            self.bar = tqdm(total=1.0, desc=f"otimes {name}", unit="",
                            bar_format="{l_bar}{bar}| {elapsed}<{remaining}")

    @property
    def wanted(self) -> bool:
        return self.call is not None or self.bar is not None

    def show(self, done: float, total: float) -> None:
        if total <= 0:
            return
        if self.call is not None:
            self.call(done, total)
        if self.bar is not None:
            self.bar.n = min(done / total, 1.0)
            self.bar.refresh()

    def close(self) -> None:
        if self.bar is not None:
            self.bar.close()


class Sink:
    """A memory sink that an analysis writes to; what it wrote lives as long as this."""

    def __init__(self, name: str, progress: Progress) -> None:
        failure = Failure()
        box = ffi.new("otimes_memory_sink **")
        failure.check(lib.otimes_memory_sink_new(box, failure.err))
        self.memory = ffi.gc(box[0], free_memory)
        self.axes: dict[str, tuple[Any, dict[str, str]]] = {}
        self.raised: BaseException | None = None
        self.code = 0
        self.failure = failure
        self.news: queue.SimpleQueue[tuple[float, float] | None] | None = None
        self.bar = Bar(name, progress)
        self.handle = ffi.new_handle(self)
        self.sink = ffi.new("otimes_py_sink *")
        lib.otimes_py_sink_begin(self.sink, self.memory, self.handle)
        self.sink.wanted = self.bar.wanted

    def run(self, call: Callable[[Any, Any], int]) -> None:
        """Runs call(sink, err). What a progress function raises is raised here, and so is Ctrl-C."""
        try:
            if threading.current_thread() is threading.main_thread():
                self.wait_for(call)
            else:
                self.work(call)
        finally:
            self.bar.close()
        if self.raised is not None:
            raised, self.raised = self.raised, None
            raise raised
        self.failure.check(self.code)

    def wait_for(self, call: Callable[[Any, Any], int]) -> None:
        """Signals come to the main thread, which therefore only waits.

        After Ctrl-C the analysis ends at its next word about progress; what it holds lives until then.
        """
        self.news = queue.SimpleQueue()
        worker = threading.Thread(target=self.work, args=(call,), name="otimes")
        worker.start()
        try:
            while (news := self.news.get()) is not None:
                self.bar.show(*news)
            worker.join()
        except BaseException:
            self.sink.stop = 1
            raise

    def work(self, call: Callable[[Any, Any], int]) -> None:
        one_blas_thread()
        try:
            self.code = call(ffi.addressof(self.sink, "sink"), self.failure.err)
        except BaseException as raised:
            self.raised = raised
        finally:
            self.handle = None  # it refers to this: a circle that would keep the memory until gc
            if self.news is not None:
                self.news.put(None)

    def heard(self, done: float, total: float) -> None:
        if self.news is not None:
            self.news.put((done, total))
        else:
            self.bar.show(done, total)

    def keep_axis(self, axis: Any) -> str:
        name = text_of(axis.name) or ""
        if name not in self.axes:
            length, about = axis.length, text_of(axis.long_name)
            if axis.text != ffi.NULL:
                labels: Any = texts(axis.text, length)
            elif axis.number != ffi.NULL and length:
                labels = np.frombuffer(ffi.buffer(axis.number, 8 * length), np.int64).copy()
            else:
                labels = np.arange(length, dtype=np.int64)
            self.axes[name] = (labels, {} if about is None else {"long_name": about})
        return name

    def variable(self, array: Any) -> xarray.Variable:
        dims = [self.keep_axis(array.axis[i]) for i in range(array.ndim)]
        shape = tuple(array.axis[i].length for i in range(array.ndim))
        data = ffi.new("const void **")
        lib.otimes_memory_sink_array(self.memory, array.name, data)
        attrs: dict[str, Any] = {}
        encoding: dict[str, Any] = {}
        for name in ("long_name", "units", "formula", "orientation", "labels_of"):
            text = text_of(getattr(array, name))
            if text is not None:
                attrs[name] = text
        if array.type == lib.OTIMES_TEXT:
            count = int(np.prod(shape, dtype=np.int64))
            values: Any = texts(ffi.cast("const char **", data[0]), count).reshape(shape)
        else:
            values = view(data[0], TYPES[array.type], shape, self)
            if array.type in (lib.OTIMES_I32, lib.OTIMES_I64):
                attrs["undefined"] = values.dtype.type(-1)
            else:
                encoding["_FillValue"] = values.dtype.type(np.nan)
        return xarray.Variable(dims, values, attrs, encoding)

    def attributes(self, reader: Any) -> dict[str, Any]:
        facts: dict[str, Any] = {}
        index = 0
        while (fact := reader.ops.attribute(reader, index)) != ffi.NULL:
            value: Any = text_of(fact.text)
            if fact.kind == lib.OTIMES_ATTR_I64:
                value = np.int64(fact.i64)
            elif fact.kind == lib.OTIMES_ATTR_F64:
                value = np.float64(fact.f64)
            facts[text_of(fact.name) or ""] = value
            index += 1
        return facts

    def dataset(self, first: dict[str, Any], last: dict[str, Any]) -> xarray.Dataset:
        """All that was written, with the attributes that results begin and end with."""
        reader = ffi.new("otimes_reader *")
        lib.otimes_memory_sink_reader(self.memory, ffi.NULL, reader)
        variables: dict[str, xarray.Variable] = {}
        index = 0
        while (array := reader.ops.array(reader, index)) != ffi.NULL:
            variables[text_of(array.name) or ""] = self.variable(array)
            index += 1
        coords = {name: xarray.Variable(name, *axis) for name, axis in self.axes.items()}
        return xarray.Dataset(variables, coords, {**first, **self.attributes(reader), **last})


def free_memory(memory: Any, free: Any = lib.otimes_memory_sink_free, new: Any = ffi.new) -> None:
    free(new("otimes_memory_sink **", memory))  # also when the interpreter ends, and names here are gone


def sink_of(pointer: Any) -> Sink:
    sink: Sink = ffi.from_handle(ffi.cast("otimes_py_sink *", pointer).self)
    return sink


def keep_raised(kind: type[BaseException], value: BaseException, trace: Any) -> int:
    """What was raised within a call waits until the analysis has come back."""
    if trace is not None and "sink" in trace.tb_frame.f_locals:
        sink_of(trace.tb_frame.f_locals["sink"]).raised = value
    return CANCELLED


@ffi.def_extern(error=CANCELLED, onerror=keep_raised)
def otimes_py_progress(sink: Any, done: float, total: float) -> int:
    sink_of(sink).heard(done, total)
    return 0


@ffi.def_extern(error=CANCELLED, onerror=keep_raised)
def otimes_py_axis(sink: Any, axis: Any, err: Any) -> int:
    sink_of(sink).keep_axis(axis)
    return 0
