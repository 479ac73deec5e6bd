"""One measurement of one tokenizer, in a process of its own.

``bench_tokenizer.py`` starts this file with a task, a contender and the paths, as JSON, and reads
one line of JSON back. Every contender does the same work on the same bytes; ``digest`` is a hash of
what came out, in a form that is the same for all. Importing, loading the tokenizer and a first call
on a short text are start-up: they are measured apart.
"""

import hashlib
import json
import os
import resource
import string
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from importlib import import_module
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from lm_shared.receipt import peak_bytes

SPECIAL = "<|endoftext|>"
SHORT_TEXT = "The quick brown fox jumps over the lazy dog, doesn't it? 42"[:57]
GPT2_PATTERN = r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"

Job = dict[str, Any]
Measured = dict[str, Any]


def time_call(call: Callable[[], Any]) -> tuple[Any, Measured]:
    """Return the result of a call, and the wall time and processor time that it took."""
    usage = _processor_s()
    start = time.perf_counter()
    result = call()
    wall_s = time.perf_counter() - start
    return result, {"wall_s": wall_s, "processor_s": _processor_s() - usage}


def hash_merges(merges: Iterable[tuple[bytes, bytes]]) -> str:
    """Return a hash of merges in their order."""
    text = "\n".join(f"{left.hex()} {right.hex()}" for left, right in merges)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def hash_ids(ids: Iterable[Any]) -> str:
    """Return a hash of the ids of several documents, joined."""
    digest = hashlib.sha256()
    for document in ids:
        digest.update(np.asarray(document, dtype=np.uint32).tobytes())
    return digest.hexdigest()[:16]


def read_documents(path: str) -> list[str]:
    """Return the documents of a corpus; each but the first begins with a line end."""
    return Path(path).read_bytes().decode().split(SPECIAL)


def train(job: Job) -> Measured:
    """Train on a file: pre-tokens of GPT-2, documents apart, ties for the smaller pair of ids."""
    contender, path, size = job["contender"], job["corpus"], job["vocab_size"]
    if contender == "ours":
        from lm_basics.tokenizer import train_bpe
        from lm_basics.tokenizer.kernels import KERNELS

        KERNELS.load()
        result, measured = time_call(
            lambda: train_bpe(path, size, [SPECIAL], tie_breaking="smaller_id")
        )
        merges = result[1]
    elif contender == "gigabpe":
        gigabpe = import_module("gigabpe")

        result, measured = time_call(
            lambda: gigabpe.train_bpe(
                [path], size, special_tokens=[SPECIAL], pretokenizer="bytelevel"
            )
        )
        merges = [(_from_visible(left), _from_visible(right)) for left, right in result[1]]
    elif contender == "rustbpe":
        rustbpe = import_module("rustbpe")

        documents = read_documents(path)
        peer = rustbpe.Tokenizer()
        _, measured = time_call(
            lambda: peer.train_from_iterator(iter(documents), size - 1, pattern=GPT2_PATTERN)
        )
        merges = _merges_of_ranks(peer.get_mergeable_ranks())
    else:
        merges, measured = _train_tokenizers(path, size)
    return measured | {"digest": hash_merges(merges), "merges": len(merges)}


def train_process(job: Job) -> Measured:
    """Train and save; the caller times the whole process."""
    if job["contender"] == "ours":
        from lm_basics.tokenizer import Tokenizer, train_bpe

        vocab, merges = train_bpe(job["corpus"], job["vocab_size"], [SPECIAL])
        Tokenizer(vocab, merges, [SPECIAL]).save(job["output"])
        return {}
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    peer = Tokenizer(models.BPE())
    peer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    peer.train_from_iterator(
        read_documents(job["corpus"]),
        trainers.BpeTrainer(
            vocab_size=job["vocab_size"],
            special_tokens=[SPECIAL],
            initial_alphabet=alphabet,
            show_progress=False,
        ),
    )
    peer.save(job["output"] + ".json")
    return {}


def encode(job: Job) -> Measured:
    """Encode documents one by one in one thread, or all at once; then the same again, warm."""
    documents = read_documents(job["corpus"])
    encode_all, to_ids = _ENCODERS[job["contender"]](job["tokenizer"])
    encode_all([SHORT_TEXT])
    ids, cold = time_call(lambda: encode_all(documents))
    warm = [time_call(lambda: encode_all(documents))[1]["wall_s"] for _ in range(3)]
    num_bytes = sum(len(document.encode()) for document in documents)
    return cold | {"warm_wall_s": min(warm), "digest": hash_ids(to_ids(ids)), "bytes": num_bytes}


