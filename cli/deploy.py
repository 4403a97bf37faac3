"""`./hlc deploy`: check everything, build, show what changes, ask once, deploy, and say what to do next."""

import os
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import boto3
from botocore.exceptions import BotoCoreError, ClientError, EndpointConnectionError

from cli import ROOT
from cli.change_set import Change, changes_of, discard, execute
from cli.concurrency import too_little_concurrency
from cli.known_senders import all_senders
from cli.options import LOCAL, NeedsYesError, Settings, print_json
from cli.parameters import checked_parameters, template_parameters
from cli.progress import progress
from cli.shared_events import others_rules
from cli.stack import CLIENT_CONFIG, StackError, aws_session, explain, for_stack, printable, suggestion

if TYPE_CHECKING:
    from types_boto3_cloudformation import CloudFormationClient

# SAM CLI creates this stack for its artifact bucket.
SAM_STACK = "aws-sam-cli-managed-default"
RULE = "CreateConversationConversationRequested"
LISTED = 20
_STACK_NAME = re.compile(r"[A-Za-z][A-Za-z0-9-]{0,127}")
_CHANGE_SET = re.compile(r"arn:[\w-]+:cloudformation:[\w-]+:\d+:changeSet/\S+")
_SIGNS = {"create": "+", "change": "~", "replace": "!", "delete": "-"}


@dataclass
class Deployment:
    """What is deployed where. `deployed`: the stack as it is, {} if it does not exist yet."""

    settings: Settings
    session: boto3.Session
    stack: str
    region: str
    account: str
    parameters: dict[str, str]
    deployed: dict[str, Any] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)

    @property
    def formation(self) -> "CloudFormationClient":
        """A client of CloudFormation."""
        return self.session.client("cloudformation", config=CLIENT_CONFIG)

    @property
    def is_new(self) -> bool:
        """Whether the stack does not exist yet."""
        return not self.deployed

    def warn(self, text: str) -> None:
        """Print a warning on standard error. It does not stop the deployment."""
        self.warnings.append(text)
        print(text, file=sys.stderr)

    def value(self, name: str) -> str:
        """Return the value that a parameter will have: as given, as deployed, or the default."""
        if name in self.parameters:
            return self.parameters[name]
        for each in self.deployed.get("Parameters", []):
            if each["ParameterKey"] == name:
                return str(each["ParameterValue"])
        return str(template_parameters()[name].get("Default", ""))


def run(settings: Settings, given: Sequence[str], *, shared_events: bool) -> int:
    """Deploy. Returns 0; raises NeedsYesError, StackError, ClientError or BotoCoreError."""
    deployment = checked(settings, given, shared_events=shared_events)
    if not settings.yes and not sys.stdin.isatty():
        raise NeedsYesError("nothing was deployed. Without a terminal to ask: add --yes")
    arn = create_change_set(deployment)
    changes = changes_of(deployment.formation, arn) if arn else []
    _show(settings, changes)
    if arn:
        _confirm(deployment, arn)
        execute(deployment.formation, deployment.stack, arn, len(changes))
    _report(deployment, changes)
    return 0


def checked(settings: Settings, given: Sequence[str], *, shared_events: bool = False) -> Deployment:
    """Check all that can be checked before the build, and print where it will be deployed."""
    all_senders()
    stack = settings.stack_name
    _check_stack_name(stack)
    environment = settings.env or "default"
    parameters = checked_parameters(settings.environment["parameter_overrides"], environment, given)
    session = aws_session(settings)
    region, account = session.region_name or "", _account(session)
    deployment = Deployment(settings, session, stack, region, account, parameters)
    deployment.deployed = _deployed(deployment)
    new = " (a new stack)" if deployment.is_new else ""
    settings.say(f"deploying {stack}{new} to {region}, account {account}")
    _check_concurrency(deployment)
    _check_events(deployment, shared_events=shared_events)
    return deployment


def _check_stack_name(name: str) -> None:
    if name.lower() == LOCAL:
        raise StackError(
            f"--stack {name} means the local stack of make serve, to which nothing can be deployed: "
            "use another name, or run make serve"
        )
    if name == SAM_STACK:
        raise StackError(f"--stack {name} is the stack of SAM CLI's artifact bucket: use another name")
    if not _STACK_NAME.fullmatch(name):
        raise StackError(
            f"--stack {printable(name)} cannot be the name of a stack: "
            "use up to 128 letters, digits and -, a letter first"
        )


def _account(session: boto3.Session) -> str:
    """Sign in to AWS. Returns the account."""
    try:
        return session.client("sts", config=CLIENT_CONFIG).get_caller_identity()["Account"]
    except EndpointConnectionError:
        partitions = session.get_available_partitions()
        regions = [each for name in partitions for each in session.get_available_regions("sts", name)]
        if session.region_name in regions:
            raise
        raise StackError(
            f"there is no AWS region {printable(session.region_name)}: correct --region, AWS_REGION, or the region of "
            f"the AWS profile{suggestion(session.region_name, regions)}"
        ) from None


def _deployed(deployment: Deployment) -> dict[str, Any]:
    """Return the stack as it is. Raises StackError if it cannot be updated."""
    try:
        found: dict[str, Any] = {**deployment.formation.describe_stacks(StackName=deployment.stack)["Stacks"][0]}
    except ClientError as error:
        answer = error.response.get("Error", {})
        if answer.get("Code") != "ValidationError" or "does not exist" not in answer.get("Message", ""):
            raise
        return {}
    status = found["StackStatus"]
    if status == "REVIEW_IN_PROGRESS":  # a change set that was never executed
        return {}
    if status in ("ROLLBACK_COMPLETE", "ROLLBACK_FAILED", "CREATE_FAILED", "DELETE_FAILED"):
        raise StackError(f"the stack {deployment.stack} failed before ({status}): ./hlc delete, then deploy again")
    if status.endswith("_IN_PROGRESS") and "CLEANUP" not in status:
        raise StackError(f"CloudFormation still works on the stack {deployment.stack} ({status}): try again later")
    return found


