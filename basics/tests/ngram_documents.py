"""Documents of token ids for the tests of n-gram models."""

import numpy as np
from hypothesis import strategies as st

DOCUMENTS = st.lists(st.lists(st.integers(0, 4), max_size=30), min_size=1, max_size=5)
"""Few documents of few words."""


def join_documents(documents: list[list[int]]) -> tuple[np.ndarray, np.ndarray]:
    """Return the tokens of all documents and the position of each one's first."""
    lengths = [len(document) for document in documents]
    tokens = np.array([token for document in documents for token in document], dtype=np.uint16)
    return tokens, np.cumsum([0, *lengths])[:-1]


def zipf_documents(num_documents: int, vocab_size: int, seed: int) -> list[list[int]]:
    """Return documents of a first-order Markov chain with few frequent words."""
    generator = np.random.default_rng(seed)
    successors = generator.permuted(np.tile(np.arange(vocab_size), (vocab_size, 1)), axis=1)
    documents = []
    for length in generator.integers(1, 60, num_documents):
        document = [0]
        for rank in np.minimum(generator.zipf(1.6, length), vocab_size) - 1:
            document.append(int(successors[document[-1], rank]))
        documents.append(document)
    return documents
