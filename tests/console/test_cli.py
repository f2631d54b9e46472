"""The command as a user calls it: interfaces, exit codes, one clear line for each fault."""

import json
import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.console.conftest import Hawk


def test_import_says_what_it_stored_dropped_and_flagged(
    hawk: Hawk, world: Path, tmp_path: Path
) -> None:
    code, first, _ = hawk("import", world.parent / "recording", "--data", tmp_path, "--json")
    assert code == 0
    assert {"markets", "quotes", "spot", "dropped", "flagged"} <= set(first)
    code, second, _ = hawk("import", world.parent / "recording", "--data", tmp_path, "--json")
    assert code == 0
    assert second == {**first, "new": 0}


def test_replay_prints_counts_and_digests(hawk: Hawk, world: Path) -> None:
    code, result, _ = hawk("replay", "--data", world, "--json")
    assert code == 0
    assert set(result["events"]) == {"features", "forecasts", "orders"}
    assert result["events"]["features"]["count"] > 1_000
    assert all(len(kind["sha256"]) == 64 for kind in result["events"].values())


def test_train_exits_5_with_a_reason_when_the_gate_says_no(hawk: Hawk, own_world: Path) -> None:
    code, result, _ = hawk("train", "--data", own_world, "--json")
    assert code == 5
    assert result["verdict"] == "rejected"
    assert "too little evidence" in result["reason"]
    assert {"bundle", "markets", "windows", "blocks", "rung", "calibration", "scores"} <= set(
        result
    )
    code, scored, _ = hawk(
        "evaluate", "--data", own_world, "--bundle", result["bundle"], "--in-sample", "--json"
    )
    assert code == 0
    assert scored["rows"] > 0


def test_evaluate_without_rows_after_training_prints_nulls(hawk: Hawk, own_world: Path) -> None:
    _, trained, _ = hawk("train", "--data", own_world, "--json")
    code, scored, _ = hawk("evaluate", "--data", own_world, "--bundle", trained["bundle"], "--json")
    assert code == 0
    assert scored["rows"] == 0
    assert scored["brier"] == {"model": None, "market": None}
    assert scored["left_out"]["training_data"] > 0


def test_evaluate_keeps_to_its_interface(hawk: Hawk, world: Path) -> None:
    code, result, _ = hawk("evaluate", "--data", world, "--bundle", "base", "--json")
    assert code == 0
    assert result["brier"]["model"] == result["brier"]["market"]
    assert result["skill_vs_market"] == {"estimate": 0.0, "low": 0.0, "high": 0.0}
    for name in ("log_loss", "standardised", "calibration_error", "skill_vs_market_by_block"):
        assert name in result
    assert {"from_s", "to_s", "markets", "brier"} <= set(result["by_time_left"][0])
    assert {"rows", "markets", "brier"} == set(result["on_fair_value_rows"])
    assert set(result["on_fair_value_rows"]["brier"]) == {"model", "market", "fair_value"}


def test_a_range_of_times_is_half_open(hawk: Hawk, world: Path) -> None:
    middle = "2026-06-01T12:00:00Z"
    whole = hawk("evaluate", "--data", world, "--bundle", "base", "--json")[1]["rows"]
    before = hawk("evaluate", "--data", world, "--bundle", "base", "--to", middle, "--json")[1]
    after = hawk("evaluate", "--data", world, "--bundle", "base", "--from", middle, "--json")[1]
    assert before["rows"] + after["rows"] == whole
    assert 0 < before["rows"] < whole


