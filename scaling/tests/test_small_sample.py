import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from lm_scaling.laws.parametric import ParametricLaw
from lm_scaling.laws.parametric_fit import fit_parametric
from lm_scaling.laws.points import ScalingPoint, read_points
from lm_scaling.laws.small_sample import LawPrior, SmallSampleFit, fit_small_sample
from lm_shared.config import from_dict, to_dict
from scaling.tests.conftest import grid_points

SIZES, TOKENS = (3.5e5, 7.5e5, 1.5e6), (2e5, 4e5, 8e5)
# Twenty times the compute of the largest run.
TARGET = (7e6, 3.4e6)


def draw_law(generator: np.random.Generator) -> ParametricLaw:
    """Return a law as different as tokenizers, data and training recipes make them."""
    alpha, beta = generator.uniform(0.2, 0.6), generator.uniform(0.25, 0.6)
    return ParametricLaw(
        E=generator.uniform(1.0, 2.6),
        A=generator.uniform(0.3, 1.5) * 1e6**alpha,
        B=generator.uniform(1.0, 3.0) * 4e5**beta,
        alpha=alpha,
        beta=beta,
    )


def extrapolation_errors(noise: float, num_laws: int, seed: int) -> tuple[np.ndarray, float]:
    """Return the relative errors at the target, and the share of intervals that held the truth."""
    generator = np.random.default_rng(seed)
    errors, held = [], []
    for trial in range(num_laws):
        truth = draw_law(generator)
        fit = fit_small_sample(grid_points(truth, SIZES, TOKENS, noise=noise, seed=trial))
        loss = truth.predict(*TARGET)
        errors.append(abs(fit.law.predict(*TARGET) / loss - 1))
        held.append(loss in fit.predict_interval(*TARGET, level=0.9))
    return np.array(errors), float(np.mean(held))


@pytest.mark.parametrize("noise", [0.005, 0.01])
def test_nine_tiny_runs_predict_twenty_times_their_compute(noise: float) -> None:
    errors, coverage = extrapolation_errors(noise, num_laws=12, seed=7)
    assert np.median(errors) < 0.015
    assert np.quantile(errors, 0.9) < 0.035
    assert errors.max() < 0.08
    assert coverage >= 0.85


def test_noiseless_runs_predict_almost_exactly(tiny_law: ParametricLaw) -> None:
    fit = fit_small_sample(grid_points(tiny_law, SIZES, TOKENS))
    assert fit.law.predict(*TARGET) == pytest.approx(tiny_law.predict(*TARGET), rel=5e-3)


def test_few_real_runs_extrapolate_better_than_the_free_fit(tables: Path) -> None:
    points = sorted(
        read_points(tables / "chinchilla_epoch_extracted.csv"), key=lambda point: point.tokens
    )
    points = sorted(points[5:], key=lambda point: point.flops)
    generator = np.random.default_rng(0)
    weak, free = [], []
    for _ in range(6):
        few = [points[i] for i in generator.choice(80, 9, replace=False)]
        largest = max(point.flops for point in few)
        laws = fit_small_sample(few).law, fit_parametric(few).law
        for point in points:
            if 8 * largest <= point.flops <= 35 * largest:
                n, d = point.parameters, point.tokens
                for law, errors in zip(laws, (weak, free), strict=True):
                    errors.append(abs(law.predict(n, d) / point.loss - 1))
    assert np.median(weak) < 0.02
    assert np.median(weak) < np.median(free)
    assert np.quantile(weak, 0.9) < np.quantile(free, 0.9)


def test_a_narrow_prior_holds_the_exponents_and_a_wide_one_lets_go(tiny_law) -> None:
    points = grid_points(tiny_law, SIZES, TOKENS)
    narrow = fit_small_sample(points, LawPrior(strengths=(1e-3,))).law
    wide = fit_small_sample(points, LawPrior(strengths=(1e3,))).law
    assert (narrow.alpha, narrow.beta) == pytest.approx((0.35, 0.37), rel=1e-3)
    assert (wide.alpha, wide.beta, wide.E) == pytest.approx((0.33, 0.42, 2.0), rel=1e-3)


def test_the_strength_with_the_smallest_left_out_error_wins(tiny_law: ParametricLaw) -> None:
    fit = fit_small_sample(grid_points(tiny_law, SIZES, TOKENS, noise=0.01))
    errors = {float(name): error for name, error in fit.leave_one_out.items()}
    assert set(errors) == {0.3, 1.0, 3.0}
    assert fit.strength == min(errors, key=lambda strength: errors[strength])


