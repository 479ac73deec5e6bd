import json
import random
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lm_data.classifier_training.config import ClassifierConfig
from lm_data.classifier_training.labelled_text import Example, Source, read_examples
from lm_data.classifier_training.thresholds import choose_threshold, measure_quality
from lm_data.classifier_training.training import ClassifierReport, clean_line, train_classifier
from lm_data.filters.classifiers import Classifier
from lm_shared.config import load_config
from lm_shared.files import hash_files

SMALL = ClassifierConfig(dim=4, buckets=100, epochs=10)
SHARED_DATA = Path(__file__).parents[3] / "shared" / "data"


def make_examples(count=400, noise=0.1, seed=0):
    rng = random.Random(seed)
    examples = []
    for n in range(count):
        label = "good" if rng.random() < 0.5 else "poor"
        word = label if rng.random() > noise else "either"
        examples.append(Example(label=label, text=f"{word} text{n} of words{rng.randrange(9)}"))
    return examples


def train(folder, examples=None, label="good", **options):
    options = {"action": "keep", "config": SMALL, **options}
    return train_classifier(examples or make_examples(), folder, label=label, **options)


def read(path, label=None, **options):
    return [
        (one.label, one.text) for one in read_examples(Source(path=path, label=label), **options)
    ]


def test_the_report_is_that_of_the_model_on_texts_that_it_has_not_seen(tmp_path):
    examples = make_examples()
    report = train(tmp_path / "model", examples)
    assert load_config(ClassifierReport, tmp_path / "model" / "report.json") == report
    total = report.num_training + report.num_threshold + report.held_out.num_texts
    assert total == len(examples) == sum(report.examples.values())
    assert report.held_out.precision is not None
    assert report.held_out.precision.value > 0.8
    assert report.held_out.precision.value in report.held_out.precision.interval
    assert report.decision == Classifier.from_folder(tmp_path / "model").decision
    assert sorted(path.name for path in (tmp_path / "model").iterdir()) == [
        "classifier.json", "config.json", "model.bin", "report.json",
    ]  # fmt: skip


def test_equal_trainings_have_equal_bytes_and_another_seed_others(tmp_path):
    first = train(tmp_path / "one")
    train(tmp_path / "two")
    other = train(tmp_path / "three", config=replace(SMALL, seed=1))
    assert first.num_training != other.num_training
    hashes = [hash_files([tmp_path / name]) for name in ("one", "two", "three")]
    assert hashes[0] == hashes[1] != hashes[2]


def test_labels_without_meaning_are_not_learnt(tmp_path):
    rng = random.Random(0)
    examples = [
        Example(label=rng.choice(["good", "poor"]), text=f"text{n} word{rng.randrange(50)}")
        for n in range(1000)
    ]
    report = train(tmp_path / "model", examples)
    base_rate = report.held_out.num_labelled / report.held_out.num_texts
    assert report.held_out.precision is not None
    assert base_rate in report.held_out.precision.interval


def test_copies_count_once_and_a_text_is_in_one_part(tmp_path):
    examples = make_examples()
    report = train(tmp_path / "one", examples)
    doubled = train(tmp_path / "two", [*examples, *examples])
    assert doubled.num_copies == len(examples)
    assert hash_files([tmp_path / "one" / "model.bin"]) == hash_files(
        [tmp_path / "two" / "model.bin"]
    )
    assert doubled.held_out == report.held_out


def test_what_looks_like_a_label_in_a_text_is_none():
    assert clean_line("__label__poor one\ntwo __label__x", 100) == "one two"
    assert clean_line("one two", 4) == "one"


def test_other_work_is_not_replaced(tmp_path):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "thesis.tex").touch()
    with pytest.raises(ValueError, match=r"holds thesis\.tex and is not a classifier"):
        train(tmp_path / "model", overwrite=True)
    train(tmp_path / "other")
    with pytest.raises(ValueError, match="is a classifier already"):
        train(tmp_path / "other")
    train(tmp_path / "other", overwrite=True)


@pytest.mark.parametrize(
    ("examples", "label", "message"),
    [
        ([Example(label="good", text="one")], "good", r"two labels or more, got \['good'\]"),
        (make_examples(20), "bad", r"label='bad' is none of the labels, .*\['good', 'poor'\]"),
        (make_examples(4), "good", "give more texts"),
    ],
)
def test_too_little_text_is_told(examples, label, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        train(tmp_path / "model", examples, label)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("scores", "has_label", "min_precision", "threshold"),
    [
        ([0.9, 0.8, 0.7, 0.1], [1, 1, 0, 0], None, 0.8),
        ([0.9, 0.8, 0.7, 0.1], [1, 0, 1, 0], None, 0.7),
        ([0.9, 0.8, 0.7, 0.1], [1, 0, 1, 0], 0.9, 0.9),
        ([0.9, 0.8, 0.7, 0.1], [1, 0, 1, 1], 0.75, 0.1),
        ([0.9, 0.5, 0.5], [1, 1, 0], 0.9, 0.9),
    ],
)
def test_threshold_by_hand(scores, has_label, min_precision, threshold):
    chosen = choose_threshold(scores, list(map(bool, has_label)), min_precision=min_precision)
    assert chosen == threshold


