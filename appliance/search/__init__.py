"""Full-text search over the passages of a corpus."""

FILE_NAME = "search.db"
"""Of an index inside a bundle. It holds the text of the documents."""
