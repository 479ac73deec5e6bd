"""Schedules against the formulas, by hand at their corners."""

import math

import pytest

from lm_basics.optim import (
    ConstantSchedule,
    CosineSchedule,
    InverseSqrtSchedule,
    ScheduleConfig,
    WarmupStableDecaySchedule,
    get_lr_cosine_schedule,
)


def _scales(schedule: ScheduleConfig, steps: int) -> list[float]:
    return [schedule.scale(step, steps) for step in range(steps)]


def test_cosine_schedule_follows_the_formula() -> None:
    rates = [get_lr_cosine_schedule(t, 1.0, 0.1, 7, 21) for t in range(25)]
    assert rates[0] == 0
    assert rates[7] == 1
    assert rates[14] == pytest.approx(0.55)
    assert rates[21:] == [pytest.approx(0.1)] * 4
    assert rates[3] == pytest.approx(3 / 7)


def test_warmup_stable_decay_by_hand() -> None:
    # Hägele et al., 2024: 1 - (n - (N - N_decay)) / N_decay for the linear shape.
    linear = WarmupStableDecaySchedule(warmup_fraction=0.2, decay_fraction=0.4, decay="linear")
    assert _scales(linear, 10) == pytest.approx([0.5, 1, 1, 1, 1, 1, 1, 0.75, 0.5, 0.25])
    root = WarmupStableDecaySchedule(warmup_fraction=0.2, decay_fraction=0.4)
    expected = [0.5, 1, 1, 1, 1, 1, 1, 1 - 0.5, 1 - math.sqrt(0.5), 1 - math.sqrt(0.75)]
    assert _scales(root, 10) == pytest.approx(expected)


def test_warmup_stable_decay_ends_at_its_final_fraction() -> None:
    for shape in ("linear", "one_minus_sqrt"):
        schedule = WarmupStableDecaySchedule(decay=shape, final_fraction=0.1, warmup_fraction=0.0)
        # Behind the last step; x = 1 in both shapes.
        assert schedule.scale(100, 100) == pytest.approx(0.1)
        assert 0.1 < schedule.scale(99, 100) < 0.2
        assert schedule.scale(80, 100) == 1
        assert schedule.scale(0, 100) == 1
    half = WarmupStableDecaySchedule(decay="linear", final_fraction=0.5, decay_fraction=0.5)
    assert half.scale(75, 100) == pytest.approx(0.75)


def test_phases_that_fill_the_run_leave_no_gap() -> None:
    # 1.5 steps of each round to 2 of 3: the decay gives way.
    both = WarmupStableDecaySchedule(warmup_fraction=0.5, decay_fraction=0.5, decay="linear")
    assert _scales(both, 3) == [0.5, 1.0, 1.0]
    assert _scales(both, 4) == [0.5, 1.0, 1.0, 0.5]
    none = WarmupStableDecaySchedule(warmup_fraction=0.0, decay_fraction=0.0)
    assert _scales(none, 3) == [1.0] * 3
    whole = WarmupStableDecaySchedule(warmup_fraction=0.0, decay_fraction=1.0, decay="linear")
    assert _scales(whole, 4) == [1.0, 0.75, 0.5, 0.25]
    assert _scales(WarmupStableDecaySchedule(), 1) == [1.0]


def test_a_run_without_its_decay_is_the_beginning_of_a_longer_one() -> None:
    short = WarmupStableDecaySchedule(warmup_fraction=0.1, decay_fraction=0.2)
    long = WarmupStableDecaySchedule(warmup_fraction=0.05, decay_fraction=0.2)
    assert _scales(short, 100)[:80] == _scales(long, 200)[:80]


def test_inverse_root_by_hand() -> None:
    plain = _scales(InverseSqrtSchedule(), 4)
    assert plain == pytest.approx([1, 1 / math.sqrt(2), 1 / math.sqrt(3), 0.5])
    warmed = _scales(InverseSqrtSchedule(warmup_fraction=0.25), 16)
    assert warmed[:4] == [0.25, 0.5, 0.75, 1.0]
    assert warmed[15] == pytest.approx(0.5)


def test_constant_by_hand() -> None:
    assert _scales(ConstantSchedule(), 3) == [1.0] * 3
    assert _scales(ConstantSchedule(warmup_fraction=0.5), 4) == [0.5, 1.0, 1.0, 1.0]


@pytest.mark.parametrize(
    "schedule",
    [
        CosineSchedule(warmup_fraction=0.1),
        WarmupStableDecaySchedule(warmup_fraction=0.1),
        WarmupStableDecaySchedule(warmup_fraction=0.1, decay="linear"),
        InverseSqrtSchedule(warmup_fraction=0.1),
        ConstantSchedule(warmup_fraction=0.1),
    ],
    ids=["cosine", "one_minus_sqrt", "linear", "inverse_root", "constant"],
)
@pytest.mark.parametrize("steps", [1, 2, 3, 10, 99, 100])
def test_every_schedule_learns_in_each_step_and_reaches_its_peak(
    schedule: ScheduleConfig, steps: int
) -> None:
    scales = _scales(schedule, steps)
    assert all(0 < scale <= 1 for scale in scales)
    assert max(scales) == pytest.approx(1.0)
    peak = scales.index(max(scales))
    assert scales[: peak + 1] == sorted(scales[: peak + 1])
    assert scales[peak:] == sorted(scales[peak:], reverse=True)


def test_fractions_that_make_no_sense_are_refused() -> None:
    with pytest.raises(ValueError, match=r"warmup_fraction must lie in \[0, 1\], got 2.0"):
        CosineSchedule(warmup_fraction=2.0)
    with pytest.raises(ValueError, match=r"decay_fraction must lie in \[0, 1\], got -0.1"):
        WarmupStableDecaySchedule(decay_fraction=-0.1)
    with pytest.raises(ValueError, match="final_fraction"):
        WarmupStableDecaySchedule(final_fraction=1.5)
    with pytest.raises(ValueError, match=r"warmup_fraction=0.5 and decay_fraction=0.6"):
        WarmupStableDecaySchedule(warmup_fraction=0.5, decay_fraction=0.6)
    with pytest.raises(ValueError, match="warmup_fraction"):
        InverseSqrtSchedule(warmup_fraction=-1.0)


def test_the_course_s_schedule_at_its_corners() -> None:
    def rates(warmup: int, cycle: int) -> list[float]:
        return [get_lr_cosine_schedule(it, 2.0, 1.0, warmup, cycle) for it in range(6)]

    assert rates(0, 4) == pytest.approx(
        [2.0, 1.5 + 0.25 * math.sqrt(2), 1.5, 1.5 - 0.25 * math.sqrt(2) * 1, 1.0, 1.0]
    )
    assert rates(2, 4) == pytest.approx([0.0, 1.0, 2.0, 1.5, 1.0, 1.0])
    # No cosine between its ends.
    assert rates(2, 2) == pytest.approx([0.0, 1.0, 2.0, 1.0, 1.0, 1.0])
    assert rates(0, 0) == pytest.approx([2.0, 1.0, 1.0, 1.0, 1.0, 1.0])
