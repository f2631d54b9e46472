"""Model bundles: a folder that says what it is, signed, checked before anything parses it.

`<id>/manifest.json` names the feature set, the data it was trained on, the scores, the probe rows
with their expected outputs, and the SHA-256 of every other file; the id is the hash of the
manifest, so the id pins every byte. There is no clock and no chance in a bundle: the same archive
makes the same bytes. There is no pickle: trees are LightGBM's text, maps are JSON numbers.

`current` is a regular file, replaced by rename and signed, and alone decides what is served; its
generation must rise, so an old pointer cannot be replayed.
"""

import os
import stat
from hashlib import sha256
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeVar

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from libs.common import durable, keys
from libs.common.checks import BundleError
from libs.common.model import Calibration, Formula
from libs.common.trees import MODEL_BYTES_MAX, check_trees, served_text

T = TypeVar("T")

BASE = "base"
"""Id of the base model: rung 0, always there, always flagged as fallback."""

ID_LENGTH = 24
"""Hex digits of a bundle id (96 bits of SHA-256)."""

FILE_BYTES_MAX = 2 * MODEL_BYTES_MAX
"""No file of a bundle is near 100 MiB; others may write the folder, so no read is unbounded."""

MANIFEST_VERSION = 1
FORMULA_FILE, CALIBRATION_FILE, TREES_FILE = "anchor.json", "calibration.json", "model.txt"
REFERENCE_FILE, REPORT_FILE, REPORT_TEXT_FILE = "reference.parquet", "report.html", "report.txt"
_MANIFEST, _SIGNATURE = "manifest.json", "manifest.sig"


class ProbeRow(msgspec.Struct, frozen=True, kw_only=True):
    """One input row and what the model must answer for it, bit for bit."""

    series: str
    values: tuple[float | None, ...]
    p_raw: float
    p: float


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """What a bundle is. Times are ns UTC; `data_end_ns` is the last instant its training saw."""

    version: int
    feature_set: str
    feature_names: tuple[str, ...]
    series: tuple[str, ...]
    rung: str
    calibration: str
    data_start_ns: int
    data_end_ns: int
    rows: int
    markets: int
    windows: int
    blocks: int
    scores: dict[str, float | None]
    libraries: dict[str, str]
    probe: tuple[ProbeRow, ...]
    files: dict[str, str] = {}


class Bundle(msgspec.Struct, frozen=True, kw_only=True):
    """A verified bundle in memory; `manifest` is None for the base model alone."""

    id: str
    formula: Formula
    manifest: Manifest | None = None
    trees_text: str | None = None

    @property
    def is_fallback(self) -> bool:
        """Tell whether this is the base model, on which nobody trades."""
        return self.manifest is None


class Current(msgspec.Struct, frozen=True, kw_only=True):
    """The pointer: which bundle is served, the how-manieth pointer it is, why, and a signature."""

    bundle: str
    generation: int
    reason: str
    signature: str


BASE_BUNDLE = Bundle(id=BASE, formula=Formula())


def models_folder(root: Path) -> Path:
    """Return the folder of bundles below the data folder `root`."""
    return root / "models"


def write_bundle(
    root: Path, key: Ed25519PrivateKey, manifest: Manifest, files: dict[str, bytes]
) -> str:
    """Write a bundle whole or not at all and return its id; an existing one is left as it is.

    Only what is damaged in an existing one is written again, so that training again repairs it.
    """
    hashes = {name: sha256(content).hexdigest() for name, content in sorted(files.items())}
    text = _encode(msgspec.structs.replace(manifest, files=hashes))
    bundle_id = _id_of(text)
    content = {**files, _MANIFEST: text, _SIGNATURE: key.sign(text)}
    durable.write_folder_atomic(models_folder(root) / bundle_id, content, name="publish")
    return bundle_id


def formula_files(formula: Formula, trees_text: str | None) -> dict[str, bytes]:
    """Return the files that carry the arithmetic of a model."""
    plain = msgspec.structs.replace(formula, calibration=Calibration())
    files = {
        FORMULA_FILE: _encode(plain),
        CALIBRATION_FILE: _encode(formula.calibration),
    }
    if trees_text is not None:
        files[TREES_FILE] = trees_text.encode()
    return files


def load_bundle(root: Path, bundle_id: str, *, feature_set: str | None = None) -> Bundle:
    """Load and check a bundle: signature, hashes, structure, maps, feature set; not the probe.

    Raises `BundleError` with the reason for the first thing that does not hold. The bytes that are
    checked are the bytes that are returned: no file is read twice.
    """
    if bundle_id == BASE:
        return BASE_BUNDLE
    folder = models_folder(root) / _safe_id(bundle_id)
    if not folder.is_dir():
        known = ", ".join(bundle_ids(root)) or "none"
        raise BundleError(f"no bundle {bundle_id} in {models_folder(root)}; known: {known}")
    text = _read(folder / _MANIFEST)
    signature = _read(folder / _SIGNATURE)
    keys.require_signed(keys.public_key(root), signature, text, what=f"bundle {bundle_id}")
    if _id_of(text) != bundle_id:
        raise BundleError(f"bundle {bundle_id}: the folder's name is not the manifest's hash")
    manifest = _decode(text, Manifest, f"bundle {bundle_id} manifest")
    files = {name: _read(folder / name) for name in manifest.files}
    for name, digest in manifest.files.items():
        if sha256(files[name]).hexdigest() != digest:
            raise BundleError(f"bundle {bundle_id}: {name} is damaged (hash); restore or retrain")
    if feature_set is not None and manifest.feature_set != feature_set:
        raise BundleError(
            f"bundle {bundle_id} is for feature set {manifest.feature_set}, "
            f"this version makes {feature_set}: run `hawk train`"
        )
    return _checked(bundle_id, manifest, files)


