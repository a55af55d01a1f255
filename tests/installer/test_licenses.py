"""Terms are accepted by a named person, for these very terms, and never against site policy."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
from weights_server import FREE, NON_COMMERCIAL, entry_for

from install import licenses, places
from install.errors import InstallError
from install.machine import Machine

ENTRY = entry_for(("https://example.org/net.pth",), license=NON_COMMERCIAL)


def policy(tmp_path: Path, **rules: object) -> Path:
    path = tmp_path / "policy.json"
    path.write_text(json.dumps(rules))
    return path


def test_free_weights_need_no_acceptance(home: Path) -> None:
    assert licenses.state(entry_for((), license=FREE), home, ()).allowed


def test_non_commercial_weights_wait_for_an_acceptance_that_is_recorded(home: Path) -> None:
    assert licenses.state(ENTRY, home, ()).code == "license_required"
    licenses.accept(ENTRY, home, name="Ada Lovelace", purpose="film studies", policies=())
    found = licenses.state(ENTRY, home, ())
    assert found.allowed
    (record,) = licenses.audit(home)
    assert found.accepted == record
    assert (record.name, record.purpose) == ("Ada Lovelace", "film studies")
    assert record.license_sha256 == NON_COMMERCIAL.sha256
    assert record.date.endswith("+00:00")


@pytest.mark.parametrize(("name", "purpose"), [("", "study"), ("Ada", "  ")])
def test_an_acceptance_without_name_or_purpose_is_none(home: Path, name: str, purpose: str) -> None:
    with pytest.raises(InstallError) as failed:
        licenses.accept(ENTRY, home, name=name, purpose=purpose, policies=())
    assert failed.value.code == "license_required"
    assert licenses.audit(home) == []


def test_changed_terms_have_to_be_accepted_anew(home: Path) -> None:
    licenses.accept(ENTRY, home, name="Ada", purpose="study", policies=())
    stricter = dataclasses.replace(NON_COMMERCIAL, terms=("No money.", "No Sundays."))
    changed = dataclasses.replace(ENTRY, license=stricter)
    assert licenses.state(changed, home, ()).code == "license_required"


def test_a_revoked_acceptance_stays_in_the_audit_file(home: Path) -> None:
    licenses.accept(ENTRY, home, name="Ada", purpose="study", policies=())
    licenses.revoke(ENTRY, home, name="Ada")
    assert licenses.state(ENTRY, home, ()).code == "license_required"
    assert [record.action for record in licenses.audit(home)] == ["accept", "revoke"]


def test_site_policy_forbids_what_was_accepted(home: Path, tmp_path: Path) -> None:
    licenses.accept(ENTRY, home, name="Ada", purpose="study", policies=())
    rule = policy(tmp_path, schema=1, non_commercial_weights="forbid", contact="it@example.org")
    found = licenses.state(ENTRY, home, [tmp_path / "none.json", rule])
    assert (found.allowed, found.code) == (False, "license_forbidden")
    assert "it@example.org" in found.reason
    with pytest.raises(InstallError) as failed:
        licenses.accept(ENTRY, home, name="Ada", purpose="again", policies=[rule])
    assert failed.value.code == "license_forbidden"
    assert len(licenses.audit(home)) == 1


def test_site_policy_can_forbid_weights_by_name(home: Path, tmp_path: Path) -> None:
    rule = policy(tmp_path, forbidden_weights=["tiny"])
    assert licenses.state(entry_for((), license=FREE), home, [rule]).code == "license_forbidden"


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[]",
        '{"non_comercial_weights": "forbid"}',
        '{"schema": 2}',
        '{"non_commercial_weights": "no"}',
        '{"forbidden_weights": "tiny"}',
    ],
)
def test_a_policy_that_is_not_understood_forbids(home: Path, tmp_path: Path, text: str) -> None:
    path = tmp_path / "policy.json"
    path.write_text(text)
    assert licenses.state(entry_for((), license=FREE), home, [path]).code == "license_forbidden"


def test_the_policy_named_by_the_environment_adds_to_the_administrators() -> None:
    machine = Machine(system="linux", env={"CHROMABRIDGE_POLICY": "/srv/farm.json"})
    assert places.policies(machine) == [
        Path("/etc/chromabridge/policy.json"),
        Path("/srv/farm.json"),
    ]
    windows = Machine(system="win32", env={"PROGRAMDATA": "C:/ProgramData"})
    assert places.policies(windows) == [Path("C:/ProgramData/ChromaBridge/policy.json")]
