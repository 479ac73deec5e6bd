"""Crawls: reading WARC files, and writing a sample crawl whose ground truth is known."""
