# SPDX-License-Identifier: MIT
"""A matrix that is kept as a product of two, under TransformerLens' names.

Every head's OV and QK is d_model x d_model of rank d_head, and over the vocabulary d_vocab x d_vocab.
What one asks of them follows from the factors: norm from Grams, singular values from a core of
mdim x mdim, eigenvalues from the product the other way round. The product itself is formed by `AB`
alone.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

Array: TypeAlias = npt.NDArray[Any]

__all__ = ["FactoredMatrix"]

BLOCK = 1 << 21  # entries of a product that lie in double precision at a time: 16 MiB
CANCELLED = 1e-6  # below this share of |A|^2 |B|^2 a sum of Grams has lost half of its digits
TINY = 1e-250  # sums of squares below this, or above its inverse, are near the ends of the range


class FactoredMatrix:
    """The product `A @ B` of `A [..., ldim, mdim]` and `B [..., mdim, rdim]`, never formed unless asked for.

    Leading dimensions of the two broadcast. NumPy arrays are taken as they are (views, not copies), torch
    tensors as views of their memory where NumPy has their type; bfloat16 becomes float32, integers become
    float64. What comes out has the type that went in; sums run in double precision.

    `fm @ x` and `x @ fm` with a matrix or another FactoredMatrix are FactoredMatrix again, through the
    smaller inner dimension; with a vector they are an array. `fm * 2` scales. `fm[...]` indexes leading
    dimensions as NumPy does, then rows and columns, each for itself, where an integer keeps its axis.
    """

    __slots__ = ("__weakref__", "_a", "_b", "_svd")
    __array_ufunc__ = None  # so that array @ fm and array * fm come to __rmatmul__ and __rmul__

    def __init__(self, A: Any, B: Any) -> None:
        a, b = _factor(A, "A"), _factor(B, "B")
        if a.shape[-1] != b.shape[-2]:
            raise ValueError(
                f"FactoredMatrix: inner dimension mismatch: A is {a.shape}, B is {b.shape}, "
                f"expected columns of A = rows of B, got {a.shape[-1]} and {b.shape[-2]}"
            )
        leading = _leading(a, b, "FactoredMatrix: A", "B")
        self._a, self._b = _spread(a, leading), _spread(b, leading)
        self._svd: tuple[Array, Array, Array] | None = None

    # Shape

    @property
    def A(self) -> Array:
        """Left factor `[..., ldim, mdim]`."""
        return self._a

    @property
    def B(self) -> Array:
        """Right factor `[..., mdim, rdim]`."""
        return self._b

    @property
    def pair(self) -> tuple[Array, Array]:
        """`(A, B)`."""
        return self._a, self._b

    @property
    def ldim(self) -> int:
        """Rows of the product."""
        return int(self._a.shape[-2])

    @property
    def mdim(self) -> int:
        """The inner dimension: the largest rank the product can have."""
        return int(self._a.shape[-1])

    @property
    def rdim(self) -> int:
        """Columns of the product."""
        return int(self._b.shape[-1])

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the product."""
        return (*self._a.shape[:-1], self.rdim)

    @property
    def ndim(self) -> int:
        """Number of dimensions of the product."""
        return self._a.ndim

    @property
    def has_leading_dims(self) -> bool:
        """Whether this is more than one matrix."""
        return self.ndim > 2

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the product's entries."""
        return np.result_type(self._a, self._b)

    def __repr__(self) -> str:
        return f"FactoredMatrix(shape={self.shape}, mdim={self.mdim}, dtype={self.dtype})"

    # Products

    @property
    def AB(self) -> Array:
        """The product itself, `[..., ldim, rdim]`."""
        return _product(self._a, self._b)

    @property
    def BA(self) -> Array:
        """The product the other way round, `[..., mdim, mdim]`; only of square ones."""
        self._need_square("BA")
        return _product(self._b, self._a)

    @property
    def T(self) -> FactoredMatrix:
        """The transposed product: B and A transposed."""
        return FactoredMatrix(self._b.swapaxes(-2, -1), self._a.swapaxes(-2, -1))

    def __matmul__(self, other: Any) -> Any:
        if isinstance(other, FactoredMatrix):
            return (self @ other.A) @ other.B
        right = _array(other, "FactoredMatrix @ x: x")
        if right.ndim == 0:
            raise ValueError("FactoredMatrix @ x: x is a scalar, expected a matrix or vector; scale with *")
        if right.shape[-1 if right.ndim == 1 else -2] != self.rdim:
            raise ValueError(
                f"FactoredMatrix @ x: inner dimension mismatch: matrix is {self.shape}, x is {right.shape}, "
                f"expected {self.rdim} rows"
            )
        if right.ndim == 1:
            return _product(self._a, _product(self._b, right[:, None]))[..., 0]
        _leading(self._a, right, "FactoredMatrix @ x: matrix", "x")
        if self.rdim > self.mdim:
            return FactoredMatrix(self._a, _product(self._b, right))
        return FactoredMatrix(self.AB, right)

    def __rmatmul__(self, other: Any) -> Any:
        left = _array(other, "x @ FactoredMatrix: x")
        if left.ndim == 0:
            raise ValueError("x @ FactoredMatrix: x is a scalar, expected a matrix or vector; scale with *")
        if left.shape[-1] != self.ldim:
            raise ValueError(
                f"x @ FactoredMatrix: inner dimension mismatch: x is {left.shape}, matrix is {self.shape}, "
                f"expected {self.ldim} columns"
            )
        if left.ndim == 1:
            return _product(_product(left[None, :], self._a), self._b)[..., 0, :]
        _leading(left, self._a, "x @ FactoredMatrix: x", "matrix")
        if self.ldim > self.mdim:
            return FactoredMatrix(_product(left, self._a), self._b)
        return FactoredMatrix(left, self.AB)

    def __mul__(self, scalar: Any) -> FactoredMatrix:
        value = _array(scalar, "FactoredMatrix * x: x")
        if value.size != 1:
            raise ValueError(
                f"FactoredMatrix * x: x is {value.shape}, expected a scalar; for matrix products use @"
            )
        return FactoredMatrix(self._a * value.item(), self._b)

    __rmul__ = __mul__

    # Quantities

    def svd(self) -> tuple[Array, Array, Array]:
        """`(U, S, V)` with `AB = U @ diag(S) @ V.T` (conjugated where complex), S falling.

        U is `[..., ldim, k]`, S `[..., k]`, V `[..., rdim, k]` with k = min(ldim, mdim, rdim): note V, as in
        TransformerLens, and not numpy.linalg's Vh. By QR of both factors and the SVD of a core of at most
        mdim x mdim. Computed once, and read-only therefore.
        """
        if self._svd is None:
            qa, ra = np.linalg.qr(self._finite("A"))
            qb, rb = np.linalg.qr(_adjoint(self._finite("B")))
            u, s, vh = np.linalg.svd(np.matmul(ra, _adjoint(rb)), full_matrices=False)
            kept = np.matmul(qa, u), s, np.matmul(qb, _adjoint(vh))
            out, real = _narrow(self.dtype), np.zeros(0, _narrow(self.dtype)).real.dtype
            self._svd = (
                _frozen(kept[0].astype(out, copy=False)),
                _frozen(kept[1].astype(real, copy=False)),
                _frozen(kept[2].astype(out, copy=False)),
            )
        return self._svd

    @property
    def U(self) -> Array:
        """Left singular vectors in columns, `[..., ldim, k]`."""
        return self.svd()[0]

    @property
    def S(self) -> Array:
        """Singular values, falling, `[..., k]`."""
        return self.svd()[1]

    @property
    def V(self) -> Array:
        """Right singular vectors in columns, `[..., rdim, k]`."""
        return self.svd()[2]

    @property
    def Vh(self) -> Array:
        """The same as `V`, under the name that TransformerLens gave it; `V.T` is what NumPy calls Vh."""
        warnings.warn(
            "FactoredMatrix.Vh is V [rdim, k], as in TransformerLens, and not its transpose; say V",
            DeprecationWarning,
            stacklevel=2,
        )
        return self.V

    @property
    def eigenvalues(self) -> Array:
        """Eigenvalues `[..., mdim]`, complex, by falling modulus; the others of the product are 0.

        They are those of BA, which is mdim x mdim. Of a conjugate pair the one above the real axis is first.
        """
        self._need_square("eigenvalues")
        values = np.linalg.eigvals(np.matmul(self._finite("B"), self._finite("A"))).astype(np.complex128)
        order = np.lexsort((-values.imag, -np.abs(values)), axis=-1)
        sorted_values = np.take_along_axis(values, order, axis=-1)
        return sorted_values.astype(np.result_type(_narrow(self.dtype), np.complex64), copy=False)

    def norm(self) -> Any:
        """Frobenius norm, `[...]`, in double precision: `sqrt(sum((A^T A) * (B B^T)))`.

        Where the factors cancel so far that this sum has no digits left, from the triangles of their QR.
        """
        a, b = self._finite("A"), self._finite("B")
        with np.errstate(over="ignore", under="ignore", invalid="ignore"):
            of_a, of_b = np.matmul(_adjoint(a), a), np.matmul(b, _adjoint(b))
            square = np.sum(of_a * of_b.swapaxes(-2, -1), axis=(-2, -1)).real
            bound = (np.trace(of_a, axis1=-2, axis2=-1) * np.trace(of_b, axis1=-2, axis2=-1)).real
            sound = (bound > TINY) & (bound < 1 / TINY) & (square > CANCELLED * bound)
        return np.sqrt(square) if np.all(sound) else _frobenius_by_qr(a, b)

    @property
    def trace(self) -> Any:
        """Sum of the diagonal, `[...]`, in double precision; only of square ones."""
        self._need_square("trace")
        wide = _wide(self.dtype)
        return np.einsum("...lm,...ml->...", _widen(self._a, wide), _widen(self._b, wide))

    def make_even(self) -> FactoredMatrix:
        """The same product with the root of each singular value on either side."""
        u, s, v = self.svd()
        root = np.sqrt(s)
        return FactoredMatrix(u * root[..., None, :], root[..., :, None] * _adjoint(v))

    def collapse_l(self) -> Array:
        """`diag(S) @ V.T`, `[..., k, rdim]`: the product without the orthonormal U on its left."""
        _, s, v = self.svd()
        return np.asarray(s[..., :, None] * _adjoint(v))

    def collapse_r(self) -> Array:
        """`U @ diag(S)`, `[..., ldim, k]`: the product without the orthonormal V on its right."""
        u, s, _ = self.svd()
        return np.asarray(u * s[..., None, :])

    def get_corner(self, k: int = 3) -> Array:
        """The first k entries along each dimension of the product."""
        first = (slice(k),) * (self.ndim - 2)
        return _product(self._a[(*first, slice(k))], self._b[(*first, slice(None), slice(k))])

    # Indexing

    def __len__(self) -> int:
        return self.shape[0]

    def __iter__(self) -> Iterator[FactoredMatrix]:
        return (self[i] for i in range(len(self)))

    def __getitem__(self, index: Any) -> FactoredMatrix:
        """Indexes leading dimensions as NumPy does, then rows and columns, each for itself.

        An integer among rows or columns keeps an axis of length 1, so the result is factored again.
        A new axis (None) may stand anywhere.
        """
        leading, matrix = _split(index, self.shape)
        rows, columns, between = _matrix_part(matrix, self.shape)
        a, b = self._a[leading], self._b[leading]
        result = FactoredMatrix(a[..., rows, :], b[..., :, columns])
        for place in between:
            result = result._new_axis(place)
        return result

    def _new_axis(self, place: int) -> FactoredMatrix:
        """A new axis before rows (0), between rows and columns (1) or behind columns (2)."""
        a, b = self._a, self._b
        if place == 0:
            return FactoredMatrix(a[..., None, :, :], b[..., None, :, :])
        if place == 1:
            return FactoredMatrix(a[..., None, :], b[..., None, :, :])
        return FactoredMatrix(b.swapaxes(-2, -1)[..., None, :, :], a[..., None])

    def unsqueeze(self, k: int) -> FactoredMatrix:
        """A new leading dimension at place k; counted from the end, -3 is the last of them."""
        place = k + self.ndim + 1 if k < 0 else k
        if not 0 <= place <= self.ndim - 2:
            raise ValueError(
                f"FactoredMatrix.unsqueeze: k {k}: expected a place among the leading dimensions, "
                f"0 to {self.ndim - 2} or {-self.ndim - 1} to -3"
            )
        return FactoredMatrix(np.expand_dims(self._a, place), np.expand_dims(self._b, place))

    def __array__(self, *_: Any, **__: Any) -> Array:
        raise TypeError("FactoredMatrix: not made into an array by itself; say .AB for the product")

    # Checks

    def _need_square(self, what: str) -> None:
        if self.ldim != self.rdim:
            raise ValueError(f"FactoredMatrix.{what}: expected a square matrix, got shape {self.shape}")

    def _finite(self, which: str) -> Array:
        """A factor in double precision, refused if it is not finite: LAPACK would not say so."""
        factor = _widen(self._a if which == "A" else self._b, _wide(self.dtype))
        if not np.isfinite(factor).all():
            raise ValueError(f"FactoredMatrix: {which} {factor.shape} has entries that are not finite")
        return factor


