"""``basics generate``: continue a text as it comes; ``systems generate`` does many at once."""

import contextlib
import logging
import sys
from collections.abc import Callable, Iterator
from logging.handlers import MemoryHandler
from typing import TYPE_CHECKING, Annotated

import tyro

from lm_basics.commands.generation_options import (
    Flag,
    GenerationOptions,
    print_heading,
    print_json,
    read_prompt,
)

if TYPE_CHECKING:
    from lm_basics.export import TextModel

with contextlib.suppress(ImportError):
    # Lets input() know the arrow keys, where Python was built with it.
    import readline  # noqa: F401

Turns = list[dict[str, str]]


def generate_text(
    prompt: Annotated[
        tuple[str, ...],
        tyro.conf.Positional,
        tyro.conf.arg(metavar="[PROMPT]", help_behavior_hint=""),
    ] = (),
    /,
    *,
    options: Annotated[GenerationOptions, tyro.conf.arg(name="")],
    interactive: Flag = False,
    keep_history: Flag = False,
) -> None:
    """Continue a text with a model, as it comes; the model's own end always ends it.

    Args:
        prompt: the beginning, in quotes if it has spaces; "" begins a document, - reads a pipe.
        options: how it is continued.
        interactive: read one line after another and continue each, until Ctrl-D.
        keep_history: continue all that was said before, not the last line alone.
    """
    _check_prompts(prompt, options, interactive=interactive, keep_history=keep_history)
    options.check()
    from lm_basics.export import load_text_model
    from lm_shared.tensors import choose_device

    device = choose_device(options.device)
    loaded = load_text_model(options.model, tokenizer=options.tokenizer)
    loaded.model.to(device)
    if interactive:
        answer_lines(_Dialogue(loaded, options, keeps_history=keep_history).answer)
        return
    text = read_prompt(prompt[0])
    ids = _encode(loaded, options, [{"role": "user", "content": text}])
    for sample in range(1, options.num_samples + 1):
        pieces = _stream(loaded, options, ids, sample - 1)
        if options.json:
            print_json(text, sample, "".join(pieces))
            continue
        print_heading(sample, options.num_samples)
        print("" if options.chat else text, end="", flush=True)
        _write(pieces)


def answer_lines(write_answer: Callable[[str], object]) -> None:
    """Read lines from standard input until it ends or Ctrl-C is pressed, and answer each."""
    sign = "> " if sys.stdin.isatty() else ""
    try:
        while True:
            write_answer(input(sign))
    except (EOFError, KeyboardInterrupt):
        # Behind the ^D or ^C, or the answer that it ended.
        print()


class _Dialogue:
    """Lines that a person types, each continued or answered."""

    def __init__(
        self, loaded: "TextModel", options: GenerationOptions, *, keeps_history: bool
    ) -> None:
        self.loaded, self.options, self.keeps_history = loaded, options, keeps_history
        self.turns: Turns = []

    def answer(self, line: str) -> None:
        """Print what follows the line; an empty one says nothing unless something came before."""
        if not line and not self.turns:
            return
        turns = [*self.turns, {"role": "user", "content": line}]
        answer = _write(
            _stream(self.loaded, self.options, _encode(self.loaded, self.options, turns), 0)
        )
        if self.keeps_history:
            self.turns = [*turns, {"role": "assistant", "content": answer}]


def _check_prompts(
    prompt: tuple[str, ...], options: GenerationOptions, *, interactive: bool, keep_history: bool
) -> None:
    """Raise ``ValueError`` unless these options go together."""
    if interactive and (prompt or options.num_samples != 1 or options.json):
        raise ValueError(
            "--interactive reads the prompts: give none, and no --num-samples or --json"
        )
    if keep_history and not interactive:
        raise ValueError("--keep-history is for --interactive")
    if not interactive and len(prompt) != 1:
        got = f"{len(prompt)} words: put it" if prompt else "none: give one"
        raise ValueError(f"expected one prompt, got {got} in quotes, or lines by --interactive")


def _encode(loaded: "TextModel", options: GenerationOptions, turns: Turns) -> list[int]:
    """Return the turns as a conversation, or as the text that they make."""
    if options.chat:
        return loaded.encode_chat(turns)
    ends = {"user": "", "assistant": "\n"}
    return loaded.encode_prompt("".join(turn["content"] + ends[turn["role"]] for turn in turns))


def _stream(
    loaded: "TextModel", options: GenerationOptions, ids: list[int], occurrence: int
) -> Iterator[str]:
    from lm_basics.text_generation import stream_text

    sampling = options.sampling(loaded.stop_token_ids)
    return stream_text(loaded.model, loaded.tokenizer, ids, sampling, occurrence=occurrence)


def _write(pieces: Iterator[str]) -> str:
    """Print a text as it comes, and a newline; return it."""
    written = ""
    with _logs_behind():
        for piece in pieces:
            print(piece, end="", flush=True)
            written += piece
        print(flush=True)
    return written


@contextlib.contextmanager
def _logs_behind() -> Iterator[None]:
    """Hold log lines back, which would land inside of the text."""
    root = logging.getLogger()
    handlers, kept = root.handlers, MemoryHandler(capacity=sys.maxsize, flushLevel=sys.maxsize)
    root.handlers = [kept]
    try:
        yield
    finally:
        root.handlers = handlers
        for record in kept.buffer:
            root.handle(record)
