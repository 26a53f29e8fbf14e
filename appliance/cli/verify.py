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
@click.option("--signed", is_flag=True, help="Refuse a bundle that no trusted key signed.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def verify(bundle: Path, signed: bool, as_json: bool) -> None:
    """Check every file of BUNDLE against its manifest, and who vouches for that.

    BUNDLE is the folder of a bundle, or of the run that made it. Anything missing, changed or
    added is named, and the exit code is 10; so it is when a signature is wrong.
    """
    from appliance import search
    from appliance.bundle.keys import locate_keys
    from appliance.bundle.manifest import MANIFEST
    from appliance.bundle.signing import check_attestation, describe_signers
    from appliance.bundle.verify import find_bundle, read_verdict, verify_bundle
    from appliance.cli.output import print_json, print_row
    from appliance.describe import describe_decision
    from appliance.files import hash_file
    from appliance.units import format_bytes

    folder = find_bundle(bundle)
    manifest = verify_bundle(folder)
    attested = check_attestation(folder, locate_keys(), must_be_signed=signed)
    verdict = read_verdict(folder)
    sha256 = hash_file(folder / MANIFEST)
    if as_json:
        body = manifest.model_dump(mode="json", exclude={"files"})
        body |= {
            "bundle": str(folder),
            "intact": True,
            "manifest_sha256": sha256,
            "num_files": len(manifest.files),
            "num_bytes": manifest.num_bytes,
            "verdict": verdict.model_dump(mode="json") if verdict else None,
            "signed_by": attested.signers if attested else (),
            "unknown_signers": attested.unknown if attested else (),
        }
        print_json(body)
        return
    print_row("Intact", str(folder))
    print_row("Files", f"{len(manifest.files)} · {format_bytes(manifest.num_bytes)}")
    print_row("Model", f"{manifest.base} · {manifest.method} · {manifest.precision}")
    if verdict is not None:
        print_row("Verdict", describe_decision(verdict))
    if manifest.has_documents_text:
        print_row(
            "Text", f"{search.FILE_NAME} holds the text of the documents and their file names"
        )
    print_row("Made", f"{manifest.created} by appliance {manifest.product_version}")
    print_row("Signed", describe_signers(attested))
    print_row("sha256", sha256)
