"""What has to hold across a whole registry, each named by its key."""

from pathlib import Path

import pytest

from tests.broker.registry.catalogue import AGENT, OPERATOR, SERVICE, TASK, WHOLE, load, problems

OTHER_AGENT = AGENT.replace("agents.bot", "agents.other")
NAME_RULE = "a name is a small letter and at most 62 of a-z, 0-9, _ and -"


def changed(old: str, new: str) -> str:
    assert WHOLE.count(old) >= 1
    return WHOLE.replace(old, new, 1)


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        pytest.param(
            '"crm:queue/**#read"',
            '"crn:queue/**#read"',
            "tasks.summarise.scopes: 'crn:queue/**#read': no service 'crn' (did you mean 'crm'?)",
            id="an unknown service in a pattern",
        ),
        pytest.param(
            '"crm:queue/**#read"',
            '"crm:queues/**#read"',
            "tasks.summarise.scopes: 'crm:queues/**#read': no resource type 'queues' (did you mean 'queue'?)",
            id="an unknown type in a pattern",
        ),
        pytest.param(
            '"crm:queue/**#read"',
            '"crm:queue/**#raed"',
            "tasks.summarise.scopes: 'crm:queue/**#raed': no action 'raed' (did you mean 'read'?)",
            id="an unknown action in a pattern",
        ),
        pytest.param(
            "#read[subject,description]",
            "#read[subject,descripton]",
            "tasks.summarise.scopes: 'crm:ticket/*#read[subject,descripton]': "
            "no field 'descripton' (did you mean 'description'?)",
            id="an unknown field in a pattern",
        ),
        pytest.param(
            '"crm:queue/**#read"',
            '"crm:queue/**#read[name]"',
            "tasks.summarise.scopes: 'crm:queue/**#read[name]': no field 'name'",
            id="a field of a type without fields",
        ),
        pytest.param(
            '"crm:ticket/*#reply[subject]"',
            '"crm:ticket/*#reply"',
            "tasks.summarise.scopes: 'crm:ticket/*#reply': has to name its fields, for the action has no default_fields",
            id="a pattern that names no fields where nothing says which",
        ),
        pytest.param(
            '"crm:queue/**#read"',
            '"crm:queue/**/x#read"',
            "tasks.summarise.scopes: 'crm:queue/**/x#read' is not a pattern like crm:ticket/*#read[subject]",
            id="a text that is no pattern",
        ),
        pytest.param(
            'scopes       = ["crm:ticket/*#read[subject,description]", "crm:ticket/*#reply[subject]", "crm:queue/**#read"]',
            "scopes       = []",
            "tasks.summarise.scopes: is empty, so such a task could do nothing",
            id="a task type without scopes",
        ),
        pytest.param(
            'default_fields = ["subject"]',
            'default_fields = ["subjekt"]',
            "services.crm.resources.ticket.actions.read.default_fields: no field 'subjekt' (did you mean 'subject'?)",
            id="an unknown default field",
        ),
        pytest.param(
            'default_fields = ["subject"]',
            "default_fields = []",
            "services.crm.resources.ticket.actions.read.default_fields: "
            "is empty; leave it out to have every request name its fields",
            id="default fields that are none",
        ),
        pytest.param(
            'default_fields = ["subject"]',
            'default_fields = ["subject", "subject"]',
            "services.crm.resources.ticket.actions.read.default_fields: names a field twice",
            id="a default field twice",
        ),
        pytest.param(
            "max_ttl = 60",
            "max_ttl = 3601",
            "services.crm.resources.ticket.actions.reply.max_ttl: is above 3600 seconds",
            id="a life above an hour",
        ),
        pytest.param(
            "[services.crm.resources.queue.actions]",
            "[services.crm.resources.spam]\n[services.crm.resources.queue.actions]",
            "services.crm.resources.spam: has no actions, so nothing could ever be granted on it",
            id="a resource type without actions",
        ),
        pytest.param(
            'audience    = "https://crm.test"',
            'audience    = ""',
            "services.crm.audience: has to be the audience of this service only",
            id="a service without an audience",
        ),
        pytest.param(
            'owner       = "crm-team@example.com"',
            'owner       = ""',
            "services.crm: needs an environment and an owner",
            id="a service without an owner",
        ),
        pytest.param(
            'environment = "prod"',
            'environment = ""',
            "services.crm: needs an environment and an owner",
            id="a service without an environment",
        ),
        pytest.param(
            '"spiffe://prod/service/crm"',
            '"spiffe://prod/*"',
            "services.crm.workloads: 'spiffe://prod/*' is not a SPIFFE id with a path, nor one followed by /*",
            id="a whole trust domain as a service's workload",
        ),
        pytest.param(
            '"spiffe://prod/ns/support/sa/bot"',
            '"spiffe://prod/ns/*/sa/bot"',
            "agents.bot.workloads: 'spiffe://prod/ns/*/sa/bot' is not a SPIFFE id with a path, nor one followed by /*",
            id="a star in the middle of a workload",
        ),
        pytest.param(
            '"spiffe://prod/ns/support/sa/bot"',
            '"spiffe://prod/ns/support*"',
            "agents.bot.workloads: 'spiffe://prod/ns/support*' is not a SPIFFE id with a path, nor one followed by /*",
            id="a star inside a segment of a workload",
        ),
        pytest.param(
            '"spiffe://prod/ns/support/sa/bot"',
            '"spiffe://prod/ns/../bot"',
            "agents.bot.workloads: 'spiffe://prod/ns/../bot' is not a SPIFFE id with a path, nor one followed by /*",
            id="a dot segment in a workload",
        ),
        pytest.param(
            'tasks       = ["summarise"]',
            'tasks       = ["sumarise"]',
            "agents.bot.tasks: no task type 'sumarise' (did you mean 'summarise'?)",
            id="an unknown task type",
        ),
        pytest.param(
            'tasks       = ["summarise"]',
            'tasks       = ["summarise"]\ndefault_task = "other"',
            "agents.bot.default_task: 'other' is not one of its tasks",
            id="a default task that is not one of the agent's",
        ),
        pytest.param('roles = ["admin"]', "roles = []", "operators.jane.roles: is empty", id="an operator without roles"),
        pytest.param(
            'roles = ["admin"]',
            'roles = ["admin", "auditr"]',
            "operators.jane.roles: no role 'auditr' (did you mean 'auditor'?)",
            id="an unknown role",
        ),
        pytest.param("[agents.bot]", "[agents.Bot]", f"agents.Bot: {NAME_RULE}", id="an agent's name in capitals"),
        pytest.param(
            "[operators.jane]", '[operators."jane doe"]', f"operators.jane doe: {NAME_RULE}", id="a name with a space"
        ),
        pytest.param(
            "{ subject = []",
            "{ Subject = [], subject = []",
            f"services.crm.resources.ticket: 'Subject': {NAME_RULE}",
            id="a field's name",
        ),
        pytest.param(
            "reply = {",
            '"re ply" = { level = "read" }\nreply = {',
            f"services.crm.resources.ticket: 're ply': {NAME_RULE}",
            id="an action's name",
        ),
    ],
)
def test_one_thing_wrong_is_one_problem_with_its_place(tmp_path: Path, old: str, new: str, problem: str) -> None:
    assert problems(tmp_path, changed(old, new)) == [problem]


