# SPDX-License-Identifier: MIT
"""FactoredMatrix: the shapes that TransformerLens tests its own with, what NumPy says of the product,
and TransformerLens' class itself where it is installed. The ends follow: empty, zero, cancelling, huge."""

from __future__ import annotations

import copy
import gc
import pickle
import tracemalloc
import warnings
import weakref
from typing import Any, TypeAlias

import numpy as np
import pytest

from otimes.factored import FactoredMatrix

Shape: TypeAlias = tuple[int, int, int]
Leading: TypeAlias = tuple[int, ...]
EPS64 = float(np.finfo(np.float64).eps)
SHAPES = [(3, 2, 3), (4, 5, 4), (6, 7, 6), (6, 7, 3), (5, 3, 7), (1, 1, 1), (1, 6, 1), (2, 9, 5), (8, 2, 3)]
LEADING = [(), (1,), (2,), (2, 9)]


def draw(*shape: int, seed: int = 0, dtype: Any = np.float32) -> Any:
    return np.random.default_rng([seed, *shape]).standard_normal(shape).astype(dtype)


def factored(shape: Shape, leading: Leading = (), dtype: Any = np.float32) -> FactoredMatrix:
    left, middle, right = shape
    return FactoredMatrix(
        draw(*leading, left, middle, seed=1, dtype=dtype), draw(*leading, middle, right, seed=2, dtype=dtype)
    )


def dense(fm: FactoredMatrix) -> Any:
    return np.matmul(fm.A.astype(np.float64), fm.B.astype(np.float64))


def assert_near(got: Any, expected: Any, scale: float | None = None, steps: float = 8) -> None:
    """Within `steps` roundings of the type of `got`, relative to the largest entry."""
    got, expected = np.asarray(got), np.asarray(expected)
    assert got.shape == expected.shape
    eps = float(np.finfo(got.dtype).eps)
    size = float(np.abs(expected).max(initial=0)) if scale is None else scale
    assert np.abs(got - expected).max(initial=0) <= steps * eps * size


def size_of(fm: FactoredMatrix) -> float:
    """An upper bound of the product's entries and singular values: the product of the factors' norms."""
    return float(np.linalg.norm(fm.A.astype(np.float64)) * np.linalg.norm(fm.B.astype(np.float64)))


# Construction


def test_takes_views_and_says_its_shape() -> None:
    a, b = draw(5, 3), draw(3, 7)
    fm = FactoredMatrix(a, b)
    assert fm.A is a and fm.B is b and fm.pair == (a, b)
    assert (fm.ldim, fm.mdim, fm.rdim, fm.shape, fm.ndim) == (5, 3, 7, (5, 7), 2)
    assert not fm.has_leading_dims
    assert repr(fm) == "FactoredMatrix(shape=(5, 7), mdim=3, dtype=float32)"


@pytest.mark.parametrize("of_a", [(), (4,), (1, 4), (2, 1), (2, 4)])
def test_leading_dimensions_broadcast(of_a: tuple[int, ...]) -> None:
    a, b = draw(*of_a, 5, 3), draw(2, 4, 3, 7)
    fm = FactoredMatrix(a, b)
    assert fm.shape == (2, 4, 5, 7) and fm.A.shape == (2, 4, 5, 3) and fm.ndim == 4
    assert fm.has_leading_dims and fm.B is b
    assert np.shares_memory(fm.A, a)
    assert_near(fm.AB, np.matmul(a.astype(np.float64), b.astype(np.float64)), steps=1)


def test_wrong_shapes_and_types_are_named() -> None:
    with pytest.raises(ValueError, match=r"inner dimension.*\(2, 3, 4\).*\(2, 3, 5\)"):
        FactoredMatrix(np.ones((2, 3, 4)), np.ones((2, 3, 5)))
    with pytest.raises(ValueError, match=r"\(9, 5, 3\).*\(2, 4, 3, 7\).*mismatch"):
        FactoredMatrix(np.ones((9, 5, 3)), np.ones((2, 4, 3, 7)))
    with pytest.raises(ValueError, match=r"A is \(3,\), expected a matrix"):
        FactoredMatrix(np.ones(3), np.ones((3, 2)))
    with pytest.raises(ValueError, match=r"B is \(\), expected a matrix"):
        FactoredMatrix(np.ones((3, 3)), 2.0)
    for bad in ("text", [["a"]], None, [[1], [1, 2]], np.ones((2, 2), np.longdouble), object()):
        with pytest.raises(TypeError, match="FactoredMatrix: A"):
            FactoredMatrix(bad, np.ones((2, 2)))
    with pytest.raises(TypeError, match="AB"):
        FactoredMatrix(factored((2, 2, 2)), np.ones((2, 2)))


