"""Texts to train on, from the net.

download_corpus("tinystories", Path("data"))
"""

from lm_basics.corpora.course_corpora import CORPORA, CorpusName, download_corpus
from lm_basics.corpora.http_download import download_file
from lm_basics.corpora.unpacking import unpack_gzip

__all__ = ["CORPORA", "CorpusName", "download_corpus", "download_file", "unpack_gzip"]
