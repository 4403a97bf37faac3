"""CloudFormation and SAM: change sets, generated names, parameters, and resources that are only recorded."""

from collections.abc import Callable
from typing import Any

import yaml
from ministack.services import cloudformation, cloudwatch_logs  # type: ignore[import-not-found]
from ministack.services.cloudformation import changesets, engine, handlers, provisioners  # type: ignore[import-not-found]

from local.emulator.shared import RESOURCES, Created, Json


class TemplateLoader(yaml.CSafeLoader):
    """Parse a template with libyaml. MiniStack parses it in Python, in seven times as much processor time."""

    yaml_constructors = engine.CfnLoader.yaml_constructors


engine.CfnLoader = TemplateLoader


def with_conditions_met(
    template: Json, parameters: Json, *names: str, resolve: Callable[..., Json] = changesets._resolve_props_for_diff
) -> Json:
    """Compare only the resources whose condition is met.

    A parameter can add or remove a resource by its condition. MiniStack compares the templates and finds no change.
    """
    conditions = changesets._evaluate_conditions(template, parameters)
    resources = template.get("Resources", {})
    met = {name: each for name, each in resources.items() if conditions.get(each.get("Condition"), True)}
    return resolve({**template, "Resources": met}, parameters, *names)


changesets._resolve_props_for_diff = with_conditions_met


def generated_name(
    stack: str, logical_id: str, *, generate: Callable[..., str] = provisioners._physical_name, **options: Any
) -> str:
    """Generate other names for a stack that is deployed again after its deletion.

    MiniStack generates the same names, so that the new stack inherits the queues and secrets of the deleted one.
    """
    own = cloudformation._stacks.get(stack, {}).get("StackId", "")
    seed = provisioners._NAME_SEED.set(own + provisioners._NAME_SEED.get())
    try:
        return generate(stack, logical_id, **options)
    finally:
        provisioners._NAME_SEED.reset(seed)


provisioners._physical_name = generated_name


def create_log_group(
    logical_id: str, properties: Json, stack: str, create: Callable[..., Created] = provisioners._cwlogs_create
) -> Created:
    """Fail the deployment if the template's name of a log group exists. MiniStack empties that group."""
    if (name := properties.get("LogGroupName")) in cloudwatch_logs._log_groups:
        raise ValueError(f"{name} already exists")
    return create(logical_id, properties, stack)


RESOURCES["AWS::Logs::LogGroup"]["create"] = provisioners._cwlogs_create = create_log_group


# --- SAM --------------------------------------------------------------------------------------------------------------


def expand(
    template: Json, given: Any = None, previous: Any = None, apply: Callable[..., Json] = engine._apply_transforms
) -> Json:
    """Expand the SAM template with the values of its parameters. MiniStack passes only the defaults."""
    values = engine._transform_parameters(template, given, previous)
    declared = template.get("Parameters", {})
    valued = {name: {**declared[name], "Default": values.get(name, declared[name].get("Default"))} for name in declared}
    if not declared:
        return apply(template, given, previous)
    expanded = apply({**template, "Parameters": valued}, given, previous)
    expanded["Parameters"] = declared
    return expanded


changesets._apply_transforms = handlers._apply_transforms = expand


# --- Recorded, without effect -----------------------------------------------------------------------------------------


def put_alarm(name: str, properties: Json, put: Callable[..., Created] = provisioners._cw_metric_alarm_put) -> Created:
    """Accept an alarm over metric math, which MiniStack refuses. It is never evaluated."""
    if "Metrics" not in properties:
        return put(name, properties)
    return name, {"Arn": f"arn:aws:cloudwatch:{provisioners.get_region()}:{provisioners.get_account_id()}:alarm:{name}"}


provisioners._cw_metric_alarm_put = put_alarm


def create_query(_logical_id: str, properties: Json, _stack: str) -> Created:
    """Accept a query definition, which MiniStack does not know."""
    return properties["Name"], {"QueryDefinitionId": properties["Name"]}


RESOURCES["AWS::Logs::QueryDefinition"] = {"create": create_query, "delete": lambda _physical_id, _properties: None}


def create_nothing(logical_id: str, _properties: Json, stack: str) -> Created:
    """Accept the resources of CodeDeploy, which MiniStack does not know. An alias moves immediately."""
    return f"{stack}-{logical_id}", {}


for kind in ("AWS::CodeDeploy::Application", "AWS::CodeDeploy::DeploymentGroup"):
    RESOURCES[kind] = {"create": create_nothing, "delete": lambda _physical_id, _properties: None}
