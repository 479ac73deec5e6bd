"""Which checkpoints stay, and what happens to one that is torn or foreign."""

import logging
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch

from lm_basics.model_config import uniform_transformer
from lm_basics.training import TrainingConfig, checkpoints, load_best_weights, train
from lm_basics.training.checkpoints import CheckpointFolder
from lm_basics.training.snapshot import pack, unpack
from lm_basics.transformer import TransformerLM

TOKENS = np.random.default_rng(0).integers(0, 30, 500).astype(np.uint16)


def _model() -> TransformerLM:
    torch.manual_seed(0)
    return TransformerLM(
        uniform_transformer(vocab_size=30, context_length=8, d_model=8, num_layers=1, num_heads=2)
    )


def _names(folder: Path) -> list[int]:
    return [int(path.stem.removeprefix("step-")) for path in sorted(folder.iterdir())]


def _folder(path: Path, *, identity: str = "mine", keep: int = 2) -> CheckpointFolder:
    return CheckpointFolder(path, identity=identity, keep=keep, keep_best=True)


@pytest.fixture
def linear() -> torch.nn.Linear:
    return torch.nn.Linear(2, 2)


def test_the_last_ones_and_the_best_stay(linear: torch.nn.Linear, tmp_path: Path) -> None:
    folder = _folder(tmp_path)
    losses = {1: 3.0, 2: 2.0, 3: None, 4: 2.5, 5: float("nan"), 6: None, 7: 1.0, 8: None, 9: None}
    kept = []
    for step, loss in losses.items():
        folder.save(step, {"model": linear}, val_loss=loss)
        kept.append(_names(tmp_path))
        # A new process knows the same from the files.
        folder = _folder(tmp_path)
        assert folder.load({"model": linear}) == step
    assert kept[:5] == [[1], [1, 2], [2, 3], [2, 3, 4], [2, 4, 5]]
    assert kept[5:] == [[2, 5, 6], [6, 7], [7, 8], [7, 8, 9]]
    assert folder.would_be_best(0.9)
    assert not folder.would_be_best(1.0)
    assert not folder.would_be_best(float("nan"))


