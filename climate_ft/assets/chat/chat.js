"use strict";
// Everything that comes from a reader, a model or a document is written with textContent: it is text, never markup.
const TEXTS = {
  ja: {question: "質問", how: "答え方", memory: "記憶だけで", passage: "報告書の文章を読んで", blind: "名前を隠して比べる", ask: "質問する", stop: "止める", fresh: "新しい話題",
    votes: "投票を保存", source: "見つけた文章", answers: "回答", base: "学習前", tuned: "学習後", better: "こちらがよい", same: "同じくらい",
    thanks: "投票しました", working: "考えています…", done: "終わりました", begun: "新しい話題を始めます", stopped: "止めました", failed: "接続できません。コマンドが動いているか確かめてください。",
    where: (doc, page, section) => `${doc}、${page}ページ` + (section ? `「${section}」` : ""), picture: "報告書のページ。見つけた文章に印がついています。",
    missing: "この文書のPDFが見つかりません。--pdf で指定すると、ページの画像を表示できます。"},
  en: {question: "Question", how: "How to answer", memory: "from memory", passage: "from the passage", blind: "compare blindly", ask: "Ask", stop: "Stop", fresh: "New topic",
    votes: "Save votes", source: "Passage found", answers: "Answers", base: "before training", tuned: "after training", better: "this one is better",
    same: "about the same", thanks: "Thank you", working: "Thinking…", done: "Done", begun: "A new topic", stopped: "Stopped", failed: "No connection. Is the command running?",
    where: (doc, page, section) => `${doc}, page ${page}` + (section ? ` (${section})` : ""), picture: "Page of the report, with the passage marked.",
    missing: "The PDF of this document is not where it was: name it with --pdf to see the page."}};
const $ = id => document.getElementById(id);
let language = "ja", about = {models: [], passages: false}, stopped = false, running = null;
// What was said so far, for questions that take up the one before: the questions, and the turns of each mode and model.
let asked = [], turns = {}, place = null;
const KEPT = 8;
const said = (mode, model) => turns[`${mode} ${model}`] ??= [];
const say = key => TEXTS[language][key];

function element(kind, parent, text) {
  const e = document.createElement(kind);
  if (text !== undefined) e.textContent = text;
  parent.append(e);
  return e;
}

// A text of the page itself, which changes with the language
function label(parent, key) {
  const e = element("span", parent, say(key));
  e.dataset.text = key;
  return e;
}

function status(key) {
  $("status").replaceChildren();
  label($("status"), key);
}

function showPlace() {
  $("where").textContent = place ? TEXTS[language].where(...place) : "";
}

function translate() {
  document.documentElement.lang = language;
  document.querySelectorAll("[data-text]").forEach(e => { e.textContent = say(e.dataset.text); });
  $("language").textContent = language === "ja" ? "English" : "日本語";
  $("language").lang = language === "ja" ? "en" : "ja";
  $("picture").alt = say("picture");
  showPlace();
}

const post = (path, body, signal) => fetch(path, {method: "POST", body: JSON.stringify(body), signal})
  .then(r => { if (!r.ok) throw new Error(r.status); return r; });

async function stream(model, question, passage, into, earlier) {
  const r = await post("/ask", {model, question, passage, turns: earlier}, running.signal), reader = r.body.getReader(), decoder = new TextDecoder();
  for (let part; !(part = await reader.read()).done;) into.textContent += decoder.decode(part.value, {stream: true});
}

async function showPassage(question, box) {
  const p = about.passages ? await post("/find", {question, before: asked}).then(r => r.json()) : {};
  $("source").hidden = !p.id;
  if (!p.id) return null;
  box.append($("source"));
  place = [p.doc, p.page, p.section];
  showPlace();
  $("text").textContent = p.text;
  $("picture").hidden = !p.picture;
  $("no-picture").hidden = p.picture;
  if (p.picture) $("picture").src = `/page?id=${encodeURIComponent(p.id)}`;
  return p.id;
}

function voting(box, row) {
  const bar = element("div", box), names = box.querySelectorAll("h5");
  bar.className = "vote";
  const send = better => async () => {
    try { await post("/vote", {...row, better}); } catch { status("failed"); return; }
    if (row.blind) names.forEach(h => { h.append(": "); label(h, h.dataset.model); });
    bar.replaceChildren();
    const thanks = label(bar, "thanks");
    thanks.tabIndex = -1; thanks.focus();  // the button that had the focus is gone
  };
  const button = (key, better, name) => {
    const e = element("button", bar, name);
    e.type = "button"; e.onclick = send(better);
    label(e, key);
    bar.append(" ");
  };
  row.order.forEach((m, i) => button("better", m, `${"AB"[i]}: `));
  button("same", "same");
}

async function pair(question, mode, passage, within) {
  const blind = $("blind").checked, order = [...about.models], row = {question, mode, blind, base: "", tuned: "", order};
  if (blind && Math.random() < .5) order.reverse();
  const box = document.createElement("div");
  within.insertBefore(box, $("source").parentNode === within ? $("source") : null);
  label(element("h4", box), mode);
  const both = element("div", box);
  both.className = "pair";
  const places = {};
  order.forEach((m, i) => {
    const a = element("article", both), h = element("h5", a, "AB"[i]);
    a.className = "answer"; h.dataset.model = m;
    if (!blind) { h.append(": "); label(h, m); }
    places[m] = element("p", a);
    places[m].dataset.answer = mode;
  });
  // The tuned model ends with its sentence and the base seldom does: it answers first, where that gives no name away.
  for (const m of blind ? order : [...order].reverse()) {
    if (stopped) break;
    const earlier = said(mode, m);
    await stream(m, question, passage, places[m], earlier);
    row[m] = places[m].textContent.trim();
    if (!stopped) { earlier.push([question, row[m]]); earlier.splice(0, earlier.length - KEPT); }
  }
  if (order.length === 2 && !stopped) voting(box, row);
}

async function ask(event) {
  event.preventDefault();
  const question = $("question").value.trim();
  if (!question || $("ask").disabled) return;
  $("ask").disabled = true; $("stop").disabled = false; stopped = false; running = new AbortController();
  const before = asked, box = document.createElement("section");
  $("answers-title").after(box);
  element("h3", box, question);
  status("working");
  try {
    const id = await showPassage(question, box);
    if ($("memory").checked || !id) await pair(question, "memory", "", box);
    if ($("passage").checked && id && !stopped) await pair(question, "passage", id, box);
    if (!stopped) { before.push(question); before.splice(0, before.length - KEPT); }
    status(stopped ? "stopped" : "done");
  } catch { status(stopped ? "stopped" : "failed"); }
  $("ask").disabled = false; $("stop").disabled = true;
}

function stop() {
  if ($("stop").disabled) return;
  stopped = true;
  post("/stop", {}).catch(() => {});
  running.abort();
}

$("form").addEventListener("submit", ask);
$("stop").addEventListener("click", stop);
$("fresh").addEventListener("click", () => { asked = []; turns = {}; status("begun"); });
$("language").addEventListener("click", () => { language = language === "ja" ? "en" : "ja"; translate(); });
document.addEventListener("keydown", e => {
  if (e.key === "Escape") stop();
  if (e.key === "Enter" && !e.shiftKey && !e.isComposing && e.target === $("question")) { e.preventDefault(); $("form").requestSubmit(); }
});
translate();
fetch("/about").then(r => r.json()).then(a => { about = a; document.body.dataset.ready = "yes"; });
