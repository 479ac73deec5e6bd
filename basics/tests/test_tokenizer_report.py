from collections import Counter
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lm_basics.commands.tokenizer_report import report_tokenizer
from lm_basics.tokenizer.bpe import Tokenizer
from lm_basics.tokenizer.training import train_bpe_from_texts
from lm_basics.tokenizer_views.report import (
    NO_SCRIPT,
    OTHER_SCRIPTS,
    SCRIPTS,
    TokenizerReport,
    count_usage,
    find_unreachable_tokens,
    report_on_tokenizer,
    script_of,
)
from lm_basics.tokenizer_views.report_page import report_page
from lm_shared.config import load_config

END = "<|endoftext|>"
ENGLISH = f"the cat sat on the mat, the dog sat.{END}the 12 cats' mats\n" * 5
RUSSIAN = f"кошка спит, кот спит{END}" * 5
BYTES = {byte: bytes([byte]) for byte in range(256)}


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    vocab, merges = train_bpe_from_texts([ENGLISH, RUSSIAN], 300, [END])
    return Tokenizer(vocab, merges, [END])


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    english, russian = tmp_path / "english.txt", tmp_path / "russian.txt"
    english.write_text(ENGLISH, encoding="utf-8")
    russian.write_text(RUSSIAN, encoding="utf-8")
    return english, russian


@pytest.mark.parametrize(
    ("text", "script"),
    [
        (" word", "Latin"),
        ("'ll", "Latin"),
        (" слово", "Cyrillic"),
        ("漢字かな", "Han"),
        ("ひらがな", "Hiragana"),
        ("ー", NO_SCRIPT),
        # A vowel sign is no letter, but it belongs to a script.
        ("\u0940", "Devanagari"),
        (" 12.5 €\n🙂", NO_SCRIPT),
        ("", NO_SCRIPT),
        ("\u13a0", OTHER_SCRIPTS),
    ],
)
def test_script_is_that_of_the_first_character_with_one(text: str, script: str) -> None:
    assert script_of(text) == script
    assert script in {*SCRIPTS, NO_SCRIPT, OTHER_SCRIPTS}


def test_usage_equals_counting_the_encoded_files(
    tokenizer: Tokenizer, files: tuple[Path, Path]
) -> None:
    usage = count_usage(tokenizer, files)
    special = tokenizer.special_token_ids[END]
    expected: Counter[int] = Counter()
    for size, text in zip(usage.files, (ENGLISH, RUSSIAN), strict=True):
        ids = [token_id for token_id in tokenizer.encode(text) if token_id != special]
        expected.update(ids)
        assert size.num_tokens == len(ids)
        assert size.num_bytes == len(text.replace(END, "").encode())
        assert size.bytes_per_token == size.num_bytes / len(ids)
    assert {i: int(count) for i, count in enumerate(usage.counts) if count} == dict(expected)


def test_scripts_share_the_text_without_a_remainder(
    tokenizer: Tokenizer, files: tuple[Path, Path]
) -> None:
    usage = count_usage(tokenizer, files)
    assert {size.name for size in usage.scripts} == {"Latin", "Cyrillic", NO_SCRIPT}
    for kind in ("num_bytes", "num_tokens"):
        by_script = sum(getattr(size, kind) for size in usage.scripts)
        assert by_script == sum(getattr(size, kind) for size in usage.files)
    sizes = {size.name: size.num_bytes for size in usage.scripts}
    assert [*sizes.values()] == sorted(sizes.values(), reverse=True)
    # Five times " 12", two marks and a line end; in Russian a comma.
    assert sizes[NO_SCRIPT] == 5 * (len(" 12") + len(",.'\n") + len(","))


