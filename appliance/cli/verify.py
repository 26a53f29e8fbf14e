"""`appliance verify`: is a bundle complete and unchanged?"""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def verify(bundle: Path, as_json: bool) -> None:
    r"""Check every file of BUNDLE against its manifest.

    BUNDLE is the folder of a bundle, or of the run that made it. Anything missing, changed or
    added is named, and the exit code is 10.

    \b
    Example:
      appliance verify runs/7f3k
    """
    from appliance.bundle.manifest import MANIFEST, hash_file
    from appliance.bundle.verify import find_bundle, verify_bundle
    from appliance.units import format_bytes

    folder = find_bundle(bundle)
    manifest = verify_bundle(folder)
    sha256 = hash_file(folder / MANIFEST)
    if as_json:
        import json

        body = manifest.model_dump(mode="json", exclude={"files"})
        body |= {
            "bundle": str(folder),
            "intact": True,
            "manifest_sha256": sha256,
            "num_files": len(manifest.files),
            "num_bytes": manifest.num_bytes,
        }
        click.echo(json.dumps(body))
        return
    click.echo(f"intact   {folder}")
    click.echo(f"files    {len(manifest.files)}, {format_bytes(manifest.num_bytes)}")
    click.echo(f"model    {manifest.base} · {manifest.method} · {manifest.precision}")
    click.echo(f"made     {manifest.created} by appliance {manifest.product_version}")
    click.echo(f"sha256   {sha256}")
