"""Errors and correlation: by hand, against NumPy and scikit-learn, and with weights."""

import numpy as np
import pytest
from sklearn.metrics import mean_absolute_error, root_mean_squared_error

from hf_speech.metrics.regression import METRICS, ccc, mae, pearson_r, rmse


@pytest.mark.parametrize("weighted", [False, True])
def test_agrees_with_independent_implementations(weighted: bool) -> None:
    rng = np.random.default_rng(1)
    y = rng.normal(40, 12, 300)
    x = 0.5 * y + rng.normal(20, 5, 300)
    weights = rng.integers(0, 4, 300) if weighted else None
    kept = np.repeat(np.arange(300), weights) if weighted else np.arange(300)
    assert mae(y, x, weights) == pytest.approx(mean_absolute_error(y[kept], x[kept]))
    assert rmse(y, x, weights) == pytest.approx(root_mean_squared_error(y[kept], x[kept]))
    assert pearson_r(y, x, weights) == pytest.approx(np.corrcoef(y[kept], x[kept])[0, 1])
    # Lin's other form: Pearson's r times how near the scales and the means are.
    scale = y[kept].std() / x[kept].std()
    shift = (y[kept].mean() - x[kept].mean()) / np.sqrt(y[kept].std() * x[kept].std())
    wanted = np.corrcoef(y[kept], x[kept])[0, 1] * 2 / (scale + 1 / scale + shift**2)
    assert ccc(y, x, weights) == pytest.approx(wanted)


def test_numbers_by_hand() -> None:
    assert mae([10, 20, 30], [13, 20, 24]) == 3
    assert rmse([10, 20, 30], [13, 20, 24]) == pytest.approx(np.sqrt(45 / 3))
    assert pearson_r([1, 2, 3], [5, 5, 8]) == pytest.approx(3 / np.sqrt(2 * 6))
    # Covariance 1, variances 2/3 and 2, means 2 and 6.
    assert ccc([1, 2, 3], [5, 5, 8]) == pytest.approx(2 * 1 / (2 / 3 + 2 + 16))


def test_pearson_r_does_not_see_scale_and_shift_and_turns_with_the_sign() -> None:
    rng = np.random.default_rng(2)
    y, x = rng.normal(size=50), rng.normal(size=50)
    assert pearson_r(y, 3 * x + 7) == pytest.approx(pearson_r(y, x))
    assert pearson_r(y, -x) == pytest.approx(-pearson_r(y, x))
    assert pearson_r(y, 2 * y - 1) == pytest.approx(1)


def test_pearson_r_of_a_constant_is_not_defined() -> None:
    assert np.isnan(pearson_r([0.1] * 7, [1, 2, 3, 4, 5, 6, 7]))
    assert np.isnan(pearson_r([1, 2, 3, 4, 5, 6, 7], [0.1] * 7))
    # Constant once the weights have left the rest out.
    assert np.isnan(pearson_r([1, 2, 3], [5, 5, 9], np.array([2, 1, 0])))


def test_ccc_is_1_only_where_the_values_are_equal() -> None:
    rng = np.random.default_rng(3)
    y, x = rng.normal(40, 10, 50), rng.normal(40, 10, 50)
    assert ccc(y, y) == pytest.approx(1) and ccc(y, 2 * y.mean() - y) == pytest.approx(-1)
    assert ccc(y, y + 10) < ccc(y, y + 5) < 1 and ccc(y, 2 * y) < 1
    assert ccc(y, x) == pytest.approx(ccc(x, y)) == pytest.approx(ccc(3 * x - 7, 3 * y - 7))
    assert ccc([1, 2, 3], [0.1, 0.1, 0.1]) == pytest.approx(0, abs=1e-15)
    assert ccc([0.1] * 7, [0.2] * 7) == pytest.approx(0, abs=1e-12)
    assert np.isnan(ccc([0.1] * 7, [0.1] * 7))


@pytest.mark.parametrize("metric", METRICS.values(), ids=METRICS)
@pytest.mark.parametrize(("labels", "predictions"), [([1.0], [1.0, 2.0]), ([], []), ([[1.0]], [[1.0]])])
def test_wrong_shapes_are_named(metric, labels: list, predictions: list) -> None:
    with pytest.raises(ValueError, match="both must be"):
        metric(labels, predictions)
