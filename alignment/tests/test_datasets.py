import gzip
import json
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lm_alignment.datasets import read_conversations, read_preferences, read_questions
from lm_alignment.templates import Message
from lm_alignment.verifiers import AFTER_HASHES, BOXED, INTEGERS_ONLY

DATA = Path(__file__).parents[3] / "shared" / "data" / "align"
USER, MODEL = "user", "assistant"


@pytest.fixture
def write(tmp_path):
    def write_lines(*records, name="own.jsonl"):
        lines = [one if isinstance(one, bytes) else json.dumps(one).encode() for one in records]
        (tmp_path / name).write_bytes(b"\n".join(lines))
        return tmp_path / name

    return write_lines


def turns(*pairs):
    return tuple(Message(role=role, content=content) for role, content in pairs)


def said(*pairs):
    return [{"role": role, "content": content} for role, content in pairs]


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        ({"question": "q", "answer": "a", "id": 7}, [(USER, "q"), (MODEL, "a")]),
        ({"prompt": "q", "response": "a"}, [(USER, "q"), (MODEL, "a")]),
        (
            {"prompt": said((USER, "q")), "completion": said((MODEL, "a"))},
            [(USER, "q"), (MODEL, "a")],
        ),
        ({"instruction": "q", "input": "", "output": "a"}, [(USER, "q"), (MODEL, "a")]),
        ({"instruction": "q", "input": "x", "output": "a"}, [(USER, "q\n\nx"), (MODEL, "a")]),
        (
            {"messages": said((USER, "q"), (MODEL, "a"), (USER, "p"), (MODEL, "b"))},
            [(USER, "q"), (MODEL, "a"), (USER, "p"), (MODEL, "b")],
        ),
        (
            {"messages": said(("system", "s"), (USER, "q"), (MODEL, "a"))},
            [(USER, "s\n\nq"), (MODEL, "a")],
        ),
        (
            {"messages": said(("system", ""), (USER, "q"), (MODEL, "a"))},
            [(USER, "q"), (MODEL, "a")],
        ),
        (
            {"conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]},
            [(USER, "q"), (MODEL, "a")],
        ),
    ],
)
def test_conversations_of_all_forms(write, record, expected):
    (found,) = read_conversations(path := write(record))
    assert found.messages == turns(*expected)
    assert found.origin == f"{path} line 1"


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        (b"{", "no JSON: Expecting property name"),
        (b'{"question": "\xff"}', "byte 15 is not UTF-8"),
        (b"7", "expected an object in braces, got 7"),
        ({"question": "q", "answer": " "}, "the text of the assistant is empty"),
        ({"question": "q", "answer": 7}, "expected text or a turn with role and content, got 7"),
        ({"messages": [{"role": "user"}]}, "expected text of the user, got None"),
        ({"question": "q", "answer": "\ud800"}, "holds half a surrogate pair"),
        ({"text": "q", "label": 1}, "expected one of messages, .*; got text, label"),
        ({"messages": []}, "expected at least one turn"),
        ({"messages": [7]}, "expected text or a turn with role and content, got 7"),
        ({"messages": said(("tool", "x"))}, "roles are user, assistant and system, got 'tool'"),
        ({"messages": said((USER, "q"))}, "the last turn must be the assistant's"),
        ({"messages": said((USER, "q"), ("system", "s"), (MODEL, "a"))}, "a system's turn must"),
        ({"prompt": "q", "chosen": "a", "rejected": "b"}, "are for alignment dpo, not for"),
    ],
)
def test_records_that_are_no_examples_are_named_and_the_others_used(write, caplog, record, reason):
    good = {"question": "q", "answer": "a"}
    with pytest.raises(ValueError, match=rf"own.jsonl holds no example .*; line 2: .*{reason}"):
        read_conversations(write(b"", record))
    assert len(read_conversations(write(good, record, good))) == 2
    (warning,) = caplog.records
    assert "1 of 3 records" in warning.getMessage()
    assert "line 2: " in warning.getMessage()


def test_of_many_faults_the_first_are_named(write, caplog):
    read_conversations(write(*[{}] * 9, {"question": "q", "answer": "a"}))
    assert "9 of 10 records" in caplog.text
    assert "line 5: " in caplog.text
    assert "line 6: " not in caplog.text
    assert "and 4 more" in caplog.text


def test_an_empty_file_says_so(write):
    with pytest.raises(ValueError, match="it is empty"):
        read_conversations(write())


def test_files_of_all_kinds_hold_the_same(write, tmp_path):
    records = [{"question": str(n), "answer": "a"} for n in range(3)]
    lines = write(*records)
    expected = read_conversations(lines)
    array = tmp_path / "own.json"
    array.write_text("\ufeff" + json.dumps(records, indent=1))
    for path in (lines, array):
        packed = path.with_name(f"{path.name}.gz")
        packed.write_bytes(gzip.compress(path.read_bytes()))
        assert read_conversations(path) == read_conversations(packed) == expected
    pq.write_table(pa.Table.from_pylist(records), tmp_path / "own.parquet")
    found = read_conversations(tmp_path / "own.parquet")
    assert found == expected
    assert found[1].origin == f"{tmp_path / 'own.parquet'} row 2"
    assert read_conversations(array)[1].origin == f"{array} record 2"