def test_unreachable_tokens_are_told_from_unused_ones(tmp_path: Path) -> None:
    vocab = {**BYTES, 256: b"ab", 257: b"xyz", 258: b"a ", 259: b"ab", 260: b"cd", 261: b"\xe4\xbd"}
    merges = [(b"a", b"b"), (b"a", b" "), (b"c", b"d"), (b"\xe4", b"\xbd")]
    tokenizer = Tokenizer(vocab, merges, [END])
    # No merge makes xyz, no pre-token holds "a ", and the second "ab" never comes first.
    assert find_unreachable_tokens(tokenizer) == [257, 258, 259]
    path = tmp_path / "text.txt"
    path.write_text("ab ab xyz a ", encoding="utf-8")
    report = report_on_tokenizer(tokenizer, [path])
    assert [row.token_id for row in report.unreachable] == [257, 258, 259]
    assert [row.token_id for row in report.unused[:2]] == [260, 261]
    # Used are a, space, x, y, z and ab, out of all but the special token.
    assert (report.num_unused, report.num_unreachable) == (262 - 6, 3)
    assert report.used_share == pytest.approx(6 / 262)
    # 128 bytes that are not ASCII, and the two that begin a longer character.
    assert (report.num_fragments, report.num_special) == (129, 1)
    assert (report.longest[0].text, report.longest[0].count) == ("xyz", 0)
    assert (report.longest[1].text, report.longest[1].count) == ("ab", 2)


def test_a_token_that_occurs_is_reachable(tmp_path: Path) -> None:
    # The pattern cuts "'l" in two, but "'ll" stays whole and no merge takes its last letter.
    tokenizer = Tokenizer({**BYTES, 256: b"'l"}, [(b"'", b"l")])
    assert find_unreachable_tokens(tokenizer) == [256]
    path = tmp_path / "text.txt"
    path.write_text("we'll", encoding="utf-8")
    assert report_on_tokenizer(tokenizer, [path]).unreachable == ()
    path.write_text("we", encoding="utf-8")
    assert [row.token_id for row in report_on_tokenizer(tokenizer, [path]).unreachable] == [256]


def test_trained_tokens_are_all_reachable(tokenizer: Tokenizer) -> None:
    assert find_unreachable_tokens(tokenizer) == []


def test_difference_from_single_bytes_is_the_compression(
    tokenizer: Tokenizer, files: tuple[Path, Path]
) -> None:
    report = report_on_tokenizer(tokenizer, files, against=Tokenizer(BYTES, []))
    assert report.difference is not None
    assert report.difference.num_in_common == report.difference.other_vocab_size == 256
    for difference, size in zip(report.difference.files, report.files, strict=True):
        # The other one does not know the special token, and still does not read it as text.
        assert difference.other_num_tokens == size.num_bytes
        assert difference.ratio == size.bytes_per_token


def test_a_tokenizer_does_not_differ_from_itself(
    tokenizer: Tokenizer, files: tuple[Path, Path]
) -> None:
    difference = report_on_tokenizer(tokenizer, files, against=tokenizer).difference
    assert difference is not None
    assert difference.num_in_common == tokenizer.vocab_size - 1
    assert [one.ratio for one in difference.files] == [1, 1]


def test_empty_files_have_no_ratio(tokenizer: Tokenizer, tmp_path: Path) -> None:
    empty = tmp_path / "empty.txt"
    empty.write_text(END)
    report = report_on_tokenizer(tokenizer, [empty], against=tokenizer)
    assert report.files[0].bytes_per_token is None
    assert report.difference is not None
    assert report.difference.files[0].ratio is None
    assert "empty.txt" in report_page(report, title="Empty").to_html()


def test_files_are_named_as_shortly_as_tells_them_apart(
    tokenizer: Tokenizer, tmp_path: Path
) -> None:
    paths = [tmp_path / part / "en" / "train.txt" for part in "ab"]
    for path in paths:
        path.parent.mkdir(parents=True)
        path.write_text(ENGLISH)
    names = [size.name for size in count_usage(tokenizer, paths).files]
    assert names == ["a/en/train.txt", "b/en/train.txt"]
    assert [size.name for size in count_usage(tokenizer, paths[:1]).files] == ["train.txt"]
    assert [size.name for size in count_usage(tokenizer, [Path("/dev/null")]).files] == ["null"]