def _check_concurrency(deployment: Deployment) -> None:
    """Warn if the account's concurrency does not suffice."""
    functions = deployment.session.client("lambda", config=CLIENT_CONFIG)
    try:
        if why := too_little_concurrency(functions, int(deployment.value("RetryConcurrency"))):
            deployment.warn(f"warning: {why}")
    except (ClientError, BotoCoreError) as error:
        deployment.warn(f"the account's concurrency is not checked: {explain(error)}")


def _check_events(deployment: Deployment, *, shared_events: bool) -> None:
    """Raise StackError if another stack takes the same events, unless that is wanted."""
    bus, detail_type = deployment.value("EventBusName"), deployment.value("EventDetailType")
    events = deployment.session.client("events", config=CLIENT_CONFIG)
    try:
        rules = others_rules(events, bus, detail_type, _own_rule(deployment))
    except ClientError as error:
        if error.response.get("Error", {}).get("Code") == "ResourceNotFoundException":
            raise StackError(
                f"there is no event bus {bus} in {deployment.region}: create it, or name another: EventBusName=…"
            ) from None
        deployment.warn(f"whether another stack takes the same events is not checked: {explain(error)}")
        return
    if not rules:
        return
    text = f"the rule {rules[0]} takes the same events (bus {bus}, detail-type {detail_type})"
    if not shared_events:
        raise StackError(
            f"{printable(text)}: both stacks would process each event. Give this stack its own detail-type: "
            "EventDetailType=<another one>; or add --shared-events"
        )
    deployment.warn(f"warning: {printable(text)}")


def _own_rule(deployment: Deployment) -> str | None:
    if deployment.is_new:
        return None
    found = deployment.formation.describe_stack_resources(StackName=deployment.stack)["StackResources"]
    return next((each.get("PhysicalResourceId") for each in found if each["LogicalResourceId"] == RULE), None)


def create_change_set(deployment: Deployment) -> str:
    """Build, upload and create the change set. Returns its ARN; "" if nothing changes."""
    overrides = [f'{name}="{value.replace('"', r"\"")}"' for name, value in deployment.parameters.items()]
    options = ["--config-env", deployment.settings.env or "default", "--region", deployment.region]
    if deployment.settings.profile:
        options += ["--profile", deployment.settings.profile]
    if overrides:
        options += ["--parameter-overrides", *overrides]
    with progress("installing SAM CLI"):
        _run(["make", "--silent", ".tools/sam/ready"], os.environ)
    with progress("building"):
        _sam("build", *options)
    with progress("uploading"):
        said = _sam("deploy", "--stack-name", deployment.stack, "--no-execute-changeset", *options)
    arns = _CHANGE_SET.findall(said)
    return arns[-1] if arns else ""


def _sam(*words: str) -> str:
    path = f"{ROOT / '.tools' / 'sam' / 'bin'}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
    variables = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    return _run(["sam", *words], {**variables, "PATH": path, "SAM_CLI_TELEMETRY": "0"})


def _run(command: list[str], environment: Mapping[str, str]) -> str:
    """Run a command in the clone. Returns its output; raises StackError, after printing it, if it fails."""
    finished = subprocess.run(
        command,
        cwd=ROOT,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        check=False,
    )
    if finished.returncode:
        print(finished.stdout.strip(), file=sys.stderr)
        raise StackError(f"{' '.join(command[:2])} failed; nothing was deployed")
    return finished.stdout


def _show(settings: Settings, changes: Sequence[Change]) -> None:
    for change in changes[:LISTED]:
        loses = "  THIS LOSES WHAT IT HOLDS" if change.loses_data else ""
        settings.say(f"  {_SIGNS.get(change.verb, ' ')} {change.verb:<8}{change.resource}  {change.kind}{loses}")
    if len(changes) > LISTED:
        settings.say(f"    and {len(changes) - LISTED} more")


def _confirm(deployment: Deployment, arn: str) -> None:
    """Ask. After a no, nothing of the change set is left."""
    where = f"{deployment.stack} in {deployment.region}, account {deployment.account}"
    try:
        deployment.settings.confirm(f"Deploy these changes to {where}?", "nothing was deployed")
    except (StackError, KeyboardInterrupt):
        discard(deployment.formation, deployment.stack, arn, is_new=deployment.is_new)
        raise


def _report(deployment: Deployment, changes: Sequence[Change]) -> None:
    """Print what was done, the outputs, and what to do next."""
    settings = deployment.settings
    action = "unchanged" if not changes and not deployment.is_new else "created" if deployment.is_new else "updated"
    described = deployment.formation.describe_stacks(StackName=deployment.stack)["Stacks"][0]
    outputs = {each["OutputKey"]: each["OutputValue"] for each in described.get("Outputs", [])}
    following = "./hlc token set" if deployment.is_new else "./hlc doctor"
    following = for_stack(following, settings.command)
    if settings.json:
        print_json(
            {
                "stack": deployment.stack,
                "region": deployment.region,
                "account": deployment.account,
                "action": action,
                "changes": [asdict(change) for change in changes],
                "outputs": outputs,
                "warnings": deployment.warnings,
                "next": following,
            }
        )
        return
    settings.say(f"{action}: {deployment.stack}")
    for name in ("ConversationsUrl", "WebhooksUrl", "DashboardUrl"):
        if name in outputs:
            settings.say(f"  {name:<17} {outputs[name]}")
    settings.say(f"\nNext: {following}")
