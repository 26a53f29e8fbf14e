"""Tiny wheels, made by hand as the wheel format says, and a stick of them."""

import base64
import hashlib
import zipfile

from appliance.airgap.pack import pack_stick

READ_CLOCK = lambda: 1_795_000_000.0  # noqa: E731


def write_wheel(folder, name="appliance", version="0.1.0", *, requires=(), body="", licence="MIT"):
    """A pure wheel with one module, which prints its version when it is called as a program."""
    folder.mkdir(exist_ok=True)
    path = folder / f"{name}-{version}-py3-none-any.whl"
    info = f"{name}-{version}.dist-info"
    code = body or f"def main():\n    print({name!r}, {version!r})\n"
    metadata = f"Metadata-Version: 2.4\nName: {name}\nVersion: {version}\n"
    metadata += f"License-Expression: {licence}\n" if licence else ""
    metadata += "".join(f"Requires-Dist: {each}\n" for each in requires)
    members = {
        f"{name}/__init__.py": code,
        f"{info}/METADATA": metadata,
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\n"
        "Tag: py3-none-any\n",
        f"{info}/entry_points.txt": f"[console_scripts]\n{name} = {name}:main\n",
        f"{info}/licenses/LICENSE": f"the licence of {name}\n",
    }
    rows = []
    with zipfile.ZipFile(path, "w") as archive:
        for member, text in members.items():
            archive.writestr(member, text)
            digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest())
            rows.append(f"{member},sha256={digest.rstrip(b'=').decode()},{len(text.encode())}")
        archive.writestr(f"{info}/RECORD", "\n".join([*rows, f"{info}/RECORD,,"]) + "\n")
    return path


def write_wheelhouse(folder):
    """The stand-in of the program, and two packages it stands on."""
    write_wheel(folder, requires=("left-part", "right-part==2.0"))
    write_wheel(folder, "left_part", "1.5")
    write_wheel(folder, "right_part", "2.0", licence="")
    return folder


def pack(folder, wheelhouse, keys, bases=(), **options):
    manifest, _ = pack_stick(folder, wheelhouse, bases, keys, read_clock=READ_CLOCK, **options)
    return manifest
