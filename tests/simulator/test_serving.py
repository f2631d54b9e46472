"""The command line of the live simulator."""

from pathlib import Path

import pytest

from services.simulator.serving import main


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--speed", "0"], "speed 0"),
        (["--speed", "nan"], "speed nan"),
        (["--seed", "-1"], "seed -1"),
        (["--start", "tomorrow"], "start 'tomorrow'"),
        (["--kalshi-key", "missing.pem"], "missing.pem"),
    ],
)
def test_a_wrong_argument_ends_with_a_reason(
    arguments: list[str], reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) != 0
    assert reason in capsys.readouterr().err


def test_a_file_that_is_no_key_ends_with_a_reason(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "key.pem").write_text("not a key")
    assert main(["--kalshi-key", str(tmp_path / "key.pem")]) != 0
    assert "RSA public key" in capsys.readouterr().err
