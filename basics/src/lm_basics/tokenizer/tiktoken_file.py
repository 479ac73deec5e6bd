"""The rank file of tiktoken: on each line a token in base64 and its rank, which is also its id.

tiktoken keeps no merges. Of all neighbours whose joined bytes are a token it joins those of the
lowest rank, at their leftmost place, until none is left. ``Tokenizer`` wants the pairs, and there
is exactly one for each token. As long as no merge crosses the two ends of a stretch of bytes, what
happens inside depends on the inside alone: the next merge there is the one of lowest rank, leftmost
first, with or without the text around it. So wherever a token is made, its bytes went through the
states that they go through on their own, and the last of these is one pair. Other splits of a
token, though both halves may be tokens, never become neighbours. This holds for every table of
ranks, also where a token has a lower rank than its parts.

Pattern and special tokens of an encoding are in no file: those of OpenAI's stand here, as tiktoken
has them in its source (``tiktoken_ext/openai_public.py``).
"""

from base64 import b64encode
from binascii import Error as Base64Error, a2b_base64
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from operator import itemgetter
from pathlib import Path
from typing import Any

from lm_basics.tokenizer.bpe import Tokenizer
from lm_basics.tokenizer.patterns import END_OF_TEXT, GPT2_PATTERN, GPT4_PATTERN, O200K_PATTERN
from lm_shared.files import write_bytes

_NO_TOKEN = 1 << 62


@dataclass(frozen=True, kw_only=True, slots=True)
class PublishedEncoding:
    """What is needed beside the ranks."""

    pattern: str
    """Regular expression of the pre-tokens."""
    special_tokens: Mapping[str, int]
    """Id of each special token."""


PUBLISHED_ENCODINGS: Mapping[str, PublishedEncoding] = {
    "r50k_base": PublishedEncoding(pattern=GPT2_PATTERN, special_tokens={END_OF_TEXT: 50256}),
    "cl100k_base": PublishedEncoding(
        pattern=GPT4_PATTERN,
        special_tokens={
            END_OF_TEXT: 100257,
            "<|fim_prefix|>": 100258,
            "<|fim_middle|>": 100259,
            "<|fim_suffix|>": 100260,
            "<|endofprompt|>": 100276,
        },
    ),
    "o200k_base": PublishedEncoding(
        pattern=O200K_PATTERN, special_tokens={END_OF_TEXT: 199999, "<|endofprompt|>": 200018}
    ),
}
"""The encodings of GPT-2 and GPT-3, GPT-4, and GPT-4o under tiktoken's names."""


def read_rank_file(path: Path | str) -> dict[bytes, int]:
    """Return the rank of every token.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: a line is damaged, or repeats a token or a rank; the message names the line.
    """
    ranks: dict[bytes, int] = {}
    seen: set[int] = set()
    for number, line in enumerate(Path(path).read_bytes().splitlines(), start=1):
        if not line:
            continue
        token, rank = _parse_line(line, f"{path}, line {number}")
        if token in ranks or rank in seen:
            repeated = f"token {token!r}" if token in ranks else f"rank {rank}"
            raise ValueError(f"{path}, line {number}: {repeated} appears twice")
        ranks[token] = rank
        seen.add(rank)
    return ranks


def write_rank_file(ranks: Mapping[bytes, int], path: Path | str) -> None:
    """Write the rank of every token, in the order and with the bytes of tiktoken's own files.

    Raises:
        ValueError: a token is empty, or a rank is negative or repeated.
    """
    _check_ranks(ranks)
    in_order = sorted(ranks.items(), key=itemgetter(1))
    write_bytes(path, b"".join(b"%s %d\n" % (b64encode(token), rank) for token, rank in in_order))


