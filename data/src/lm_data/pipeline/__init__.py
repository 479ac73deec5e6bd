"""The pipeline: from a crawl to curated documents, each drop with its reason."""