def test_no_threshold_is_better_than_the_chosen_one():
    rng = random.Random(1)
    scores = [round(rng.random(), 1) for _ in range(50)]
    has_label = [rng.random() < score for score in scores]

    def f1(threshold):
        quality = measure_quality(scores, has_label, threshold)
        assert quality.precision is not None
        precision, recall = quality.precision.value, quality.recall.value
        return 2 * precision * recall / (precision + recall) if precision + recall else 0.0

    assert f1(choose_threshold(scores, has_label)) == max(map(f1, set(scores)))


def test_a_precision_out_of_reach_is_told():
    with pytest.raises(ValueError, match=r"min_precision=0\.9, the best is 0\.5000"):
        choose_threshold([0.9, 0.8], [False, True], min_precision=0.9)
    with pytest.raises(ValueError, match="no text has the label"):
        choose_threshold([0.9], [False])


def test_precision_and_recall_by_hand():
    quality = measure_quality([0.9, 0.8, 0.2, 0.1], [True, False, True, False], 0.5)
    assert quality.precision is not None
    assert (quality.precision.value, quality.recall.value) == (0.5, 0.5)
    assert measure_quality([0.1, 0.2], [True, False], 0.5).precision is None


def test_every_form_of_labelled_text_is_read(tmp_path):
    rows = [("a", "One, two"), ("b", 'A "quoted"\nline')]
    flat = [("a", "One, two"), ("b", "A line")]
    (tmp_path / "x.csv").write_text(
        'label,text,n\na,"One, two",1\nb,"A ""quoted""\nline",2\nb,,3\n'
    )
    assert read(tmp_path / "x.csv") == rows
    (tmp_path / "x.jsonl").write_text(
        "\n".join(json.dumps({"class": label, "body": text}) for label, text in rows)
    )
    options = {"text_column": "body", "label_column": "class", "names": {"a": "c"}}
    assert read(tmp_path / "x.jsonl", **options) == [("c", "One, two"), rows[1]]
    (tmp_path / "x.txt").write_text("__label__a One, two\n__label__b A line\n__label__b \n")
    assert [(label, text.strip()) for label, text in read(tmp_path / "x.txt")] == flat
    (tmp_path / "y.txt").write_text("One\n\ntwo<|endoftext|>Three")
    assert read(tmp_path / "y.txt", "a") == [("a", "One\n\ntwo"), ("a", "Three")]
    (tmp_path / "z" / "train").mkdir(parents=True)
    pq.write_table(pa.table({"text": ["One", None]}), tmp_path / "z" / "train" / "0.parquet")
    assert read(tmp_path / "z", "a") == [("a", "One")]
    assert read(tmp_path / "z" / "train" / "0.parquet", "a") == [("a", "One")]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("x.csv", "a,b\n1,2\n", "no such table.*label"),
        ("x.jsonl", '{"text": "One"}\n', "line 1 is no object with 'label' and 'text'"),
        ("x.jsonl", '{"text": "One", "label": "a"}\n[]\n', "line 2"),
        ("x.txt", "One\n", "line 1 does not begin with one __label__"),
        ("x.txt", "__label__a __label__b One\n", "line 1 does not begin with one"),
        ("x.csv", "label,text\ntwo words,One\n", "a label is one word, got 'two words'"),
        ("x.csv", "label,text\n,One\n", "a label is one word, got ''"),
    ],
)
def test_what_has_no_label_is_named(name, content, message, tmp_path):
    (tmp_path / name).write_text(content)
    with pytest.raises(ValueError, match=message):
        read(tmp_path / name)


def test_a_path_that_holds_an_equals_sign_is_a_path(tmp_path):
    (tmp_path / "a=b.txt").touch()
    assert Source.parse(str(tmp_path / "a=b.txt")).label is None
    assert Source.parse(f"wiki={tmp_path}") == Source(path=tmp_path, label="wiki")
    with pytest.raises(FileNotFoundError, match="no labelled text at nowhere"):
        Source.parse("wiki=nowhere")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"held_out_share": 0.0}, "held_out_share=0.0"),
        ({"held_out_share": 0.5, "threshold_share": 0.5}, "nothing to learn from"),
        ({"min_precision": 2.0}, "min_precision=2.0"),
        ({"epochs": 0}, "epochs=0"),
    ],
)
def test_impossible_settings_are_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        ClassifierConfig(**fields)


def test_toxic_tweets_are_told_from_others(tmp_path):
    path = SHARED_DATA / "toxicity" / "davidson.csv"
    if not path.is_file():
        pytest.skip(f"needs the labelled tweets in {SHARED_DATA}")
    names = {"0": "toxic", "1": "toxic", "2": "non-toxic"}
    examples = read_examples(
        Source(path=path, label=None), text_column="tweet", label_column="class", names=names
    )
    report = train(tmp_path / "toxic", list(examples), "toxic", config=ClassifierConfig())
    assert report.held_out.precision is not None
    # Of the held-out tweets five in six are toxic.
    assert report.held_out.precision.interval.low > 0.93
    assert report.held_out.recall.interval.low > 0.93


def test_training_that_diverges_is_told(tmp_path):
    config = ClassifierConfig(dim=4, buckets=100, learning_rate=1e30)
    with pytest.raises(ValueError, match=r"learning_rate=1e\+30 is too high"):
        train(tmp_path / "model", config=config)
    assert list(tmp_path.iterdir()) == []
