"""Atomic file writes: a reader sees the old content or the new, never a half.

New content goes to a temporary sibling, is forced to the disk, and takes the final name in one
rename. A process that is killed leaves only a sibling named
``.<name>.partial-<machine>-<process>-<token>``; the next write to the same path removes it.
"""

import errno
import fcntl
import hashlib
import json
import os
import platform
import reprlib
import secrets
import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

_MACHINE = hashlib.sha256(platform.node().encode()).hexdigest()[:6]
# Tells this process from an earlier one that had the same number, as in a restarted container.
_TOKEN = secrets.token_hex(4)
# What the two functions below leave when they are killed.
_LEFTOVERS = (".*.partial-*", ".*.replaced")


def resolve_path(path: Path | str) -> Path:
    """Return the absolute path without links.

    Raises:
        OSError: a link leads to itself. Of Python's own function that is a ``RuntimeError``, or
            none, by its version.
    """
    path = Path(path)
    try:
        path.stat()
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise
    return path.resolve()


@contextmanager
def atomic_path(path: Path | str) -> Iterator[Path]:
    """Yield a temporary sibling to write to; it becomes ``path`` if the block succeeds.

    The sibling keeps the suffix of ``path``, because some writers choose their format by it.
    Missing parent folders are made. Of a link, the file that it leads to is replaced.

    Raises:
        FileNotFoundError: the block wrote nothing to the temporary path.
    """
    path = Path(path)
    if path.is_symlink():
        path = resolve_path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    _remove_stale(path)
    temporary = _temporary_sibling(path)
    try:
        yield temporary
        if not temporary.is_file():
            raise FileNotFoundError(f"{path}: nothing was written to {temporary.name}")
        _sync(temporary)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    # The new name is an entry of the folder, which has to reach the disk as well.
    _sync(path.parent)