@pytest.mark.parametrize("dtype", [np.int64, np.bool_, np.uint8])
def test_integers_become_float64(dtype: Any) -> None:
    fm = FactoredMatrix(np.eye(3, dtype=dtype), np.ones((3, 2), dtype))
    assert fm.dtype == np.float64
    assert np.array_equal(fm.AB, np.ones((3, 2)))


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.complex64, np.complex128])
def test_keeps_its_type(dtype: Any) -> None:
    fm = FactoredMatrix(draw(4, 3, dtype=dtype), draw(3, 4, seed=1, dtype=dtype))
    out = np.dtype(np.float32) if dtype == np.float16 else np.dtype(dtype)
    for same in (fm, fm.AB, fm.BA, fm.T, fm * 2, 2 * fm, fm[:2], fm @ draw(4, dtype=dtype), fm.get_corner()):
        assert same.dtype == dtype
    for linear in (fm.U, fm.V, fm.collapse_l(), fm.collapse_r(), fm.make_even()):
        assert linear.dtype == out
    assert fm.S.dtype == np.zeros(0, out).real.dtype
    narrow = dtype in (np.float16, np.float32, np.complex64)
    assert fm.eigenvalues.dtype == (np.complex64 if narrow else np.complex128)
    assert fm.norm().dtype == np.float64


def test_sums_run_in_double() -> None:
    """In float32 the ones would be lost beside 2^24, whatever the order of the sum."""
    row = np.array([[2.0**24] + [1.0] * 8 + [-(2.0**24)]], np.float32)
    fm = FactoredMatrix(row, np.ones((10, 1), np.float32))
    assert fm.AB[0, 0] == 8 and fm.trace == 8 and (fm @ np.ones(1, np.float32))[0] == 8
    assert fm.norm() == pytest.approx(8, rel=1e-9)


# Products


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("leading", LEADING)
def test_product_and_transpose(shape: Shape, leading: Leading) -> None:
    fm = factored(shape, leading)
    assert_near(fm.AB, dense(fm), steps=1)
    assert_near(fm.T.AB, dense(fm).swapaxes(-2, -1), steps=1)
    assert np.shares_memory(fm.T.A, fm.B) and fm.T.shape == (*leading, shape[2], shape[0])
    if fm.ldim == fm.rdim:
        assert_near(fm.BA, np.matmul(fm.B.astype(np.float64), fm.A.astype(np.float64)), steps=1)
        assert_near(fm.trace, np.trace(dense(fm), axis1=-2, axis2=-1), size_of(fm))
    else:
        for square in ("BA", "eigenvalues", "trace"):
            with pytest.raises(ValueError, match=f"{square}: expected a square matrix"):
                getattr(fm, square)


@pytest.mark.parametrize("shape", [(2, 3, 4), (2, 6, 4), (2, 4, 4)])
@pytest.mark.parametrize("leading", [(), (2,)])
@pytest.mark.parametrize("of_matrix", [(), (2,), (12, 2), (12, 1)])
def test_times_a_matrix(
    shape: Shape, leading: Leading, of_matrix: Leading
) -> None:
    fm, matrix = factored(shape, leading), draw(*of_matrix, 4, 5, seed=3)
    both = np.broadcast_shapes(leading, of_matrix)
    product = fm @ matrix
    assert (product.ldim, product.mdim, product.rdim) == (2, min(fm.mdim, 4), 5)
    assert product.A.shape[:-2] == both and product.B.shape[:-2] == both
    assert_near(product.AB, np.matmul(dense(fm), matrix.astype(np.float64)))
    mirrored = matrix.swapaxes(-2, -1) @ fm.T
    assert isinstance(mirrored, FactoredMatrix)
    assert (mirrored.ldim, mirrored.mdim, mirrored.rdim) == (5, min(fm.mdim, 4), 2)
    assert_near(mirrored.AB, product.AB.swapaxes(-2, -1))


