"""Parts of files turned into ids, each for itself, so that workers can share them."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lm_basics.tokenizer.bpe import Tokenizer
from lm_basics.tokenizer.texts import Block, OnInvalid, Part


@dataclass(frozen=True, kw_only=True, slots=True)
class EncodedPart:
    """The ids of a part; what its neighbours decide about documents is left to the reader."""

    ids: NDArray[np.unsignedinteger]
    """Of the text, with an end-of-text token behind each document that ends behind its text."""
    document_ends: NDArray[np.int64]
    """How many ids there are up to the end of each of these documents."""
    num_bytes: int
    """UTF-8 bytes of the text."""
    begins_with_end: bool
    """Whether a document of the part before, if it is open, ends before this text."""
    is_open: bool
    """Whether the last text belongs to a document that may go on in the next part."""
    file_index: int
    """See ``Part``."""
    position: int
    """See ``Part``."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PartEncoder:
    """Encodes parts; may be used by several threads at once, or pickled for other processes."""

    tokenizer: Tokenizer
    """Text to ids."""
    separator: str
    """Stands between the documents of a text file, and is removed."""
    end_of_text: str
    """The special token behind each document."""
    on_invalid: OnInvalid
    """What happens to bytes that are not UTF-8."""

    def encode(self, part: Part) -> EncodedPart:
        """Return the ids of a part.

        Raises:
            ValueError: a byte is not UTF-8; the message holds its position in the file.
        """
        content, separator = part.content, self.separator.encode()
        if not isinstance(content, Block):
            return self._encode_documents(part, content)
        try:
            return self._encode_pieces(part, content.data.split(separator))
        except UnicodeDecodeError:
            # The block knows where in the file it stands, and raises unless bytes are replaced.
            data = content.text(self.on_invalid).encode()
            return self._encode_pieces(part, data.split(separator))

    def _encode_pieces(self, part: Part, pieces: list[bytes]) -> EncodedPart:
        """Encode what stands between separators; empty documents are skipped."""
        return self._encode_documents(
            part,
            [piece for piece in pieces if piece],
            begins_with_end=len(pieces) > 1 and not pieces[0],
            is_open=bool(pieces[-1]),
        )

    def _encode_documents(
        self,
        part: Part,
        documents: list[bytes],
        *,
        begins_with_end: bool = False,
        is_open: bool = False,
    ) -> EncodedPart:
        ids, ends = self.tokenizer.encode_utf8_documents(documents, end_of_text=self.end_of_text)
        if is_open:
            ids, ends = ids[:-1], ends[:-1]
        return EncodedPart(
            ids=ids,
            document_ends=ends,
            num_bytes=sum(map(len, documents)),
            begins_with_end=begins_with_end,
            is_open=is_open,
            file_index=part.file_index,
            position=part.position,
        )
