"""Guessing the page's password: in parallel, from several addresses, and while others know it."""

from __future__ import annotations

import base64
import hmac
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from web_server import Served, serving

from bts.apps.web.limits import Limits
from bts.apps.web.sessions import SessionStore

pytest.importorskip("gradio_client", reason="the page needs Gradio: pip install 'bts[app]'")
import httpx
from web_client import FILE, answered, ask, events, one_line, uploaded

PASSWORD = "sesam, öffne"


def basic(password: str) -> dict[str, str]:
    return {"authorization": "Basic " + base64.b64encode(f"anyone:{password}".encode()).decode()}


def client(page: Served, address: str = "127.0.0.1") -> httpx.Client:
    """Who asks from an address of this machine; all of 127.0.0.0/8 are."""
    return httpx.Client(base_url=page.url, timeout=60, transport=httpx.HTTPTransport(local_address=address))


@pytest.fixture(scope="module")
def without_password(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A page with a result, or there would be no secret to compare with."""
    folder = tmp_path_factory.mktemp("served")
    with serving(folder) as served:
        path = uploaded(served.url, folder)
        assert answered(events(served.url, ask(served.url, [{"path": path, **FILE}, ""])))
        yield served


@pytest.fixture
def page(tmp_path: Path) -> Iterator[Served]:
    with serving(tmp_path, password=PASSWORD) as served:
        yield served


def test_guesses_in_parallel_are_refused_and_others_are_let_in(page: Served) -> None:
    with client(page) as browser, client(page, "127.0.0.3") as program:
        assert browser.get("/").status_code == 401
        assert browser.get("/", headers=basic(PASSWORD)).status_code == 200  # which gives it a cookie

        def guess(number: int) -> httpx.Response:
            with client(page) as attacker:
                return attacker.get("/theme.css", headers=basic(f"guess {number}"))

        with ThreadPoolExecutor(20) as threads:
            came = list(threads.map(guess, range(40)))
        assert {answer.status_code for answer in came} == {401, 429}
        assert sum(answer.status_code == 401 for answer in came) <= 8  # five, and one each time that the first waits were over
        refused = next(answer for answer in came if answer.status_code == 429)
        assert int(refused.headers["retry-after"]) >= 1
        assert "too many wrong passwords: try again in" in one_line(refused)
        while guess(0).status_code == 401:  # until the waits are long
            continue
        assert guess(0).status_code == 429
        assert browser.get("/", headers=basic(PASSWORD)).status_code == 200  # from the attacker's own address
        assert program.get("/theme.css", headers=basic(PASSWORD)).status_code == 200  # from another one, without a cookie


def test_a_wait_is_not_shortened_by_the_right_password(page: Served) -> None:
    """Or a guess would be answered although it must wait."""
    with client(page) as attacker:
        came = [attacker.get("/theme.css", headers=basic("wrong")).status_code for _ in range(12)]
        assert 429 in came
        while attacker.get("/theme.css", headers=basic("wrong")).status_code == 401:
            continue
        assert attacker.get("/theme.css", headers=basic(PASSWORD)).status_code == 429


def test_every_route_wants_the_password_and_none_tells_what_there_is(page: Served) -> None:
    with client(page) as visitor:
        for path in ("/", "/config", "/monitoring", "/monitoring/summary", "/nowhere", "/results/a/mask.png"):
            assert visitor.get(path).status_code == 401
        assert visitor.get("/monitoring/summary", headers=basic(PASSWORD)).status_code == 404
        assert visitor.get("/gradio_api/monitoring/summary", headers=basic(PASSWORD)).status_code == 404


@pytest.mark.parametrize("path", ["/results/%C3%A9/x", "/results/%C3%A9/mask.png", "/results/%FF%FE/x", "/results/a/%C3%A9"])
def test_a_secret_that_is_not_ascii_is_not_found(path: str, without_password: Served) -> None:
    answer = httpx.get(without_password.url + path, timeout=60)
    assert answer.status_code == 404
    assert "Traceback" not in without_password.log.read_text(encoding="utf-8") + answer.text


def test_a_session_is_found_by_its_secret_alone(tmp_path: Path) -> None:
    sessions = SessionStore(tmp_path / "private", Limits())
    session = sessions.get("anna")
    assert sessions.by_secret(session.secret) is session
    for guess in ("é", "\udc80", "", session.secret + "é", session.secret[:-1]):
        assert sessions.by_secret(guess) is None


# --- the count itself, by a clock of the test's own -------------------------------------------------------------------------


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def check(clock: Clock) -> Callable[..., object]:
    from bts.apps.web.passwords import Passwords

    passwords = Passwords("right", clock=clock)

    def checked(password: str, client: str = "192.0.2.1", token: str = "") -> object:
        result = passwords.check(basic(password)["authorization"].encode(), client=client, token=token)
        return True if result.accepted else result.wait_s

    checked.passwords = passwords  # type: ignore[attr-defined]
    return checked


def test_each_further_wrong_guess_doubles_the_wait(check: Callable[..., object], clock: Clock) -> None:
    assert [check("wrong") for _ in range(5)] == [0] * 5
    waits = []
    for _ in range(12):
        wait = check("wrong")
        assert isinstance(wait, int)
        waits.append(wait)
        assert check("wrong") == wait  # a guess that must wait is none
        clock.now += wait
        assert check("wrong") == 0
    assert waits == [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 600, 600]
    assert check("right", client="192.0.2.2") is True
    clock.now += 3601
    assert check("right") is True


def test_no_password_is_no_guess(check: Callable[..., object]) -> None:
    passwords = check.passwords  # type: ignore[attr-defined]
    for _ in range(50):
        assert passwords.check(b"", client="192.0.2.1").wait_s == 0
    assert check("right") is True


@pytest.mark.parametrize("header", [b"Basic", b"Basic !!", b"Bearer abc", b"basic", b"Basic " + base64.b64encode(b"right")])
def test_what_is_no_password_is_a_wrong_guess(header: bytes, check: Callable[..., object]) -> None:
    passwords = check.passwords  # type: ignore[attr-defined]
    came = [passwords.check(header, client="192.0.2.1") for _ in range(6)]
    assert [result.accepted for result in came] == [False] * 6
    assert [result.wait_s for result in came] == [0, 0, 0, 0, 0, 1]


def test_an_ipv6_user_is_one_client(check: Callable[..., object]) -> None:
    for number in range(5):
        check("wrong", client=f"2001:db8::{number}")
    assert check("wrong", client="2001:db8::ffff") == 1
    assert check("wrong", client="2001:db8:0:1::1") == 0
    assert check("wrong", client="::ffff:192.0.2.9") == 0


def test_guesses_from_many_addresses_are_slowed_too(check: Callable[..., object], clock: Clock) -> None:
    assert check("right", client="198.51.100.1") is True
    for number in range(100):
        assert check("wrong", client=f"203.0.113.{number}") == 0
    assert check("wrong", client="192.0.2.50") == 10  # seconds until there is room for one guess
    assert check("right", client="192.0.2.50") == 10
    assert check("right", client="198.51.100.1") is True  # who was right before does not wait for others
    clock.now += 10
    assert check("right", client="192.0.2.50") is True


def test_a_token_is_worth_nothing_after_a_wrong_guess(check: Callable[..., object]) -> None:
    passwords = check.passwords  # type: ignore[attr-defined]
    token = passwords.new_token()
    for _ in range(6):
        check("wrong")
    assert check("right") == 1
    assert check("right", token="invented") == 1
    assert check("right", token=token) is True
    assert check("wrong", token=token) == 0
    assert check("right", token=token) != True  # noqa: E712 - a number of seconds


def test_the_table_of_clients_does_not_grow(check: Callable[..., object], clock: Clock) -> None:
    from bts.apps.web.passwords import MAX_ENTRIES

    for number in range(MAX_ENTRIES + 100):
        clock.now += 10
        check("wrong", client=f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}")
    assert len(check.passwords._guesses._entries) == MAX_ENTRIES  # type: ignore[attr-defined]


def test_passwords_of_all_lengths_are_compared_alike(check: Callable[..., object], monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[tuple[int, int]] = []
    plain = hmac.compare_digest

    def recorded(one: bytes, other: bytes) -> bool:
        compared.append((len(one), len(other)))
        return plain(one, other)

    monkeypatch.setattr(hmac, "compare_digest", recorded)
    for password in ("", "r", "right", "righteous" * 100):
        check(password)
    assert len(compared) == 4
    assert len({length for pair in compared for length in pair}) == 1
