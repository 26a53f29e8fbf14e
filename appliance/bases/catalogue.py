"""Which base models there are: the one inside the package, those in the store, or a folder."""

from __future__ import annotations

import os
from pathlib import Path

from appliance.bases.spec import explain_missing, read_spec
from appliance.errors import BaseModelError
from appliance.values import BaseChoices, BaseSpec, Rejected

EMBEDDED = "embedded"
"""Name of the model that ships inside the package."""


def find_bases(base: str | None = None) -> BaseChoices:
    """Base models to choose from.

    Args:
        base: None for all that are present; "embedded"; the name of a model in the store; or the
            path of a model folder.

    Returns:
        The models, and those of the store that cannot be used, with the reason.

    Raises:
        BaseModelError: the named base is missing or cannot be used.
    """
    if base is None:
        return _find_all()
    if base == EMBEDDED:
        return BaseChoices(specs=(read_embedded(),))
    path, stored = Path(base).expanduser(), locate_store() / base
    if path.is_dir():
        return BaseChoices(specs=(read_spec(path),))
    if base in _list_stored():
        return BaseChoices(specs=(read_spec(stored, base),))
    raise explain_missing(base)


def read_embedded() -> BaseSpec:
    """The model that ships inside the package."""
    return read_spec(Path(__file__).parent / EMBEDDED, EMBEDDED)


def locate_store() -> Path:
    """Folder of the base models of this user: `$APPLIANCE_HOME/bases`, else the data folder."""
    home = os.environ.get("APPLIANCE_HOME")
    if home:
        return Path(home) / "bases"
    import platformdirs

    return platformdirs.user_data_path("appliance") / "bases"


def _find_all() -> BaseChoices:
    specs, broken = [read_embedded()], []
    store = locate_store()
    for name in _list_stored():
        try:
            specs.append(read_spec(store / name, name))
        except BaseModelError as exc:
            broken.append(Rejected(choice=name, reason=f"{exc.what}: {exc.why}"))
    return BaseChoices(specs=tuple(specs), broken=tuple(broken))


def _list_stored() -> list[str]:
    """Names of the folders in the store; hidden ones are imports under way."""
    try:
        folders = [path for path in locate_store().iterdir() if path.is_dir()]
    except OSError:
        return []
    return sorted(path.name for path in folders if not path.name.startswith("."))