@pytest.mark.parametrize("leading", [(), (6,), (2, 3)])
def test_times_a_vector(leading: Leading) -> None:
    fm = factored((2, 3, 4), leading)
    right, left = draw(4, seed=4), draw(2, seed=5)
    assert_near(fm @ right, np.matmul(dense(fm), right.astype(np.float64)), size_of(fm))
    assert_near(left @ fm, np.matmul(left.astype(np.float64), dense(fm)), size_of(fm))
    assert type(left @ fm) is np.ndarray and (left @ fm).shape == (*leading, 4)


PAIRS = [
    ((3, 3, 3), (3, 3, 3)), ((1, 1, 1), (1, 1, 1)), ((1, 2, 1), (1, 6, 1)), ((1, 1, 1), (1, 2, 5)),
    ((5, 2, 1), (1, 1, 1)), ((1, 2, 3), (3, 2, 4)), ((3, 2, 1), (1, 3, 2)), ((1, 2, 5), (5, 3, 1)),
    ((3, 4, 5), (5, 6, 7)), ((8, 6, 5), (5, 7, 3)), ((3, 4, 4), (4, 5, 5)), ((7, 6, 3), (3, 7, 8)),
]  # fmt: skip


@pytest.mark.parametrize("first,second", PAIRS)
@pytest.mark.parametrize("of_first,of_second", [((), ()), ((2,), ()), ((), (2,)), ((2, 9), (9,))])
def test_times_a_factored_matrix(first: Any, second: Any, of_first: Any, of_second: Any) -> None:
    x, y = factored(first, of_first), factored(second, of_second)
    product = x @ y
    assert (product.ldim, product.rdim) == (x.ldim, y.rdim)
    assert product.mdim == min(x.mdim, x.rdim, y.ldim, y.mdim)
    assert product.shape[:-2] == np.broadcast_shapes(of_first, of_second)
    assert_near(product.AB, np.matmul(dense(x), dense(y)), size_of(x) * size_of(y))


def test_products_that_do_not_fit() -> None:
    fm = factored((3, 4, 6))
    for other in (factored((5, 6, 7)), factored((5, 6, 7), (2,)), np.ones((5, 2)), np.ones(5)):
        with pytest.raises(ValueError, match=r"inner dimension mismatch: matrix is \(3, 6\).*expected 6"):
            fm @ other
    for other in (np.ones((2, 5)), np.ones(5), np.ones((2, 5, 6))):
        with pytest.raises(ValueError, match=r"inner dimension mismatch.*matrix is \(3, 6\), expected 3"):
            other @ fm
    for a, b in ((2,), (4,)), ((2, 9), (2,)):
        with pytest.raises(ValueError, match="mismatch"):
            factored((3, 4, 6), a) @ factored((6, 7, 2), b)
    for wrong in (2.0, np.float32(2)):
        with pytest.raises(ValueError, match="scale with \\*"):
            fm @ wrong
        with pytest.raises(ValueError, match="scale with \\*"):
            wrong @ fm
    with pytest.raises(TypeError):
        fm @ "text"


@pytest.mark.parametrize("scalar", [3, 0.5, np.float64(1.5), np.float32(2), np.array([4.0]), True])
@pytest.mark.parametrize("leading", [(), (6,)])
def test_times_a_scalar(scalar: Any, leading: Leading) -> None:
    fm = factored((2, 3, 4), leading)
    for product in (fm * scalar, scalar * fm):
        assert isinstance(product, FactoredMatrix) and product.dtype == np.float32
        assert_near(product.AB, dense(fm) * float(np.asarray(scalar).item()))


@pytest.mark.parametrize("wrong", [np.ones(2), np.ones((2, 2)), np.ones(0), [1.0, 2.0]])
def test_times_more_than_a_scalar_is_refused(wrong: Any) -> None:
    with pytest.raises(ValueError, match="expected a scalar; for matrix products use @"):
        factored((2, 3, 2)) * wrong
    with pytest.raises(ValueError, match="expected a scalar; for matrix products use @"):
        wrong * factored((2, 3, 2))