def decode(job: Job) -> Measured:
    """Decode the ids of a corpus, an array for us and a list for the peer, to bytes."""
    ours = _our_tokenizer(job["tokenizer"])
    documents = read_documents(job["corpus"])
    ids = np.concatenate([ours.encode_to_numpy(document) for document in documents])
    if job["contender"] == "ours":
        decoded = ours.decode_bytes
        given: Any = ids
    elif job["contender"] == "ours, from a list":
        decoded, given = ours.decode_bytes, ids.tolist()
    else:
        decoded, given = _tiktoken(job["tokenizer"]).decode_bytes, ids.tolist()
    decoded(given[:1000])
    data, measured = time_call(lambda: decoded(given))
    return measured | {"digest": hashlib.sha256(data).hexdigest()[:16], "bytes": len(data)}


def short_text(job: Job) -> Measured:
    """Encode one line many times."""
    if job["contender"] == "ours":
        encode_text = _our_tokenizer(job["tokenizer"]).encode
    else:
        encode_text = _tiktoken(job["tokenizer"]).encode_ordinary
    repeats = 20_000
    ids = encode_text(SHORT_TEXT)
    _, measured = time_call(lambda: [encode_text(SHORT_TEXT) for _ in range(repeats)])
    return measured | {"digest": hash_ids([ids]), "us_per_text": measured["wall_s"] / repeats * 1e6}


def stream(job: Job) -> Measured:
    """Encode a gigabyte through ``encode_iterable``; the memory above the idle process."""
    tokenizer = _our_tokenizer(job["tokenizer"])
    tokenizer.encode("warm " * 100_000)
    idle_kib = resident_kib()
    num_ids = 0
    peak_kib = idle_kib
    start = time.perf_counter()
    for _ in tokenizer.encode_iterable(_pieces(job["corpus"], job["bytes"])):
        num_ids += 1
        if num_ids % 1_000_000 == 0:
            peak_kib = max(peak_kib, resident_kib())
    return {
        "wall_s": time.perf_counter() - start,
        "ids": num_ids,
        "growth_mb": (peak_kib - idle_kib) / 1000,
    }


def train_stream(job: Job) -> Measured:
    """Train on a corpus many times as large as its file, with as many times the distinct words.

    Each time round every letter is replaced by a later one of the alphabet, which makes new words;
    real text of that size has far fewer.
    """
    from lm_basics.tokenizer import train_bpe_from_texts

    lines = (line for shift in range(job["times"]) for line in _shifted(job["corpus"], shift))
    _, measured = time_call(lambda: train_bpe_from_texts(lines, job["vocab_size"], [SPECIAL]))
    return measured | {"bytes": job["times"] * Path(job["corpus"]).stat().st_size}


def _shifted(path: str, shift: int) -> Iterator[str]:
    """Yield the lines of a corpus with other letters, so that none of them stays in memory."""
    letters = _shift_letters(shift)
    with Path(path).open("rb") as file:
        for line in file:
            yield line.translate(letters).decode()


def _shift_letters(shift: int) -> bytes:
    """Return a table of bytes for ``bytes.translate``."""
    table = bytearray(range(256))
    for letters in (string.ascii_lowercase, string.ascii_uppercase):
        for index, letter in enumerate(letters):
            table[ord(letter)] = ord(letters[(index + shift) % len(letters)])
    return bytes(table)


def _pieces(path: str, num_bytes: int) -> Iterator[str]:
    """Yield pieces of a file, again and again, until they have so many bytes."""
    while num_bytes > 0:
        with Path(path).open(encoding="utf-8", newline="") as file:
            while num_bytes > 0 and (piece := file.read(1 << 16)):
                yield piece
                num_bytes -= len(piece.encode())


def _our_tokenizer(folder: str) -> Any:
    """Return our tokenizer with its tables loaded."""
    from lm_basics.tokenizer import Tokenizer
    from lm_basics.tokenizer.tokenizer_json import read_tokenizer_folder

    tables = read_tokenizer_folder(Path(folder))
    specials = list(tables.special_token_ids)
    return Tokenizer(tables.vocab, tables.merges, specials, implementation="fast")


def _tiktoken(folder: str) -> Any:
    import tiktoken

    ours = _our_tokenizer(folder)
    ids = ours.special_token_ids
    ranks = {token: i for i, token in ours.vocab.items() if i not in ids.values()}
    return tiktoken.Encoding(
        "bench", pat_str=ours.pattern, mergeable_ranks=ranks, special_tokens=ids
    )


Encoder = tuple[Callable[[Sequence[str]], Any], Callable[[Any], Iterable[Any]]]
"""Encodes documents, and turns what came out into one sequence of ids a document."""


def _encode_ours_to_arrays(folder: str) -> Encoder:
    encode_text = _our_tokenizer(folder).encode_to_numpy
    return lambda documents: [encode_text(document) for document in documents], list


