"""What `make deploy` checks before it builds: `python -m cli.check_deploy --stack NAME --config-env NAME …`.

Prints the options for `sam build` and `sam deploy`, quoted for a shell: the region and the parameters, those of
samconfig.toml first. (SAM does not read AWS_REGION, drops the parameters of samconfig.toml when the command line has
any, and ignores parameters that the template does not have.)
"""

import argparse
import difflib
import os
import re
import shlex
import sys
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import boto3
import yaml
from botocore.exceptions import BotoCoreError, ClientError, EndpointConnectionError, NoRegionError

from cli.concurrency import too_little_concurrency
from cli.stack import CLIENT_CONFIG, LOCAL, StackError, explain, printable, run

TEMPLATE = Path("template.yaml")
SAMCONFIG = Path("samconfig.toml")
# SAM CLI creates this stack for its artifact bucket.
SAM_STACK = "aws-sam-cli-managed-default"
_STACK_NAME = re.compile(r"[A-Za-z][A-Za-z0-9-]{0,127}")
_NUMBER = re.compile(r"[+-]?[0-9]+(\.[0-9]+)?")


def main(arguments: Sequence[str] | None = None) -> int:
    """Check everything and print the options. Returns 0; raises StackError, ClientError or BotoCoreError."""
    options = _options(arguments)
    _check_stack_name(options.stack)
    environment = _environment(options.config_env)
    known = _parameters_of_the_template()
    source = f"samconfig.toml, environment {options.config_env}"
    parameters = {
        **_checked(_configured(environment), known, source),
        **_checked(options.parameters, known, "PARAMETERS"),
    }
    region = _check_account(options.stack, environment)
    _check_concurrency(region, environment, parameters, known)
    overrides = [f'{name}="{value.replace('"', r"\"")}"' for name, value in parameters.items()]
    print(shlex.join(["--region", region, *(["--parameter-overrides", *overrides] if overrides else [])]))
    return 0


def _options(arguments: Sequence[str] | None) -> Any:
    options = argparse.ArgumentParser(description="Check the settings of a deployment.", allow_abbrev=False)
    options.add_argument("--stack", required=True, help="the CloudFormation stack to deploy")
    options.add_argument("--config-env", required=True, help="an environment of samconfig.toml")
    options.add_argument("--parameters", default="", help="Name=value pairs, separated by blanks; quoted as in a shell")
    return options.parse_args(arguments)


def _check_stack_name(name: str) -> None:
    if name.lower() == LOCAL:
        raise StackError(
            f"STACK={name} means the local stack of make serve, to which nothing can be deployed: "
            "use another name, or run make serve"
        )
    if name == SAM_STACK:
        raise StackError(f"STACK={name} is the stack of SAM CLI's artifact bucket: use another name")
    if not _STACK_NAME.fullmatch(name):
        raise StackError(
            f"STACK={printable(name)} cannot be the name of a stack: "
            "use up to 128 letters, digits and -, a letter first"
        )


def _environment(name: str) -> dict[str, Any]:
    """Return the settings of `sam deploy` in that environment: the section `deploy` overrides `global`."""
    try:
        config = tomllib.loads(SAMCONFIG.read_text())
    except (OSError, ValueError) as error:
        raise StackError(f"samconfig.toml cannot be read: {error}") from None
    names = [each for each, value in config.items() if isinstance(value, dict)]
    if name not in names:
        raise StackError(
            f"CONFIG_ENV: samconfig.toml has no environment {printable(name)}; it has {', '.join(names)}"
            + _meant(name, names)
        )
    sections = [config[name].get(section, {}).get("parameters", {}) for section in ("global", "deploy")]
    overrides = [word for section in sections for word in _words(section.get("parameter_overrides", ""))]
    return {**sections[0], **sections[1], "parameter_overrides": overrides}


def _configured(environment: Mapping[str, Any]) -> str:
    return shlex.join(environment["parameter_overrides"])


def _words(overrides: object) -> list[str]:
    """Return the parameters from any form that SAM accepts: a text, a list of texts or a table."""
    if isinstance(overrides, dict):
        return [f"{name}={value}" for name, value in overrides.items()]
    texts = overrides if isinstance(overrides, list) else [overrides]
    return [word for text in texts for word in _split(str(text), "samconfig.toml")]


