"""`appliance verify`: is a bundle complete and unchanged?"""

from __future__ import annotations

from pathlib import Path

import click

EXAMPLE = """
\b
Example:
  appliance verify runs/company_docs-c8a31b
"""


@click.command(epilog=EXAMPLE)
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def verify(bundle: Path, as_json: bool) -> None:
    """Check every file of BUNDLE against its manifest.

    BUNDLE is the folder of a bundle, or of the run that made it. Anything missing, changed or
    added is named, and the exit code is 10.
    """
    from appliance.bundle.manifest import MANIFEST, hash_file
    from appliance.bundle.verify import find_bundle, verify_bundle
    from appliance.cli.output import print_json, print_row
    from appliance.units import format_bytes

    folder = find_bundle(bundle)
    manifest = verify_bundle(folder)
    sha256 = hash_file(folder / MANIFEST)
    if as_json:
        body = manifest.model_dump(mode="json", exclude={"files"})
        body |= {
            "bundle": str(folder),
            "intact": True,
            "manifest_sha256": sha256,
            "num_files": len(manifest.files),
            "num_bytes": manifest.num_bytes,
        }
        print_json(body)
        return
    print_row("Intact", str(folder))
    print_row("Files", f"{len(manifest.files)} · {format_bytes(manifest.num_bytes)}")
    print_row("Model", f"{manifest.base} · {manifest.method} · {manifest.precision}")
    print_row("Made", f"{manifest.created} by appliance {manifest.product_version}")
    print_row("sha256", sha256)
