"""Bundles: what is not exactly what the trainer signed is refused, with the reason."""

import os
from hashlib import sha256
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from libs.common import bundle, keys
from libs.common.bundle import BASE, Manifest, ProbeRow
from libs.common.checks import BundleError, ConfigError
from libs.common.model import Anchor, Calibration, Formula
from tests.common.forest import FEATURES, model_text

FORMULA = Formula(
    rung="residual",
    anchor=Anchor(market=0.1, gap=0.2, series={"KXBTC15M": (0.0, 0.1, 0.2)}),
    calibration=Calibration(kind="isotonic", knots_x=(0.01, 0.4, 0.99), knots_y=(0.02, 0.5, 0.98)),
)


def manifest(**changes: Any) -> Manifest:
    plain = Manifest(
        version=bundle.MANIFEST_VERSION,
        feature_set="set-1",
        feature_names=FEATURES,
        series=("KXBTC15M",),
        rung="residual",
        calibration="isotonic",
        data_start_ns=1,
        data_end_ns=2,
        rows=3,
        markets=4,
        windows=5,
        blocks=6,
        scores={"brier": 0.2, "none": None},
        libraries={"lightgbm": "4.7.0"},
        probe=(ProbeRow(series="KXBTC15M", values=(0.5, None, 60.0, 1.0), p_raw=0.5, p=0.5),),
    )
    return msgspec.structs.replace(plain, **changes)


def publish(root: Path, formula: Formula = FORMULA, **changes: Any) -> str:
    trees = model_text() if formula.rung == "residual" else None
    files = bundle.formula_files(formula, trees) | {bundle.REPORT_TEXT_FILE: b"report"}
    return bundle.write_bundle(root, keys.signing_key(root), manifest(**changes), files)


def resign(root: Path, bundle_id: str, **files: bytes) -> str:
    """Damage files of a bundle and sign the result with the true key, as the trainer could."""
    folder = bundle.models_folder(root) / bundle_id
    listed = msgspec.json.decode((folder / "manifest.json").read_bytes(), type=Manifest).files
    content = {name: (folder / name).read_bytes() for name in listed}
    for name, changed in files.items():
        content[name.replace("__", ".")] = changed
    return bundle.write_bundle(root, keys.signing_key(root), manifest(), content)


def test_a_bundle_comes_back_as_it_was_written(tmp_path: Path) -> None:
    bundle_id = publish(tmp_path)
    loaded = bundle.load_bundle(tmp_path, bundle_id, feature_set="set-1")
    assert loaded.formula == FORMULA
    assert loaded.trees_text is not None
    assert model_text().startswith(loaded.trees_text)
    assert loaded.trees_text.endswith("\nend of trees\n")
    assert not loaded.is_fallback
    assert bundle.bundle_ids(tmp_path) == [bundle_id]


def test_the_same_content_has_the_same_id_and_bytes(tmp_path: Path) -> None:
    one, two = publish(tmp_path / "a"), publish(tmp_path / "b")
    assert one == two
    assert publish(tmp_path / "b", feature_set="set-2") != one
    folders = [bundle.models_folder(tmp_path / name) / one for name in "ab"]
    unsigned = [
        {p.name: p.read_bytes() for p in sorted(f.iterdir()) if p.suffix != ".sig"} for f in folders
    ]
    assert unsigned[0] == unsigned[1]


def test_the_base_model_is_always_there_and_a_fallback(tmp_path: Path) -> None:
    base = bundle.load_bundle(tmp_path, BASE)
    assert base.is_fallback
    assert base.formula == Formula()


def test_a_flip_of_any_byte_of_any_file_is_refused(tmp_path: Path) -> None:
    bundle_id = publish(tmp_path)
    folder = bundle.models_folder(tmp_path) / bundle_id
    rng = np.random.default_rng(5)
    for path in sorted(folder.iterdir()):
        whole = path.read_bytes()
        places = rng.choice(len(whole), min(len(whole), 60), replace=False).tolist()
        for at in {*places, 0, len(whole) - 1}:
            for bit in (1, 128):
                damaged = bytearray(whole)
                damaged[at] ^= bit
                path.write_bytes(damaged)
                with pytest.raises(BundleError) as caught:
                    bundle.load_bundle(tmp_path, bundle_id)
                assert "\n" not in str(caught.value)
        for content in (b"", whole[:-1], whole + b" ", bytes(len(whole))):
            path.write_bytes(content)
            with pytest.raises(BundleError):
                bundle.load_bundle(tmp_path, bundle_id)
        path.unlink()
        with pytest.raises(BundleError):
            bundle.load_bundle(tmp_path, bundle_id)
        path.write_bytes(whole)
    bundle.load_bundle(tmp_path, bundle_id)


def test_a_damaged_bundle_is_repaired_by_training_again(tmp_path: Path) -> None:
    bundle_id = publish(tmp_path)
    folder = bundle.models_folder(tmp_path) / bundle_id
    (folder / bundle.TREES_FILE).write_bytes(b"damaged")
    (folder / "manifest.sig").unlink()
    assert publish(tmp_path) == bundle_id
    bundle.load_bundle(tmp_path, bundle_id)


