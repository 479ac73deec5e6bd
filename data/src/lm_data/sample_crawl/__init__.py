"""A crawl whose ground truth is known: its texts, pages and files, and the audit of a curation."""
