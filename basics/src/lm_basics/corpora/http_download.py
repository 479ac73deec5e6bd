"""A large file over HTTP, which survives a broken connection and a killed process.

The bytes go to ``<name>.partial``. Whatever ends a transfer, the next one asks for the rest
(``Range``), on condition that the server still has the same version of the file (``If-Range`` with
its ``ETag``); a server that cannot or will not sends all of it, and the file begins anew
(RFC 9110, sections 13.1.5 and 14). The whole is compared with the size and the SHA-256 that the
server announced, and the SHA-256 is written beside it.
"""

import errno
import logging
import os
import shutil
import socket
import ssl
import time
import urllib.error
from collections.abc import Callable
from pathlib import Path

from lm_basics.corpora.checksum_file import check_record, record_checksum
from lm_basics.corpora.http_request import NETWORK_ERRORS, Answer, request_file
from lm_basics.corpora.partial_download import PartialDownload, Source
from lm_shared.files import hash_file

logger = logging.getLogger(__name__)

Report = Callable[[int, int], None]
"""Told how many bytes of how many are there; 0 of these where nobody knows."""

_BLOCK_BYTES = 1 << 20
_FIRST_WAIT_S = 1.0
_LONGEST_WAIT_S = 60.0
_RANGE_NOT_SATISFIABLE = 416
_ABSENT = (404, 410)
# Too early, too many requests, and the errors of servers: another time it may work.
_PASSING = (408, 425, 429, 500, 502, 503, 504)


def download_file(
    url: str,
    path: Path,
    *,
    sha256: str | None = None,
    max_failures: int = 8,
    timeout_s: float = 30.0,
    wait: Callable[[float], None] = time.sleep,
    report: Report | None = None,
) -> str:
    """Download ``url`` to ``path`` and return its SHA-256; go on where an earlier call ended.

    A file that is there with the SHA-256 recorded beside it is not asked for again.

    Args:
        url: Address, http or https.
        path: Where the file goes.
        sha256: What it must be; None where nobody but the server knows.
        max_failures: Failures in a row, without a byte in between, that end it.
        timeout_s: Longest silence of the server.
        wait: Called with seconds between two failures.
        report: Told of the progress.

    Raises:
        FileNotFoundError: The server has no such file.
        ConnectionError: It did not work, for now; what has come is kept.
        ValueError: The file is not the one that it should be, or the address no address.
        OSError: The disk is full, or the server refuses.
    """
    if not url.startswith(("http://", "https://")):
        raise ValueError(f"expected an address that begins with http:// or https://, got {url!r}")
    if recorded := check_record(path):
        return _check(path, recorded, sha256)
    partial = PartialDownload(path)
    source = _fetch(url, partial, max_failures, timeout_s, wait, report or _tell_nobody)
    found = hash_file(partial.path)
    try:
        _check(path, found, sha256 or source.sha256)
    except ValueError:
        # To go on with it would give the same file again.
        partial.remove()
        raise
    partial.finish(path)
    return record_checksum(path, found)


class _InterruptedError(Exception):
    """A transfer ended before the file did, and another may do better."""

    def __init__(
        self, reason: str, retry_after_s: float = 0.0, *, is_unreachable: bool = False
    ) -> None:
        super().__init__(reason)
        self.retry_after_s = retry_after_s
        self.is_unreachable = is_unreachable


def _fetch(
    url: str,
    partial: PartialDownload,
    max_failures: int,
    timeout_s: float,
    wait: Callable[[float], None],
    report: Report,
) -> Source:
    """Transfer until all is there and return what it is."""
    failures, most = 0, partial.num_bytes()
    while True:
        try:
            return _transfer(url, partial, timeout_s, report)
        except _InterruptedError as error:
            num_bytes = partial.num_bytes()
            failures = 1 if num_bytes > most else failures + 1
            most = max(most, num_bytes)
            # Where nobody answers for a file that has not begun, waiting is of no help.
            is_hopeless = error.is_unreachable and not num_bytes
            if failures >= (min(3, max_failures) if is_hopeless else max_failures):
                kept = f"; {num_bytes / 1e6:.1f} MB are kept in {partial.path}" if num_bytes else ""
                raise ConnectionError(
                    f"{url}: gave up after {failures} failures in a row, the last one: "
                    f"{error}{kept}; run the same command again later"
                ) from error
            pause_s = max(_FIRST_WAIT_S * 2 ** (failures - 1), error.retry_after_s)
            pause_s = min(pause_s, _LONGEST_WAIT_S)
            place = f", from {num_bytes / 1e6:.1f} MB on" if num_bytes else ""
            logger.warning("%s: %s; trying again in %g s%s", url, error, pause_s, place)
            wait(pause_s)