def _encode_ours_to_lists(folder: str) -> Encoder:
    encode_text = _our_tokenizer(folder).encode
    return lambda documents: [encode_text(document) for document in documents], list


def _encode_ours_in_threads(folder: str) -> Encoder:
    return _our_tokenizer(folder).encode_batch_to_numpy, list


def _encode_tiktoken_to_arrays(folder: str) -> Encoder:
    encode_text = _tiktoken(folder).encode_to_numpy
    return (
        lambda documents: [encode_text(text, disallowed_special=()) for text in documents],
        list,
    )


def _encode_tiktoken_to_lists(folder: str) -> Encoder:
    encode_text = _tiktoken(folder).encode_ordinary
    return lambda documents: [encode_text(document) for document in documents], list


def _encode_gigatoken(folder: str) -> Encoder:
    gigatoken = import_module("gigatoken")

    encode_text = gigatoken.Tokenizer(f"{folder}/tokenizer.json").encode
    return lambda documents: [encode_text(document) for document in documents], list


def _encode_fastokens(folder: str) -> Encoder:
    fastokens = import_module("fastokens")

    encode_text = fastokens.Tokenizer.from_file(f"{folder}/tokenizer.json").encode
    return (
        lambda documents: [encode_text(document) for document in documents],
        lambda encodings: (encoding.ids for encoding in encodings),
    )


def _encode_snaptokens_in_threads(folder: str) -> Encoder:
    snaptokens = import_module("snaptokens")

    encode_batch = snaptokens.Tokenizer.from_file(f"{folder}/tokenizer.json").encode_batch
    return encode_batch, lambda encodings: (encoding.ids for encoding in encodings)


def _encode_tokenizers_in_threads(folder: str) -> Encoder:
    import tokenizers

    peer = tokenizers.Tokenizer.from_file(f"{folder}/tokenizer.json")
    return peer.encode_batch_fast, lambda encodings: (encoding.ids for encoding in encodings)


_ENCODERS: dict[str, Callable[[str], Encoder]] = {
    "ours": _encode_ours_to_arrays,
    "ours, lists": _encode_ours_to_lists,
    "ours, all cores": _encode_ours_in_threads,
    "tiktoken": _encode_tiktoken_to_arrays,
    "tiktoken, lists": _encode_tiktoken_to_lists,
    "gigatoken": _encode_gigatoken,
    "fastokens": _encode_fastokens,
    "snaptokens, all cores": _encode_snaptokens_in_threads,
    "tokenizers, all cores": _encode_tokenizers_in_threads,
}


def _train_tokenizers(path: str, size: int) -> tuple[list[tuple[bytes, bytes]], Measured]:
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    documents = read_documents(path)
    peer = Tokenizer(models.BPE())
    peer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        special_tokens=[SPECIAL],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    _, measured = time_call(lambda: peer.train_from_iterator(documents, trainer))
    merges = json.loads(peer.to_str())["model"]["merges"]
    return [(_from_visible(left), _from_visible(right)) for left, right in merges], measured


def _merges_of_ranks(ranks: Iterable[tuple[bytes, int]]) -> list[tuple[bytes, bytes]]:
    """Return the merge behind every token: the last step of merging its bytes by lower ranks."""
    by_token = {bytes(token): rank for token, rank in ranks}
    merges = []
    for token in sorted(by_token, key=by_token.__getitem__):
        if len(token) > 1:
            merges.append(_split_token(token, by_token))
    return merges


def _split_token(token: bytes, ranks: dict[bytes, int]) -> tuple[bytes, bytes]:
    parts = [bytes([byte]) for byte in token]
    while len(parts) > 2:
        joined = [ranks.get(left + right, len(ranks) * 2) for left, right in pairwise(parts)]
        place = joined.index(min(joined))
        parts[place : place + 2] = [parts[place] + parts[place + 1]]
    return parts[0], parts[1]


def _from_visible(text: str) -> bytes:
    from lm_basics.tokenizer.vocabulary import from_visible

    return from_visible(text)


def _processor_s() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def resident_kib() -> int:
    """Return the memory of this process that lies in RAM."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") // 1024


_TASKS: dict[str, Callable[[Job], Measured]] = {
    "train": train,
    "train_process": train_process,
    "encode": encode,
    "decode": decode,
    "short_text": short_text,
    "stream": stream,
    "train_stream": train_stream,
}


def _main() -> None:
    job = json.loads(sys.argv[1])
    measured = _TASKS[job["task"]](job)
    measured["peak_mb"] = peak_bytes() / 1e6
    print(json.dumps(measured))


if __name__ == "__main__":
    _main()
