"""What may be written, replaced and removed."""

import os
import re
from pathlib import Path
from typing import Any

import pytest

from lm_shared.files import (
    atomic_folder,
    claim_file,
    claim_folder,
    clear_folder,
    write_text,
)


@pytest.mark.parametrize("is_there", [False, True])
def test_what_is_new_or_empty_may_be_written(tmp_path: Path, is_there: bool) -> None:
    folder, file = tmp_path / "folder", tmp_path / "file"
    if is_there:
        folder.mkdir()
        file.touch()
        (folder / ".x.partial-1").touch()
    assert claim_folder(folder, "a model", markers=["config.json"]) == folder
    assert claim_file(file) == file


def test_nothing_is_replaced_unasked(tmp_path: Path) -> None:
    file, folder = tmp_path / "file.bin", tmp_path / "model"
    write_text(file, "work")
    write_text(folder / "config.json", "{}")
    with pytest.raises(ValueError, match=r"file\.bin exists: --overwrite replaces it"):
        claim_file(file)
    with pytest.raises(ValueError, match="model is a model already: --overwrite replaces it"):
        claim_folder(folder, "a model", markers=["config.json"])
    assert claim_file(file, overwrite=True) == file
    assert claim_folder(folder, "a model", markers=["config.json"], overwrite=True) == folder


def test_what_is_there_by_default_is_replaced_unasked(tmp_path: Path) -> None:
    write_text(tmp_path / "look" / "report.html", "earlier")
    look: dict[str, Any] = {"parts": ["report.html"], "default": tmp_path / "look"}
    assert claim_folder(tmp_path / "look", "a report", **look) == tmp_path / "look"
    write_text(tmp_path / "look" / "thesis.tex", "work")
    with pytest.raises(ValueError, match=r"holds thesis\.tex and is not a report"):
        claim_folder(tmp_path / "look", "a report", **look)


@pytest.mark.parametrize("overwrite", [False, True])
def test_something_else_is_never_replaced(tmp_path: Path, overwrite: bool) -> None:
    folder, file = tmp_path / "folder", tmp_path / "file"
    write_text(folder / "thesis.tex", "work")
    write_text(file, "work")
    model: dict[str, Any] = {"markers": ["config.json"], "overwrite": overwrite}
    with pytest.raises(ValueError, match=r"holds thesis\.tex and is not a model"):
        claim_folder(folder, "a model", **model)
    for path in (file, file / "inner"):
        with pytest.raises(ValueError, match="file is a file, expected a folder to write to"):
            claim_folder(path, "a model", **model)
    with pytest.raises(ValueError, match="file is a file, expected a folder"):
        claim_file(file / "inner", overwrite=overwrite)
    with pytest.raises(ValueError, match="folder is a folder, expected a file"):
        claim_file(folder, overwrite=overwrite)


def test_a_folder_of_parts_alone_is_known_without_its_marker(tmp_path: Path) -> None:
    write_text(tmp_path / "run" / "data" / "train.bin", "tokens")
    run: dict[str, Any] = {"markers": ["config.json"], "parts": ["data", "*.json"]}
    assert claim_folder(tmp_path / "run", "a run", overwrite=True, **run) == tmp_path / "run"
    write_text(tmp_path / "run" / "thesis.tex", "work")
    with pytest.raises(ValueError, match=r"holds thesis\.tex and is not a run"):
        claim_folder(tmp_path / "run", "a run", overwrite=True, **run)


@pytest.mark.parametrize("output", [".", "crawl", "other/../crawl"])
def test_a_folder_that_contains_an_input_is_refused(output: str, tmp_path: Path) -> None:
    for name in ("crawl/0.warc", "crawl/own", "own", "other/own"):
        write_text(tmp_path / name, "")
    with pytest.raises(ValueError, match="contains the input"):
        claim_folder(
            tmp_path / output,
            "a crawl",
            markers=["own"],
            contents=["*.warc"],
            overwrite=True,
            inputs=[tmp_path / "crawl" / "0.warc"],
        )


