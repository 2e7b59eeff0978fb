"""Markdown of jobs, as elements: what is made of it, and that nothing else can be made of it."""

from __future__ import annotations

import random
from typing import Any

import pytest
from playwright.sync_api import Page

from .chromium import in_browser
from .site import Site

pytestmark = [pytest.mark.deep, pytest.mark.xdist_group("browser")]

RENDER = """async (texts) => {
  const {render} = await import("/page/markdown.js");
  return texts.map((text) => {
    const shown = document.createElement("div");
    shown.append(render(text));
    return shown.innerHTML.replace(/ (dir|title|target|rel)="[^"]*"/g, "");
  });
}"""
MADE = {
    "# One\n### Three *it*": "<h4>One</h4><h6>Three <em>it</em></h6>",
    "one\ntwo\n\nthree": "<p>one<br>two</p><p>three</p>",
    "**b** _i_ ***both*** ~~d~~ **a *b***": (
        "<p><strong>b</strong> <em>i</em> <strong><em>both</em></strong> <del>d</del> "
        "<strong>a <em>b</em></strong></p>"
    ),
    "a_name_b, 2 * 3 * 4, **open [1] \\*": "<p>a_name_b, 2 * 3 * 4, **open [1] *</p>",
    "`a *b*` ``c`d``": "<p><code>a *b*</code> <code>c`d</code></p>",
    "```py\nif *a*:\n\n  b\n```\nx": "<pre>if *a*:\n\n  b</pre><p>x</p>",
    "```\nstill streams": "<pre>still streams</pre>",
    "- a\n- b\n  1. c\n  2. d\n\n- e": (
        "<ul><li>a</li><li>b<ol><li>c</li><li>d</li></ol></li><li>e</li></ul>"
    ),
    "3. a\n4. b": '<ol start="3"><li>a</li><li>b</li></ol>',
    "> a\n> > b": "<blockquote><p>a</p><blockquote><p>b</p></blockquote></blockquote>",
    "|a|b|\n|-|:-:|\n|1|`x\\|y`|": (
        "<table><tr><th>a</th><th>b</th></tr><tr><td>1</td><td><code>x\\|y</code></td></tr></table>"
    ),
    "a\n\n---": "<p>a</p><hr>",
    "[t](https://a.example/b_(c)) (see http://d.example).": (
        '<p><a href="https://a.example/b_(c)">t</a> (see <a href="http://d.example">http://d.example</a>).</p>'
    ),
    "[http://a.example](http://b.example)": '<p><a href="http://b.example">http://a.example</a></p>',
    "<b>&amp;</b><!-- x -->": "<p>&lt;b&gt;&amp;amp;&lt;/b&gt;&lt;!-- x --&gt;</p>",
    "![x](https://a.example/i.png)": '<p>!<a href="https://a.example/i.png">x</a></p>',
}
NO_LINKS = [
    "[a](javascript:alert(1))",
    "[a](JaVaScRiPt:alert(1))",
    "[a](data:text/html,<script>alert(1)</script>)",
    "[a](vbscript:x) [a](file:///etc/passwd) [a](/relative) [a](//host) [a](blob:x)",
    "[a](\tjavascript:\\nalert(1))",
    "[a](https:javascript) [a](https://) [a](http://[)",
    "[a]: javascript:x\n[a]",
    "<https:\\\\a> <a href=https://> httpss://a xhttp://a",
]
PIECES = [
    *"*_`~[]()<>|#-+.!\\\n \"'&",
    *(
        "**",
        "```",
        "](",
        "http://",
        "https://a.example/",
        "javascript:",
        "data:,",
        "- ",
        "1. ",
        "> ",
        "|-|-|\n",
    ),
    *(
        "<script>",
        "<img src=x onerror=alert(1)>",
        "</div>",
        "&lt;",
        "\0",
        "\u202e",
        "\u05d0",
        "\U0001f600",
        "a",
        "  ",
    ),
]