def merges_from_ranks(ranks: Mapping[bytes, int]) -> list[tuple[bytes, bytes]]:
    """Return the merges with which ``Tokenizer`` gives tiktoken's ids for every pre-token.

    There is one merge for each token, in the order of ranks; why this is exact stands at the top.
    tiktoken also gives a pre-token that *is* a token its id without merging. That changes nothing
    for tokens that merging makes. The others are refused, unless they are no UTF-8: no pre-token
    equals those, so neither tool ever gives their ids.

    Raises:
        ValueError: one of the 256 bytes has no rank, merging never makes some token, or the ranks
            could not be written.
    """
    _check_ranks(ranks)
    if missing := [byte for byte in range(256) if bytes([byte]) not in ranks]:
        raise ValueError(f"{len(missing)} of the 256 bytes have no rank, the first is {missing[0]}")
    merges = []
    unmade = []
    for token in sorted(ranks, key=ranks.__getitem__):
        if len(token) == 1:
            continue
        pair = _find_last_merge(token, ranks)
        if pair is not None:
            merges.append(pair)
        elif _is_text(token):
            unmade.append(token)
    if unmade:
        raise ValueError(
            f"{len(unmade)} tokens cannot be made by merging, tiktoken gives them to whole "
            f"pre-tokens only; the first is {unmade[0]!r} of rank {ranks[unmade[0]]}"
        )
    return merges


def tokenizer_from_rank_file(
    path: Path | str, *, pattern: str, special_tokens: Mapping[str, int]
) -> Tokenizer:
    """Return a tokenizer that gives tiktoken's ids; ids may have gaps.

    Of two special tokens that start alike the longer one wins. tiktoken's choice between such
    tokens changes with the order of a hash table.

    Args:
        path: the rank file.
        pattern: regular expression of the pre-tokens, ``GPT4_PATTERN`` for cl100k_base.
        special_tokens: id of each special token; rank files do not hold them.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is damaged, holds a token that merging cannot make, or an id or the
            bytes of a special token are taken.
    """
    ranks = read_rank_file(path)
    vocab = {rank: token for token, rank in ranks.items()}
    for special, token_id in special_tokens.items():
        if token_id in vocab or special.encode() in ranks:
            raise ValueError(
                f"special token {special!r} cannot have the id {token_id}: "
                f"{path} or another special token has taken the id or the name"
            )
        vocab[token_id] = special.encode()
    try:
        merges = merges_from_ranks(ranks)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    return Tokenizer(dict(sorted(vocab.items())), merges, list(special_tokens), pattern=pattern)


def ranks_from_tokenizer(tokenizer: Tokenizer) -> dict[bytes, int]:
    """Return the ids of all tokens but the special ones, as ranks that give the same ids.

    What ``train_bpe`` returns always has such ranks, wherever its special tokens stand.

    Raises:
        ValueError: tiktoken could give other ids: two ids have the same bytes, the ids do not
            follow the order of the merges, or joining bytes makes a token that the merges do not.
    """
    special_ids = set(tokenizer.special_token_ids.values())
    ids: dict[bytes, int] = {}
    for token_id, token in sorted(tokenizer.vocab.items()):
        if ids.setdefault(token, token_id) != token_id:
            raise ValueError(f"{token!r} has two ids, {ids[token]} and {token_id}")
    ranks = {token: token_id for token, token_id in ids.items() if token_id not in special_ids}
    made = [ids[left + right] for left, right in tokenizer.merges]
    for earlier, later in pairwise(made):
        if later < earlier:
            raise ValueError(
                f"the merge of token {earlier} comes before that of {later}; "
                "tiktoken merges in the order of ids"
            )
    # More merges than these do no harm: their pairs never become neighbours.
    if unknown := set(merges_from_ranks(ranks)) - set(tokenizer.merges):
        left, right = min(unknown, key=lambda pair: ranks[pair[0] + pair[1]])
        raise ValueError(f"tiktoken would join {left!r} and {right!r}, which no merge does")
    if special := special_ids.intersection(made):
        raise ValueError(f"merges make the special token {tokenizer.vocab[min(special)]!r}")
    return ranks


