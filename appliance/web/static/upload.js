// Sends chosen files one by one, then asks for a plan.
"use strict";

function offerUpload() {
  const form = document.querySelector("[data-upload]");
  if (!form) return;
  const find = (name) => form.querySelector(`[data-${name}]`);
  const [summary, bar, refused] = ["summary", "bar", "refused"].map(find);
  const inputs = [...form.querySelectorAll("input[type=file]")];
  const button = form.querySelector("[type=submit]");
  const most = Number(form.dataset.upload), secret = form.elements.form_secret.value;
  let chosen = [];

  const size = (bytes) => {
    const unit = bytes < 1e6 ? ["KB", 1e3] : bytes < 1e9 ? ["MB", 1e6] : ["GB", 1e9];
    return `${(bytes / unit[1]).toFixed(1)} ${unit[0]}`;
  };
  const total = () => chosen.reduce((sum, file) => sum + file.size, 0);
  const name = (file) => file.webkitRelativePath || file.name;

  function choose(files) {
    chosen = [...files];
    const count = `${chosen.length} file${chosen.length === 1 ? "" : "s"}, ${size(total())}`;
    summary.textContent = chosen.length ? count : "";
    button.disabled = !chosen.length || total() > most;
    if (total() > most) summary.textContent += `: too much, ${size(most)} may be sent`;
  }

  async function call(path, body, kind, progress) {
    for (;;) {
      const answer = await new Promise((done, fail) => {
        const request = new XMLHttpRequest();
        request.open("POST", path);
        request.setRequestHeader("x-form-secret", secret);
        request.setRequestHeader("content-type", kind);
        request.upload.onprogress = (event) => progress?.(event.loaded);
        request.onload = () => done(request);
        request.onerror = () => fail(new Error());
        request.send(body);
      });
      const told = JSON.parse(answer.responseText);
      if (answer.status === 200) return told;
      const wait = Number(answer.getResponseHeader("retry-after"));
      if (![429, 503].includes(answer.status) || !wait) throw told.error;
      await new Promise((done) => setTimeout(done, wait * 1000));
    }
  }
  const tell = (path, fields) => call(path, JSON.stringify(fields), "application/json");

  async function send() {
    const first = name(chosen[0]), cut = first.indexOf("/");
    const label = cut > 0 ? first.slice(0, cut) : chosen.length === 1 ? first.replace(/\.[^.]*$/, "") : "";
    const upload = await tell("/api/uploads", { name: label });
    let before = 0;
    for (const file of chosen) {
      const within = cut > 0 ? name(file).slice(cut + 1) : name(file);
      const path = `/api/uploads/${upload.id}/files?name=${encodeURIComponent(within)}`;
      await call(path, file, "application/octet-stream", (sent) => { bar.value = before + sent; });
      bar.value = before += file.size;
    }
    const plan = await tell("/api/plans", { folder: upload.id, base: form.elements.base.value });
    location.assign(`/plans/${plan.id}`);
  }

  for (const input of inputs) {
    input.addEventListener("change", () => {
      for (const other of inputs) if (other !== input) other.value = "";
      choose(input.files);
    });
  }
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    refused.replaceChildren();
    bar.max = Math.max(1, total());
    bar.value = 0;
    bar.hidden = false;
    button.disabled = true;
    try {
      await send();
    } catch (fault) {
      refused.replaceChildren(draw(fault.what ? fault : {
        what: "the files were not sent", why: "the connection broke off, or the dashboard refused them",
        fix: "try again with fewer files, or send one zip",
      }));
      bar.hidden = true;
      button.disabled = false;
    }
  });
  form.hidden = false;
}

offerUpload();
