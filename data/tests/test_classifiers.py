import json
import pickle
import shutil
from concurrent.futures import ThreadPoolExecutor

import pytest

from lm_data.classifier_training.config import ClassifierConfig
from lm_data.classifier_training.labelled_text import Example
from lm_data.classifier_training.training import train_classifier
from lm_data.filters.classifiers import (
    Classifier,
    Decision,
    classify_nsfw,
    classify_quality,
    classify_toxic_speech,
)
from lm_data.filters.fasttext_model import load_model, predict_label, score_labels

SMALL = ClassifierConfig(dim=4, buckets=100, epochs=10)


def make_examples(count=300, labels=("toxic", "non-toxic")):
    words = ("vile", "kind")
    return [
        Example(label=labels[n % 2], text=f"{words[n % 2]} word{n % 17} thing{n}")
        for n in range(count)
    ]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("classifier") / "toxic"
    train_classifier(make_examples(), folder, label="toxic", action="drop", config=SMALL)
    return folder


@pytest.mark.parametrize("classify", [classify_nsfw, classify_toxic_speech, classify_quality])
@pytest.mark.parametrize(
    ("text", "label"), [("vile\nword1", "toxic"), ("kind thing2", "non-toxic")]
)
def test_the_most_probable_label_comes_without_prefix(classify, text, label, folder):
    found, score = classify(text, folder / "model.bin")
    assert found == label
    assert 0.5 < score <= 1.0


def test_scores_of_all_labels_add_up_to_one(folder):
    scores = score_labels("vile kind", folder / "model.bin")
    assert sorted(scores) == ["non-toxic", "toxic"]
    assert sum(scores.values()) == pytest.approx(1.0, abs=1e-4)


@pytest.mark.parametrize(
    "hidden", ["</s> ", "\0</s>\0", "\ud800 ", "__label__non-toxic ", "\u2028"]
)
def test_nothing_in_a_text_hides_the_rest_of_it(hidden, folder):
    assert predict_label(f"{hidden}vile word1", folder / "model.bin")[0] == "toxic"
    assert predict_label(f"{hidden}kind word2", folder / "model.bin")[0] == "non-toxic"


def test_a_text_without_words_has_a_label_and_a_score(folder):
    label, score = classify_nsfw(" \n", folder / "model.bin")
    assert label in ("toxic", "non-toxic", "und")
    assert 0.0 <= score <= 1.0


@pytest.mark.parametrize(
    ("classify", "hint"),
    [
        (classify_nsfw, "hf download allenai/dolma-jigsaw-fasttext-bigrams-nsfw model.bin"),
        (classify_toxic_speech, "hf download allenai/dolma-jigsaw-fasttext-bigrams-hatespeech"),
        (classify_quality, "train one, uv run data train-classifier"),
    ],
)
def test_a_missing_model_tells_where_it_comes_from(classify, hint, tmp_path):
    with pytest.raises(FileNotFoundError, match=rf"no model at .*none\.bin: .*{hint}"):
        classify("text", tmp_path / "none.bin")


@pytest.mark.parametrize(
    ("share", "message"), [(0.99, "is cut off"), (0.3, "is cut off"), (0.0, "is no fastText model")]
)
def test_a_damaged_model_is_named(share, message, folder, tmp_path):
    data = (folder / "model.bin").read_bytes()
    (tmp_path / "model.bin").write_bytes(data[: int(share * len(data))])
    with pytest.raises(ValueError, match=rf"model\.bin {message}"):
        predict_label("text", tmp_path / "model.bin")


def test_threads_share_a_model(folder):
    texts = ["vile word1", "kind word2"] * 50
    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(lambda text: predict_label(text, folder / "model.bin"), texts))
    assert [label for label, _ in found] == ["toxic", "non-toxic"] * 50
    assert len(set(found)) == 2
    assert load_model(folder / "model.bin") is load_model(folder / "model.bin")


def test_a_replaced_model_is_read_again(folder, tmp_path):
    path = tmp_path / "model.bin"
    shutil.copy(folder / "model.bin", path)
    assert predict_label("vile", path)[0] == "toxic"
    swapped = make_examples(labels=("non-toxic", "toxic"))
    train_classifier(swapped, tmp_path / "new", label="toxic", action="drop", config=SMALL)
    shutil.copy(tmp_path / "new" / "model.bin", path)
    assert predict_label("vile", path)[0] == "non-toxic"


@pytest.mark.parametrize(
    ("action", "score", "reason"),
    [
        ("drop", 0.7, "toxic"),
        ("drop", 0.69, None),
        ("keep", 0.7, None),
        ("keep", 0.69, "not_toxic"),
    ],
)
def test_the_threshold_itself_has_the_label(action, score, reason, folder):
    decision = Decision(label="toxic", threshold=0.7, action=action)
    classifier = Classifier(model_path=folder / "model.bin", decision=decision)
    assert classifier.find_reason(score) == reason


def test_a_classifier_comes_back_from_its_folder_and_goes_to_other_processes(folder):
    classifier = Classifier.from_folder(folder)
    assert pickle.loads(pickle.dumps(classifier)) == classifier
    assert classifier.score("vile word1") > 0.5 > classifier.score("kind word1")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"label": "spam"}, r"label='spam' is none of the model's, .*\['non-toxic', 'toxic'\]"),
        ({"threshold": 1.5}, r"threshold=1\.5"),
        ({"action": "burn"}, "burn"),
    ],
)
def test_a_decision_that_does_not_fit_is_refused(change, message, folder, tmp_path):
    shutil.copytree(folder, tmp_path / "toxic")
    path = tmp_path / "toxic" / "classifier.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(ValueError, match=message):
        Classifier.from_folder(tmp_path / "toxic")
