"""Discussions and pull requests: what was said and done in them, in order."""

from dataclasses import dataclass, field
from typing import Any


@dataclass
class Discussion:
    """A discussion, or a pull request when it has a head.

    Attributes:
        head: The commit of the pull request, at `refs/pr/{number}`.
        base: The commit that it started from.
        status: "draft", "open", "closed" or "merged".
        merged_as: The commit on main, once merged.
    """

    number: int
    title: str
    author: str
    created: str
    head: str | None = None
    base: str | None = None
    status: str = "open"
    merged_as: str | None = None
    events: list[dict[str, Any]] = field(default_factory=list)

    def add(self, kind: str, user: str, date: str, data: dict[str, Any]) -> dict[str, Any]:
        """Notes an event and gives it as the API does."""
        event = {
            "id": f"{self.number:04x}{len(self.events):020x}",
            "type": kind,
            "createdAt": date,
            "author": {"name": user, "type": "user"},
            "data": data,
        }
        self.events.append(event)
        return event

    def comment(self, user: str, date: str, text: str) -> dict[str, Any]:
        """Notes a comment (Markdown)."""
        latest = {"raw": text, "html": text, "updatedAt": date, "author": {"name": user}}
        return self.add(
            "comment", user, date, {"edited": False, "hidden": False, "latest": latest, "history": [latest]}
        )
