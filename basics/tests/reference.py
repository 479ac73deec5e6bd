"""Plain, slow versions written from the definitions, to compare the library with."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from itertools import pairwise

import regex
import torch

GPT2_PATTERN = r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"


def train_bpe_by_recounting(
    text: str, vocab_size: int, special_tokens: Sequence[str], tie_breaking: str
) -> tuple[dict[int, bytes], list[tuple[bytes, bytes]]]:
    """Count all pairs anew for every merge."""
    tokens = [token.encode() for token in special_tokens]
    tokens += [bytes([byte]) for byte in range(256)]
    words = [_bytes_of(pretoken) for pretoken in _pretokens(text, special_tokens)]
    merges: list[tuple[bytes, bytes]] = []
    while len(tokens) < vocab_size:
        counts = Counter(pair for word in words for pair in pairwise(word))
        if not counts:
            break
        most = max(counts.values())
        tied = [pair for pair, count in counts.items() if count == most]
        if tie_breaking == "greater_bytes":
            best = max(tied)
        else:
            best = min(tied, key=lambda pair: (tokens.index(pair[0]), tokens.index(pair[1])))
        merges.append(best)
        tokens.append(best[0] + best[1])
        words = [_replace(word, best) for word in words]
    return dict(enumerate(tokens)), merges


def encode_merge_by_merge(
    text: str,
    vocab: dict[int, bytes],
    merges: Sequence[tuple[bytes, bytes]],
    special_tokens: Sequence[str] = (),
) -> list[int]:
    """Apply every merge of the list to every pre-token, one after the other."""
    ids = {token: token_id for token_id, token in sorted(vocab.items(), reverse=True)}
    encoded: list[int] = []
    for part in _split(text, special_tokens):
        if part in special_tokens:
            encoded.append(ids[part.encode()])
            continue
        for pretoken in regex.findall(GPT2_PATTERN, part):
            word = _bytes_of(pretoken)
            for merge in merges:
                word = _replace(word, merge)
            encoded += [ids[token] for token in word]
    return encoded


class KneserNeyReference:
    """Interpolated modified Kneser-Ney from the equations, with n-grams as tuples.

    ``None`` is the symbol that starts a document.
    """

    def __init__(self, documents: Sequence[Sequence[int]], order: int, vocab_size: int) -> None:
        self.order = order
        self.vocab_size = vocab_size
        counts: dict[int, Counter[tuple[int | None, ...]]] = defaultdict(Counter)
        for document in documents:
            marked = (None, *document)
            for n in range(1, order + 1):
                for start in range(len(marked) - n + 1):
                    counts[n][marked[start : start + n]] += 1
        before: dict[tuple[int | None, ...], set[int | None]] = defaultdict(set)
        for n in range(2, order + 1):
            for ngram in counts[n]:
                before[ngram[1:]].add(ngram[0])
        self.adjusted = {
            n: {
                ngram: count if n == order or ngram[0] is None else len(before[ngram])
                for ngram, count in counts[n].items()
                if ngram != (None,)
            }
            for n in range(1, order + 1)
        }
        self.discounts = {n: self._estimate_discounts(n) for n in range(1, order + 1)}

    def probability(self, word: int, context: tuple[int | None, ...]) -> float:
        """Return p(word | context), of which only ``order - 1`` tokens count."""
        context = context[max(0, len(context) - self.order + 1) :]
        n = len(context) + 1
        shorter = self.probability(word, context[1:]) if context else 1 / self.vocab_size
        followers = {
            ngram[-1]: count for ngram, count in self.adjusted[n].items() if ngram[:-1] == context
        }
        total = sum(followers.values())
        if total == 0:
            return shorter
        withheld = sum(self._discount(n, count) for count in followers.values())
        count = followers.get(word, 0)
        return (count - self._discount(n, count)) / total + withheld / total * shorter

    def _discount(self, n: int, count: int) -> float:
        return 0.0 if count == 0 else self.discounts[n][min(count, 3) - 1]

    def _estimate_discounts(self, n: int) -> tuple[float, float, float]:
        t = Counter(self.adjusted[n].values())
        if not (t[1] and t[2] and t[3]):
            return (0.5, 1.0, 1.5)
        y = t[1] / (t[1] + 2 * t[2])
        d_1, d_2, d_3 = 1 - 2 * y * t[2] / t[1], 2 - 3 * y * t[3] / t[2], 3 - 4 * y * t[4] / t[3]
        is_valid = 0 <= d_1 <= 1 and 0 <= d_2 <= 2 and 0 <= d_3 <= 3
        return (d_1, d_2, d_3) if is_valid else (0.5, 1.0, 1.5)


def muon_by_hand(
    weight: torch.Tensor,
    gradients: Sequence[torch.Tensor],
    *,
    lr: float,
    momentum: float,
    weight_decay: float,
    iterations: int = 5,
) -> torch.Tensor:
    """Return one matrix after a step of Muon for each gradient (Jordan et al., 2024)."""
    theta, m = weight.double(), torch.zeros_like(weight).double()
    rows, columns = theta.shape
    for g in gradients:
        m = momentum * m + (1 - momentum) * g.double()
        nesterov = momentum * m + (1 - momentum) * g.double()
        x = nesterov / nesterov.norm()
        for _ in range(iterations):
            x = 3.4445 * x - 4.7750 * x @ x.T @ x + 2.0315 * x @ x.T @ x @ x.T @ x
        theta = theta - lr * weight_decay * theta
        theta = theta - lr * max(1.0, rows / columns) ** 0.5 * x
    return theta


def _split(text: str, special_tokens: Sequence[str]) -> list[str]:
    """Cut at special tokens by trying the longest first at every character."""
    longest_first = sorted(special_tokens, key=len, reverse=True)
    parts, ordinary, position = [], "", 0
    while position < len(text):
        found = next((s for s in longest_first if text.startswith(s, position)), None)
        if found is None:
            ordinary += text[position]
            position += 1
        else:
            parts += [ordinary, found]
            ordinary = ""
            position += len(found)
    return [*parts, ordinary]


def _pretokens(text: str, special_tokens: Sequence[str]) -> list[str]:
    parts = [part for part in _split(text, special_tokens) if part not in special_tokens]
    return [pretoken for part in parts for pretoken in regex.findall(GPT2_PATTERN, part)]


def _bytes_of(pretoken: str) -> list[bytes]:
    return [bytes([byte]) for byte in pretoken.encode()]


def _replace(word: list[bytes], pair: tuple[bytes, bytes]) -> list[bytes]:
    merged: list[bytes] = []
    for token in word:
        # A token made by this very merge never equals the left half, so it is not merged again.
        if merged and (merged[-1], token) == pair:
            merged[-1] += token
        else:
            merged.append(token)
    return merged