# Quantities


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("leading", LEADING)
def test_svd(shape: Shape, leading: Leading, dtype: Any) -> None:
    fm = factored(shape, leading, dtype)
    u, s, v = fm.svd()
    rank = min(shape)
    assert u.shape == (*leading, shape[0], rank) and v.shape == (*leading, shape[2], rank)
    assert_near(np.matmul(u * s[..., None, :], v.swapaxes(-2, -1)), dense(fm), size_of(fm), 8 * rank)
    for basis in (u, v):
        gram = np.matmul(basis.swapaxes(-2, -1), basis)
        assert_near(gram, np.broadcast_to(np.eye(rank), gram.shape), 1, 16)
    assert_near(s, np.linalg.svd(dense(fm), compute_uv=False)[..., :rank], size_of(fm))
    assert np.all(s[..., :-1] >= s[..., 1:]) and np.all(s >= 0)
    assert fm.U is u and fm.S is s and fm.V is v


def test_svd_is_kept_and_dies_with_its_matrix() -> None:
    fm = factored((4, 3, 4))
    first, second = fm.svd(), fm.svd()
    assert all(x is y for x, y in zip(first, second, strict=True))
    with pytest.raises(ValueError, match="read-only"):
        first[0][0, 0] = 1
    gone = weakref.ref(fm)
    del fm
    assert gone() is None, "alive without garbage collection: a circle of references"


def test_vh_is_v_as_in_transformer_lens() -> None:
    fm = factored((4, 3, 5))
    with pytest.warns(DeprecationWarning, match="say V"):
        assert fm.Vh is fm.V
    assert fm.V.shape == (5, 3)


@pytest.mark.parametrize("shape", [s for s in SHAPES if s[0] == s[2]])
@pytest.mark.parametrize("leading", LEADING)
def test_eigenvalues(shape: Shape, leading: Leading) -> None:
    """All of BA: power sums of the values are traces of powers, whatever their order."""
    fm = factored(shape, leading, np.float64)
    values = fm.eigenvalues
    assert values.shape == (*leading, shape[1]) and values.dtype == np.complex128
    power = np.broadcast_to(np.eye(shape[0]), (*leading, shape[0], shape[0]))
    for degree in range(1, shape[1] + 1):
        power = power @ dense(fm)
        bound = 64 * degree * EPS64 * shape[1] * size_of(fm) ** degree
        assert np.abs(np.sum(values**degree, -1) - np.trace(power, axis1=-2, axis2=-1)).max() <= bound
    assert np.all(np.abs(values[..., :-1]) >= np.abs(values[..., 1:]))


def test_complex_eigenvalues_come_in_pairs_the_upper_first() -> None:
    turn = np.array([[0, -2, 0], [2, 0, 0], [0, 0, 1]], np.float32)
    fm = FactoredMatrix(turn, np.eye(3, dtype=np.float32))
    assert np.array_equal(fm.eigenvalues, np.array([2j, -2j, 1], np.complex64))
    real = FactoredMatrix(np.diag([1.0, -3.0]), np.eye(2)).eigenvalues
    assert real.dtype == np.complex128 and np.array_equal(real, [-3, 1])


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("leading", LEADING)
def test_norm(shape: Shape, leading: Leading) -> None:
    fm = factored(shape, leading)
    expected = np.linalg.norm(dense(fm), axis=(-2, -1))
    assert np.shape(fm.norm()) == leading
    # A square to 64 EPS of the factors' norms: those are at most 100 times the product's here.
    assert np.all(np.abs(fm.norm() - expected) <= 64 * EPS64 * size_of(fm) ** 2 / expected)


@pytest.mark.parametrize("seed", range(8))
def test_norm_of_factors_that_cancel(seed: int) -> None:
    """|A| |B| is 1e9 times the product's norm: the sum of Grams has no digit of it."""
    same, left = draw(5, 1, seed=seed, dtype=np.float64), draw(5, 1, seed=seed + 8, dtype=np.float64)
    right = draw(1, 4, seed=seed, dtype=np.float64)
    fm = FactoredMatrix(np.hstack([same, same + 1e-9 * left]), np.vstack([right, -right]))
    assert fm.norm() == pytest.approx(1e-9 * np.linalg.norm(left) * np.linalg.norm(right), rel=1e-6)


