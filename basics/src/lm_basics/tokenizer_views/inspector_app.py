"""The tokenizer inspector: a page that shows the tokens of what is typed.

``GET /`` is the page. ``POST /tokenize`` with ``{"text": ..., "special": true}`` answers what each
tokenizer makes of the text.
"""

from collections.abc import Mapping
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException

from lm_basics.tokenizer.simple import TextTokenizer
from lm_basics.tokenizer_views.inspector import Inspection, inspect_text
from lm_shared.web import json_route, make_app, page_route

MAX_SHOWN_TOKENS = 2_000
"""Tokens in an answer, per tokenizer: more would make the page slow to draw."""

_PACKAGE = "lm_basics.tokenizer_views"


def inspector_app(tokenizers: Mapping[str, TextTokenizer]) -> Starlette:
    """Return the app; ``lm_shared.web.WebServer`` serves it.

    Args:
        tokenizers: the columns of the page, by name.

    Raises:
        ValueError: there is no tokenizer.
    """
    if not tokenizers:
        raise ValueError("expected at least one tokenizer, got none")
    named = dict(tokenizers)

    def answer(question: Any) -> dict[str, Any]:
        text, reads_special_tokens = _parse_question(question)
        return _tokenize(named, text, reads_special_tokens)

    return make_app(
        [page_route("/", _PACKAGE, "inspector.html"), json_route("/tokenize", answer)],
        static=[_PACKAGE],
    )


def _parse_question(question: Any) -> tuple[str, bool]:
    """Return the text, and whether it may spell special tokens."""
    match question:
        case {"text": str(text), "special": bool(special), **rest} if not rest:
            return text, special
        case {"text": str(text), **rest} if not rest:
            return text, True
    raise HTTPException(400, 'expected {"text": string, "special": true or false}')


def _tokenize(
    tokenizers: Mapping[str, TextTokenizer], text: str, reads_special_tokens: bool
) -> dict[str, Any]:
    inspections = {
        name: inspect_text(
            tokenizer, text, reads_special_tokens=reads_special_tokens, max_tokens=MAX_SHOWN_TOKENS
        )
        for name, tokenizer in tokenizers.items()
    }
    # Every inspection knows the size of the same text.
    first = next(iter(inspections.values()))
    return {
        "num_characters": first.num_characters,
        "num_bytes": first.num_bytes,
        "tokenizers": [_to_json(name, one) for name, one in inspections.items()],
    }


def _to_json(name: str, inspection: Inspection) -> dict[str, Any]:
    return {
        "name": name,
        "vocab_size": inspection.vocab_size,
        "num_tokens": inspection.num_tokens,
        "bytes_per_token": inspection.bytes_per_token,
        "is_lossless": inspection.is_lossless,
        "tokens": [
            {
                "id": token.token_id,
                "bytes": token.data.hex(),
                "start": token.start_byte,
                "special": token.is_special,
                "cut": token.cut_characters,
                "pieces": [[piece.kind, piece.text, piece.shown] for piece in token.pieces],
            }
            for token in inspection.tokens
        ],
    }
