"""The configuration of a curation, and the named ones."""

from dataclasses import dataclass, field

from lm_data.convert.html import HtmlConfig
from lm_data.deduplicate.lines import LineConfig
from lm_data.deduplicate.minhash import MinHashConfig
from lm_data.filters.language import LanguageConfig
from lm_data.filters.rules import GopherConfig


@dataclass(frozen=True, kw_only=True, slots=True)
class CurateConfig:
    """One configuration per step, and the split."""

    html: HtmlConfig = field(default_factory=HtmlConfig)
    """From bytes to text."""
    language: LanguageConfig = field(default_factory=LanguageConfig)
    """Language filter."""
    rules: GopherConfig = field(default_factory=GopherConfig)
    """Quality rules."""
    lines: LineConfig = field(default_factory=LineConfig)
    """Removal of boilerplate lines."""
    minhash: MinHashConfig = field(default_factory=MinHashConfig)
    """Near-duplicate detection."""
    validation_share: float = 0.05
    """Share of the kept bytes that goes into validation, in whole documents."""
    split_seed: int = 0
    """Another seed chooses other validation documents."""
    max_body_size: int = 16 << 20
    """Larger responses are left out, in bytes."""

    def __post_init__(self) -> None:
        if not 0.0 < self.validation_share < 1.0:
            raise ValueError(f"validation_share={self.validation_share} is not between 0 and 1")
        if self.max_body_size < 1:
            raise ValueError(f"max_body_size={self.max_body_size} is not positive")


CORPUS_CONTENTS = ("train", "validation", "dropped", "config.json")
"""What the folder of a corpus holds besides its receipt."""

CURATE_RECIPES: dict[str, tuple[str, CurateConfig]] = {
    "english": ("English prose by the published rules.", CurateConfig()),
}
"""Curations by name: one line of help, then the configuration."""
