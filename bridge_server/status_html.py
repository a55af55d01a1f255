"""The status page itself: one file, nothing from elsewhere, all text set as text."""

from __future__ import annotations

PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>ChromaBridge</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>
:root{color-scheme:dark;--dim:#8d93a1;--card:#1c1f27;--line:#2b2f3a;--warm:#f0b35a;--cool:#6fb7e9}
body{margin:0;background:#14161b;color:#e8eaef;font:15px/1.5 system-ui,sans-serif}
main{max-width:1080px;margin:0 auto;padding:28px 20px}
header{display:flex;align-items:baseline;gap:14px;flex-wrap:wrap}
h1{font-size:22px;margin:0;font-weight:600}
h1 b{background:linear-gradient(90deg,#9aa0ac 40%,var(--warm) 70%,var(--cool));
background-clip:text;-webkit-background-clip:text;color:transparent}
.dim{color:var(--dim)}
.facts{display:grid;grid-template-columns:repeat(auto-fit,minmax(120px,1fr));gap:10px;
margin:20px 0}
.facts div,.session{background:var(--card);border:1px solid var(--line);border-radius:10px;
padding:12px 14px}
.facts span{display:block;color:var(--dim);font-size:13px}
.facts strong{font-size:20px;font-weight:600;font-variant-numeric:tabular-nums}
.session{display:flex;gap:18px;margin:12px 0;flex-wrap:wrap}
.session .text{flex:1 1 300px}.session h2{font-size:16px;margin:0 0 4px}
.session p{margin:2px 0}.session img{border-radius:6px;align-self:center;max-width:100%}
.tag{font-size:12px;border:1px solid var(--line);border-radius:99px;padding:1px 9px;
color:var(--dim);font-weight:400;margin-left:8px}
.note{color:var(--warm)}
ul{margin:6px 0 0;padding-left:18px}#lost{color:var(--warm)}
</style></head><body><main>
<header><h1><b>ChromaBridge</b></h1><span class="dim" id="server">connecting</span>
<span id="lost"></span></header>
<section class="facts" id="facts"></section><section id="sessions"></section>
</main><script>
"use strict";
const at = id => document.getElementById(id);
function make(kind, text, name) {
  const made = document.createElement(kind);
  if (text !== undefined) made.textContent = text;
  if (name) made.className = name;
  return made;
}
const span = s => s < 90 ? s.toFixed(0) + " s" : s < 5400 ? (s / 60).toFixed(0) + " min"
  : (s / 3600).toFixed(1) + " h";
function fact(label, value) {
  const box = make("div");
  box.append(make("span", label), make("strong", value));
  return box;
}
function memory(m) {
  const gib = n => (n / 2 ** 30).toFixed(2);
  return m && m.total ? [fact("memory of " + m.device + ", GiB",
    gib(m.used) + " of " + gib(m.total))] : [];
}
function card(s) {
  const box = make("article", undefined, "session"), text = make("div", undefined, "text");
  const head = make("h2", s.client + " \\u00b7 " + s.effect);
  head.append(make("span", ["interactive", "review", "batch"][s.priority], "tag"));
  if (s.parked) head.append(make("span", "parked: its client is away", "tag"));
  text.append(head);
  const where = s.last === null ? "no frame yet" : "frame " + s.last;
  const done = s.total ? s.done + " of " + s.total : s.done;
  text.append(make("p", where + " \\u00b7 " + done + " done \\u00b7 " + s.waiting +
    " waiting \\u00b7 " + s.fps + " frames/s"));
  const made = Object.entries(s.made_by).map(([k, v]) =>
    k + " " + (typeof v === "object" ? JSON.stringify(v) : v)).join(" \\u00b7 ");
  if (made) text.append(make("p", made, "dim"));
  if (s.notes.length) {
    const list = make("ul", undefined, "note");
    for (const note of s.notes) list.append(make("li", note));
    text.append(list);
  }
  box.append(text);
  if (s.thumbnail) {
    const image = make("img");
    image.alt = "the last frame before and after";
    image.src = "/frame/" + s.id + "?" + Date.now();
    box.append(image);
  }
  return box;
}
async function refresh() {
  try {
    const answer = await fetch("/status.json");
    if (!answer.ok) throw new Error(await answer.text());
    const t = await answer.json();
    at("server").textContent = t.version + " \\u00b7 pid " + t.pid + " \\u00b7 " + t.state +
      " \\u00b7 up " + span(t.uptime_s) + " \\u00b7 worker: " + t.worker.doing;
    at("facts").replaceChildren(
      fact("frames done", t.frames), fact("sessions", t.open), fact("clients", t.clients),
      fact("waiting", t.queue), fact("sent again", t.resent),
      fact("worker restarts", t.worker_deaths), ...memory(t.worker.memory),
      fact("device time", span(Object.values(t.device_s).reduce((a, b) => a + b, 0))));
    at("sessions").replaceChildren(...(t.sessions.length ? t.sessions.map(card)
      : [make("p", "No session is open.", "dim")]));
    at("lost").textContent = "";
  } catch (error) {
    at("lost").textContent = "no answer from the server; what is shown is old";
  }
  setTimeout(refresh, 1000);
}
refresh();
</script></body></html>
"""
