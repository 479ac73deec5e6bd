"""The check that stands before a folder is replaced: it must be the tool's own, and no input."""

from collections.abc import Iterable
from pathlib import Path


def check_output_folder(folder: Path | str, marker: str, inputs: Iterable[Path] = ()) -> Path:
    """Return the absolute path of a folder that may be replaced as a whole.

    Args:
        folder: Where the output goes.
        marker: Name of a file that every output of the tool holds; a folder with other content
            and without it is somebody else's.
        inputs: Files that the output is made from.

    Raises:
        ValueError: The folder is the working folder or contains it, contains an input, or holds
            files without the marker.
    """
    path = Path(folder).resolve()
    if Path.cwd().is_relative_to(path):
        raise ValueError(f"the output folder {folder} holds the working folder: name another one")
    for source in inputs:
        # A link is an input in two places: where it stands and where it leads.
        places = (source.parent.resolve() / source.name, source.resolve())
        if any(place.is_relative_to(path) for place in places):
            raise ValueError(f"the output folder {folder} contains the input {source}")
    if path.is_dir() and any(path.iterdir()) and not (path / marker).is_file():
        raise ValueError(
            f"the output folder {folder} holds files but no {marker}: it is no earlier output, "
            "so it is not replaced"
        )
    return path
