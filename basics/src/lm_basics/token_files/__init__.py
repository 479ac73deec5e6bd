"""Tokens on the disk: the ids of many documents as one mapped file, written whole or resumed."""

from lm_basics.token_files.encoding import encode_files
from lm_basics.token_files.token_file import (
    TokenFile,
    encode_documents,
    open_token_file,
    write_token_file,
)

__all__ = ["TokenFile", "encode_documents", "encode_files", "open_token_file", "write_token_file"]