STARTS = [*"*_`~[(>#|\\\n ", "**", "```", "](http://a ", "http://", "- ", "1. ", "|-|-|\n", "a", "\n\n"]


@in_browser()
def test_what_is_made_of_markdown(page: Page, site: Site) -> None:
    """Each form has its elements; HTML is text, and an image a link, as nothing is loaded from elsewhere."""
    page.goto("/")
    assert dict(zip(MADE, page.evaluate(RENDER, list(MADE)), strict=True)) == MADE


@in_browser()
def test_only_http_and_https_become_links(page: Page, site: Site) -> None:
    """Other addresses stay text; a link opens apart, and the page there learns nothing of this one."""
    page.goto("/")
    assert [shown for shown in page.evaluate(RENDER, NO_LINKS) if "<a" in shown] == []
    link: Any = page.evaluate("""async () => {
      const {render} = await import("/page/markdown.js");
      const {href, rel, target, title} = render("[a](HTTPS://b.example/'onclick=x)").querySelector("a");
      return {href, rel, target, title};
    }""")
    assert link["href"] == "https://b.example/'onclick=x"
    assert set(link["rel"].split()) >= {"noopener", "noreferrer"}
    assert link["target"] == "_blank"
    assert link["title"].lower() == link["href"]


@in_browser()
def test_hostile_text_makes_nothing_but_markdown(page: Page, site: Site) -> None:
    """Of 3,000 random texts: only known elements and attributes, only http links, no letter is lost, and
    elements are not deeper than the bounds."""
    found = random.Random(7)
    texts = ["".join(found.choices(PIECES, k=found.randint(1, 60))) for _ in range(3000)]
    texts += [piece * 5000 for piece in ("> ", "- ", "*a ", "[", "**_", "1. - > ")]
    page.goto("/")
    wrong = page.evaluate(
        """async (texts) => {
      const {render} = await import("/page/markdown.js");
      const names = "P H4 H5 H6 UL OL LI BLOCKQUOTE PRE CODE HR TABLE TR TH TD A STRONG EM DEL BR SPAN";
      const tags = new Set(names.split(" "));
      const attributes = new Set(["href", "title", "target", "rel", "start", "dir"]);
      const letters = (text) => text.replace(/[^a-z\\u05d0]/g, "");
      const depth = (node) => 1 + Math.max(0, ...[...node.children].map(depth));
      return texts.filter((text) => {
        const shown = document.createElement("div");
        shown.append(render(text));
        const all = [...shown.querySelectorAll("*")];
        const named = (node) => [...node.attributes].every(({name}) => attributes.has(name));
        const known = all.every((node) => tags.has(node.tagName) && named(node));
        const links = all.filter((node) => node.tagName === "A");
        const safe = links.every((a) => ["http:", "https:"].includes(a.protocol) && !a.querySelector("a"));
        const said = letters(shown.textContent + links.map((a) => a.title).join(""));
        const kept = [...new Set(letters(text))].every((one) => said.includes(one)) || /```|\\|/.test(text);
        return !known || !safe || !kept || depth(shown) > 60;
      });
    }""",
        texts,
    )
    assert wrong == []


@in_browser()
def test_time_is_in_proportion_to_the_length(page: Page, site: Site) -> None:
    """Of every pair of pieces, eight times as much takes less than forty times as long."""
    page.goto("/")
    slow = page.evaluate(
        """async (pieces) => {
      const {parse, openFence} = await import("/page/markdown.js");
      const took = (text) => Math.min(...[1, 2, 3].map(() => {
        const began = performance.now();
        parse(text);
        openFence(text);
        return performance.now() - began;
      }));
      const grows = (unit) => {
        const [one, many] = [2500, 20_000].map((size) => took(unit.repeat(size / unit.length)));
        return many > 40 * Math.max(one, 2);
      };
      const units = pieces.flatMap((one) => pieces.map((other) => one + other));
      return units.filter((unit) => grows(unit) && grows(unit)); // twice, as the machine may be busy
    }""",
        STARTS,
    )
    assert slow == []
