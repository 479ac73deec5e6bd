"""Named configurations, from a test's size to the laptop's."""

from lm_data.crawl.sample import SampleCrawlConfig
from lm_data.pipeline.config import CurateConfig

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

CURATE_RECIPES: dict[str, tuple[str, CurateConfig]] = {
    "english": ("English prose by the published rules.", CurateConfig()),
}
"""Curations by name: one line of help, then the configuration."""
