"""Plain, slow, obviously right versions of what the unit computes fast."""

import re
import unicodedata
from collections import Counter
from itertools import combinations


def normalize(text):
    decomposed = unicodedata.normalize("NFD", text.lower())
    letters = "".join(c for c in decomposed if not unicodedata.combining(c))
    return " ".join(re.sub(r"[^\w\s]|_", " ", re.sub("['`\u2019]", "", letters)).split())


def shingles(text, size):
    words = normalize(text).split()
    size = min(size, len(words))
    return {tuple(words[i : i + size]) for i in range(len(words) - size + 1)} if size else set()


def jaccard(first, second):
    return len(first & second) / len(first | second) if first | second else 0.0


def clusters(texts, size, threshold):
    """Connected components of the graph of all pairs at or above the threshold."""
    sets = [shingles(text, size) for text in texts]
    label = list(range(len(texts)))
    for i, j in combinations(range(len(texts)), 2):
        if jaccard(sets[i], sets[j]) >= threshold:
            label = [label[i] if other == label[j] else other for other in label]
    groups = {}
    for place, name in enumerate(label):
        groups.setdefault(name, []).append(place)
    return sorted(group for group in groups.values() if len(group) > 1)


def unique_lines(files):
    """Contents of files without the lines that occur more than once in all of them."""
    counts = Counter(line.rstrip("\n") for text in files for line in text.splitlines(keepends=True))
    return [
        "".join(line for line in text.splitlines(keepends=True) if counts[line.rstrip("\n")] == 1)
        for text in files
    ]