# Taking arrays


def _array(value: Any, what: str) -> Array:
    """Numbers as NumPy has them; tensors of torch by their methods, so that torch need not be there."""
    if isinstance(value, FactoredMatrix):
        raise TypeError(f"{what} is a FactoredMatrix, expected numbers; say .AB for its product")
    if hasattr(value, "detach") and hasattr(value, "cpu"):
        value = value.detach().cpu()
        value = value.float() if str(value.dtype) == "torch.bfloat16" else value
        value = value.resolve_conj().resolve_neg().numpy()
    try:
        array: Array = np.asarray(value)
    except ValueError as error:
        raise TypeError(f"{what}: {error}") from None
    if array.dtype.kind in "biu":
        return np.asarray(array, np.float64)
    if array.dtype.kind not in "fc" or array.dtype.itemsize // (1 + (array.dtype.kind == "c")) > 8:
        raise TypeError(f"{what} is {array.dtype}, expected real or complex numbers of 64 bits at most")
    return array


def _factor(value: Any, name: str) -> Array:
    array = _array(value, f"FactoredMatrix: {name}")
    if array.ndim < 2:
        raise ValueError(f"FactoredMatrix: {name} is {array.shape}, expected a matrix or a stack of them")
    return array


def _leading(a: Array, b: Array, name_a: str, name_b: str) -> tuple[int, ...]:
    try:
        return np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    except ValueError:
        raise ValueError(
            f"{name_a} is {a.shape}, {name_b} is {b.shape}: shape mismatch, expected leading dimensions "
            f"that broadcast, got {a.shape[:-2]} and {b.shape[:-2]}"
        ) from None