@pytest.mark.parametrize("scale", [1e-300, 1e-160, 1e-80, 1e80, 1e160])
def test_norm_near_the_ends_of_the_range(scale: float) -> None:
    fm = factored((3, 2, 3), dtype=np.float64)
    far = FactoredMatrix(fm.A * scale, fm.B / max(scale, 1e-140) if scale < 1 else fm.B / scale * 1e100)
    expected = np.linalg.norm(far.AB / np.abs(far.AB).max()) * np.abs(far.AB).max()
    assert far.norm() == pytest.approx(expected, rel=1e-12) and expected > 0
    assert far.S[0] <= far.norm() * (1 + 1e-12)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("leading", [(), (2, 9)])
def test_even_and_collapsed(shape: Shape, leading: Leading) -> None:
    fm = factored(shape, leading)
    u, s, v = fm.svd()
    even = fm.make_even()
    assert_near(even.AB, dense(fm), size_of(fm), 8 * even.mdim)
    of_a = np.matmul(even.A.swapaxes(-2, -1), even.A)
    assert_near(of_a, s[..., None] * np.eye(even.mdim), size_of(fm), 16)
    assert_near(np.matmul(even.B, even.B.swapaxes(-2, -1)), of_a, size_of(fm), 16)
    assert fm.collapse_l().shape == (*leading, even.mdim, shape[2])
    assert fm.collapse_r().shape == (*leading, shape[0], even.mdim)
    assert np.array_equal(fm.collapse_l(), s[..., :, None] * v.swapaxes(-2, -1))
    assert np.array_equal(fm.collapse_r(), u * s[..., None, :])


@pytest.mark.parametrize("k", [0, 1, 2, 3, 100])
def test_corner_of_every_dimension(k: int) -> None:
    fm = factored((6, 7, 3), (4,))
    assert_near(fm.get_corner(k), dense(fm)[:k, :k, :k], size_of(fm))
    assert fm.get_corner().shape == (3, 3, 3)


def test_unsqueeze() -> None:
    fm = factored((2, 3, 4), (5,))
    for k, shape in ((0, (1, 5, 2, 4)), (1, (5, 1, 2, 4)), (-3, (5, 1, 2, 4)), (-4, (1, 5, 2, 4))):
        assert fm.unsqueeze(k).shape == shape
        assert np.array_equal(fm.unsqueeze(k).AB.reshape(fm.shape), fm.AB)
    for k in (2, -1, -2, -5):
        with pytest.raises(ValueError, match="among the leading dimensions"):
            fm.unsqueeze(k)


# The ends


@pytest.mark.parametrize("shape", [(0, 3, 4), (4, 3, 0), (3, 0, 3), (0, 0, 0), (0, 3, 0)])
@pytest.mark.parametrize("leading", [(), (2,), (0,)])
def test_empty(shape: Shape, leading: Leading) -> None:
    fm = factored(shape, leading)
    rank = min(shape)
    assert fm.AB.shape == (*leading, shape[0], shape[2]) and not fm.AB.any()
    assert fm.svd()[0].shape == (*leading, shape[0], rank) and fm.V.shape == (*leading, shape[2], rank)
    assert np.shape(fm.norm()) == leading and not np.any(fm.norm())
    assert fm.make_even().mdim == rank
    if shape[0] == shape[2]:
        assert fm.eigenvalues.shape == (*leading, shape[1]) and not fm.eigenvalues.any()
        assert not np.any(fm.trace)


def test_zero_and_of_lower_rank() -> None:
    zero = FactoredMatrix(np.zeros((5, 3), np.float32), draw(3, 5))
    assert zero.norm() == 0 and not zero.S.any() and not zero.eigenvalues.any()
    assert_near(zero.U.T @ zero.U, np.eye(3), 1, 16)
    one = FactoredMatrix(np.ones((5, 3)), np.ones((3, 5)))
    assert_near(one.S, [15, 0, 0], 15, 16)
    assert_near(one.eigenvalues, [15, 0, 0], 15, 64)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_not_finite_is_said(bad: float) -> None:
    a, b = draw(4, 3), draw(3, 4)
    b[1, 2] = bad
    fm = FactoredMatrix(a, b)
    for ask in (fm.svd, fm.norm, lambda: fm.eigenvalues, fm.make_even):
        with pytest.raises(ValueError, match=r"B \(3, 4\) has entries that are not finite"):
            ask()


