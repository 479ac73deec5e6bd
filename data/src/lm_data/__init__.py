"""Raw web crawls to filtered, deduplicated documents, from scratch.

A page goes ``crawl.warc`` -> ``convert.html`` -> ``filters`` -> ``deduplicate`` -> ``shards``;
``pipeline.run.curate`` drives it, and ``crawl.sample`` writes crawls to drive it with. Modules that
need heavy packages are imported by their own names.
"""

from lm_data.document import Document
from lm_data.evaluation.perplexity import bits_per_byte, perplexity

__all__ = ["Document", "bits_per_byte", "perplexity"]
