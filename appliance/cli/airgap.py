"""`appliance airgap`: the program and its bases on a stick, for a machine without a network."""

from __future__ import annotations

from pathlib import Path

import click

EXAMPLE = """
\b
Example:
  pip wheel --constraint constraints.txt --wheel-dir wheelhouse .
  appliance airgap pack /media/stick/appliance --wheels wheelhouse --base Qwen/Qwen3-0.6B
  appliance airgap verify /media/stick/appliance
  appliance airgap install /media/stick/appliance --into /opt/appliance-new
"""

_json = click.option("--json", "as_json", is_flag=True, help="Print one JSON object, nothing else.")


@click.group(epilog=EXAMPLE)
def airgap() -> None:
    """Bring the program and its bases to a machine without a network.

    Nothing here fetches anything: wheels come from a folder that a person filled. A stick carries
    the licence of everything on it, a hash of every file, and a signature where there is a key.
    """


@airgap.command()
@click.argument("folder", metavar="DEST", type=click.Path(path_type=Path))
@click.option(
    "--wheels",
    required=True,
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder of wheels: the program's and all it stands on.",
)
@click.option("--base", "bases", multiple=True, metavar="NAME", help="A base of the store.")
@_json
def pack(folder: Path, wheels: Path, bases: tuple[str, ...], as_json: bool) -> None:
    """Fill DEST, a new folder on a stick, with wheels, bases, licences and hashes."""
    from appliance.airgap.pack import pack_stick
    from appliance.bundle.keys import load_signing_key, locate_keys
    from appliance.cli.output import print_json, print_row
    from appliance.units import format_bytes

    keys = locate_keys()
    manifest, sha256 = pack_stick(folder, wheels, bases, keys)
    is_signed = load_signing_key(keys) is not None
    unknown = [wheel.name for wheel in manifest.wheels if not wheel.licence]
    if as_json:
        print_json(
            {
                "stick": str(folder),
                "manifest_sha256": sha256,
                "num_wheels": len(manifest.wheels),
                "bases": [base.name for base in manifest.bases],
                "num_files": len(manifest.files),
                "num_bytes": manifest.num_bytes,
                "signed": is_signed,
                "without_licence": unknown,
            }
        )
        return
    print_row("Stick", str(folder))
    print_row(
        "Holds",
        f"{len(manifest.wheels)} wheels, {len(manifest.bases)} bases · {len(manifest.files)} files"
        f" · {format_bytes(manifest.num_bytes)}",
    )
    if unknown:
        print_row("Licences", f"not told by {', '.join(unknown)}")
    print_row("Signed", "by this user" if is_signed else "no: appliance keys create, then again")
    print_row("sha256", sha256, "of manifest.json: compare it at the other end")


@airgap.command()
@click.argument("stick", type=click.Path(path_type=Path))
@click.option("--signed", is_flag=True, help="Refuse a stick that no trusted key signed.")
@_json
def verify(stick: Path, signed: bool, as_json: bool) -> None:
    """Check every file of STICK against its manifest, and who vouches for that."""
    from appliance.airgap.verify import verify_stick
    from appliance.bundle.keys import locate_keys
    from appliance.bundle.manifest import MANIFEST
    from appliance.bundle.signing import describe_signers
    from appliance.cli.output import print_json, print_row
    from appliance.files import hash_file
    from appliance.units import format_bytes

    manifest, attested = verify_stick(stick, locate_keys(), must_be_signed=signed)
    sha256 = hash_file(stick / MANIFEST)
    if as_json:
        print_json(
            {
                "stick": str(stick),
                "intact": True,
                "manifest_sha256": sha256,
                "num_files": len(manifest.files),
                "num_bytes": manifest.num_bytes,
                "signed_by": attested.signers if attested else (),
                "unknown_signers": attested.unknown if attested else (),
            }
        )
        return
    print_row("Intact", str(stick))
    print_row("Files", f"{len(manifest.files)} · {format_bytes(manifest.num_bytes)}")
    print_row("Packed", f"{manifest.created} by appliance {manifest.product_version}")
    print_row("Signed", describe_signers(attested))
    print_row("sha256", sha256)


@airgap.command()
@click.argument("stick", type=click.Path(path_type=Path))
@click.option(
    "--into",
    required=True,
    metavar="DIR",
    type=click.Path(path_type=Path),
    help="A new folder: becomes a virtual environment.",
)
@click.option("--unsigned", is_flag=True, help="Take a stick that no trusted key signed.")
@_json
def install(stick: Path, into: Path, unsigned: bool, as_json: bool) -> None:
    """Verify STICK, install its wheels into a fresh environment, add its bases to the store."""
    from appliance.airgap.install import install_stick
    from appliance.bases.store import locate_store
    from appliance.bundle.keys import locate_keys
    from appliance.cli.output import print_json, print_row

    manifest, added = install_stick(
        stick, into, locate_keys(), locate_store(), must_be_signed=not unsigned
    )
    program = into / "bin" / "appliance"
    if as_json:
        wheels = len(manifest.wheels)
        print_json({"into": str(into), "program": str(program), "num_wheels": wheels,
                    "bases": added})  # fmt: skip
        return
    print_row("Installed", f"{len(manifest.wheels)} wheels into {into}")
    print_row("Bases", ", ".join(added) or "none new")
    print_row("Next", f"{program} report --airgap")