def test_a_bundle_signed_with_another_key_is_refused(tmp_path: Path) -> None:
    bundle_id = publish(tmp_path)
    folder = bundle.models_folder(tmp_path) / bundle_id
    forged = Ed25519PrivateKey.generate().sign((folder / "manifest.json").read_bytes())
    (folder / "manifest.sig").write_bytes(forged)
    with pytest.raises(BundleError, match="not signed"):
        bundle.load_bundle(tmp_path, bundle_id)


def test_a_bundle_under_another_bundles_name_is_refused(tmp_path: Path) -> None:
    old = publish(tmp_path, data_end_ns=1)
    new = publish(tmp_path, data_end_ns=2)
    folder = bundle.models_folder(tmp_path)
    for name in ("manifest.json", "manifest.sig"):
        (folder / new / name).write_bytes((folder / old / name).read_bytes())
    with pytest.raises(BundleError, match="not the manifest's hash"):
        bundle.load_bundle(tmp_path, new)


def test_a_bundle_for_another_feature_set_is_refused(tmp_path: Path) -> None:
    bundle_id = publish(tmp_path, feature_set="set-2")
    with pytest.raises(BundleError, match="feature set set-2"):
        bundle.load_bundle(tmp_path, bundle_id, feature_set="set-1")


@pytest.mark.parametrize(
    "names", [FEATURES[::-1], FEATURES[:-1], (*FEATURES, "more"), ("a", *FEATURES[1:])]
)
def test_trees_for_other_features_or_another_order_are_refused(
    tmp_path: Path, names: tuple[str, ...]
) -> None:
    with pytest.raises(BundleError, match="feature"):
        bundle.load_bundle(tmp_path, publish(tmp_path, feature_names=names))


@pytest.mark.parametrize(
    ("x", "y"),
    [
        ((0.4, 0.1, 0.9), (0.1, 0.2, 0.3)),
        ((0.1, 0.1, 0.9), (0.1, 0.2, 0.3)),
        ((0.1, 0.4, 0.9), (0.3, 0.2, 0.4)),
        ((0.1, 0.4, 0.9), (0.3, 0.3, 0.3)),
        ((-0.1, 0.4, 0.9), (0.1, 0.2, 0.3)),
        ((0.1, 0.4, 1.1), (0.1, 0.2, 0.3)),
        ((0.1, 0.4, 0.9), (-0.1, 0.2, 0.3)),
        ((0.1, 0.4, 0.9), (0.1, 0.2, 1.3)),
        ((0.1, 0.4), (0.1, 0.2, 0.3)),
        ((0.1,), (0.1,)),
        ((), ()),
    ],
)
def test_isotonic_knots_that_are_no_rising_map_are_refused_although_signed(
    tmp_path: Path, x: tuple[float, ...], y: tuple[float, ...]
) -> None:
    calibration = Calibration(kind="isotonic", knots_x=x, knots_y=y)
    bundle_id = publish(tmp_path, msgspec.structs.replace(FORMULA, calibration=calibration))
    with pytest.raises(BundleError, match="knots"):
        bundle.load_bundle(tmp_path, bundle_id)


@pytest.mark.parametrize("slope", [0.0, -1.0])
def test_a_slope_that_is_constant_or_falling_is_refused(tmp_path: Path, slope: float) -> None:
    calibration = Calibration(kind="slope", slope=slope)
    bundle_id = publish(tmp_path, msgspec.structs.replace(FORMULA, calibration=calibration))
    with pytest.raises(BundleError, match="slope"):
        bundle.load_bundle(tmp_path, bundle_id)


@pytest.mark.parametrize("distance", [-0.1, 1.1])
def test_a_bound_that_bounds_nothing_is_refused(tmp_path: Path, distance: float) -> None:
    bundle_id = publish(tmp_path, msgspec.structs.replace(FORMULA, distance_max=distance))
    with pytest.raises(BundleError, match="distance_max"):
        bundle.load_bundle(tmp_path, bundle_id)


@pytest.mark.parametrize(
    "text", [b"", b"{", b"[]", b'{"rung":"other"}', b'{"anchor":{"market":1e999}}', b'"\xff"']
)
def test_a_formula_that_cannot_be_read_is_refused_although_signed(
    tmp_path: Path, text: bytes
) -> None:
    bundle_id = resign(tmp_path, publish(tmp_path), anchor__json=text)
    with pytest.raises(BundleError):
        bundle.load_bundle(tmp_path, bundle_id)


def test_a_rung_and_its_trees_must_agree(tmp_path: Path) -> None:
    content = bundle.formula_files(msgspec.structs.replace(FORMULA, rung="anchored"), model_text())
    key = keys.signing_key(tmp_path)
    with pytest.raises(BundleError, match="disagree"):
        bundle.load_bundle(tmp_path, bundle.write_bundle(tmp_path, key, manifest(), content))
    del content[bundle.TREES_FILE]
    bundle.load_bundle(tmp_path, bundle.write_bundle(tmp_path, key, manifest(), content))


