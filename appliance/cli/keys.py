"""`appliance keys`: who signs bundles here, and whose signatures are believed."""

from __future__ import annotations

from pathlib import Path

import click

EXAMPLE = """
\b
Example:
  appliance keys create                              bundles are signed from now on
  appliance keys export > our-box.pem                for those who verify them
  appliance keys trust our-box.pem --name "our box"  on their machine
"""


@click.group(epilog=EXAMPLE)
def keys() -> None:
    """Sign bundles, and say whose signatures are believed.

    Keys are ed25519, in files of this user; APPLIANCE_KEYS names another folder.
    """


@keys.command()
def create() -> None:
    """Make the key that signs every bundle from now on."""
    from appliance.bundle.keys import SIGNING_KEY, create_key, locate_keys
    from appliance.cli.output import print_row

    folder = locate_keys()
    identity = create_key(folder)
    print_row("Key", str(folder / SIGNING_KEY))
    print_row("Identity", identity)
    print_row("Next", "keep a copy in a safe place; appliance keys export gives its public half")


@keys.command()
def export() -> None:
    """Print the public half of the signing key."""
    from appliance.bundle.keys import export_key, locate_keys

    click.echo(export_key(locate_keys()), nl=False)


@keys.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--name", default=None, help="Whose key it is; the file's name by default.")
def trust(file: Path, name: str | None) -> None:
    """Believe what the public key in FILE signed."""
    from appliance.bundle.keys import locate_keys, trust_key
    from appliance.cli.output import print_row
    from appliance.errors import UsageError

    try:
        pem = file.read_bytes()
    except OSError as exc:
        raise UsageError(
            f"{file} cannot be read",
            why=exc.strerror or type(exc).__name__,
            fix="name the file that `appliance keys export` was written to",
        ) from exc
    trusted = trust_key(locate_keys(), pem, name or file.stem)
    print_row("Trusted", trusted.name)
    print_row("Identity", trusted.identity, "ask its owner whether this is theirs")


@keys.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def list_(as_json: bool) -> None:
    """List the keys that are believed."""
    from appliance.bundle.keys import list_trusted, locate_keys
    from appliance.cli.output import print_json, print_row

    trusted = list_trusted(locate_keys())
    if as_json:
        print_json({"keys": [{"name": key.name, "identity": key.identity} for key in trusted]})
        return
    for key in trusted:
        print_row("Key", f"{key.identity[:16]}… · {key.name}")
    if not trusted:
        print_row("Keys", "none: bundles are not signed here, and no signature is believed")


@keys.command()
@click.argument("bundle", type=click.Path(path_type=Path))
def sign(bundle: Path) -> None:
    """Add this user's signature to BUNDLE, after checking it.

    For bundles that a service made, or that a second person vouches for.
    """
    from appliance.bundle.keys import locate_keys
    from appliance.bundle.signing import sign_bundle
    from appliance.cli.output import print_row

    signers = sign_bundle(bundle, locate_keys())
    print_row("Signed", str(bundle))
    print_row("By", ", ".join(signers))