def to_tiktoken_arguments(tokenizer: Tokenizer, *, name: str = "lm-basics") -> dict[str, Any]:
    """Return the arguments of a ``tiktoken.Encoding`` that gives the same ids.

    Call ``tiktoken.Encoding(**arguments)``. It reads the pattern with another engine of regular
    expressions; those in ``patterns`` mean the same to both.

    Raises:
        ValueError: see ``ranks_from_tokenizer``; or one special token starts another, and tiktoken
            would take either.
    """
    for shorter, longer in pairwise(sorted(tokenizer.special_token_ids)):
        if longer.startswith(shorter):
            raise ValueError(
                f"special token {shorter!r} starts {longer!r}: tiktoken would take either of them"
            )
    return {
        "name": name,
        "pat_str": tokenizer.pattern,
        "mergeable_ranks": ranks_from_tokenizer(tokenizer),
        "special_tokens": dict(tokenizer.special_token_ids),
    }


def load_published(name: str, path: Path | str) -> Tokenizer:
    """Read the rank file of a published encoding.

    Args:
        name: decides the pattern and the special tokens, with which a wrong one gives wrong ids.
        path: the rank file; tiktoken's cache has it under another name.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the name is unknown, or the file is damaged.
    """
    if name not in PUBLISHED_ENCODINGS:
        raise ValueError(
            f"expected one of {', '.join(PUBLISHED_ENCODINGS)}, got {name!r}; for other rank "
            "files, which hold no pattern, there is tokenizer_from_rank_file in Python"
        )
    encoding = PUBLISHED_ENCODINGS[name]
    return tokenizer_from_rank_file(
        path, pattern=encoding.pattern, special_tokens=encoding.special_tokens
    )


def _parse_line(line: bytes, place: str) -> tuple[bytes, int]:
    encoded, *rest = line.split()
    if len(rest) != 1 or not rest[0].isdigit():
        raise ValueError(f"{place}: expected a token in base64 and its rank, got {line!r}")
    try:
        return a2b_base64(encoded, strict_mode=True), int(rest[0])
    except Base64Error as error:
        raise ValueError(f"{place}: {encoded!r} is not base64: {error}") from error


def _check_ranks(ranks: Mapping[bytes, int]) -> None:
    """Refuse what a rank file cannot hold."""
    if b"" in ranks:
        raise ValueError(f"the token of rank {ranks[b'']} is empty")
    if (lowest := min(ranks.values(), default=0)) < 0:
        raise ValueError(f"ranks must not be negative, got {lowest}")
    if (num_ranks := len(set(ranks.values()))) != len(ranks):
        raise ValueError(f"{len(ranks)} tokens share {num_ranks} ranks")


def _find_last_merge(token: bytes, ranks: Mapping[bytes, int]) -> tuple[bytes, bytes] | None:
    """Merge the bytes of ``token``; return its last two parts, ``None`` if it stays in more."""
    rank_of = ranks.get
    bounds = list(range(len(token) + 1))
    pair_ranks = [rank_of(token[i : i + 2], _NO_TOKEN) for i in range(len(token) - 1)]
    while len(pair_ranks) > 1:
        lowest = min(pair_ranks)
        if lowest == _NO_TOKEN:
            return None
        i = pair_ranks.index(lowest)
        del bounds[i + 1], pair_ranks[i]
        if i > 0:
            pair_ranks[i - 1] = rank_of(token[bounds[i - 1] : bounds[i + 1]], _NO_TOKEN)
        if i < len(pair_ranks):
            pair_ranks[i] = rank_of(token[bounds[i] : bounds[i + 2]], _NO_TOKEN)
    return token[: bounds[1]], token[bounds[1] :]


def _is_text(token: bytes) -> bool:
    try:
        token.decode()
    except UnicodeDecodeError:
        return False
    return True