def test_old_ones_stay_until_the_new_one_is_written(
    linear: torch.nn.Linear, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = _folder(tmp_path, keep=1)
    folder.save(1, {"model": linear})

    def fill_the_disk(path: Path, data: bytes) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(checkpoints, "write_bytes", fill_the_disk)
    with pytest.raises(OSError, match="no space"):
        folder.save(2, {"model": linear})
    assert _names(tmp_path) == [1]


def test_a_torn_newest_is_named_and_the_one_before_taken(
    linear: torch.nn.Linear, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = _folder(tmp_path)
    for step in (1, 2):
        linear.weight.data.fill_(step)
        folder.save(step, {"model": linear})
    newest = tmp_path / "step-00000002.safetensors"
    newest.write_bytes(newest.read_bytes()[:-1])
    with caplog.at_level(logging.WARNING):
        folder = _folder(tmp_path)
        assert folder.load({"model": linear}) == 1
    assert (linear.weight == 1).all()
    assert "step-00000002.safetensors is no whole checkpoint" in caplog.text
    assert "going on from the checkpoint before it" in caplog.text
    folder.save(3, {"model": linear})
    assert _names(tmp_path) == [1, 3]


def test_a_torn_only_one_is_refused(linear: torch.nn.Linear, tmp_path: Path) -> None:
    _folder(tmp_path).save(1, {"model": linear})
    path = tmp_path / "step-00000001.safetensors"
    whole = path.read_bytes()
    changed = bytearray(whole)
    changed[-1] ^= 1
    for content, reason in (
        (whole[:100], "is no whole checkpoint"),
        (bytes(changed), "its tensors have changed since they were written"),
        (safetensors.torch.save({"a": torch.ones(1)}), "its header describes none"),
    ):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=rf"step-00000001\.safetensors .*{reason}"):
            _folder(tmp_path).load({"model": linear})


def test_foreign_ones_are_refused_with_the_reason(linear: torch.nn.Linear, tmp_path: Path) -> None:
    _folder(tmp_path, identity="mine").save(1, {"model": linear})
    with pytest.raises(ValueError, match=r"00001\.safetensors belongs to another configuration"):
        _folder(tmp_path, identity="yours").load({"model": linear})
    with pytest.raises(ValueError, match=r"00001\.safetensors does not fit the model"):
        _folder(tmp_path).load({"model": torch.nn.Linear(3, 2)})
    with pytest.raises(ValueError, match=r"holds \['model'\], but no state of the ema"):
        _folder(tmp_path).load({"ema": linear})
    (tmp_path / "step-00000001.safetensors").rename(tmp_path / "step-00000005.safetensors")
    with pytest.raises(ValueError, match=r"00005\.safetensors holds step 1: it was renamed"):
        _folder(tmp_path).load({"model": linear})


def test_nested_states_come_back_with_their_keys_and_types() -> None:
    class Part:
        def state_dict(self) -> dict[str, object]:
            tensors = [torch.ones(2, dtype=torch.bfloat16), torch.tensor(3)]
            return {"a": {0: {"m": tensors[0]}}, "b": [1, None, 2.5, "x", tensors[1]]}

        def load_state_dict(self, state_dict: dict[str, object]) -> None:
            pass

    states, about = unpack(pack({"part": Part()}, {"n": 1}), "file")
    found, expected = states["part"], Part().state_dict()
    assert found["b"] == expected["b"]
    assert list(found["a"]) == [0]
    assert torch.equal(found["a"][0]["m"], torch.ones(2))
    assert found["a"][0]["m"].dtype == torch.bfloat16
    assert about == {"n": 1}


def test_a_run_goes_on_before_a_torn_checkpoint_with_the_same_bits(tmp_path: Path) -> None:
    config = TrainingConfig(steps=6, batch_size=2, checkpoint_every=2, keep_checkpoints=2)
    models = [_model(), _model()]
    train(models[0], TOKENS, config, folder=tmp_path)
    newest = tmp_path / "checkpoints" / "step-00000006.safetensors"
    newest.write_bytes(newest.read_bytes()[:-1])
    train(models[1], TOKENS, config, folder=tmp_path)
    for a, b in zip(*(model.parameters() for model in models), strict=True):
        assert torch.equal(a, b)
    assert _names(tmp_path / "checkpoints") == [4, 6]


@pytest.mark.parametrize("ema_decay", [None, 0.5])
def test_the_best_weights_are_those_that_were_validated(
    ema_decay: float | None, tmp_path: Path
) -> None:
    losses = iter([3.0, 1.0, 2.0, 4.0])
    seen = []

    def validate(model: TransformerLM) -> dict[str, float]:
        seen.append([p.detach().clone() for p in model.parameters()])
        return {"val_loss": next(losses)}

    config = TrainingConfig(
        steps=8, batch_size=2, validate_every=2, keep_best=True, ema_decay=ema_decay
    )
    trained = _model()
    train(trained, TOKENS, config, folder=tmp_path, validate=validate)
    assert _names(tmp_path / "checkpoints") == [4, 8]
    model = _model()
    assert load_best_weights(tmp_path, model) == 4
    for a, b in zip(model.parameters(), seen[1], strict=True):
        assert torch.equal(a, b)


def test_the_best_needs_a_validation_loss(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="keep_best needs validate_every=STEPS: nothing says"):
        TrainingConfig(steps=1, keep_best=True)
    config = TrainingConfig(steps=1, keep_best=True, validate_every=1)
    with pytest.raises(ValueError, match="keep_best needs a function to validate with"):
        train(_model(), TOKENS, config, folder=tmp_path / "a")
    with pytest.raises(ValueError, match=r"returns 'val_loss', got \['loss'\]"):
        train(_model(), TOKENS, config, folder=tmp_path / "a", validate=lambda _: {"loss": 1.0})
    train(_model(), TOKENS, TrainingConfig(steps=1), folder=tmp_path / "b")
    with pytest.raises(
        FileNotFoundError, match="train with keep_best=True and validate_every=STEPS"
    ):
        load_best_weights(tmp_path / "b", _model())