def test_parquet_files_are_counted_by_document(tokenizer: Tokenizer, tmp_path: Path) -> None:
    texts: list[str | None] = ["the cat", None, "s and", ENGLISH]
    pq.write_table(pa.table({"body": texts}), tmp_path / "a.parquet")
    usage = count_usage(tokenizer, [tmp_path / "a.parquet"], text_column="body")
    assert usage.files[0].num_tokens == sum(
        len(tokenizer.encode(part)) for text in texts if text for part in text.split(END)
    )
    with pytest.raises(ValueError, match="has no column 'text'"):
        report_on_tokenizer(tokenizer, [tmp_path / "a.parquet"])


def test_lists_are_as_long_as_asked(tokenizer: Tokenizer, files: tuple[Path, Path]) -> None:
    ordinary = [token for token in tokenizer.vocab.values() if token != END.encode()]
    for count in (1, 3):
        report = report_on_tokenizer(tokenizer, files, num_listed=count)
        assert len(report.longest) == len(report.unused) == count
        lengths = [row.num_bytes for row in report.longest]
        assert lengths == sorted(map(len, ordinary), reverse=True)[:count]


def test_impossible_reports_are_refused(tokenizer: Tokenizer, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="at least one text file, got none"):
        report_on_tokenizer(tokenizer, [])
    with pytest.raises(ValueError, match="num_listed of at least 1, got 0"):
        report_on_tokenizer(tokenizer, [tmp_path], num_listed=0)
    with pytest.raises(FileNotFoundError, match="absent"):
        report_on_tokenizer(tokenizer, [tmp_path / "absent.txt"])


def test_the_page_shows_spaces_and_escapes_tokens(tmp_path: Path) -> None:
    vocab = {**BYTES, 256: b" <", 257: b" <b", 258: b"-" * 50}
    path = tmp_path / "text.txt"
    path.write_text("a <b")
    page = report_page(report_on_tokenizer(Tokenizer(vocab, []), [path]), title="A <title>")
    html = page.to_html()
    assert "&#39; &lt;b&#39;" in html
    assert f"{'-' * 40}&#39; … 50 characters" in html
    assert "<b&" not in html
    assert "A &lt;title&gt;" in html
    assert "Against the other tokenizer" not in html


def test_the_command_writes_and_prints_the_report(
    tokenizer: Tokenizer,
    files: tuple[Path, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    tokenizer.save("mine")
    Tokenizer(BYTES, []).save("bytes")
    english, russian = (Path(path.name) for path in files)
    report_tokenizer(
        (english, russian), tokenizer="mine", against="others=bytes", output=Path("out")
    )
    printed = capsys.readouterr().out
    report = load_config(TokenizerReport, Path("out/report.json"))
    expected = report_on_tokenizer(tokenizer, (english, russian), against=Tokenizer(BYTES, []))
    assert report == expected
    html = Path("out/report.html").read_text(encoding="utf-8")
    for part in ("english.txt", "russian.txt", "Cyrillic"):
        assert part in printed
        assert part in html
    assert (
        "glitch candidates, which a model may meet too rarely to learn:\n  0 unreachable: none"
        in (printed)
    )
    assert "256 tokens in common with others" in printed
    assert f"  {expected.num_unused - expected.num_unreachable} unused in these files: " in printed
    assert expected.files[0].bytes_per_token is not None
    ratio = f"{expected.files[0].bytes_per_token:.3f}"
    assert f"english.txt: {ratio} times the bytes per token of others\n" in printed
    assert printed.endswith(
        "next: uv run basics tokenizer-page --tokenizer mine --tokenizer others=bytes\n"
    )
    assert "tokens of others" in html
    assert "Against others" in html
    assert "Glitch candidates: unused tokens" in html
    assert "1 special token<" in html
    assert html.count("<svg") == 2
    assert "http-equiv" not in html
    assert "<script" not in html
