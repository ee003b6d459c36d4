"""What the commands of deployments and their keys print with --json."""

from __future__ import annotations

from typing import Annotated, TypedDict

from casparian.app.cli.shadow_shapes import ShadowDocument
from casparian.domain.deployments import DeployCheck, Origin, Verdict
from casparian.domain.documents.texts import OneOf, Time
from casparian.domain.signing import Scheme


class DeployedDocument(TypedDict):
    """What `casparian deploy` installed; of a shadow run alone, `shadow` only."""

    plugin: Annotated[str, "The plugin's name."]
    version: Annotated[int | None, "Its version now; null where nothing was deployed."]
    content_hash: Annotated[str, "SHA-256 of the code."]
    key_id: Annotated[str, "The key that signed it."]
    engine: Annotated[str | None, "The engine that took it, as in `status`; null where none did."]
    shadow: Annotated[ShadowDocument | None, "What a shadow run found; null without `--shadow`."]


class RolledBackDocument(TypedDict):
    """What `casparian rollback` made live."""

    plugin: Annotated[str, "The plugin's name."]
    version: Annotated[int, "Its version now."]
    content_hash: Annotated[str, "SHA-256 of the code."]
    origin: Annotated[
        str, OneOf("rollback", "directory"), "directory where its file was taken again."
    ]


class DeploymentDocument(TypedDict):
    """A version that a plugin had, or a deployment that was refused before it was one."""

    at: Annotated[Time, "When."]
    plugin: Annotated[str, "The plugin; of a refused one as the sender said, maybe empty."]
    version: Annotated[
        int | None, "The version; of a refused one as the sender said, null where it did not."
    ]
    content_hash: Annotated[str | None, "SHA-256 of the code; null where it was refused."]
    origin: Annotated[
        Annotated[str, OneOf.each(Origin)] | None,
        "Where the code came from; null where it was refused.",
    ]
    verdict: Annotated[
        str,
        OneOf(*Verdict, "refused"),
        "failed: its signature held, and it could not be loaded.",
    ]
    check: Annotated[
        Annotated[str, OneOf.each(DeployCheck)] | None,
        "The check that refused it; null where none did.",
    ]
    message: Annotated[str, "Why it failed or was refused, or what it went back to."]
    live: Annotated[bool, "It is the version that runs."]
    key_id: Annotated[str | None, "The key that signed it; null where nobody did."]
    scheme: Annotated[
        Annotated[str, OneOf.each(Scheme)] | None, "How; null where nobody did, or it was refused."
    ]
    actor: Annotated[str | None, "Who asked for it, user@host, where an operator did."]


class KeyDocument(TypedDict):
    """One deploy key. Its secret is told nowhere."""

    id: Annotated[str, "Its id."]
    scheme: Annotated[
        Annotated[str, OneOf.each(Scheme)] | None, "How it signs; null where that is lost."
    ]
    created_at: Annotated[Time, "When it was made."]
    state: Annotated[str, OneOf("valid", "revoked"), "Whether what it signed is accepted."]
    signs: Annotated[bool, "What signs with it lies in the directory, too."]
    revoked_at: Annotated[Time | None, "When it was revoked; null where it was not."]
    revoked_by: Annotated[str | None, "By whom, user@host; null likewise."]


class CurveKeyDocument(TypedDict):
    """A pair of keys for the transport that was made."""

    public: Annotated[str, "The file with the public half."]
    secret: Annotated[str, "The file with both halves, which only its owner may read."]
