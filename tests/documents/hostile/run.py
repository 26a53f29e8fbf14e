"""Read a folder as a job does, in a process of its own: `python -m …run DOCS STAGE`."""

from __future__ import annotations

import sys
from pathlib import Path

from appliance.documents.read import read_corpus
from appliance.documents.walk import scan_folder
from appliance.recipe import DocumentsRecipe
from appliance.rundir import StageFolder

if __name__ == "__main__":
    documents, run = map(Path, sys.argv[1:])
    stage = run / "corpus"
    stage.mkdir(parents=True)
    read_corpus(
        scan_folder(documents),
        DocumentsRecipe(seconds_per_file=3),
        StageFolder(
            name="corpus", folder=stage, run=run, on_event=lambda _: None, should_stop=lambda: False
        ),
    )