def test_models_are_listed_shown_activated_and_rolled_back(hawk: Hawk, own_world: Path) -> None:
    _, trained, _ = hawk("train", "--data", own_world, "--json")
    bundle = trained["bundle"]
    code, _, stderr = hawk("models", "activate", bundle, "--data", own_world)
    assert code == 1
    assert "the gate did not accept" in stderr
    code, switched, _ = hawk(
        "models", "activate", bundle, "--data", own_world, "--override-gate", "--json"
    )
    assert (code, switched["generation"]) == (0, 1)
    assert "gate overridden" in switched["reason"]
    _, lines, _ = hawk("models", "list", "--data", own_world, "--json")
    assert [line["bundle"] for line in lines if line["serves"]] == [bundle]
    code, shown, _ = hawk("models", "show", "current", "--data", own_world, "--json")
    assert (code, shown["bundle"]) == (0, bundle)
    code, back, _ = hawk("models", "rollback", "--data", own_world, "--json")
    assert (code, back["bundle"], back["generation"]) == (0, "base", 2)
    code, verdict, _ = hawk("verify", "--data", own_world, "--json")
    assert (code, verdict["checked"]["audit"]) == (0, 3)


def test_verify_names_a_damaged_file_and_exits_1(hawk: Hawk, own_world: Path) -> None:
    code, verdict, _ = hawk("verify", "--data", own_world, "--json")
    assert (code, verdict["ok"], verdict["fault"]) == (0, True, None)
    path = sorted(own_world.glob("archive/quote_snapshot/*/*/*.parquet"))[3]
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))
    code, verdict, _ = hawk("verify", "--data", own_world, "--json")
    assert (code, verdict["ok"]) == (1, False)
    assert str(path) in verdict["fault"]


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("replay", "--data", "{empty}"), 4, "has no archive"),
        (("evaluate", "--data", "{world}", "--bundle", "../../etc"), 1, "not a bundle id"),
        (("evaluate", "--data", "{world}", "--rows", "all"), 2, "choose two-sided or clean"),
        (("evaluate", "--data", "{world}", "--from", "yesterday"), 2, "is not a time"),
        (("import", "{empty}", "--data", "{empty}"), 4, "cannot read"),
        (("replay", "--data", "{world}", "--out", "{world}/archive/x"), 2, "inside the archive"),
        (("replay", "--data", "{world}", "--from", "2030-01-01"), 2, "nothing to replay"),
        (("train", "--data", "{world}", "--series", "nope"), 2, "no series 'nope'"),
        (("replay", "--data", "{world}", "--out", "{world}"), 2, "never writes there"),
        (("simulate", "{world}", "--days", "1", "--seed", "1"), 2, "hawk:"),
        (("nonsense",), 2, "nonsense"),
    ],
)
def test_a_wrong_call_is_one_clear_line_and_its_exit_code(
    hawk: Hawk, world: Path, tmp_path: Path, arguments: tuple[str, ...], code: int, words: str
) -> None:
    named = [a.format(world=world, empty=tmp_path) for a in arguments]
    found, _, stderr = hawk(*named)
    assert found == code
    assert words in stderr
    assert "Traceback" not in stderr


def test_unknown_setting_is_exit_code_3(hawk: Hawk) -> None:
    code, _, stderr = hawk("config", "check", env={"HAWK_STAKEUSD": "5", "HAWK_STAGE": "live"})
    assert code == 3
    assert "HAWK_STAKEUSD" in stderr
    assert "HAWK_STAGE" in stderr


def test_unreadable_recording_names_file_and_column(
    hawk: Hawk, world: Path, tmp_path: Path
) -> None:
    recording = tmp_path / "recording"
    shutil.copytree(world.parent / "recording", recording)
    table = pq.read_table(recording / "quotes.parquet")
    column = table.schema.get_field_index("ts_ns")
    broken = table.set_column(column, "ts_ns", table["ts_ns"].cast(pa.string()))
    pq.write_table(broken, recording / "quotes.parquet")
    code, _, stderr = hawk("import", recording, "--data", tmp_path / "data")
    assert code == 4
    assert "quotes.parquet" in stderr
    assert "ts_ns" in stderr
    assert not (tmp_path / "data/archive").exists()