def test_nothing_large_is_formed() -> None:
    """A product of 20,000 x 20,000 would be 1.6 GB; the factors are 1.3 MB."""
    fm = factored((20000, 16, 20000))
    tracemalloc.start()
    assert fm.norm() > 0 and fm.S.shape == (16,) and fm.eigenvalues.shape == (16,)
    fm[5:9, ..., [1, 2]], fm.T, fm * 2, fm @ draw(20000), fm @ draw(20000, 3), fm.trace, fm.get_corner()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 64 << 20


def test_product_in_blocks_is_the_whole_product() -> None:
    """No copy of a product in double precision, nor of a factor for each leading dimension."""
    fm = factored((5000, 4, 1500), (2,))
    expected = dense(fm)
    repeated = FactoredMatrix(draw(500, 2, 16), draw(16, 2000))
    tracemalloc.start()
    product, many = fm.AB, repeated.AB
    beside = tracemalloc.get_traced_memory()[1] - product.nbytes - many.nbytes
    tracemalloc.stop()
    assert_near(product, expected, steps=1)
    assert_near(many, dense(repeated), steps=1)
    assert beside < 40 << 20


def test_is_no_array_by_itself() -> None:
    with pytest.raises(TypeError, match="say .AB"):
        np.asarray(factored((2, 2, 2)))
    with pytest.raises(TypeError):
        np.add(np.ones((2, 2)), factored((2, 2, 2)))


def test_copies_and_pickles() -> None:
    fm = factored((4, 3, 5), (2,))
    for again in (copy.copy(fm), copy.deepcopy(fm), pickle.loads(pickle.dumps(fm))):
        assert np.array_equal(again.AB, fm.AB)


def test_factors_are_kept_alive_and_let_go() -> None:
    a = draw(4, 3)
    gone = weakref.ref(a)
    part = FactoredMatrix(a, draw(3, 4))[1:, :2].T
    del a
    gc.collect()
    assert gone() is not None
    del part
    assert gone() is None


# Indexing

INDICES: list[Any] = [
    (Ellipsis,), (Ellipsis, 1), (Ellipsis, -1), (Ellipsis, 1, slice(None)), (Ellipsis, -1, slice(None)),
    (Ellipsis, slice(1, 4), slice(2, 6)), (Ellipsis, [1, 4]), (Ellipsis, np.array([1, 3]), slice(None)),
    (Ellipsis, slice(None, None, -1), slice(None, None, 2)), (Ellipsis, []),
    (Ellipsis, slice(4, 1), slice(1)),
    (Ellipsis, [True, False, True, False, True], slice(None)), (Ellipsis, np.int64(-2), np.uint8(3)),
]  # fmt: skip


def kept(index: Any) -> Any:
    """The same index with integers as slices of one."""
    number = isinstance(index, (int, np.integer))
    return slice(int(index), int(index) + 1 if index != -1 else None) if number else index


@pytest.mark.parametrize("leading", [(), (3,), (2, 3)])
@pytest.mark.parametrize("index", INDICES, ids=str)
def test_rows_and_columns(leading: Leading, index: Any) -> None:
    fm = factored((5, 2, 7), leading, np.float64)
    part = fm[index]
    assert isinstance(part, FactoredMatrix) and part.mdim == 2
    assert_near(part.AB, fm.AB[tuple(map(kept, index))], size_of(fm))
    assert_near(fm[(None, *index)].AB, fm.AB[(None, *map(kept, index))], size_of(fm))


def test_leading_dimensions_as_numpy() -> None:
    fm = factored((2, 3, 2), (2, 2, 2), np.float64)
    for index in (0, (0, 1), (slice(None), 1), (slice(None), slice(None), 1), [1, 0], ([0, 1], [1, 1]), -1,
                  (Ellipsis,), None, (None, 1), np.array([[1, 0], [0, 1]]), (slice(None), None, 1),
                  np.array([True, False]), np.eye(2, dtype=bool), [[True, False], [True, True]]):  # fmt: skip
        part = fm[index]
        assert np.array_equal(part.A, fm.A[index]) and np.array_equal(part.B, fm.B[index])
    assert np.shares_memory(fm[0].A, fm.A)


