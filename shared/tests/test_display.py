import logging
import time
from collections.abc import Iterator

import pytest
from rich.logging import RichHandler

from lm_shared import display
from lm_shared.testing.processes import run_python


@pytest.fixture(autouse=True)
def restored_logging() -> Iterator[None]:
    """Leave the root logger as it was."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


def test_log_lines_go_to_stderr_once(capsys: pytest.CaptureFixture[str]) -> None:
    display.set_up_logging()
    display.set_up_logging()
    logging.getLogger("lm").info("read %d files [not markup]", 3)
    logging.getLogger("lm").debug("a detail")
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err.count("read 3 files [not markup]") == 1
    assert "a detail" not in output.err
    assert sum(isinstance(one, RichHandler) for one in logging.getLogger().handlers) == 1


def test_torch_is_quiet_before_its_import_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logging.getLogger("torch"), "level", logging.NOTSET)
    display.set_up_logging()
    assert logging.getLogger("torch").level == logging.WARNING


def test_verbose_shows_debug_lines(capsys: pytest.CaptureFixture[str]) -> None:
    display.set_up_logging(verbose=True)
    logging.getLogger("lm").debug("a detail")
    assert "a detail" in capsys.readouterr().err


def test_without_a_terminal_progress_is_silent_when_it_is_quick(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with display.progress(counted=["training"]) as report:
        for step in range(3):
            report("training", step, 3)
    assert capsys.readouterr() == ("", "")


def test_without_a_terminal_progress_logs_from_time_to_time(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(display, "LOG_INTERVAL_S", 0.0)
    with caplog.at_level(logging.INFO), display.progress(counted=["training"]) as report:
        report("reading", 0, 45_000)
        report("reading", 12_300, 45_000)
        report("counting", 5_400_000, 0)
        report("training", 1_234_567, 2_000_000, "loss 3.2")
    assert caplog.messages == [
        "reading: 0 bytes of 45.0 kB",
        "reading: 12.3 kB of 45.0 kB",
        "counting: 5.4 MB",
        "training: 1,234,567 of 2,000,000, loss 3.2",
    ]


def test_the_time_between_lines_goes_on_over_activities(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter(range(0, 100, 20))
    monkeypatch.setattr(time, "monotonic", lambda: next(clock))
    with caplog.at_level(logging.INFO), display.progress() as report:
        report("reading", 1_000, 1_000)
        report("writing", 1_000, 1_000)
    assert caplog.messages == ["writing: 1.0 kB of 1.0 kB"]


def test_on_a_terminal_there_is_a_bar_or_a_view() -> None:
    script = """
from lm_shared.display import live_view, progress
with progress(counted=["training"]) as report:
    report("reading", 1, 0)
    report("training", 2, 3, "loss [3]")
with live_view() as update:
    update("a view")
"""
    result = run_python(["-c", script], environment={"FORCE_COLOR": "1", "TERM": "xterm"})
    assert result.returncode == 0, result.stderr
    assert "training" in result.stderr
    assert "2 of 3, loss [3]" in result.stderr
    assert "a view" in result.stderr


def test_without_a_terminal_there_is_no_live_view() -> None:
    with display.live_view() as update:
        assert update is None


def test_on_a_terminal_a_view_takes_the_place_of_the_one_before() -> None:
    script = """
from lm_shared.display import live_view
with live_view() as update:
    update("first")
    update("second")
"""
    result = run_python(["-c", script], environment={"FORCE_COLOR": "1", "TERM": "xterm"})
    assert result.returncode == 0, result.stderr
    assert "second" in result.stderr
