"""A folder of files becomes a corpus: text, and a ledger that accounts for every file."""
