"""Files that must not be used, named by the hash of their bytes.

A name would miss copies of a file, and would stand in bundles, where names of documents do not
belong. A hash tells nothing to whoever does not have the file, and proves to whoever has it that it
was left out.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from appliance.documents.converter import ConversionFailure
from appliance.errors import DocumentsError
from appliance.events import Note, OnEvent
from appliance.files import hash_file
from appliance.recipe import Recipe

LEFT_OUT = ConversionFailure(
    reason="it was left out on request (documents.without)",
    fix="nothing; take its hash out of documents.without to use it again",
    is_final=True,
)

_HASH = re.compile(r"[0-9a-f]{64}")


def leave_out(recipe: Recipe, files: Sequence[str]) -> Recipe:
    """A recipe under which these files are not used, wherever they lie in the folder.

    Args:
        recipe: what was decided so far.
        files: paths, or sha256 of files that are gone.

    Raises:
        DocumentsError: a file is not there, or is no file.
    """
    hashes = {*recipe.documents.without, *map(_hash, files)}
    if hashes == set(recipe.documents.without):
        return recipe
    documents = recipe.documents.model_copy(update={"without": tuple(sorted(hashes))})
    return recipe.model_copy(update={"documents": documents})


def tell_missing(wanted: Sequence[str], seen: set[str], on_event: OnEvent) -> None:
    """Say when a file to be left out was not in the folder: its bytes may have changed since."""
    missing = sorted(set(wanted) - seen)
    if missing:
        names = ", ".join(f"{sha256[:12]}…" for sha256 in missing)
        number = f"{len(missing)} of {len(wanted)} files to be left out"
        on_event(Note(text=f"{number} were not found among the documents: sha256 {names}"))


def _hash(file: str) -> str:
    if _HASH.fullmatch(file):
        return file
    path = Path(file)
    try:
        return hash_file(path)
    except OSError as exc:
        raise DocumentsError(
            f"{file} cannot be left out",
            why=f"its bytes decide, and it cannot be read: {exc.strerror or type(exc).__name__}",
            fix="name a file, or the sha256 that `appliance documents where` tells",
        ) from exc
