"""The card as a browser gets it."""

from html.parser import HTMLParser

from .asking import ask
from .markdown import rendered
from .server import Hub

CARD = b"""---
language: [de]
license: mit
tags: [speech, <b>]
model-index:
- name: m
  results: [{task: {type: t}, dataset: {type: d, name: EmoDB}, metrics: [{type: uar, value: 0.81}]}]
---
# A `model` of *speech*

<!-- not for people -->
See [the numbers](#results), [the config](./config.json) and [elsewhere](https://example.org/a).

## Results

| Metric | Value |
| --- | --- |
| UAR | 0.73 |

![matrix](figures/confusion.png) <img src='b.png'> <audio controls src="a.wav"></audio>

```html
<img src="stays.png"> <!-- stays -->
```
<script>alert("not run")</script>
"""


VOID = {"meta", "img", "br", "hr"}


class Elements(HTMLParser):
    """All start tags with their attributes; complains about ends that were not begun."""

    def __init__(self, html: str):
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self._open: list[str] = []
        self.feed(html)
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert tag in VOID or self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data

    def all(self, tag: str, attribute: str) -> list[str | None]:
        return [attributes[attribute] for name, attributes in self.found if name == tag and attribute in attributes]


def test_the_card(hub: Hub) -> None:
    api = hub.api("ada")
    api.create_repo("ada/model")
    api.upload_file(path_or_fileobj=CARD, path_in_repo="README.md", repo_id="ada/model")
    answer = ask(hub, "GET", "/ada/model")
    assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
    page = Elements(answer.body.decode())
    files = "/ada/model/resolve/main"
    assert page.all("img", "src") == [f"{files}/figures/confusion.png", f"{files}/b.png"]
    assert page.all("audio", "src") == [f"{files}/a.wav"]
    assert {"#results", "/ada/model/blob/main/config.json", "https://example.org/a"} <= set(page.all("a", "href"))
    assert page.all("h1", "id") == ["a-model-of-speech"] and "results" in page.all("h2", "id")
    for text in ("de", "mit", "speech", "<b>", "EmoDB", "0.81", "UAR", "README.md"):
        assert text in page.text
    assert '<img src="stays.png"> <!-- stays -->' in page.text
    assert b"not for people" not in answer.body and b"alert" not in answer.body and "license: mit" in page.text


def test_pages_of_files_and_discussions(hub: Hub) -> None:
    api = hub.api("ada")
    api.create_repo("ada/data", repo_type="dataset")
    content = {"a.txt": b"a < b\n", "b.png": b"\x89PNG\0", "c.wav": b"RIFF", "d.bin": b"\0"}
    for path, data in content.items():
        api.upload_file(path_or_fileobj=data, path_in_repo=path, repo_id="ada/data", repo_type="dataset")
    pull = api.upload_file(
        path_or_fileobj=b"a > b\n", path_in_repo="a.txt", repo_id="ada/data", repo_type="dataset", create_pr=True
    )
    where = "/datasets/ada/data"
    assert "No dataset card" in Elements(ask(hub, "GET", where).body.decode()).text
    listed = Elements(ask(hub, "GET", f"{where}/tree/main").body.decode())
    links = [link for link in listed.all("a", "href") if link and "/blob/" in link]
    assert [link.rpartition("/")[2] for link in links] == [".gitattributes", *content]
    shown = {path: Elements(ask(hub, "GET", f"{where}/blob/main/{path}").body.decode()) for path in content}
    assert "a < b" in shown["a.txt"].text and "not shown" in shown["d.bin"].text
    assert shown["b.png"].all("img", "src") == [f"{where}/resolve/main/b.png"]
    assert shown["c.wav"].all("audio", "src") == [f"{where}/resolve/main/c.wav"]
    assert ask(hub, "GET", f"{where}/blob/main/nothing").status == 404
    assert "Upload a.txt" in Elements(ask(hub, "GET", f"{where}/discussions").body.decode()).text
    assert pull.pr_url
    page = Elements(ask(hub, "GET", pull.pr_url.removeprefix(hub.endpoint)).body.decode())
    assert "+a > b" in page.text and "-a < b" in page.text
    moved = ask(hub, "GET", pull.commit_url.removeprefix(hub.endpoint))
    assert (moved.status, moved.headers["Location"]) == (302, f"{hub.endpoint}{where}/tree/{pull.oid}")
    assert ask(hub, "GET", f"{where}/tree/{pull.oid}").status == 200


def test_private_pages_are_for_their_owner(hub: Hub) -> None:
    hub.api("ada").create_repo("ada/secret", private=True)
    assert [ask(hub, "GET", "/ada/secret", user).status for user in ("ada", "bob", None)] == [200, 404, 401]
    assert "private" in Elements(ask(hub, "GET", "/ada/secret", "ada").body.decode()).text


def test_headings_and_links() -> None:
    html = rendered("## F0 & *jitter*, 95 %\n\n[a](/b) [c](c) ~~d~~", "/ada/model", "v1")
    assert '<h2 id="f0--jitter-95">' in html
    assert 'href="/b"' in html and 'href="/ada/model/blob/v1/c"' in html and "<s>d</s>" in html