def test_the_names_of_every_table_are_checked(tmp_path: Path) -> None:
    text = "[tasks.Odd]\npurpose = ''\nmax_duration = 1\nscopes = ['crm:queue/*#read']\n"
    assert problems(tmp_path, SERVICE, text) == [f"tasks.Odd: {NAME_RULE}"]
    service = '[services.Odd]\naudience = "https://odd.test"\nenvironment = "prod"\nowner = "a"\n'
    assert problems(tmp_path, SERVICE, service) == [f"services.Odd: {NAME_RULE}"]


def test_an_audience_belongs_to_one_service(tmp_path: Path) -> None:
    """A token is honoured by whoever has its audience."""
    twin = '[services.twin]\naudience = "https://crm.test"\nenvironment = "prod"\nowner = "a"\n'
    assert problems(tmp_path, WHOLE, twin) == [
        "services.crm.audience: has to be the audience of this service only",
        "services.twin.audience: has to be the audience of this service only",
    ]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("spiffe://prod/ns/support/sa/bot", "spiffe://prod/ns/support/sa/bot"),
        ("spiffe://prod/ns/support/sa/bot", "spiffe://prod/ns/support/*"),
        ("spiffe://prod/ns/*", "spiffe://prod/ns/support/sa/bot"),
        ("spiffe://prod/ns/*", "spiffe://prod/ns/support/*"),
        ("spiffe://prod/ns/*", "spiffe://prod/ns/*"),
    ],
)
def test_a_workload_of_two_agents_is_refused(tmp_path: Path, one: str, other: str) -> None:
    """TRAPS 9 and 25: who it is would depend on the order of the files."""
    texts = [text.replace("spiffe://prod/ns/support/sa/bot", name) for text, name in ((AGENT, one), (OTHER_AGENT, other))]
    assert problems(tmp_path, SERVICE, TASK, *texts) == [
        f"agents.bot.workloads: '{one}' also matches '{other}' of agents.other"
    ]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("spiffe://prod/ns/support/sa/bot", "spiffe://prod/ns/support/sa/bots"),
        ("spiffe://prod/ns/*", "spiffe://prod/nsx/bot"),
        ("spiffe://prod/ns/*", "spiffe://prod/nsx/*"),
        ("spiffe://prod/ns/*", "spiffe://other/ns/*"),
        ("spiffe://prod/ns/*", "spiffe://prod/ns"),
    ],
)
def test_workloads_that_only_look_alike_are_two(tmp_path: Path, one: str, other: str) -> None:
    texts = [text.replace("spiffe://prod/ns/support/sa/bot", name) for text, name in ((AGENT, one), (OTHER_AGENT, other))]
    assert problems(tmp_path, SERVICE, TASK, *texts) == []


