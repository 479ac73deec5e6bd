"""``basics tokenizer-page``: a local web page that shows the tokens of what is typed."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from lm_basics.commands.inputs import NamedTokenizers, load_tokenizer, parse_named
from lm_shared.command_options import PATH, Each, Least, There

if TYPE_CHECKING:
    from lm_basics.tokenizer.simple import TextTokenizer


_VOCAB_SIZE = 4096


def serve_tokenizer_page(
    *,
    tokenizer: NamedTokenizers = (),
    gpt2_vocab: Annotated[Path | None, PATH, There()] = None,
    gpt2_merges: Annotated[Path | None, PATH, There()] = None,
    rank_file: Annotated[
        tuple[str, ...],
        Each,
        tyro.conf.arg(metavar="FILE", help_behavior_hint="(default: none, repeatable)"),
    ] = (),
    host: str = "127.0.0.1",
    port: Annotated[int, Least(0)] = 8000,
) -> None:
    """Show the tokens of any text side by side on a web page; Ctrl-C ends it.

    Without a tokenizer it shows characters, bytes, and byte pairs of Python's manual.

    Args:
        tokenizer: folder with a tokenizer.json, or name=folder.
        gpt2_vocab: GPT-2's vocab.json, also named encoder.json.
        gpt2_merges: GPT-2's merges.txt, also named vocab.bpe.
        rank_file: OpenAI's file for tiktoken: r50k_base.tiktoken, cl100k_base.tiktoken or
            o200k_base.tiktoken, or such a name and another file as cl100k_base=file.
        host: address to listen on; others than the default let other computers in.
        port: 0 takes a free one.
    """
    from lm_basics.tokenizer.bpe import Tokenizer
    from lm_basics.tokenizer.patterns import END_OF_TEXT
    from lm_basics.tokenizer.simple import TextTokenizer
    from lm_basics.tokenizer.tiktoken_file import load_published
    from lm_basics.tokenizer_views.inspector_app import inspector_app
    from lm_shared.web import WebServer

    named: list[tuple[str, TextTokenizer]] = []
    for name, path in map(parse_named, tokenizer):
        named.append((name, load_tokenizer(path)))
    if gpt2_vocab is not None and gpt2_merges is not None:
        named.append(("gpt2", Tokenizer.from_files(gpt2_vocab, gpt2_merges, [END_OF_TEXT])))
    elif gpt2_vocab is not None or gpt2_merges is not None:
        raise ValueError("GPT-2's tokenizer needs both files, --gpt2-vocab and --gpt2-merges")
    for given_name, path in map(parse_named, rank_file):
        if not path.is_file():
            raise FileNotFoundError(f"there is no rank file {path}")
        name = given_name.removesuffix(".tiktoken")
        named.append((name, load_published(name, path)))
    tokenizers = dict(named or _small_tokenizers())
    if len(tokenizers) < len(named):
        names = ", ".join(name for name, _ in named)
        raise ValueError(f"expected different names, got {names}; name=folder gives another one")
    with WebServer(inspector_app(tokenizers), host=host, port=port) as server:
        shown = f"{server.address} shows {', '.join(tokenizers)}; Ctrl-C ends it"
        server.run(lambda: print(shown, flush=True))
        print("ended")


def _small_tokenizers() -> "list[tuple[str, TextTokenizer]]":
    from lm_basics.tokenizer.bpe import Tokenizer
    from lm_basics.tokenizer.patterns import END_OF_TEXT
    from lm_basics.tokenizer.simple import ByteTokenizer, CharacterTokenizer
    from lm_basics.tokenizer.training import train_bpe_from_texts
    from lm_basics.tokenizer_views.comparison import python_manual

    vocab, merges = train_bpe_from_texts([python_manual()], _VOCAB_SIZE, [END_OF_TEXT])
    return [
        ("characters", CharacterTokenizer()),
        ("bytes", ByteTokenizer()),
        ("byte pairs of Python's manual", Tokenizer(vocab, merges, [END_OF_TEXT])),
    ]