def test_a_link_to_an_input_and_the_linked_file_are_both_inputs(tmp_path: Path) -> None:
    for name in ("links/own", "files/own", "files/0.warc"):
        write_text(tmp_path / name, "")
    link = tmp_path / "links" / "0.warc"
    link.symlink_to(tmp_path / "files" / "0.warc")
    for name in ("links", "files"):
        with pytest.raises(ValueError, match="contains the input"):
            claim_folder(
                tmp_path / name,
                "a crawl",
                markers=["own"],
                contents=["*.warc"],
                overwrite=True,
                inputs=[link],
            )


@pytest.mark.parametrize("output", [".", "..", "/"])
def test_the_working_folder_is_never_an_output(
    output: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match="holds the working folder"):
        claim_folder(output, "a crawl", markers=["own"], contents=["*.warc"], overwrite=True)


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("name", [".git", ".env", "thesis.tex", "model.safetensors"])
def test_a_marker_does_not_hide_what_is_foreign(name: str, overwrite: bool, tmp_path: Path) -> None:
    write_text(tmp_path / "run" / name, "work")
    run: dict[str, Any] = {
        "markers": ["config.json"],
        "contents": ["*.jsonl"],
        "overwrite": overwrite,
    }
    for marker in ("config.json", "metrics.jsonl"):
        with pytest.raises(ValueError, match=rf"holds {re.escape(name)} and is not a run"):
            claim_folder(tmp_path / "run", "a run", **run)
        write_text(tmp_path / "run" / marker, "{}")
    with pytest.raises(ValueError, match=rf"holds {re.escape(name)} and is not a run"):
        claim_folder(tmp_path / "run", "a run", **run)


def test_one_of_several_markers_is_enough(tmp_path: Path) -> None:
    write_text(tmp_path / "config.json", "{}")
    run: dict[str, Any] = {
        "markers": ["config.json", ("metrics.jsonl", "receipt.json")],
        "overwrite": True,
    }
    with pytest.raises(ValueError, match=r"holds config\.json and is not a run"):
        claim_folder(tmp_path, "a run", **run)
    write_text(tmp_path / "receipt.json", "{}")
    assert claim_folder(tmp_path, "a run", **run) == tmp_path


def test_only_the_names_asked_for_are_removed(tmp_path: Path) -> None:
    for name in ("config.json", "model/weights", ".git/config", ".env", "Config.json", "notes"):
        write_text(tmp_path / name, "")
    clear_folder(tmp_path, ["config.json", "model"])
    assert {one.name for one in tmp_path.iterdir()} == {".git", ".env", "Config.json", "notes"}


def test_only_regular_files_are_replaced(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (Path("/dev/null"), tmp_path / "pipe"):
        with pytest.raises(ValueError, match="is no regular file"):
            claim_file(path, overwrite=True)


@pytest.mark.parametrize("output", ["real", "link", "other/../real", "folder"])
@pytest.mark.parametrize("source", ["real", "link"])
def test_a_file_that_is_an_input_is_refused(source: str, output: str, tmp_path: Path) -> None:
    for name in ("real", "other/own"):
        write_text(tmp_path / name, "work")
    (tmp_path / "link").symlink_to("real")
    (tmp_path / "folder").symlink_to("real")
    with pytest.raises(ValueError, match="would replace the input"):
        claim_file(tmp_path / output, overwrite=True, inputs=[None, tmp_path / source])
    assert claim_file(tmp_path / "new", inputs=[tmp_path / source]) == tmp_path / "new"


@pytest.mark.parametrize("name", ["loop", "loop/inside"])
def test_a_link_to_itself_is_an_error_of_the_system(name: str, tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to("loop")
    path, free = tmp_path / name, tmp_path / "free"
    for attempt in (
        lambda: claim_file(path),
        lambda: claim_file(free, inputs=[path]),
        lambda: claim_folder(path, "a model", overwrite=True),
        lambda: claim_folder(free, "a model", inputs=[path]),
        lambda: write_text(path, "text"),
        lambda: atomic_folder(path).__enter__(),
    ):
        with pytest.raises(OSError, match=r"symbolic links|exists"):
            attempt()
    assert [one.name for one in tmp_path.iterdir()] == ["loop"]