def test_trees_that_are_not_text_are_refused_although_signed(tmp_path: Path) -> None:
    text = model_text().encode()
    for damaged in (text.replace(b"mid", b"m\xffd"), b"\0" * 100, text[: len(text) // 4], b""):
        bundle_id = resign(tmp_path, publish(tmp_path), model__txt=damaged)
        with pytest.raises(BundleError):
            bundle.load_bundle(tmp_path, bundle_id)


def test_an_unknown_manifest_version_is_refused(tmp_path: Path) -> None:
    bundle_id = publish(tmp_path, version=bundle.MANIFEST_VERSION + 1)
    with pytest.raises(BundleError, match="version"):
        bundle.load_bundle(tmp_path, bundle_id)


@pytest.mark.parametrize(
    "name", ["../keys", "..", "/etc", "a" * 10_000, "A" * 24, "", "a" * 23 + "/", "\0" * 24]
)
def test_a_hostile_bundle_id_reads_nothing(tmp_path: Path, name: str) -> None:
    keys.signing_key(tmp_path)
    with pytest.raises(BundleError, match="is not a bundle id") as caught:
        bundle.load_bundle(tmp_path, name)
    assert len(str(caught.value)) < 300


def test_an_absent_bundle_says_what_there_is(tmp_path: Path) -> None:
    known = publish(tmp_path)
    with pytest.raises(BundleError, match=known):
        bundle.load_bundle(tmp_path, "0" * 24)


def test_what_is_no_file_in_a_files_place_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    bundle_id = publish(tmp_path)
    for name in (bundle.FORMULA_FILE, "manifest.sig", "manifest.json"):
        path = bundle.models_folder(tmp_path) / bundle_id / name
        path.unlink()
        os.mkfifo(path)
        with pytest.raises(BundleError, match="it is no file"):
            bundle.load_bundle(tmp_path, bundle_id)
        path.unlink()
        path.mkdir()
        with pytest.raises(BundleError, match="cannot read"):
            bundle.load_bundle(tmp_path, bundle_id)


def test_a_file_that_is_too_long_is_not_read_to_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle_id = publish(tmp_path)
    monkeypatch.setattr(bundle, "FILE_BYTES_MAX", 100)
    with pytest.raises(BundleError, match="is above 100 bytes"):
        bundle.load_bundle(tmp_path, bundle_id)


def test_no_key_no_bundle(tmp_path: Path) -> None:
    bundle_id = publish(tmp_path)
    (tmp_path / keys.PUBLIC_KEY).unlink()
    with pytest.raises(ConfigError):
        bundle.load_bundle(tmp_path, bundle_id)


def test_the_pointers_generation_rises_by_one(tmp_path: Path) -> None:
    assert bundle.read_current(tmp_path) is None
    key = keys.signing_key(tmp_path)
    for generation in (1, 2, 3):
        written = bundle.write_current(tmp_path, key, bundle_id=BASE, reason=f"r{generation}")
        assert written.generation == generation
        assert bundle.read_current(tmp_path) == written


def test_a_forged_pointer_is_refused(tmp_path: Path) -> None:
    key = keys.signing_key(tmp_path)
    path = bundle.models_folder(tmp_path) / "current"
    current = bundle.write_current(tmp_path, key, bundle_id="a" * 24, reason="first\n2\nx")
    changes: list[dict[str, Any]] = [
        {"bundle": "b" * 24},
        {"generation": 2},
        {"reason": "x"},
        {"signature": ""},
        {"signature": "zz"},
        {"signature": Ed25519PrivateKey.generate().sign(b"x").hex()},
    ]
    for change in changes:
        path.write_bytes(msgspec.json.encode(msgspec.structs.replace(current, **change)))
        with pytest.raises(BundleError, match="not signed"):
            bundle.read_current(tmp_path)
    for content in (b"", b"{", b'"\xff"', b"null", b'{"bundle":1}'):
        path.write_bytes(content)
        with pytest.raises(BundleError, match="cannot be read"):
            bundle.read_current(tmp_path)
        with pytest.raises(BundleError):
            bundle.write_current(tmp_path, key, bundle_id=BASE, reason="over a damaged one")


def test_the_id_pins_every_byte(tmp_path: Path) -> None:
    bundle_id = publish(tmp_path)
    folder = bundle.models_folder(tmp_path) / bundle_id
    text = (folder / "manifest.json").read_bytes()
    assert sha256(text).hexdigest().startswith(bundle_id)
    listed = msgspec.json.decode(text)["files"]
    for name, digest in listed.items():
        assert sha256((folder / name).read_bytes()).hexdigest() == digest
    assert {p.name for p in folder.iterdir()} == {*listed, "manifest.json", "manifest.sig"}