def bundle_ids(root: Path) -> list[str]:
    """Return the ids of the bundles on disk, accepted and rejected, sorted."""
    folder = models_folder(root)
    return sorted(p.name for p in folder.glob("*") if len(p.name) == ID_LENGTH and p.is_dir())


def read_current(root: Path) -> Current | None:
    """Return the pointer, None where nothing was ever activated; raise `BundleError` if forged."""
    path = models_folder(root) / "current"
    if not path.exists():
        return None
    current = _decode(_read(path), Current, str(path))
    signature = _from_hex(current.signature)
    keys.require_signed(keys.public_key(root), signature, _pointer_text(current), what=str(path))
    return current


def write_current(
    root: Path,
    key: Ed25519PrivateKey,
    *,
    bundle_id: str,
    reason: str,
    generation: int | None = None,
) -> Current:
    """Point `current` at `bundle_id`; the generation is one more than before unless it is given.

    Raises `BundleError` if it would not rise, or if the pointer before is forged.
    """
    before = read_current(root)
    last = before.generation if before else 0
    generation = last + 1 if generation is None else generation
    if generation <= last:
        raise BundleError(f"generation {generation} of models/current is not above {last}")
    unsigned = Current(bundle=bundle_id, generation=generation, reason=reason, signature="")
    signature = key.sign(_pointer_text(unsigned)).hex()
    current = msgspec.structs.replace(unsigned, signature=signature)
    durable.write_atomic(models_folder(root) / "current", _encode(current), name="current")
    return current


def _checked(bundle_id: str, manifest: Manifest, files: dict[str, bytes]) -> Bundle:
    if manifest.version != MANIFEST_VERSION:
        raise BundleError(f"bundle {bundle_id}: manifest version {manifest.version} is not known")
    for name in (FORMULA_FILE, CALIBRATION_FILE):
        if name not in files:
            raise BundleError(f"bundle {bundle_id}: {name} is missing")
    formula = _decode(files[FORMULA_FILE], Formula, f"bundle {bundle_id} {FORMULA_FILE}")
    if not 0.0 <= formula.distance_max <= 1.0:
        raise BundleError(f"bundle {bundle_id}: distance_max {formula.distance_max} is no bound")
    calibration = _decode(files[CALIBRATION_FILE], Calibration, f"bundle {bundle_id} calibration")
    _check_calibration(calibration, bundle_id)
    trees = files.get(TREES_FILE)
    if (formula.rung == "residual") != (trees is not None):
        raise BundleError(f"bundle {bundle_id}: rung {formula.rung} and {TREES_FILE} disagree")
    if trees is not None and len(trees) > MODEL_BYTES_MAX:
        raise BundleError(f"bundle {bundle_id}: {TREES_FILE} is above {MODEL_BYTES_MAX} bytes")
    text = trees.decode("ascii", errors="replace") if trees is not None else None
    if text is not None:
        check_trees(text, manifest.feature_names)
        text = served_text(text)
    full = msgspec.structs.replace(formula, calibration=calibration)
    return Bundle(id=bundle_id, formula=full, manifest=manifest, trees_text=text)


def _check_calibration(calibration: Calibration, bundle_id: str) -> None:
    """Refuse a map that is not a map: knots unsorted, outside [0, 1], falling or constant."""
    if calibration.kind != "isotonic":
        if calibration.slope <= 0.0:
            raise BundleError(f"bundle {bundle_id}: a slope of {calibration.slope} is not a map")
        return
    x, y = calibration.knots_x, calibration.knots_y
    is_map = (
        len(x) == len(y) >= 2
        and all(a < b for a, b in pairwise(x))
        and all(a <= b for a, b in pairwise(y))
        and 0.0 <= x[0] <= x[-1] <= 1.0
        and 0.0 <= y[0] < y[-1] <= 1.0
    )
    if not is_map:
        raise BundleError(f"bundle {bundle_id}: isotonic knots are not a rising map on [0, 1]")


def _pointer_text(current: Current) -> bytes:
    return f"{current.bundle}\n{current.generation}\n{current.reason}".encode()


def _encode(value: Any) -> bytes:
    return msgspec.json.format(msgspec.json.encode(value, order="sorted"), indent=1)


def _decode(content: bytes, kind: type[T], what: str) -> T:
    try:
        return msgspec.json.decode(content, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BundleError(f"{what} cannot be read: {error}") from error


def _id_of(manifest_text: bytes) -> str:
    return sha256(manifest_text).hexdigest()[:ID_LENGTH]


def _safe_id(bundle_id: str) -> str:
    if len(bundle_id) != ID_LENGTH or set(bundle_id) - set("0123456789abcdef"):
        raise BundleError(
            f"{bundle_id[:40]!r} is not a bundle id ({ID_LENGTH} hex digits, or `{BASE}`): "
            "`hawk models list` shows them"
        )
    return bundle_id


def _from_hex(text: str) -> bytes:
    try:
        return bytes.fromhex(text)
    except ValueError:
        return b""  # no signature is ever valid for it


def _read(path: Path) -> bytes:
    """Read a regular file up to FILE_BYTES_MAX: a pipe in its place must not stop its reader."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with open(descriptor, "rb") as file:
            is_file = stat.S_ISREG(os.fstat(descriptor).st_mode)
            content = file.read(FILE_BYTES_MAX + 1) if is_file else b""
    except OSError as error:
        raise BundleError(f"cannot read {path}: {error.strerror}") from error
    if not is_file:
        raise BundleError(f"cannot read {path}: it is no file")
    if len(content) > FILE_BYTES_MAX:
        raise BundleError(f"{path} is above {FILE_BYTES_MAX} bytes")
    return content
