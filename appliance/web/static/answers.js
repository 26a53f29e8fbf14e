// Asks base and tuned model of a job, and writes what they say as it comes. Leaving the page ends
// their answers.
"use strict";

const ENDS = {
  length: "cut: long enough", context: "cut: no more room", loop: "stopped: it repeated itself",
  time: "stopped: out of time", cancelled: "stopped",
};

function answerQuestions() {
  const form = document.querySelector("[data-answers]");
  if (!form) return;
  const part = (name) => form.parentElement.querySelector(`[data-${name}]`);
  const side = (who, name) => part(`who="${who}"`).querySelector(`[data-${name}]`);
  const [doing, refused, passages, stop] = ["doing", "refused", "passages", "stop"].map(part);
  let asking = null;

  function clear() {
    for (const who of ["base", "tuned"]) {
      side(who, "text").textContent = side(who, "figures").textContent = "";
      part(`who="${who}"`).setAttribute("aria-busy", "true");
    }
    passages.hidden = true;
    passages.querySelector("ol").replaceChildren();
    refused.replaceChildren();
    part("both").hidden = false;
  }

  const HEARD = {
    doing: (told) => { doing.textContent = `${told.text} …`; },
    text: (told) => { doing.textContent = ""; side(told.who, "text").append(told.text); },
    end: (told) => {
      const speed = told.speed ? [`${told.speed.toPrecision(2) * 1} tokens/s`] : [];
      const count = told.num_tokens ? [`${told.num_tokens} tokens`] : [];
      side(told.who, "figures").textContent =
        [...count, ...speed, ...(ENDS[told.reason] ? [ENDS[told.reason]] : [])].join(" · ");
      part(`who="${told.who}"`).setAttribute("aria-busy", "false");
    },
    absent: (told) => {
      part(`who="${told.who}"`).setAttribute("aria-busy", "false");
      side(told.who, "figures").textContent = "does not answer";
      side(told.who, "text").append(draw(told.error));
    },
    citations: (told) => {
      for (const each of told.citations) {
        const item = document.createElement("li"), name = document.createElement("summary");
        const open = document.createElement("details"), text = document.createElement("blockquote");
        name.textContent = each.place;
        text.textContent = each.text;
        open.append(name, text);
        item.append(open);
        passages.querySelector("ol").append(item);
      }
      passages.hidden = !told.citations.length;
    },
    refused: (told) => { doing.textContent = ""; refused.replaceChildren(draw(told.error)); },
    done: () => { doing.textContent = ""; },
  };

  async function ask(signal) {
    const fields = new FormData(form);
    const answer = await fetch(form.dataset.answers, {
      method: "POST",
      signal,
      headers: { "content-type": "application/json", "x-form-secret": fields.get("form_secret") },
      body: JSON.stringify({ question: fields.get("question"), search: fields.has("search") }),
    });
    if (!answer.ok) return HEARD.refused(await answer.json());
    const lines = answer.body.pipeThrough(new TextDecoderStream()).getReader();
    for (let rest = "", read; !(read = await lines.read()).done;) {
      const whole = (rest + read.value).split("\n");
      rest = whole.pop();
      for (const line of whole) { const told = JSON.parse(line); HEARD[told.kind]?.(told); }
    }
  }

  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    if (asking) return;
    asking = new AbortController();
    clear();
    stop.hidden = false;
    form.querySelector("[type=submit]").disabled = true;
    try {
      await ask(asking.signal);
    } catch (fault) {
      if (fault.name !== "AbortError") {
        HEARD.refused({ error: { what: "the dashboard does not answer", fix: "try again" } });
      }
    }
    if (asking.signal.aborted) doing.textContent = "Stopped.";
    for (const who of ["base", "tuned"]) part(`who="${who}"`).setAttribute("aria-busy", "false");
    asking = null;
    stop.hidden = true;
    form.querySelector("[type=submit]").disabled = false;
  });
  stop.addEventListener("click", () => asking?.abort());
  form.elements.question.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && !event.shiftKey) { event.preventDefault(); form.requestSubmit(); }
  });
  form.hidden = false; // before that, a click would send it as a form, question and all in the address
}

answerQuestions();
