"""The words of a corpus, counted by several threads."""

from collections import deque
from collections.abc import Collection, Iterable

from lm_basics.tokenizer.corpus import Block, OnInvalid
from lm_basics.tokenizer.fast.counting import WordCounts
from lm_basics.tokenizer.fast.segments import SpecialTokenFinder
from lm_basics.tokenizer.fast.threads import map_in_order
from lm_basics.tokenizer.kernels import kernel

Documents = list[str]
"""Texts that no pre-token crosses the limits of."""


class CorpusCounter:
    """Counts the words of blocks of files and of documents.

    Every thread has counts of its own, so memory grows with the distinct words times the threads.
    """

    def __init__(
        self, special_tokens: Collection[str], *, kernel_pattern: int, on_invalid: OnInvalid
    ) -> None:
        self._finder = SpecialTokenFinder(special_tokens)
        self._kernel_pattern = kernel_pattern
        self._on_invalid: OnInvalid = on_invalid
        self._idle: deque[WordCounts] = deque()

    def count(self, parts: Iterable[Block | Documents], num_threads: int) -> Iterable[int]:
        """Count all parts, and yield the bytes of each as it is done."""
        return map_in_order(self._count_part, parts, num_threads)

    def total(self) -> WordCounts:
        """Return the counts of all threads together, and forget them."""
        total = self._idle.popleft() if self._idle else WordCounts(self._kernel_pattern)
        while self._idle:
            total.add(self._idle.popleft())
        return total

    def _count_part(self, part: Block | Documents) -> int:
        try:
            counts = self._idle.pop()
        except IndexError:
            counts = WordCounts(self._kernel_pattern)
        size = (
            self._count_block(part, counts)
            if isinstance(part, Block)
            else self._count_documents(part, counts)
        )
        self._idle.append(counts)
        return size

    def _count_block(self, block: Block, counts: WordCounts) -> int:
        data, size = block.data, len(block.data)
        if kernel("utf8:find_invalid_utf8")(data, 0, size) < size:
            data = block.text(self._on_invalid).encode()
        segments = self._finder.split([data])
        counts.count(data, segments.starts, segments.ends)
        return size

    def _count_documents(self, texts: Documents, counts: WordCounts) -> int:
        documents = [text.encode() for text in texts]
        segments = self._finder.split(documents)
        data = b"".join(documents)
        counts.count(data, segments.starts, segments.ends)
        return len(data)