@contextmanager
def atomic_folder(path: Path | str) -> Iterator[Path]:
    """Yield an empty temporary folder to fill; it replaces the folder ``path`` as a whole.

    No file system renames a folder over a full one, so the old folder steps aside first. A
    process that is killed between the two renames leaves it at ``.<name>.replaced``, and the next
    call puts it back. Of a link, the folder that it leads to is replaced.

    Raises:
        NotADirectoryError: ``path`` is a file.
    """
    path = resolve_path(path)
    if path.exists() and not path.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, "a file stands where a folder should go", str(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    _remove_stale(path)
    replaced = path.with_name(f".{path.name}.replaced")
    if replaced.exists() and not path.exists():
        replaced.rename(path)
    temporary = _temporary_sibling(path)
    temporary.mkdir()
    try:
        yield temporary
        # Before the renames: a folder must not appear whole while its files are still in memory.
        for file_path in temporary.rglob("*"):
            _sync(file_path)
        _sync(temporary)
        shutil.rmtree(replaced, ignore_errors=True)
        if path.exists():
            path.rename(replaced)
        temporary.rename(path)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    _sync(path.parent)
    shutil.rmtree(replaced, ignore_errors=True)


def claim_file(
    path: Path | str, *, overwrite: bool = False, inputs: Iterable[Path | None] = ()
) -> Path:
    """Return the path of a file that may be written: nothing else is lost by it.

    Args:
        path: Where the output goes.
        overwrite: Whether an earlier file may be replaced.
        inputs: Files that the output is made from; None stands for one that is not there.

    Raises:
        ValueError: there is a file with content, or a folder, a device or a pipe, a parent is a
            file, or the path is an input.
    """
    path = Path(path)
    _require_folders(path.parents)
    places = set(_places(path))
    for source in inputs:
        if source is not None and not places.isdisjoint(_places(source)):
            raise ValueError(f"the output {path} would replace the input {source}")
    if path.is_dir():
        raise ValueError(f"{path} is a folder, expected a file to write")
    if path.exists() and not path.is_file():
        raise ValueError(f"{path} is no regular file, expected a file to write")
    if path.is_file() and path.stat().st_size > 0 and not overwrite:
        raise ValueError(f"{path} exists: --overwrite replaces it, or choose another --output")
    return path


def claim_folder(
    path: Path | str,
    kind: str,
    *,
    parts: Sequence[str] = (),
    markers: Sequence[str | tuple[str, ...]] = (),
    contents: Sequence[str] = (),
    default: Path | None = None,
    overwrite: bool = False,
    inputs: Iterable[Path] = (),
) -> Path:
    """Return the absolute path of a folder that may be filled, or replaced as a whole.

    That is one which is not there or empty, and with ``overwrite`` one of the same kind. What
    holds anything else is never replaced: that may be a mistyped name. Hidden files count as well,
    but for those that unfinished writes leave.

    Args:
        path: Where the output goes.
        kind: What it is, with its article: ``a model``.
        parts: Patterns of names; a folder that holds nothing else is of this kind.
        markers: Names of files that tell a folder of this kind; of a tuple one is enough.
        contents: Patterns of names that stand beside these files.
        default: Where what is looked at goes unless somebody names another place: an earlier look
            there is replaced as if by ``overwrite``.
        overwrite: Whether an earlier one may be replaced, or this call goes on with it.
        inputs: Files that the output is made from.

    Raises:
        ValueError: there is something already, or the folder holds the working folder or an input.
    """
    folder = resolve_path(path)
    _require_folders((folder, *folder.parents))
    if Path.cwd().is_relative_to(folder):
        raise ValueError(f"the output folder {path} holds the working folder: name another one")
    for source in inputs:
        if any(place.is_relative_to(folder) for place in _places(source)):
            raise ValueError(f"the output folder {path} contains the input {source}")
    names = sorted(one.name for one in folder.iterdir()) if folder.exists() else []
    names = [name for name in names if not _matches(name, _LEFTOVERS)]
    choices = [(one,) if isinstance(one, str) else one for one in markers]
    known = [*parts]
    if choices and all(any((folder / name).is_file() for name in one) for one in choices):
        known += [*contents, *(name for one in choices for name in one)]
    foreign = [name for name in names if not _matches(name, known)]
    # What no folder of this kind holds says more than a marker that is alone.
    foreign.sort(key=lambda name: _matches(name, contents))
    if foreign:
        raise ValueError(
            f"{path} holds {foreign[0]} and is not {kind}: nothing is replaced, choose another "
            "--output"
        )
    if names and not overwrite and path != default:
        raise ValueError(
            f"{path} is {kind} already: --overwrite replaces it, or choose another --output"
        )
    return folder


def clear_folder(path: Path | str, names: Sequence[str]) -> None:
    """Remove what a folder holds by names of these patterns, and nothing else.

    Raises:
        ValueError: another process works in it.
    """
    with lock_folder(path):
        for one in [*Path(path).iterdir()]:
            if not _matches(one.name, names):
                continue
            if one.is_dir() and not one.is_symlink():
                shutil.rmtree(one)
            else:
                one.unlink()


def _matches(name: str, patterns: Iterable[str]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def _places(path: Path) -> tuple[Path, Path]:
    """Return where a path stands and where it leads: of a link these are two."""
    return resolve_path(path.parent) / path.name, resolve_path(path)


def _require_folders(places: Iterable[Path]) -> None:
    for place in places:
        if place.exists() and not place.is_dir():
            raise ValueError(f"{place} is a file, expected a folder to write to")


@contextmanager
def lock_folder(path: Path | str) -> Iterator[None]:
    """Keep a folder, made if it is missing, for this process alone while the block runs.

    The lock goes with the process, however that ends. File systems without locks grant it always.

    Raises:
        ValueError: another process holds it.
    """
    path = Path(path)
    path.mkdir(parents=True, exist_ok=True)
    handle = os.open(path, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(handle)
        raise ValueError(
            f"another process works in {path}: wait for it, end it, or choose another folder"
        ) from error
    except OSError:
        pass
    try:
        yield
    finally:
        os.close(handle)


def write_bytes(path: Path | str, data: bytes) -> None:
    """Write ``data`` atomically."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(data)


def write_text(path: Path | str, text: str) -> None:
    """Write ``text`` atomically as UTF-8, newlines unchanged."""
    write_bytes(path, text.encode())


def replace_between(path: Path | str, begin: str, end: str, content: str) -> None:
    """Replace what stands between two markers of a text file, such as a table in a README.

    Raises:
        ValueError: a marker is not there exactly once, or they stand in the other order.
    """
    text = Path(path).read_text(encoding="utf-8")
    before, _, rest = text.partition(begin)
    _, _, after = rest.partition(end)
    if text.count(begin) != 1 or text.count(end) != 1 or end not in rest:
        raise ValueError(f"{path} must hold {begin} and {end} once each, in this order")
    write_text(path, f"{before}{begin}{content}{end}{after}")


def write_json(path: Path | str, value: Any) -> None:
    """Write ``value`` atomically as indented JSON.

    Raises:
        ValueError: a number is not finite: JSON has no form for it.
        TypeError: ``value`` holds something that JSON cannot.
    """
    try:
        text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    write_text(path, text + "\n")


def read_json(path: Path | str) -> Any:
    """Read a JSON file.

    Raises:
        ValueError: the file is damaged: not UTF-8, not JSON, or an object names a key twice.
        FileNotFoundError: there is no such file.
    """
    try:
        return json.loads(
            Path(path).read_bytes(),
            object_pairs_hook=_unique_keys,
            parse_constant=_refuse_constant,
        )
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is damaged or no JSON file: {error}") from error


def read_json_lines(path: Path | str) -> list[tuple[bytes, dict[str, Any] | None]]:
    """Return the lines of a file, each with its JSON object, or with None where it holds none.

    A last line without its newline was cut off by a kill, so it counts as damaged. A file that is
    not there has no lines.
    """
    path = Path(path)
    lines = path.read_bytes().splitlines(keepends=True) if path.exists() else []
    return [(line, _json_object(line)) for line in lines]


def parse_json_object(line: bytes) -> dict[str, Any]:
    """Return the object that a line of JSON holds.

    Raises:
        ValueError: it is not UTF-8, not JSON, or no object, or an object names a key twice.
    """
    try:
        record = json.loads(
            line.decode("utf-8-sig"),
            object_pairs_hook=_unique_keys,
            parse_constant=_refuse_constant,
        )
    except UnicodeDecodeError as error:
        raise ValueError(f"byte {error.start + 1} is not UTF-8") from error
    except json.JSONDecodeError as error:
        raise ValueError(f"no JSON: {error.msg} at character {error.colno}") from error
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    if not isinstance(record, dict):
        raise ValueError(f"expected an object in braces, got {reprlib.repr(record)}")
    return record


def hash_file(path: Path | str) -> str:
    """Return the SHA-256 of a file's content in hex."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def hash_files(paths: Iterable[Path | str]) -> str:
    """Return the SHA-256 of several files in their order; a folder stands for all it holds.

    The paths themselves do not count, only the names inside of a folder: moved data keeps its hash.
    """
    digest = hashlib.sha256()
    for path in map(Path, paths):
        if path.is_dir():
            for member in sorted(member for member in path.rglob("*") if member.is_file()):
                digest.update(
                    f"{member.relative_to(path).as_posix()}\0{hash_file(member)}\n".encode()
                )
        else:
            digest.update(f"{hash_file(path)}\n".encode())
    return digest.hexdigest()


def _temporary_sibling(path: Path) -> Path:
    unique = f"{_MACHINE}-{os.getpid()}-{_TOKEN}{secrets.token_hex(2)}"
    return path.with_name(f".{path.stem}.partial-{unique}{path.suffix}")


def _remove_stale(path: Path) -> None:
    """Remove what dead processes of this machine left of earlier writes to ``path``."""
    prefix = f".{path.stem}.partial-{_MACHINE}-"
    for sibling in path.parent.iterdir():
        name = sibling.name
        if not (name.startswith(prefix) and name.endswith(path.suffix)):
            continue
        process_id, _, token = name.removeprefix(prefix).partition("-")
        if process_id.isdigit() and not _is_writing(int(process_id), token):
            if sibling.is_dir():
                shutil.rmtree(sibling, ignore_errors=True)
            else:
                sibling.unlink(missing_ok=True)


def _is_writing(process_id: int, token: str) -> bool:
    if process_id == os.getpid():
        return token.startswith(_TOKEN)
    try:
        os.kill(process_id, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        # It lives, and belongs to another user.
        return True
    return True


def _sync(path: Path) -> None:
    """Force a file's content, or a folder's list of names, to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _json_object(line: bytes) -> dict[str, Any] | None:
    if not line.endswith(b"\n"):
        return None
    try:
        return parse_json_object(line)
    except ValueError:
        return None


def _unique_keys(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise ValueError(f"the key {key!r} appears twice")
            seen.add(key)
    return found


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not a JSON number")
