import json
from pathlib import Path

import pytest

from lm_scaling.laws.points import ScalingPoint, group_by_budget, read_points, write_points


def test_compute_of_a_run_is_six_n_d() -> None:
    assert ScalingPoint.from_run(parameters=10, tokens=7, loss=2).flops == 420
    assert ScalingPoint.from_budget(parameters=10, flops=420, loss=2).tokens == 7


@pytest.mark.parametrize("name", ["parameters", "tokens", "loss", "flops"])
@pytest.mark.parametrize("value", [0.0, -1.0, float("nan"), float("inf")])
def test_a_point_refuses_what_has_no_logarithm(name: str, value: float) -> None:
    values = {"parameters": 1.0, "tokens": 1.0, "loss": 1.0, "flops": 1.0, name: value}
    with pytest.raises(ValueError, match=f"{name} must be positive"):
        ScalingPoint(**values)


def test_written_points_are_read_back(tmp_path: Path) -> None:
    points = [
        ScalingPoint(parameters=3e5, tokens=1 / 3, loss=4.5, flops=1e12),
        ScalingPoint.from_run(parameters=7, tokens=9, loss=1.1),
    ]
    write_points(points, tmp_path / "points.json")
    assert read_points(tmp_path / "points.json") == points


def test_missing_tokens_or_flops_follow_from_the_others(tmp_path: Path) -> None:
    path = tmp_path / "runs.csv"
    path.write_text("N,D,C,loss\n10,7,,2\n10,,420,2\n10,7,500,2\n")
    by_tokens, by_flops, both = read_points(path)
    assert by_tokens == by_flops
    assert both.flops == 500


def test_other_columns_are_ignored(tmp_path: Path) -> None:
    path = tmp_path / "runs.json"
    path.write_text(
        json.dumps([{"parameters": 2, "compute_budget": 24, "final_loss": 3.5, "note": "best"}])
    )
    assert read_points(path) == [ScalingPoint(parameters=2, tokens=2, loss=3.5, flops=24)]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("N,D,loss\n", "holds no runs"),
        ("N,D,loss\n1,2,3\n1,2,many\n", "run 2: loss must be a number, got 'many'"),
        ("N,D,loss\n1,2,-3\n", "run 1: loss must be positive"),
        ("N,loss\n1,2\n", "run 1: needs the tokens or the FLOPs"),
        ("D,loss\n1,2\n", "run 1: needs the parameters and the loss"),
        ("N,loss\n1,2,3\n", r"runs.csv, line 2: cells beyond the header: \['3'\]"),
        ("N,D,loss\n1,2,3\n\n1,2,many\n", r"runs.csv, line 4, run 2: loss must be a number"),
        ("N,D,loss\n1,2,3\n1,2," + "3" * 140_000, r"runs.csv, after line 2: field larger"),
    ],
)
def test_a_bad_table_is_refused_with_its_place(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "runs.csv"
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        read_points(path)


def test_only_tables_are_read(tmp_path: Path) -> None:
    (tmp_path / "runs.json").write_text('{"N": 1}')
    with pytest.raises(ValueError, match="expected a list of objects"):
        read_points(tmp_path / "runs.json")
    with pytest.raises(ValueError, match=r"expected a .csv or .json table"):
        read_points(tmp_path / "runs.parquet")
    with pytest.raises(FileNotFoundError):
        read_points(tmp_path / "absent.csv")


def test_budgets_gather_runs_that_differ_by_a_step() -> None:
    flops = [100.0, 1000.0, 104.0, 97.0, 1020.0]
    points = [ScalingPoint(parameters=1, tokens=1, loss=1, flops=one) for one in flops]
    groups = group_by_budget(points, tolerance=0.08)
    assert list(groups) == [100.0, 1010.0]
    assert [len(group) for group in groups.values()] == [3, 2]


def test_a_chain_of_near_runs_is_not_one_budget() -> None:
    points = [
        ScalingPoint(parameters=1, tokens=1, loss=1, flops=flops) for flops in (100, 104, 108, 112)
    ]
    assert list(group_by_budget(points, tolerance=0.05)) == [102, 110]


def test_exact_budgets_need_no_tolerance() -> None:
    points = [
        ScalingPoint.from_budget(parameters=size, flops=flops, loss=1)
        for flops in (3e19, 1e19)
        for size in (1e8, 2e8)
    ]
    assert list(group_by_budget(points, tolerance=0.0)) == [1e19, 3e19]


def test_the_course_table_has_nine_budgets_of_eight_sizes(tables: Path) -> None:
    groups = group_by_budget(read_points(tables / "isoflops_curves.json"))
    assert [len(group) for group in groups.values()] == [8] * 9
    assert min(groups) == 6e18
    assert max(groups) == 3e21


def test_tables_of_other_programs_are_read(tmp_path: Path) -> None:
    (tmp_path / "RUNS.CSV").write_bytes(b"\xef\xbb\xbfN,D,loss\r\n10,7,2,\r\n")
    (tmp_path / "RUNS.JSON").write_text('[{"N": 10, "D": 7, "loss": 2}]')
    expected = [ScalingPoint.from_run(parameters=10, tokens=7, loss=2)]
    assert read_points(tmp_path / "RUNS.CSV") == expected
    assert read_points(tmp_path / "RUNS.JSON") == expected


def test_a_table_that_is_no_text_is_named(tmp_path: Path) -> None:
    path = tmp_path / "runs.csv"
    path.write_bytes(b"N,D,loss\n1,2,\xff\n")
    with pytest.raises(ValueError, match=r"runs.csv is not UTF-8 text"):
        read_points(path)


@pytest.mark.parametrize("loss", ["true", "[1]", "1" + "0" * 400])
def test_json_losses_are_numbers(tmp_path: Path, loss: str) -> None:
    path = tmp_path / "runs.json"
    path.write_text(f'[{{"N": 10, "D": 7, "loss": {loss}}}]')
    with pytest.raises(ValueError, match="run 1: loss must be a number"):
        read_points(path)
