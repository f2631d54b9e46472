"""Writes `.env.example` from the table of settings: `python -m services.console.env_example`.

Every line that sets something is commented out and shows the default, so that a copy of the file
changes nothing and each line that is uncommented says what this machine does differently.

A reader would question a name without `=`: that setting has no default. Docker Compose and Hawk
both take such a line as not set, while an empty value would be one.
"""

from libs.common.settings import describe

FIXED = (
    "HAWK_DATA",
    "HAWK_HTTP_HOST",
    "HAWK_REDIS_URL",
    "HAWK_REDIS_PASSWORD_FILE",
    "HAWK_API_KEY_FILE",
    "HAWK_SERVICE_HOST",
)
"""What docker-compose.yml sets itself, whatever stands in `.env`."""

FOR_TESTS = ("HAWK_RECORDINGS", "HAWK_ENGINE")

COMPOSE = (
    ("TAG", "0.1.0", "version of Hawk's images; naming an older one that was built is a rollback"),
    ("PROMETHEUS_PORT", "9090", "port of Prometheus on this machine, loopback only"),
    ("ALERTMANAGER_PORT", "9093", "port of Alertmanager on this machine, loopback only"),
    ("GRAFANA_PORT", "3000", "port of Grafana on this machine, loopback only"),
    (
        "COMPOSE_FILE",
        "docker-compose.yml",
        "files that Compose reads; with 2 GB: docker-compose.yml:deploy/compose.small.yml",
    ),
)
"""What only Compose reads: name, default, what it is."""

_HEAD = """\
# Settings of Hawk. Copy this file to .env and uncomment what is to differ: shown are the defaults.
# A name without `=` has none. Unknown HAWK_* names are refused at the start, so a misspelt limit is
# not silently none. Secrets do not belong here: docs/operating.md says where they are.
# Made by `python -m services.console.env_example`; a test holds it to the code.
"""

_UNSET = "None"


def page() -> str:
    """Return the file."""
    apart = {*FIXED, *FOR_TESTS}
    settings = {key: (default, text) for key, default, text in describe()}
    sections = [
        ("Settings", [(k, *entry) for k, entry in settings.items() if k not in apart]),
        ("Read by Docker Compose alone", list(COMPOSE)),
        (
            "Without containers only: docker-compose.yml sets these itself",
            [(key, *settings[key]) for key in FIXED],
        ),
        ("For tests only", [(key, *settings[key]) for key in FOR_TESTS]),
    ]
    return _HEAD + "".join(_section(title, lines) for title, lines in sections)


def _section(title: str, lines: list[tuple[str, str, str]]) -> str:
    text = [f"\n# == {title} ==\n"]
    for key, default, what in lines:
        setting = key if default == _UNSET else f"{key}={default}"
        text.append(f"\n# {what}\n#{setting}\n")
    return "".join(text)


if __name__ == "__main__":
    print(page(), end="")