@pytest.mark.parametrize("name", ["own.json", "own.jsonl.gz", "own.parquet"])
def test_a_damaged_file_says_so(write, name):
    with pytest.raises(ValueError, match=rf"{name} is damaged"):
        read_conversations(write(b'[{"question"', name=name))


def test_lines_end_as_people_end_them(write):
    line = b'{"question": "q", "answer": "a"}'
    path = write()
    for text in (line, line + b"\n", line + b"\r\n\r\n", b"\xef\xbb\xbf" + line):
        path.write_bytes(text)
        assert len(read_conversations(path)) == 1


@pytest.mark.parametrize(
    ("answer", "pattern", "reference"),
    [
        ("2 + 2 = 4\n#### 4", INTEGERS_ONLY, "4"),
        ("2 + 2 = 4\n#### 1,072", AFTER_HASHES, "1,072"),
        (r"So \boxed{x^{2}}.", BOXED, "x^{2}"),
        ("Paris", AFTER_HASHES, "Paris"),
        ("1 3 5", INTEGERS_ONLY, "1 3 5"),
        ("#### $1,072", INTEGERS_ONLY, "$1,072"),
    ],
)
def test_a_verifier_compares_with_the_answer_of_the_solution(write, answer, pattern, reference):
    (found,) = read_questions(write({"question": "q", "answer": answer}), pattern)
    assert (found.question, found.answer) == ("q", reference)


def test_questions_that_no_answer_is_right_for_are_refused(write):
    for answer in ("Paris", "0.5", "-"):
        with pytest.raises(ValueError, match=f"'{answer}' is no integer"):
            read_questions(write({"question": "q", "answer": answer}), INTEGERS_ONLY)
    with pytest.raises(ValueError, match="got 4 turns: for alignment sft"):
        read_questions(
            write({"messages": said((USER, "q"), (MODEL, "1"), (USER, "p"), (MODEL, "2"))}),
            INTEGERS_ONLY,
        )


HH = "\n\nHuman: q\n\nAssistant: a\n\nHuman: p\n\nAssistant: "


@pytest.mark.parametrize(
    ("record", "prompt"),
    [
        ({"prompt": "q", "chosen": "b", "rejected": "c"}, "q"),
        (
            {"prompt": "q", "chosen": said((MODEL, "b")), "rejected": said((MODEL, "c"))},
            "q",
        ),
        (
            {
                "prompt": "q",
                "chosen": said((USER, "q"), (MODEL, "b")),
                "rejected": said((USER, "q"), (MODEL, "c")),
            },
            "q",
        ),
        (
            {
                "conversations": [{"from": "human", "value": "q"}],
                "chosen": {"from": "gpt", "value": "b"},
                "rejected": {"from": "gpt", "value": "c"},
            },
            "q",
        ),
        (
            {"prompt": said(("system", "s"), (USER, "q")), "chosen": "b", "rejected": "c"},
            "s\n\nq",
        ),
        (
            {"chosen": f"{HH}b\n", "rejected": f"{HH}c"},
            turns((USER, "q"), (MODEL, "a"), (USER, "p")),
        ),
    ],
)
def test_preferences_of_all_forms(write, record, prompt):
    (pair,) = read_preferences(write(record))
    assert (pair.prompt, pair.chosen, pair.rejected) == (prompt, "b", "c")


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        ({"question": "q", "answer": "a"}, "question and answer are for alignment sft, not for"),
        ({"chosen": "b"}, "expected chosen and rejected; got chosen"),
        ({"chosen": "b", "rejected": "c"}, "expected a prompt, or answers that begin with"),
        ({"prompt": "q", "chosen": "b", "rejected": "b"}, "are the same answer"),
        ({"prompt": "q", "chosen": "b", "rejected": ""}, "the text of the assistant is empty"),
        ({"chosen": f"{HH}b", "rejected": "\n\nHuman: x\n\nAssistant: c"}, "different prompts"),
        (
            {"chosen": said((MODEL, "b")), "rejected": said((MODEL, "c"))},
            "expected a prompt, or the turns before",
        ),
    ],
)
def test_what_is_no_preference_says_why(write, record, reason):
    with pytest.raises(ValueError, match=f"line 1: .*{reason}"):
        read_preferences(write(record))


@pytest.mark.skipif(not DATA.is_dir(), reason=f"needs the published files in {DATA}")
def test_published_files_are_read(caplog):
    assert len(read_preferences(DATA / "hh_harmless.jsonl.gz")) == 1751
    # Four answers are empty, and three pairs differ in what was asked.
    assert "7 of 1758 records" in caplog.text
    assert len(read_preferences(DATA / "dpo_en_demo.json")) == 299
    assert len(read_questions(DATA / "gsm8k_train.jsonl", INTEGERS_ONLY)) == 7473


def test_files_are_checked_without_torch(write):
    path = write({"question": "q", "answer": "a"})
    program = (
        "import pathlib, sys, lm_alignment.datasets as d; "
        f"d.read_conversations(pathlib.Path({str(path)!r})); "
        "print({'torch', 'pyarrow'} & {*sys.modules})"
    )
    found = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert found.stdout == "set()\n"
