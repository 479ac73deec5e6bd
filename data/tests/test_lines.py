from dataclasses import replace

import pytest

from data.tests import reference
from lm_data.deduplicate.lines import LineConfig, LineCounts, remove_lines
from lm_data.document import Document


def make(text, source="a.example", number=0):
    return Document(id=f"{number:016x}", url="", text=text, source=source)


def clean(documents, config):
    counts = LineCounts()
    counts.count(documents, config)
    boilerplate = counts.find_boilerplate(config)
    return [remove_lines(document, boilerplate, config) for document in documents]


def test_line_on_most_pages_of_a_site_goes_and_one_on_few_stays():
    documents = [
        make(f"menu\nstory {n}\nDear reader:" if n < 6 else f"menu\nstory {n}") for n in range(14)
    ]
    cleaned = clean(documents, LineConfig())
    assert [text for text, _ in cleaned[5:7]] == ["story 5\nDear reader:", "story 6"]
    assert {removed for _, removed in cleaned} == {1}


def test_sites_are_counted_apart():
    documents = [make(f"menu\nstory {n}", source=f"{n % 4}.example") for n in range(12)]
    assert {removed for _, removed in clean(documents, LineConfig())} == {0}
    everywhere = LineConfig(scope="corpus")
    assert {text for text, _ in clean(documents, everywhere)} == {f"story {n}" for n in range(12)}


def test_blank_and_short_lines_stay():
    documents = [make(f"*\n\nThe menu\n\nstory {n}") for n in range(9)]
    texts = [text for text, _ in clean(documents, LineConfig(min_characters=2))]
    assert texts == [f"*\n\n\nstory {n}" for n in range(9)]


def test_a_line_of_the_least_length_goes_and_a_shorter_one_stays():
    documents = [make(f" menu \nstory {n}") for n in range(9)]
    for least, num_removed in ((4, 1), (5, 0)):
        removed = {count for _, count in clean(documents, LineConfig(min_characters=least))}
        assert removed == {num_removed}


def test_limits_are_themselves_allowed():
    # "menu" stands on 5 of 10 pages; each of its limits is met exactly.
    documents = [make(f"menu\nstory {n}" if n < 5 else f"story {n}") for n in range(10)]
    config = LineConfig(min_documents=5, min_share=0.5, min_occurrences=5)
    assert [count for _, count in clean(documents, config)] == [1] * 5 + [0] * 5
    for limits in ({"min_documents": 6}, {"min_share": 0.51}, {"min_occurrences": 6}):
        assert {count for _, count in clean(documents, replace(config, **limits))} == {0}


def test_repetition_within_one_document_is_no_boilerplate():
    documents = [make("chorus\n" * 20 + f"verse {n}") for n in range(2)]
    assert {removed for _, removed in clean(documents, LineConfig())} == {0}


def test_course_rule_equals_the_plain_version():
    files = ["a\nb\nc\n", "b\nd\nd\ne", "f\n\ng\nc", "h"]
    cleaned = clean([make(text.removesuffix("\n")) for text in files], LineConfig.for_course())
    expected = [text.split() for text in reference.unique_lines(files)]
    assert [text.split() for text, _ in cleaned] == expected


def test_dropped_documents_do_not_count():
    documents = [make(f"menu\nstory {n}").drop("rules", "x") for n in range(9)]
    counts = LineCounts()
    counts.count(documents, LineConfig())
    assert not counts.occurrences


def test_counts_of_parts_add_up():
    documents = [make(f"menu\nstory {n}") for n in range(10)]
    whole, parts = LineCounts(), LineCounts()
    whole.count(documents, LineConfig())
    for part in (documents[:3], documents[3:]):
        counts = LineCounts()
        counts.count(part, LineConfig())
        parts.add(counts)
    assert parts.find_boilerplate(LineConfig()) == whole.find_boilerplate(LineConfig())
    assert len(whole.find_boilerplate(LineConfig())) == 1


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"min_occurrences": 1}, "min_occurrences=1 would remove every line"),
        ({"min_share": 1.5}, r"min_share=1\.5"),
        ({"min_documents": -1}, "min_documents=-1"),
    ],
)
def test_impossible_settings_are_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        LineConfig(**fields)
