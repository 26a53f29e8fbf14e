"""The recipes that ship with the program, by name: what each is for, and where it lies."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

_HERE = Path(__file__).resolve().parent


@dataclass(frozen=True, kw_only=True, slots=True)
class ShippedRecipe:
    """A recipe that comes with the program.

    Attributes:
        name: what `--recipe` takes, such as "support" or "cards/8gb".
        path: its file.
        about: what it is for, from the comment that opens it.
        command: that runs it.
    """

    name: str
    path: Path
    about: str
    command: str

    @property
    def title(self) -> str:
        """The first sentence of what it is for."""
        return self.about.partition(". ")[0].removesuffix(".")


def find_folder() -> Path:
    """Where they lie: inside an installed package, or beside it in a checkout."""
    packed = _HERE / "shipped"
    return packed if packed.is_dir() else _HERE.parents[1] / "recipes"


def list_recipes() -> tuple[ShippedRecipe, ...]:
    """All of them: those for a purpose, then those for a size of card."""
    folder = find_folder()
    paths = [*sorted(folder.glob("*.yaml")), *sorted(folder.glob("*/*.yaml"))]
    return tuple(_read(path, folder) for path in paths)


def find_recipe(name: str) -> ShippedRecipe | None:
    """The one that is called so, if any."""
    return next((recipe for recipe in list_recipes() if recipe.name == name), None)


def _read(path: Path, folder: Path) -> ShippedRecipe:
    comment = []
    for line in path.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            break
        comment.append(line.removeprefix("#").strip())
    commands = [line for line in comment if line.startswith("appliance ")]
    about = comment[: comment.index("")] if "" in comment else comment
    return ShippedRecipe(
        name=path.relative_to(folder).with_suffix("").as_posix(),
        path=path,
        about=" ".join(about),
        command=commands[0] if commands else "",
    )
