"""The environments of samconfig.toml: what `sam deploy` uses, and the commands too."""

import shlex
import tomllib
from typing import Any

from cli import ROOT
from cli.stack import StackError, printable, suggestion

SAMCONFIG = ROOT / "samconfig.toml"


def environment(name: str) -> dict[str, Any]:
    """Return the settings of `sam deploy` in that environment: the section `deploy` overrides `global`.

    `parameter_overrides` is a list of `Name=value`, those of both sections. Raises StackError.
    """
    try:
        config = tomllib.loads(SAMCONFIG.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise StackError(f"samconfig.toml cannot be read: {error}") from None
    names = [each for each, value in config.items() if isinstance(value, dict)]
    if name not in names:
        raise StackError(
            f"--env: samconfig.toml has no environment {printable(name)}; it has {', '.join(names)}"
            f"{suggestion(name, names)}"
        )
    sections = [config[name].get(section, {}).get("parameters", {}) for section in ("global", "deploy")]
    overrides = [word for section in sections for word in _words(section.get("parameter_overrides", ""))]
    return {**sections[0], **sections[1], "parameter_overrides": overrides}


def _words(overrides: object) -> list[str]:
    """Return the parameters from any form that SAM accepts: a text, a list of texts or a table."""
    if isinstance(overrides, dict):
        return [f"{name}={value}" for name, value in overrides.items()]
    texts = overrides if isinstance(overrides, list) else [overrides]
    return [word for text in texts for word in _split(str(text))]


def _split(text: str) -> list[str]:
    try:
        return shlex.split(text)
    except ValueError:
        raise StackError(f"samconfig.toml: a quotation mark is not closed in {printable(text)}") from None
