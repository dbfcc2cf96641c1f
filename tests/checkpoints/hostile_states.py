"""Malformed state files and SavedModels."""

from __future__ import annotations

import os
from pathlib import Path

import bundle_writer as w
from hostile_files import LFS
from hostile_registry import a_bundle, case, cases

STATES = {
    "state/stale": {
        "a step that is gone": "ckpt-9",
        "a foreign absolute path": "/home/somebody/train/ckpt-9",
        "a path above": "../other/ckpt-9",
        "a Windows path": r"C:\\train\\ckpt-9",
        "a bucket": "gs://bucket/train/ckpt-9",
        "itself": "checkpoint",
        "a password file": "/etc/passwd",
    },
    "state/bad-path": {"nothing": "", "a NUL": r"ckpt\0", "the folder above": "..", "a root": "/"},
}


@cases("state file", STATES)
def _(folder: Path, path: str) -> Path:
    a_bundle().store(folder / "ckpt-1")
    (folder / "checkpoint").write_text(f'model_checkpoint_path: "{path}"\n')
    return folder


@case("state/stale", "a state file that climbs to a real checkpoint")
def _(folder: Path) -> Path:
    (folder / "inner").mkdir()
    a_bundle().store(folder / "secret")
    (folder / "inner" / "checkpoint").write_text('model_checkpoint_path: "../secret"\n')
    return folder / "inner"


@case("state/no-path", "a state file of other text")
def _(folder: Path) -> Path:
    (folder / "checkpoint").write_text("model_checkpoint_path = ckpt-1\n")
    return folder


@case("state/no-path", "a state file of a megabyte of blank lines")
def _(folder: Path) -> Path:
    (folder / "checkpoint").write_bytes(b"\n \t" * 400_000)
    return folder


@case("checkpoint/empty-file", "an empty state file")
def _(folder: Path) -> Path:
    (folder / "checkpoint").write_bytes(b"")
    return folder


@case("checkpoint/is-a-pipe", "a pipe as state file")
def _(folder: Path) -> Path:
    os.mkfifo(folder / "checkpoint")
    return folder


SAVED = b"\x08\x01" + w.data(2, b"")


@case("saved-model/no-variables", "a saved model alone")
def _(folder: Path) -> Path:
    (folder / "saved_model.pb").write_bytes(SAVED)
    return folder


@case("bundle/missing-index", "a saved model without index")
def _(folder: Path) -> Path:
    (folder / "saved_model.pb").write_bytes(SAVED)
    (folder / "variables").mkdir()
    a_bundle().store(folder / "variables" / "variables")
    (folder / "variables" / "variables.index").unlink()
    return folder


DESCRIPTIONS = {
    "saved-model/damaged": {
        "cut off": b"\x08\x01\x12\x7f",
        "a graph": w.data(1, b"x"),
        "noise": b"\xff" * 99,
        "a group": SAVED + b"\x0b",
    },
    "checkpoint/empty-file": {"no bytes": b""},
    "checkpoint/git-lfs-pointer": {"of a graph": LFS},
}


@cases("saved_model.pb", DESCRIPTIONS)
def _(folder: Path, content: bytes) -> Path:
    (folder / "saved_model.pb").write_bytes(content)
    return folder