def _transfer(url: str, partial: PartialDownload, timeout_s: float, report: Report) -> Source:
    """Make one request, append what comes, and return what it is once all is there."""
    source = partial.source(url)
    done = 0 if source is None else partial.num_bytes()
    if source is not None and source.num_bytes == done:
        return source
    answer = _ask(url, partial, done, source, timeout_s)
    with answer.stream:
        if answer.first == 0 or source is None:
            source, done = answer.source, 0
            partial.begin(source)
        elif not _is_same(answer.source, source):
            partial.remove()
            raise _InterruptedError("the file on the server has changed")
        if source.num_bytes is not None:
            _check_space(partial.path, source.num_bytes - done)
        report(done, source.num_bytes or 0)
        with partial.path.open("ab") as file:
            while block := _read(answer):
                file.write(block)
                done += len(block)
                report(done, source.num_bytes or 0)
            file.flush()
            os.fsync(file.fileno())
    if source.num_bytes is not None and done != source.num_bytes:
        raise _InterruptedError(
            f"the connection ended after {done:,} of {source.num_bytes:,} bytes"
        )
    return source


def _ask(
    url: str, partial: PartialDownload, first: int, source: Source | None, timeout_s: float
) -> Answer:
    """Make the request, and sort errors into those that may pass and the others."""
    try:
        return request_file(url, first=first, source=source, timeout_s=timeout_s)
    except urllib.error.HTTPError as error:
        with error:
            answer = f"the server answers {error.code} {error.reason}"
            if error.code == _RANGE_NOT_SATISFIABLE and first:
                partial.remove()
                raise _InterruptedError(f"{answer}: the file has changed") from error
            if error.code in _PASSING:
                raise _InterruptedError(answer, _retry_after(error)) from error
            kind = FileNotFoundError if error.code in _ABSENT else OSError
            raise kind(f"{url}: {answer}") from error
    except NETWORK_ERRORS as error:
        reason = getattr(error, "reason", error)
        if isinstance(reason, ssl.SSLCertVerificationError):
            raise ConnectionError(f"{url}: {reason}") from error
        raise _InterruptedError(
            f"{type(error).__name__}: {reason}",
            is_unreachable=isinstance(reason, socket.gaierror | ConnectionRefusedError),
        ) from error


def _read(answer: Answer) -> bytes:
    """Return the bytes that have come, none at the end."""
    try:
        # Not read(): it would wait for a whole block, and lose it where the connection breaks.
        return answer.stream.read1(_BLOCK_BYTES)
    except NETWORK_ERRORS as error:
        raise _InterruptedError(f"{type(error).__name__}: {error}") from error


def _is_same(now: Source, before: Source) -> bool:
    """Tell whether the rest that the server sends belongs to the bytes that are there."""
    return all(
        one is None or other is None or one == other
        for one, other in (
            (now.etag, before.etag),
            (now.num_bytes, before.num_bytes),
            (now.sha256, before.sha256),
        )
    )


def _retry_after(error: urllib.error.HTTPError) -> float:
    """Return the seconds that the server asks to wait; of a date instead, 0."""
    value = error.headers.get("Retry-After", "")
    return float(value) if value.isdigit() else 0.0


def _check_space(path: Path, num_bytes: int) -> None:
    free = shutil.disk_usage(path.parent).free
    if free < num_bytes:
        raise OSError(
            errno.ENOSPC,
            f"{os.strerror(errno.ENOSPC)}: {num_bytes / 1e9:.3f} GB are still to come, and "
            f"{free / 1e9:.3f} GB are free",
            str(path.parent),
        )


def _check(path: Path, found: str, expected: str | None) -> str:
    """Return the SHA-256 that was found, if it is the expected one."""
    if expected is not None and found != expected:
        raise ValueError(
            f"{path} has the SHA-256 {found}, expected {expected}: it was damaged on the way or "
            "replaced, and is not kept; run the same command again"
        )
    return found


def _tell_nobody(done: int, total: int) -> None:
    """Stand in for a report that nobody wants."""
