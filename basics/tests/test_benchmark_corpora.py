import gzip
import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from basics.benchmarks.corpora import (
    LARGEST_SHARES,
    RECORD_NAME,
    SEPARATOR,
    SHORT_LINE,
    SPARE_BYTES,
    SPECIAL,
    CorpusTooSmallError,
    Pool,
    Tree,
    build_corpora,
    find_form,
    read_text,
    strip_html,
    strip_manual,
)
from lm_shared.files import read_json

SIZES_MB = {"small": 0.02, "large": 0.1, "unseen": 0.03}


def sentences(first: int, count: int) -> str:
    numbers = range(first, first + count)
    return "\n".join(f"Sentence {n} says naïvely that {n * 7919} is no prime." for n in numbers)


def write_tree(folder: Path, *, num_files: int = 100) -> Tree:
    """Write files of 40 lines each; every second one begins with the lines of the one before."""
    folder.mkdir()
    for index in range(num_files):
        text = sentences(1000 * (index // 2 * 2), 10) + "\n" + sentences(1000 * index + 100, 30)
        (folder / f"{index:05}.txt").write_text(text + "\nend", encoding="utf-8")
    return Tree("tree", folder)


def read_documents(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").split(SEPARATOR)


def long_lines(path: Path) -> list[str]:
    return [line for line in path.read_text("utf-8").split("\n") if len(line) > SHORT_LINE]


def no_trees() -> Iterator[Tree]:
    raise AssertionError("sources were read again")
    yield


def test_sizes_order_and_disjointness(tmp_path: Path) -> None:
    paths = build_corpora(
        tmp_path / "out", sizes_mb=SIZES_MB, trees=[write_tree(tmp_path / "tree")]
    )
    assert list(paths) == list(SIZES_MB)
    documents = {name: read_documents(path) for name, path in paths.items()}
    for name, path in paths.items():
        last = len((SEPARATOR + documents[name][-1]).encode())
        assert SIZES_MB[name] * 1e6 <= path.stat().st_size < SIZES_MB[name] * 1e6 + last
    assert documents["large"][: len(documents["small"])] == documents["small"]
    assert not set(documents["unseen"]) & set(documents["large"])
    assert not set(long_lines(paths["unseen"])) & set(long_lines(paths["large"]))
    # Numbers rise with the names of the files, so a rising row would mean that nothing is shuffled.
    numbers = [int(document.split()[1]) for document in documents["large"]]
    assert numbers != sorted(numbers)


def test_no_long_line_comes_twice_and_short_ones_follow_the_long_line_before_them() -> None:
    pool = Pool(1e6)
    text, more = sentences(0, 10), sentences(50, 10)
    pool.add_text("text", f"first\n{text}\nkept\n\n\n\nkept too  ")
    pool.add_text("text", f"{more}\nkept\n{text}\ndropped\n{sentences(90, 1)}\nlast")
    assert pool.documents == [
        ("text", f"{text}\nkept\n\nkept too".encode()),
        ("text", f"{more}\nkept\n{sentences(90, 1)}\nlast".encode()),
    ]
    pool.add_text("text", text)
    assert len(pool.documents) == 2


def test_a_long_text_becomes_several_documents() -> None:
    pool = Pool(1e6)
    text = sentences(0, 2000)
    pool.add_text("dictionary", text)
    assert len(pool.documents) == 1 + len(text) // 32_000
    assert b"\n".join(document for _, document in pool.documents) == text.encode()


def test_a_line_of_data_is_no_text() -> None:
    pool = Pool(1e6)
    pool.add_text("text", f"{sentences(0, 5)}\n{'x' * 30_000}\nshort\n{sentences(5, 5)}")
    assert pool.documents == [("text", sentences(0, 10).encode())]


def test_no_text_spells_the_separator() -> None:
    pool = Pool(1e6)
    nested = f"{SPECIAL[:5]}{SPECIAL}{SPECIAL[5:]}"
    pool.add_text("text", sentences(0, 10).replace("prime", f"prime{SPECIAL}{nested}"))
    assert pool.documents == [("text", sentences(0, 10).encode())]


def test_a_kind_of_source_keeps_to_its_share() -> None:
    pool = Pool(100_000)
    for index in range(60):
        pool.add_text("source", sentences(100 * index, 20))
    largest = max(len(document) for _, document in pool.documents)
    assert 0 <= pool.num_bytes - LARGEST_SHARES["source"] * 100_000 < 2 * largest
    before = pool.num_bytes
    pool.add_text("html", sentences(100_000, 20))
    assert pool.num_bytes > before


def test_the_same_sources_give_the_same_bytes(tmp_path: Path) -> None:
    tree = write_tree(tmp_path / "tree")
    for name in ("a", "b"):
        build_corpora(tmp_path / name, sizes_mb=SIZES_MB, trees=[tree])
    for name in [*(f"{name}.txt" for name in SIZES_MB), RECORD_NAME]:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_files_that_are_complete_are_used_again(tmp_path: Path) -> None:
    tree = write_tree(tmp_path / "tree")
    paths = build_corpora(tmp_path / "out", sizes_mb=SIZES_MB, trees=[tree])
    assert build_corpora(tmp_path / "out", sizes_mb=SIZES_MB, trees=no_trees()) == paths
    one = {"small": SIZES_MB["small"]}
    assert build_corpora(tmp_path / "out", sizes_mb=one, trees=no_trees()) == {
        "small": paths["small"]
    }
    expected = paths["large"].read_bytes()
    paths["large"].write_bytes(expected[:-1])
    build_corpora(tmp_path / "out", sizes_mb=SIZES_MB, trees=[tree])
    assert paths["large"].read_bytes() == expected


def test_reading_stops_when_the_pool_is_full(tmp_path: Path) -> None:
    def trees() -> Iterator[Tree]:
        yield write_tree(tmp_path / "tree", num_files=SPARE_BYTES // 1500)
        yield from no_trees()

    paths = build_corpora(tmp_path / "out", sizes_mb={"small": 0.02}, trees=trees())
    assert paths["small"].is_file()


def test_record_says_what_the_files_hold(tmp_path: Path) -> None:
    tree = write_tree(tmp_path / "tree")
    (tree.folder / "page.html").write_text(f"<p>{sentences(10**6, 300)}</p>")
    paths = build_corpora(tmp_path / "out", sizes_mb=SIZES_MB, trees=[tree])
    record = read_json(tmp_path / "out" / RECORD_NAME)
    assert record["source_bytes"].keys() == {"tree"}
    assert record["files"].keys() == paths.keys()
    for name, path in paths.items():
        data, facts = path.read_bytes(), record["files"][name]
        text = data.decode().replace(SEPARATOR, "")
        non_ascii = sum(not character.isascii() for character in text) / len(text)
        assert facts["size_mb"] == SIZES_MB[name]
        assert facts["bytes"] == len(data)
        assert facts["documents"] == len(read_documents(path))
        assert facts["sha256"] == hashlib.sha256(data).hexdigest()
        assert facts["share_non_ascii_characters"] == pytest.approx(non_ascii, abs=1e-6)
        assert sum(facts["share_by_kind"].values()) == pytest.approx(1, abs=1e-3)


def test_too_little_text_names_the_gap_and_leaves_what_there_is(tmp_path: Path) -> None:
    tree = write_tree(tmp_path / "tree", num_files=50)
    message = r"no large: the sources hold 0\.\d MB of text and 1\.1 MB are wanted.*debian-handbook"
    with pytest.raises(CorpusTooSmallError, match=message) as caught:
        build_corpora(tmp_path / "out", sizes_mb=SIZES_MB, trees=[tree])
    assert caught.value.paths.keys() == {"small", "unseen"}
    sizes_mb = {name: SIZES_MB[name] for name in caught.value.paths}
    paths = build_corpora(tmp_path / "out", sizes_mb=sizes_mb, trees=no_trees())
    assert paths == {name: caught.value.paths[name] for name in sizes_mb}
    assert not set(read_documents(paths["small"])) & set(read_documents(paths["unseen"]))


def test_translations_and_links_and_copies_of_pages(tmp_path: Path) -> None:
    folder = tmp_path / "tree"
    for index, name in enumerate(["de", "pt_BR", "_sources", "guide"]):
        for number in range(20):
            path = folder / name / f"{number}.txt"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(sentences(10_000 * index + 100 * number, 10))
    (folder / "link.txt").symlink_to(folder / "_sources" / "1.txt")
    pool = Pool(1e6)
    pool.add_tree(Tree("tree", folder))
    kinds = [kind for kind, _ in pool.documents]
    assert kinds.count("text") == 20
    assert 0 < kinds.count("translation") < 40
    assert set(kinds) == {"text", "translation"}


@pytest.mark.parametrize(
    ("path", "form"),
    [
        ("man/man3/printf.3.gz", "manual"),
        ("man/de/man1/ls.1", "manual"),
        ("doc/tar/changelog.Debian.gz", "changelog"),
        ("doc/tar/NEWS", "changelog"),
        ("doc/tar/CHANGES.html", "html"),
        ("doc/tar/README", "text"),
        ("doc/tar/guide.rst", "text"),
        ("fortunes/wisdom", "text"),
        ("dictd/gcide.dict.dz", "dictionary"),
        ("python/news.py", "source"),
        ("doc/logo.png", None),
        ("doc/paper.pdf.gz", None),
    ],
)
def test_the_name_tells_the_form(path: str, form: str | None) -> None:
    assert find_form(Path(path)) == form


def test_damaged_files_give_no_text(tmp_path: Path) -> None:
    contents = {
        "a.txt.gz": b"not compressed",
        "b.txt.gz": gzip.compress(b"cut off in the middle")[:-9],
        "c.txt": b"binary\0data",
        "d.txt": b"valid \xff\xfeUTF-8\r\nand \xc3\xa9",
        "e.txt.gz": gzip.compress(b"compressed"),
    }
    for name, data in contents.items():
        (tmp_path / name).write_bytes(data)
    texts = [read_text(tmp_path / name, "text") for name in [*contents, "missing.txt"]]
    assert texts == ["", "", "", "valid UTF-8\nand é", "compressed", ""]


def test_html_keeps_blocks_and_preformatted_lines() -> None:
    page = (
        "<html><head><title>gone</title></head><body><nav>gone</nav><h1>A &amp; B</h1>"
        "<p>One\n  <b>long</b> line.</p><!-- gone --><pre>x &lt; <i>y</i>\n  z</pre>"
        "<table><tr><td>1</td><td>2</td></tr></table><script>gone</script></body></html>"
    )
    lines = [line.rstrip() for line in strip_html(page).split("\n") if line.strip()]
    assert lines == ["A & B", "One long line.", "x < y", "  z", "1 2"]


def test_manual_pages_lose_their_macros() -> None:
    page = (
        '.\\" a comment\n.TH LS 1 "May 2020"\n.SH NAME\nls \\- list \\fIfiles\\fR\n.sp 2\n'
        '.BR "see also" (1)\n.TP 15\nit\\(aqs \\*(Aqquoted\\*(Aq \\e n\n'
    )
    expected = "NAME\nls - list files\nsee also (1)\nit's 'quoted' \\ n\n"
    assert strip_manual(page).lstrip() == expected
