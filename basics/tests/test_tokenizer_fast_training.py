import random
from pathlib import Path
from typing import Any

import pytest
import regex
from hypothesis import given, settings, strategies as st
from tokenizers import Tokenizer as HuggingFaceTokenizer, models, pre_tokenizers, trainers

from basics.tests.both_paths import END, train_both
from basics.tests.nasty_text import nasty_text
from lm_basics.tokenizer import training
from lm_basics.tokenizer.fast.trainer import WordCounts, _Learner
from lm_basics.tokenizer.kernels import compile_kernels, records
from lm_basics.tokenizer.learning import TieBreaking
from lm_basics.tokenizer.patterns import GPT2_PATTERN, GPT4_PATTERN, O200K_PATTERN
from lm_basics.tokenizer.training import train_bpe_from_texts

TEXT_FOLDER = Path(__file__).parents[3] / "shared" / "data" / "text"
ALPHABETS = ["a", "ab", "ab ", "aab  bc'sl\n", "abcdefgh ", "abé日🙂 \n", "<|>ab ", "01 .", "'sl e"]
SPECIALS = [
    [],
    ["<|>"],
    ["<", "<|>"],
    ["a b", "b"],
    ["aa"],
    ["'", "|>ab"],
    ["日", "é日"],
    [" ", "\n"],
]
RULES: list[TieBreaking] = ["greater_bytes", "smaller_id"]


def random_text(rng: random.Random) -> str:
    if rng.random() < 0.2:
        return nasty_text(rng)
    alphabet = rng.choice(ALPHABETS)
    words = ["".join(rng.choices(alphabet, k=rng.randint(1, 9))) for _ in range(rng.randint(1, 9))]
    return rng.choice(["", " ", "\n"]).join(rng.choices(words, k=rng.randint(0, 40)))


@pytest.mark.usefixtures("unchecked")
def test_random_corpora_give_the_merges_of_plain_training() -> None:
    rng = random.Random(0)
    for _ in range(1000):
        texts = [random_text(rng) for _ in range(rng.randint(0, 3))]
        specials = rng.choice(SPECIALS)
        options: dict[str, Any] = {
            "tie_breaking": rng.choice(RULES),
            "pattern": rng.choice([GPT2_PATTERN, GPT4_PATTERN]),
            "num_threads": 1,
        }
        train_both(texts, 256 + len(specials) + rng.choice([0, 1, 5, 30, 200]), specials, **options)


@pytest.mark.usefixtures("unchecked")
@given(
    texts=st.lists(
        st.one_of(*(st.text(alphabet=letters, max_size=40) for letters in ALPHABETS), st.text()),
        max_size=4,
    ),
    specials=st.sampled_from(SPECIALS),
    num_merges=st.integers(0, 60),
    rule=st.sampled_from(RULES),
)
@settings(max_examples=150, deadline=None)
def test_any_texts_give_the_merges_of_plain_training(
    texts: list[str], specials: list[str], num_merges: int, rule: TieBreaking
) -> None:
    train_both(texts, 256 + len(specials) + num_merges, specials, tie_breaking=rule)


@pytest.mark.parametrize("pattern", [GPT2_PATTERN, GPT4_PATTERN])
@pytest.mark.parametrize("rule", RULES)
@pytest.mark.usefixtures("unchecked")
def test_text_of_many_scripts_gives_the_merges_of_plain_training(
    rule: TieBreaking, pattern: str
) -> None:
    rng = random.Random(1)
    texts = [nasty_text(rng, 400) for _ in range(60)]
    options: dict[str, Any] = {"tie_breaking": rule, "pattern": pattern, "num_threads": 3}
    _, merges = train_both(texts, 256 + 1 + 2500, ["<|"], **options)
    assert len(merges) == 2500


@pytest.mark.parametrize(
    "pattern", [O200K_PATTERN, r"\p{L}+", r"\S+|\s+", r"(?s).+", r"\p{L}*", r"[^\s\S]"]
)
@pytest.mark.parametrize("rule", RULES)
@pytest.mark.usefixtures("unchecked")
def test_other_patterns_share_the_merge_loop(pattern: str, rule: TieBreaking) -> None:
    rng = random.Random(2)
    texts = [nasty_text(rng, 60) for _ in range(10)]
    train_both(texts, 256 + 1 + 150, ["'s"], pattern=pattern, tie_breaking=rule)
    train_both([], 300, [], pattern=pattern, tie_breaking=rule)


@pytest.mark.parametrize("name", ["tinystories_197k.txt", "wiki_demo.txt"])
@pytest.mark.usefixtures("unchecked")
def test_real_text_gives_the_merges_of_plain_training(name: str) -> None:
    text = read_text(name)[:100_000]
    _, merges = train_both(text.split("\n\n"), 256 + 1 + 400, [END])
    assert len(merges) == 400


