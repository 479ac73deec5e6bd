"""Texts to train on, from the net."""

from .course_corpora import (
    CORPORA as CORPORA,
    CorpusName as CorpusName,
    download_corpus as download_corpus,
)
from .http_download import download_file as download_file
from .unpacking import unpack_gzip as unpack_gzip
