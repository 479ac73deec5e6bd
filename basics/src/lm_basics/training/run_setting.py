"""What surrounds a training and does not decide its result: ``setting.json`` in the run folder.

Reports need it: the text behind a token, and what the device could do at best.
"""

from dataclasses import dataclass
from pathlib import Path

from lm_shared.config import load_config, save_config

SETTING_NAME = "setting.json"


@dataclass(frozen=True, kw_only=True, slots=True)
class RunSetting:
    """Data and device of a run, as the command that started it knows them."""

    vocab_hash: str
    """``Tokenizer.vocab_hash`` of the tokenizer that made the tokens."""
    bytes_per_token: float | None
    """UTF-8 bytes of the training text behind a token; None where the token file does not know."""
    validation_bytes_per_token: float | None
    """The same of the validation text; None also without one."""
    device: str
    """Kind of device."""
    ops: str
    """Name of the operations, see ``lm_basics.nn.ops``."""
    dtype: str
    """Type of the matrix products."""
    peak_flops: float | None
    """The device's peak in such products, a second."""
    peak_source: str
    """Where that number comes from."""


def save_setting(setting: RunSetting, folder: Path) -> None:
    """Write the setting into a run folder."""
    save_config(setting, folder / SETTING_NAME)


def load_setting(folder: Path) -> RunSetting | None:
    """Read the setting of a run folder, or return None if it has none.

    Raises:
        ValueError: the file is damaged.
    """
    path = folder / SETTING_NAME
    return load_config(RunSetting, path) if path.is_file() else None