def _split(text: str, source: str) -> list[str]:
    try:
        return shlex.split(text)
    except ValueError:
        raise StackError(f"{source}: a quotation mark is not closed in {printable(text)}") from None


def _parameters_of_the_template() -> dict[str, dict[str, Any]]:
    return dict(yaml.load(TEMPLATE.read_text(), _TemplateLoader)["Parameters"])  # noqa: S506 a SafeLoader


class _TemplateLoader(yaml.SafeLoader):
    """Loads YAML and drops CloudFormation's short forms (`!Ref`), which no parameter uses."""


_TemplateLoader.add_multi_constructor("!", lambda _loader, _name, _node: None)


def _checked(text: str, known: Mapping[str, Mapping[str, Any]], source: str) -> dict[str, str]:
    """Parse the parameters. Raises StackError for an unknown name or a value that the template does not allow."""
    parameters = {}
    for word in _split(text, source):
        name, equals, value = word.partition("=")
        if not equals:
            raise StackError(
                f"{source}: {printable(word)} is not of the form Name=value; "
                "quote blanks: PARAMETERS=\"Name='two words'\""
            )
        if name not in known:
            raise StackError(
                f"{source}: the template has no parameter {printable(name)}"
                + (_meant(name, known) or f"; it has {', '.join(known)}")
            )
        if not _is_allowed(value, known[name]):
            constraint = known[name].get("ConstraintDescription", "is not a value that the template allows")
            raise StackError(f"{source}: {name}={printable(value)} is not allowed: {name} {constraint}")
        parameters[name] = value
    return parameters


def _is_allowed(value: str, parameter: Mapping[str, Any]) -> bool:
    """Whether CloudFormation would accept the value. A constraint that the parameter lacks allows everything."""
    if parameter["Type"] == "Number":
        if not _NUMBER.fullmatch(value):
            return False
        smallest, largest = parameter.get("MinValue", "-inf"), parameter.get("MaxValue", "inf")
        return float(smallest) <= float(value) <= float(largest)
    shortest, longest = parameter.get("MinLength", 0), parameter.get("MaxLength", sys.maxsize)
    return (
        int(shortest) <= len(value) <= int(longest)
        and value in map(str, parameter.get("AllowedValues", [value]))
        and re.fullmatch(str(parameter.get("AllowedPattern", "(?s:.*)")), value) is not None
    )


def _meant(name: str, known: Iterable[str]) -> str:
    """Suggest the known name that is most similar, whatever its case; "" for none."""
    by_lower = {each.lower(): each for each in known}
    close = difflib.get_close_matches(name.lower(), by_lower, 1)
    return f"; did you mean {by_lower[close[0]]}?" if close else ""


def _check_account(stack: str, environment: Mapping[str, Any]) -> str:
    """Sign in to AWS and print where the stack will be deployed. Returns the region."""
    region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or environment.get("region")
    session = boto3.Session(region_name=region, profile_name=environment.get("profile"))
    if not session.region_name:
        raise NoRegionError
    try:
        account = session.client("sts", config=CLIENT_CONFIG).get_caller_identity()["Account"]
    except EndpointConnectionError:
        partitions = session.get_available_partitions()
        regions = [each for name in partitions for each in session.get_available_regions("sts", name)]
        if session.region_name in regions:
            raise
        raise StackError(
            f"there is no AWS region {printable(session.region_name)}: correct AWS_REGION, or the region of the AWS "
            f"profile{_meant(session.region_name, regions)}"
        ) from None
    print(f"deploying {stack} to {session.region_name}, account {account}", file=sys.stderr)
    return session.region_name


def _check_concurrency(
    region: str,
    environment: Mapping[str, Any],
    parameters: Mapping[str, str],
    known: Mapping[str, Mapping[str, Any]],
) -> None:
    """Warn on standard error if the account's concurrency does not suffice. It does not stop the deployment."""
    session = boto3.Session(region_name=region, profile_name=environment.get("profile"))
    functions = session.client("lambda", config=CLIENT_CONFIG)
    retries = int(float(parameters.get("RetryConcurrency") or known["RetryConcurrency"]["Default"]))
    try:
        if why := too_little_concurrency(functions, retries):
            print(f"warning: {why}", file=sys.stderr)
    except (ClientError, BotoCoreError) as error:
        print(f"the account's concurrency is not checked: {explain(error)}", file=sys.stderr)


if __name__ == "__main__":
    run(main)
