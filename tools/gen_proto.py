"""Generates the protobuf code of the Hubble backend; `--check` only says whether it is current."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from grpc_tools import protoc

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = "kdns_hubble"
PROTO = f"{PACKAGE}/hubble.proto"
GENERATED = (f"{PACKAGE}/hubble_pb2.py", f"{PACKAGE}/hubble_pb2.pyi")


def generate(into: Path) -> None:
    """Writes the generated files below `into`."""
    # The wheel brings the .proto files of the well-known types along.
    well_known = Path(protoc.__file__).parent / "_proto"
    arguments = ["protoc", f"-I{ROOT / 'backends'}", f"-I{well_known}"]
    arguments += [f"--python_out={into}", f"--pyi_out={into}", PROTO]
    if protoc.main(arguments):
        raise SystemExit("protoc failed")


def main() -> None:
    if "--check" not in sys.argv[1:]:
        generate(ROOT / "backends")
        return
    with tempfile.TemporaryDirectory() as directory:
        generate(Path(directory))
        stale = [
            name
            for name in GENERATED
            if (Path(directory) / name).read_text() != (ROOT / "backends" / name).read_text()
        ]
    if stale:
        raise SystemExit(f"{', '.join(stale)}: not what {PROTO} gives; run `make proto`")


if __name__ == "__main__":
    main()
