// Keeps pages up to date. Everything is drawn by the server; without this file, pages refresh.
"use strict";

const QUIET_MS = 1500; // between two updates of a page

// Takes over every part of the page that has changed, and leaves focus and open details alone.
async function update() {
  const answer = await fetch(location.href, { headers: { accept: "text/html" } });
  if (answer.redirected) return location.reload(); // the session has ended
  if (!answer.ok) return;
  const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
  for (const part of document.querySelectorAll("[data-live]")) {
    const other = fresh.getElementById(part.id);
    if (!other || same(part, other)) continue;
    const open = [...part.querySelectorAll("details")].map((each) => each.open);
    const focus = part.contains(document.activeElement)
      ? [...part.querySelectorAll(FOCUSABLE)].indexOf(document.activeElement)
      : -1;
    shown.set(part.id, other.outerHTML);
    part.replaceWith(other);
    other.querySelectorAll("details").forEach((each, number) => { each.open = open[number] || false; });
    if (focus >= 0) other.querySelectorAll(FOCUSABLE)[focus]?.focus({ preventScroll: true });
  }
}

const FOCUSABLE = "a[href], button, summary, select, input, [tabindex]";
const shown = new Map(); // what the server last drew, before anybody opened anything in it

function same(part, other) {
  if (!shown.has(part.id)) shown.set(part.id, part.outerHTML);
  return shown.get(part.id) === other.outerHTML;
}

// Pages that change by the clock.
async function repeat() {
  const part = document.querySelector("[data-every]");
  if (!part) return;
  await new Promise((done) => setTimeout(done, Number(part.dataset.every)));
  if (!document.hidden) await update().catch(() => {});
  repeat();
}

// Pages that change when a job tells something. The browser reconnects by itself, and names the
// last event it has seen.
function follow() {
  const part = document.querySelector("[data-events]");
  if (!part) return;
  const source = new EventSource(part.dataset.events);
  let timer = 0;
  const soon = () => { timer ||= setTimeout(() => { timer = 0; update().catch(() => {}); }, QUIET_MS); };
  source.onmessage = soon;
  source.addEventListener("state", soon);
  source.addEventListener("end", () => { source.close(); soon(); });
}

document.addEventListener("submit", (event) => {
  const question = event.submitter?.dataset.ask;
  if (question && !confirm(question)) event.preventDefault();
});

// An error, as the server draws it.
function draw(error) {
  const box = document.createElement("div");
  box.className = "fault";
  box.setAttribute("role", "alert");
  for (const [name, label] of [["what", ""], ["why", "Why"], ["fix", "What to do"]]) {
    if (!error[name]) continue;
    const line = document.createElement("p");
    if (label) line.append(Object.assign(document.createElement("b"), { textContent: label }), " ");
    else line.className = "fault-what";
    line.append(error[name]);
    box.append(line);
  }
  return box;
}

// On a phone the pages stand in a row that is wider than the window.
document.querySelector(".top nav [aria-current]")?.scrollIntoView({ block: "nearest", inline: "center" });

repeat();
follow();
