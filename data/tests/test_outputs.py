import pytest

from lm_data.pipeline.run import curate
from lm_data.pipeline.steps import CurateConfig
from lm_data.sample_crawl.crawl import write_sample_crawl
from lm_data.sample_crawl.pages import CRAWL_RECIPES


def test_curation_and_sample_crawl_delete_nothing_but_their_own(sample, tmp_path):
    before = sorted(sample.folder.iterdir())
    with pytest.raises(ValueError, match="contains the input"):
        curate(sample.folder, sample.folder, CurateConfig())
    with pytest.raises(ValueError, match="contains the input"):
        curate(sample.folder, sample.folder.parent, CurateConfig())
    assert sorted(sample.folder.iterdir()) == before
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(ValueError, match=r"holds thesis\.tex and is not a sample crawl"):
        write_sample_crawl(tmp_path, CRAWL_RECIPES["smoke"][1])
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]
