import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from lm_shared.config import load_config
from lm_shared.files import hash_files
from lm_shared.runs import check_runs, load_receipt, read_metrics, record_run


@dataclass(frozen=True, kw_only=True, slots=True)
class Training:
    lr: float = 1e-3
    betas: tuple[float, float] = (0.9, 0.95)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "runs" / "one"


def interrupted_run(folder: Path, config: Training, last_step: int) -> None:
    with record_run(folder, config) as record:
        for step in range(1, last_step + 1):
            record.metrics.write(step=step)
        raise KeyboardInterrupt


def test_a_finished_run_has_config_metrics_and_receipt(folder: Path, tmp_path: Path) -> None:
    tokens_path = tmp_path / "tokens.bin"
    tokens_path.write_bytes(b"tokens")
    with record_run(folder, Training(), inputs=[tokens_path], parents=["runs/zero"]) as record:
        assert load_config(Training, folder / "config.json") == Training()
        assert not (folder / "receipt.json").exists()
        record.metrics.write(step=1, loss=2.0)
        record.add(flops=1e9, tokens=64)
        record.add(flops=1e9, tokens=64)
    receipt = load_receipt(folder)
    assert (receipt.flops, receipt.tokens) == (2e9, 128)
    assert receipt.input_hashes == {str(tokens_path): hash_files([tokens_path])}
    assert receipt.parent_runs == ("runs/zero",)
    assert receipt.peak_bytes > 0
    assert receipt.wall_s >= read_metrics(folder / "metrics.jsonl")[0]["elapsed_s"]
    assert sorted(path.name for path in folder.iterdir()) == [
        "config.json",
        "metrics.jsonl",
        "receipt.json",
    ]


def test_an_interrupted_run_has_no_receipt_and_can_go_on(folder: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        interrupted_run(folder, Training(), last_step=5)
    with pytest.raises(FileNotFoundError, match=r"no receipt\.json: the run did not finish"):
        load_receipt(folder)
    with record_run(folder, Training()) as record:
        record.metrics.truncate_after(3)
        record.add(tokens=3)
        record.metrics.write(step=4)
        record.add(tokens=1)
    assert [line["step"] for line in read_metrics(folder / "metrics.jsonl")] == [1, 2, 3, 4]
    assert load_receipt(folder).tokens == 4


def test_a_folder_of_another_configuration_is_refused_untouched(folder: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        interrupted_run(folder, Training(), last_step=2)
    before = hash_files([folder])
    with (
        pytest.raises(
            ValueError, match=r"configuration \(lr is 0.001 there and 1.0 here\): choose"
        ),
        record_run(folder, Training(lr=1.0)),
    ):
        pass
    assert hash_files([folder]) == before


def test_a_damaged_config_is_refused(folder: Path) -> None:
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("[]")
    with pytest.raises(ValueError, match="another configuration"), record_run(folder, Training()):
        pass


def test_opening_a_finished_run_takes_its_receipt_back(folder: Path) -> None:
    with record_run(folder, Training()):
        pass
    with pytest.raises(KeyboardInterrupt):
        interrupted_run(folder, Training(), last_step=1)
    assert not (folder / "receipt.json").exists()


def test_a_finished_run_with_nothing_to_do_keeps_its_receipt(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with record_run(folder, Training()) as record:
        record.metrics.write(step=1)
        record.add(tokens=64)
    before = hash_files([folder])
    # Another machine, and another state of the code.
    monkeypatch.setattr("lm_shared.runs.code_state", lambda: ("0" * 40, True))
    with pytest.raises(KeyboardInterrupt):
        interrupted_run(folder, Training(), last_step=0)
    assert hash_files([folder]) == before
    with record_run(folder, Training()) as record:
        record.metrics.resume_at(1)
    assert record.wall_s == load_receipt(folder).wall_s
    assert hash_files([folder]) == before


def test_a_finished_run_that_goes_on_is_unfinished_until_it_ends(folder: Path) -> None:
    with record_run(folder, Training()) as record:
        record.metrics.write(step=1)
    for drops in (True, False):
        with record_run(folder, Training()) as record:
            assert (folder / "receipt.json").exists()
            if drops:
                record.metrics.truncate_after(0)
                assert not (folder / "receipt.json").exists()
            record.metrics.write(step=1)
            assert not (folder / "receipt.json").exists()


def test_a_missing_input_is_an_error(folder: Path) -> None:
    with (
        pytest.raises(FileNotFoundError, match=r"absent\.bin"),
        record_run(folder, Training(), inputs=["absent.bin"]),
    ):
        pass


def test_a_finished_run_that_is_opened_again_keeps_its_seconds(folder: Path) -> None:
    with record_run(folder, Training()) as record:
        record.metrics.write(step=1)
        time.sleep(0.02)
    first = load_receipt(folder)
    assert record.wall_s == first.wall_s >= 0.02
    # What is computed again, such as a validation, is not the run's.
    with record_run(folder, Training()) as record:
        time.sleep(0.05)
    assert record.wall_s == load_receipt(folder).wall_s == first.wall_s
    with record_run(folder, Training()) as record:
        record.metrics.truncate_after(0)
        record.metrics.write(step=1)
    assert record.wall_s == load_receipt(folder).wall_s != first.wall_s


def test_seconds_of_attempts_without_metrics_are_added(folder: Path) -> None:
    with record_run(folder, Training(), earlier_s=30.0) as record:
        pass
    assert 30.0 <= load_receipt(folder).wall_s == record.wall_s < 40.0


def test_a_run_without_metrics_that_is_done_again_has_its_own_seconds(folder: Path) -> None:
    for seconds in (0.06, 0.0):
        with record_run(folder, Training()) as record:
            time.sleep(seconds)
    assert load_receipt(folder).wall_s == record.wall_s < 0.05


@pytest.mark.parametrize("name", ["config.json", "metrics.jsonl"])
def test_a_run_is_told_by_its_configuration_or_its_metrics(name: str, folder: Path) -> None:
    with pytest.raises(FileNotFoundError, match="there is no run folder"):
        check_runs([folder])
    folder.mkdir(parents=True)
    with pytest.raises(ValueError, match="is no run folder: it has no config"):
        check_runs([folder])
    (folder / name).touch()
    check_runs([folder])
    with pytest.raises(ValueError, match="is given twice"):
        check_runs([folder, folder / ".." / folder.name])
    with pytest.raises(ValueError, match="at least one run folder, got none"):
        check_runs([])
