"""Reading crawls: WARC files, and the encodings of HTTP."""
