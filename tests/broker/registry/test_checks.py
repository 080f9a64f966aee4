"""What has to hold across a whole registry, each named by its key."""

from pathlib import Path

import pytest

from tests.broker.registry.catalogue import AGENT, KEY, OPERATOR, SERVICE, TASK, WHOLE, key_of, load, problems, toml_key

OTHER_AGENT = AGENT.replace("agents.bot", "agents.other")
NAME_RULE = "a name is a small letter and at most 62 of a-z, 0-9, _ and -"
FIELD_RULE = f"up to four names with dots between them, each inside the one before; {NAME_RULE}"


def changed(old: str, new: str) -> str:
    assert WHOLE.count(old) >= 1
    return WHOLE.replace(old, new, 1)


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        pytest.param(
            "[agents.bot]",
            '[agents.bot]\ndelegates_to = ["bto"]',
            "agents.bot.delegates_to: no agent 'bto' (did you mean 'bot'?)",
            id="an unknown agent to delegate to",
        ),
        pytest.param(
            "[agents.bot]",
            '[agents.bot]\nusers = [{ issuer = "corp", clients = [] }]',
            "agents.bot.users: 'corp' needs clients, by name: what was issued to others is none of the agent's",
            id="users of no client (TRAPS 13)",
        ),
        pytest.param(
            "[agents.bot]",
            '[agents.bot]\nusers = [{ issuer = "corp", clients = ["portal", ""] }]',
            "agents.bot.users: 'corp' needs clients, by name: what was issued to others is none of the agent's",
            id="users of a client without a name",
        ),
        pytest.param(
            "[agents.bot]",
            '[agents.bot]\nusers = [{ issuer = "corp", clients = ["a"] }, { issuer = "corp", clients = ["b"] }]',
            "agents.bot.users: names 'corp' twice; one entry has all its clients",
            id="users of one provider twice",
        ),
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
            "max_ttl = 60",
            "max_ttl = 60, single_use = true, max_uses = 1",
            "services.crm.resources.ticket.actions.reply: "
            "single_use and max_uses say the same thing twice; leave one out (single use is max_uses = 1)",
            id="uses counted in two ways",
        ),
        pytest.param(
            'environment = "prod"',
            'environment = "prod"\nenforces = ["proof", "single-use"]',
            "services.crm.enforces: no constraint 'single-use' (did you mean 'single_use'?)",
            id="an unknown constraint that a service is said to enforce",
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
            '"spiffe://other/*"',
            "services.crm.workloads: 'spiffe://other/*' is not a SPIFFE id with a path, nor one followed by /*",
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
            f"services.crm.resources.ticket.fields: 'Subject': {FIELD_RULE}",
            id="a field's name",
        ),
        pytest.param(
            "{ subject = []",
            '{ "customer..email" = [], subject = []',
            f"services.crm.resources.ticket.fields: 'customer..email': {FIELD_RULE}",
            id="a field inside nothing",
        ),
        pytest.param(
            "{ subject = []",
            '{ "subject.text" = [], subject = []',
            "services.crm.resources.ticket.fields: subject.text is inside subject; name the parts of subject, or all of it",
            id="a field inside another",
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


def with_keys(text: str, *names: str) -> str:
    """Put keys into the last record of a text."""
    return text.rstrip("\n") + f"\nkeys = [{', '.join(toml_key(key_of(name)) for name in names)}]\n"


KEYED = with_keys(AGENT, "bot", "bot again")
PLAIN_SERVICE = '[services.plain]\naudience = "https://plain.test"\nenvironment = "prod"\nowner = "a"\n'


def test_an_agent_may_sign_with_keys_of_its_own(tmp_path: Path) -> None:
    assert problems(tmp_path, SERVICE, TASK, KEYED, OPERATOR, with_keys(PLAIN_SERVICE, "plain")) == []


@pytest.mark.parametrize(
    ("texts", "problem"),
    [
        pytest.param(
            [KEYED, with_keys(OTHER_AGENT.replace("sa/bot", "sa/other"), "bot again")],
            "agents.other.keys: holds a key of agents.bot; a key belongs to one name",
            id="two agents",
        ),
        pytest.param(
            [KEYED, OPERATOR.replace(KEY, toml_key(key_of("bot")))],
            "operators.jane.keys: holds a key of agents.bot; a key belongs to one name",
            id="an agent and an operator",
        ),
        pytest.param(
            [OPERATOR, OPERATOR.replace("jane", "joe")],
            "operators.joe.keys: holds a key of operators.jane; a key belongs to one name",
            id="two operators",
        ),
        pytest.param(
            [KEYED, with_keys(PLAIN_SERVICE, "bot")],
            "services.plain.keys: holds a key of agents.bot; a key belongs to one name",
            id="an agent and a service",
        ),
    ],
)
def test_one_key_signs_for_one_name(tmp_path: Path, texts: list[str], problem: str) -> None:
    """Who signed would depend on what the assertion says of itself."""
    assert problems(tmp_path, SERVICE, TASK, *texts) == [problem]


@pytest.mark.parametrize(
    "texts",
    [
        pytest.param([AGENT, OPERATOR.replace("jane", "bot")], id="an agent and an operator"),
        pytest.param([KEYED, with_keys(PLAIN_SERVICE.replace("plain", "bot"), "plain")], id="an agent and a service that sign"),
        pytest.param([OPERATOR, with_keys(PLAIN_SERVICE.replace("plain", "jane"), "plain")], id="an operator and a service"),
    ],
)
def test_one_name_signs_for_one_of_them(tmp_path: Path, texts: list[str]) -> None:
    (problem,) = problems(tmp_path, SERVICE, TASK, *texts)
    assert problem.endswith("give one of them another name")


def test_a_service_without_keys_may_have_the_name_of_an_agent(tmp_path: Path) -> None:
    assert problems(tmp_path, SERVICE, TASK, KEYED, PLAIN_SERVICE.replace("plain", "bot")) == []


def test_a_workload_of_a_service_and_an_agent_is_refused(tmp_path: Path) -> None:
    shared = AGENT.replace("spiffe://prod/ns/support/sa/bot", "spiffe://prod/service/*")
    assert problems(tmp_path, SERVICE, TASK, shared) == [
        "agents.bot.workloads: 'spiffe://prod/service/*' also matches 'spiffe://prod/service/crm' of services.crm"
    ]


SPIFFE = '{ spiffe = "spiffe://prod/ns/support/sa/bot" }'


@pytest.mark.parametrize(
    ("selector", "said"),
    [
        ("{ }", "a selector is { spiffe = … } or { oidc = …, claims = { … } }"),
        ('{ spiffe = "spiffe://prod/a", oidc = "github", claims = { sub = "x" } }', "a selector is { spiffe = … }"),
        ('{ oidc = "github" }', "demands no claims"),
        ('{ oidc = "github", claims = { } }', "demands no claims"),
        ('{ oidc = "github", claims = { sub = "repo:acme/*" } }', "none is empty or a pattern"),
        ('{ oidc = "github", claims = { sub = "" } }', "none is empty or a pattern"),
        ('{ oidc = "github", claims = { "" = "x" } }', "none is empty or a pattern"),
        ('{ spiffe = "spiffe://prod/a", claims = { sub = "x" } }', "go with oidc"),
        ('{ spiffe = "spiffe://prod/a", names_may_be_reused = true }', "go with oidc"),
    ],
)
def test_a_selector_says_whom_it_means_exactly(tmp_path: Path, selector: str, said: str) -> None:
    """TRAPS 10: no pattern, and never everybody of an issuer."""
    (problem,) = problems(tmp_path, SERVICE, TASK, AGENT.replace(SPIFFE, selector))
    assert problem.startswith("agents.bot.workloads: ")
    assert said in problem


def of_github(**claims: str) -> str:
    members = ", ".join(f'{name} = "{value}"' for name, value in claims.items())
    return f'{{ oidc = "github", claims = {{ {members} }} }}'


@pytest.mark.parametrize(
    ("one", "other", "overlap"),
    [
        (of_github(sub="a"), of_github(sub="a"), True),
        (of_github(sub="a"), of_github(sub="b"), False),
        (of_github(sub="a"), of_github(ref="b"), True),
        (of_github(sub="a", ref="b"), of_github(sub="a"), True),
        (of_github(sub="a", ref="b"), of_github(sub="a", ref="c"), False),
        (of_github(sub="a"), of_github(sub="a").replace("github", "gitlab"), False),
        (of_github(sub="a"), SPIFFE, False),
    ],
)
def test_claims_overlap_unless_one_is_demanded_with_different_values(
    tmp_path: Path, one: str, other: str, overlap: bool
) -> None:
    """TRAPS 9 and 25: one token could be both."""
    texts = [AGENT.replace(SPIFFE, one), OTHER_AGENT.replace(SPIFFE, other)]
    found = problems(tmp_path, SERVICE, TASK, *texts)
    assert bool(found) is overlap
    assert all("also matches" in problem and "of agents.other" in problem for problem in found)
