"""What a sample crawl holds, and the named ones."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class SampleCrawlConfig:
    """What the sample crawl holds."""

    seed: int = 0
    """Seed of every random choice."""
    num_messages: int | None = None
    """Presidential messages, spread evenly over the years; all of them when ``None``."""
    num_modules: int = 100
    """Documentation pages of standard-library modules."""
    num_foreign_pages: int = 72
    """Pages in other languages."""
    num_junk_pages: int = 132
    """Junk pages, the kinds in turn."""
    exact_duplicate_share: float = 0.08
    """Exact copies, per page worth keeping."""
    near_duplicate_share: float = 0.08
    """Near copies, per message."""
    changed_word_share: float = 0.005
    """Words that a near copy changes."""
    personal_data_share: float = 0.15
    """Messages into which personal data is inserted."""
    num_shards: int = 4
    """WARC files over which the pages are dealt."""

    def __post_init__(self) -> None:
        for name in ("num_modules", "num_foreign_pages", "num_junk_pages"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name}={getattr(self, name)} is negative")
        for name in ("exact_duplicate", "near_duplicate", "changed_word", "personal_data"):
            share = getattr(self, f"{name}_share")
            if not 0.0 <= share <= 1.0:
                raise ValueError(f"{name}_share={share} is not between 0 and 1")
        if self.num_shards < 1:
            raise ValueError(f"num_shards={self.num_shards} is not positive")


CRAWL_CONTENTS = ("sample-*.warc.gz", "config.json")
"""What the folder of a crawl holds besides its ground truth."""

CRAWL_RECIPES: dict[str, tuple[str, SampleCrawlConfig]] = {
    "laptop": ("All messages and 100 modules.", SampleCrawlConfig()),
    "smoke": (
        "25 messages and 6 modules, in seconds.",
        SampleCrawlConfig(
            num_messages=25,
            num_modules=6,
            num_foreign_pages=24,
            num_junk_pages=22,
            num_shards=2,
        ),
    ),
}
"""Sample crawls by name: one line of help, then the configuration."""
