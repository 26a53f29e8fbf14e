"""The dashboard in a real Chromium: the way of a person, and what a page has to be for everybody.

The checks of accessibility follow WCAG 2.2: names (4.1.2), labels (3.3.2), order of headings
(1.3.1), contrast (1.4.3), reflow at 320 px (1.4.10), size of targets (2.5.8).
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import subprocess
import sys

import pytest

from tests.conftest import ROOT
from tests.web.browser import browsing, find_chromium

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(find_chromium() is None, reason="needs Chromium: apt install chromium"),
]

CHECK = """
(() => {
  const faults = [], say = (what, node) => faults.push(
    what + ": " + (node.outerHTML || node.textContent).slice(0, 120));
  const seen = (node) => node.checkVisibility({ visibilityProperty: true }) &&
    node.getClientRects().length > 0;
  const name = (node) => (node.getAttribute("aria-label") || node.textContent ||
    node.getAttribute("title") || "").trim();
  for (const node of document.querySelectorAll("a[href], button, summary"))
    if (!name(node)) say("no name", node);
  for (const node of document.querySelectorAll("input:not([type=hidden]), select, textarea"))
    if (!node.labels.length) say("no label", node);
  for (const node of document.querySelectorAll("progress, svg[role=img], [role=region], nav"))
    if (!node.getAttribute("aria-label")) say("no name", node);
  for (const node of document.querySelectorAll("img:not([alt]), svg:not([role])"))
    say("no alternative", node);
  let last = 0;
  for (const node of document.querySelectorAll("h1, h2, h3, h4")) {
    const level = Number(node.tagName[1]);
    if (level > last + 1) say("heading skips a level", node);
    last = level;
  }
  if (document.querySelectorAll("h1").length !== 1) say("not one h1", document.body);
  const ids = [...document.querySelectorAll("[id]")].map((node) => node.id);
  if (new Set(ids).size !== ids.length) say("an id stands twice", document.body);
  if (!document.documentElement.lang) say("no language", document.body);
  if (!document.title.includes("appliance")) say("no title", document.head);
  for (const table of document.querySelectorAll("table"))
    if (table.querySelector("th:not([scope])")) say("a head cell without scope", table);

  const parse = (text) => (text.match(/[\\d.]+/g) || []).map(Number);
  const light = ([r, g, b]) => [r, g, b].map((v) => v / 255)
    .map((v) => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const back = (node) => {
    for (let each = node; each; each = each.parentElement) {
      const colour = parse(getComputedStyle(each).backgroundColor);
      if (colour.length === 3 || colour[3] > 0) return colour;
    }
    return [255, 255, 255];
  };
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let text; (text = walker.nextNode());) {
    const node = text.parentElement;
    if (!text.textContent.trim() || !seen(node) || node.closest(".sr, .skip, svg, script, option"))
      continue;
    const style = getComputedStyle(node), size = parseFloat(style.fontSize);
    const [a, b] = [light(parse(style.color)), light(back(node))];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    const needed = size >= 24 || (size >= 18.66 && style.fontWeight >= 700) ? 3 : 4.5;
    if (ratio < needed) say("contrast " + ratio.toFixed(2), node);
    if (size < 12) say("text below 12 px", node);
  }
  for (const node of document.querySelectorAll("svg text")) {
    const ratio = ((a, b) => (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05))(
      light(parse(getComputedStyle(node).fill)), light(back(node)));
    if (ratio < 4.5) say("contrast " + ratio.toFixed(2), node);
  }
  for (const node of document.querySelectorAll("button, .button, nav a, summary, select")) {
    const box = node.getBoundingClientRect();
    if (seen(node) && (box.height < 24 || box.width < 24)) say("target too small", node);
  }
  if (document.documentElement.scrollWidth > innerWidth) say("wider than the window", walker.root);
  return faults;
})()
"""


@pytest.fixture(scope="module")
def address(office, tmp_path_factory):
    """A real dashboard in a process of its own; the link that lets in."""
    command = [sys.executable, "-m", "appliance", "dashboard", "--port", "0", "--json"]
    state = tmp_path_factory.mktemp("dashboard")
    process = subprocess.Popen(
        [*command, "--state", str(state), "--documents", str(office.roots)],
        stdout=subprocess.PIPE,
        cwd=ROOT,
        env=os.environ | {"APPLIANCE_SOCKET": str(office.daemon.socket), "OMP_NUM_THREADS": "1"},
    )
    assert process.stdout is not None
    try:
        assert select.select([process.stdout], [], [], 60)[0], "the dashboard does not begin"
        yield json.loads(process.stdout.readline())
    finally:
        process.terminate()
        assert process.wait(30) == 0
        process.stdout.close()


@pytest.fixture(scope="module")
def browser(address):
    """A browser that is logged in."""
    with contextlib.ExitStack() as stack:
        browser = stack.enter_context(browsing(find_chromium()))
        browser.open(address["address"] + "/login")
        assert browser.run(CHECK) == []
        browser.open(address["link"])
        browser.wait_for("location.pathname === '/jobs'")
        yield browser


def list_pages(job):
    return {
        "jobs": "/jobs",
        "job": f"/jobs/{job}",
        "documents": f"/jobs/{job}/documents",
        "verification": f"/jobs/{job}/verification",
        "compare": f"/compare?left={job}&right={job}",
        "start": "/start",
        "models": "/models",
        "machine": "/machine",
        "audit": "/audit",
        "error": "/jobs/999",
    }


@pytest.mark.parametrize("page", list_pages(0))
def test_page_is_for_everybody(browser, address, office, page):
    own = address["address"]
    browser.resize(1280)
    browser.open(own + list_pages(office.job)[page])
    browser.wait_for("!document.querySelector('progress:indeterminate')")
    requests, complaints = browser.list_requests(), browser.list_complaints()
    faults = {}
    for width in (1280, 390, 320):
        for is_dark in (False, True):
            browser.resize(width)
            browser.darken(is_dark=is_dark)
            faults[width, is_dark] = browser.run(CHECK)

    assert {at: found for at, found in faults.items() if found} == {}
    assert [text for text in complaints if "404" not in text] == []
    assert [url for url in requests if not url.startswith(own)] == []


def test_script_of_a_page_cannot_be_put_in(browser, address):
    browser.open(address["address"] + "/jobs")

    ran = browser.run(
        """(async () => {
          const node = document.createElement("script");
          node.textContent = "window.ran = true";
          document.body.append(node);
          document.body.insertAdjacentHTML("beforeend", '<img src=x onerror="window.ran = true">');
          await new Promise((done) => setTimeout(done, 200));
          return window.ran === true;
        })()"""
    )

    assert ran is False


def test_person_plans_starts_sees_and_stops_a_job(browser, address, office):
    browser.resize(1280)
    browser.open(address["address"] + "/start")
    browser.run("document.querySelector('main form button').click()")
    browser.wait_for("document.querySelector('form.actions button')")
    assert browser.run("document.querySelectorAll('b').length") > 0
    browser.run("document.querySelector('form.actions button').click()")
    browser.wait_for("/^.jobs.\\\\d+$/.test(location.pathname)".replace("\\\\", "\\"))
    job = int(browser.run("location.pathname.split('/').pop()"))
    browser.wait_for("document.querySelector('.badge.waiting, .badge.queued')")

    browser.run("window.confirm = () => true; document.querySelector('button.danger').click()")
    browser.wait_for("document.querySelector('.badge.canceled')")

    assert office.daemon.show(job)["state"] == "canceled"


def test_person_asks_the_models_and_stops_them(browser, address, office):
    browser.resize(390)
    browser.open(f"{address['address']}/jobs/{office.job}")
    browser.wait_for("document.querySelector('form.ask:not([hidden])')")
    browser.run("document.querySelector('#question').value = 'What stands in the procedure?'")
    browser.run("document.querySelector('form.ask').requestSubmit()")
    browser.wait_for("document.querySelector('.answer.tuned [data-figures]').textContent")
    browser.run("document.querySelector('[data-stop]').click()")

    browser.wait_for("!document.querySelector('form.ask [type=submit]').disabled")
    assert browser.run("document.querySelector('.answer.tuned [data-text]').textContent")
    assert browser.run(CHECK) == []
    assert "question=" not in browser.run("location.href")


def test_person_sends_files_and_sees_their_plan(browser, address, office):
    browser.resize(1280)
    browser.open(address["address"] + "/start")
    browser.wait_for("document.querySelector('[data-upload]:not([hidden])')")
    assert browser.run("document.querySelector('[data-upload] [type=submit]').disabled")
    files = sorted(map(str, office.roots.rglob("procedure-*.md")))
    browser.choose_files("#files", files)
    browser.wait_for("document.querySelector('[data-summary]').textContent")
    browser.run("document.querySelector('[data-upload] [type=submit]').click()")

    browser.wait_for("location.pathname.startsWith('/plans/')")
    browser.wait_for("document.querySelector('form.actions button')")
    assert f"{len(files)} of {len(files)} files" in browser.run("document.body.innerText")


def test_page_of_a_job_changes_by_itself(browser, address, office):
    job = office.daemon.submit(next(office.roots.iterdir()), "tune.rank=3")["id"]
    browser.open(f"{address['address']}/jobs/{job}")
    browser.wait_for("document.querySelector('.badge.waiting, .badge.queued')")

    office.daemon.client.ask("POST", f"/v1/jobs/{job}/cancel")

    browser.wait_for("document.querySelector('.badge.canceled')")


def test_keyboard_reaches_the_content_first(browser, address):
    browser.open(address["address"] + "/jobs")
    for kind in ("rawKeyDown", "keyUp"):
        browser.call(
            "Input.dispatchKeyEvent", type=kind, key="Tab", code="Tab", windowsVirtualKeyCode=9
        )

    assert browser.run("document.activeElement.className") == "skip"
    assert browser.run("document.activeElement.getBoundingClientRect().width") > 50


def test_person_logs_out(browser, address):
    browser.open(address["address"] + "/jobs")
    browser.run("document.querySelector('.logout button').click()")
    browser.wait_for("location.pathname === '/login'")

    browser.open(address["address"] + "/jobs")

    browser.wait_for("location.pathname === '/login'")