def test_leading_and_matrix_together() -> None:
    fm = factored((5, 2, 7), (2, 3), np.float64)
    whole = fm.AB
    mask = np.array([[True, False, True], [False, True, False]])
    cases: list[tuple[Any, Any]] = [
        ((0, 1, 2), whole[0, 1, 2:3]),
        ((0, 1, -1), whole[0, 1, -1:]),
        ((0, 1, 2, 3), whole[0, 1, 2:3, 3:4]),
        ((0, 1, -1, -1), whole[0, 1, -1:, -1:]),
        (([1, 0], Ellipsis, 1), whole[[1, 0], :, :, 1:2]),
        ((mask, Ellipsis, 1), whole[mask][..., 1:2]),
        ((mask, slice(None), 1), whole[mask][..., 1:2]),
        ((mask.tolist(), Ellipsis, 1, slice(None)), whole[mask][..., 1:2, :]),
        ((None, mask, Ellipsis, 1), whole[None, mask][..., 1:2]),
        ((slice(None), slice(None), [0, 3], [2]), whole[:, :, [0, 3]][..., [2]]),
        ((slice(None), slice(None), [0, 3], 2), whole[:, :, [0, 3]][..., 2:3]),
        (([1, 0], slice(None), [0, 3, 4], [1, 2]), whole[[1, 0]][:, :, [0, 3, 4]][..., [1, 2]]),
    ]
    for index, expected in cases:
        assert_near(fm[index].AB, expected, size_of(fm))


@pytest.mark.parametrize("leading", [(), (2,)])
def test_new_axes_anywhere(leading: Leading) -> None:
    fm = factored((5, 2, 7), leading, np.float64)
    full = slice(None)
    for index in ((..., None, full, full), (..., full, None, full), (..., None), (..., None, None),
                  (..., None, full, None, full, None), (..., None, full, None, full),
                  (..., full, None, full, None), (..., slice(1, 3), None, [0, 2])):  # fmt: skip
        assert_near(fm[index].AB, fm.AB[index], size_of(fm))


@pytest.mark.parametrize(
    "index",
    [
        (0, 1, 2, 3, 4), (..., 0, 0, 0, 0, 0), (..., ...), 2, (0, 3), (0, 0, 5), (0, 0, 0, 7), (0, 0, -6),
        (0, 0, 0, -8), (..., [5], slice(None)), (..., [7]), "a", 1.5, True,
        (..., np.ones((2, 2), int)), (..., [True]),
        (0, np.ones((3, 5), bool)), (..., np.ones((5, 7), bool)),
    ],
    ids=str,
)  # fmt: skip
def test_indices_that_are_none(index: Any) -> None:
    with pytest.raises(IndexError):
        factored((5, 2, 7), (2, 3))[index]


def test_iterates_over_the_first_axis_and_ends() -> None:
    fm = factored((3, 2, 4))
    assert len(fm) == 3 and [part.shape for part in fm] == [(1, 4)] * 3
    assert [part.shape for part in factored((3, 2, 4), (2,))] == [(3, 4)] * 2


def test_indexing_forms_no_product(monkeypatch: pytest.MonkeyPatch) -> None:
    fm = factored((5, 2, 7), (3,))
    expected = fm.AB[..., 1:4, 2:6]
    with monkeypatch.context() as context:
        context.setattr(FactoredMatrix, "AB", property(lambda self: pytest.fail("formed")))
        part = fm[..., 1:4, 2:6]
    assert np.array_equal(part.AB, expected)


# Beside TransformerLens and torch


@pytest.fixture(scope="module")
def torch() -> Any:
    return pytest.importorskip("torch")


@pytest.fixture(scope="module")
def lens(torch: Any) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip("transformer_lens").FactoredMatrix