def test_damaged_bundle_is_one_clear_line(hawk: Hawk, own_world: Path) -> None:
    _, trained, _ = hawk("train", "--data", own_world, "--json")
    path = own_world / "models" / trained["bundle"] / "anchor.json"
    path.write_bytes(path.read_bytes().replace(b"0.1", b"0.9"))
    code, _, stderr = hawk("evaluate", "--data", own_world, "--bundle", trained["bundle"])
    assert code == 1
    assert "anchor.json is damaged" in stderr


def test_json_is_one_line_of_json(hawk: Hawk, world: Path) -> None:
    _, result, _ = hawk("verify", "--data", world, "--json")
    assert json.loads(json.dumps(result)) == result


def test_help_loads_neither_pyarrow_nor_lightgbm() -> None:
    import subprocess
    import sys

    script = (
        "import sys; sys.argv = ['hawk', '--help']\n"
        "from services.console.__main__ import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "heavy = {'pyarrow', 'lightgbm', 'numpy', 'sklearn', 'scipy'} & set(sys.modules)\n"
        "sys.exit(1 if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr


def test_verify_notices_an_old_pointer_that_was_put_back(hawk: Hawk, own_world: Path) -> None:
    _, trained, _ = hawk("train", "--data", own_world, "--json")
    order = ("models", "activate", trained["bundle"], "--data", own_world, "--override-gate")
    hawk(*order)
    pointer = own_world / "models/current"
    old = pointer.read_bytes()
    hawk("models", "rollback", "--data", own_world)
    assert hawk("verify", "--data", own_world, "--json")[0] == 0
    pointer.write_bytes(old)
    code, verdict, _ = hawk("verify", "--data", own_world, "--json")
    assert (code, verdict["ok"]) == (1, False)
    assert "old pointer" in verdict["fault"]


def test_verify_notices_a_cut_journal_and_a_removed_audit_chain(
    hawk: Hawk, own_world: Path
) -> None:
    hawk("train", "--data", own_world)
    hawk("train", "--data", own_world, "--to", "2026-06-01T12:00:00Z")
    journal = sorted(own_world.glob("archive/journal/trainer/models/*/*.journal"))[-1]
    whole = journal.read_bytes()
    journal.write_bytes(whole[:-5])
    code, verdict, _ = hawk("verify", "--data", own_world, "--json")
    assert (code, "the archive lacks model event" in verdict["fault"]) == (1, True)
    journal.write_bytes(whole)
    (own_world / "audit/model-changes.jsonl").unlink()
    code, verdict, _ = hawk("verify", "--data", own_world, "--json")
    assert (code, "lines were removed" in verdict["fault"]) == (1, True)


def test_half_an_archive_is_not_replayed_trained_or_scored(hawk: Hawk, own_world: Path) -> None:
    path = sorted(own_world.glob("archive/quote_snapshot/*/*/*.parquet"))[3]
    path.unlink()
    for command in ("replay", "train", "evaluate"):
        code, _, stderr = hawk(command, "--data", own_world)
        assert code == 4
        assert f"{path.name} is in its manifest but gone" in stderr


def test_an_edited_checkpoint_is_noticed(hawk: Hawk, world: Path, tmp_path: Path) -> None:
    hawk("replay", "--data", world, "--to", "2026-06-01T05:00:00Z", "--out", tmp_path / "o")
    path = tmp_path / "o/ledger/checkpoint.json"
    path.write_bytes(path.read_bytes().replace(b'"tick_ns":178', b'"tick_ns":179'))
    code, verdict, _ = hawk("verify", "--data", tmp_path / "o", "--json")
    assert (code, "does not fit its hash" in verdict["fault"]) == (1, True)


def test_an_output_is_not_continued_by_another_run(hawk: Hawk, world: Path, tmp_path: Path) -> None:
    out = tmp_path / "o"
    hawk("replay", "--data", world, "--to", "2026-06-01T05:00:00Z", "--out", out)
    code, _, stderr = hawk("replay", "--data", world, "--resume", out, "--bundle", "base")
    assert (code, "cannot be continued" in stderr) == (2, True)
