"""The environments of samconfig.toml beside each other, on one bus of one account."""

import shlex
import tomllib

from local.application import Application
from local.highlevel import LocalHighLevel
from local.stack import ARCHITECTURE, ROOT, LocalAws
from tests.integration.packaged import deploy_packaged
from tests.integration.world import TOKEN
from tests.unit.template import TEMPLATE


def environments() -> dict[str, dict[str, str]]:
    """The parameters of each environment, by the name of its stack."""
    config = tomllib.loads((ROOT / "samconfig.toml").read_text())
    return {
        environment["deploy"]["parameters"]["stack_name"]: dict(
            word.split("=", 1) for word in shlex.split(environment["global"]["parameters"]["parameter_overrides"])
        )
        for environment in config.values()
        if isinstance(environment, dict)
    }


def test_no_environment_takes_the_events_of_another() -> None:
    with LocalHighLevel(tokens={TOKEN: "*"}) as highlevel, LocalAws(enforce_iam=True) as aws:
        applications = {}
        for name, parameters in environments().items():
            here = {"HighLevelBaseUrl": highlevel.url, "Architecture": ARCHITECTURE}
            detail_type = parameters.get("EventDetailType", TEMPLATE["Parameters"]["EventDetailType"]["Default"])
            application = Application(aws, deploy_packaged(aws, parameters | here, name=name))
            application.store_token(TOKEN)
            applications[detail_type] = application
        assert len(applications) == len(environments()) == 3
        # Twice: a stack that takes the others' events has taken the first ones by the time of the second.
        for number in range(2):
            for detail_type, application in applications.items():
                contact = f"{detail_type}{number}"
                application.put_event({"locationId": "environment", "contactId": contact}, detail_type)
                assert application.wait_for_line(contact_id=contact)["outcome"] == "opened"
        for detail_type, application in applications.items():
            assert [line["contact_id"] for line in application.lines()] == [f"{detail_type}{n}" for n in range(2)]
