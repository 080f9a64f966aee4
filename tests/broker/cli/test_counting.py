"""What workers count, over HTTP."""

import httpx2

SUBJECT = "crm:ticket/4711#read[subject]"


def test_every_worker_tells_the_counts_of_all(served):
    """Two workers share a port: whoever is asked tells the same."""
    name = "broker_tokens_issued_total "

    def issued() -> float:
        lines = httpx2.get(f"{served.url}/metrics", trust_env=False).text.splitlines()
        return sum(float(line.removeprefix(name)) for line in lines if line.startswith(name))

    before = issued()
    for _ in range(6):
        assert served.act("token", "request", SUBJECT).code == 0
    assert [issued() - before for _ in range(6)] == [6.0] * 6