def test_an_agent_that_claims_a_workload_twice_is_refused(tmp_path: Path) -> None:
    text = AGENT.replace("workloads   = [", 'workloads   = [{ spiffe = "spiffe://prod/ns/*" }, ')
    (problem,) = problems(tmp_path, SERVICE, TASK, text)
    assert problem.startswith("agents.bot.workloads: 'spiffe://prod/ns/*' also matches")


KEY = OPERATOR[OPERATOR.index("{ kty") : OPERATOR.index(" }]") + 2]


@pytest.mark.parametrize(
    "key",
    [
        pytest.param("", id="none"),
        pytest.param("{ }", id="an empty one"),
        pytest.param('{ kty = "EC", crv = "P-256", x = "AA", y = "AA" }', id="one on no curve"),
        pytest.param(KEY.replace("P-256", "secp256k1"), id="one on another curve"),
        pytest.param('{ kty = "oct", k = "c2VjcmV0" }', id="a symmetric one"),
        pytest.param(KEY.replace(" }", ', d = "jpsQnnGQmL-YBIffH1136cspYG6-0iY7X1fCE9-E9LI" }'), id="a private one"),
        pytest.param(KEY.replace(" }", ', use = "enc" }'), id="one for encryption"),
        pytest.param(KEY.replace(" }", ', key_ops = ["sign"] }'), id="one that may not verify"),
        pytest.param(KEY.replace(" }", ", key_ops = 5 }"), id="one for nobody knows what"),
        pytest.param(KEY.replace(" }", ', alg = "HS256" }'), id="one under another algorithm"),
        pytest.param('{ kty = "RSA", e = "AQAB", n = "sXchDaQebHnPiGvyDOAT4saGEUetSyo9MKLOoWFsueri" }', id="a weak one"),
    ],
)
def test_an_operators_key_verifies_signatures_or_is_refused(tmp_path: Path, key: str) -> None:
    """TRAPS 2 and 3: private or symmetric material, `use: enc`, `key_ops` without `verify`."""
    (problem,) = problems(tmp_path, OPERATOR.replace(KEY, key))
    assert problem.startswith("operators.jane.keys: ")


def test_problems_of_every_kind_are_named_in_one_run(tmp_path: Path) -> None:
    text = (
        WHOLE.replace("max_ttl = 60", "max_ttl = 4000")
        .replace('"crm:queue/**#read"', '"crm:nothing/**#read"')
        .replace('tasks       = ["summarise"]', 'tasks       = ["nothing"]')
        .replace('roles = ["admin"]', 'roles = ["root"]')
    )
    assert [problem.split(":")[0] for problem in problems(tmp_path, text)] == [
        "services.crm.resources.ticket.actions.reply.max_ttl",
        "tasks.summarise.scopes",
        "agents.bot.tasks",
        "operators.jane.roles",
    ]


def test_the_example_has_no_problem(tmp_path: Path) -> None:
    assert problems(tmp_path, WHOLE) == []
    assert load(tmp_path, WHOLE).operator("jane") is not None
