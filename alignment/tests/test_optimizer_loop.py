from contextlib import ExitStack
from dataclasses import dataclass, field

import pytest

from lm_alignment.optimizer_loop import OptimizerLoop
from lm_basics.optim.adamw import AdamW
from lm_basics.optim.schedules import CosineSchedule
from lm_shared.metrics import MetricsWriter, read_metrics
from lm_shared.runs import RunRecord


@dataclass(frozen=True)
class Config:
    steps: int = 10
    schedule: CosineSchedule = field(default_factory=CosineSchedule)
    checkpoint_every: int | None = 4


@pytest.fixture
def make_loop(make_model, tmp_path):
    def make(identity: str = "a") -> OptimizerLoop:
        model = make_model()
        metrics = open_files.enter_context(MetricsWriter(tmp_path / "metrics.jsonl"))
        record = RunRecord(folder=tmp_path, metrics=metrics)
        optimizer = AdamW(model.parameters(), lr=1e-2)
        return OptimizerLoop(model, optimizer, record, Config(), identity=identity)

    with ExitStack() as open_files:
        yield make


def test_learning_rate_follows_the_schedule_also_after_a_resume(make_loop):
    rates = {}

    def record_rate(step):
        rates[step] = loop.optimizer.param_groups[0]["lr"]
        if step == 6 and not resumed:
            raise KeyboardInterrupt
        return {"loss": 1.0}

    resumed = False
    loop = make_loop()
    with pytest.raises(KeyboardInterrupt):
        loop.run(record_rate)
    resumed = True
    loop = make_loop()
    loop.run(record_rate)
    assert rates == {step: 1e-2 * CosineSchedule().scale(step, 10) for step in range(10)}


def test_steps_after_the_checkpoint_are_done_and_recorded_again(make_loop, tmp_path):
    done = []

    def stop_in_step(last):
        def do_step(step):
            done.append(step)
            if step == last:
                raise KeyboardInterrupt
            return {"loss": float(step)}

        return do_step

    with pytest.raises(KeyboardInterrupt):
        make_loop().run(stop_in_step(6))
    make_loop().run(stop_in_step(None))
    assert done == [0, 1, 2, 3, 4, 5, 6, 4, 5, 6, 7, 8, 9]
    assert [line["step"] for line in read_metrics(tmp_path / "metrics.jsonl")] == list(range(1, 11))


def test_checkpoint_of_another_run_is_refused(make_loop):
    make_loop("a").run(lambda _: {"loss": 1.0})
    with pytest.raises(ValueError, match="another configuration"):
        make_loop("b").run(lambda _: {"loss": 1.0})


def test_damaged_checkpoint_is_named(make_loop):
    loop = make_loop()
    loop.run(lambda _: {"loss": 1.0})
    path = loop.checkpoint_path
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(ValueError, match=r"last.safetensors is no whole checkpoint"):
        make_loop().run(lambda _: {"loss": 1.0})


def test_stop_rule_ends_the_run_and_holds_when_it_is_opened_again(make_loop):
    done = []

    def do_step(step):
        done.append(step)
        return {"loss": 10.0 - step}

    for _ in range(2):
        make_loop().run(do_step, is_enough=lambda values: values["loss"] <= 5)
    assert done == [0, 1, 2, 3, 4, 5]


def test_on_step_hears_of_every_step(make_loop):
    heard = []
    make_loop().run(lambda step: {"loss": step}, lambda step, values: heard.append((step, values)))
    assert heard == [(step + 1, {"loss": step}) for step in range(10)]


def test_lost_metrics_are_named(make_loop, tmp_path):
    make_loop().run(lambda _: {"loss": 1.0})
    (tmp_path / "metrics.jsonl").unlink()
    with pytest.raises(ValueError, match="the record is damaged, delete"):
        make_loop().run(lambda _: {"loss": 1.0}, is_enough=lambda _: False)


def test_numbers_that_are_not_finite_are_placed(make_loop):
    def diverge(step):
        if step == 2:
            raise FloatingPointError("the loss is nan")
        return {"loss": 1.0}

    with pytest.raises(FloatingPointError, match="step 3: the loss is nan"):
        make_loop().run(diverge)