def test_takes_tensors(torch: Any) -> None:
    a, b = torch.randn(4, 3), torch.randn(3, 5)
    fm = FactoredMatrix(a, b)
    a[0, 0] = 7
    assert fm.A[0, 0] == 7, "a copy of a tensor in memory"
    assert_near(fm.AB, (a.double() @ b.double()).numpy(), steps=1)
    assert FactoredMatrix(a.requires_grad_(), torch.nn.Parameter(b)).dtype == np.float32
    assert FactoredMatrix(a.bfloat16(), b.half()).dtype == np.float32
    assert_near((fm @ torch.ones(5)), fm.AB.astype(np.float64).sum(-1), size_of(fm))
    assert isinstance(fm @ torch.ones(5, 2), FactoredMatrix)
    assert isinstance(torch.ones(2, 4) @ fm, FactoredMatrix)
    assert_near((torch.ones(4) @ fm), fm.AB.astype(np.float64).sum(0), size_of(fm))
    assert_near((fm * torch.tensor(2.0)).AB, 2 * fm.AB)
    assert_near((torch.tensor([2.0]) * fm).AB, 2 * fm.AB)
    assert fm[torch.tensor([0, 2]), torch.tensor(1)].shape == (2, 1)
    complex_ones = torch.full((3, 3), 1 + 1j).conj()
    assert FactoredMatrix(complex_ones, torch.eye(3)).AB[0, 0] == 1 - 1j


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("leading", LEADING)
def test_same_as_transformer_lens(shape: Shape, leading: Leading, lens: Any, torch: Any) -> None:
    ours = factored(shape, leading, np.float64)
    theirs = lens(torch.from_numpy(ours.A), torch.from_numpy(ours.B))
    for name in ("ldim", "mdim", "rdim", "ndim", "has_leading_dims"):
        assert getattr(ours, name) == getattr(theirs, name), name
    assert ours.shape == tuple(theirs.shape)
    size = size_of(ours)
    for name in ("A", "B", "AB"):
        assert_near(getattr(ours, name), getattr(theirs, name).numpy(), size)
    assert_near(ours.S, theirs.S.numpy(), size, 64)
    assert ours.U.shape == tuple(theirs.U.shape) and ours.V.shape == tuple(theirs.V.shape)
    sign = np.sign(np.sum(ours.U * theirs.U.numpy(), -2))
    gaps = np.abs(np.diff(ours.S, axis=-1)).min(initial=size) / size
    assert_near(ours.V * sign[..., None, :], theirs.V.numpy(), 1 / gaps, 256)
    assert_near(ours.norm(), theirs.norm().numpy(), size, 64)
    assert_near(ours.get_corner(2), theirs.get_corner(2).numpy(), size)
    assert_near(ours.make_even().AB, theirs.make_even().AB.numpy(), size, 64)
    assert_near(ours.T.AB, theirs.T.AB.numpy(), size)
    assert_near(np.abs(ours.collapse_l()), np.abs(theirs.collapse_l().numpy()), size / gaps, 256)
    assert_near(np.abs(ours.collapse_r()), np.abs(theirs.collapse_r().numpy()), size / gaps, 256)
    if ours.ldim == ours.rdim:
        assert_near(ours.BA, theirs.BA.numpy(), size)
        sizes = [np.sort(np.abs(values), -1) for values in (ours.eigenvalues, theirs.eigenvalues.numpy())]
        assert_near(*sizes, size, 1e6)


@pytest.mark.parametrize("index", [*INDICES, 0, (0, 1), (..., None), (..., slice(None), None, 1)], ids=str)
def test_indexed_as_transformer_lens_does(index: Any, lens: Any, torch: Any) -> None:
    ours = factored((5, 2, 7), (2, 3), np.float64)
    theirs = lens(torch.from_numpy(ours.A), torch.from_numpy(ours.B))
    if isinstance(index, tuple) and any(isinstance(i, slice) and (i.step or 1) < 0 for i in index):
        index = (..., slice(None, None, 2), slice(None, None, 2))  # torch has no negative steps
    assert_near(ours[index].AB, theirs[index].AB.numpy(), size_of(ours))


@pytest.mark.parametrize("first,second", PAIRS)
def test_multiplied_as_transformer_lens_does(first: Any, second: Any, lens: Any, torch: Any) -> None:
    x, y = factored(first, (2,), np.float64), factored(second, (), np.float64)
    their_x, their_y = (lens(torch.from_numpy(m.A), torch.from_numpy(m.B)) for m in (x, y))
    for ours, theirs in (
        (x @ y, their_x @ their_y),
        (x @ y.AB, their_x @ their_y.AB),
        (x.AB @ y, their_x.AB @ their_y),
    ):
        assert ours.mdim == theirs.mdim
        assert_near(ours.A, theirs.A.numpy(), size_of(x) * size_of(y))
        assert_near(ours.B, theirs.B.numpy(), size_of(x) * size_of(y))
    right = y.AB[:, 0]
    assert_near(x @ right, (their_x @ torch.from_numpy(right)).numpy(), size_of(x) * size_of(y))
