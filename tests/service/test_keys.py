"""The file of API keys: what is in it, what is refused, and the command that makes a line of it."""

import hashlib
import hmac
import re
from pathlib import Path

import pytest

from service import keys
from service.keys import KeysError

ONE, TWO = (hashlib.sha256(text).hexdigest() for text in (b"one", b"two"))


def test_a_file_tells_which_keys_there_are(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    path.write_text(f"# of the lab\n\nuse {ONE}\r\n  admin\t{TWO}  the night shift, since May \n")
    found = keys.read(path)
    one, two = found.find(b"one"), found.find(b"two")
    assert one is not None
    assert two is not None
    assert (one.scope, one.name) == ("use", ONE[:8])
    assert (two.scope, two.name) == ("admin", "the night shift, since May")
    for other in (b"", b"One", b"one ", ONE.encode(), bytes.fromhex(ONE), b"\xff"):
        assert found.find(other) is None


def test_all_keys_are_compared_whichever_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "keys"
    path.write_text(f"use {ONE}\nuse {TWO}\nuse {'0' * 64}\n")
    found = keys.read(path)
    compared: list[bytes] = []
    compare = hmac.compare_digest

    def noted(a: bytes, b: bytes) -> bool:
        compared.append(a)
        return compare(a, b)

    monkeypatch.setattr(hmac, "compare_digest", noted)
    for text in (b"one", b"two", b"none"):
        compared.clear()
        found.find(text)
        assert [digest.hex() for digest in compared] == [ONE, TWO, "0" * 64]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (f"use {ONE}\nroot {TWO}\n", "line 2: must be `use` or `admin`, the SHA-256"),
        (f"use {ONE[:-1]}\n", "line 1: must be"),
        (f"use {ONE}0\n", "line 1: must be"),
        (f"use {ONE.upper()}\n", "line 1: must be"),
        (f"#\n\n{ONE}\n", "line 3: must be"),
        ("use\n", "line 1: must be"),
        (f"use {ONE} me # {ONE}\nadmin {ONE}\n", "line 2: the same key as in line 1"),
        ("", "holds no key"),
        ("# none yet\n", "holds no key"),
        (b"use \xff\n", "is not UTF-8"),
    ],
)
def test_what_is_no_file_of_keys_is_refused(tmp_path: Path, text: str | bytes, says: str) -> None:
    path = tmp_path / "keys"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(KeysError, match=f"^{re.escape(f'{path}: {says}')}"):
        keys.read(path)


@pytest.mark.parametrize("line", ["my-very-own-key", "use my-very-own-key", "my-very-own-key use"])
def test_a_key_that_was_written_there_by_mistake_is_not_repeated(tmp_path: Path, line: str) -> None:
    path = tmp_path / "keys"
    path.write_text(line)
    with pytest.raises(KeysError) as caught:
        keys.read(path)
    assert "own" not in str(caught.value)


@pytest.mark.parametrize(("name", "says"), [("missing", "No such file"), (".", "Is a directory")])
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, name: str, says: str) -> None:
    with pytest.raises(KeysError, match=f"{re.escape(str(tmp_path / name))}: {says}"):
        keys.read(tmp_path / name)


@pytest.mark.parametrize(
    ("arguments", "scope", "name"),
    [([], "use", None), (["use"], "use", None), (["admin", "ci 7"], "admin", "ci 7")],
)
def test_the_command_makes_a_new_key_each_time(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], scope: str, name: str | None
) -> None:
    texts = []
    with (tmp_path / "keys").open("w") as file:
        for _ in range(2):
            assert keys.main(arguments) == 0
            told = capsys.readouterr()
            file.write(told.out)
            texts.append(told.err.split()[-1])
            assert texts[-1] not in told.out
    assert len(set(texts)) == 2
    found = keys.read(tmp_path / "keys")
    for text in texts:
        assert re.fullmatch(r"[A-Za-z0-9_-]{43}", text)
        key = found.find(text.encode())
        assert key is not None
        assert (key.scope, key.name) == (scope, name or key.digest.hex()[:8])


@pytest.mark.parametrize("arguments", [["root"], ["use", "two\nlines"]])
def test_the_command_writes_no_line_that_is_none(arguments: list[str]) -> None:
    with pytest.raises(SystemExit):
        keys.main(arguments)
