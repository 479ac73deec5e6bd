import pytest

from lm_data.output_folder import check_output_folder
from lm_data.pipeline.config import CurateConfig
from lm_data.pipeline.run import curate
from lm_data.sample_crawl.config import CRAWL_RECIPES
from lm_data.sample_crawl.crawl import write_sample_crawl

MARKER = "curation.json"


def test_new_empty_and_own_folders_may_be_replaced(tmp_path):
    folder = tmp_path / "out"
    assert check_output_folder(folder, MARKER) == folder
    folder.mkdir()
    assert check_output_folder(folder, MARKER) == folder
    (folder / MARKER).touch()
    (folder / "more").touch()
    assert check_output_folder(folder, MARKER) == folder


def test_folder_with_other_files_is_refused(tmp_path):
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(ValueError, match=r"holds files but no curation\.json"):
        check_output_folder(tmp_path, MARKER)


@pytest.mark.parametrize("output", [".", "crawl", "other/../crawl"])
def test_folder_that_contains_an_input_is_refused(output, tmp_path):
    crawl = tmp_path / "crawl"
    crawl.mkdir()
    (tmp_path / "other").mkdir()
    for folder in (tmp_path, crawl):
        (folder / MARKER).touch()
    (crawl / "0.warc").touch()
    with pytest.raises(ValueError, match="contains the input"):
        check_output_folder(tmp_path / output, MARKER, [crawl / "0.warc"])


def test_link_to_an_input_and_the_linked_file_are_both_inputs(tmp_path):
    for name in ("links", "files"):
        (tmp_path / name).mkdir()
        (tmp_path / name / MARKER).touch()
    (tmp_path / "files" / "0.warc").touch()
    link = tmp_path / "links" / "0.warc"
    link.symlink_to(tmp_path / "files" / "0.warc")
    for name in ("links", "files"):
        with pytest.raises(ValueError, match="contains the input"):
            check_output_folder(tmp_path / name, MARKER, [link])


@pytest.mark.parametrize("output", [".", "..", "/"])
def test_working_folder_is_refused(output, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match="holds the working folder"):
        check_output_folder(output, MARKER)


def test_curation_and_sample_crawl_delete_nothing_but_their_own(sample, tmp_path):
    before = sorted(sample.folder.iterdir())
    with pytest.raises(ValueError, match="contains the input"):
        curate(sample.folder, sample.folder, CurateConfig())
    with pytest.raises(ValueError, match="contains the input"):
        curate(sample.folder, sample.folder.parent, CurateConfig())
    assert sorted(sample.folder.iterdir()) == before
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(ValueError, match=r"holds files but no truth\.jsonl"):
        write_sample_crawl(tmp_path, CRAWL_RECIPES["smoke"][1])
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]
