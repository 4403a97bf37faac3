"""docs/deployer-policy.json allows what CloudFormation needs for each resource of the template, and no more services.

What it needs is in AWS's own resource schemas, which cfn-lint ships: the permissions of each type's handlers.
"""

import json
from fnmatch import fnmatchcase
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.unit.template import RESOURCES, ROOT

POLICY = json.loads((ROOT / "docs/deployer-policy.json").read_text())
ALLOWED = [action.lower() for statement in POLICY["Statement"] for action in statement["Action"]]
# What SAM makes of its own types here.
OF_SAM = {
    "AWS::Serverless::Function": [
        "AWS::CodeDeploy::Application",
        "AWS::CodeDeploy::DeploymentGroup",
        "AWS::Events::Rule",
        "AWS::Lambda::Alias",
        "AWS::Lambda::EventInvokeConfig",
        "AWS::Lambda::EventSourceMapping",
        "AWS::Lambda::Function",
        "AWS::Lambda::Permission",
        "AWS::Lambda::Version",
    ],
    "AWS::Serverless::HttpApi": ["AWS::ApiGatewayV2::Api", "AWS::ApiGatewayV2::Stage"],
}
TYPES = sorted({kind for each in RESOURCES.values() for kind in OF_SAM.get(each["Type"], [each["Type"]])})
# The template uses none of these.
NOT_NEEDED = {
    "functions in a network": ("ec2:*", "elasticfilesystem:*", "s3files:*"),
    "keys of the customer": ("kms:*",),
    "streams of the table, an import": ("kinesis:*", "s3:getobjectmetadata"),
    "replicas of the table": ("iam:createservicelinkedrole",),
    "log groups that deliver": ("firehose:*", "s3:rest.put.object"),
    "policies of users and groups": ("iam:*userpolicy", "iam:*grouppolicy"),
}
# The calls of the commands themselves.
CALLS = [
    "cloudformation:CreateChangeSet",
    "cloudformation:DeleteChangeSet",
    "cloudformation:DeleteStack",
    "cloudformation:DescribeChangeSet",
    "cloudformation:DescribeStackEvents",
    "cloudformation:DescribeStackResource",
    "cloudformation:DescribeStackResources",
    "cloudformation:DescribeStacks",
    "cloudformation:ExecuteChangeSet",
    "cloudformation:UpdateStack",
    "sts:GetCallerIdentity",
    "lambda:GetAccountSettings",
    "lambda:GetFunctionConcurrency",
    "lambda:ListEventSourceMappings",
    "lambda:UpdateEventSourceMapping",
    "events:ListRules",
    "events:ListTargetsByRule",
    "events:PutEvents",
    "s3:PutObject",
    "s3:CreateBucket",
    "dynamodb:GetItem",
    "dynamodb:UpdateItem",
    "secretsmanager:GetSecretValue",
    "secretsmanager:PutSecretValue",
    "secretsmanager:DescribeSecret",
    "secretsmanager:UpdateSecretVersionStage",
    "secretsmanager:DeleteSecret",
    "sqs:ReceiveMessage",
    "sqs:SendMessage",
    "sqs:DeleteMessage",
    "sqs:ChangeMessageVisibility",
    "sqs:GetQueueAttributes",
    "sqs:DeleteQueue",
    "logs:FilterLogEvents",
    "apigateway:GET",
    "apigateway:PATCH",
    "apigateway:DELETE",
    "cloudwatch:GetMetricStatistics",
]


@cache
def handlers() -> dict[str, set[str]]:
    """The permissions that creating, reading, changing and deleting each type needs."""
    found: dict[str, set[str]] = {}
    cfn_lint = find_spec("cfnlint")  # not imported: each process of tests would load it
    assert cfn_lint
    assert cfn_lint.origin
    for file in Path(cfn_lint.origin).parent.glob("data/schemas/resources/*.json"):
        schema = json.loads(file.read_text())
        if schema.get("typeName") in TYPES and "handlers" in schema:
            actions = (handler["permissions"] for name, handler in schema["handlers"].items() if name != "list")
            found.setdefault(schema["typeName"], set()).update(each for listed in actions for each in listed)
    return found


def matches(action: str, patterns: list[str]) -> bool:
    return any(fnmatchcase(action.lower(), pattern) for pattern in patterns)


@pytest.mark.parametrize("kind", TYPES)
def test_cloudformation_may_do_all_that_a_type_needs(kind: str) -> None:
    not_needed = [pattern for patterns in NOT_NEEDED.values() for pattern in patterns]
    missing = [each for each in handlers()[kind] if not matches(each, ALLOWED) and not matches(each, not_needed)]
    assert missing == []


@pytest.mark.parametrize("action", CALLS)
def test_the_commands_may_make_their_calls(action: str) -> None:
    assert matches(action, ALLOWED)


def test_the_policy_allows_no_other_service_and_is_small_enough() -> None:
    needed = {each.partition(":")[0] for actions in handlers().values() for each in actions}
    services = {action.partition(":")[0] for action in ALLOWED}
    assert services <= needed | {"cloudformation", "sts", "s3"}
    assert len(json.dumps(POLICY, separators=(",", ":"))) <= 6144, "the limit of a managed policy"


def test_a_wildcard_of_actions_has_resources() -> None:
    for statement in POLICY["Statement"]:
        assert statement["Effect"] == "Allow"
        if statement["Resource"] == "*":
            assert not [action for action in statement["Action"] if action.endswith("*")]
