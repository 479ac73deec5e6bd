"""Fixtures: the small sample crawl, made and curated once for all tests."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from lm_data.pipeline.run import curate
from lm_data.pipeline.steps import CurateConfig
from lm_data.sample_crawl.crawl import write_sample_crawl
from lm_data.sample_crawl.pages import CRAWL_RECIPES

# Real crawls lie beside the repository where there are any.
WEB_FOLDER = Path(__file__).parents[3] / "shared" / "data" / "web"


@pytest.fixture(scope="session")
def sample(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sample") / "crawl"
    receipt = write_sample_crawl(folder, CRAWL_RECIPES["smoke"][1])
    return SimpleNamespace(folder=folder, receipt=receipt)


@pytest.fixture(scope="session")
def corpus(sample, tmp_path_factory):
    folder = tmp_path_factory.mktemp("corpus") / "documents"
    receipt = curate(sample.folder, folder, CurateConfig())
    return SimpleNamespace(folder=folder, receipt=receipt)


@pytest.fixture(scope="session")
def web_folder():
    if not WEB_FOLDER.is_dir():
        pytest.skip(f"needs the real crawls in {WEB_FOLDER.parent}")
    return WEB_FOLDER