def _spread(array: Array, leading: tuple[int, ...]) -> Array:
    """A view with these leading dimensions; the array itself where it has them."""
    if array.shape[:-2] == leading:
        return array
    return np.broadcast_to(array, (*leading, *array.shape[-2:]))


# Computing


def _wide(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """The type sums run in."""
    return np.result_type(dtype, np.float64)


def _narrow(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """The type of singular values and vectors: that of the factors, but float32 for half precision."""
    return np.result_type(dtype, np.float32)


def _widen(array: Array, dtype: np.dtype[Any]) -> Array:
    """The array in another type; leading dimensions that repeat one matrix go on repeating it."""
    if array.dtype == dtype:
        return array
    once = tuple(slice(1) if stride == 0 else slice(None) for stride in array.strides[:-2])
    return np.broadcast_to(array[once].astype(dtype), array.shape)


def _adjoint(array: Array) -> Array:
    swapped = array.swapaxes(-2, -1)
    return np.conj(swapped) if array.dtype.kind == "c" else swapped


def _frozen(array: Array) -> Array:
    array.flags.writeable = False
    return array


def _frobenius_by_qr(a: Array, b: Array) -> Any:
    """Frobenius norm of a @ b from the triangles of both: no squares of what cancels."""
    left, right = np.linalg.qr(a, mode="r"), np.linalg.qr(_adjoint(b), mode="r")
    core = np.matmul(np.asarray(left), _adjoint(np.asarray(right)))
    largest = np.max(np.abs(core), axis=(-2, -1), initial=0)
    scale = np.where(largest > 0, largest, 1)
    return scale * np.sqrt(np.sum(np.abs(core / scale[..., None, None]) ** 2, axis=(-2, -1)))


def _product(x: Array, y: Array) -> Array:
    """x @ y; narrow types are summed in double precision, by blocks of rows of the result."""
    dtype = np.result_type(x, y)
    wide = _wide(dtype)
    if dtype == wide:
        whole: Array = np.matmul(x, y)
        return whole
    leading = np.broadcast_shapes(x.shape[:-2], y.shape[:-2])
    out = np.empty((*leading, x.shape[-2], y.shape[-1]), dtype)
    right = _widen(y, wide)
    rows = max(1, BLOCK // max(1, math.prod(leading) * max(x.shape[-1], y.shape[-1])))
    for start in range(0, x.shape[-2], rows):
        part = slice(start, start + rows)
        out[..., part, :] = np.matmul(_widen(x[..., part, :], wide), right)
    return out


# Reading an index


def _item(item: Any) -> Any:
    """One item of an index as NumPy takes it: sequences and tensors as arrays."""
    if item is None or item is Ellipsis or isinstance(item, slice):
        return item
    if hasattr(item, "detach") and hasattr(item, "cpu"):
        item = item.detach().cpu().numpy()
    array = np.asarray(item)
    if array.dtype.kind in "iu" and array.ndim == 0:
        return int(array)
    if array.size == 0 and array.dtype.kind == "f" and not isinstance(item, np.ndarray):
        array = array.astype(np.intp)  # an empty list
    if array.ndim == 0 or array.dtype.kind not in "biu":
        raise IndexError(
            f"FactoredMatrix index: {item!r}: expected integers, slices, ..., None, "
            "or arrays of integers or bools"
        )
    return array


def _consumed(item: Any) -> int:
    """How many dimensions an item stands for."""
    if item is None or item is Ellipsis:
        return 0
    return int(item.ndim) if isinstance(item, np.ndarray) and item.dtype.kind == "b" else 1


def _split(index: Any, shape: tuple[int, ...]) -> tuple[tuple[Any, ...], list[Any]]:
    """The part of an index over leading dimensions, and that over rows and columns."""
    items = [_item(item) for item in (index if isinstance(index, tuple) else (index,))]
    dots = [i for i, item in enumerate(items) if item is Ellipsis]
    left = len(shape) - sum(map(_consumed, items))
    if len(dots) > 1:
        raise IndexError("FactoredMatrix index: more than one ...")
    if left < 0:
        raise IndexError(
            f"FactoredMatrix index: too many indices: shape {shape}, got {len(shape) - left} of them"
        )
    place = dots[0] if dots else len(items)
    items[place : place + len(dots)] = [slice(None)] * left
    leading: list[Any] = []
    seen = 0
    while seen < len(shape) - 2:
        leading.append(items.pop(0))
        seen += _consumed(leading[-1])
    if seen > len(shape) - 2:
        raise IndexError(f"FactoredMatrix index: a mask over leading dimensions and rows of shape {shape}")
    return tuple(leading), items


def _matrix_part(items: list[Any], shape: tuple[int, ...]) -> tuple[Any, Any, list[int]]:
    """Index of the rows, of the columns, and the places of new axes among them, first to last."""
    picked: list[Any] = []
    places: list[int] = []
    for item in items:
        if item is None:
            places.append(len(picked))
        else:
            picked.append(_along(item, shape, len(shape) - 2 + len(picked)))
    return picked[0], picked[1], places


def _along(item: Any, shape: tuple[int, ...], axis: int) -> Any:
    """An index along one axis that keeps it."""
    length = shape[axis]
    if isinstance(item, int):
        if not -length <= item < length:
            raise IndexError(f"FactoredMatrix index: {item} is out of bounds, axis {axis} of shape {shape}")
        return slice(item % length, item % length + 1)
    if isinstance(item, np.ndarray) and item.ndim != 1:
        raise IndexError(
            f"FactoredMatrix index: an array of shape {item.shape} for axis {axis} of shape {shape}, "
            "expected one dimension"
        )
    return item
