"""Words of what commands print."""

from pathlib import Path

from lm_shared.wording import changed, counted, free_output, shortened, wrote


def test_words_follow_numbers() -> None:
    assert counted(1, "token") == "1 token"
    assert counted(2000, "token") == "2,000 tokens"
    assert counted(0, "token") == "0 tokens"
    assert shortened(b"a" * 40) == repr("a" * 40)
    assert shortened("é".encode()) == "'é'"
    assert shortened(b"\xe3 \x81") == "b'\\xe3 \\x81'"
    assert shortened("é" * 41) == f"{'é' * 40!r} … 41 characters"


def test_an_ending_tells_the_place_and_a_command_that_can_be_pasted() -> None:
    assert wrote(Path("a"), Path("b")) == "wrote a and b"
    assert wrote(then=("basics", "train")) == "next: uv run basics train"
    then = ("basics", "generate", "Once upon", "--model", Path("a b"))
    assert wrote(Path("a b"), then=then) == (
        "wrote a b\nnext: uv run basics generate 'Once upon' --model 'a b'"
    )


def test_options_are_told_where_they_differ_from_the_usual() -> None:
    assert changed(("--a", 1, 1), ("--b", 2, 1), ("--c", None, None)) == ("--b", 2)


def test_an_output_that_is_taken_gets_a_number(tmp_path: Path) -> None:
    assert free_output(tmp_path / "tokens.bin") == ()
    for name in ("tokens.bin", "tokens-2.bin"):
        (tmp_path / name).touch()
    assert free_output(tmp_path / "tokens.bin") == ("--output", tmp_path / "tokens-3.bin")
