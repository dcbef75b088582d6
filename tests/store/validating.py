"""Validation of RO-Crates by roc-validator, without a network.

The validator fetches two JSON-LD contexts. It is given them from a cache that is filled here: of each context, the
terms that Harmony writes, with their meanings as the specifications have them (RO-Crate 1.1 at
https://w3id.org/ro/crate/1.1/context, in the public domain by CC0; Workflow Run RO-Crate at
https://w3id.org/ro/terms/workflow-run/context). A term that is missing below is unknown to the validator.
"""

from __future__ import annotations

import json
import warnings
from importlib import import_module
from pathlib import Path
from typing import Any

SCHEMA_ORG = (
    "about", "actionStatus", "agent", "author", "contentSize", "dateModified", "datePublished", "description",
    "encodingFormat", "endTime", "error", "hasPart", "identifier", "instrument", "license", "mainEntity", "mentions",
    "name", "object", "position", "programmingLanguage", "propertyID", "result", "softwareRequirements",
    "softwareVersion", "startTime", "step", "unitCode", "url", "value", "version", "workExample",
    "ComputerLanguage", "ControlAction", "CreateAction", "CreativeWork", "Dataset", "HowTo", "HowToStep",
    "OrganizeAction", "Person", "PropertyValue", "SoftwareApplication", "SoftwareSourceCode",
)  # fmt: skip
WORKFLOW_RUN = ("environment", "resourceUsage", "sha256")
CONTEXTS = {
    "https://w3id.org/ro/crate/1.1/context": {
        **{term: f"http://schema.org/{term}" for term in SCHEMA_ORG},
        "ComputationalWorkflow": "https://bioschemas.org/ComputationalWorkflow",
        "File": "http://schema.org/MediaObject",
        "conformsTo": "http://purl.org/dc/terms/conformsTo",
    },
    "https://w3id.org/ro/terms/workflow-run/context": {
        term: f"https://w3id.org/ro/terms/workflow-run#{term}" for term in WORKFLOW_RUN
    },
}
PROFILE = "provenance-run-crate-0.5"


def fill_cache(path: Path) -> None:
    """Make the cache from which the validator is served."""
    cached: Any = import_module("requests_cache")
    with cached.CachedSession(cache_name=str(path), backend="sqlite", expire_after=-1) as session:
        for url, terms in CONTEXTS.items():
            response = cached.CachedResponse(
                request=cached.CachedRequest(method="GET", url=url),
                url=url,
                status_code=200,
                content=json.dumps({"@context": terms}).encode(),
                headers={"Content-Type": "application/ld+json"},
            )
            session.cache.save_response(response)


def findings(crate: Path, cache: Path, severity: str = "REQUIRED") -> list[Any]:
    """Return what the validator has to say of a crate against the profile and those that it builds on."""
    services: Any = import_module("rocrate_validator.services")
    settings = import_module("rocrate_validator.models").ValidationSettings(
        rocrate_uri=str(crate),
        profile_identifier=PROFILE,
        requirement_severity=severity,
        offline=True,
        cache_path=cache,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # those of rdflib and pyshacl about each other
        return list(services.validate(settings).get_issues())
