"""Reads every container and ports a network in every way that needs no framework; prints what came out.

Run as ``python read_and_port.py SOURCES OUT``: SOURCES has a folder `containers`, each member of which is a
source, and `network`, a checkpoint that is ported to files in the new folder OUT. Prints a JSON document of
digests, which is to be the same on every system and Python.
"""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path

import porter

PORTS = {
    "file.safetensors": {},
    "half.safetensors": {"dtype": "float16"},
    "shards": {"max_shard_size": "200KB"},
    "hub": {"target": "hub-folder"},
}


def read(source):
    """Return the container's name and a digest of every tensor, read whole and in blocks."""
    with porter.open_checkpoint(source) as checkpoint:
        digest = hashlib.sha256()
        for key, spec in sorted(checkpoint.specs.items()):
            if spec.dtype.storage is None:
                continue
            digest.update(f"{key} {spec.shape}".encode())
            digest.update(checkpoint.read(key).tobytes())
            half = tuple(slice(0, (length + 1) // 2) for length in spec.shape)
            digest.update(checkpoint.read_block(key, half).tobytes())
        return [checkpoint.format, len(checkpoint.specs), digest.hexdigest()]


def files(path):
    """Return the digest of a file, or of each file in a folder."""
    found = [path] if path.is_file() else sorted(path.iterdir())
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in found}


def main():
    """Do everything, twice where something is replaced."""
    sources, out = map(Path, sys.argv[1:])
    (out / "shards").mkdir(parents=True)  # an empty folder is taken
    (out / "file.safetensors").write_text("an old file is replaced")
    found = {source.name: read(source) for source in sorted((sources / "containers").iterdir())}
    for name, options in PORTS.items():
        porter.port(sources / "network", out / name, **options)
        found[name] = files(out / name)
    found["left over"] = sorted({path.name for path in out.iterdir()} - set(PORTS))
    print(json.dumps(found))


if __name__ == "__main__":
    main()
