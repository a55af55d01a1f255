"""Which weights may be used and where they lie; never imports torch, so that the front can ask."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from host_plugins import places
from host_plugins.wire.errors import BridgeError
from install import licenses, manifest, weight_store
from install import weights as installer
from install.errors import InstallError

ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class InstalledWeights:
    """Weights that are here and may be used.

    files: each part of the network by its name. sha256: of the file as its authors offer it.
    """

    name: str
    title: str
    files: dict[str, Path]
    sha256: str
    license: str
    license_url: str
    commercial: bool
    attribution: str

    def made_by(self) -> dict[str, str]:
        """What every record, header and panel says of these weights."""
        return {
            "weights": self.title,
            "sha256": self.sha256,
            "license": self.license,
            "license_url": self.license_url,
            "commercial": "yes" if self.commercial else "no",
            "attribution": self.attribution,
        }


def find(name: str, home: Path | None = None, *, verify: bool = False) -> InstalledWeights:
    """The weights of that name in the manifest.

    home: the user's folder. verify: hash the files too, as before loading; without it only their
    sizes are looked at. Raises BridgeError `license_forbidden`, `license_required`,
    `weights_missing`, or `weights_mismatch` when a file is not what was installed.
    """
    home = home or places.home()
    try:
        entry = manifest.get(name)
        licenses.require(entry, home)
        state, detail, digest, _ = weight_store.look(entry, home, ROOT)
        if state == "missing":
            raise InstallError(
                "weights_missing",
                f"{entry.title} are not installed",
                hint=f"Fetch them with: chromabridge weights fetch {name}",
            )
        if state == "broken":
            raise InstallError(
                "weights_mismatch", f"{entry.title} are not what was installed: {detail}"
            )
        if verify:
            installer.verify(entry, home, ROOT)
    except InstallError as error:
        raise as_bridge_error(error) from None
    terms = entry.license
    return InstalledWeights(
        name=name,
        title=entry.title,
        files=weight_store.files(entry, home, ROOT),
        sha256=digest,
        license=terms.spdx,
        license_url=terms.url,
        commercial=terms.commercial,
        attribution=terms.attribution,
    )


def why_not(name: str, home: Path | None = None) -> BridgeError | None:
    """The error that `find` would raise, or None when the weights can be used."""
    try:
        find(name, home)
    except BridgeError as error:
        return error
    return None


def as_bridge_error(error: InstallError) -> BridgeError:
    """The installer's error as the one that travels to clients; a changed file is a mismatch."""
    code = "weights_mismatch" if error.code == "hash_mismatch" else error.code
    return BridgeError(code, error.message, hint=error.hint)