def test_left_out_errors_are_those_of_refitting_by_hand(tiny_law: ParametricLaw) -> None:
    points = grid_points(tiny_law, SIZES, TOKENS, noise=0.01)
    prior = LawPrior(strengths=(1.0,))
    errors = []
    for index, point in enumerate(points):
        law = fit_small_sample(points[:index] + points[index + 1 :], prior).law
        errors.append(np.log(law.predict(point.parameters, point.tokens) / point.loss))
    by_hand = float(np.sqrt(np.mean(np.square(errors))))
    assert fit_small_sample(points, prior).leave_one_out["1"] == pytest.approx(by_hand, rel=1e-3)


def test_intervals_widen_with_distance_and_with_noise(tiny_law: ParametricLaw) -> None:
    def width(fit: SmallSampleFit, n: float, d: float, level: float = 0.9) -> float:
        interval = fit.predict_interval(n, d, level=level)
        return interval.high / interval.low

    quiet = fit_small_sample(grid_points(tiny_law, SIZES, TOKENS, noise=0.002))
    loud = fit_small_sample(grid_points(tiny_law, SIZES, TOKENS, noise=0.05))
    assert width(quiet, 7.5e5, 4e5) < width(quiet, *TARGET) < width(quiet, 1e9, 1e9)
    assert width(quiet, *TARGET) < width(loud, *TARGET)
    assert width(quiet, *TARGET, level=0.5) < width(quiet, *TARGET)


def test_a_prediction_lies_in_its_interval(tiny_law: ParametricLaw) -> None:
    fit = fit_small_sample(grid_points(tiny_law, SIZES, TOKENS, noise=0.01))
    interval = fit.predict_interval(*TARGET)
    assert fit.law.predict(*TARGET) in interval
    assert interval.high not in replace(interval, high=interval.high - 1e-9)


def test_the_fit_is_deterministic_and_survives_json(tiny_law: ParametricLaw) -> None:
    points = grid_points(tiny_law, SIZES, TOKENS, noise=0.01)
    fit = fit_small_sample(points)
    assert fit_small_sample(points) == fit
    assert from_dict(SmallSampleFit, to_dict(fit)) == fit


def test_four_runs_are_enough_and_three_are_not(tiny_law: ParametricLaw) -> None:
    points = grid_points(tiny_law, SIZES[:2], TOKENS[:2])
    assert fit_small_sample(points).law.predict(*TARGET) == pytest.approx(
        tiny_law.predict(*TARGET), rel=0.1
    )
    with pytest.raises(ValueError, match="at least 4 runs, got 3"):
        fit_small_sample(points[:3])
    one_size = [ScalingPoint.from_run(parameters=1e6, tokens=d, loss=3) for d in (1, 2, 3, 4)]
    with pytest.raises(ValueError, match="different parameters"):
        fit_small_sample(one_size)


@pytest.mark.parametrize(
    "settings",
    [
        {"entropy": 0.0},
        {"beta_deviation": -1.0},
        {"noise": 0.0},
        {"strengths": ()},
        {"strengths": (1.0, 0.0)},
    ],
)
def test_bad_priors_are_refused(settings) -> None:
    with pytest.raises(ValueError, match=r"must be positive"):
        LawPrior(**settings)


def test_a_level_is_a_probability(tiny_law: ParametricLaw) -> None:
    fit = fit_small_sample(grid_points(tiny_law, SIZES, TOKENS))
    with pytest.raises(ValueError, match=r"between 0 and 1, got 90"):
        fit.predict_interval(*TARGET, level=90)


def test_the_interval_is_the_covariance_seen_along_the_gradient(tiny_law: ParametricLaw) -> None:
    fit = fit_small_sample(grid_points(tiny_law, SIZES, TOKENS, noise=0.01))
    law, (size, tokens) = fit.law, fit.center
    theta = np.log(
        [law.E, law.A * size**-law.alpha, law.B * tokens**-law.beta, law.alpha, law.beta]
    )

    def log_loss(theta: np.ndarray) -> float:
        e, a, b, alpha, beta = np.exp(theta)
        loss = e + a * (TARGET[0] / size) ** -alpha + b * (TARGET[1] / tokens) ** -beta
        return float(np.log(loss))

    steps = 1e-6 * np.eye(5)
    gradient = np.array([(log_loss(theta + h) - log_loss(theta - h)) / 2e-6 for h in steps])
    variance = gradient @ np.array(fit.covariance) @ gradient + fit.scatter**2
    # The quantile of a normal distribution above which 5% lie.
    margin = 1.6448536 * math.sqrt(variance)
    interval = fit.predict_interval(*TARGET, level=0.9)
    assert math.log(interval.low) == pytest.approx(log_loss(theta) - margin, rel=1e-6)
    assert math.log(interval.high) == pytest.approx(log_loss(theta) + margin, rel=1e-6)
