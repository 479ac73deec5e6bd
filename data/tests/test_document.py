import pytest

from lm_data.document import Document


def make(**fields):
    return Document(id="0", url="https://a.example", text="text", source="a.example", **fields)


def test_dropping_records_step_and_reason_and_leaves_the_original():
    document = make()
    dropped = document.drop("rules", "too_few_words")
    assert document.is_kept
    assert not dropped.is_kept
    assert (dropped.dropped_by, dropped.reason) == ("rules", "too_few_words")
    assert dropped.text == document.text


def test_measurements_accumulate_and_the_last_value_of_a_name_counts():
    document = make().measure(words=3, language="en").measure(words=4)
    assert document.measurements == {"words": 4, "language": "en"}


def test_a_document_is_dropped_once():
    with pytest.raises(ValueError, match="already dropped by 'html'"):
        make().drop("html", "no_text").drop("rules", "too_few_words")


def test_reason_without_step_is_refused():
    with pytest.raises(ValueError, match="go together"):
        make(reason="because")
