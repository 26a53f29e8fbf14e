"""`appliance recipes`: what a job can be told, ready to use, to read, to check and to write."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from pydantic import BaseModel

    from appliance.recipe import ForeignRecipe, Recipe

EXAMPLE = """
\b
Example:
  appliance recipes list
  appliance recipes show support
  appliance recipes new ours.yaml --like support
  appliance recipes check ours.yaml
  appliance tune ./company_docs --recipe ours.yaml
"""

json_option = click.option(
    "--json", "as_json", is_flag=True, help="Print one JSON object, nothing else."
)


@click.group(epilog=EXAMPLE)
def recipes() -> None:
    """List, show, check and write recipes: what a job is told.

    A recipe is a short YAML file; what it leaves out is decided from documents and machine.
    """


@recipes.command("list")
@json_option
def list_all(as_json: bool) -> None:
    """The recipes that ship, and what each is for."""
    from appliance.cli.output import print_json, print_row, print_table
    from appliance.recipe import list_recipes

    found = list_recipes()
    if as_json:
        rows = [{"name": each.name, "about": each.about, "command": each.command} for each in found]
        print_json({"recipes": rows})
        return
    print_row("Recipes", f"{len(found)} ship with the program")
    print_table(("name", "what it is for"), [(each.name, each.title) for each in found])
    print_row("Next", f"appliance recipes show {found[0].name}")


@recipes.command()
@click.argument("recipe", type=click.Path(path_type=Path))
def show(recipe: Path) -> None:
    """Print a recipe that ships, or one of your own."""
    from appliance.recipe import find_file, load_recipe

    load_recipe(recipe)
    click.echo(find_file(recipe).read_text(encoding="utf-8"), nl=False)


@recipes.command()
@click.argument("recipe", type=click.Path(path_type=Path))
@json_option
def check(recipe: Path, as_json: bool) -> None:
    """Check a recipe, and tell what it decides; exits with an error if it is wrong."""
    from appliance.cli.output import print_json, print_row, print_table
    from appliance.recipe import load_recipe

    chosen = load_recipe(recipe)
    changes = list(_list_changes(chosen))
    if as_json:
        rows = [{"key": key, "value": value, "default": usual} for key, value, usual in changes]
        print_json({"recipe": str(recipe), "decides": rows})
        return
    print_row("Recipe", f"{recipe} is good, and decides {len(changes) or 'nothing'}")
    if changes:
        shown = [(key, _write_value(value), _write_value(usual)) for key, value, usual in changes]
        print_table(("key", "value", "without it"), shown)


@recipes.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--like", help="Begin with a recipe that ships. Default: every key, commented out.")
def new(file: Path, like: str | None) -> None:
    """Write a recipe to change; a file that is there is left alone."""
    from appliance.cli.output import print_row
    from appliance.recipe import find_file

    command = f"#   appliance tune ./company_docs --recipe {file}"
    if like:
        lines = find_file(Path(like)).read_text(encoding="utf-8").splitlines()
        text = "\n".join(_rename(line, file) for line in lines) + "\n"
    else:
        text = "\n".join(
            ["# Every key with its default. Take '# ' away from one and from its section.", "#"]
        )
        text += f"\n{command}\n\n" + "\n".join(_write_sections())
    _write_new(file, text)
    print_row("Recipe", str(file))
    print_row("Next", f"change it, then: appliance recipes check {file}")


@recipes.command("import")
@click.argument("source", type=click.Path(path_type=Path))
@click.argument("file", type=click.Path(path_type=Path))
@json_option
def import_recipe(source: Path, file: Path, as_json: bool) -> None:
    """Take over a recipe of LLaMA-Factory or Axolotl: what means the same here.

    SOURCE is theirs, FILE is written.
    """
    from appliance.cli.output import print_json, print_row, print_table
    from appliance.recipe import make_recipe, read_foreign

    found = read_foreign(source)
    make_recipe(found.tree, str(source))
    base = f" --base {found.base}" if found.base else ""
    command = f"appliance {found.verb} ./company_docs{base} --recipe {file}"
    _write_new(file, _write_foreign(found, source, command))
    if as_json:
        taken = [{"theirs": theirs, "ours": ours} for theirs, ours in found.taken]
        left = [{"theirs": theirs, "why": why} for theirs, why in found.left]
        print_json({"recipe": str(file), "command": command, "taken": taken, "left": left})
        return
    print_row("Recipe", f"{file}, from {found.program}")
    if found.taken:
        print_row("Taken", f"{len(found.taken)} of its keys")
        print_table(("theirs", "here"), found.taken)
    if found.left:
        print_row("Left", f"{len(found.left)} of its keys")
        print_table(("theirs", "why"), found.left)
    print_row("Next", command)


@recipes.command()
def schema() -> None:
    """Print the JSON schema of recipes, for editors."""
    from appliance.cli.output import print_json
    from appliance.recipe import Recipe

    body = {"$schema": "https://json-schema.org/draft/2020-12/schema"}
    print_json(body | Recipe.model_json_schema())


def _list_changes(chosen: Recipe) -> Iterator[tuple[str, Any, Any]]:
    """Key, value and default of whatever is not at its default."""
    from appliance.recipe import Recipe

    values, defaults = chosen.model_dump(mode="json"), Recipe().model_dump(mode="json")
    for section, keys in values.items():
        for key, value in keys.items():
            if value != defaults[section][key]:
                yield f"{section}.{key}", value, defaults[section][key]


def _write_sections() -> Iterator[str]:
    """All sections and keys with their defaults, each behind a #."""
    from appliance.recipe import Recipe

    defaults = Recipe()
    for section in Recipe.model_fields:
        values: BaseModel = getattr(defaults, section)
        yield f"# {section}:  # {(type(values).__doc__ or '').splitlines()[0]}"
        dumped = values.model_dump(mode="json")
        for key, field in type(values).model_fields.items():
            yield f"#   {key}: {_write_value(dumped[key])}  # {field.description}"
        yield ""


def _write_value(value: Any) -> str:
    """A value as YAML, on one line."""
    import yaml

    text: str = yaml.safe_dump(value, default_flow_style=True, width=10**6, allow_unicode=True)
    return text.strip().removesuffix("...").strip()


def _rename(line: str, file: Path) -> str:
    """A line of a recipe, whose command names another file."""
    if not line.startswith("#   appliance "):
        return line
    return f"{line.partition(' --recipe ')[0]} --recipe {file}"


def _write_foreign(found: ForeignRecipe, source: Path, command: str) -> str:
    import yaml

    body = yaml.safe_dump(found.tree, sort_keys=False) if found.tree else ""
    return f"# From {source.name}, a recipe of {found.program}.\n#\n#   {command}\n\n{body}"


def _write_new(file: Path, text: str) -> None:
    """Write a file that is not there yet.

    Raises:
        UsageError: it is.
    """
    from appliance.errors import UsageError

    try:
        with file.open("x", encoding="utf-8") as target:
            target.write(text)
    except FileExistsError as exc:
        raise UsageError(
            f"{file} is there already",
            why="recipes are not written over",
            fix="name another file, or remove it",
        ) from exc
