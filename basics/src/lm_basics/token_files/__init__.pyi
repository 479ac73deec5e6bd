"""Tokens on the disk: the ids of many documents as one mapped file, written whole or resumed."""

from .encoding import encode_files as encode_files
from .token_file import (
    TokenFile as TokenFile,
    encode_documents as encode_documents,
    open_token_file as open_token_file,
    write_token_file as write_token_file,
)
