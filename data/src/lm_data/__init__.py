"""Raw web crawls to filtered, deduplicated documents, from scratch.

A page goes ``crawl.warc`` -> ``convert.html`` -> ``filters`` -> ``deduplicate`` -> ``shards``;
``pipeline.run.curate`` drives it, and ``sample_crawl`` writes crawls to drive it with.
"""

from lm_data.document import Document

__all__ = ["Document"]