@pytest.mark.parametrize("name", ["tinyshakespeare.txt", "wiki_demo.txt"])
def test_real_words_give_the_merges_of_hugging_face(name: str) -> None:
    # Letters between newlines: their ids have the same order in both vocabularies.
    text = "\n".join(regex.findall("[A-Za-z]+", read_text(name)))
    trainer = trainers.BpeTrainer(
        vocab_size=256 + 1500,
        show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    peer = HuggingFaceTokenizer(models.BPE())
    peer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    peer.train_from_iterator([text], trainer)
    vocab, _ = train_bpe_from_texts(
        [text], 256 + 1500, [], tie_breaking="smaller_id", implementation="fast"
    )
    by_id = sorted(peer.get_vocab().items(), key=lambda item: item[1])
    assert [vocab[i].decode() for i in range(256, 1756)] == [token for token, _ in by_id[256:]]


def read_text(name: str) -> str:
    if not TEXT_FOLDER.exists():
        pytest.skip(f"needs the texts in {TEXT_FOLDER}")
    return (TEXT_FOLDER / name).read_text(encoding="utf-8")


class Recorder:
    """Notes what the kernels found full, and lets the class make room as always."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.full: set[int] = set()
        self.words: set[str] = set()
        enlarge, make_room = _Learner._enlarge, WordCounts._make_room

        def note_full(learner: _Learner, full: int) -> None:
            self.full.add(full)
            enlarge(learner, full)

        def note_words(counts: WordCounts, num_words: int, num_bytes: int) -> None:
            self.words.add("table" if num_words else "arena")
            make_room(counts, num_words, num_bytes)

        monkeypatch.setattr(_Learner, "_enlarge", note_full)
        monkeypatch.setattr(WordCounts, "_make_room", note_words)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.usefixtures("unchecked")
def test_tables_of_pairs_grow_without_a_trace(
    rule: TieBreaking, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorder = Recorder(monkeypatch)
    rng = random.Random(3)
    # One word with thousands of places of a pair, among all kinds of neighbours.
    letters = "abcdefghijklmnopqrstuvw"
    word = "".join(rng.choice(letters) + "xy" for _ in range(3000))
    others = " ".join("".join(rng.choices(letters, k=6)) for _ in range(1500))
    train_both([word, others], 256 + 1200, [], tie_breaking=rule)
    expected = {records.TABLE_FULL, records.HEAP_FULL, records.POOL_FULL, records.NOTES_FULL}
    assert recorder.full >= expected


@pytest.mark.parametrize("word", ["a" * 100_000, "ab" * 30_000, "a" * 65_537 + "b" + "a" * 999])
@pytest.mark.parametrize("rule", RULES)
def test_tokens_of_many_thousand_bytes_grow_without_a_trace(
    word: str, rule: TieBreaking, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorder = Recorder(monkeypatch)
    vocab, _ = train_both([f"{word} {word}", word], 256 + 40, [], tie_breaking=rule)
    assert records.BYTES_FULL in recorder.full
    assert recorder.words == {"arena"}
    assert word.encode() in vocab.values()


@pytest.mark.usefixtures("unchecked")
def test_tables_of_words_grow_without_a_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    recorder = Recorder(monkeypatch)
    rng = random.Random(4)
    words = [f"{rng.getrandbits(rng.choice([8, 16, 32, 90])):x}" for _ in range(12_000)]
    long_words = [chr(rng.randint(0x4E00, 0x9FA5)) * rng.randint(5, 90) for _ in range(2_000)]
    texts = [" ".join(words), "".join(f" {word}" for word in long_words)]
    for threads in (1, 4):
        train_both([*texts, *texts], 300, [], num_threads=threads)
    assert recorder.words == {"table", "arena"}


@pytest.mark.parametrize("length", [*range(6, 20), 63, 64, 65, 255, 256, 257])
def test_words_count_whatever_their_length(length: int) -> None:
    # Up to 15 bytes are a key of their own, longer words share keys with a hash and are compared.
    rng = random.Random(length)
    head = "".join(rng.choices("ab", k=length - 3))
    words = [head + "".join(rng.choices("abc", k=3)) for _ in range(40)]
    train_both([" ".join(words * 2), "\n".join(words)], 256 + 60, [])


@pytest.mark.parametrize(
    ("text", "is_fast"),
    [("the cat sat on the mat " * 5000, False), ("".join(map(chr, range(0x4E00, 0x6000))), True)],
    ids=["few words", "one long word"],
)
def test_what_the_words_cost_decides_for_little_text(
    text: str, is_fast: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    compile_kernels()
    expected = train_bpe_from_texts([text], 300, [], implementation="fast")
    unused = "learn_merges" if is_fast else "learn_merges_of_words"
    monkeypatch.delattr(training, unused)
    assert train_bpe_from_texts([text], 300, []) == expected
