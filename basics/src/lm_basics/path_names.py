"""Short names for paths that stand side by side in a table or a figure."""

from collections.abc import Sequence
from pathlib import Path


def distinct_names(paths: Sequence[Path]) -> list[str]:
    """Return as many of the last parts of each path as tell all of them apart."""
    for num_parts in range(1, max((len(path.parts) for path in paths), default=0)):
        names = [str(Path(*path.parts[-num_parts:])) for path in paths]
        if len(set(names)) == len(set(paths)):
            return names
    return [str(path) for path in paths]
