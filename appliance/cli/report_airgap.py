"""`appliance report --airgap`: three proofs that nothing leaves this machine."""

from __future__ import annotations

from appliance.errors import GateError

SIGNS = {True: "Passed", False: "FAILED", None: "Not done"}


def tell_airgap(*, as_json: bool) -> None:
    """Do the proofs, and print what they showed.

    Raises:
        GateError: one failed.
    """
    import dataclasses

    from appliance.airgap.proofs import prove_airgap
    from appliance.cli.output import print_json, print_row

    if not as_json:
        print_row("Proving", "three short jobs, a few minutes", to_stderr=True)
    proofs = prove_airgap()
    if as_json:
        print_json({"proofs": [dataclasses.asdict(proof) for proof in proofs]})
    else:
        for proof in proofs:
            print_row(SIGNS[proof.passed], proof.name, proof.measured, f"wanted: {proof.wanted}")
    failed = [proof for proof in proofs if proof.passed is False]
    if failed:
        raise GateError(
            f"this machine does not keep to itself: {failed[0].name}",
            why=failed[0].measured,
            fix="do not use it with private documents before this is understood",
        )
